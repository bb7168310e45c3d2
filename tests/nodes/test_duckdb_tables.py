"""Tables of DuckDB: what one that is there makes of rows, and a file that is one process's at a time."""

from __future__ import annotations

import datetime as dt
import decimal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from odibi_actors.config.model import ConnectionSpec, NodeSpec, WriteSpec
from odibi_actors.connections import duckdb_session
from odibi_actors.errors import ConflictError
from odibi_actors.model import Failure, Target
from odibi_actors.nodes.sinks.table import TableSink
from odibi_actors.nodes.sinks.targets import understood
from tests.nodes.helpers import publish_task
from tests.nodes.test_sinks import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def mart(world: World) -> str:
    return str(world.root / "mart.duckdb")


def node(world: World, *keys: str, version: str | None = None, mode: str = "append", table: str = "t") -> NodeSpec:
    write = WriteSpec(
        ConnectionSpec("mart", "duckdb", mart(world)),
        "upsert" if keys else mode,  # type: ignore[arg-type]
        table=table,
        keys=list(keys),
        version=version,
    )
    return NodeSpec("out", ["clean"], write=write)


def sql(world: World, text: str) -> list[tuple[Any, ...]]:
    with closing(duckdb.connect(mart(world))) as db:
        return db.execute(text).fetchall()


def refused(world: World, sink: NodeSpec, **columns: Any) -> Failure:
    return world.stage_failure(sink, pa.table(columns))


def kept(world: World, sink: NodeSpec, **columns: Any) -> None:
    world.publish(sink, world.stage(sink, pa.table(columns)))


@pytest.mark.parametrize(
    ("declared", "values", "said"),
    [
        ("integer", [2**40], "out of range"),
        ("float", [0.1], "would keep 0.1 (row 1, double) as 0.10000000149"),
        ("decimal(5,1)", [decimal.Decimal("1.25")], "would keep"),
        ("varchar", [1], "is declared VARCHAR, and the rows have int64. Declare it BIGINT"),
        ("bigint", ["1"], "Declare it VARCHAR"),
        ("date", [dt.datetime(2020, 1, 1, 5)], "Declare it TIMESTAMP"),
        ("timestamp_s", [dt.datetime(2020, 1, 1, 0, 0, 0, 5)], "Declare it TIMESTAMP"),
        ("double", [1, 2**53 + 1], "would keep 9007199254740993 (row 2, int64) as 9007199254740992.0"),
        ("double", [2**63 - 1], "would keep 9223372036854775807 (row 1, int64) as 9.223372036854776e+18"),
        ("float", [2**24 + 1], "would keep 16777217 (row 1, int64) as 16777216.0"),
        ("double", pa.array([2**64 - 1], pa.uint64()), "would keep 18446744073709551615 (row 1, uint64)"),
        (
            "double",
            pa.array([decimal.Decimal("0.1234567890123456789")], pa.decimal128(38, 19)),
            "(row 1, decimal128(38, 19)",
        ),
        (
            "double",
            pa.array([decimal.Decimal("12345678901234567.00")], pa.decimal128(38, 2)),
            "as 1.2345678901234568e+16",
        ),
        ("decimal(38,2)", [1e22], "would keep 1e+22 (row 1, double) as 9999999999999999832227.84"),
        ("decimal(10,2)", [0.5, 0.1], "would keep 0.1 (row 2, double) as 0.10"),
        ("integer", [1.0, -0.0], "would keep -0.0 (row 2, double) as 0"),
        ("integer", [1.0, 1.5], "would keep 1.5 (row 2, double) as 2"),
        ("bigint", [decimal.Decimal("1.5")], "as 2"),
        ("decimal(38,30)", pa.array([None, decimal.Decimal(10**20)], pa.decimal128(38, 0)), "refuses row 2 (x = "),
        ("integer", [1, 2, float("nan")], "refuses row 3 (x = nan)"),
        ("bigint not null", [1, None, 1], "table 't' of MART refuses row 2 (x = None): Constraint Error: NOT NULL"),
        ("bigint check (x > 0)", [*[1] * 50, -1, -2], "refuses row 51 (x = -1): Constraint Error: CHECK"),
        ("bigint unique", [1, 2, 1, 2], "refuses row 3 (x = 1): Constraint Error: "),
        ("enum ('a', 'b')", ["a", "c", "d"], "table 't' of MART refuses row 2 (x = 'c'): Conversion Error"),
        ("tinyint", [1, 128], "refuses row 2 (x = 128): "),
        ("bigint, y bigint generated always as (x + 1)", [1], ""),
    ],
)
def test_given_a_table_when_staged_then_what_it_would_change_or_refuse_is_named(
    world: World, declared: str, values: Any, said: str
) -> None:
    said = said.replace("MART", mart(world))
    sql(world, f"create table t (x {declared})")
    if not said:
        kept(world, node(world), x=values)
        assert "is generated; leave it out" in refused(world, node(world), x=[2], y=[3]).message
        return
    failure = refused(world, node(world), x=values)
    assert (failure.kind, said in failure.message) == ("invalid", True), failure.message
    assert sql(world, "select * from t") == []


