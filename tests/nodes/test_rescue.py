"""``on_schema_change: rescue``: what does not fit is kept beside the rows, as JSON that gives it back."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from odibi_actors.batches.ipc import encode_schema
from odibi_actors.model import RESCUED
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats.rescued import plain
from odibi_actors.nodes.read import ReadResult, read
from odibi_actors.nodes.schemas import parse_type
from tests.nodes.helpers import position, read_spec

PINNED = encode_schema(pa.schema([("a", pa.int64()), ("b", pa.string())]))
Told = list[tuple[str, str]]


def _read(
    folder: Path, form: str, *files: bytes, pinned: bytes = PINNED, policy: str = "rescue", **spec: Any
) -> ReadResult:
    positions = [position(folder, f"{index}", data) for index, data in enumerate(files)]
    return read(read_spec(folder, form, on_schema_change=policy, **spec), positions, pinned)


def _rows(result: ReadResult) -> list[tuple[Any, ...]]:
    """Rows, with what was rescued decoded; a number keeps its digits."""
    rows = result.table.to_pylist()
    kept = [None if row[RESCUED] is None else json.loads(row[RESCUED], parse_float=Decimal) for row in rows]
    assert result.table.schema.field(RESCUED).type == pa.string()
    assert result.table.column_names[-1] == RESCUED
    return [(*list(row.values())[:-1], one) for row, one in zip(rows, kept, strict=True)]


def _told(result: ReadResult) -> Told:
    return [(one.column, one.change) for one in result.changes]


def test_given_csv_when_columns_are_new_missing_or_of_other_values_then_each_text_is_kept_and_told(
    tmp_path: Path,
) -> None:
    data = 'x,a,b,B\n,1,t,\n "007" ,7.50,u,"say ""hi"""\n2,,v,\n3,"",w,\u00e4\n'.encode()
    result = _read(tmp_path, "csv", data, b"b\nz\n")
    assert _rows(result) == [
        (1, "t", None),
        (None, "u", {"a": "7.50", "x": ' "007" ', "B": 'say "hi"'}),
        (None, "v", {"x": "2"}),
        (None, "w", {"a": "", "x": "3", "B": "\u00e4"}),  # quoted, so that it is no null
        (None, "z", None),
    ]
    assert [one.text for one in result.changes] == [
        "column 'a' is missing, and null from here on",
        """values of column 'a' that are not int64 go into '_rescued', and are null here; the first is "7.50" in 0""",
        "column 'x' is new, and goes into '_rescued'",
        "column 'B' is new (it differs from 'b' by blanks or case), and goes into '_rescued'",
    ]
    assert (result.schema, result.schema_text) == (b"", [])  # the pin stays what it is
    assert _rows(_read(tmp_path, "csv", b"a,b\n1,t\n")) == [(1, "t", None)]
    assert _rows(_read(tmp_path, "csv")) == []


def test_given_declared_types_and_options_of_csv_then_what_they_do_not_read_is_kept_as_it_is_written(
    tmp_path: Path,
) -> None:
    schema = {"d": "date32", "f": "float", "m": "timestamp[s]", "y": "binary"}
    options = {"delimiter": ";", "decimal_point": ",", "null_values": ["-"], "timestamp_parsers": ["%d.%m.%Y"]}
    text = "d;f;m;y;n\n2024-02-30;0,1;31.01.2024;\xff;-\n2024-02-29;0,123456789;1.2.3;y;5\n-;1e99;-;z;-\n"
    pinned = encode_schema(pa.schema([(name, parse_type(kind)) for name, kind in schema.items()]))
    result = _read(tmp_path, "csv", text.encode(), pinned=pinned, schema=schema, options=options)
    first = pa.scalar(0.1, pa.float32()).as_py()
    assert _rows(result) == [
        (None, first, datetime(2024, 1, 31), b"\xc3\xbf", {"d": "2024-02-30"}),
        (date(2024, 2, 29), None, None, b"y", {"f": "0,123456789", "m": "1.2.3", "n": "5"}),
        (None, None, None, b"z", {"f": "1e99"}),
    ]


