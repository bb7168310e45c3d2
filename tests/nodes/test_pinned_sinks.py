"""A sink's schema is told by its first part and never changes by itself: later values fit it, or are refused."""

from __future__ import annotations

import datetime as dt
import decimal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from odibi_actors.config.model import ConnectionSpec, NodeSpec
from odibi_actors.messages import NodeDone, PublishDone, Step
from odibi_actors.model import PIN, node_key, pin_digest
from odibi_actors.nodes.sinks.conform import unfit
from tests.nodes.helpers import done, failed, outcomes, publish_task, sqlite_node, task
from tests.nodes.test_sinks import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def node(world: World, sink: str, **more: Any) -> NodeSpec:
    spec = world.lake if sink == "lake" else sqlite_node(world.mart)
    assert spec.write is not None
    return msgspec.structs.replace(spec, write=msgspec.structs.replace(spec.write, **more))


def stage(world: World, sink: NodeSpec, table: pa.Table, number: int, pin: bytes = b"", **more: Any) -> NodeDone:
    step = Step(sink, f"static-{sink.name}", schema=pin, **more)
    return done(world.executor, task(step, inputs={"clean": world.ref(table, number)}, iteration=number))


def refused(world: World, sink: NodeSpec, table: pa.Table, pin: bytes = b"", **more: Any) -> Any:
    step = Step(sink, f"static-{sink.name}", schema=pin, **more)
    return failed(world.executor, task(step, inputs={"clean": world.ref(table, 9)}, iteration=9)).failure


def put(world: World, sink: NodeSpec, table: pa.Table, number: int, pin: bytes = b"", **more: Any) -> bytes:
    """Stage and publish; returns the schema that is pinned from here on."""
    staged = stage(world, sink, table, number, pin, **more)
    world.publish(sink, staged)
    return staged.schema or pin


FIRST = pa.table({"k": [1], "v": [1]})
SINKS = pytest.mark.parametrize("sink", ["lake", "mart"])


@SINKS
def test_given_the_first_part_when_staged_then_its_schema_is_told_and_covered_by_its_key(
    world: World, sink: str
) -> None:
    spec = node(world, sink)
    first = stage(world, spec, FIRST, 1)
    assert first.schema_text == ["k: int64", "v: int64"]
    later = stage(world, spec, FIRST, 2, first.schema)
    assert later.schema == b""
    digests = {"clean": world.ref(FIRST).digest, PIN: pin_digest(first.schema)}
    assert first.key == node_key(f"static-{spec.name}", digests)
    assert later.key == first.key


@SINKS
def test_given_ints_pinned_when_fractions_come_then_they_are_refused_and_whole_ones_are_ints(
    world: World, sink: str
) -> None:
    spec = node(world, sink)
    pin = put(world, spec, FIRST, 1)
    failure = refused(world, spec, pa.table({"k": [2, 3], "v": [2.0, 1.5]}), pin)
    assert (failure.kind, failure.column, failure.value) == ("invalid", "v", "1.5")
    assert "column 'v' is double: 1.5 (row 2) is not int64, which the sink's first part pinned." in failure.message
    assert "or all of it again (`odibictl reset delays --targets`)" in failure.message
    put(world, spec, pa.table({"k": [2], "v": [5.0]}), 2, pin)
    if sink == "lake":
        assert duckdb.sql(f"select sum(v), typeof(sum(v)) from '{world.folder}/*.parquet'").fetchall() == [
            (6, "HUGEINT")
        ]
        kinds = [pq.read_schema(part).field("v").type for part in sorted(world.folder.glob("part-*"))]
        assert kinds == [pa.int64(), pa.int64()]
    else:
        assert world.rows("select v, typeof(v) from delays") == [(1, "integer"), (5, "integer")]


@SINKS
def test_given_doubles_pinned_when_ints_come_then_they_are_doubles_up_to_2_to_the_53(world: World, sink: str) -> None:
    spec = node(world, sink)
    pin = put(world, spec, pa.table({"v": [1.5]}), 1)
    put(world, spec, pa.table({"v": [2**53, None]}), 2, pin)
    failure = refused(world, spec, pa.table({"v": [1, 2**53 + 1]}), pin)
    assert (failure.column, failure.value) == ("v", "9007199254740993")