@pytest.mark.parametrize(
    ("declared", "values"),
    [
        ("hugeint", [2**40, None]),
        ("double", [2, 3, None, -(2**53), 2**62]),
        ("float", [1.5, None, -0.0, float("inf")]),
        ("decimal(38,4)", [1.5, None, 0.0, 1e15]),
        ("integer", [3.0, None, 0.0]),
        ("double", [decimal.Decimal("1.25"), decimal.Decimal("-3.00")]),
        ("decimal(10,4)", [decimal.Decimal("1.2500")]),
        ("enum ('a', 'b')", ["a", "b"]),
        ("bigint primary key", [1, 2]),
    ],
)
def test_given_a_table_of_other_types_when_they_hold_the_values_then_it_is_published(
    world: World, declared: str, values: list[Any]
) -> None:
    sql(world, f"create table t (x {declared})")
    kept(world, node(world), x=pa.array(values))
    assert [row[0] for row in sql(world, "select x from t")] == values


@pytest.mark.parametrize(
    ("columns", "row", "column", "said"),
    [
        ("x bigint, y bigint not null", {"x": 1, "y": None}, "y", "refuses row 2 (y = None)"),
        ("x bigint, y enum ('b')", {"x": 1, "y": "c"}, "y", "refuses row 2 (y = 'c')"),
        ("x bigint, y bigint check (x < y)", {"x": 3, "y": 2}, "", "refuses row 2 (x = 3, y = 2)"),
        ("x bigint, y bigint, primary key (x, y)", {"x": 0, "y": 7}, "", "refuses row 2 (x = 0, y = 7)"),
        ("x bigint, y double", {"x": 0, "y": 2**53 + 1}, "y", "would keep 9007199254740993 (row 2, int64)"),
    ],
)
@pytest.mark.parametrize("keys", [(), ("x", "y")])
def test_given_several_columns_when_a_row_is_refused_then_it_is_the_first_with_the_column_to_blame(
    world: World, keys: tuple[str, ...], columns: str, row: dict[str, Any], column: str, said: str
) -> None:
    if keys and ("primary" in columns or row["y"] is None):
        return  # replaced, or refused as a key
    sql(world, f"create table t ({columns})")
    fine = {"x": 0, "y": "b" if "enum" in columns else 7}
    rows = pa.Table.from_pylist([fine, row, {**row, "x": 9}])
    failure = world.stage_failure(node(world, *keys), rows)
    assert (failure.kind, failure.column, said in failure.message) == ("invalid", column, True), failure.message
    assert sql(world, "select * from t") == []


def test_given_a_table_that_lacks_a_column_then_the_statement_that_adds_it_is_said(world: World) -> None:
    sql(world, "create table t (x bigint)")
    failure = refused(world, node(world), x=[1], y=["a"])
    assert failure.kind == "conflict"
    assert 'alter table "t" add column "y" VARCHAR' in failure.message
    sql(world, 'alter table "t" add column "y" VARCHAR')
    kept(world, node(world), x=[1], y=["a"])


def test_given_a_view_then_it_is_refused(world: World) -> None:
    sql(world, "create view t as select 1 as x")
    assert "is a view" in refused(world, node(world), x=[1]).message


def test_given_names_that_are_one_to_duckdb_then_they_are_refused(world: World) -> None:
    assert "columns 'a' and 'A' are one to DuckDB" in refused(world, node(world), a=[1], A=[2]).message


def test_given_a_version_when_older_rows_come_later_then_the_newer_stay(world: World) -> None:
    sink = node(world, "k", version="v")
    world.publish(sink, world.stage(sink, pa.table({"k": [1, 2], "v": [5, 5], "n": ["a", "b"]}), 1))
    world.publish(sink, world.stage(sink, pa.table({"k": [1, 2, 3], "v": [4, 5, 1], "n": ["x", "c", "d"]}), 2))
    assert sql(world, "select * from t order by k") == [(1, 5, "a"), (2, 5, "c"), (3, 1, "d")]


def test_given_rows_of_the_same_keys_in_a_table_when_upserted_then_it_is_refused(world: World) -> None:
    sql(world, "create table t as select * from (values (1, 2), (1, 3)) v(k, n)")
    failure = refused(world, node(world, "k"), k=[1], n=[2])
    assert "has several rows of the same k" in failure.message


def test_given_rows_of_somebody_else_when_overwritten_then_they_stay(world: World) -> None:
    sql(world, "create table t as select 1 as x")
    assert "does not delete" in refused(world, node(world, mode="overwrite"), x=[1]).message
    assert sql(world, "select x from t") == [(1,)]