def test_given_json_then_values_are_kept_with_all_of_their_digits_and_all_that_is_within_them(tmp_path: Path) -> None:
    kind = pa.struct([("s", pa.int64()), ("l", pa.list_(pa.string()))])
    pinned = encode_schema(pa.schema([("a", pa.int64()), ("n", kind)]))
    odd = '{"s":1,"l":["t"],"new":1.10,"e":1E5,"m":-0}'
    lines = [
        '{"a":1,"n":{"s":2,"l":["x",null]}}',
        f'{{"a":"1","n":{odd},"x":null}}',
        '{"a":12345678901234567890123,"n":{"s":"t"},"x":{"k":[1E400,{"":false}]}}',
        '{"x":"\\ud800 \\u0000","n":null}',
    ]
    result = _read(tmp_path, "json", "\n".join(lines).encode(), pinned=pinned)
    more = {"e": Decimal("1E5"), "m": 0}
    assert _rows(result) == [
        (1, {"s": 2, "l": ["x", None]}, None),
        (None, None, {"a": "1", "n": {"s": 1, "l": ["t"], "new": Decimal("1.10"), **more}}),
        (None, None, {"a": 12345678901234567890123, "n": {"s": "t"}, "x": {"k": [Decimal("1E400"), {"": False}]}}),
        (None, None, {"x": "\ud800 \0"}),
    ]
    assert '"new":1.1,"e":100000.0,"m":-0.0}' in result.table[RESCUED][1].as_py()
    assert "\0" not in result.table[RESCUED][3].as_py()  # which no database takes
    assert _told(result) == [("a", "misfit"), ("n", "misfit"), ("x", "rescued")]


def _parquet(table: pa.Table, path: Path) -> bytes:
    pq.write_table(table, path)
    return path.read_bytes()


def _arrow(table: pa.Table, path: Path) -> bytes:
    pyarrow.feather.write_feather(table, str(path), compression="uncompressed")
    return path.read_bytes()


@pytest.mark.parametrize(("form", "write"), [("parquet", _parquet), ("arrow", _arrow)])
def test_given_files_that_bring_their_types_then_each_value_is_kept_with_its_type(
    form: str, write: Callable[[pa.Table, Path], bytes], tmp_path: Path
) -> None:
    fine = pa.array([1_700_000_000_000_000_001, None, 1], pa.timestamp("ns", "Europe/Berlin"))
    table = pa.table({"a": pa.array([1.0, 1.5, None]), "b": pa.array([1, 2, None]), "t": fine})
    result = _read(tmp_path, form, write(table, tmp_path / "w"))
    zoned = "timestamp[ns, tz=Europe/Berlin]"
    assert _rows(result) == [
        (
            1,
            None,
            {"b": {"type": "int64", "value": 1}, "t": {"type": zoned, "value": "2023-11-14 22:13:20.000000001Z"}},
        ),
        (None, None, {"a": {"type": "double", "value": Decimal("1.5")}, "b": {"type": "int64", "value": 2}}),
        (None, None, {"t": {"type": zoned, "value": "1970-01-01 00:00:00.000000001Z"}}),
    ]
    assert _told(result) == [("a", "misfit"), ("b", "misfit"), ("t", "rescued")]


LEAVES: list[tuple[pa.DataType, list[Any], list[Any]]] = [
    (pa.float32(), [0.1, float("nan"), float("-inf"), -0.0], [0.1, "nan", "-inf", -0.0]),
    (pa.uint64(), [2**64 - 1], [2**64 - 1]),
    (pa.decimal128(20, 12), [Decimal("0.000000000001")], ["0.000000000001"]),
    (pa.binary(), [b"\0\xff"], [base64.b64encode(b"\0\xff").decode()]),
    (pa.duration("ns"), [timedelta(microseconds=1)], [1000]),
    (pa.time64("us"), [time(1, 2, 3, 4)], ["01:02:03.000004"]),
    (pa.date32(), [date(1, 1, 1)], ["0001-01-01"]),
    (pa.timestamp("us", "UTC"), [datetime(2024, 1, 1, tzinfo=UTC)], ["2024-01-01 00:00:00.000000Z"]),
    (pa.map_(pa.string(), pa.int8()), [[("k", 1), ("", None)], []], [[["k", 1], ["", None]], []]),
    (
        pa.list_(pa.struct([("x", pa.date32()), ("y", pa.bool_())])),
        [[{"x": date(2024, 1, 1), "y": True}, None], []],
        [[{"x": "2024-01-01", "y": True}, None], []],
    ),
]


