"""Code and configuration change while the system runs: from ``odibictl apply`` on, and not before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.harness import PLAIN, System, last, pipeline, published, put, small, until

Make = Callable[[Path], System]

NODES = """
def scaled(rows, by=1):
    return rows.assign(id=rows["id"] * by)


def broken(rows):
    raise ValueError("not yet")
"""


def replace(system: System, file: str, former: str, new: str) -> None:
    path = system.project / file
    text = path.read_text()
    assert former in text
    path.write_text(text.replace(former, new))


def apply(system: System) -> None:
    done = system.ctl("apply")
    assert done.returncode == 0, done.stderr + system.tail()


def test_given_changed_code_when_it_is_not_applied_then_nothing_changes_and_when_it_is_then_new_workers_run_it(
    make: Make, tmp_path: Path
) -> None:
    system = make(small(tmp_path / "p", pipeline("plain", last("scaled")), NODES))
    system.start()
    put(system, "plain", "a", "1,1.5")
    system.wait("plain", 1, "committed")
    (template,) = system.pids("template")
    replace(system, "nodes/own.py", "* by", "* by + 100")
    put(system, "plain", "b", "2,1.5")
    system.wait("plain", 2, "committed")
    system.kill("worker")
    put(system, "plain", "c", "3,1.5")
    system.wait("plain", 3, "committed")
    assert published(system, "plain") == [1, 2, 3]
    assert system.pids("template") == [template]
    # A new warm parent finds the new code, which nobody has applied: the iteration waits, and says what for.
    system.kill("template")
    put(system, "plain", "d", "4,1.5")
    until("it says what to do", lambda: "odibictl apply" in json.dumps(system.client.pipeline("plain")["problems"]))
    assert published(system, "plain") == [1, 2, 3]
    apply(system)
    system.wait("plain", 4, "committed")
    assert published(system, "plain") == [1, 2, 3, 104]
    assert system.client.pipeline("plain")["problems"] == []
    replace(system, "nodes/own.py", "+ 100", "+ 200")
    apply(system)
    put(system, "plain", "e", "5,1.5")
    system.wait("plain", 5, "committed")
    assert published(system, "plain") == [1, 2, 3, 104, 205]
    assert [row["version"] for row in system.iterations("plain")] == [1, 1, 1, 2, 3]
    assert template not in until("old workers are gone", lambda: system.pids("template"))


CHAIN = """
{name: narrow, inputs: [rows], transform: {sql: "select id, value from rows"}}
{name: last, inputs: [narrow], transform: {function: "nodes.own:broken"}}
"""


def test_given_an_iteration_that_failed_when_its_node_is_fixed_then_the_others_keep_what_they_did(
    make: Make, tmp_path: Path
) -> None:
    system = make(small(tmp_path / "p", pipeline("plain", CHAIN, retry="{max_attempts: 1}"), NODES))
    system.start()
    put(system, "plain", "a", "1,1.5", "2,2.5")
    system.wait("plain", 1, "failed")
    before = {row["node"]: row["attempt"] for row in system.client.nodes("plain", 1)["items"]}
    for wrong in ("transfrom", "transform: {function: 1}, transform"):
        replace(system, "odibi.yaml", "transform: {function", f"{wrong}: {{function")
        assert system.ctl("apply").returncode == 2
        replace(system, "odibi.yaml", f"{wrong}: {{function", "transform: {function")
    assert system.client.pipeline("plain")["version"] == 1
    replace(system, "odibi.yaml", 'function: "nodes.own:broken"', 'function: "nodes.own:scaled", params: {by: 10}')
    apply(system)
    system.ctl("iteration", "retry", "plain", "1")
    assert system.settled("plain") == "committed"
    rows = {row["node"]: row["attempt"] for row in system.client.nodes("plain", 1)["items"]}
    assert {name: rows[name] for name in ("rows", "narrow")} == {name: before[name] for name in ("rows", "narrow")}
    assert rows["last"] != before["last"]
    assert system.iterations("plain")[0]["version"] == 2
    assert published(system, "plain") == [10, 20]


def test_given_an_iteration_that_is_prepared_when_its_sink_is_moved_then_it_goes_where_it_was_prepared_for(
    make: Make, tmp_path: Path
) -> None:
    system = make(small(tmp_path / "p", pipeline("plain", last("scaled")), NODES))
    system.start()
    put(system, "plain", "a", "1,1.5")
    system.wait("plain", 1, "committed")
    # Somebody else has taken the name that the second part will have.
    stranger = system.project / "data/lake/plain/part-0000000002-out.parquet"
    stranger.write_bytes(b"not ours")
    put(system, "plain", "b", "2,1.5")
    system.wait("plain", 2, "blocked")
    replace(system, "odibi.yaml", "connection: lake, path: plain", "connection: lake, path: elsewhere")
    apply(system)
    put(system, "plain", "c", "3,1.5")
    assert stranger.read_bytes() == b"not ours"
    stranger.unlink()
    assert system.ctl("iteration", "retry", "plain", "2").returncode == 0
    assert system.settled("plain") == "committed"
    assert published(system, "plain") == [1, 2]
    assert published(system, "elsewhere") == [3]
    assert [row["used"] for row in system.client.nodes("plain", 2)["items"]] == [0, 0, 0]
    assert [row["version"] for row in system.iterations("plain")] == [1, 1, 2]
    assert system.client.status()["epoch"] == 1


@pytest.mark.parametrize(
    "write",
    [
        "{connection: lake, path: plain, format: parquet}",
        pytest.param("{connection: mart, table: t}", marks=pytest.mark.soak),
    ],
)
def test_given_a_sink_is_renamed_while_it_runs_when_it_is_adopted_then_it_goes_on_and_a_rewind_takes_back_both(
    make: Make, tmp_path: Path, write: str
) -> None:
    yaml = pipeline("plain", PLAIN).replace("{connection: lake, path: plain, format: parquet}", write)
    system = make(small(tmp_path / "p", yaml))
    system.start()
    put(system, "plain", "a", "1,1.5")
    system.wait("plain", 1, "committed")
    replace(system, "odibi.yaml", "{name: out,", "{name: other,")
    refused = system.ctl("apply")
    assert refused.returncode == 4
    assert "`odibictl sink adopt plain.other` lets it go on there" in refused.stderr
    put(system, "plain", "b", "2,1.5")  # nothing was applied: the former name goes on
    system.wait("plain", 2, "committed")
    adopted = system.ctl("sink", "adopt", "plain.other", "--yes")
    assert adopted.returncode == 0, adopted.stderr
    system.kill("broker")
    system.kill("worker")
    put(system, "plain", "c", "3,1.5")
    system.wait("plain", 3, "committed")
    verified = system.ctl("checkpoint", "verify")
    assert "no problem was found" in verified.stdout, verified.stdout
    shown = system.json("sink", "show", "plain.other")
    assert (shown["former"], shown["last"]) == (["plain.out"], 3)
    assert "node 'other'" in shown["owner"]
    if "lake" in write:
        assert published(system, "plain") == [1, 2, 3]
        assert system.ctl("pipeline", "drain", "plain").returncode == 0
        assert system.ctl("pipeline", "rewind", "plain", "--to", "1", "--yes").returncode == 0
        assert published(system, "plain") == [1]
        assert system.ctl("pipeline", "resume", "plain").returncode == 0
        until("all is read again", lambda: published(system, "plain") == [1, 2, 3])
