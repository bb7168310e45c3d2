"""Tables that grow, on each SQL engine: nothing is lost, nothing doubled, and each value is as it is there."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from odibi_actors.config.model import BatchSpec
from odibi_actors.nodes.failures import Failed
from odibi_actors.sources.query import marks
from odibi_actors.sources.query.marks import mark
from tests.sources.tables import ENGINES, Engine, Source

pytestmark = pytest.mark.xdist_group("postgres")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    made = ENGINES[request.param](tmp_path)
    yield made
    if hasattr(made, "close"):
        made.close()


def filled(engine: Engine, *rows: tuple[int, Any], kind: str = "integer") -> None:
    engine.execute(f"create table t (id integer, w {kind})")
    add(engine, *rows)


def add(engine: Engine, *rows: tuple[int, Any]) -> None:
    engine.execute("insert into t (id, w) values (?, ?)", rows)


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows]


# --- order, ties, late rows -----------------------------------------------------------------------------------------


def test_given_rows_that_are_added_then_what_is_new_is_read_in_pieces_that_fit(engine: Engine) -> None:
    filled(engine, *((n, n) for n in range(10)))
    source = Source(engine, BatchSpec(max_rows=4))
    pieces = source.look()
    assert [piece.position.rows for piece in pieces] == [4, 4, 2]
    assert ids(source.take(pieces).table.to_pylist()) == list(range(10))
    assert source.look() == []
    assert source.last.at == "read up to 9"
    add(engine, (10, 10), (11, 11))
    assert ids(source.rows()) == [10, 11]


def test_given_ties_that_come_after_their_watermark_was_read_then_each_is_read_once(engine: Engine) -> None:
    filled(engine, (1, 5), (2, 7), (3, 7))
    source = Source(engine)
    assert ids(source.rows()) == [1, 2, 3]
    add(engine, (4, 7))
    assert ids(source.rows()) == [4]
    add(engine, (4, 7))  # the very same: two are two
    assert ids(source.rows()) == [4]
    add(engine, (5, 7), (6, 8))
    assert ids(source.rows()) == [5, 6]
    assert source.rows() == []


def test_given_ties_that_come_between_plan_and_read_then_they_are_read_by_the_next_range(engine: Engine) -> None:
    filled(engine, (1, 7))
    source = Source(engine)
    pieces = source.look()
    add(engine, (2, 7))
    assert ids(source.take(pieces).table.to_pylist()) == [1]
    assert ids(source.load(pieces).table.to_pylist()) == [1], "again after a crash: the same"
    assert ids(source.rows()) == [2]
    assert source.remarks == []


def test_given_keys_then_a_row_is_known_by_them_and_its_watermark(engine: Engine) -> None:
    filled(engine, (1, 7))
    source = Source(engine, keys=["id"])
    engine.execute("alter table t add column note varchar")
    assert ids(source.rows()) == [1]
    engine.execute("update t set note = 'x'")
    assert source.rows() == [], "nothing that tells rows apart has changed"
    engine.execute("update t set w = 8")
    assert [(row["id"], row["w"]) for row in source.rows()] == [(1, 8)]


def test_given_lag_then_rows_that_come_late_are_read_once_and_those_that_come_later_are_not(engine: Engine) -> None:
    filled(engine, (1, 10), (2, 20))
    source = Source(engine, lag="5", keys=["id"])
    assert ids(source.rows()) == [1, 2]
    add(engine, (3, 16), (4, 15), (5, 14))
    assert ids(source.rows()) == [4, 3]
    assert source.rows() == []
    add(engine, (6, 30), (7, 17))  # the window has moved on, and what was in it is read with what moves it
    assert ids(source.rows()) == [7, 6]
    add(engine, (8, 25), (9, 24))
    assert ids(source.rows()) == [8]


def test_given_lag_that_is_added_later_then_what_it_takes_in_is_told_once_and_what_comes_after_is_read(
    engine: Engine,
) -> None:
    filled(engine, (1, 18), (2, 20))
    source = Source(engine, keys=["id"])
    assert ids(source.rows()) == [1, 2]
    add(engine, (3, 19))
    assert source.rows() == []
    source.read = Source(engine, lag="5", keys=["id"]).read
    (piece,) = pieces = source.look()
    assert piece.position.rows == 0
    found = source.take(pieces)
    assert (found.table.num_rows, len(found.remarks)) == (0, 1)
    assert "`lag` takes in 2 rows from 15 on" in found.remarks[0]
    assert "pipeline backfill P --rows 15..20` reads them (once more)" in found.remarks[0]
    add(engine, (4, 16), (5, 20))
    assert ids(source.rows()) == [4, 5]
    source.read = Source(engine, lag="50", keys=["id"]).read
    add(engine, (6, 17), (7, 30))
    source.remarks.clear()
    assert ids(source.rows()) == [6, 7]
    assert source.remarks == []  # there was nothing before 15
    assert source.rows() == []


def test_given_more_ties_than_are_known_one_by_one_then_they_wait_for_a_greater_watermark(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("odibi_actors.sources.query.cutting.MAX_KNOWN", 3)
    filled(engine, (1, 5), *((n, 7) for n in range(2, 7)))
    source = Source(engine, BatchSpec(max_rows=2))
    assert ids(source.rows()) == [1]
    assert "more than 3 rows with the last, 7: more may come" in source.last.waits
    add(engine, (7, 7), (8, 8))
    assert ids(source.rows()) == [2, 3, 4, 5, 6, 7, 8], "one watermark is never cut"
    assert source.last.waits == ""


def test_given_rows_without_a_watermark_then_they_are_counted_and_told_until_they_have_one(engine: Engine) -> None:
    filled(engine, (1, 1), (2, None), (3, None))
    source = Source(engine)
    assert ids(source.rows()) == [1]
    assert source.last.waits == "2 rows have no w (null): not read until there is one"
    engine.execute("update t set w = 2 where id = 3")
    assert ids(source.rows()) == [3]
    assert source.last.waits.startswith("1 row has no w")


def test_given_initial_then_reading_begins_there(engine: Engine) -> None:
    filled(engine, *((n, n) for n in range(10)))
    assert ids(Source(engine, initial="7").rows()) == [7, 8, 9]
    source = Source(engine, initial="7", lag="100")
    assert ids(source.rows()) == [7, 8, 9]
    assert source.remarks == [], "nothing else was planned"
    assert Source(engine, initial="70").rows() == []


def test_given_a_query_then_its_rows_are_read(engine: Engine) -> None:
    filled(engine, *((n, n) for n in range(6)))
    query = "select id, w * 10 as w, 'a?%' as note from t where id % 2 = 0"
    found = Source(engine, table="", query=query).rows()
    assert found == [{"id": n, "w": n * 10, "note": "a?%"} for n in (0, 2, 4)]


def test_given_rows_that_change_or_vanish_between_plan_and_read_then_what_differs_is_told(engine: Engine) -> None:
    filled(engine, (1, 1), (2, 2), (3, 3))
    source = Source(engine)
    pieces = source.look()
    engine.execute("delete from t where id = 1")
    engine.execute("update t set w = 9 where id = 3")
    assert ids(source.take(pieces).table.to_pylist()) == [2]
    assert source.remarks == ["t:..3+1: 2 rows fewer than planned: deleted, or changed, and so behind it now"]
    assert source.now(*pieces).changed == [pieces[0].position.identity]
    assert [(row["id"], row["w"]) for row in source.rows()] == [(3, 9)], "where it is now, it is read"


def test_given_a_place_that_goes_back_then_the_same_rows_are_read_up_to_where_they_were(engine: Engine) -> None:
    filled(engine, *((n, n // 2) for n in range(8)))
    source = Source(engine, BatchSpec(max_rows=3))
    first = source.look()
    source.take(first)
    add(engine, (8, 3), (9, 9))
    again, at = list[int](), first[0].range.lower
    until = first[-1].range.upper
    while at != until:
        pieces = source.look(until=until, place=at)
        again += ids(source.load(pieces).table.to_pylist())
        at = pieces[-1].range.upper
    assert sorted(again) == list(range(8))
    assert ids(source.rows()) == [8, 9]


def test_given_rows_that_are_gone_when_a_range_is_read_again_then_it_is_passed_over(engine: Engine) -> None:
    filled(engine, (1, 1), (2, 2))
    source = Source(engine)
    (piece,) = source.look()
    engine.execute("delete from t where id < 3")
    add(engine, (3, 3))
    (again,) = source.look(until=piece.range.upper, place=piece.range.lower)
    assert (again.position.rows, again.range) == (0, piece.range)


@pytest.mark.parametrize("lag", [0, 3])
@pytest.mark.parametrize("keys", [[], ["id"]])
def test_given_any_course_of_writes_and_cancels_then_the_table_is_read_row_by_row(
    engine: Engine, lag: int, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("odibi_actors.sources.query.cutting.MAX_KNOWN", 12)
    rng = random.Random(f"{engine.name} {lag} {keys}")
    filled(engine, (0, 0))
    source = Source(engine, BatchSpec(max_rows=3), lag=str(lag) if lag else "", keys=keys)
    planned: list[tuple[bytes, list[int]]] = []  # where each began, and what it has read
    top, number = 0, 1
    for _ in range(10 if engine.name == "duckdb" else 25):
        new = []
        for _ in range(rng.randint(0, 5)):
            top += rng.choice([0, 0, 1, 2])
            new.append((number, max(0, top - rng.randint(0, lag))))
            number += rng.choice([0, 1, 1]) if not keys else 1
        if new:
            add(engine, *new)
        for piece in source.look(credit=rng.randint(1, 4)):
            begin = source.place
            planned.append((begin, ids(source.take([piece]).table.to_pylist())))
        if planned and rng.random() < 0.3:
            at = rng.randrange(len(planned))
            source.place = planned[at][0]
            del planned[at:]
    add(engine, (number, top + 10))
    planned.append((b"", ids(source.rows())))
    read = [one for _, some in planned for one in some]
    assert Counter(read) == Counter(ids(Source(engine, BatchSpec(max_rows=10_000)).rows()))
    assert source.remarks == []


def test_given_a_part_then_a_backfill_reads_no_other_row(engine: Engine) -> None:
    filled(engine, *((n, n // 2) for n in range(10)))
    source = Source(engine)
    source.rows()
    add(engine, (10, 2), (11, 9))
    source.read = replace(source.read, pattern="1..3")
    (piece,) = source.look(until=source.place, place=mark_of_nothing())
    assert (piece.position.rows, piece.range.upper) == (5, source.place)
    source.read = replace(source.read, pattern="*")  # a task has the node as it is, not as the lane looks for it
    assert sorted(ids(source.load([piece]).table.to_pylist())) == [2, 3, 4, 5, 10]
    source.read = replace(source.read, pattern="70..")
    (piece,) = source.look(until=source.place, place=mark_of_nothing())
    assert (piece.position.rows, piece.range.upper) == (0, source.place), "none, and it ends"
    assert source.load([piece]).table.num_rows == 0
    source.read = replace(source.read, pattern="1")
    source.look(until=source.place, place=mark_of_nothing())
    assert "is no part of t: write FROM..TO" in source.last.problem


def mark_of_nothing() -> bytes:
    return marks.BEGINNING.packed()


# --- what a watermark may be ----------------------------------------------------------------------------------------

GROWING = {
    "bigint": ["-9007199254740993", "-1", "0", "9007199254740992", "9007199254740993"],
    "decimal(20, 4)": ["-1.5000", "-0.0001", "0.0000", "0.0001", "9.9999", "10.0000", "1234567890123456.0001"],
    "date": ["0001-01-01", "1999-12-31", "2025-01-01", "9999-12-31"],
    "timestamp": ["0001-01-01 00:00:00", "2025-01-01 00:00:00", "2025-01-01 00:00:00.000001", "2025-01-01 00:00:00.5"],
    "timestamp with time zone": [
        "1969-12-31 23:59:59+00",
        "2025-03-30 00:59:59.999999+00",
        "2025-03-30 03:00:00+02",
        "2025-03-30 01:00:00.25+00",
    ],
    "varchar": ["", " a", "B", "Z", "a", "a b", "b", "ab\u00e9", "\u00e9", "\u4e2d", "\U0001f600"],
    "double precision": ["-1e300", "-0.1", "0", "1e-300", "0.1", "0.30000000000000004", "1e300"],
}


COLLATIONS = {"sqlite": "nocase", "duckdb": "nocase", "postgres": "unicode"}
"""Of a column of texts: none of them is the order of code points."""


def _sqlite_values(kind: str, texts: list[str]) -> list[Any]:
    """What SQLite keeps of them: it has no other types than these."""
    if kind == "bigint":
        return [int(text) for text in texts]
    return [float(text) for text in texts] if kind == "double precision" else list(texts)


@pytest.mark.parametrize("kind", GROWING)
def test_given_a_watermark_of_each_type_then_rows_come_in_its_order_one_by_one(engine: Engine, kind: str) -> None:
    texts = GROWING[kind]
    if engine.name == "sqlite" and kind.startswith(("decimal", "timestamp with")):
        pytest.skip("SQLite has no such type")
    values: list[Any] = _sqlite_values(kind, texts) if engine.name == "sqlite" else list(texts)
    if kind == "varchar":
        values.sort(key=lambda text: text.encode())
    collated = f" collate {COLLATIONS[engine.name]}" if kind == "varchar" else ""
    engine.execute(f"create table t (id integer, w {kind}{collated})")
    order = list(range(len(values)))
    random.Random(kind).shuffle(order)
    for n in order:
        add(engine, (n, values[n]))
    assert ids(Source(engine, BatchSpec(max_rows=1)).rows()) == sorted(order)
    engine.execute("delete from t")
    source, read = Source(engine), list[int]()  # one after the other, each found by a look of its own
    for n in sorted(order):
        add(engine, (n, values[n]))
        read += ids(source.rows())
    assert read == sorted(order)


def test_given_lag_of_time_then_it_is_a_duration(engine: Engine) -> None:
    kind = "text" if engine.name == "sqlite" else "timestamp"
    filled(engine, (1, "2025-03-01 00:00:10"), kind=kind)
    source = Source(engine, lag="20s")
    assert ids(source.rows()) == [1]
    add(engine, (2, "2025-02-28 23:59:55"), (3, "2025-02-28 23:59:45"))
    assert ids(source.rows()) == [2]
    source.read = Source(engine, lag="20").read
    source.look()
    assert "lag" in source.last.problem


def test_given_a_column_that_cannot_grow_or_is_not_there_then_it_is_told(engine: Engine) -> None:
    engine.execute(
        "create table t (id integer, w boolean, b bytea)"
        if engine.name == "postgres"
        else "create table t (id integer, w blob)"
    )
    engine.execute(
        "insert into t (id, w) values (1, true)"
        if engine.name == "postgres"
        else "insert into t (id, w) values (1, '\\x01'::blob)"
        if engine.name == "duckdb"
        else "insert into t (id, w) values (1, x'01')"
    )
    source = Source(engine)
    assert source.look() == []
    assert "'w'" in source.last.problem
    missing = Source(engine, watermark_column="at")
    missing.look()
    assert "has no column 'at'; it has: id, w" in missing.last.problem
    keys = Source(engine, watermark_column="id", keys=["no"])
    keys.look()
    assert "has no column 'no'" in keys.last.problem
    gone = Source(engine, table="u")
    gone.look()
    assert "no table 'u'" in gone.last.problem


def test_given_a_watermark_of_another_sort_than_was_read_then_nothing_is_read_in_silence(engine: Engine) -> None:
    filled(engine, (1, 1))
    source = Source(engine)
    source.rows()
    engine.execute("drop table t")
    filled(engine, (2, "b"), kind="varchar(10)")
    source.look()
    assert "was read as number, is text now" in source.last.problem


def test_given_names_of_hostile_letters_then_they_are_names(engine: Engine) -> None:
    name = "o'r\"d %s ?"
    quoted = '"' + name.replace('"', '""') + '"'
    engine.execute(f"create table {quoted} ({quoted} integer, id integer)")
    engine.execute(f"insert into {quoted} values (1, 2)")
    source = Source(engine, table=name, watermark_column=name, keys=[name])
    assert source.rows() == [{name: 1, "id": 2}]
    assert mark(source.place).text == "1"


# --- types ----------------------------------------------------------------------------------------------------------


def test_given_a_column_that_is_new_or_gone_then_it_is_told_by_name(engine: Engine) -> None:
    filled(engine, (1, 1))
    source = Source(engine)
    source.rows()
    add(engine, (2, 2))
    engine.execute("alter table t add column more integer")
    pieces = source.look()
    with pytest.raises(Failed, match="'more' is new"):
        source.take(pieces)


def test_given_a_position_of_another_kind_or_table_then_it_is_refused(engine: Engine) -> None:
    filled(engine, (1, 1))
    source = Source(engine)
    (piece,) = source.look()
    with pytest.raises(Failed, match="not that of rows of a table"):
        source.load([replace(piece, position=replace(piece.position, detail=b"x"))])
    source.read = replace(source.read, of_table=replace(source.read.table, table="other"))
    engine.execute("create table other (id integer, w integer)")
    with pytest.raises(Failed, match="planned of t"):
        source.load([piece])


TYPES: dict[str, list[tuple[str, str, str, Any]]] = {
    "sqlite": [
        ("integer", "7", "int64", 7),
        ("real", "0.1", "double", 0.1),
        ("text", "''", "string", ""),
        ("blob", "x'00ff'", "binary", b"\0\xff"),
        ("decimal(10,2)", "12.5", "double", 12.5),
    ],
    "duckdb": [
        ("utinyint", "7", "uint8", 7),
        ("decimal(10,2)", "12.50", "decimal128(10, 2)", Decimal("12.50")),
        ("hugeint", "7", "int64", 7),
        ("date", "'2025-03-30'", "date32[day]", date(2025, 3, 30)),
        ("timestamp_ns", "'2025-03-30 00:00:00.000000001'", "timestamp[ns]", None),
        ("timestamptz", "'2025-03-30 03:00:00+02'", "timestamp[us, tz=UTC]", datetime(2025, 3, 30, 1, tzinfo=UTC)),
        ("varchar[]", "['a', null]", "list<l: string>", ["a", None]),
    ],
    "postgres": [
        ("smallint", "7", "int16", 7),
        ("bigint", "9007199254740993", "int64", 9007199254740993),
        ("numeric(10,2)", "12.5", "decimal128(10, 2)", Decimal("12.50")),
        ("real", "0.1", "float", None),
        ("boolean", "true", "bool", True),
        ("text", "''", "string", ""),
        ("character(3)", "'a'", "string", "a  "),
        ("bytea", "'\\x00ff'", "binary", b"\0\xff"),
        ("uuid", "'00000000-0000-0000-0000-000000000001'", "string", "00000000-0000-0000-0000-000000000001"),
        ("jsonb", "'{\"a\": 1}'", "string", '{"a": 1}'),
        ("date", "'2025-03-30'", "date32[day]", date(2025, 3, 30)),
        ("time", "'23:59:59.000001'", "time64[us]", time(23, 59, 59, 1)),
        ("timestamp", "'2025-03-30 00:00:00.000001'", "timestamp[us]", datetime(2025, 3, 30, microsecond=1)),
        ("timestamptz", "'2025-03-30 03:00:00+02'", "timestamp[us, tz=UTC]", datetime(2025, 3, 30, 1, tzinfo=UTC)),
    ],
}


def test_given_columns_of_each_type_then_values_are_as_they_are_there(engine: Engine) -> None:
    for number, (kind, literal, arrow, value) in enumerate(TYPES[engine.name]):
        engine.execute(f"create table t{number} (w integer, c {kind})")
        engine.execute(f"insert into t{number} values (1, null), (2, {literal})")
        table = Source(engine, table=f"t{number}").table()
        assert str(table.schema.field("c").type).replace("element", "l").replace("item", "l") == arrow, kind
        found = table.column("c").to_pylist() if value is not None else [None, None]
        assert found == [None, value], kind


def test_given_declared_types_then_values_are_brought_there_exactly_or_refused_by_name(engine: Engine) -> None:
    kind = "text" if engine.name == "sqlite" else "numeric(10, 2)"
    engine.execute(f"create table t (w integer, c {kind}, n integer)")
    engine.execute("insert into t values (1, '12.50', 1), (2, null, null)")
    source = Source(engine, schema={"c": "decimal128(12, 3)", "n": "bool" if engine.name == "sqlite" else "int64"})
    table = source.table()
    assert table.column("c").to_pylist() == [Decimal("12.500"), None]
    engine.execute("insert into t values (3, '7.25', 1)")
    rough = Source(engine, schema={"c": "decimal128(12, 1)"})
    with pytest.raises(Failed, match="column c") as failed:
        rough.table()
    assert (failed.value.failure.kind, failed.value.failure.column) == ("malformed", "c")
    text = Source(engine, schema={"c": "string"}).table()
    assert text.column("c").to_pylist() == ["12.50", None, "7.25"]


def test_given_an_open_mark_then_it_fits_into_a_place_and_two_of_them_into_a_position() -> None:
    from odibi_actors.model import MAX_DETAIL, MAX_PLACE
    from odibi_actors.sources.query.watermarks import MAX_TEXT

    known = tuple(n.to_bytes(marks.DIGEST, "big") for n in range(marks.MAX_KNOWN))
    place = marks.Mark("text", "\0" * MAX_TEXT, "x" * MAX_TEXT, known).packed()
    assert len(place) <= MAX_PLACE
    assert 2 * len(place) + 2 * MAX_TEXT <= MAX_DETAIL
