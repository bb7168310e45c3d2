"""Which columns of a file are read: missing, new, unnamed, ignored and optional ones, and names as they are."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from odibi_actors.batches.ipc import encode_schema
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats import Malformed
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.read import ReadResult, read
from tests.nodes.helpers import position, read_spec

PINNED = encode_schema(pa.schema([("a", pa.int64()), ("b", pa.string())]))


@pytest.fixture(params=["csv", "parquet"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _table(data: str) -> pa.Table:
    header, *rows = (line.split(",") for line in data.splitlines())
    columns: list[pa.Array] = []
    for place in range(len(header)):
        cells = [row[place] or None for row in rows]
        digits = all(cell is None or cell.isdigit() for cell in cells)
        columns.append(pa.array([int(cell) if cell and digits else cell for cell in cells]))
    return pa.Table.from_arrays(columns, names=header)


def _read(folder: Path, form: str, *files: str, pinned: bytes = b"", **spec: Any) -> ReadResult:
    positions = []
    for index, data in enumerate(files):
        if form == "parquet":
            pq.write_table(_table(data), folder / f"{index}")
            positions.append(position(folder, f"{index}"))
        else:
            positions.append(position(folder, f"{index}", data.encode()))
    return read(read_spec(folder, form, **spec), positions, pinned)


def _refused(folder: Path, form: str, *files: str, **more: Any) -> str:
    with pytest.raises(Failed) as caught:
        _read(folder, form, *files, **more)
    failure = caught.value.failure
    assert failure.line == (1 if form == "csv" else 0)
    return failure.message


def test_given_columns_then_only_these_are_read_and_the_rest_is_told(tmp_path: Path, form: str) -> None:
    result = _read(tmp_path, form, "x,b,a\n9,t,1\n", "a,b\n2,u\n", columns=["a", "b"])
    assert result.table.to_pydict() == {"a": [1, 2], "b": ["t", "u"]}
    assert result.left_out == ["x"]
    later = _read(tmp_path, form, "a,b,new\n3,v,1\n", pinned=result.schema, columns=["a", "b"])
    assert later.table.to_pydict() == {"a": [3], "b": ["v"]}
    assert "column 'b' is missing" in _refused(tmp_path, form, "a,x\n1,2\n", columns=["a", "b"])


def test_given_ignored_columns_then_they_are_not_read_and_may_be_missing(tmp_path: Path, form: str) -> None:
    result = _read(tmp_path, form, "a,x,b\n1,9,t\n", "a,b\n2,u\n", ignore=["x"])
    assert (result.table.column_names, result.left_out) == (["a", "b"], ["x"])
    assert _read(tmp_path, form, "a,b,x\n1,t,new\n", pinned=PINNED, ignore=["x"]).table.num_rows == 1
    assert _read(tmp_path, form, "a,b\n1,t\n", pinned=PINNED, ignore=["b"]).table.column_names == ["a"]


def test_given_a_file_that_lacks_several_declared_columns_then_all_are_named_and_in_the_remedy(
    tmp_path: Path, form: str
) -> None:
    message = _refused(tmp_path, form, "a\n1\n", schema={"b": "int64", "a": "int64", "c d": "int64"})
    assert "columns 'b', 'c d' of read.schema are missing; found: a; " in message
    assert message.endswith('read.optional: [b, "c d"] reads nulls where they are missing')
    many = {f"c{number}": "int64" for number in range(10)}
    assert "'c7' and 2 more of read.schema are missing" in _refused(tmp_path, form, "a\n1\n", schema=many)


def test_given_optional_columns_when_a_file_lacks_them_then_they_are_null(tmp_path: Path, form: str) -> None:
    result = _read(tmp_path, form, "a\n1\n", "a,y\n2,7\n", "y,a\n8,3\n", optional=["y"])
    assert result.table.to_pydict() == {"a": [1, 2, 3], "y": [None, 7, 8]}
    assert result.schema_text == ["a: int64", "y: int64"]
    later = _read(tmp_path, form, "a\n4\n", pinned=result.schema, optional=["y"])
    assert later.table.to_pydict() == {"a": [4], "y": [None]}
    declared = _read(tmp_path, form, "a,b\n5,t\n", pinned=PINNED, optional=["z"], schema={"z": "double"})
    assert declared.table.to_pydict() == {"a": [5], "b": ["t"], "z": [None]}
    first = _read(tmp_path, form, "a\n6\n", optional=["z"], schema={"z": "double"})
    assert first.table.to_pydict() == {"a": [6], "z": [None]}
    assert first.schema_text == ["a: int64", "z: double"]
    assert first.notes == ["inferred", "declared"]
    rows = _read(tmp_path, form, "z,a\n,7\n", "a\n8\n", optional=["z", "y"], schema={"z": "double", "y": "date32"})
    assert rows.table.to_pydict() == {"z": [None, None], "a": [7, 8], "y": [None, None]}
    taken = _read(tmp_path, form, "a,b\n9,t\n", optional=["z"], schema={"z": "double"}, columns=["a", "z"])
    assert taken.table.to_pydict() == {"a": [9], "z": [None]}


def test_given_new_and_missing_columns_when_read_then_the_message_names_the_keys(tmp_path: Path, form: str) -> None:
    message = _refused(tmp_path, form, "a,b,x\n1,t,2\n", pinned=PINNED)
    assert "column 'x' is new; expected: a, b" in message
    assert "read.ignore: [x] leaves it out" in message
    assert "read.schema: {x: TYPE} with read.optional: [x] takes it" in message
    assert "read.optional: [b] reads nulls where it is missing" in _refused(tmp_path, form, "a\n1\n", pinned=PINNED)
    both = _refused(tmp_path, form, "a, B\n1,t\n", pinned=PINNED)
    assert "column 'b' is missing; column ' B' is new (it differs from 'b' by blanks or case)" in both
    taken = _read(tmp_path, form, "a,b,B\n1,t,u\n", pinned=PINNED, on_schema_change="evolve").changes
    told = "column 'B' (string) is new (it differs from 'b' by blanks or case), and taken in: null in all rows before"
    assert [one.text for one in taken] == [told]
    assert "column 'b' is missing" in _refused(tmp_path, form, "a,b\n1,t\n", "a,c\n1,t\n")
    assert 'read.ignore: ["x y"]' in _refused(tmp_path, form, "a,b,x y\n1,t,2\n", pinned=PINNED)


def test_given_columns_that_nobody_has_read_when_they_are_wanted_then_their_type_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"'c' of read\.columns was not read before"):
        _read(tmp_path, "csv", "a,c\n1,2\n", pinned=PINNED, columns=["a", "c"])
    found = _read(tmp_path, "csv", "a,c\n1,2\n", pinned=PINNED, columns=["a", "c"], schema={"c": "int64"})
    assert found.table.to_pydict() == {"a": [1], "c": [2]}


# --- columns without a name, names as they are --------------------------------------------------------------------


@pytest.mark.parametrize("header", ["a,b,", "a,,b", ",a,b", "a,b, ", 'a,b,""', "a,b,,"])
@pytest.mark.parametrize("pinned", [b"", PINNED])
def test_given_a_column_without_a_name_when_its_cells_are_empty_then_it_is_left_out_and_told(
    tmp_path: Path, header: str, pinned: bytes
) -> None:
    rows = "".join(",".join({"a": "1", "b": "t"}.get(name, "") for name in header.split(",")) + "\n" for _ in range(2))
    result = _read(tmp_path, "csv", f"{header}\n{rows}", pinned=pinned)
    assert result.table.to_pydict() == {"a": [1, 1], "b": ["t", "t"]}
    assert result.left_out == ([] if pinned else [""])


@pytest.mark.parametrize("pinned", [b"", PINNED])
def test_given_a_column_without_a_name_when_it_has_a_value_then_it_is_refused_or_ignored(
    tmp_path: Path, pinned: bytes
) -> None:
    data = ",a,b\n0,1,t\n1,2,u\n"  # as pandas writes an index
    message = _refused(tmp_path, "csv", data, pinned=pinned)
    assert "0 line 1: column 1 has no name, but values such as '0'" in message
    assert 'read.ignore: [""]' in message
    result = _read(tmp_path, "csv", data, pinned=pinned, ignore=[""])
    assert result.table.to_pydict() == {"a": [1, 2], "b": ["t", "u"]}


def test_given_a_quoted_empty_text_below_no_name_when_read_then_it_is_a_value(tmp_path: Path) -> None:
    assert "has no name" in _refused(tmp_path, "csv", 'a,b,\n1,t,""\n')


def test_given_no_name_at_all_when_read_then_it_is_refused(tmp_path: Path) -> None:
    assert "no column has a name" in _refused(tmp_path, "csv", ",\n,\n")
    assert "none of its columns is to be read" in _refused(tmp_path, "json", '[{"a": 1}]', ignore=["a"])
    with pytest.raises(Malformed, match="the file has no columns"):
        Wanted().chosen([])
    assert "has no name" in _refused(tmp_path, "parquet", "a,\n1,\n")


def test_given_the_same_name_twice_when_read_then_it_is_refused_unless_ignored(tmp_path: Path) -> None:
    assert "several columns are named 'a'" in _refused(tmp_path, "csv", "a,b,a\n1,t,2\n")
    assert _read(tmp_path, "csv", "a,b,a\n1,t,2\n", ignore=["a"]).table.to_pydict() == {"b": ["t"]}
    assert _read(tmp_path, "csv", "a,a,b\n1,2,t\n", columns=["b"]).table.to_pydict() == {"b": ["t"]}


@pytest.mark.parametrize("pinned", [b"", PINNED])
def test_given_a_byte_order_mark_when_read_then_it_is_no_part_of_a_name(tmp_path: Path, pinned: bytes) -> None:
    assert _read(tmp_path, "csv", "\ufeffa,b\n1,t\n", pinned=pinned).table.column_names == ["a", "b"]
    with pytest.raises(Failed) as caught:
        _read(tmp_path, "csv", "\ufeffa,b\nx,t\n", pinned=PINNED)
    assert (caught.value.failure.line, caught.value.failure.column) == (2, "a")


def test_given_names_with_blanks_and_other_case_when_read_then_they_are_exact(tmp_path: Path) -> None:
    result = _read(tmp_path, "csv", "a, b,A,é\n1,2,3,4\n")
    assert result.table.column_names == ["a", " b", "A", "é"]
    assert "differs from 'A' by blanks or case" in result.notes[0]


def test_given_a_header_given_by_the_options_when_read_then_lines_are_counted_from_the_first(tmp_path: Path) -> None:
    options = {"column_names": ["a", "b"]}
    assert _read(tmp_path, "csv", "1,t\n2,u\n", options=options).table.to_pydict() == {"a": [1, 2], "b": ["t", "u"]}
    with pytest.raises(Failed) as caught:
        _read(tmp_path, "csv", "1,t\nx,u\n", options=options, pinned=PINNED)
    assert (caught.value.failure.line, caught.value.failure.column) == (2, "a")


def test_given_a_small_file_was_read_then_functions_read_csv_with_long_cells_as_before(tmp_path: Path) -> None:
    csv.field_size_limit(131_072)  # Python's own
    _read(tmp_path, "csv", "a,b\n1,x\n")
    long = "x" * 100_000
    assert next(csv.reader([f"1,{long}"])) == ["1", long]


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("na\u0308me,n", "(it differs from 'n\u00e4me' by characters that cannot be seen, or look the same)"),
        ("n\u00e4me\u200b,n", "(it differs from 'n\u00e4me' by characters that cannot be seen, or look the same)"),
        ("N\u00c4ME ,n", "(it differs from 'n\u00e4me' by blanks or case)"),
        ("n\u00e4me;n", 'options: {delimiter: ";"} reads it where all files of the source are'),
        ('"n\u00e4me"\t"n"', 'options: {delimiter: "\\t"} reads it where all files of the source are'),
    ],
)
def test_given_a_header_that_is_nearly_the_expected_one_then_it_says_how_it_differs(
    tmp_path: Path, header: str, says: str
) -> None:
    with pytest.raises(Failed) as caught:
        read(
            read_spec(tmp_path),
            [position(tmp_path, "f", f"{header}\na,1\n".encode())],
            encode_schema(pa.schema([("n\u00e4me", pa.string()), ("n", pa.int64())])),
        )
    message = caught.value.failure.message
    assert says in message
    assert ("read.optional" in message) != ("delimiter" in message)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("known", ["pinned", "declared", "nothing"])
def test_given_other_delimiters_when_read_then_the_option_is_named_and_not_each_column(
    tmp_path: Path, delimiter: str, known: str
) -> None:
    names = [f"column_{number}" for number in range(40)]
    data = f"{delimiter.join(names)}\n{delimiter.join('1' * 40)}\n"
    types: dict[str, Any] = {}
    if known == "pinned":
        types["pinned"] = encode_schema(pa.schema([(name, pa.int64()) for name in names]))
    elif known == "declared":
        types["schema"] = dict.fromkeys(names, "int64")
    message = _refused(tmp_path, "csv", data, **types)
    assert f"options: {{delimiter: {json.dumps(delimiter)}}} reads it" in message
    assert ('options: {delimiter: ","} says that it is one' in message) == (known == "nothing")
    assert "is missing" not in message
    assert len(message) < 400
    assert _read(tmp_path, "csv", data, options={"delimiter": delimiter}, **types).table.num_columns == 40


def test_given_a_single_column_with_a_strange_name_when_it_is_said_or_known_then_it_is_read(tmp_path: Path) -> None:
    first = _read(tmp_path, "csv", "a;b\n1\n", options={"delimiter": ","})
    assert first.table.to_pydict() == {"a;b": [1]}
    assert _read(tmp_path, "csv", "a;b\n2\n", pinned=first.schema).table.to_pydict() == {"a;b": [2]}
    assert _read(tmp_path, "csv", "a;b\n2\n", schema={"a;b": "double"}).table.to_pydict() == {"a;b": [2.0]}
    named = _read(tmp_path, "csv", "1\n", options={"column_names": ["a;b"]})
    assert named.table.to_pydict() == {"a;b": [1]}


def test_given_rows_of_another_delimiter_or_a_comment_for_a_header_then_the_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r'the row has 1 column, the header 2; options: {delimiter: ";"} reads it'):
        _read(tmp_path, "csv", "1;t\n", options={"column_names": ["a", "b"]})
    with pytest.raises(
        Failed, match=r"the row has 2 columns, the header 1; if that is a comment, options: {skip_rows: 1}"
    ):
        _read(tmp_path, "csv", "#made by x\na,b\n1,t\n")


@pytest.mark.parametrize(
    ("data", "lines"),
    [("# of,2026\na,b\n1,t\n", 1), ("# made by x\n# of 2026\na,b\n1,t\n", 2), ("# x\n1\n", 1), ("## x\n", 1)],
)
def test_given_a_comment_above_the_header_then_the_option_that_leaves_it_out_is_named(
    tmp_path: Path, data: str, lines: int
) -> None:
    with pytest.raises(Failed, match=rf"begins with a remark, .*if that is a comment, options: {{skip_rows: {lines}}}"):
        _read(tmp_path, "csv", data)
    pinned = encode_schema(pa.schema([("a", pa.int64()), ("b", pa.string())]))
    with pytest.raises(
        Failed, match=rf"if that is a comment, options: {{skip_rows: {lines}}} leaves out so many lines"
    ):
        _read(tmp_path, "csv", data.replace("# ", "#"), pinned=pinned)


def test_given_a_name_that_begins_with_a_hash_then_it_is_a_name(tmp_path: Path) -> None:
    assert _read(tmp_path, "csv", "#chrom,pos\nx,1\n").table.column_names == ["#chrom", "pos"]
    declared = {"# of": "int64"}
    assert _read(tmp_path, "csv", "# of,pos\n2,1\n", schema=declared).table.column_names == ["# of", "pos"]
    pinned = encode_schema(pa.schema([("# of", pa.int64()), ("pos", pa.int64())]))
    assert _read(tmp_path, "csv", "# of,pos\n2,1\n", pinned=pinned).table.num_rows == 1
    options = {"skip_rows": 1}
    assert _read(tmp_path, "csv", "# of\npos\n2\n", options=options).table.column_names == ["pos"]


def test_given_a_file_of_other_columns_altogether_then_the_message_stays_short(tmp_path: Path, form: str) -> None:
    names = [f"column_{number}" for number in range(200)]
    pinned = encode_schema(pa.schema([(name, pa.timestamp("us")) for name in names]))
    data = ",".join(f"other_{number}" for number in range(100)) + "\n" + ",".join("1" * 100) + "\n"
    message = _refused(tmp_path, form, data, pinned=pinned)
    assert "column 'column_0' is missing" in message
    assert "so are 294 more" in message
    assert 'read.schema: {column_0: "timestamp[us]"} with read.optional: [column_0] reads nulls' in message
    assert len(message) < 900


def test_given_a_file_whose_name_has_line_ends_when_refused_then_the_message_stays_one_line(tmp_path: Path) -> None:
    with pytest.raises(Failed) as caught:
        read(read_spec(tmp_path), [position(tmp_path, "a\nb\x1b", b"a,b\n1\n")], b"")
    assert caught.value.failure.message.startswith("a\\nb\\x1b line 2: the row has 1 column")
    assert caught.value.failure.position == "a\nb\x1b"
