"""Schedules on real processes: by the second while things are killed, after each other, and what is told of failure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.system.chaos_schedules import Soak
from tests.system.harness import System, last, pipeline, published, put, small, until
from tests.system.scheduled import report

Make = Callable[[Path], System]

CHAIN = "".join(
    [
        pipeline("a", last("plain"), trigger="manual"),
        pipeline(
            "b", last("picky"), trigger="schedule", schedules="[{name: follow, after: a}]", retry="{max_attempts: 1}"
        ),
        pipeline("c", last("plain"), trigger="schedule", schedules="[{name: follow, after: b}]"),
    ]
)
NODES = """
from pathlib import Path


def plain(rows):
    return rows


def picky(rows):
    if not Path("fixed").exists():
        raise ValueError("not fixed yet")
    return rows
"""
ALERT = """#!/bin/sh
cat >> told.json
echo >> told.json
"""


def test_given_schedules_by_the_second_when_actors_are_killed_then_each_due_time_is_noted_and_run_by_its_policy(
    tmp_path: Path,
) -> None:
    soak = Soak(tmp_path / "p", 3, print)
    try:
        found = soak.run(8)
    finally:
        soak.system.close()
    assert not any(one.problems for one in found), report(found)
    assert sum(one.started for one in found) > 20


def test_given_a_chain_that_fails_in_the_middle_when_retried_then_it_goes_on_there_and_nothing_before_it_runs_again(
    make: Make, tmp_path: Path
) -> None:
    folder = small(tmp_path / "p", CHAIN, NODES)
    (folder / "bin").mkdir()
    (folder / "bin/alert.sh").write_text(ALERT)
    (folder / "bin/alert.sh").chmod(0o755)
    with (folder / "odibi.yaml").open("a") as file:
        file.write("alerts:\n  - {command: bin/alert.sh}\n")
    system = make(folder)
    system.start()
    for name in ("a", "b", "c"):
        put(system, name, "f1", "1,1.5")
    assert system.ctl("pipeline", "trigger", "a", "--wait").returncode == 0
    system.wait("b", 1, "failed")
    runs = {row["pipeline"]: row["state"] for row in system.json("pipeline", "runs", "b")["items"]}
    assert runs == {"b": "failed"}
    assert system.json("pipeline", "runs", "c")["items"] == []
    told = until("the alert is told", lambda: (folder / "told.json").exists() and (folder / "told.json").read_text())
    assert json.loads(told.splitlines()[0])["kind"] == "failure"

    (folder / "fixed").touch()
    read = [row for row in system.json("node", "list", "b", "1")["items"] if row["node"] == "rows"]
    assert system.ctl("iteration", "retry", "b", "1").returncode == 0
    system.wait("c", 1, "committed")
    until("c's run is over", lambda: system.json("pipeline", "runs", "c")["items"][0]["state"] == "done")
    assert [row["iteration"] for name in ("a", "b", "c") for row in system.iterations(name)] == [1, 1, 1]
    again = [row for row in system.json("node", "list", "b", "1")["items"] if row["node"] == "rows"]
    assert again[0]["attempt"] == read[0]["attempt"]  # what was read was not read again
    assert [published(system, name) for name in ("a", "b", "c")] == [[1]] * 3
    assert system.json("pipeline", "runs", "b")["items"][0]["state"] == "done"
    until("the recovery is told", lambda: "recovery" in (folder / "told.json").read_text())


def test_given_files_that_were_read_when_backfilled_beside_live_ones_then_they_are_read_again_and_live_ones_once(
    make: Make, tmp_path: Path
) -> None:
    system = make(small(tmp_path / "p", pipeline("plain", last("plain")), NODES))
    system.start()
    for number in range(1, 7):
        put(system, "plain", f"old{number}", f"{number},1.5")
    assert system.settled("plain") == "committed"
    shown = system.json("pipeline", "backfill", "plain", "--files", "old*.csv", "--dry-run")
    assert shown["files"][0]["files"] == 6
    lane = system.client.backfill("plain", files={"": "old*.csv"}, concurrency=2)["lane"]
    put(system, "plain", "new", "100,1.5")
    system.kill("broker")
    system.client.wait_backfill("plain", lane, timeout=60.0)
    assert system.settled("plain") == "committed"
    assert published(system, "plain") == sorted([1, 2, 3, 4, 5, 6] * 2 + [100])
