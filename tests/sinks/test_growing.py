"""Columns that ``on_schema_change: evolve`` adds to a table go with the rows that bring them, or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from odibi_actors.errors import ConflictError
from odibi_actors.kinds.connection import OPEN, Access
from odibi_actors.kinds.registry import sink_of
from odibi_actors.kinds.sink import Site
from odibi_actors.model import Attempt, Target
from odibi_actors.nodes.sinks.conform import Pin
from odibi_actors.nodes.sinks.owner import Owner
from odibi_actors.nodes.sinks.table import TableSink
from tests.postgres import GROUP, Schema


def _place(kind: str, root: Path) -> tuple[Target, Access, Callable[[], Any]]:
    path = str(root / "mart.db")
    if kind == "postgres":
        schema = Schema(root)
        return schema.target("t"), schema.access, schema.connected
    connect: Callable[[], Any] = {"sqlite": sqlite3, "duckdb": duckdb}[kind].connect  # type: ignore[attr-defined]
    return Target(kind, path, "t"), OPEN, lambda: connect(path)


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", pytest.param("postgres", marks=GROUP)])
def test_given_rows_that_are_not_published_then_their_columns_are_not_there_and_then_both_are(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, access, connect = _place(kind, tmp_path)
    with closing(connect()) as db:
        db.execute("create table t (k bigint primary key, other text)")
        db.execute("insert into t values (1, 'theirs')")
        db.commit()

    def sink(*keys: str) -> TableSink:
        return TableSink(sink_of(kind), Site(at, Owner("s", "p", "n"), staging=tmp_path, access=access), keys)  # type: ignore[arg-type]

    def rows() -> list[tuple[Any, ...]]:
        with closing(connect()) as db:
            return sorted(db.execute("select * from t").fetchall())

    pin = Pin(pa.schema([("k", pa.int64())]), evolve=True)
    new = pa.table({"x": pa.array([1.5], pa.float64()), "k": [2], "y": ["a"]})
    part, kept = sink("k").stage(new, 1, Attempt(1, 1), pin)
    assert kept.column_names == ["k", "x", "y"]
    assert [(one.column, one.change, one.type) for one in pin.changes] == [
        ("x", "new", "double"),
        ("y", "new", "string"),
    ]
    assert rows() == [(1, "theirs")]  # it was tried, and undone
    with monkeypatch.context() as patch:
        patch.setattr(TableSink, "_mark", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sink().publish(part, 1, 0)
    assert rows() == [(1, "theirs")]
    for _ in range(2):
        sink().publish(part, 1, 0)
        assert rows() == [(1, "theirs", None, None), (2, None, 1.5, "a")]
    other = Pin(pa.schema([("z", pa.int64())]), evolve=True)
    with pytest.raises(ConflictError, match="has none of the columns 'z': it is another table"):
        sink().stage(pa.table({"z": [1]}), 2, Attempt(1, 2), other)
