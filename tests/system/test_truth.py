"""Messages are true on a system of real processes: it is led through its states, and what is said is held against the
store's tables."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.local.telling import call, check, run_told, shown, told
from tests.system.harness import System, until

PROJECT = """\
project: truth
workers: 1
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: p
    on_error: dead_letter
    retry: {max_attempts: 1}
    nodes:
      - name: src
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv", schema: {id: int64}}
      - {name: t, inputs: [src], transform: {sql: "select id from src"}}
      - {name: out, inputs: [t], write: {connection: lake, path: out, format: parquet}}
  - pipeline: q
    trigger: manual
    retry: {max_attempts: 1}
    nodes:
      - name: src
        read: {connection: landing, format: csv, mode: file_watch, pattern: "q/*.csv", schema: {id: int64}}
      - {name: out, inputs: [src], write: {connection: lake, path: q, format: parquet}}
"""


class Walk:
    """One system, its commands, and the check after each."""

    def __init__(self, system: System) -> None:
        self.system, self.folder = system, system.project

    def put(self, name: str, rows: str) -> None:
        """A file, whole at once."""
        part = self.folder / f"landing/{name}.tmp"
        part.write_text(f"id\n{rows}\n")
        part.rename(self.folder / f"landing/{name}.csv")

    def say(self, *args: str, code: int = 0) -> str:
        """What a command prints, on both streams; its exit code is this one. Then everything is held against the
        store."""
        result = call(self.folder, *args)
        assert result.exit_code == code, (args, result.output)
        if args[:2] == ("pipeline", "trigger"):
            run_told(self.folder, args[2], result)
        for pipeline in ("p", "q"):
            check(self.folder, pipeline)
        return result.output

    def state(self, pipeline: str = "p") -> str:
        """The word of the view."""
        found: str = shown(self.folder, "pipeline", "show", pipeline)["state"]
        return found


@pytest.fixture
def walk(make: Callable[[Path], System], tmp_path: Path) -> Walk:
    (tmp_path / "landing/q").mkdir(parents=True)
    (tmp_path / "odibi.yaml").write_text(PROJECT)
    system = make(tmp_path)
    system.start()
    return Walk(system)


def test_given_a_system_in_each_of_its_states_when_asked_then_words_and_exit_codes_are_what_the_store_has(
    walk: Walk,
) -> None:
    say, put = walk.say, walk.put
    said = say("iteration", "wait", "p")
    assert ("nothing has run yet, and nothing is left to do" in said, "the last iteration" in said) == (True, False)
    put("a", "1")
    assert "p 1: committed\n" in say("iteration", "wait", "p", "1")
    put("b", "x")
    assert "p 2: dead_lettered" in say("iteration", "wait", "p", "2", code=5)
    assert "1: discarded" in say("deadletter", "discard", "1", "--yes")

    assert "p: paused" in say("pipeline", "pause", "p")
    put("c", "3")
    assert "p is paused" in say("iteration", "wait", "p", "--timeout", "1s", code=124)
    assert walk.state() == "paused"
    assert "ready, not planned yet: p is paused: `odibictl pipeline resume p`" in say("source", "why", "c.csv")
    assert "c.csv" in say("source", "files", "p.src")
    assert "nothing is planned in it" in say("deadletter", "replay", "9", code=3) + "nothing is planned in it"
    say("pipeline", "resume", "p")
    say("iteration", "wait", "p", "3")

    (walk.folder / "lake/out/part-0000000004-out.parquet").write_bytes(b"somebody else's")
    put("d", "4")
    assert "p 4: blocked" in say("iteration", "wait", "p", code=5)
    assert walk.state() == "blocked"
    assert "cannot drain" in say("pipeline", "drain", "p", code=5)
    say("iteration", "abandon", "p", "4", "--sink", "out", "--yes")
    assert "p 4: committed" in say("iteration", "wait", "p", "4")
    assert "p: drained" in say("pipeline", "drain", "p")
    assert "4 committed" not in say("iteration", "wait", "p", "4")

    told_first = say("pipeline", "rewind", "p", "--to", "1", "--dry-run")
    assert "2 committed" in told_first
    assert "taken back to 1" in say("pipeline", "rewind", "p", "--to", "1", "--yes")
    assert check(walk.folder, "p")["rewound"] == 3
    say("pipeline", "resume", "p")
    say("iteration", "wait", "p", code=5)  # b.csv is read again
    (walk.folder / "lake/out/part-0000000004-out.parquet").unlink(missing_ok=True)


def test_given_runs_and_backfills_when_waited_for_then_the_exit_code_is_what_the_store_has(walk: Walk) -> None:
    say, put = walk.say, walk.put
    assert "no_data" in say("pipeline", "trigger", "q", "--wait")
    put("q/a", "1")
    assert "done" in say("pipeline", "trigger", "q", "--wait")
    put("q/b", "x")
    assert "failed" in say("pipeline", "trigger", "q", "--wait", code=5)
    assert walk.state("q") == "failed"
    say("iteration", "cancel", "q", "2", "--yes")
    assert walk.state("q") == "active"
    put("q/b", "2")
    assert "done" in say("pipeline", "trigger", "q", "--wait")

    lane = shown(walk.folder, "pipeline", "backfill", "q", "--files", "q/a*.csv", "--yes", "--wait")["lane"]
    assert f"q {lane}: done, 1 of 1 iteration committed" in say("backfill", "wait", lane)
    assert "has ended: done" in say("backfill", "cancel", "q", lane, "--yes", code=4)
    put("q/b", "oops")
    begun = call(walk.folder, "pipeline", "backfill", "q", "--files", "q/b*.csv", "--yes", "--wait")
    assert begun.exit_code == 5
    (broken,) = [one["lane"] for one in shown(walk.folder, "backfill", "list")["items"] if one["lane"] != lane]
    assert "holds it up" in say("backfill", "wait", broken, code=5)
    say("backfill", "cancel", broken.removeprefix("backfill-"), "--yes")
    assert "cancelled" in say("backfill", "wait", broken, code=5)
    assert [one["state"] for one in shown(walk.folder, "backfill", "list", "q")["items"]] == ["cancelled", "done"]
    walk.system.stop()
    for pipeline in ("p", "q"):
        check(walk.folder, pipeline)  # and at rest


def test_given_nobody_who_works_or_looks_when_asked_then_it_is_said_and_nothing_is_called_done(walk: Walk) -> None:
    say, put = walk.say, walk.put
    say("worker", "scale", "0")
    until("no worker", lambda: shown(walk.folder, "worker", "list")["items"] == [])
    put("a", "1")
    until("planned", lambda: check(walk.folder, "p")["planned"])
    assert "p is active" in say("iteration", "wait", "p", "--timeout", "1s", code=124)
    assert "workers 0" in told(walk.folder, "status")[0]
    say("worker", "scale", "1")
    assert "p 1: committed" in say("iteration", "wait", "p", "1")

    walk.system.kill("source", signal.SIGSTOP)
    put("b", "2")
    until("the source is told silent", lambda: shown(walk.folder, "status")["silent"])
    assert any("source" in line for line in told(walk.folder, "status") if line.startswith("! "))
    assert check(walk.folder, "p") == {"committed": 1}
    assert say("iteration", "wait", "p", "--timeout", "1s", code=124)
    walk.system.kill("source", signal.SIGCONT)
    assert "p 2: committed" in say("iteration", "wait", "p", "2")
    walk.system.stop()
    with sqlite3.connect(f"file:{walk.folder}/.odibi/checkpoints.db?mode=ro", uri=True) as db:
        assert db.execute("SELECT count(*) FROM iterations WHERE state = 'committed'").fetchone() == (2,)
