"""The schema a sink is held to after a rewind, and what is said of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from odibi_actors.config import load_project
from odibi_actors.local import LocalSystem
from tests.local.test_moved_projects import PROJECT, ctl, first, put, rewind, run

__all__ = ["first"]


def shown(root: Path, sink: str) -> str:
    return ctl(root, "sink", "show", f"p.{sink}").partition("schema: ")[2].splitlines()[0]


@pytest.mark.parametrize("sink", ["out", "tab"])
def test_given_a_rewind_to_what_has_told_the_schema_then_the_next_part_is_held_to_it_and_it_is_said(
    first: Path, sink: str
) -> None:
    rewind(first, 1)
    assert shown(first, sink) == "pinned, 1 column by iteration 1"
    (first / "odibi.yaml").write_text(PROJECT.replace("select x from", "select x::varchar as x from"))
    assert run(first).failed
    assert shown(first, sink) == "pinned, 1 column by iteration 1"


def test_given_a_rewind_before_what_has_told_the_schema_then_what_is_left_tells_it_and_it_is_said(first: Path) -> None:
    with LocalSystem(load_project(first)) as system:
        system.request("sink.repin", {"pipeline": "p", "sink": "out"})
    put(first, 4)
    assert run(first).committed == 1
    assert shown(first, "out") == "pinned, 1 column by iteration 4"
    rewind(first, 3)
    assert shown(first, "out") == "told by the newest part there, part-0000000003-out.parquet"
    assert run(first).committed == 1
    rewind(first, 0)
    assert shown(first, "out") == "told by the next part"
    with closing(sqlite3.connect(first / "mart.db")) as db, db:
        db.execute("drop table t")
    (first / "odibi.yaml").write_text(PROJECT.replace("select x from", "select x::varchar as x from"))
    run(first)
    assert shown(first, "out").startswith("pinned, 1 column by iteration ")
