"""Alerts of a local run: what was held back is told before it ends, and a webhook's address is nobody's business."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from odibi_actors.cli.__main__ import odibictl

CANARY = "s3cr3tcanary"
PROJECT = """\
project: told
connections:
  landing: {{type: local, path: landing}}
  lake: {{type: local, path: lake}}
pipelines:
  - pipeline: p
    on_error: dead_letter
    retry: {{max_attempts: 1}}
    batch: {{max_files: 1}}
    alerts: [{alert}]
    nodes:
      - name: src
        read: {{connection: landing, format: csv, mode: file_watch, pattern: "*.csv", schema: {{id: int64}}}}
      - {{name: out, inputs: [src], write: {{connection: lake, path: out, format: parquet}}}}
"""


class Hook:
    """A webhook that answers ``code`` and keeps what it got."""

    def __init__(self) -> None:
        self.code, self.got = 200, list[dict[str, Any]]()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(hook.code, f"of {self.path}")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing on stderr."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/services/T0/{CANARY}?token={CANARY}2"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


def project(folder: Path, alert: str, bad: int) -> None:
    (folder / "landing").mkdir()
    (folder / "odibi.yaml").write_text(PROJECT.format(alert=alert))
    for number in range(bad):
        (folder / f"landing/bad{number}.csv").write_text("id\nx\n")


def test_given_many_dead_letters_in_one_run_then_one_is_told_at_once_and_the_others_in_a_summary(
    tmp_path: Path, hook: Hook
) -> None:
    project(tmp_path, f"{{webhook: '{hook.address}'}}", bad=4)
    result = CliRunner().invoke(odibictl, ["run", "p", "--project", str(tmp_path)])
    assert result.exit_code == 5
    assert [one["kind"] for one in hook.got] == ["dead_letter", "dead_letter"]
    assert [one["held_back"] for one in hook.got] == [0, 3]
    assert "3 more dead_letter alerts were held back (throttle) since" in hook.got[1]["text"]
    listed = CliRunner().invoke(odibictl, ["alert", "list", "--project", str(tmp_path), "-o", "json"])
    shown = json.loads(listed.stdout)
    assert [one["held_back"] for one in shown["items"]] == [3, 0]
    assert shown["held"] == []
    assert all(one["told_at"] for one in shown["items"])


def test_given_a_webhook_that_refuses_then_its_address_is_in_no_output_and_only_in_the_stored_configuration(
    tmp_path: Path, hook: Hook
) -> None:
    project(tmp_path, f"{{webhook: '{hook.address}'}}", bad=2)
    hook.code = 503
    said = ""
    for args in (
        ["validate"],
        ["run", "p"],
        ["status"],
        ["status", "-o", "json"],
        ["alert", "list"],
        ["alert", "list", "-o", "yaml"],
        ["pipeline", "show", "p", "-o", "json"],
        ["deadletter", "list", "-o", "json"],
        ["doctor"],
        ["graph", "p"],
    ):
        result = CliRunner().invoke(odibictl, [*args, "--project", str(tmp_path)])
        said += result.output
    assert hook.got
    assert "could not be told yet" in said
    assert CANARY not in said
    shown = CliRunner().invoke(odibictl, ["alert", "list", "-o", "json", "--project", str(tmp_path)])
    (target,) = json.loads(shown.stdout)["items"][-1]["targets"]
    assert target == f"http://127.0.0.1:{hook.server.server_port}/..."
    assert f"{target}: answers 503 of" in json.loads(shown.stdout)["items"][-1]["error"]
    with closing(sqlite3.connect(tmp_path / ".odibi/checkpoints.db")) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        holding = [
            table for table in tables if any(CANARY in repr(row) for row in db.execute(f"SELECT * FROM {table}"))
        ]
    assert holding == ["versions"]
    logs = [path for path in (tmp_path / ".odibi").rglob("*") if path.is_file() and "checkpoints" not in path.name]
    assert not [path for path in logs if CANARY.encode() in path.read_bytes()]


def test_given_a_log_target_then_a_failure_is_said_once_and_the_end_says_what_to_do(tmp_path: Path) -> None:
    project(tmp_path, "{log: true}", bad=1)
    (tmp_path / "landing/bad0.csv").write_text("other\n1\n")
    (tmp_path / "odibi.yaml").write_text((tmp_path / "odibi.yaml").read_text().replace("dead_letter", "halt", 1))
    result = CliRunner().invoke(odibictl, ["run", "p", "--project", str(tmp_path)])
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert (result.exit_code, result.stderr.count("column 'id' of read.schema is missing")) == (5, 1), result.stderr
    assert errors[1:] == ["error: 1 of 1 iteration failed: `odibictl iteration show p 1`; the next run tries again"]


def test_given_a_function_that_raises_then_its_message_is_said_once_and_the_traceback_is_where_it_is_named(
    tmp_path: Path,
) -> None:
    project(tmp_path, "{log: true}", bad=0)
    (tmp_path / "landing/one.csv").write_text("id\n1\n")
    text = (tmp_path / "odibi.yaml").read_text().replace("dead_letter", "halt", 1).replace("[src]", "[f]")
    (tmp_path / "odibi.yaml").write_text(
        text + '      - {name: f, inputs: [src], transform: {function: "nodes.raising_once:f"}}\n'
    )
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes/raising_once.py").write_text("def f(src):\n    raise ValueError(f'no {len(src)}')\n")
    result = CliRunner().invoke(odibictl, ["run", "p", "--project", str(tmp_path)])
    assert (result.exit_code, result.stderr.count("no 1")) == (5, 1), result.stderr
    shown = CliRunner().invoke(odibictl, ["iteration", "show", "p", "1", "--project", str(tmp_path)])
    assert "Traceback (most recent call last)" in shown.stdout
    fresh = CliRunner().invoke(odibictl, ["run", "p", "--project", str(tmp_path), "--fresh"])
    assert ("Traceback" in fresh.stderr, "iteration show" in fresh.stderr) == (True, False), fresh.stderr


def test_given_what_a_killed_run_of_another_pipeline_left_then_its_failure_is_no_error_of_this_run(
    tmp_path: Path,
) -> None:
    project(tmp_path, "{log: true}", bad=0)
    (tmp_path / "landing/one.csv").write_text("id\n1\n")
    text = (tmp_path / "odibi.yaml").read_text().replace("dead_letter", "halt", 1)
    other = text.partition("  - pipeline: p\n")[2].replace("path: out", "path: other").replace("[src]", "[f]")
    with_f = '      - {name: f, inputs: [src], transform: {function: "nodes.dying:f"}}\n'
    (tmp_path / "odibi.yaml").write_text(f"{text}  - pipeline: q\n{other}{with_f}")
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes/dying.py").write_text("import os\ndef f(src):\n    os._exit(9)\n")
    command = [sys.executable, "-m", "odibi_actors.cli", "run", "--project", str(tmp_path)]
    assert subprocess.run([*command, "q"], capture_output=True, check=False).returncode == 9
    (tmp_path / "nodes/dying.py").write_text("def f(src):\n    raise ValueError('of q')\n")
    done = subprocess.run([*command, "p"], capture_output=True, text=True, check=False)
    assert (done.returncode, "error: " in done.stderr) == (0, False), done.stderr
    assert "not of this run: q 1: failed at f: ValueError: of q (dying.py line 2, in f)\n" in done.stderr
