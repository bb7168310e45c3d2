"""Avro files as a source's files: fastavro writes them, each value comes back exactly or is refused by column."""

from __future__ import annotations

import io
import uuid
import zlib
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats import Malformed, avro_blocks, avro_format
from odibi_actors.nodes.formats.avro import parse
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.read import read
from tests.nodes.helpers import position, read_spec


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


def record(name: str = "row", **fields: Any) -> Any:
    return {"type": "record", "name": name, "fields": [{"name": key, "type": kind} for key, kind in fields.items()]}


def written(schema: Any, rows: list[dict[str, Any]], codec: str = "null", **options: Any) -> bytes:
    sink = io.BytesIO()
    fastavro.writer(sink, schema, rows, codec=codec, **options)
    return sink.getvalue()


def table(schema: Any, rows: list[dict[str, Any]]) -> pa.Table:
    return parse(written(schema, rows), {}, Wanted()).table


E = {"type": "enum", "name": "color", "symbols": ["red", "blue"]}
ID = uuid.UUID(int=7)
MOMENT = datetime(2025, 3, 30, 1, 2, 3, 456789)
VALUES: list[tuple[Any, Any, Any, pa.DataType]] = [
    ("boolean", True, True, pa.bool_()),
    ("int", -(2**31), -(2**31), pa.int32()),
    ("long", 2**63 - 1, 2**63 - 1, pa.int64()),
    ("float", 1.5, 1.5, pa.float32()),
    ("double", 0.1, 0.1, pa.float64()),
    ("bytes", b"\x00\xff", b"\x00\xff", pa.binary()),
    ("string", "Müller\x00", "Müller\x00", pa.string()),
    (["null", "string"], "a", "a", pa.string()),
    (["long", "null"], 5, 5, pa.int64()),
    ("null", None, None, pa.null()),
    (E, "blue", "blue", pa.string()),
    ({"type": "fixed", "name": "two", "size": 2}, b"ab", b"ab", pa.binary(2)),
    ({"type": "array", "items": ["null", "int"]}, [1, None], [1, None], pa.list_(pa.int32())),
    ({"type": "map", "values": "long"}, {"k": 1}, [("k", 1)], pa.map_(pa.string(), pa.int64())),
    (record("inner", a="int", b=["null", E]), {"a": 1, "b": "red"}, {"a": 1, "b": "red"}, None),
    (logical("int", "date"), date(1, 1, 1), date(1, 1, 1), pa.date32()),
    (logical("int", "time-millis"), time(23, 59, 59, 999000), time(23, 59, 59, 999000), None),
    (logical("long", "time-micros"), time(0, 0, 0, 1), time(0, 0, 0, 1), pa.time64("us")),
    (logical("long", "timestamp-micros"), MOMENT.replace(tzinfo=UTC), MOMENT.replace(tzinfo=UTC), None),
    (logical("long", "local-timestamp-micros"), MOMENT, MOMENT, pa.timestamp("us")),
    (logical("string", "uuid"), ID, str(ID), pa.string()),
    (logical("string", "nobody-knows"), "x", "x", pa.string()),
    (logical("bytes", "decimal", precision=4, scale=2), Decimal("-12.34"), Decimal("-12.34"), pa.decimal128(4, 2)),
    (
        logical("bytes", "decimal", precision=60, scale=30),
        Decimal("1" * 30 + "." + "7" * 30),
        Decimal("1" * 30 + "." + "7" * 30),
        pa.decimal256(60, 30),
    ),
    (
        {"type": "array", "items": record("deep", d=["null", logical("bytes", "decimal", precision=3, scale=1)])},
        [{"d": Decimal("1.5")}, {"d": None}],
        [{"d": Decimal("1.5")}, {"d": None}],
        None,
    ),
    (
        {"type": "map", "values": logical("long", "timestamp-micros")},
        {"k": MOMENT.replace(tzinfo=UTC)},
        [("k", MOMENT.replace(tzinfo=UTC))],
        None,
    ),
]


@pytest.mark.parametrize(("kind", "value", "expected", "arrow"), VALUES)
def test_given_a_type_of_avro_then_its_values_exactly(
    kind: Any, value: Any, expected: Any, arrow: pa.DataType | None
) -> None:
    found = table(record(x=kind, n="int"), [{"x": value, "n": 1}, {"x": value, "n": 2}])
    assert found.column("x").to_pylist() == [expected] * 2
    if value is not None:
        assert arrow is None or found.column("x").type == arrow


def test_given_moments_beyond_those_of_python_and_nanoseconds_then_they_are_kept() -> None:
    far, fine = 2**60, 1_234_567_890_123_456_789
    data = written(record(t="long", n="long"), [{"t": far, "n": fine}])
    kinds = record(t=logical("long", "timestamp-micros"), n=logical("long", "timestamp-nanos"))
    other = written(kinds, [])
    block = data[fastavro_head(data) :]
    head = other[: fastavro_head(other) - 16]
    found = parse(head + data[fastavro_head(data) - 16 :], {}, Wanted()).table if block else pa.table({})
    assert found.column("t").cast(pa.int64()).to_pylist() == [far]
    assert found.column("n").type == pa.timestamp("ns", "UTC")
    assert found.column("n").cast(pa.int64()).to_pylist() == [fine]


