"""What columns of CSV files are inferred as: nothing of a cell is lost, or the column is text."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from odibi_actors.batches.ipc import encode_schema
from odibi_actors.nodes import inference as inference_module
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats.exact import Spelling, convert, infer
from odibi_actors.nodes.read import ReadResult, read
from odibi_actors.nodes.schemas import parse_type
from tests.nodes.helpers import position, read_spec

TEXT = "string"
INFERRED: dict[str, tuple[list[str | None], str]] = {
    "whole numbers": (["1", "-12", "0", None], "int64"),
    "the largest": (["9223372036854775807", "-9223372036854775808"], "int64"),
    "beyond 64 bits": (["9223372036854775808"], TEXT),
    "far beyond, though a double holds it": (["100000000000000000000", "1.5"], TEXT),
    "a leading zero": (["7", "007"], TEXT),
    "a postcode": (["02134"], TEXT),
    "a leading zero below zero": (["-01"], TEXT),
    "a leading zero before a point": (["01.5"], TEXT),
    "a plus": (["+7"], TEXT),
    "a plus before a point": (["+7.5"], TEXT),
    "underscores": (["1_000"], TEXT),
    "thousands separators": (["1,000"], TEXT),
    "hexadecimal": (["0x1F"], TEXT),
    "a blank before": (["7", " 7"], TEXT),
    "a blank behind": (["7.5", "7.5 "], TEXT),
    "a minus zero": (["-0", "1"], "double"),
    "decimals": (["1.10", "0.1", "2"], "double"),
    "bare points": ([".5", "5."], "double"),
    "an exponent": (["1e5", "1E-7"], "double"),
    "as Python writes doubles": (["0.30000000000000004", "1e+16"], "double"),
    "trailing zeros": (["0.10000000000000000"], "double"),
    "more digits than a double has": (["0.1234567890123456789"], TEXT),
    "a whole number that a double rounds": (["9007199254740993", "1.5"], TEXT),
    "an amount that a double rounds": (["12345678901234567890.12"], TEXT),
    "too large for a double": (["1e400"], TEXT),
    "too small for a double": (["1e-400"], TEXT),
    "as small as a double is": (["1e-320", "0.0"], "double"),
    "so small that digits are lost": (["1.2345678e-320"], TEXT),
    "nan": (["1.5", "nan"], TEXT),
    "inf": (["1.5", "-inf"], TEXT),
    "true and false": (["true", "False", "TRUE"], "bool"),
    "0 and 1": (["0", "1"], "int64"),
    "yes and no": (["yes", "no"], TEXT),
    "a blank before true": ([" true"], TEXT),
    "dates": (["2024-01-31", None], "date32"),
    "no date": (["2024-02-30"], TEXT),
    "other orders": (["31/01/2024"], TEXT),
    "short dates": (["2024-1-31"], TEXT),
    "times": (["10:00", "10:00:00.25"], "time64[us]"),
    "more than a day": (["10:00", "25:00"], TEXT),
    "timestamps": (["2024-01-31 10:00", "2024-01-31T10:00:00.123456"], "timestamp[us]"),
    "nanoseconds": (["2024-01-31T10:00:00.123456789"], "timestamp[ns]"),
    "nanoseconds of another age": (["1600-01-31T10:00:00.123456789"], TEXT),
    "another age": (["1600-01-31T10:00:00"], "timestamp[us]"),
    "dates and timestamps": (["2024-01-31", "2024-01-31 10:00"], TEXT),
    "UTC": (["2024-01-31T10:00:00Z", "2024-01-31 10:00+00:00"], "timestamp[us, tz=UTC]"),
    "an offset": (["2024-01-31T10:00:00+02:00"], TEXT),
    "with and without a zone": (["2024-01-31T10:00:00Z", "2024-01-31T10:00:00"], TEXT),
    "nothing": ([None, None], TEXT),
    "empty texts": (["", ""], TEXT),
    "an empty text among numbers": (["1", ""], TEXT),
    "other digits": (["٣"], TEXT),
    "NA": (["1", "NA"], TEXT),
}


def _file(cells: list[str | None], quoting: bool = False) -> bytes:
    """A CSV file of one column (and one besides); None is an empty cell, a text "" is quoted."""

    def quote(cell):
        return '"' + cell.replace('"', '""') + '"' if quoting or cell == "" or set(cell) & set(',"\r\n') else cell

    return b"v,x\n" + "".join(f"{'' if cell is None else quote(cell)},x\n" for cell in cells).encode()


def _read(folder: Path, *files: bytes, pinned: bytes = b"", **spec: Any) -> ReadResult:
    positions = [position(folder, f"{index}.csv", data) for index, data in enumerate(files)]
    return read(read_spec(folder, **spec), positions, pinned)


@pytest.mark.parametrize("quoting", [False, True])
@pytest.mark.parametrize("case", INFERRED)
def test_given_cells_when_inferred_then_the_type_holds_all_of_them_exactly(
    tmp_path: Path, case: str, quoting: bool
) -> None:
    cells, kind = INFERRED[case]
    result = _read(tmp_path, _file(cells, quoting))
    assert result.schema_text == [f"v: {kind}", "x: string"]
    if kind == TEXT:
        assert result.table["v"].to_pylist() == cells


@pytest.mark.parametrize("case", [case for case, (_, kind) in INFERRED.items() if kind == TEXT])
def test_given_a_file_that_other_types_were_inferred_from_when_a_later_one_differs_then_it_is_refused_by_name(
    tmp_path: Path, case: str
) -> None:
    cells = [cell for cell in INFERRED[case][0] if cell is not None]
    for kind in (pa.int64(), pa.float64(), pa.bool_(), pa.date32(), pa.time64("us"), pa.timestamp("us")):
        pinned = encode_schema(pa.schema([("v", kind), ("x", pa.string())]))
        if not cells:
            continue
        with pytest.raises(Failed) as caught:
            _read(tmp_path, _file(cells), pinned=pinned)
        failure = caught.value.failure
        assert (failure.kind, failure.position, failure.column) == ("malformed", "0.csv", "v")
        assert failure.value in cells
        assert failure.line == 2 + cells.index(failure.value)
        assert "read.schema: {v: " in failure.message or "null" in failure.message


SUGGESTED = [
    ("int64", "7.5", "read.schema: {v: double} takes it"),
    ("int64", "9223372036854775808", "read.schema: {v: string} keeps it"),
    ("int64", "007", "read.schema: {v: string} keeps it; {v: int64} reads it as 7"),
    ("int64", " 7", "read.schema: {v: string} keeps it; {v: int64} reads it as 7"),
    ("int64", "abc", "read.schema: {v: string} keeps it"),
    ("int64", "NA", "options: {null_values: [NA]} makes it null"),
    ("int64", "-", 'options: {null_values: ["-"]} makes it null'),
    ("int64", "", "options: {quoted_strings_can_be_null: true} makes quoted empty cells null"),
    ("double", "1,000", "read.schema: {v: string} keeps it"),
    ("double", "0.1234567890123456789", "{v: double} reads it as 0.12345678901234568"),
    ("double", "nan", "options: {null_values: [nan]} makes it null"),
    ("date32", "2024-01-31 10:00:00", 'read.schema: {v: "timestamp[us]"} takes it'),
    ("timestamp[us]", "2024-01-31", '{v: "timestamp[us]"} reads it as 2024-01-31 00:00:00'),
    ("timestamp[us]", "2024-01-31 10:00:00.123456789", 'read.schema: {v: "timestamp[ns]"} takes it'),
    ("timestamp[us]", "2024-01-31T10:00:00Z", "read.schema: {v: string} keeps it"),
    ("timestamp[us, tz=UTC]", "2024-01-31T10:00:00+02:00", '{v: "timestamp[us, tz=UTC]"} reads it as 2024-01-31 08:00'),
    ("timestamp[ns, tz=UTC]", "2024-01-31T10:00:00+02:00", 'string} keeps it; {v: "timestamp[ns, tz=UTC]"} reads'),
    ("time64[us]", "25:00", "read.schema: {v: string} keeps it"),
    ("bool", "yes", "read.schema: {v: string} keeps it"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "cell", "says"), SUGGESTED)
def test_given_a_cell_that_does_not_fit_when_refused_then_the_line_that_takes_it_is_named(
    tmp_path: Path, kind: str, cell: str, says: str
) -> None:
    from odibi_actors.nodes.schemas import parse_type

    pinned = encode_schema(pa.schema([("v", parse_type(kind)), ("x", pa.string())]))
    with pytest.raises(Failed) as caught:
        _read(tmp_path, _file([cell]), pinned=pinned)
    assert says in caught.value.failure.message
    assert "(inferred from its first values)" in caught.value.failure.message


@pytest.mark.parametrize(("more", "kind"), [("", "timestamp[us, tz=UTC]"), (".1234567", "timestamp[ns, tz=UTC]")])
def test_given_moments_with_offsets_then_the_reason_for_their_text_names_the_type_that_reads_them(
    tmp_path: Path, more: str, kind: str
) -> None:
    file = _file(["2024-01-31T10:00:00+02:00", f"2024-01-31T10:00:00{more}Z"])
    (note, _) = _read(tmp_path, file).notes
    assert note.endswith(
        f'would not be kept as a timestamp in UTC; a schema of "{kind}" reads it, as that moment in UTC'
    )
    assert str(_read(tmp_path, file, schema={"v": kind}).table["v"][0]) == "2024-01-31 08:00:00+00:00"


DECLARED = [
    ("int8", "200", "{v: int64} takes it"),
    ("int32", "9223372036854775808", '{v: "decimal128(20, 0)"} takes it'),
    ("uint32", "9223372036854775808", "{v: uint64} takes it"),
    ("uint64", "-1", '{v: "decimal128(20, 0)"} takes it'),
    ("int64", "7.5", "{v: double} takes it"),
    ("float", "16777217", "{v: double} takes it"),
    ("float", "1e39", "{v: double} takes it"),
    ("double", "1e400", "{v: string} keeps it"),
    ("decimal128(10, 2)", "1.005", '{v: "decimal128(11, 3)"} takes it'),
    ("decimal128(10, 2)", "123456789012", '{v: "decimal128(14, 2)"} takes it'),
    ("timestamp[s]", "2024-01-31 10:00:00.5", '{v: "timestamp[us]"} takes it'),
    ("timestamp[us, tz=UTC]", "2024-01-31 10:00:00", "{v: string} keeps it"),
    ("timestamp[us]", "2024-01-31T10:00:00+02:00", '{v: "timestamp[us, tz=UTC]"} takes it, as a moment in UTC'),
    ("timestamp[s]", "2024-01-31T10:00:00.5Z", '{v: "timestamp[us, tz=UTC]"} takes it, as a moment in UTC'),
    ("date32", "2024-01-31 10:00:00", '{v: "timestamp[us]"} takes it'),
    ("time32[s]", "10:00:00.5", '{v: "time64[us]"} takes it'),
]


@pytest.mark.parametrize(("kind", "cell", "says"), DECLARED)
def test_given_a_declared_type_when_a_cell_does_not_fit_then_a_wider_one_is_named_and_works(
    tmp_path: Path, kind: str, cell: str, says: str
) -> None:
    with pytest.raises(Failed) as caught:
        _read(tmp_path, _file([cell]), schema={"v": kind})
    failure = caught.value.failure
    assert (failure.line, failure.column, failure.value) == (2, "v", cell)
    assert f"{cell!r} is not" in failure.message
    assert "(declared)" in failure.message
    assert says in failure.message
    wider = says[says.index(" ") + 1 : says.index("}")].strip('"')
    assert _read(tmp_path, _file([cell]), schema={"v": wider}).table.num_rows == 1


def test_given_declared_types_when_read_then_they_read_what_inference_would_not(tmp_path: Path) -> None:
    file = b"a,b,c,d\n007, 1.5,0.1234567890123456789,1\n"
    table = _read(tmp_path, file, schema={"a": "int64", "b": "float", "c": "double", "d": "bool"}).table
    assert table.to_pylist() == [{"a": 7, "b": 1.5, "c": 0.12345678901234568, "d": True}]
    assert _read(tmp_path, b"a\ninf\nnan\n", schema={"a": "double"}).table["a"][0].as_py() == float("inf")


# --- nulls --------------------------------------------------------------------------------------------------------

NAMES = b'iso2,name\nNA,Namibia\n"NA",Quoted\nFR,null\nXX,""\n,\n'


def test_given_words_for_nothing_when_read_then_only_an_empty_cell_without_quotes_is_null(tmp_path: Path) -> None:
    table = _read(tmp_path, NAMES).table
    assert table["iso2"].to_pylist() == ["NA", "NA", "FR", "XX", None]
    assert table["name"].to_pylist() == ["Namibia", "Quoted", "null", "", None]


@pytest.mark.parametrize(
    ("options", "iso2", "name"),
    [
        ({"null_values": ["NA"]}, [None, "NA", "FR", "XX", None], ["Namibia", "Quoted", "null", "", None]),
        (
            {"null_values": ["NA"], "quoted_strings_can_be_null": True},
            [None, None, "FR", "XX", None],
            ["Namibia", "Quoted", "null", None, None],
        ),
        ({"strings_can_be_null": False}, ["NA", "NA", "FR", "XX", ""], ["Namibia", "Quoted", "null", "", ""]),
    ],
)
@pytest.mark.parametrize("pinned", [b"", encode_schema(pa.schema([("iso2", pa.string()), ("name", pa.string())]))])
def test_given_options_when_read_then_they_say_more_about_nulls(
    tmp_path: Path, options: dict[str, Any], iso2: list[str], name: list[str], pinned: bytes
) -> None:
    table = _read(tmp_path, NAMES, options=options, pinned=pinned).table
    assert (table["iso2"].to_pylist(), table["name"].to_pylist()) == (iso2, name)


def test_given_numbers_with_words_for_nothing_when_null_values_name_them_then_they_are_numbers(tmp_path: Path) -> None:
    result = _read(tmp_path, b"a,b\n1,x\nNA,y\n", options={"null_values": ["NA"]})
    assert (result.schema_text, result.table["a"].to_pylist()) == (["a: int64", "b: string"], [1, None])


# --- several files, options, notes --------------------------------------------------------------------------------


def test_given_files_of_one_batch_that_differ_when_inferred_then_they_are_one_column(tmp_path: Path) -> None:
    result = _read(tmp_path, b"a,b,c\n1,1,1\n", b"a,b,c\n2.5,9007199254740993,1\n", b"c,a,b\nx,,1.5\n")
    assert result.schema_text == ["a: double", "b: string", "c: string"]
    assert result.table.to_pydict() == {
        "a": [1.0, 2.5, None],
        "b": ["1", "9007199254740993", "1.5"],
        "c": ["1", "1", "x"],
    }
    assert result.notes[0] == "inferred"
    assert "'9007199254740993' would not be kept as a number" in result.notes[1]
    assert "'x' would not be kept as a number" in result.notes[2]


def test_given_a_first_batch_when_read_then_how_each_type_came_is_told(tmp_path: Path) -> None:
    file = b"id,zip,none,Zip,when,\n1,02134,,x,2024-01-31T10:00:00+02:00,\n2,10115,,y,2024-01-31T10:00:00+02:00,\n"
    result = _read(tmp_path, file, schema={"id": "int64"})
    notes = dict(zip(result.table.column_names, result.notes, strict=True))
    assert notes["id"] == "declared"
    assert "'02134' would not be kept as a number" in notes["zip"]
    assert "differs from 'Zip' by blanks or case" in notes["zip"]
    assert notes["none"] == "inferred: no cell has a value"
    assert "would not be kept as a timestamp in UTC" in notes["when"]
    assert result.left_out == [""]


def test_given_quoted_numbers_when_quotes_mean_text_then_they_are_text(tmp_path: Path) -> None:
    options = {"quoted_is_text": True}
    result = _read(tmp_path, b'a,b\n1,"7"\n2,8\n', options=options)
    assert result.schema_text == ["a: int64", "b: string"]
    assert _read(tmp_path, b'a,b\n1,"7"\n2,8\n').schema_text == ["a: int64", "b: int64"]
    pinned = encode_schema(pa.schema([("a", pa.int64()), ("b", pa.string())]))
    with pytest.raises(Failed) as caught:
        _read(tmp_path, b'a,b\n1,x\n\n2,"y\n,"\n"3",z\n', options=options, pinned=pinned)
    assert (caught.value.failure.line, caught.value.failure.column) == (6, "a")
    assert _read(tmp_path, b'a,b\n1,"7"\n', options=options, pinned=pinned, schema={"a": "int64"}).table.num_rows == 1


def test_given_spellings_in_the_options_when_inferred_then_they_are_used(tmp_path: Path) -> None:
    options = {"delimiter": ";", "decimal_point": ",", "true_values": ["ja"], "false_values": ["nein"],
               "timestamp_parsers": ["%d.%m.%Y", "%d.%m.%Y %H:%M"]}  # fmt: skip
    file = b"a;b;c;d\n1,5;ja;31.01.2024;31.01.2024 10:00\n2;nein;01.02.2024;01.02.2024 11:00\n"
    result = _read(tmp_path, file, options=options)
    assert result.schema_text == ["a: double", "b: bool", "c: timestamp[us]", "d: timestamp[us]"]
    assert result.table["d"][0].as_py() == dt.datetime(2024, 1, 31, 10)
    assert _read(tmp_path, b"a;b\n1.5;1\n", options=options).schema_text == ["a: string", "b: int64"]


@pytest.mark.parametrize(
    ("kind", "text", "point", "says"),
    [
        ("double", "12,50", ".", 'read.options: {decimal_point: ","} reads it as 12.5, where all numbers'),
        ("int64", "12,50", ".", 'read.options: {decimal_point: ","} with read.schema: {n: double} reads it as 12.5'),
        ("decimal128(5, 2)", "12,50", ".", 'read.options: {decimal_point: ","} reads it as 12.50'),
        ("decimal128(3, 2)", "12,50", ".",
         'read.options: {decimal_point: ","} with read.schema: {n: "decimal128(4, 2)"} reads it as 12.50'),
        ("double", "12.50", ",", 'read.options: {decimal_point: "."} reads it as 12.5'),
        ("decimal128(3, 2)", "12,50", ",", 'read.schema: {n: "decimal128(4, 2)"} takes it'),
        ("double", "1.234,50", ".", "read.schema: {n: string} keeps it"),
        ("date32", "12,50", ".", "read.schema: {n: string} keeps it"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("inferred", [False, True])
def test_given_a_number_with_the_other_decimal_point_then_the_message_names_the_option(
    tmp_path: Path, kind: str, text: str, point: str, says: str, inferred: bool
) -> None:
    file, options = f"n;x\n{text};1\n".encode(), {"delimiter": ";", "decimal_point": point}
    pinned = encode_schema(pa.schema([("n", parse_type(kind)), ("x", pa.int64())])) if inferred else b""
    if inferred and kind.startswith("decimal"):
        pytest.skip("no csv is inferred so")
    with pytest.raises(Failed) as caught:
        _read(tmp_path, file, options=options, pinned=pinned, schema={} if inferred else {"n": kind})
    assert says in caught.value.failure.message
    assert caught.value.failure.message.count("decimal_point") <= 1
    assert ("decimal_point" in says) == ("decimal_point" in caught.value.failure.message)


def test_given_a_decimal_comma_then_the_reason_for_text_names_the_option(tmp_path: Path) -> None:
    file = b"a;b\n12,50;12,500\n7,5;1\n"
    first, second = _read(tmp_path, file, options={"delimiter": ";"}).notes
    assert (
        "'12,50' would not be kept as a number; read.schema: {a: double} with read.options: {decimal_point: \",\"} "
        "reads it from here on (a sink that holds it as text needs a cast before it, or a reset), where all numbers"
    ) in first
    assert "decimal_point" not in second  # or 12500


# --- any text -----------------------------------------------------------------------------------------------------

DIGITS = st.text("0123456789", min_size=1, max_size=20)
NUMBERS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "", "-", "+", " "]),
    DIGITS,
    st.one_of(st.just(""), st.builds(".{}".format, DIGITS)),
    st.sampled_from(["", "", "e5", "E-7", "e-320", "e400", " "]),
)
MOMENTS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["2024-01-31", "0001-01-01", "1600-02-29", "2024-1-1", "2024-02-30"]),
    st.sampled_from(["", " 10", " 10:00", "T10:00:59", " 23:59:60", " 24:00:00"]),
    st.sampled_from(["", ".5", ".123456", ".123456789"]),
    st.sampled_from(["", "", "Z", "+00:00", "+02:00", "-00", "z"]),
)
WORDS = st.sampled_from(["true", "False", "TRUE", "t", "0", "1", "nan", "NaN", "inf", "NA", "null", "-", "", "10:00",
                         "24:00", "10:00:00.1234567", "0x1F", "1_0", "1,0", "12E4", "٣"])  # fmt: skip
PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
CELLS = st.one_of(*(st.lists(kind, min_size=1, max_size=6) for kind in (NUMBERS, MOMENTS, WORDS, PLAIN))) | st.lists(
    NUMBERS | MOMENTS | WORDS | PLAIN, min_size=1, max_size=6
)


def restored(text: str, value: Any) -> bool:
    """Whether ``value`` says what ``text`` says, by the rule of docs/configuration.md."""
    if isinstance(value, bool):
        return text in (str(value), str(value).lower(), str(value).upper())
    if isinstance(value, int):
        return text == str(value)
    if isinstance(value, float):
        return Decimal(text) == Decimal(repr(value)) and text.lstrip("-")[:2] not in [f"0{n}" for n in range(10)]
    if isinstance(value, dt.datetime):
        told = dt.datetime.fromisoformat(text.replace("Z", "+00:00") if "Z" in text else text)
        return len(text) > 10 and told == value and not (told.utcoffset() or dt.timedelta())
    if isinstance(value, dt.date):
        return text == value.isoformat()
    if isinstance(value, dt.time):
        return dt.time.fromisoformat(text) == value
    return bool(text == value)


def _written(cells: list[str]) -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([["v"], *([cell] for cell in cells)])
    return stream.getvalue().encode()


def _values(column: pa.ChunkedArray, cells: list[str]) -> list[Any]:
    """As Python has them; timestamps with more than its microseconds are compared here, as their own text."""
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        texts = column.cast(pa.timestamp("ns")).cast(pa.string()).to_pylist()
        for text, cell in zip(texts, cells, strict=True):
            whole = cell.replace("T", " ").replace("Z", "").removesuffix("+00:00").removesuffix("-00")
            assert text.startswith(whole), (text, cell)
            assert not set(text[len(whole) :]) - set(":.0"), (text, cell)
        return list(cells)
    return list(column.to_pylist())


@given(CELLS)
@example(["007"])
@example(["7", "007"])
@example(["1e-320", "12345678901234567890"])
@example(["10:00:00.123456", "10:00"])
def test_given_any_texts_when_read_then_each_is_restored_from_its_value_or_the_column_is_text(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    column = read(read_spec(folder), [position(folder, "any.csv", _written(cells))], b"").table["v"]
    for cell, value in zip(cells, _values(column, cells), strict=True):
        assert restored(cell, value), (cell, value, column.type)


KINDS = [pa.int64(), pa.float64(), pa.bool_(), pa.date32(), pa.time64("us"), pa.timestamp("us"), pa.timestamp("ns"),
         pa.timestamp("us", "UTC"), pa.time32("s"), pa.int8(), pa.float32(), pa.string()]  # fmt: skip


@given(CELLS, st.sampled_from(KINDS))
def test_given_any_texts_when_a_pinned_type_takes_them_then_each_is_restored(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str], kind: pa.DataType
) -> None:
    folder = tmp_path_factory.getbasetemp()
    pinned = encode_schema(pa.schema([("v", kind)]))
    try:
        column = read(read_spec(folder), [position(folder, "later.csv", _written(cells))], pinned).table["v"]
    except Failed as failed:
        refused = failed.failure
    else:
        refused = None
    if refused is not None:
        assert (refused.value in cells, refused.column) == (True, "v")
        return
    values = _values(column, cells)
    if kind == pa.float32():
        values = [float(text) for text in column.cast(pa.string()).to_pylist()]
    for cell, value in zip(cells, values, strict=True):
        assert restored(cell, value), (cell, value, column.type)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53), min_size=1))
def test_given_numbers_as_python_writes_them_when_inferred_then_they_are_numbers(numbers: list[float]) -> None:
    texts = pa.chunked_array([[repr(number) for number in numbers]])
    values = infer(texts, Spelling()).values
    assert values.type in (pa.int64(), pa.float64())
    assert values.to_pylist() == numbers
    assert convert(texts, pa.float64(), Spelling()).to_pylist() == numbers


# --- parquet ------------------------------------------------------------------------------------------------------


def _parquet(folder: Path, *tables: pa.Table, pinned: bytes = b"", **spec: Any) -> ReadResult:
    positions = []
    for index, table in enumerate(tables):
        pq.write_table(table, folder / f"{index}.parquet", version="2.6")
        positions.append(position(folder, f"{index}.parquet"))
    return read(read_spec(folder, "parquet", **spec), positions, pinned)


def test_given_parquet_of_other_types_when_read_then_they_are_carried_exactly(tmp_path: Path) -> None:
    columns = {
        "dictionary": pa.array(["a", "b"]).dictionary_encode(),
        "large": pa.array(["a", "b"], pa.large_string()),
        "uint64": pa.array([2**64 - 1, 0], pa.uint64()),
        "decimal": pa.array([Decimal("1.10"), None], pa.decimal128(20, 2)),
        "ns": pa.array([1, 2], pa.timestamp("ns")),
        "us": pa.array([1, 2], pa.timestamp("us", "Europe/Berlin")),
        "null": pa.nulls(2),
        "nested": pa.array([{"a": [1, 2]}, None]),
        "a.b": pa.array([1, 2]),
        "list": pa.array([[1.5], []], pa.large_list(pa.float64())),
    }
    result = _parquet(tmp_path, pa.table(columns))
    assert result.table["uint64"].to_pylist() == [2**64 - 1, 0]
    assert result.table["nested"].to_pylist() == [{"a": [1, 2]}, None]
    kinds = dict(zip(result.table.column_names, result.table.schema.types, strict=True))
    assert kinds["null"] == kinds["dictionary"] == kinds["large"] == pa.string()
    assert kinds["decimal"] == pa.decimal128(20, 2)
    assert kinds["ns"] == pa.timestamp("ns")
    assert result.notes[6] == "inferred: no row has a value"
    assert _parquet(tmp_path, pa.table(columns), ignore=["list"]).table.num_columns == 9


@pytest.mark.parametrize("first", ["nulls", "values"])
def test_given_a_column_of_nulls_in_one_parquet_file_when_another_has_values_then_they_decide(
    tmp_path: Path, first: str
) -> None:
    tables = [pa.table({"v": pa.nulls(1)}), pa.table({"v": pa.array([7])})]
    result = _parquet(tmp_path, *(tables if first == "nulls" else reversed(tables)))
    assert result.schema_text == ["v: int64"]
    assert sorted(result.table["v"].to_pylist(), key=str) == [7, None]


@pytest.mark.parametrize(
    ("first", "later", "says"),
    [
        (pa.array([0.5], pa.float32()), pa.array([0.1]), "row 1: 0.1 is not float"),
        (pa.array([0.5]), pa.array([2**53 + 1]), f"row 1: {2**53 + 1} is not double"),
        (pa.array([0.5]), pa.array([2**64 - 1], pa.uint64()), f"row 1: {2**64 - 1} is not double"),
        (pa.array([1]), pa.array([2**64 - 1], pa.uint64()), f"row 1: {2**64 - 1} is not int64"),
        (pa.array([0.5]), pa.array([Decimal("0.1234567890123456789")]), "row 1: 0.1234567890123456789 is not double"),
        (
            pa.array([0], pa.date32()),
            pa.array([1], pa.timestamp("us")),
            "row 1: 1970-01-01 00:00:00.000001 is not date32",
        ),
        (pa.array([0], pa.timestamp("us")), pa.array([1], pa.timestamp("ns")), "is not timestamp[us]"),
        (pa.array(["x"]), pa.array([1]), "the column is int64 here, not string"),
    ],
)
def test_given_a_later_parquet_file_when_a_value_would_change_then_it_is_refused_by_name(
    tmp_path: Path, first: pa.Array, later: pa.Array, says: str
) -> None:
    pinned = _parquet(tmp_path, pa.table({"v": first})).schema
    with pytest.raises(Failed) as caught:
        _parquet(tmp_path, pa.table({"v": later}), pinned=pinned)
    assert says in caught.value.failure.message
    assert "read.schema: {v: " in caught.value.failure.message


@pytest.mark.parametrize(
    ("moments", "kind"),
    [
        ([dt.datetime(2024, 1, 31, 10, 0, 0, 5), None], pa.timestamp("us")),
        ([dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999_999)], pa.timestamp("us")),
        ([dt.datetime(1969, 12, 31, 23, 59, 59, 1)], pa.timestamp("us")),
    ],
)
def test_given_int96_timestamps_when_read_then_none_wraps_around(
    tmp_path: Path, moments: list[dt.datetime | None], kind: pa.DataType
) -> None:
    table = pa.table({"v": pa.array(moments, pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "f", use_deprecated_int96_timestamps=True)
    result = read(read_spec(tmp_path, "parquet"), [position(tmp_path, "f")], b"")
    assert (result.table["v"].type, result.table["v"].to_pylist()) == (kind, moments)


def test_given_int96_timestamps_of_nanoseconds_when_read_then_they_are_kept(tmp_path: Path) -> None:
    table = pa.table({"v": pa.array([1_700_000_000_123_456_789, -1], pa.timestamp("ns"))})
    pq.write_table(table, tmp_path / "f", use_deprecated_int96_timestamps=True)
    assert read(read_spec(tmp_path, "parquet"), [position(tmp_path, "f")], b"").table.equals(table)


US = pa.timestamp("us")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.list_(US), [[dt.datetime(3000, 1, 1), None], None, [dt.datetime(1, 1, 1)], []]),
        (
            pa.struct([("a", US), ("b", pa.int64())]),
            [{"a": dt.datetime(3000, 1, 1), "b": 1}, {"a": None, "b": 2}, None],
        ),
        (pa.map_(pa.string(), US), [[("k", dt.datetime(3000, 1, 1))], None, []]),
        (pa.list_(pa.struct([("a", pa.list_(US))])), [[{"a": [dt.datetime(9999, 12, 31)]}, {"a": None}]]),
    ],
)
def test_given_int96_timestamps_within_others_when_read_then_none_wraps_around(
    tmp_path: Path, kind: pa.DataType, values: list[Any]
) -> None:
    table = pa.table({"v": pa.array(values, kind), "w": pa.array([1] * len(values))})
    pq.write_table(table, tmp_path / "f", use_deprecated_int96_timestamps=True)
    found = read(read_spec(tmp_path, "parquet"), [position(tmp_path, "f")], b"").table
    assert found["v"].to_pylist() == values


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (pa.array([dt.date(2024, 1, 31)]), pa.array([dt.datetime(2024, 1, 31, 5)], US), "timestamp[us]"),
        (pa.array([0], pa.timestamp("us", "Europe/Berlin")), pa.array([1], pa.timestamp("ns", "UTC")),
         "timestamp[ns, tz=Europe/Berlin]"),
        (pa.array([Decimal("1.5")], pa.decimal128(5, 2)), pa.array([5]), "decimal128(20, 2)"),
    ],
)  # fmt: skip
def test_given_types_of_one_sort_in_a_first_batch_then_one_holds_both(
    tmp_path: Path, first: pa.Array, second: pa.Array, kind: str
) -> None:
    found = _parquet(tmp_path, pa.table({"v": first}), pa.table({"v": second}))
    assert found.schema_text == [f"v: {kind}"]
    assert found.table.num_rows == 2


@pytest.mark.parametrize(
    ("first", "second", "remedy"),
    [
        (pa.array(["a"]), pa.array([1]), "read.schema: {v: int64} takes such values instead"),
        (pa.array([True]), pa.array([1]), "read.schema: {v: int64} takes such values instead"),
        (
            pa.array([[1]], pa.list_(pa.int64())),
            pa.array([[1.5]], pa.list_(pa.float64())),
            'read.schema: {v: "list<element: double>"} takes such values instead',
        ),
        (
            pa.array([[1]], pa.list_(pa.int64(), 1)),
            pa.array([[1.5]], pa.list_(pa.float64(), 1)),
            "deliver one type, or leave it out: read.ignore: [v]",
        ),
    ],
)
def test_given_types_that_nothing_holds_in_a_first_batch_then_both_files_are_named_and_the_remedy_works(
    tmp_path: Path, first: pa.Array, second: pa.Array, remedy: str
) -> None:
    with pytest.raises(Failed) as caught:
        _parquet(tmp_path, pa.table({"v": pa.nulls(1)}), pa.table({"v": first}), pa.table({"v": second}))
    failure = caught.value.failure
    names = sorted(path.name for path in tmp_path.iterdir())
    assert (failure.position, failure.column) == (names[2], "v")
    assert f" in {names[1]}: no type holds both; {remedy}" in failure.message


def test_given_whole_numbers_after_decimals_then_they_are_decimals(tmp_path: Path) -> None:
    pinned = encode_schema(pa.schema([("v", pa.decimal128(5, 2))]))
    found = _parquet(tmp_path, pa.table({"v": [5, 123]}), pinned=pinned)
    assert found.table["v"].to_pylist() == [Decimal("5.00"), Decimal("123.00")]
    for values, told in (
        ([5, 1000], 'row 2: 1000 is not decimal128(5, 2); read.schema: {v: "decimal128(21, 2)"} takes such values'),
        ([Decimal("1.2345")], '1.2345 is not decimal128(5, 2); read.schema: {v: "decimal128(7, 4)"} takes such values'),
    ):
        with pytest.raises(Failed, match=re.escape(told)):
            _parquet(tmp_path, pa.table({"v": values}), pinned=pinned)


def test_given_lists_without_a_value_after_others_then_they_are_lists_of_the_same(tmp_path: Path) -> None:
    pinned = encode_schema(pa.schema([("v", pa.list_(pa.int64()))]))
    empty = pa.array([[], None, [None]], pa.list_(pa.null()))
    found = _parquet(tmp_path, pa.table({"v": empty}), pinned=pinned).table["v"]
    assert (found.type, found.to_pylist()) == (pa.list_(pa.int64()), [[], None, [None]])


def test_given_many_columns_when_inferred_then_each_name_is_compared_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []

    def counted(name: str) -> str:
        compared.append(name)
        return name.casefold()

    monkeypatch.setattr(inference_module, "alike", counted)
    names = [f"c{place}" for place in range(300)]
    read(read_spec(tmp_path), [position(tmp_path, "f", f"{','.join(names)}\n{','.join('1' * 300)}\n".encode())], b"")
    assert compared == names
