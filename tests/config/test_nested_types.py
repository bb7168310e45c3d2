"""Lists, structs and maps in ``schema``: as Arrow writes them, or refused with what to write."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from odibi_actors.config.arrow_types import UnknownTypeError, arrow_type, parted
from odibi_actors.nodes.read import read
from odibi_actors.nodes.schemas import parse_type
from odibi_actors.nodes.sinks.conform import Pin
from tests.nodes.test_columns import position, read_spec

TYPES = {
    "list<int64>": pa.list_(pa.int64()),
    "list<item: int64>": pa.list_(pa.int64()),
    "list<l: list<string>>": pa.list_(pa.field("l", pa.list_(pa.string()))),
    "struct<a: int64, b c: list<string>>": pa.struct([("a", pa.int64()), ("b c", pa.list_(pa.string()))]),
    "list<timestamp[us, tz=+05:30]>": pa.list_(pa.timestamp("us", "+05:30")),
    "map<string, decimal128(10, 2)>": pa.map_(pa.string(), pa.decimal128(10, 2)),
    "struct<d: date>": pa.struct([("d", pa.date32())]),
}


@pytest.mark.parametrize("text", TYPES)
def test_given_a_nested_type_then_it_is_arrows_and_is_written_as_arrow_writes_it(text: str) -> None:
    written = arrow_type(text)
    assert parse_type(written) == TYPES[text]
    assert arrow_type(written) == written
    assert parse_type(written) == parse_type(str(TYPES[text]).replace("[day]", ""))


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("list<>", "write list<TYPE>, such as list<int64>"),
        ("list<int64, string>", "write list<TYPE>, such as list<int64>"),
        ("list<intt64>", 'did you mean "int64"?'),
        ("struct<>", "write struct<NAME: TYPE, ...>, such as struct<a: int64, b: string>"),
        ("struct<int64>", "write struct<NAME: TYPE, ...>, such as struct<a: int64, b: string>"),
        ("struct<a: int64, a: string>", "two fields are named a"),
        ("map<string>", "write map<KEY, VALUE>, such as map<string, int64>"),
        ("int64[]", 'did you mean "list<int64>"?'),
        ("list[int64]", 'did you mean "list<int64>"?'),
        ("array<int64>", 'did you mean "list<int64>"?'),
        ("list<" * 17 + "int8" + ">" * 17, "it nests deeper than 16 levels"),
    ],
)
def test_given_a_nested_type_that_is_none_then_it_is_told_what_to_write(text: str, remedy: str) -> None:
    with pytest.raises(UnknownTypeError) as caught:
        arrow_type(text)
    assert caught.value.suggestion == remedy
    with pytest.raises(ValueError, match="is not an Arrow type"):
        parse_type(text)


def test_given_a_declared_list_when_the_first_files_hold_none_then_later_values_fit(tmp_path: Path) -> None:
    schema = {"n": "list<item: int64>", "s": "struct<a: int64, b: string>"}
    pq.write_table(pa.table({"n": pa.nulls(1), "s": pa.nulls(1)}), tmp_path / "0")
    first = read(read_spec(tmp_path, "parquet", schema=schema), [position(tmp_path, "0")], b"")
    assert first.schema_text == ["n: list<item: int64>", "s: struct<a: int64, b: string>"]
    rows = pa.table({"n": pa.array([[1, 2]], pa.list_(pa.int64())), "s": pa.array([{"a": 1, "b": "x"}])})
    pq.write_table(rows, tmp_path / "1")
    later = read(read_spec(tmp_path, "parquet"), [position(tmp_path, "1")], first.schema)
    assert later.table.to_pylist() == [{"n": [1, 2], "s": {"a": 1, "b": "x"}}]


def test_given_a_sink_with_a_declared_list_when_its_first_part_has_none_then_later_ones_fit() -> None:
    pin = Pin(declared={"n": "list<item: int64>"}, name="p.out")
    assert pin.conform(pa.table({"n": pa.nulls(2, pa.string())})).schema.field("n").type == pa.list_(pa.int64())
    assert pin.conform(pa.table({"n": pa.array([[1], []], pa.list_(pa.int8()))})).to_pylist() == [{"n": [1]}, {"n": []}]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("tags: list<item: string>", ("tags", "list<item: string>")),
        ("a: b: struct<x: int64, y: list<item: double>>", ("a: b", "struct<x: int64, y: list<item: double>>")),
        ("smile :smile: : string", ("smile :smile: ", "string")),
        ("at: timestamp[us, tz=UTC]", ("at", "timestamp[us, tz=UTC]")),
        ("d: date32[day]", ("d", "date32")),
        ("odd: of no known type", ("odd", "of no known type")),
    ],
)
def test_given_a_column_in_words_then_its_name_and_its_type(text: str, parts: tuple[str, str]) -> None:
    assert parted(text) == parts
