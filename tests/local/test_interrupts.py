"""Ctrl-C and SIGTERM during a local run: it stops, nothing counts as a try, and the next run goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from odibi_actors.config import load_project
from odibi_actors.local import run_pipeline
from odibi_actors.local.interrupts import Interrupts
from odibi_actors.nodes.sinks.table import TableSink
from odibi_actors.runtime import forks

PROJECT = """\
project: naps
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
  mart: {type: sqlite, path: mart.db}
pipelines:
  - pipeline: p
    on_error: dead_letter
    retry: {max_attempts: 1}
    nodes:
      - name: src
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv", schema: {id: int64}}
      - name: nap
        inputs: [src]
        transform: {TRANSFORM}
      - {name: out, inputs: [nap], write: {connection: lake, path: out, format: parquet}}
      - {name: table, inputs: [nap], write: {connection: mart, table: t}}
"""
FUNCTION = 'function: "nodes.m:nap"'
SQL = (
    'sql: "select src.id from src, (select count(*) as n from range(300000) a, range(300000) b'
    ' where (a.range * 7 + b.range) % 1000003 = 1) where n >= 0"'
)
NODE = """\
import pathlib, time

def nap(src):
    if pathlib.Path("awake").exists():
        return src
    pathlib.Path("napping").touch()
    {body}
    return src
"""
BODIES = {
    "sleeps": "time.sleep(60)",
    "catches it": "\n    ".join(
        ["try:", "    time.sleep(60)", "except KeyboardInterrupt:", "    pass", "return src.head(0)"]
    ),
    "wraps it": "\n    ".join(
        ["try:", "    time.sleep(60)", "except BaseException as e:", "    raise ValueError('bad data') from e"]
    ),
    "catches all": "\n    ".join(
        [
            *("while True:", "    try:", "        pathlib.Path('catching').touch()", "        time.sleep(60)"),
            *("    except BaseException:", "        pass"),
        ]
    ),
}


def project(folder: Path, transform: str, body: str = "") -> Path:
    (folder / "nodes").mkdir()
    (folder / "landing").mkdir()
    (folder / "odibi.yaml").write_text(PROJECT.replace("TRANSFORM", transform))
    (folder / "nodes/m.py").write_text(NODE.replace("{body}", body or "time.sleep(60)"))
    (folder / "landing/a.csv").write_text("id\n1\n2\n")
    return folder


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "odibi_actors.cli", "run", "p", "--project", str(folder)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(there: Path) -> None:
    end = time.monotonic() + 60
    while not there.exists():
        assert time.monotonic() < end, f"no {there}"
        time.sleep(0.02)


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    """Of a copy: the store wants to be the only one that opens its database."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in (folder / ".odibi").glob("checkpoints.db*"):
        shutil.copy(path, copy)
    with contextlib.closing(sqlite3.connect(copy / "checkpoints.db")) as db:
        return db.execute(query).fetchall()


def goes_on(folder: Path) -> None:
    """Nothing was counted, set aside or published; and the next run does all of it."""
    assert rows(folder, "select count(*) from errors") == [(0,)]
    assert rows(folder, "select count(*) from dead_letters") == [(0,)]
    assert not list((folder / "lake").glob("**/part-*.parquet"))
    (folder / "awake").touch()
    again = start(folder)
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert "rows_read      2" in out
    assert [tuple(row) for row in sqlite3.connect(folder / "mart.db").execute("select id from t")] == [(1,), (2,)]


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ("sleeps", signal.SIGINT),
        ("catches it", signal.SIGINT),
        ("catches it", signal.SIGTERM),
        ("wraps it", signal.SIGTERM),
    ],
)
def test_given_a_node_that_runs_when_interrupted_then_the_run_stops_and_nothing_counts(
    tmp_path: Path, body: str, number: signal.Signals
) -> None:
    folder = project(tmp_path, FUNCTION, BODIES[body])
    run = start(folder)
    wait_for(folder / "napping")
    run.send_signal(number)
    out, err = run.communicate(timeout=20)
    assert (run.returncode, out) == (130, "")
    assert "interrupted: nothing of it counts as a try" in err
    assert "Traceback" not in err
    goes_on(folder)


