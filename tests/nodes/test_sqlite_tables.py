"""Tables that are there already: rows are kept as they are, or refused before anything is staged."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from odibi_actors.config.model import NodeSpec
from odibi_actors.errors import ConflictError
from odibi_actors.model import Target
from odibi_actors.nodes.sinks.sqlite_sink import SINK
from odibi_actors.nodes.sinks.sqlite_table import index_name
from tests.nodes.helpers import overwriting, publish_task, sqlite_node
from tests.nodes.test_sinks import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def do(world: World, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(world.mart, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def versioned(world: World, *keys: str, version: str = "at") -> NodeSpec:
    node = sqlite_node(world.mart, keys)
    assert node.write is not None
    return msgspec.structs.replace(node, write=msgspec.structs.replace(node.write, version=version))


# --- what a table makes of values -----------------------------------------------------------------------------------

D = decimal.Decimal
TABLES: list[tuple[str, pa.Array, str | None]] = [
    ("c STRING", pa.array(["A1", "07867"]), "it would keep '07867' (row 2, string) as 7867. Declare it TEXT"),
    ("c STRING", pa.array(["A1", "1e3", None]), "'1e3'"),
    ("c STRING", pa.array(["A1", "0x1f", "nan", ""]), None),
    ("c NUMERIC", pa.array([D("12345678901234567890.12")]), "as 1.2345678901234567e+19. Declare it TEXT"),
    ("c DECIMAL(10,2)", pa.array([D("0.10")]), "'0.10' (row 1, decimal128(2, 2)) as 0.1"),
    ("c INTEGER", pa.array(["007"]), "as 7"),
    ("c INTEGER primary key", pa.array(["7"]), "as 7"),
    ("c INTEGER primary key", pa.array([1, None]), "in which SQLite keeps no null: it would number row 2. Fill"),
    ("c DATE", pa.array([dt.date(2020, 1, 31)]), None),
    ("c TIMESTAMP", pa.array([dt.datetime(2020, 1, 31, 5)]), None),
    ("c TEXT", pa.array([7]), "declared TEXT: it would keep 7 (row 1, int64) as '7'. Declare it INTEGER"),
    ("c TEXT", pa.array([True]), "as '1'"),
    ("c TEXT", pa.array([1.5]), "as '1.5'"),
    ("c REAL", pa.array([2**53, -1]), None),
    ("c REAL", pa.array([2**53 + 1]), "as 9007199254740992.0"),
    ("c INTEGER", pa.array([1.0, 1.5]), None),
    ("c BOOLEAN", pa.array([True, False, None]), None),
    ("c TEXT", pa.array([b"\x00x"]), None),
    ("c BLOB", pa.array(["07"]), None),
    ("c", pa.array(["07"]), None),
    ("c VARCHAR(3)", pa.array(["longer than three"]), None),
    ("c TEXT not null", pa.array(["a", None]), "refuses row 2 (c = None): NOT NULL constraint failed: delays.c"),
    ("c INTEGER check (c < 2)", pa.array([1, 2]), "refuses row 2: CHECK constraint failed: c < 2"),
    ("c INTEGER unique", pa.array([1, 2, 1]), "refuses row 3 (c = 1): UNIQUE constraint failed: delays.c"),
    ("c TEXT, d TEXT not null", pa.array(["a"]), "NOT NULL constraint failed: delays.d"),
    ("c TEXT, d TEXT not null default 'x'", pa.array(["a"]), None),
    ("c TEXT, d as (c || 'x')", pa.array(["a"]), None),
    ("b TEXT, c as (b || 'x')", pa.array(["a"]), "column 'c' of table 'delays'"),
]


@pytest.mark.parametrize(("columns", "values", "says"), TABLES, ids=[f"{c}: {v.to_pylist()}" for c, v, _ in TABLES])
def test_given_a_table_when_staged_then_values_it_would_change_or_refuse_are_named(
    world: World, columns: str, values: pa.Array, says: str | None
) -> None:
    do(world, f"create table delays ({columns})")
    node = sqlite_node(world.mart)
    table = pa.table({"c": values})
    if says is None:
        world.publish(node, world.stage(node, table))
        found = [value for (value,) in world.rows("select c from delays order by rowid")]
        given_ = [str(v) if isinstance(v, dt.date) else v for v in values.to_pylist()]
        assert [None if v is None else v for v in found] == given_
        return
    failure = world.stage_failure(node, table)
    assert says in failure.message
    assert str(world.mart) in failure.message
    assert not world.leftovers()


STRICT = pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 37), reason="STRICT tables need SQLite 3.37")


@STRICT
@pytest.mark.parametrize(
    ("columns", "values", "says"),
    [
        ("c INTEGER", pa.array([1.0, 1.5]), "cannot store REAL value in INTEGER column"),
        ("c TEXT", pa.array([b"x"]), "cannot store BLOB value in TEXT column"),
        ("c ANY", pa.array(["007"]), None),
    ],
)
def test_given_a_strict_table_then_it_is_the_same(
    world: World, columns: str, values: pa.Array, says: str | None
) -> None:
    do(world, f"create table delays ({columns}) strict")
    node = sqlite_node(world.mart)
    table = pa.table({"c": values})
    if says is None:
        world.publish(node, world.stage(node, table))
        assert [value for (value,) in world.rows("select c from delays")] == values.to_pylist()
    else:
        assert says in world.stage_failure(node, table).message


TEXTS = st.text("0123456789+-.eE xX_nafi", max_size=6)


@given(
    st.lists(TEXTS, min_size=1, max_size=5), st.sampled_from(["STRING", "NUMERIC", "REAL", "INT", "TEXT", "BLOB", ""])
)
@settings(max_examples=25, deadline=None)
def test_given_any_text_and_any_declared_type_then_it_is_kept_or_refused(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], declared: str
) -> None:
    world = World(tmp_path_factory.mktemp("affinity"))
    do(world, f"create table delays (c {declared})")
    node, table = sqlite_node(world.mart), pa.table({"c": texts})
    do(world, "create table probe as select * from delays", f"create table other (c {declared})")
    with contextlib.closing(sqlite3.connect(world.mart)) as connection:
        connection.executemany("insert into other values (?)", [(text,) for text in texts])
        kept = [value for (value,) in connection.execute("select c from other order by rowid")]
    if kept == texts:
        world.publish(node, world.stage(node, table))
        assert [value for (value,) in world.rows("select c from delays order by rowid")] == texts
    else:
        assert world.stage_failure(node, table).kind == "invalid"


def test_given_a_view_then_it_is_refused(world: World) -> None:
    do(world, "create view delays as select 1 as day, 2 as n")
    failure = world.stage_failure(sqlite_node(world.mart), pa.table({"day": [1], "n": [2]}))
    assert (failure.kind, "is a view; write to a table" in failure.message) == ("conflict", True)


@pytest.mark.parametrize("without", ["", " without rowid"])
def test_given_keys_that_a_declared_type_makes_one_then_the_batch_is_refused(world: World, without: str) -> None:
    do(world, f"create table delays (k string primary key, n integer){without}")
    node = sqlite_node(world.mart, ("k",))
    failure = world.stage_failure(node, pa.table({"k": ["7", "b", "07"], "n": [1, 2, 3]}))
    assert "several rows of one batch have the key k='07' (row 3)" in failure.message
    assert "UNIQUE constraint failed: delays.k" in failure.message


def test_given_a_key_that_equals_the_stored_one_when_upserted_then_it_is_kept_as_it_came(world: World) -> None:
    do(world, "create table delays (k primary key, n integer)")
    node = sqlite_node(world.mart, ("k",))
    world.publish(node, world.stage(node, pa.table({"k": [1], "n": [1]}), 1))
    world.publish(node, world.stage(node, pa.table({"k": [1.0], "n": [3]}), 2))
    assert world.rows("select typeof(k), n from delays") == [("real", 3)]


def test_given_zeros_of_both_signs_as_keys_then_the_batch_is_refused(world: World) -> None:
    failure = world.stage_failure(sqlite_node(world.mart, ("k",)), pa.table({"k": [0.0, -0.0], "n": [1, 2]}))
    assert "first k=0.0 (2 rows)" in failure.message


def test_given_a_table_that_drops_rows_when_published_then_it_is_blocked_and_nothing_is_in(world: World) -> None:
    drops = "create trigger t before insert on delays when new.n = 2 begin select raise(ignore); end"
    do(world, "create table delays (day text, n integer)", "insert into delays values ('sun', 2)", drops)
    node = sqlite_node(world.mart)
    staged = world.stage(node, pa.table({"day": ["mon", "tue"], "n": [1, 2]}))
    failure = world.publish_failure(publish_task(node, staged))
    assert failure.kind == "conflict"
    assert "takes 1 of 2 rows" in failure.message
    assert world.rows() == [("sun", 2)]


def test_given_a_trigger_that_drops_rows_when_upserted_with_a_version_then_only_older_ones_may_be_missing(
    world: World,
) -> None:
    do(world, "create table delays (day text primary key, v integer)", "insert into delays values ('sun', 9)")
    do(world, "create trigger t before insert on delays when new.v = 2 begin select raise(ignore); end")
    node = sqlite_node(world.mart, ("day",), version="v")
    world.publish(node, world.stage(node, pa.table({"day": ["sun", "mon"], "v": [8, 1]})))
    staged = world.stage(node, pa.table({"day": ["sun", "mon", "tue"], "v": [8, 3, 2]}), 2, 2)
    failure = world.publish_failure(publish_task(node, staged))
    assert (failure.kind, "takes 1 of 2 rows" in failure.message) == ("conflict", True)
    assert sorted(world.rows()) == [("mon", 1), ("sun", 9)]


@pytest.mark.parametrize("clause", ["replace", "ignore"])
@pytest.mark.parametrize("keys", [(), ("day",)])
def test_given_a_table_that_says_what_to_do_in_a_conflict_then_no_row_goes_for_it_and_the_row_is_told(
    world: World, clause: str, keys: tuple[str, ...]
) -> None:
    do(world, f"create table delays (day text primary key, n integer unique on conflict {clause})")
    do(world, "insert into delays values ('sun', 2)")
    node = sqlite_node(world.mart, keys)
    failure = world.stage_failure(node, pa.table({"day": ["mon", "tue"], "n": [1, 1]}))
    told = " refuses row 2 (n = 1): UNIQUE constraint failed: delays.n; two rows of one batch have that value"
    assert told in failure.message
    staged = world.stage(node, pa.table({"day": ["mon", "tue"], "n": [1, 2]}), counter=2)
    failure = world.publish_failure(publish_task(node, staged))
    assert failure.kind == "conflict"
    told = "refuses row 2 (n = 2): UNIQUE constraint failed: delays.n; nothing is kept: another row has that value"
    assert told in failure.message
    assert ("Two rows cannot exchange" in failure.message) == bool(keys)
    assert world.rows() == [("sun", 2)]


def test_given_a_trigger_that_replaces_what_it_keeps_then_it_still_does(world: World) -> None:
    do(world, "create table delays (day text, n integer)", "create table newest (id integer primary key, n integer)")
    do(world, "create trigger t after insert on delays begin insert or replace into newest values (1, new.n); end")
    world.publish(
        sqlite_node(world.mart), world.stage(sqlite_node(world.mart), pa.table({"day": ["a", "b"], "n": [1, 2]}))
    )
    assert world.rows("select * from newest") == [(1, 2)]


# --- foreign keys ---------------------------------------------------------------------------------------------------

PARENT = "create table parent (id integer primary key, name text)"
CHILD = "create table delays (pid integer references parent, n integer)"


def refused(world: World, node: NodeSpec, table: pa.Table, iteration: int = 1) -> str:
    staged = world.stage(node, table, iteration, iteration)
    failure = world.publish_failure(publish_task(node, staged))
    assert failure.kind == "conflict", failure
    return str(failure.message)


def test_given_a_foreign_key_when_rows_miss_theirs_then_nothing_is_kept_and_table_column_and_value_are_named(
    world: World,
) -> None:
    node = sqlite_node(world.mart)
    do(world, PARENT, CHILD, "insert into parent values (1, 'a')", "insert into delays values (8, 0)")  # one of before
    said = refused(world, node, pa.table({"pid": [1, 8, 7, 7, None], "n": [1, 2, 3, 4, 5]}))
    assert "table 'delays' of" in said
    assert "2 rows with pid = 7 would be without a row of table 'parent' that has id = 7" in said
    assert world.rows() == [(8, 0)]
    do(world, "insert into parent values (7, 'b'), (8, 'c')")
    world.publish(node, world.stage(node, pa.table({"pid": [1, 7, None], "n": [1, 2, 3]}), 2, 2))
    assert world.rows("select pid from delays order by n") == [(8,), (1,), (7,), (None,)]
    do(world, "alter table parent rename to other", "pragma foreign_keys = off", "drop table other")
    assert "other. A foreign key leads there" in refused(world, node, pa.table({"pid": [1], "n": [1]}), 3)


def test_given_rows_that_refer_to_others_of_their_batch_then_their_order_is_of_no_matter(world: World) -> None:
    do(world, "create table delays (id integer primary key, boss integer references delays)")
    node = sqlite_node(world.mart, ("id",))
    world.publish(node, world.stage(node, pa.table({"id": [1, 2], "boss": [2, None]})))
    assert "boss = 9 would be without a row of table 'delays' that has id = 9" in refused(
        world, node, pa.table({"id": [3], "boss": [9]}), 2
    )
    assert world.rows() == [(1, 2), (2, None)]


def test_given_a_table_that_others_refer_to_when_overwritten_then_their_rows_stay_or_it_is_refused_by_name(
    world: World,
) -> None:
    node = overwriting(sqlite_node(world.mart))
    do(world, "create table delays (id integer primary key)", "create table child (pid integer references delays)")
    world.publish(node, world.stage(node, pa.table({"id": [1, 2]})))
    do(world, "insert into child values (2)")
    world.publish(node, world.stage(node, pa.table({"id": [2, 3]}), 2, 2))
    said = refused(world, node, pa.table({"id": [3]}), 3)
    assert "table 'child' of" in said
    assert "1 row with pid = 2 would be without a row of table 'delays' that has id = 2" in said
    assert world.rows("select id from delays") == [(2,), (3,)]
    do(world, "create table of_it (pid integer references delays on delete cascade)", "insert into of_it values (3)")
    failure = world.stage_failure(node, pa.table({"id": [2]}))
    assert "table 'of_it' refers to them ON DELETE CASCADE" in failure.message
    assert (failure.kind, world.rows("select pid from of_it")) == ("conflict", [(3,)])
    with pytest.raises(ConflictError, match="is not dropped: 'child' refers to it"):
        SINK.delete(Target("sqlite", str(world.mart), "delays"), [], [])


def test_given_an_index_of_the_tables_name_then_it_is_refused_before_anything_is_staged(world: World) -> None:
    do(world, "create table other (n integer)", "create index delays on other (n)")
    failure = world.stage_failure(sqlite_node(world.mart), pa.table({"n": [1]}))
    assert (failure.kind, "'delays' is the name of an index in " in failure.message) == ("conflict", True)


def test_given_stored_rows_without_a_key_then_they_are_not_the_same(world: World) -> None:
    do(world, "create table delays (day text, n integer)", "insert into delays values (null, 1), (null, 2)")
    node = sqlite_node(world.mart, ("day",))
    world.publish(node, world.stage(node, pa.table({"day": ["mon"], "n": [3]})))
    assert len(world.rows()) == 3


def test_given_a_virtual_table_that_rounds_then_it_is_refused_and_one_that_keeps_takes_the_rows(world: World) -> None:
    try:
        do(world, "create virtual table delays using rtree(id, low, high)")
    except sqlite3.OperationalError:
        pytest.skip("this SQLite has no rtree")
    node = sqlite_node(world.mart)
    failure = world.stage_failure(node, pa.table({"id": [1, 2], "low": [0.5, 0.1], "high": [1.0, 2.0]}))
    assert (failure.kind, "would keep the row id = 2, low = 0.1, high = 2.0 as 2, 0.0999" in failure.message) == (
        "invalid", True)  # fmt: skip
    world.publish(node, world.stage(node, pa.table({"id": [1], "low": [0.5], "high": [1.0]}), counter=2))
    assert world.rows() == [(1, 0.5, 1.0)]


# --- limits ---------------------------------------------------------------------------------------------------------


def test_given_more_columns_than_sqlite_takes_when_staged_then_it_says_so(world: World) -> None:
    wide = pa.table({f"c{n}": [n] for n in range(5000)})
    failure = world.stage_failure(sqlite_node(world.mart), wide)
    assert failure.kind == "invalid"
    assert "(5000 columns, SQLite takes 2000)" in failure.message
    assert not world.leftovers()
    assert world.stage_failure(sqlite_node(world.mart, ("c1",)), wide).kind == "invalid"


# --- indexes ----------------------------------------------------------------------------------------------------------


def indexes(world: World) -> list[str]:
    return [name for (name,) in world.rows("select name from sqlite_master where type = 'index' and sql not null")]


def test_given_names_that_join_to_the_same_when_upserted_then_each_has_its_own_index(world: World) -> None:
    one = sqlite_node(world.mart, ("line_id",), "one", "orders")
    two = sqlite_node(world.mart, ("id",), "two", "orders_line")
    for number in (1, 2):
        world.publish(one, world.stage(one, pa.table({"line_id": [1], "n": [number]}), number))
        world.publish(two, world.stage(two, pa.table({"id": [1], "n": [number]}), number))
    assert world.rows("select * from orders") == world.rows("select * from orders_line") == [(1, 2)]
    assert len(indexes(world)) == 2


@pytest.mark.parametrize(
    "made", ["create unique index odibi_delays_day on delays (day)", "create unique index u on delays (day)"]
)
def test_given_a_unique_index_of_the_keys_then_it_is_used(world: World, made: str) -> None:
    do(world, "create table delays (day text, n integer)", made)
    node = sqlite_node(world.mart, ("day",))
    world.publish(node, world.stage(node, pa.table({"day": ["mon"], "n": [1]})))
    assert len(indexes(world)) == 1


@pytest.mark.parametrize(
    "other",
    [
        "create unique index u on delays (day, n)",
        "create unique index u on delays (day) where n > 5",
        "create index u on delays (day)",
        "create unique index odibi_delays_day on delays (n)",
    ],
)
def test_given_an_index_that_does_not_do_then_one_is_made(world: World, other: str) -> None:
    do(world, "create table delays (day text, n integer)", other)
    node = sqlite_node(world.mart, ("day",))
    for number in (1, 2):
        world.publish(node, world.stage(node, pa.table({"day": ["mon"], "n": [number]}), number))
    assert world.rows() == [("mon", 2)]
    assert len(indexes(world)) == 2


def test_given_stored_rows_with_the_same_keys_when_staged_then_table_and_keys_are_named(world: World) -> None:
    do(world, "create table delays (day text, n integer)", "insert into delays values ('mon', 1), ('mon', 2)")
    node = sqlite_node(world.mart, ("day",))
    failure = world.stage_failure(node, pa.table({"day": ["tue"], "n": [1]}))
    assert failure.kind == "conflict"
    assert f"table 'delays' of {world.mart} has several rows of the same day" in failure.message
    do(world, "delete from delays where n = 2")
    staged = world.stage(node, pa.table({"day": ["tue"], "n": [1]}))
    do(world, "insert into delays values ('mon', 2)")
    blocked = world.publish_failure(publish_task(node, staged))
    assert (blocked.kind, "several rows of the same day" in blocked.message) == ("conflict", True)


def test_given_our_name_on_another_index_when_published_then_it_is_named(world: World) -> None:
    name = index_name("delays", ["day"])
    do(world, "create table delays (day text, n integer)", f"create unique index {name} on delays (n)")
    failure = world.stage_failure(sqlite_node(world.mart, ("day",)), pa.table({"day": ["tue"], "n": [1]}))
    assert f"index {name} of table 'delays'" in failure.message
    assert "the upsert's keys day; drop it" in failure.message


# --- versions ---------------------------------------------------------------------------------------------------------


def test_given_a_version_when_older_rows_come_later_then_the_newer_stay_and_equal_ones_replace(world: World) -> None:
    node = versioned(world, "k")

    def put(number: int, **columns: list[Any]) -> None:
        world.publish(node, world.stage(node, pa.table(columns), number))

    put(1, k=[1, 2], at=[5, 5], v=["new", "new"])
    put(2, k=[1, 2, 3], at=[4, 6, 1], v=["old", "newer", "first"])
    assert world.rows("select k, v from delays order by k") == [(1, "new"), (2, "newer"), (3, "first")]
    put(3, k=[1], at=[5], v=["corrected"])  # a reprocessing
    assert world.rows("select v from delays where k = 1") == [("corrected",)]
    do(world, "update delays set at = null where k = 3")
    put(4, k=[3], at=[0], v=["had none"])
    assert world.rows("select v from delays where k = 3") == [("had none",)]


def test_given_several_versions_of_a_key_in_one_batch_then_the_greatest_stays_and_a_tie_is_refused(
    world: World,
) -> None:
    node = versioned(world, "k")
    table = pa.table({"k": [1, 2, 1, 1], "at": [2, 1, 3, 1], "v": ["b", "x", "c", "a"]})
    staged = world.stage(node, table)
    assert (staged.rows_in, staged.rows_out) == (4, 2)
    world.publish(node, staged)
    assert world.rows("select k, v from delays order by k") == [(1, "c"), (2, "x")]
    alike = pa.table({"k": [1, 1], "at": [9, 9], "v": ["same", "same"]})
    assert world.stage(node, alike, 2).rows_out == 1
    tie = world.stage_failure(node, pa.table({"k": [1, 1], "at": [9, 9], "v": ["a", "b"]}))
    assert "several rows of one batch have the key k=1 and the same at (9)" in tie.message


@pytest.mark.parametrize(
    ("at", "says"),
    [
        (pa.array([1, None]), "write.version 'at' is null in 1 row"),
        (pa.array([D("1"), D("2")]), "which SQLite keeps as text that does not sort"),
        (None, "write.version 'at' is not a column"),
    ],
)
def test_given_a_version_that_cannot_be_compared_then_it_is_refused(
    world: World, at: pa.Array | None, says: str
) -> None:
    columns = {"k": [1, 2]} | ({"at": at} if at is not None else {})
    assert says in world.stage_failure(versioned(world, "k"), pa.table(columns)).message


INSTANTS = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2000, 1, 1, 0, 0, 3))


@given(st.lists(st.tuples(st.integers(0, 2), INSTANTS), min_size=1, max_size=12), st.data())
@settings(max_examples=15, deadline=None)
def test_given_changes_in_any_order_then_the_newest_of_each_key_is_left(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, dt.datetime]], data: st.DataObject
) -> None:
    world = World(tmp_path_factory.mktemp("version"))
    node = versioned(world, "k")
    place, number = 0, 0
    while place < len(changes):
        size, number = data.draw(st.integers(1, 4)), number + 1
        rows = changes[place : place + size]
        unit = data.draw(st.sampled_from(["us", "ns"]))
        table = pa.table(
            {
                "k": [k for k, _ in rows],
                "at": pa.array([at for _, at in rows], pa.timestamp(unit)),
                "v": ["x"] * len(rows),
            }
        )
        world.publish(node, world.stage(node, table, number))
        place += size
    newest = {k: max(at for one, at in changes if one == k) for k, _ in changes}
    found = {k: dt.datetime.fromisoformat(at) for k, at in world.rows("select k, at from delays")}
    assert found == newest