def test_given_a_table_with_keys_when_overwritten_again_then_rows_of_before_are_in_nobodys_way(world: World) -> None:
    sql(world, "create table t (x bigint primary key)")
    kept(world, node(world, mode="overwrite"), x=[1, 2])
    world.publish(node(world, mode="overwrite"), world.stage(node(world, mode="overwrite"), pa.table({"x": [2, 3]}), 2))
    assert sql(world, "select x from t order by x") == [(2,), (3,)]
    sql(world, "create table child (pid bigint references t (x)); insert into child values (3), (null)")
    failure = refused(world, node(world, mode="overwrite"), x=[3])
    assert (failure.kind, "table 'child' refers to them ON DELETE NO ACTION" in failure.message) == ("conflict", True)
    assert sql(world, "select x from t order by x") == [(2,), (3,)]


def test_given_a_second_unique_column_when_upserted_then_it_is_said_who_is_in_the_way_and_what_to_do(
    world: World,
) -> None:
    sql(world, "create table t (x bigint, y varchar, code varchar unique, primary key (x, y))")
    sql(world, "insert into t values (1, 'a, y: b', 'old'), (2, 'b', 'new')")
    sql(world, "create table other (x bigint, y varchar, foreign key (x, y) references t (x, y))")
    sql(world, "create table child (x bigint, y varchar, foreign key (x, y) references t (x, y))")
    sql(world, "insert into child values (1, 'a, y: b')")
    sink = node(world, "x", "y")
    failure = refused(world, sink, x=[1], y=["a, y: b"], code=["old"])
    assert "has the key x = '1', y = 'a, y: b': table 'child' refers to it (x, y)" in failure.message
    assert "leave code out before the sink" in failure.message
    failure = refused(world, sink, x=[2, 3], y=["b", "c"], code=["new", "old"])
    assert "refuses row 2 (x = 3, y = 'c', code = 'old')" in failure.message
    assert "another row, there or in this batch, has that value: change or leave out" in failure.message
    staged = world.stage(sink, pa.table({"x": [3], "y": ["c"], "code": ["free"]}))
    sql(world, "update t set code = 'free' where x = 2")
    told = world.publish_failure(publish_task(sink, staged)).message
    assert told.endswith("drop what makes the value unique, and `odibictl iteration retry`")


def test_given_a_row_without_its_parent_when_published_then_it_is_refused_and_goes_in_once_that_is_there(
    world: World,
) -> None:
    sql(world, "create table parent (x bigint primary key); create table t (pid bigint references parent, d double)")
    exact = refused(world, node(world), pid=[9], d=pa.array([decimal.Decimal("0.1")]))
    assert "would keep 0.1" in exact.message
    staged = world.stage(node(world), pa.table({"pid": [9], "d": [0.5]}))
    failure = world.publish_failure(publish_task(node(world), staged))
    assert failure.kind == "conflict"
    assert 'key "x: 9" does not exist in the referenced table; nothing is kept: bring that row there' in failure.message
    sql(world, "insert into parent values (9)")
    world.publish(node(world), staged)
    assert sql(world, "select pid from t") == [(9,)]


def test_given_a_marker_that_cannot_be_written_when_published_then_no_row_is_there_either(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = node(world)
    kept(world, sink, x=[0])
    staged = world.stage(sink, pa.table({"x": [1]}), 2)

    def mark(*_: object) -> None:
        raise OSError("the worker is gone")

    with monkeypatch.context() as patched:
        patched.setattr(TableSink, "_mark", mark)
        world.publish_failure(publish_task(sink, staged))
    assert sql(world, "select x from t") == [(0,)]
    world.publish(sink, staged)
    assert sql(world, "select x from t order by x") == [(0,), (1,)]


def test_given_a_file_that_is_none_then_it_is_a_conflict_that_names_it(world: World) -> None:
    Path(mart(world)).write_bytes(b"x" * 5000)
    failure = refused(world, node(world), x=[1])
    assert (failure.kind, mart(world) in failure.message) == ("conflict", True), failure.message


def test_given_another_process_that_has_the_file_then_it_is_waited_for_and_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = node(world)
    staged = world.stage(sink, pa.table({"x": [1]}))
    monkeypatch.setattr(duckdb_session, "BUSY_TIMEOUT", 0.0)
    script = "import duckdb, sys; db = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, mart(world)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        failure = world.publish_failure(publish_task(sink, staged))
        assert failure.kind == "busy"
        assert f"is in use by pid {other.pid}" in failure.message or f"{other.pid}" in failure.message, failure.message
        assert "tried again until it is free" in failure.message
        with (
            pytest.raises(ConflictError, match="a time; give the command again once it is free"),
            understood(Target("duckdb", mart(world), "t"), ConflictError),
        ):
            duckdb_session.connect(mart(world))
        assert other.stdin is not None
        other.stdin.close()
    world.publish(sink, staged)
    assert sql(world, "select x from t") == [(1,)]
