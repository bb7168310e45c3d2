"""What ``odibictl`` says of a project, held against the store's own tables, whether the project runs or is at rest."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from odibi_actors.cli.__main__ import odibictl
from odibi_actors.cli.pipeline import _no_runs
from odibi_actors.client import Client
from odibi_actors.messages import STORE
from odibi_actors.units import plural

STATES = ("planned", "running", "prepared", "committed", "failed", "blocked", "dead_lettered", "cancelled", "rewound")
OPEN = ("planned", "running", "prepared", "failed", "blocked")


def call(folder: Path, *args: str) -> Result:
    """``odibictl ARGS`` in this process."""
    return CliRunner().invoke(odibictl, [*args, "--project", str(folder)])


def shown(folder: Path, *args: str) -> Any:
    """The result of a command that must succeed."""
    result = call(folder, *args, "-o", "json")
    assert result.exit_code == 0, (args, result.stderr)
    return json.loads(result.stdout)


def told(folder: Path, *args: str) -> list[str]:
    """The lines for people of a command that must succeed."""
    result = call(folder, *args)
    assert result.exit_code == 0, (args, result.stderr)
    return result.stdout.splitlines()


def check(folder: Path, pipeline: str) -> Counter[str]:
    """Every list and view of a pipeline against the store's tables; returns its iterations by state. Where something
    has moved on meanwhile it is looked at again."""
    while True:
        before = _stored(folder, pipeline)
        iterations, letters, runs, pending = before
        states = Counter(str(one["state"]) for one in iterations)
        try:
            _views(folder, pipeline, states, iterations, letters)
            _lists(folder, pipeline, states, letters, runs)
            _ends(folder, pipeline, iterations, runs)
            _sources(folder, pipeline)
            return states
        except AssertionError:
            if _stored(folder, pipeline) == before and not pending:
                raise


def _stored(folder: Path, pipeline: str) -> tuple[list[Any], list[Any], list[Any], int]:
    """Iterations, dead letters and runs, as the store has them, and how many records are not durable yet."""
    with Client(project=folder) as client:
        ask = {"pipeline": pipeline, "limit": 1000}
        iterations = client.request("iteration.list", dict(ask), STORE)["items"]
        letters = client.request("deadletter.list", {"pipeline": pipeline}, STORE)["items"]
        runs = client.request("run.list", dict(ask), STORE)["items"]
        pending = client.status()["pending"]
    return iterations, letters, runs, pending


def _views(folder: Path, pipeline: str, states: Counter[str], iterations: list[Any], letters: list[Any]) -> None:
    """Status, and the pipeline's own page."""
    status = shown(folder, "status")
    (row,) = [one for one in status["pipelines"] if one["pipeline"] == pipeline]
    last = max((one["iteration"] for one in iterations if one["state"] == "committed"), default=0)
    for found in (row, shown(folder, "pipeline", "show", pipeline)):
        assert found["committed"] == states["committed"], (found, states)
        assert found["in_flight"] == sum(states[state] for state in OPEN), (found, states)
        assert (found["last_committed"] or 0) == last
        assert found["dead_letters"] == len(letters)
        stuck = next((state for state in ("blocked", "failed") if _live(iterations, state)), "")
        assert not stuck or found["state"] == stuck, (found, states)
    text = told(folder, "status")
    line = next(words for words in map(str.split, text) if words[:1] == [pipeline])
    assert line[1].rstrip(",") == row["state"].split(",")[0]
    assert line[2] == str(states["committed"]) or line[3] == str(states["committed"])  # "failed, paused" is two words
    said = [one for one in text if one.startswith(f"! {pipeline}: ") and "dead letter" in one.split("`")[0]]
    assert [one.split(": ")[1] for one in said] == ([plural(len(letters), "dead letter")] if letters else [])


def _sources(folder: Path, pipeline: str) -> None:
    """At rest, sources know each file once, however often it was planned, and nothing of what waits in their folders.
    The store of a running system can be read by nobody else."""
    if "at_rest" not in shown(folder, "status"):
        return
    stored = _files(folder, pipeline)
    for one in shown(folder, "source", "list")["items"]:
        assert (one["pending"], one["waiting"]) == (None, None)
        if one["pipeline"] == pipeline and one["mode"] == "file_watch":
            assert one["known"] == stored[one["source"], one["lane"]]