def fastavro_head(data: bytes) -> int:
    """Where the blocks begin."""
    return avro_blocks.opened(data).start


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_given_blocks_then_all_of_them_however_packed(codec: str, tmp_path: Path) -> None:
    rows = [{"x": number, "y": "a" * (number % 50)} for number in range(25_000)]
    data = written(record(x="long", y="string"), rows, codec, sync_interval=4000)
    found = read(read_spec(tmp_path, "avro"), [position(tmp_path, "a.avro", data)], b"")
    assert found.table.to_pylist() == rows
    assert found.schema_text == ["x: int64", "y: string"]


@pytest.mark.parametrize("codec", ["snappy", "zstandard"])
def test_given_codecs_of_other_libraries_then_arrow_unpacks_them(codec: str) -> None:
    plain = written(record(x="string"), [{"x": "abc" * 100}])
    start = fastavro_head(plain)
    count, block = next(avro_blocks.blocks(avro_blocks.opened(plain)))
    name = {"snappy": "snappy", "zstandard": "zstd"}[codec]
    packed: bytes = pa.compress(block, codec=name, asbytes=True)
    packed += zlib.crc32(block).to_bytes(4, "big") if codec == "snappy" else b""
    head = plain[: start - 16].replace(b"\x14avro.codec\x08null", b"\x14avro.codec" + long(len(codec)) + codec.encode())
    data = head + plain[start - 16 : start] + long(count) + long(len(packed)) + packed + plain[start - 16 : start]
    assert parse(data, {}, Wanted()).table.to_pylist() == [{"x": "abc" * 100}]
    if codec == "snappy":
        with pytest.raises(Malformed, match="its checksum differs"):
            parse(data[:-17] + b"!" + data[-16:], {}, Wanted())


def long(value: int) -> bytes:
    value <<= 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def test_given_a_file_that_is_cut_off_within_a_block_then_it_is_malformed() -> None:
    rows = [{"x": number} for number in range(300)]
    data = written(record(x="long"), rows, sync_interval=100)
    whole = {fastavro_head(data)}
    for length in range(len(data)):
        try:
            found = parse(data[:length], {}, Wanted()).table.num_rows
        except Malformed:
            continue
        whole.add(length)
        assert data[:length].endswith(data[-16:])  # between two blocks
        assert found < 300
    assert len(whole) > 1


def test_given_a_block_that_unpacks_to_too_much_then_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avro_blocks, "MAX_BYTES", 10_000)
    for codec in ("deflate", "bzip2", "xz"):
        with pytest.raises(Malformed, match="more than 10000 bytes"):
            parse(written(record(x="string"), [{"x": "a" * 20_000}], codec), {}, Wanted())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            ["null", "int", "string"],
            r"a union of null, int, string is no one type; leave the column out: read.ignore: \[x\]",
        ),
        ({"type": "fixed", "name": "d", "size": 12, "logicalType": "duration"}, "a duration of months"),
        (logical("bytes", "decimal", precision=77, scale=0), "a decimal of 77 digits is longer than 76"),
        ({"type": "array", "items": "null"}, "an array of nulls"),
    ],
)
def test_given_what_arrow_cannot_hold_then_it_is_refused_by_column(kind: Any, message: str) -> None:
    data = written(record(x=kind, y="int"), [])
    with pytest.raises(Malformed, match=message):
        parse(data, {}, Wanted())
    if "array" not in message:
        assert parse(data, {}, Wanted(ignore=("x",))).table.column_names == ["y"]


def test_given_a_type_that_holds_itself_then_it_is_refused() -> None:
    data = written(record("node", x="int", next=["null", "node"]), [{"x": 1, "next": None}])
    with pytest.raises(Malformed, match="its type node holds itself"):
        parse(data, {}, Wanted())
    assert parse(data, {}, Wanted(ignore=("next",))).table.to_pylist() == [{"x": 1}]


def test_given_a_decimal_with_more_digits_than_it_says_then_the_record_is_named() -> None:
    wide, narrow = (record(x=logical("bytes", "decimal", precision=p, scale=0)) for p in (9, 3))
    data, head = written(wide, [{"x": Decimal(5)}, {"x": Decimal(12345)}]), written(narrow, [])
    data = head[: fastavro_head(head) - 16] + data[fastavro_head(data) - 16 :]
    with pytest.raises(Malformed, match=r"record 2: Decimal\('12345'\)") as caught:
        parse(data, {}, Wanted())
    assert caught.value.column == "x"


def test_given_no_avro_then_what_it_is_is_said() -> None:
    for data, message in (
        (b"", "empty"),
        (b"a,b\n1,2\n", "something else, not Avro"),
        (b"PAR1\x00", "parquet, not Avro"),
    ):
        with pytest.raises(Malformed, match=message):
            parse(data, {}, Wanted())
    with pytest.raises(Malformed, match="does not hold records"):
        parse(written("int", [1, 2]), {}, Wanted())  # type: ignore[list-item]


def test_given_no_fastavro_then_the_node_fails_with_its_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(avro_format, "find_spec", lambda _name: None)
    with pytest.raises(Failed, match=r"pip install 'odibi-actors\[avro\]'"):
        read(read_spec(tmp_path, "avro"), [position(tmp_path, "a.avro", b"")], b"")