@pytest.mark.parametrize(("kind", "values", "told"), LEAVES)
def test_given_any_type_then_json_has_its_values(kind: pa.DataType, values: list[Any], told: list[Any]) -> None:
    array = pa.array([values[0], None, *values], kind)
    assert plain(array, "c") == [told[0], None, *told]
    assert plain(array.slice(1), "c") == [None, *told]  # of a slice its own alone


def test_given_a_first_batch_whose_files_differ_then_the_first_with_rows_tells_and_the_rest_is_rescued(
    tmp_path: Path,
) -> None:
    result = _read(tmp_path, "csv", b"a,b\n", b"a,b\n1,t\n", b"a,c\nq,2\n", pinned=b"")
    assert (result.schema_text, _told(result)) == (
        ["a: int64", "b: string"],
        [("b", "missing"), ("a", "misfit"), ("c", "rescued")],
    )
    assert _rows(result) == [(1, "t", None), (None, None, {"a": "q", "c": "2"})]
    alike = _read(tmp_path, "csv", b"a,b\n1,t\n", b"a,b\n0.5,u\n", pinned=b"")
    assert alike.schema_text == ["a: double", "b: string"]  # those that fit each other tell together, as ever
    assert _rows(alike) == [(1.0, "t", None), (0.5, "u", None)]
    declared = _read(tmp_path, "csv", b"a,b\nq,t\n2,u\n", pinned=b"", schema={"a": "int64"})
    assert (declared.schema_text, declared.notes) == (["a: int64", "b: string"], ["declared", "inferred"])
    assert _rows(declared) == [(None, "t", {"a": "q"}), (2, "u", None)]
    header = _read(tmp_path, "csv", b"a,b\n", pinned=b"")
    assert (header.schema, header.table.column_names) == (b"", ["a", "b", RESCUED])


def test_given_files_with_the_column_of_what_is_rescued_then_they_are_refused_by_name(tmp_path: Path) -> None:
    for pinned in (PINNED, b""):
        with pytest.raises(Failed, match=r"0 line 1|0, column") as caught:
            _read(tmp_path, "csv", b"a,b,_rescued\n1,t,9\n", pinned=pinned)
        assert "read.ignore: [_rescued]" in caught.value.failure.message
    with pytest.raises(Failed, match="the files have a column '_rescued'"):
        _read(tmp_path, "csv", b"a\n1\n", pinned=encode_schema(pa.schema([("a", pa.int64()), (RESCUED, pa.string())])))
    assert _rows(_read(tmp_path, "csv", b"a,b,_rescued\n1,t,9\n", ignore=[RESCUED])) == [(1, "t", None)]


def test_given_what_is_no_value_that_does_not_fit_then_the_file_is_refused(tmp_path: Path) -> None:
    for form, data in (
        ("csv", b"a,b\n1\n"),
        ("csv", b"a,b\nx,t\0\n"),
        ("csv", b"a,b\nx,\xff\n"),
        ("json", b'{"a":"x"}\n{"a"'),
        ("parquet", b"PAR1"),
    ):
        with pytest.raises(Failed):
            _read(tmp_path, form, data)


@settings(max_examples=25, deadline=None)
@given(cells=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1)))
def test_given_any_texts_then_each_is_the_value_or_what_was_rescued(
    cells: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    quoted = [cell.replace('"', '""') for cell in cells]
    data = "".join(['a,b,"new"\n', *(f'"{cell}",,"{cell}"\n' for cell in quoted)])
    rows = _rows(_read(folder, "csv", data.encode()))
    assert len(rows) == len(cells)
    for cell, (value, _, kept) in zip(cells, rows, strict=True):
        assert kept.pop("new") == cell
        assert str(value) == cell if value is not None else kept == {"a": cell}