@SINKS
def test_given_other_columns_when_staged_then_they_are_refused_with_the_way_out_and_their_order_is_the_first_ones(
    world: World, sink: str
) -> None:
    spec = node(world, sink)
    pin = put(world, spec, FIRST, 1)
    new = refused(world, spec, pa.table({"k": [1], "v": [1], "w": [1]}), pin)
    assert "column 'w' (int64) is new to the sink" in new.message
    assert f"`odibictl sink repin delays.{spec.name}`" in new.message
    missing = refused(world, spec, pa.table({"k": [1]}), pin)
    assert "column 'v' (int64) is missing" in missing.message
    assert not world.leftovers() or world.leftovers() == ["staged", "delays"]
    put(world, spec, pa.table({"v": [7], "k": [2]}), 2, pin)
    if sink == "lake":
        part = pq.read_table(world.folder / "part-0000000002-lake.parquet")
        assert part.to_pydict() == {"k": [2], "v": [7]}
        assert part.column_names == ["k", "v"]
    put(world, spec, pa.table({}), 3, pin)  # a function that found nothing


@SINKS
def test_given_a_sink_that_is_open_when_columns_change_then_types_stay_and_the_new_schema_is_told(
    world: World, sink: str
) -> None:
    spec = node(world, sink)
    pin = put(world, spec, FIRST, 1)
    if sink == "mart":
        assert "add column" in refused(world, spec, pa.table({"w": ["x"], "k": [2]}), pin, open=True).message
        world.rows("alter table delays add column w TEXT")
    bad = refused(world, spec, pa.table({"w": ["x"], "k": [2.5]}), pin, open=True)
    assert bad.column == "k"
    staged = stage(world, spec, pa.table({"w": ["x"], "k": [2.0]}), 2, pin, open=True)
    assert staged.schema_text == ["k: int64", "w: string"]


@SINKS
def test_given_nothing_but_nulls_when_staged_then_they_fit_any_pin_and_a_type_can_be_declared(
    world: World, sink: str
) -> None:
    nulls = pa.table({"k": [1], "v": pa.nulls(1)})
    spec = node(world, sink)
    pin = put(world, spec, FIRST, 1)
    put(world, spec, nulls, 2, pin)
    other = node(world, sink, **({"path": "other"} if sink == "lake" else {"table": "other"}))
    taken_for_text = stage(world, other, nulls, 1).schema
    failure = refused(world, other, FIRST, taken_for_text)
    assert "in which it held nothing but nulls" in failure.message
    assert "`write.schema: {v: int64}`" in failure.message
    third = {"path": "third"} if sink == "lake" else {"table": "third"}
    declared = node(world, sink, schema={"v": "double"}, **third)
    staged = stage(world, declared, nulls, 1)
    assert staged.schema_text == ["k: int64", "v: double"]
    wrong = node(world, sink, schema={"v": "int8"}, **third)
    assert (
        "write.schema says v: int8, but the sink's first part pinned double"
        in refused(world, wrong, FIRST, staged.schema).message
    )
    assert "300 (row 1) is not int8" in refused(world, wrong, pa.table({"v": [300]})).message
    assert (
        "names column 'z', which is not there"
        in refused(world, node(world, sink, schema={"z": "int8"}, **third), FIRST).message
    )
    assert "is not an Arrow type" in refused(world, node(world, sink, schema={"v": "in"}, **third), FIRST).message


def test_given_a_folder_from_before_when_staged_without_a_pin_then_its_newest_part_tells_it(world: World) -> None:
    put(world, world.lake, pa.table({"v": [1.5]}), 1)
    put(world, world.lake, pa.table({"v": [1]}), 12)
    staged = stage(world, world.lake, pa.table({"v": [1]}), 13)
    assert staged.schema_text == ["v: double"]
    assert "is new to the sink" in refused(world, world.lake, pa.table({"v": [1.5], "w": [1]})).message
    damaged = world.folder / "part-0000000020-lake.parquet"
    damaged.write_bytes(b"x")
    assert str(damaged) in refused(world, world.lake, FIRST).message


D = decimal.Decimal
NOON = dt.datetime(2020, 1, 1, 12, 0, 0, 5)


