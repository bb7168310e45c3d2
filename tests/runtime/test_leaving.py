"""The end of a process in which threads still run: the exit code is that of the work, and nothing printed is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LEFT = """\
import atexit, sys, threading

from odibi_actors.runtime import leaving

leaving.prepare()
import duckdb

ran = threading.Event()

def work():
    connection = duckdb.connect()
    while True:
        connection.sql("select sum(i) from range(1000000) t(i)").fetchall()
        ran.set()

atexit.register(lambda: print("handlers run"))
threading.Thread(target=work, daemon=True).start()
ran.wait()
print("done")
sys.exit(leaving.leave(3))
"""
PROJECT = """\
project: p
connections: {landing: {type: local, path: landing}, lake: {type: local, path: lake}}
pipelines:
  - pipeline: p
    nodes:
      - {name: src, read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv"}}
      - {name: left, inputs: [src], transform: {function: "nodes.m:left"}}
      - {name: out, inputs: [left], write: {connection: lake, path: out, format: parquet}}
"""
NODE = """\
import threading

import duckdb

ran = threading.Event()

def work():
    connection = duckdb.connect()
    while True:
        connection.sql("select sum(i) from range(1000000) t(i)").fetchall()
        ran.set()

def left(src):
    threading.Thread(target=work, daemon=True).start()
    ran.wait()
    return src
"""


def test_given_a_thread_in_a_database_when_the_process_ends_then_its_code_and_output_stand() -> None:

    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "done\nhandlers run\n", "")


@pytest.mark.parametrize("words", [["run", "p"], ["try", "p"]])
def test_given_a_node_that_left_a_thread_in_a_database_when_its_run_ends_then_it_ends_well(
    tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "landing").mkdir()
    (tmp_path / "odibi.yaml").write_text(PROJECT)
    (tmp_path / "nodes/m.py").write_text(NODE)
    (tmp_path / "landing/a.csv").write_text("id\n1\n2\n")
    command = [sys.executable, "-m", "odibi_actors.cli", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "terminate" not in done.stderr
