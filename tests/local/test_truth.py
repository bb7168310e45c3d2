"""Messages are true: a project is led through its states, and in each what is printed and returned is held against the
store's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from odibi_actors.config import load_project
from odibi_actors.local import LocalSystem, run_pipeline
from odibi_actors.messages import STORE
from tests.local import telling

PROJECT = """\
project: truth
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: p
    on_error: ON_ERROR
    retry: {max_attempts: 1}
    nodes:
      - name: src
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv", schema: {id: int64}}
      - {name: t, inputs: [src], transform: {sql: "select id from src"}}
      - {name: out, inputs: [t], write: {connection: lake, path: out, format: parquet}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "landing").mkdir()
    return tmp_path


def put(folder: Path, **files: str) -> None:
    for name, rows in files.items():
        path = folder / f"landing/{name}.csv"
        path.write_text("id\n" + rows)


def run(folder: Path, on_error: str) -> Any:
    (folder / "odibi.yaml").write_text(PROJECT.replace("ON_ERROR", on_error))
    return run_pipeline(load_project(folder), "p")


def tables(folder: Path) -> dict[str, Any]:
    """What the store has, and what the broker's waits say of the same."""
    with LocalSystem(load_project(folder)) as system:
        runs = system.request("run.list", {"pipeline": "p"}, to=STORE)["items"]
        return {
            "iterations": system.request("iteration.list", {"pipeline": "p"}, to=STORE)["items"],
            "letters": system.request("deadletter.list", {"pipeline": "p"}, to=STORE)["items"],
            "runs": runs,
            "row": system.request("pipeline.show", {"pipeline": "p"}),
            "wait": system.request("iteration.wait", {"pipeline": "p"}),
            "waits": {one["run"]: system.request("run.wait", {"run": one["run"]}) for one in runs},
        }


def hold(summary: Any, now: dict[str, Any]) -> None:
    """Every message against the tables."""
    mine = [one for one in now["iterations"] if summary.run in (one["run"], one["taken"])]
    letters = [one for one in now["letters"] if one["iteration"] in {i["iteration"] for i in mine}]
    (stored,) = [one for one in now["runs"] if one["run"] == summary.run]
    assert summary.state == stored["state"]
    assert (summary.iterations, summary.dead_lettered) == (len(mine), len(letters))
    assert summary.committed == sum(one["state"] == "committed" for one in mine)
    assert summary.failed == sum(one["state"] in ("failed", "blocked") for one in mine)
    clean = bool(mine) and all(one["state"] == "committed" for one in mine) and not letters
    assert (summary.state == "done") == clean
    for name, wait in now["waits"].items():
        (row,) = [one for one in now["runs"] if one["run"] == name]
        assert (wait["state"], wait["error"]) == (row["state"], row["error"])
    row, wait = now["row"], now["wait"]
    assert row["committed"] == sum(one["state"] == "committed" for one in now["iterations"])
    assert row["dead_letters"] == len(now["letters"])
    states = {one["iteration"]: one["state"] for one in now["iterations"]}
    assert wait["state"] == states.get(wait["iteration"], "")
    files = [one for one in now["letters"] if one["iteration"] == wait["iteration"] and one["position"]]
    if wait["state"] == "committed":
        assert wait["files"] == len(files)


def test_given_each_end_of_a_run_when_it_is_told_then_it_is_what_the_tables_say(folder: Path) -> None:
    steps: list[tuple[dict[str, str], str, str, str]] = [
        ({}, "dead_letter", "no_data", ""),
        ({"a": "1\n"}, "dead_letter", "done", "committed"),
        ({"b": "2\n", "c": "x\n"}, "dead_letter", "failed", "committed"),
        ({"d": "y\n"}, "dead_letter", "failed", "dead_lettered"),
        ({"e": "5\n"}, "dead_letter", "done", "committed"),
        ({}, "dead_letter", "no_data", "committed"),
        ({"f": "z\n"}, "halt", "failed", "failed"),
    ]
    for files, on_error, state, last in steps:
        put(folder, **files)
        summary = run(folder, on_error)
        now = tables(folder)
        assert summary.state == state, (files, summary)
        assert now["wait"]["state"] == last, (files, now["wait"])
        hold(summary, now)