def _files(folder: Path, pipeline: str) -> Counter[tuple[str, str]]:
    """Files of the ledger, by source and lane."""
    with closing(sqlite3.connect(f"{(folder / '.odibi/checkpoints.db').as_uri()}?mode=ro&immutable=1", uri=True)) as db:
        found = db.execute("SELECT DISTINCT source, lane, identity FROM ledger WHERE pipeline = ?", (pipeline,))
        return Counter((source, lane) for source, lane, _ in found)


def _live(iterations: list[Any], state: str) -> bool:
    return any(one["state"] == state and one["lane"] == "live" for one in iterations)


def _lists(folder: Path, pipeline: str, states: Counter[str], letters: list[Any], runs: list[Any]) -> None:
    """Lists have a row for each, and say that there is none where there is none."""
    for state in STATES:
        listed = shown(folder, "iteration", "list", pipeline, "--state", state, "-n", "1000")["items"]
        assert len(listed) == states[state]
        lines = told(folder, "iteration", "list", pipeline, "--state", state, "-n", "1000")
        assert (lines == [f"{pipeline} has no such iterations"]) == (not states[state])
    lines = told(folder, "deadletter", "list", pipeline)
    assert (lines == ["no dead letters"]) == (not letters)
    rows = lines[1 : len(letters) + 1]  # what is to be done about them is said below
    assert not letters or [line.split()[0] for line in rows] == [str(one["id"]) for one in letters]
    backfills = [one for one in runs if one["cause"] == "backfill"]
    listed = shown(folder, "backfill", "list", pipeline, "-n", "1000")["items"]
    assert sorted(one["lane"] for one in listed) == sorted(one["lane"] for one in backfills)
    by_lane = {one["lane"]: one for one in backfills}
    for one in listed:
        stored = by_lane[one["lane"]]
        assert (one["state"] == stored["state"]) or stored["state"] == "active", (one, stored)
        alone = shown(folder, "backfill", "show", one["lane"])
        assert (alone["pipeline"], alone["state"]) == (pipeline, one["state"])
    assert (told(folder, "backfill", "list", pipeline) == ["no backfills"]) == (not backfills)
    listed = shown(folder, "pipeline", "runs", pipeline, "-n", "1000")["items"]
    assert [(one["run"], one["state"]) for one in listed] == [(one["run"], one["state"]) for one in runs]
    assert (told(folder, "pipeline", "runs", pipeline) == [_no_runs(pipeline, None)]) == (not runs)


def _ends(folder: Path, pipeline: str, iterations: list[Any], runs: list[Any]) -> None:
    """Runs have ended as their iterations have, and whoever waits for one is told the same."""
    aside = Counter({one["iteration"]: one["dead_letters"] for one in iterations})
    for one in runs:
        assert one["state"] in due(one, iterations, aside), one
    ended = [one for one in runs if one["state"] != "active"]
    if ended and "at_rest" not in shown(folder, "status"):
        with Client(project=folder) as client:
            for one in ended[:5]:
                waited = client.wait_run(one["run"], 10.0)
                assert (waited["state"], waited["error"]) == (one["state"], one["error"])


def due(run: dict[str, Any], iterations: list[Any], aside: Counter[int]) -> tuple[str, ...]:
    """How a run may have ended, by what its iterations are in the tables now; ``aside`` counts letters by iteration.
    Why one failed may be gone by now: a letter was discarded, what was stuck was cancelled."""
    mine = [one for one in iterations if run["run"] in (one["run"], one["taken"])]
    unclean = ("failed", "cancelled") if run["error"] else ("cancelled",)
    if any(one["state"] in OPEN for one in mine):
        return ("active", *unclean)
    if any(aside[one["iteration"]] or one["state"] == "dead_lettered" for one in mine):
        return unclean
    return (*unclean, "done" if any(one["state"] != "cancelled" for one in mine) else "no_data")


def run_told(folder: Path, pipeline: str, result: Result) -> None:
    """What ``run`` or ``trigger --wait`` has printed, and its exit code, are what ``pipeline runs`` says of it."""
    words = dict(line.split(maxsplit=1) for line in result.stdout.splitlines() if len(line.split()) > 1)
    if "run" not in words:
        return
    (row,) = [one for one in shown(folder, "pipeline", "runs", pipeline)["items"] if one["run"] == words["run"]]
    assert words["state"] == row["state"], (words, row)
    assert result.exit_code == (5 if row["state"] in ("failed", "cancelled") else 0), (words, row)
    if "iterations" in words:
        assert int(words["iterations"]) == row["planned"] + row["taken_up"], (words, row)
