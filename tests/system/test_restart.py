"""After an end of any kind, the next start goes on from what is durable: nothing is read or run again."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.system.harness import Delivery, Flights, System, finish, last, pipeline, published, put, small, until

Make = Callable[[Path], System]

UP = (sys.executable, "-m", "odibi_actors.cli", "up")

NODES = """
import time
from pathlib import Path


def _ran(what):
    with open("ran.log", "a") as log:
        print(what, file=log)


def first(rows):
    _ran("first")
    return rows


def second(first):
    _ran("second")
    while not Path("go").exists():
        time.sleep(0.01)
    return first
"""
CHAIN = """
{name: first, inputs: [rows], transform: {function: "nodes.own:first"}}
{name: last, inputs: [first], transform: {function: "nodes.own:second"}}
"""


def acks(system: System, pipeline: str, iteration: int) -> dict[str, tuple[Any, ...]]:
    """Node -> what its acknowledgement says."""
    names = ("state", "attempt", "started_at", "rows_out", "key", "worker")
    listed = system.json("node", "list", pipeline, str(iteration))["items"]
    return {row["node"]: tuple(row[name] for name in names) for row in listed}


def history(system: System) -> list[Any]:
    """Every iteration with its nodes."""
    rows = system.iterations("delays")
    return [{**row, "nodes": acks(system, "delays", row["iteration"])} for row in rows]


def test_given_a_system_that_has_finished_when_it_goes_down_and_up_then_nothing_is_read_again(
    flights: Flights, make: Make, tmp_path: Path
) -> None:
    system = make(flights.project(tmp_path / "f"))
    system.start(*UP)
    with Delivery(system.project / "data/landing", flights.files[:3], 20):
        pass
    finish(system, flights, 3)
    before = history(system)
    ledger = system.client.checkpoint_stats()["counts"]["ledger"]
    parts = {path.name: path.stat().st_ino for path in (system.project / "data/lake/flights").glob("*.parquet")}
    system.stop()
    system.start(*UP)
    assert system.client.status()["epoch"] == 2
    assert system.settled("delays") == "committed"
    assert history(system) == before
    assert system.client.checkpoint_stats()["counts"]["ledger"] == ledger
    with Delivery(system.project / "data/landing", flights.files[3:5], 20):
        pass
    finish(system, flights, 5)
    assert history(system)[: len(before)] == before
    after = {path.name: path.stat().st_ino for path in (system.project / "data/lake/flights").glob("*.parquet")}
    assert parts.items() <= after.items()


def test_given_a_node_that_runs_when_everything_is_killed_then_the_nodes_before_it_are_not_run_again(
    make: Make, tmp_path: Path
) -> None:
    system = make(small(tmp_path / "p", pipeline("chain", CHAIN), NODES))
    ran = system.project / "ran.log"
    system.start()
    put(system, "chain", "a", "1,1.5", "2,2.5")
    until("the last node runs", lambda: ran.exists() and ran.read_text().split() == ["first", "second"])
    until("the first is durable", lambda: acks(system, "chain", 1)["first"][0] == "acked")
    before = acks(system, "chain", 1)
    assert before["last"][0] == "running"
    for pid in system.processes.living():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    assert system.extinct()
    (system.project / "go").touch()
    system.start()
    assert system.settled("chain") == "committed"
    after = acks(system, "chain", 1)
    assert {name: after[name] for name in ("rows", "first")} == {name: before[name] for name in ("rows", "first")}
    assert [after[name][1].split("-")[0] for name in after] == ["1", "1", "2", "2"], "the epochs of the attempts"
    assert ran.read_text().split() == ["first", "second", "second"]
    assert published(system, "chain") == [1, 2]


def test_given_a_node_that_runs_when_the_system_goes_down_then_it_is_finished_first(make: Make, tmp_path: Path) -> None:
    system = make(small(tmp_path / "p", pipeline("chain", last("first")), NODES.replace("return rows", HELD)))
    system.start()
    put(system, "chain", "a", "1,1.5")
    until("the node runs", (system.project / "ran.log").exists)
    down = system.processes.launch([*UP[:-1], "down"], system.project, system.log)
    until("it drains", lambda: "draining" in system.tail())
    (system.project / "go").touch()
    assert down.wait(60) == 0, system.tail()
    assert system.extinct()
    system.start()
    assert system.settled("chain") == "committed"
    assert (system.project / "ran.log").read_text().split() == ["first"]
    assert acks(system, "chain", 1)["last"][1].startswith("1-")
    assert published(system, "chain") == [1]


HELD = """while not Path("go").exists():
        time.sleep(0.01)
    return rows"""