@pytest.mark.parametrize(
    ("given", "kind", "wanted", "bad"),
    [
        ([1, None], pa.int64(), pa.float64(), None),
        ([300], pa.int64(), pa.int8(), "300"),
        ([2**63], pa.uint64(), pa.int64(), str(2**63)),
        ([1.0, float("nan")], pa.float64(), pa.int64(), "nan"),
        ([float("inf")], pa.float64(), pa.int64(), "inf"),
        ([0.5, 0.1], pa.float64(), pa.float32(), "0.1"),
        ([0.5, float("nan"), None], pa.float64(), pa.float32(), None),
        ([D("1.50")], pa.decimal128(9, 2), pa.decimal128(20, 1), None),
        ([D("1.55")], pa.decimal128(9, 2), pa.decimal128(20, 1), "1.55"),
        ([D("100.5")], pa.decimal128(9, 1), pa.decimal128(3, 1), "100.5"),
        ([D("2.00"), D("2.50")], pa.decimal128(9, 2), pa.int64(), "2.50"),
        ([D("0.1")], pa.decimal128(9, 1), pa.float64(), "0.1"),
        ([5], pa.int64(), pa.decimal128(5, 2), None),
        ([50000], pa.int64(), pa.decimal128(5, 2), "50000"),
        ([NOON], pa.timestamp("us"), pa.timestamp("ns"), None),
        ([NOON], pa.timestamp("us"), pa.timestamp("s"), "2020-01-01 12:00:00.000005"),
        ([NOON], pa.timestamp("us"), pa.timestamp("us", "UTC"), "2020-01-01 12:00:00.000005"),
        ([NOON], pa.timestamp("us", "UTC"), pa.timestamp("us", "Europe/Paris"), None),
        ([NOON], pa.timestamp("us"), pa.date32(), "2020-01-01 12:00:00.000005"),
        ([dt.date(2020, 1, 1)], pa.date32(), pa.date64(), None),
        (["x"], pa.string(), pa.large_string(), None),
        ([7], pa.int64(), pa.string(), "7"),
        (["7"], pa.string(), pa.int64(), "7"),
        ([True], pa.bool_(), pa.int64(), "True"),
        ([b"x"], pa.binary(), pa.string(), "b'x'"),
        ([[1], []], pa.list_(pa.int64()), pa.list_(pa.float64()), None),
        ([[1], [2**60 + 1]], pa.list_(pa.int64()), pa.list_(pa.float64()), f"[{2**60 + 1}]"),
        ([{"a": 1}], pa.struct([("a", pa.int64())]), pa.struct([("a", pa.float64())]), None),
        ([{"a": 1}], pa.struct([("a", pa.int64())]), pa.struct([("b", pa.int64())]), "{'a': 1}"),
        ([1.5], pa.float16(), pa.float64(), None),
        ([], pa.string(), pa.int64(), None),
    ],
)
def test_given_a_value_of_another_type_then_it_is_taken_exactly_or_named(
    given: list[Any], kind: pa.DataType, wanted: pa.DataType, bad: str | None
) -> None:
    column = pa.chunked_array([pa.array(given, kind)] if given else [], kind)
    found = unfit(column, wanted) if given else None
    assert (found[1] if found else None) == bad


@SINKS
def test_given_a_published_sink_when_its_target_is_gone_then_nothing_is_put_in_its_place(
    world: World, sink: str
) -> None:
    spec = node(world, sink)
    pin = put(world, spec, FIRST, 1)
    staged = stage(world, spec, FIRST, 2, pin, published=True)
    assert staged.staged is not None
    place = world.folder if sink == "lake" else world.mart
    moved = place.with_name("moved")
    place.rename(moved)
    if sink == "lake":
        place.mkdir()  # as a mount point is there without its file system
    work = msgspec.structs.replace(publish_task(spec, staged), published=True)
    for failure in (refused(world, spec, FIRST, pin, published=True), world.publish_failure(work)):
        assert failure.kind == "conflict"
        assert f"{place} is not there, but node {spec.name!r}" in failure.message
        assert f"`odibictl sink repin delays.{spec.name}`" in failure.message
    assert not place.exists() or not any(place.iterdir())
    place.rmdir() if sink == "lake" else None
    moved.rename(place)
    world.publish(spec, staged)