def test_given_a_pipeline_at_rest_in_each_of_its_states_then_every_view_is_what_the_tables_say(folder: Path) -> None:
    """As those do who only use ``run``; what is waited for is in tests/system/test_truth.py."""
    (folder / "odibi.yaml").write_text(PROJECT.replace("ON_ERROR", "dead_letter"))

    def step(*args: str, code: int = 0, state: str = "active", **states: int) -> str:
        result = telling.call(folder, *args)
        assert result.exit_code == code, (args, result.output)
        if args[0] == "run":
            telling.run_told(folder, "p", result)
        assert telling.check(folder, "p") == states
        assert telling.shown(folder, "pipeline", "show", "p")["state"] == state
        return result.output

    assert "no_data" in step("run", "p")
    put(folder, a="1\n")
    step("run", "p", committed=1)
    put(folder, b="x\n")
    assert "1 dead letter" in step("run", "p", code=5, committed=1, dead_lettered=1)
    put(folder, b="2\n", c="y\n")
    assert "replayed       1" in step("run", "p", "--replay", "1", code=5, committed=2, dead_lettered=2)
    assert "2: discarded" in step("deadletter", "discard", "2", "--yes", committed=2, dead_lettered=2)
    assert "has no dead letter" in step("run", "p", "--replay", "all", committed=2, dead_lettered=2)
    step("pipeline", "pause", "p", state="paused", committed=2, dead_lettered=2)
    put(folder, d="4\n")
    assert "p is paused" in step("run", "p", code=4, state="paused", committed=2, dead_lettered=2)
    step("pipeline", "resume", "p", committed=2, dead_lettered=2)
    step("run", "p", committed=3, dead_lettered=2)
    (folder / "odibi.yaml").write_text(PROJECT.replace("ON_ERROR", "halt"))
    put(folder, e="z\n")
    step("run", "p", code=5, state="failed", committed=3, dead_lettered=2, failed=1)
    assert "failed" in " ".join(telling.told(folder, "status"))
    step("iteration", "cancel", "p", "6", "--yes", committed=3, dead_lettered=2, cancelled=1)
    put(folder, e="5\n")
    step("run", "p", committed=4, dead_lettered=2, cancelled=1)
    (folder / "lake/out/part-0000000008-out.parquet").write_bytes(b"somebody else's")
    put(folder, f="6\n")
    step("run", "p", code=5, state="blocked", committed=4, dead_lettered=2, cancelled=1, blocked=1)
    abandon = ("iteration", "abandon", "p", "8", "--sink", "out", "--yes")
    assert "for the next" in step(*abandon, committed=4, dead_lettered=2, cancelled=1, prepared=1)
    step("run", "p", committed=5, dead_lettered=2, cancelled=1)


def test_given_a_run_that_only_takes_up_what_others_left_then_run_and_pipeline_runs_say_the_same(folder: Path) -> None:
    """Dead letters that it replays; what an interrupted run, a failed one, or nobody's replay has left."""
    (folder / "odibi.yaml").write_text(PROJECT.replace("ON_ERROR", "dead_letter"))

    def run(state: str, iterations: int, *args: str) -> None:
        result = telling.call(folder, "run", "p", *args)
        telling.check(folder, "p")
        telling.run_told(folder, "p", result)
        shown = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
        assert (shown["state"], shown["iterations"]) == (state, str(iterations)), result.output

    put(folder, a="x\n")
    run("failed", 1)
    put(folder, a="1\n")
    run("done", 1, "--replay", "1")
    put(folder, b="2\n")
    with LocalSystem(load_project(folder)) as system:
        system.request("pipeline.trigger", {"pipeline": "p", "run": "left"})
        flow = system.coordinator.flow
        assert flow is not None
        system.until(lambda: flow.pipelines["p"].last_iteration == 3)  # planned; and the process ends
    rows = telling.shown(folder, "pipeline", "runs", "p")["items"]
    if rows[0]["state"] == "active":
        run("done", 1)
        assert telling.shown(folder, "pipeline", "runs", "p")["items"][1]["state"] in ("cancelled", "done")
    run("no_data", 0)
    (folder / "lake/out/part-0000000004-out.parquet").write_bytes(b"somebody else's")
    put(folder, c="3\n")
    run("failed", 1)
    (folder / "lake/out/part-0000000004-out.parquet").unlink()
    run("done", 1)
    run("no_data", 0)
