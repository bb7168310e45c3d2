"""Read nodes: planned files become one table, or an error that names file, line, column and value."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from odibi_actors.batches.ipc import decode_schema, encode_schema
from odibi_actors.kinds.format import check_options
from odibi_actors.kinds.registry import format_of
from odibi_actors.model import Failure, Position, sentences
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats import Malformed
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.formats.csv import parse
from odibi_actors.nodes.positions import load
from odibi_actors.nodes.read import read
from odibi_actors.nodes.schemas import parse_type
from odibi_actors.sources.file_position import file_times
from odibi_actors.units import format_instant
from tests.nodes.helpers import position, read_spec

SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.string())])
PINNED = encode_schema(SCHEMA)
AB = Wanted(expected=("a", "b"))


def test_given_first_files_when_read_then_the_schema_is_inferred_over_all_of_them_and_pinned(tmp_path: Path) -> None:
    files = [
        position(tmp_path, "1.csv", b"day,n,x,empty,at\n2013-01-01,1,1,,2013-01-01 05:00:00\n"),
        position(tmp_path, "2.csv", b"n,day,x,at,empty\n2.5,2013-01-02,NA,2013-01-01 05:00:00.5,"),
        position(tmp_path, "3.csv", b"day,n,x,empty,at\n"),
    ]
    result = read(read_spec(tmp_path), files, b"")
    assert result.schema_text == ["day: date32", "n: double", "x: string", "empty: string", "at: timestamp[us]"]
    assert decode_schema(result.schema) == result.table.schema
    assert result.table.column("n").to_pylist() == [1.0, 2.5]
    assert result.table.column("x").to_pylist() == ["1", "NA"]


def test_given_a_type_that_only_shows_late_in_a_large_file_when_inferred_then_all_of_it_counts(tmp_path: Path) -> None:
    data = b"v\n" + b"1\n" * 800_000 + b"1.5\n"
    assert read(read_spec(tmp_path), [position(tmp_path, "f", data)], b"").schema_text == ["v: double"]


def test_given_only_headers_when_read_then_nothing_is_pinned_yet(tmp_path: Path) -> None:
    result = read(read_spec(tmp_path), [position(tmp_path, "f", b"a,b")], b"")
    assert (result.table.num_rows, result.schema, result.table.column_names) == (0, b"", ["a", "b"])


def test_given_only_headers_of_declared_columns_when_read_then_they_are_pinned(tmp_path: Path) -> None:
    spec = read_spec(tmp_path, schema={"a": "int64", "b": "date32"})
    assert read(spec, [position(tmp_path, "f", b"a,b")], b"").schema_text == ["a: int64", "b: date32"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("lines", [[b"x", b"1", b"", b"3"], [b"x", b"1", b""], [b"", b"x", b"", b"1"]])
def test_given_an_empty_line_in_a_file_of_one_column_then_nobody_guesses_whether_it_is_a_row(
    tmp_path: Path, lines: list[bytes], end: bytes
) -> None:
    file = position(tmp_path, "f", end.join([*lines, b""]))
    with pytest.raises(Failed) as caught:
        read(read_spec(tmp_path), [file], b"")
    assert (caught.value.failure.line, caught.value.failure.column) == (3, "x")
    values = [int(line) for line in lines if line.isdigit()]
    told = {"ignore_empty_lines": True}
    assert read(read_spec(tmp_path, options=told), [file], b"").table["x"].to_pylist() == values
    if lines[0]:
        rows = [int(line) if line else None for line in lines[1:]]
        found = read(read_spec(tmp_path, options={"ignore_empty_lines": False}), [file], b"").table
        assert found["x"].to_pylist() == rows


@pytest.mark.parametrize("data", [b'x\n"a\n\nb"\n1\n', b"x,y\n1,2\n\n", b"\n\nx\n1\n", b'x\n""\n1\n'])
def test_given_an_empty_line_that_can_be_no_row_then_the_file_is_read(tmp_path: Path, data: bytes) -> None:
    assert read(read_spec(tmp_path), [position(tmp_path, "f", data)], b"").table.num_rows in (1, 2)


def test_given_a_declared_schema_when_read_then_it_goes_over_the_pinned_and_the_inferred_one(tmp_path: Path) -> None:
    file = position(tmp_path, "f", b"a,b\n1,2\n")
    spec = read_spec(tmp_path, schema={"b": "string"})
    assert read(spec, [file], b"").schema_text == ["a: int64", "b: string"]
    changed = read_spec(tmp_path, schema={"a": "decimal128(10, 2)"})
    result = read(changed, [file], PINNED)
    assert (str(result.table.schema.field("a").type), result.schema) == ("decimal128(10, 2)", b"")
    with pytest.raises(Failed, match=r"read\.schema is missing"):
        read(read_spec(tmp_path, schema={"zz": "string"}), [file], b"")


def test_given_no_positions_when_read_then_the_table_is_empty_with_the_pinned_schema(tmp_path: Path) -> None:
    assert read(read_spec(tmp_path), [], PINNED).table.equals(SCHEMA.empty_table())
    with pytest.raises(Failed) as caught:
        read(read_spec(tmp_path), [], b"")
    assert caught.value.failure.kind == "invalid"


MALFORMED = {
    "not a number": (b"a,b\n1,x\n2,y\nabc,z\n", 4, "a", "abc"),
    "columns reordered": (b"b,a\nx,1\ny,1.5\n", 3, "a", "1.5"),
    "after a quoted line break": (b'a,b\n1,"two\nlines"\nbad,z\n', 4, "a", "bad"),
    "the row that begins above": (b'a,b\n1,x\nbad,"two\nlines"\n', 3, "a", "bad"),
    "after blank lines": (b"a,b\r\n\r\n\r\nbad,z\r\n", 4, "a", "bad"),
    "too few columns": (b"a,b\n1,x\n2\n", 3, "", "2"),
    "too many columns": (b"a,b\n1,x,9\n", 2, "", "1,x,9"),
    "an earlier value before a later shape": (b"a,b\nbad,x\n2\n", 2, "a", "bad"),
    "an earlier shape before a later value": (b"a,b\n2\nbad,x\n", 2, "", "2"),
    "missing column": (b"a\n1\n", 1, "b", ""),
    "extra column": (b"a,b,c\n1,x,2\n", 1, "c", ""),
    "renamed column": (b"a,bb\n1,x\n", 1, "b", ""),
    "doubled column": (b"a,b,a\n1,x,2\n", 1, "a", ""),
    "not UTF-8": (b"a,b\n1,x\n2,caf\xe9\n", 3, "b", "caf\\xe9"),
    "not UTF-8 in the header": (b"a,\xe9\n1,x\n", 1, "", "\\xe9"),
    "NUL byte": (b"a,b\n1,x\n2,\0\0\n", 3, "b", r"'\x00\x00'"),
    "empty": (b"", 1, "", ""),
    "blank": (b"\n\n", 1, "", ""),
    "cut off inside of quotes": (b'a,b\n1,x\n2,"cut', 3, "", ""),
    "cut off inside of quotes with lines": (b'a,b\n1,x\n2,"cut\n3,y\n', 3, "", ""),
    "cut off": (b"a,b\n1,x\n2", 3, "", "2"),
    "too large": (b"a,b\n9223372036854775808,x\n", 2, "a", "9223372036854775808"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_given_a_malformed_csv_when_read_then_line_column_and_value_are_exact(tmp_path: Path, case: str) -> None:
    data, line, column, value = MALFORMED[case]
    good = position(tmp_path, "good.csv", b"a,b\n1,x\n")
    with pytest.raises(Failed) as caught:
        read(read_spec(tmp_path), [good, position(tmp_path, "bad.csv", data)], PINNED)
    failure = caught.value.failure
    found = (failure.kind, failure.position, failure.line, failure.column, failure.value)
    assert found == ("malformed", "bad.csv", line, column, value)
    assert failure.message.startswith(f"bad.csv line {line}")


def test_given_a_culprit_after_many_rows_when_read_then_its_line_is_found(tmp_path: Path) -> None:
    rows = [f"{n},x" for n in range(20_000)]
    rows[13_579] = "oops,x"
    rows[15_000] = "later,x"
    with pytest.raises(Failed) as caught:
        read(read_spec(tmp_path), [position(tmp_path, "f", "\n".join(["a,b", *rows]).encode())], PINNED)
    assert (caught.value.failure.line, caught.value.failure.value) == (13_581, "oops")


def test_given_options_when_a_file_is_malformed_then_lines_are_counted_with_them(tmp_path: Path) -> None:
    options = {"delimiter": ";", "skip_rows": 2, "quote_char": "'", "null_values": ["-"], "decimal_point": ","}
    spec = read_spec(tmp_path, schema={"a": "double"}, options=options)
    good = position(tmp_path, "good", b"made by\nsomeone\na;b\n1,5;'x;\ny'\n-;z\n")
    assert read(spec, [good], PINNED).table.to_pydict() == {"a": [1.5, None], "b": ["x;\ny", "z"]}
    with pytest.raises(Failed) as caught:
        read(spec, [position(tmp_path, "f", b"made by\nsomeone\na;b\n1,5;'x;\ny'\nNA;z\n")], PINNED)
    assert (caught.value.failure.line, caught.value.failure.value) == (6, "NA")


def test_given_an_encoding_when_read_then_it_is_used(tmp_path: Path) -> None:
    spec = read_spec(tmp_path, options={"encoding": "latin-1"})
    assert read(spec, [position(tmp_path, "f", "a,b\n1,é\n".encode("latin-1"))], PINNED).table["b"].to_pylist() == ["é"]
    spec = read_spec(tmp_path, options={"encoding": "utf-16"})
    assert read(spec, [position(tmp_path, "g", "a,b\n1,é\n".encode("utf-16"))], PINNED).table["a"].to_pylist() == [1]


@given(st.binary(max_size=60), st.booleans())
def test_given_random_bytes_when_parsed_then_it_is_a_table_or_malformed(data: bytes, typed: bool) -> None:
    types = {"a": pa.int64(), "b": pa.string()} if typed else {}
    for prefix in (b"", b"a,b\n"):
        with contextlib.suppress(Malformed):
            assert isinstance(parse(prefix + data, types, AB if typed else Wanted(), {}).table, pa.Table)


CELL = st.none() | st.integers(-9, 9)
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


@given(st.lists(st.tuples(CELL, st.text(LETTERS, max_size=4)), min_size=1, max_size=8), st.data())
def test_given_any_rows_when_one_is_broken_then_exactly_its_line_is_named(
    rows: list[tuple[int | None, str]], data: st.DataObject
) -> None:
    bad = data.draw(st.integers(0, len(rows) - 1))
    texts = [f'{"" if n is None else n},"{text.replace(chr(34), chr(34) * 2)}"\n' for n, text in rows]
    whole = "a,b\n" + "".join(texts)
    assert parse(whole.encode(), {"a": pa.int64(), "b": pa.string()}, AB, {}).table.num_rows == len(rows)
    texts[bad] = "x" + texts[bad]
    broken = "a,b\n" + "".join(texts)
    before = "a,b\n" + "".join(texts[:bad])
    with pytest.raises(Malformed) as caught:
        parse(broken.encode(), {"a": pa.int64(), "b": pa.string()}, AB, {})
    breaks = before.replace("\r\n", "\n").replace("\r", "\n").count("\n")
    assert (caught.value.line, caught.value.column) == (breaks + 1, "a")


# --- parquet ------------------------------------------------------------------------------------------------------


def _parquet(folder: Path, name: str, table: pa.Table) -> None:
    pq.write_table(table, folder / name)


def test_given_parquet_files_when_read_then_types_are_brought_to_the_schema_without_loss(tmp_path: Path) -> None:
    _parquet(tmp_path, "1", pa.table({"a": pa.array([1], pa.int32()), "b": pa.array(["x"]).dictionary_encode()}))
    _parquet(tmp_path, "2", pa.table({"b": pa.nulls(1), "a": pa.array([2.0])}))
    files = [position(tmp_path, "1"), position(tmp_path, "2")]
    table = read(read_spec(tmp_path, "parquet"), files, PINNED).table
    assert table.schema == SCHEMA
    assert table.to_pydict() == {"a": [1, 2], "b": ["x", None]}
    assert read(read_spec(tmp_path, "parquet"), files[:1], b"").schema_text == ["a: int32", "b: string"]


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        (pa.table({"a": [1.0, 2.5], "b": ["x", "y"]}), "a", "2.5"),
        (pa.table({"a": ["1"], "b": ["x"]}), "a", ""),
        (pa.table({"a": [1], "b": [2]}), "b", ""),
        (pa.table({"a": [1]}), "b", ""),
        (pa.table({"a": [1], "b": ["x"], "c": [1]}), "c", ""),
    ],
)
def test_given_parquet_that_does_not_fit_when_read_then_column_and_value_are_named(
    tmp_path: Path, table: pa.Table, column: str, value: str
) -> None:
    _parquet(tmp_path, "f", table)
    with pytest.raises(Failed) as caught:
        read(read_spec(tmp_path, "parquet"), [position(tmp_path, "f")], PINNED)
    failure = caught.value.failure
    assert (failure.kind, failure.position, failure.column, failure.value) == ("malformed", "f", column, value)


@pytest.mark.parametrize("keep", [0, 3, 100])
def test_given_a_truncated_parquet_file_when_read_then_it_is_malformed(tmp_path: Path, keep: int) -> None:
    _parquet(tmp_path, "f", pa.table({"a": [1], "b": ["x"]}))
    data = (tmp_path / "f").read_bytes()[:keep]
    with pytest.raises(Failed) as caught:
        read(read_spec(tmp_path, "parquet"), [position(tmp_path, "f", data)], PINNED)
    assert caught.value.failure.kind == "malformed"


# --- planned files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["gone", "grown", "touched", "replaced", "folder", "fifo", "link", "bytes"])
def test_given_a_planned_file_that_changed_when_read_then_it_is_a_loud_error(tmp_path: Path, change: str) -> None:
    file = position(tmp_path, "f", b"a,b\n1,x\n", digest=True)
    path = tmp_path / "f"
    kept = path.rename(tmp_path / "kept") if change in ("gone", "replaced", "folder", "fifo", "link") else path
    mtime_ns = file_times(file.detail).mtime_ns
    times = (mtime_ns, mtime_ns)
    match change:
        case "grown":
            path.write_bytes(b"a,b\n1,x\n2,y\n")
        case "touched":
            os.utime(path, ns=(0, 1))
        case "replaced":
            path.write_bytes(kept.read_bytes())
            os.utime(path, ns=times)
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to(kept)
        case "bytes":
            path.write_bytes(b"a,b\n2,x\n")
            os.utime(path, ns=times)
    with pytest.raises(Failed) as caught:
        read(read_spec(tmp_path), [file], PINNED)
    assert (caught.value.failure.kind, caught.value.failure.position) == ("changed", "f")
    if change == "touched":
        assert caught.value.failure.message == (
            "f is not the file that was planned: it was written again (modified 1970-01-01 00:00:00 UTC; when planned, "
            f"{format_instant(mtime_ns / 1e9)})"
        )


def test_given_a_file_that_changes_while_it_is_read_then_it_is_a_loud_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = position(tmp_path, "f", b"a,b\n1,x\n")
    real, calls = os.fstat, []

    def fstat_then_write(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        if found.st_ino == file_times(file.detail).inode:
            calls.append(1)
            if len(calls) == 1:
                with open(tmp_path / "f", "ab") as other:
                    other.write(b"2,y\n")
        return found

    monkeypatch.setattr(os, "fstat", fstat_then_write)
    with pytest.raises(Failed, match="it had 8 bytes, and has 12"):
        load(tmp_path, file)


@pytest.mark.parametrize("identity", ["../f", "/etc/passwd", "a/../../f", ""])
def test_given_a_position_outside_the_connection_when_read_then_it_is_refused(tmp_path: Path, identity: str) -> None:
    file = position(tmp_path, "f", b"a,b\n1,x\n")
    with pytest.raises(Failed, match="not a path below"):
        load(tmp_path, replace(file, identity=identity))


# --- options and types --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"delimeter": ";"}, "did you mean 'delimiter'"),
        ({"delimiter": ";;"}, "one ASCII character"),
        ({"skip_rows": True}, "must be int"),
        ({"skip_rows": -1}, "negative"),
        ({"null_values": "NA"}, "must be list"),
        ({"null_values": [1]}, "list of texts"),
        ({"encoding": "utf-99"}, "unknown encoding"),
        ({"encoding": "base64"}, "unknown encoding"),
        ({"quote_char": True}, "false for none"),
    ],
)
def test_given_wrong_options_when_checked_then_the_problem_says_what_to_do(
    options: dict[str, object], says: str
) -> None:
    (problem,) = check_options(format_of("csv"), options)
    assert says in problem
    assert check_options(format_of("csv"), {"delimiter": "\t", "quote_char": False, "skip_rows": 1}) == []


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.int64(), pa.float64(), pa.string(), pa.bool_(), pa.date32(), pa.timestamp("us"), pa.time64("us")),
        *(pa.decimal128(10, 2), pa.timestamp("ns", "America/New_York"), pa.binary(), pa.duration("s")),
    ],
)
def test_given_a_type_when_written_as_text_then_it_is_parsed_back(kind: pa.DataType) -> None:
    assert parse_type(str(kind)) == kind


@pytest.mark.parametrize(("text", "near"), [("dubble", "double"), ("sting", "string"), ("int65", "int64")])
def test_given_a_misspelt_type_when_parsed_then_the_error_suggests_one(text: str, near: str) -> None:
    with pytest.raises(ValueError, match=f'did you mean "{near}"'):
        parse_type(text)


@pytest.mark.parametrize(
    ("kind", "parser", "good", "bad"),
    [
        ("timestamp[us]", "%d/%m/%Y", "29/02/2024", "30/02/2024"),
        ("timestamp[us]", "%d/%m/%Y", "1/3/2024", "31/04/2024"),
        ("timestamp[s]", "%F %T", "2016-12-31 23:59:59", "2016-12-31 23:59:60"),
        ("timestamp[us, tz=UTC]", "%Y-%m-%d %H:%M %z", "2024-01-31 10:00 +0200", "2023-02-29 10:00 +0200"),
        ("timestamp[us]", "%y%m%d", "240131", "230229"),
        ("timestamp[us]", "%d/%m/%Y %k:%M", "29/02/2024 9:00", "31/02/2024 9:00"),
        ("timestamp[us]", "%d %h %Y", "29 FEB 2024", "30 Feb 2024"),
        ("timestamp[us]", "%-d/%m/%Y", "1/2/2024", "31/2/2024"),
        ("timestamp[us]", "%d/%m/%Y", " 29/02/2024", " 30/02/2024"),
        ("timestamp[us]", "%D %r", "12/31/99 12:00:00 PM", "02/31/24 12:00:00 PM"),
        ("timestamp[us]", "%Y %j", "2024 366", "2023 366"),
        ("timestamp[us]", "%a %d %b %Y", "Tue 2 Jan 2024", "Mon 2 Jan 2024"),
        ("timestamp[us]", "%u %F", "7 2024-01-07", "0 2024-01-07"),
        ("timestamp[us, tz=UTC]", "%a %F %R %z", "Mon 2024-01-01 23:00 -05:00", "Tue 2024-01-01 23:00 -05:00"),
    ],
)
def test_given_a_moment_that_is_none_when_a_parser_would_move_it_then_it_is_refused(
    tmp_path: Path, kind: str, parser: str, good: str, bad: str
) -> None:
    spec = read_spec(tmp_path, schema={"at": kind}, options={"timestamp_parsers": [parser]})
    assert read(spec, [position(tmp_path, "good", f"at,n\n{good},1\n,2\n".encode())], b"").table.num_rows == 2
    with pytest.raises(Failed) as caught:
        read(spec, [position(tmp_path, "bad", f"at,n\n{good},1\n,2\n{bad},3\n".encode())], b"")
    failure = caught.value.failure
    assert (failure.kind, failure.line, failure.column, failure.value) == ("malformed", 4, "at", bad)


@pytest.mark.parametrize(
    ("parsers", "good", "bad", "takes"),
    [
        (["%d.%m.%Y"], "05.02.2025", "05.02.25", '"%d.%m.%y"'),
        (["%d.%m.%Y"], "5.2.0025", "05.02.225", ""),
        (["%d.%m.%Y"], " 5.2.2025", "05.02.0", ""),
        (["%d.%m.%Y", "%d.%m.%y"], "05.02.2025", "05.02.25", '"%d.%m.%y", "%d.%m.%Y"'),
        (["%d.%m.%y"], "05.02.25", "05.02.2025", '"%d.%m.%Y"'),
        (["%d.%m.%y"], "5.2.69", "05.02.5", ""),
        (["%F %T"], "2025-2-5 1:2:3", "25-02-05 10:00:00", '"%y-%m-%d %T"'),
        (["%H%M %d.%m.%Y"], "0025 05.02.2025", "0025 05.02.25", '"%H%M %d.%m.%y"'),
        (["%d.%m.%Y"], "05.02.2025", "005.02.2025", ""),
        (["%d.%m.%Y"], "05.02.2025", "05.002.2025", ""),
        (["%d.%m.%Y %H:%M"], "05.02.2025 1:2", "05.02.2025 001:02", ""),
        ([], "0025-02-05 10:00", "25-02-05 10:00", ""),
        ([], "2025-02-05 10:00", "-2025-02-05 10:00", ""),
        ([], "2025-02-05 10:00", " 2025-02-05 10:00", ""),
    ],
)
@pytest.mark.parametrize("format", ["csv", "json"])
def test_given_a_year_of_other_digits_when_a_parser_would_read_it_then_it_is_refused(
    tmp_path: Path, format: str, parsers: list[str], good: str, bad: str, takes: str
) -> None:
    options = {"timestamp_parsers": parsers} if parsers else {}
    spec = read_spec(tmp_path, format=format, schema={"at": "timestamp[s]"}, options=options)

    def file(name: str, *values: str) -> Position:
        if format == "csv":
            return position(tmp_path, name, "".join(f"{value},n\n" for value in ("at", *values)).encode())
        return position(tmp_path, name, "".join(f'{{"at": "{value}"}}\n' for value in values).encode())

    assert read(spec, [file("good", good, good)], b"").table.num_rows == 2
    with pytest.raises(Failed) as caught:
        read(spec, [file("bad", good, bad)], b"")
    failure = caught.value.failure
    assert (failure.kind, failure.column, failure.value.strip('"')) == ("malformed", "at", bad)
    assert not takes or f"timestamp_parsers: [{takes}" in failure.message, failure.message
    assert ("(%y: a year of two digits)" in failure.message) == bool(takes), failure.message


def test_given_years_of_two_digits_beside_others_when_both_are_named_in_that_order_then_both_are_read(
    tmp_path: Path,
) -> None:
    options = {"timestamp_parsers": ["%d.%m.%y", "%d.%m.%Y"]}
    spec = read_spec(tmp_path, schema={"at": "timestamp[s]"}, options=options)
    found = read(spec, [position(tmp_path, "a", b"at,n\n05.02.25,1\n05.02.2025,2\n05.02.0025,3\n")], b"").table
    assert [str(one)[:10] for one in found["at"]] == ["2025-02-05", "2025-02-05", "0025-02-05"]


def test_given_a_row_of_another_width_then_its_value_has_the_delimiter_of_the_file(tmp_path: Path) -> None:
    spec = read_spec(tmp_path, options={"delimiter": ";"})
    with pytest.raises(Failed) as caught:
        read(spec, [position(tmp_path, "bad", b"a;b;c\n1,5;2\n")], b"")
    assert caught.value.failure.value == "1,5;2"


def test_given_messages_behind_each_other_then_each_ends_once() -> None:
    assert sentences("not parquet.", "Fix the file") == "not parquet. Fix the file"
    assert sentences("bad", "", "Fix it.") == "bad. Fix it."
    assert sentences("LINE 1: selct\n        ^", "Fix it.", "Now.") == "LINE 1: selct\n        ^\nFix it. Now."
    assert str(Malformed("not a readable parquet file: it is none.")) == "not a readable parquet file: it is none"
    assert Failure("malformed", "a library said so.", remedy="Fix the file").text == "a library said so. Fix the file"