def test_given_a_node_that_goes_on_all_the_same_when_interrupted_twice_then_it_ends_at_once(tmp_path: Path) -> None:
    folder = project(tmp_path, FUNCTION, BODIES["catches all"])
    run = start(folder)
    wait_for(folder / "catching")
    run.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert run.poll() is None
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=20) == 130
    run.communicate()
    goes_on(folder)


def test_given_sql_that_takes_long_when_interrupted_then_the_run_stops_and_nothing_counts(tmp_path: Path) -> None:
    folder = project(tmp_path, SQL)
    run = start(folder)
    wait_for(folder / ".odibi/checkpoints.db")
    time.sleep(3.0)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=20)
    assert run.returncode == 130, err
    assert rows(folder, "select count(*) from errors") == [(0,)]
    assert rows(folder, "select count(*) from dead_letters") == [(0,)]


def test_given_a_part_that_is_being_published_when_interrupted_then_it_is_published_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(tmp_path, FUNCTION)
    (folder / "awake").touch()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    publish = TableSink.publish

    def interrupted(*arguments: Any) -> None:
        publish(*arguments)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(20)

    monkeypatch.setattr(TableSink, "publish", interrupted)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(load_project(folder), "p")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    monkeypatch.setattr(TableSink, "publish", publish)
    summary = run_pipeline(load_project(folder), "p")
    assert (summary.state, summary.committed, summary.rows_read) == ("done", 1, 2)
    assert len(list(sqlite3.connect(folder / "mart.db").execute("select id from t"))) == 2
    assert len(list((folder / "lake").glob("**/part-*.parquet"))) == 1


def test_given_a_child_that_a_node_forked_when_it_is_terminated_then_the_run_is_not(tmp_path: Path) -> None:
    body = (
        "import multiprocessing\n    pool = multiprocessing.get_context('fork').Pool(2)\n"
        "    pool.map(abs, [1, 2])\n    pool.terminate()\n    pool.join()"
    )
    folder = project(tmp_path, FUNCTION, body)
    run = start(folder)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err


FORKS = """
import os, signal, time
from odibi_actors.local.interrupts import Interrupts

with Interrupts() as interrupts:
    for _ in range(200):
        child = os.fork()
        if child == 0:
            time.sleep(10)
            os._exit(7)
        os.kill(child, signal.SIGTERM)  # most times before it runs
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    interrupts.check()
"""


def test_given_children_that_are_ended_before_they_run_then_they_end_and_the_run_hears_nothing() -> None:
    ran = subprocess.run([sys.executable, "-c", FORKS], check=False, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_given_a_run_that_has_ended_then_signals_and_children_are_as_they_were() -> None:
    out, wake = os.pipe()
    os.set_blocking(wake, False)
    before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        given = forks.children_get(None)
        with Interrupts():
            pass
        assert forks.children_get(given) is None
        assert signal.set_wakeup_fd(before) == wake
    finally:
        signal.set_wakeup_fd(before)
        os.close(out)
        os.close(wake)


def test_given_a_task_that_makes_light_of_a_signal_then_what_it_returns_is_dropped() -> None:
    def heedless() -> str:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(20)
        return "half of it"

    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        interrupts.call(heedless)


def test_given_a_listener_that_is_slow_when_the_run_ends_then_its_thread_has_ended() -> None:
    began, asked = threading.Event(), threading.Event()

    def listener() -> None:
        began.set()
        time.sleep(0.2)  # within DuckDB, say
        asked.set()

    with Interrupts() as interrupts:
        interrupts.listeners.append(listener)
        os.kill(os.getpid(), signal.SIGINT)
        assert began.wait(timeout=20)
    assert asked.is_set()
    assert "interrupts" not in {thread.name for thread in threading.enumerate()}