def test_given_a_published_table_when_it_was_dropped_then_it_is_missed(world: World) -> None:
    spec = node(world, "mart")
    pin = put(world, spec, FIRST, 1)
    world.rows("drop table delays")
    failure = refused(world, spec, FIRST, pin, published=True)
    assert f"table 'delays' of {world.mart} is not there, but node 'mart'" in failure.message
    put(world, spec, FIRST, 2, pin)  # after `odibictl sink repin` nothing is expected there
    assert world.rows() == [(1, 1)]


def test_given_an_older_copy_of_a_database_when_published_then_what_it_lacks_is_missed(world: World) -> None:
    spec = node(world, "mart")
    pin = put(world, spec, FIRST, 1)
    older = world.mart.read_bytes()
    put(world, spec, FIRST, 2, pin)
    newer = world.mart.read_bytes()
    staged = stage(world, spec, FIRST, 3, pin, published=True)
    work = msgspec.structs.replace(publish_task(spec, staged), published=True, before=2)
    world.mart.write_bytes(older)
    failure = world.publish_failure(work)
    assert failure.kind == "conflict"
    assert f"table 'delays' of {world.mart} has nothing of iteration 2" in failure.message
    assert "the newest it has is 1" in failure.message
    assert "`odibictl sink repin delays.mart` goes on without what is missing" in failure.message
    assert world.rows() == [(1, 1)]
    world.mart.write_bytes(newer)
    (published,) = outcomes(world.executor, work)
    assert isinstance(published, PublishDone)
    assert len(world.rows("select iteration from _odibi_commits")) == 3


HEADER = pa.table({"k": pa.array([], pa.string()), "v": pa.array([], pa.string())})
"""What a file of nothing but a header becomes: texts, for want of a better guess."""


@SINKS
def test_given_no_rows_and_guessed_types_when_published_then_nothing_is_seen_nor_pinned(
    world: World, sink: str
) -> None:
    spec = node(world, sink)
    inputs = {"clean": world.ref(HEADER)}
    staged = done(world.executor, task(spec, inputs=inputs, typeless=["src"]))
    assert (staged.schema, staged.schema_text) == (b"", [])
    for _ in range(2):  # again, after a crash, there is nothing left of it
        world.publish(spec, staged)
    assert not list(world.folder.glob("*.parquet"))
    if sink == "mart":
        assert world.rows("select name from sqlite_master where name = 'delays'") == []
    pin = put(world, spec, FIRST, 2)
    assert pa.ipc.read_schema(pa.py_buffer(pin)).field("v").type == pa.int64()
    # Once types are pinned, an iteration without rows is one like any other.
    again = done(world.executor, task(Step(spec, "static", schema=pin), inputs=inputs, iteration=3, typeless=["src"]))
    world.publish(spec, again)
    assert len(list(world.folder.glob("*.parquet"))) == (2 if sink == "lake" else 0)


def read(world: World, spec: NodeSpec) -> int:
    """How many rows a reader finds; -1: there is nothing to read."""
    assert spec.write is not None
    at, connection = world.folder, spec.write.connection
    if connection.type == "local":
        at = (at / "current").resolve() if spec.write.mode == "overwrite" else at
        found = [one for one in at.rglob("part-*.*") if "_" not in {part[0] for part in one.relative_to(at).parts}]
        pattern = {"csv": "read_csv", "json": "read_json", "parquet": "read_parquet"}[spec.write.format or "parquet"]
        query = f"select count(*) from {pattern}({[str(one) for one in found]})"
        return int(duckdb.sql(query).fetchall()[0][0]) if found else -1
    opened = sqlite3.connect if connection.type == "sqlite" else duckdb.connect
    with closing(opened(connection.path)) as db:  # type: ignore[operator]
        try:
            return int(db.execute("select count(*) from delays").fetchall()[0][0])
        except (sqlite3.OperationalError, duckdb.CatalogException):
            return -1


