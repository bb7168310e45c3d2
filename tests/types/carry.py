"""Takes a case through a node and both sinks, as the executor does, and reads back what is there."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from odibi_actors.errors import BatchError
from odibi_actors.kinds.sink import Site
from odibi_actors.model import Attempt
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.sinks.folder import FolderSink
from odibi_actors.nodes.sinks.forms import form_of
from odibi_actors.nodes.sinks.owner import Owner
from odibi_actors.nodes.sinks.sqlite_sink import SINK as SQLITE
from odibi_actors.nodes.sinks.table import TableSink
from odibi_actors.nodes.sql import SqlRunner
from odibi_actors.nodes.transform import to_table
from tests import targets
from tests.types.cases import Case

OWNER = Owner("store", "p", "n")
_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def output(case: Case, runner: SqlRunner) -> pa.Table:
    """What the node of a case hands on, in a column ``x``. Raises Failed or BatchError."""
    if isinstance(case.make, str):
        return runner.run(f"select {case.make} as x", {})
    column = case.make()
    if isinstance(column, pd.Series):
        return to_table(pd.DataFrame({"x": column}))
    return to_table(pl.DataFrame({"x": column}) if isinstance(column, pl.Series) else pa.table({"x": column}))


def through_parquet(table: pa.Table, root: Path) -> pa.Table:
    """The table as read from its published part. Raises Failed."""
    sink = FolderSink(Site(targets.folder(str(root / "lake")), OWNER), form_of("parquet"))
    sink.publish(sink.stage(table, 1, Attempt(1, 1))[0], 1, 0)
    return pq.read_table(root / "lake" / "part-0000000001-n.parquet")


def through_sqlite(table: pa.Table, root: Path, keys: list[str] | None = None) -> list[tuple[Any, str]]:
    """Each value of ``x`` in SQLite, with its storage class. Raises Failed."""
    at = targets.table(str(root / "mart.db"), "t")
    sink = TableSink(SQLITE, Site(at, OWNER, staging=root / "staged"), keys or [])
    sink.publish(sink.stage(table, 1, Attempt(1, 1))[0], 1, 0)
    with contextlib.closing(sqlite3.connect(root / "mart.db")) as connection:
        return connection.execute("select x, typeof(x) from t order by rowid").fetchall()


def refusal(error: BatchError | Failed) -> str:
    """Why a column was refused; it is once and by name, or this fails."""
    message = str(error)
    if isinstance(error, Failed):
        assert error.failure.kind == "invalid", error.failure
        column = error.failure.column
    else:
        column = error.column
    assert column == "x", message
    assert "column 'x'" in message, message
    return message


def exact(column: pa.ChunkedArray | list[Any]) -> list[Any]:
    """Values so that equal means the same: floats by their text (NaN, -0.0), instants and times in nanoseconds."""
    if isinstance(column, list):
        return [_exact(one) for one in column]
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time(kind):
        whole = column.cast(pa.int32()).cast(pa.int64()) if pa.types.is_time32(kind) else column.cast(pa.int64())
        return [None if one is None else one * _UNITS[kind.unit] for one in whole.to_pylist()]
    if pa.types.is_date(kind):
        return column.cast(pa.int32()).to_pylist()  # type: ignore[no-any-return]
    return [_exact(one) for one in column.to_pylist()]


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {key: _exact(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(one) for one in value]
    if isinstance(value, decimal.Decimal):
        return value.normalize(decimal.Context(prec=80))
    return value


def expected(values: list[Any], kind: pa.DataType) -> list[Any]:
    """``exact`` of what a case says: integers for instants and times are counts of the unit."""
    if pa.types.is_temporal(kind) and not pa.types.is_date(kind):
        return [None if one is None else _nanoseconds(one, kind) for one in values]
    if pa.types.is_date(kind):
        return [one if one is None or isinstance(one, int) else (one - dt.date(1970, 1, 1)).days for one in values]
    return exact(values)


def _nanoseconds(value: Any, kind: pa.DataType) -> int:
    if isinstance(value, dt.datetime):
        value = value - dt.datetime(1970, 1, 1, tzinfo=dt.UTC if value.tzinfo else None)
    elif isinstance(value, dt.time):
        value = dt.datetime.combine(dt.date.min, value) - dt.datetime.min
    if isinstance(value, dt.timedelta):
        return value // dt.timedelta(microseconds=1) * 1000
    return int(value) * _UNITS[kind.unit]