@pytest.mark.parametrize(
    ("sink", "more"),
    [
        ("lake", {}), ("lake", {"format": "csv"}), ("lake", {"format": "json"}), ("lake", {"mode": "overwrite"}),
        ("lake", {"format": "csv", "mode": "overwrite"}), ("lake", {"partition_by": ["k"]}),
        ("lake", {"partition_by": ["k"], "mode": "overwrite"}),
        *(
            (sink, more)
            for sink in ("sqlite", "duckdb")
            for more in (
                {},
                {"mode": "upsert", "keys": ["k"]},
                {"mode": "overwrite"},
                {"mode": "delete", "keys": ["k"]},
            )
        ),
    ],
)  # fmt: skip
def test_given_a_table_without_columns_when_published_then_nothing_is_seen_nor_pinned(
    world: World, sink: str, more: dict[str, Any]
) -> None:
    spec, mode = node(world, sink, **more), more.get("mode", "append")
    if sink == "duckdb" and spec.write is not None:
        connection = ConnectionSpec("mart", "duckdb", str(world.root / "mart.duckdb"))
        spec = msgspec.structs.replace(spec, write=msgspec.structs.replace(spec.write, connection=connection))
    if mode == "delete" and spec.write is not None:
        with closing((sqlite3 if sink == "sqlite" else duckdb).connect(spec.write.connection.path)) as db:  # type: ignore[attr-defined]
            db.execute("create table delays (k bigint, v bigint)")
            db.execute("insert into delays values (1, 1), (2, 2)")
            db.commit()
    before = read(world, spec)
    staged = stage(world, spec, pa.table({}), 1)
    assert (staged.schema, staged.schema_text) == (b"", [])
    for _ in range(2):
        world.publish(spec, staged)
    assert read(world, spec) == before
    pin = put(world, spec, FIRST, 2)
    rows = 1  # those of a deletion: the other one
    assert read(world, spec) == rows
    # Later ones have the columns that are pinned; one that is overwritten is empty then.
    for opened in (False, True):
        void = stage(world, spec, pa.table({}), 3 + opened, pin, open=opened)
        assert void.schema == b""
        world.publish(spec, void)
        emptied = -1 if "partition_by" in more else 0
        assert read(world, spec) == (emptied if mode == "overwrite" else rows)


@SINKS
def test_given_no_rows_of_types_that_are_known_when_published_then_they_are_pinned(world: World, sink: str) -> None:
    spec = node(world, sink)
    staged = stage(world, spec, FIRST.slice(0, 0), 1)
    assert staged.schema_text == ["k: int64", "v: int64"]
    world.publish(spec, staged)
    assert world.rows() == [] if sink == "mart" else pq.read_table(world.folder).schema == FIRST.schema


LISTS = pa.list_(pa.int64())


@pytest.mark.parametrize(
    ("pinned", "given", "kept"),
    [
        (LISTS, pa.array([[], None, []], pa.list_(pa.string())), [[], None, []]),
        (LISTS, pa.array([[None], [], None], pa.list_(pa.string())), [[None], [], None]),
        (pa.list_(LISTS), pa.array([[[]], [[], None]], pa.list_(pa.list_(pa.string()))), [[[]], [[], None]]),
        (pa.struct([("a", pa.date32()), ("b", LISTS)]),
         pa.array([{"a": None, "b": [1]}, None], pa.struct([("a", pa.string()), ("b", LISTS)])),
         [{"a": None, "b": [1]}, None]),
    ],
)  # fmt: skip
def test_given_lists_and_fields_without_a_value_when_staged_then_their_type_is_the_pinned_one(
    world: World, pinned: pa.DataType, given: pa.Array, kept: list[Any]
) -> None:
    pin = pa.schema([("v", pinned)]).serialize().to_pybytes()
    put(world, world.lake, pa.table({"v": given}), 1, pin)
    found = pq.read_table(world.folder)["v"]
    assert (found.type.equals(pinned), found.to_pylist()) == (True, kept)


def test_given_another_type_within_a_list_when_staged_then_no_remedy_is_told_that_does_not_work(world: World) -> None:
    pin = pa.schema([("v", LISTS)]).serialize().to_pybytes()
    failure = refused(world, world.lake, pa.table({"v": [["a"]]}), pin)
    assert failure.message.endswith('targets`), with `write.schema: {v: "list<item: string>"}`')
    fixed = pa.array([["a"]], pa.list_(pa.string(), 1))
    failure = refused(world, world.lake, pa.table({"v": fixed}), pin)
    assert failure.message.endswith("(`odibictl reset delays --targets`)")
