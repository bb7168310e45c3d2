"""JSON files: each value exactly, or refused by line, column and value, with the schema that takes it."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from odibi_actors.config.arrow_types import arrow_type
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats import Malformed, json_rows
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.formats.json import parse
from odibi_actors.nodes.read import read
from odibi_actors.nodes.schemas import parse_type
from tests.nodes.helpers import position, read_spec


def parsed(text: str, inferred: dict[str, str] | None = None, **declared: str) -> pa.Table:
    """The table of a file; types by name."""
    given_types = {name: parse_type(kind) for name, kind in declared.items()}
    known = {name: parse_type(kind) for name, kind in (inferred or {}).items()}
    return parse(text.encode(), given_types, Wanted(), {}, known).table


def refused(text: str, inferred: dict[str, str] | None = None, **declared: str) -> Malformed:
    with pytest.raises(Malformed) as caught:
        parsed(text, inferred, **declared)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "b": "x"}\n{"a": 2}\n',
        '[{"a": 1, "b": "x"},\n {"a": 2}]',
        '{"a": 1,\n "b": "x"}\n\n{"a": 2}',
        '\ufeff{"a":1,"b":"x"}\r\n{"b":null,"a":2}',
    ],
)
def test_given_lines_or_an_array_then_the_same_rows(text: str) -> None:
    assert parsed(text).to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ("true null false", "bool"),
        ("1 -9223372036854775808 9223372036854775807", "int64"),
        ("1 2.5 1e300 -0", "double"),
        ('"007" "2024-01-31" ""', "string"),
        ("[1,2] [] null", "list<int64>"),
        ('{"x":1} {"y":["a"]} {}', "struct<x: int64, y: list<string>>"),
        ('[{"x":1.5},null] [{"x":2}]', "list<struct<x: double>>"),
        ("[[1],[null]] [[]]", "list<list<int64>>"),
        ("null null", "null"),
    ],
)
def test_given_values_then_the_type_that_json_has_for_them(values: str, kind: str) -> None:
    column = parsed("\n".join(f'{{"a":{value}}}' for value in values.split())).column("a")
    assert column.type == (pa.null() if kind == "null" else parse_type(kind))


def test_given_objects_then_keys_that_lack_are_null_at_every_level() -> None:
    table = parsed('{"a":{"x":1}}\n{"a":{"y":[{"z":"t"}]}}\n{"b":1}')
    assert table.to_pylist() == [
        {"a": {"x": 1, "y": None}, "b": None},
        {"a": {"x": None, "y": [{"z": "t"}]}, "b": None},
        {"a": None, "b": 1},
    ]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('{"a":1}\n{"a":"x"}', 2, '"x" is a text, and 1 before it a number; read.schema: {a: string} takes it'),
        ('{"a":true}\n\n{"a":0}', 3, "0 is a number, and true before it a truth value; read.schema: {a: string}"),
        ('{"a":9223372036854775808}', 1, "has more than 64 bits; read.schema: {a: uint64} takes it"),
        ('{"a":-9223372036854775809}', 1, 'read.schema: {a: "decimal128(38, 0)"} takes it'),
        (
            '{"a":1}\n{"a":0.12345678901234567890}',
            2,
            'more digits than a double; read.schema: {a: "decimal128(38, 20)"}',
        ),
        ('{"a":0.5}\n{"a":9007199254740993}', 2, "9007199254740993 is no double, and others are"),
        ('{"a":1e400}', 1, "1e400 is beyond a double; read.schema: {a: string} takes it"),
        (
            '{"a":{"b":[1,"x"]}}',
            1,
            'a.b[]: "x" is a text, and 1 before it a number; read.schema: {a: string} takes the',
        ),
        ('{"a":{}}', 1, 'its objects are empty; read.schema: {a: "map<string, string>"} takes it'),
        ('{"a":"\\ud800"}', 1, "half of a character"),
        ('{"a":["\\ud800"]}', 1, "correct the file; read.ignore: [a] leaves the column out"),
        ('{"a":1}\n{"\\ud800":1}', 2, "the key '\\ud800' has half of a character in it"),
        ('{"a":{"x":1}}\n{"a":{"\\ud800":1}}', 2, "the key '\\ud800' has half of a character in it"),
        ('{"a":1e-99999999999999999999}', 1, "is beyond a double; read.schema: {a: string} takes it"),
        ('{"a":1}\n{"a":', 2, "cut off"),
        ('{"a":1}\n{"a":tru', 2, "cut off"),
        ('{"a":1}\n{"a":"\\u12', 2, "cut off"),
        ('{"a":1,\n "b":+1}', 2, "no JSON: '+1}'"),
        ("{}\n{}", 0, "no row has a key"),
        ('{"a":1,"a":2}', 1, "an object has the key 'a' twice"),
        ('{"a":NaN}', 1, "NaN is no JSON"),
        ('{"a":1}\n{"a":2', 2, "it is cut off within a value: deliver it again"),
        ('{"a":1}\n{"a":"x', 2, "cut off"),
        ('[{"a":1},\n{"a":2}', 2, "the array is cut off"),
        ('[{"a":1}]\n[{"a":1}]', 2, "something follows the array"),
        ('[{"a":1},]', 1, "no JSON: ']'"),
        ('{"a":1},\n{"a":2}', 1, "a comma between two objects"),
        ('{"a":1}\n5', 2, "a row is an object, {...}, not 5"),
        ("a,b\n1,2\n", 1, "no JSON: 'a,b"),
        ('{"a":01}', 1, "no JSON: expecting ',' delimiter"),
        ('{"a":"x\ty"}', 1, "invalid control character"),
        ('{"a":1}\n{"": 1}', 2, "has the key '', which is no name; read.ignore: [\"\"] leaves it out"),
        ("[" * 100_000, 1, "nests too deep"),
        ('{"a":' + "[" * 40 + "]" * 40 + "}", 1, "it nests deeper than 16 levels"),
    ],
)
def test_given_what_does_not_fit_then_line_and_remedy(text: str, line: int, says: str) -> None:
    error = refused(text)
    assert says in error.message
    assert error.line == line


def test_given_bytes_that_are_no_utf8_then_what_they_are() -> None:
    with pytest.raises(Malformed, match=r"^the file is UTF-16 text, and JSON is UTF-8; convert it: `iconv"):
        parse('{"a":1}'.encode("utf-16"), {}, Wanted(), {}, {})
    with pytest.raises(Malformed, match="bytes that are not UTF-8") as caught:
        parse(b'{"a":1}\n{"a":"\xe4"}', {}, Wanted(), {}, {})
    assert caught.value.line == 2


def test_given_declared_types_then_they_take_more_than_json_has() -> None:
    table = parsed(
        '{"d":"2024-01-31","t":"2024-01-31T10:00:00.5Z","p":12.50,"q":"7.25","big":18446744073709551615,"any":1,'
        '"m":{"x":1,"y":null},"b":"ä","c":"10:00:01","f":0.1}\n'
        '{"any":{"n":0.12345678901234567890,"l":[true,null,"ü"]},"f":1}',
        d="date32", t="timestamp[us, tz=UTC]", p="decimal128(10, 2)", q="decimal128(10, 2)", big="uint64", any="string",
        m="map<string, int64>", b="binary", c="time64[us]", f="float",
    )  # fmt: skip
    first, second = table.to_pylist()
    assert first["d"] == dt.date(2024, 1, 31)
    assert first["t"] == dt.datetime(2024, 1, 31, 10, 0, 0, 500_000, dt.UTC)
    assert (first["p"], first["q"]) == (Decimal("12.50"), Decimal("7.25"))
    assert (first["big"], first["m"], first["b"]) == (2**64 - 1, [("x", 1), ("y", None)], "ä".encode())
    assert (first["c"], first["any"]) == (dt.time(10, 0, 1), "1")
    assert second["any"] == '{"n":0.12345678901234567890,"l":[true,null,"ü"]}'
    assert second["d"] is None


@pytest.mark.parametrize(
    ("value", "kind", "says"),
    [
        ("12.505", "decimal128(10, 2)", "12.505 is not decimal128(10, 2)"),
        ("300", "uint8", "300 is not uint8 (declared); read.schema: {a: int64} takes it"),
        ("-1", "uint64", "-1 is not uint64"),
        ("1.5", "int64", "1.5 is not int64 (declared); read.schema: {a: double} takes it"),
        ('"1"', "int64", '"1" is not int64 (declared); read.schema: {a: string} takes it'),
        ("1", "timestamp[us]", "1 is not timestamp[us]"),
        ('"2024-01-31T10:00:00+02:00"', "timestamp[us]", 'read.schema: {a: "timestamp[us, tz=UTC]"} takes it'),
        ('"2024-01-31T10:00:00.123456789"', "timestamp[us]", 'read.schema: {a: "timestamp[ns]"} takes it'),
        ('"2024-01-31 10:00"', "date32", 'read.schema: {a: "timestamp[us]"} takes it'),
        ('"31.1.2024"', "date32", '"31.1.2024" is not date32'),
        ("0.123456789", "float", "0.123456789 is not float"),
        ("1e400", "double", "1e400 is not double"),
        ("1", "bool", "1 is not bool"),
        ('{"x":1,"z":2}', "struct<x: int64>", "a.z: the key 'z' is new; its type is struct<x: int64>"),
        ('{"x":1.5}', "map<string, int64>", 'read.schema: {a: "map<string, double>"} takes it'),
        ('{"x":"t","y":1}', "map<string, int64>", 'read.schema: {a: "map<string, string>"} takes it'),
        ('{"x":[null],"y":null}', "map<string, int64>", 'read.schema: {a: "map<string, string>"} takes it'),
        ("[1]", "struct<x: int64>", "[1] is not struct<x: int64>"),
        ('[{"x":"y"}]', "list<struct<x: int64>>", 'a[].x: "y" is not int64 (declared)'),
    ],
)
def test_given_a_value_that_a_declared_type_does_not_hold_then_it_is_refused(value: str, kind: str, says: str) -> None:
    error = refused(f'{{"a":null}}\n{{"a":{value}}}', a=kind)
    assert says in error.message
    assert (error.line, error.column) == (2, "a")


def test_given_pinned_types_then_later_files_hold_the_same_kinds() -> None:
    assert parsed('{"a":2}', {"a": "double"}).to_pylist() == [{"a": 2.0}]
    assert parsed('{"a":2.0}', {"a": "int64"}).to_pylist() == [{"a": 2}]
    assert "5 is not string" in refused('{"a":5}', {"a": "string"}).message
    assert (
        "9007199254740993 is not double (inferred from its first values)"
        in refused('{"a":9007199254740993}', {"a": "double"}).message
    )
    assert "the key 'c' is new" in refused('{"a":{"c":1}}', {"a": "struct<b: int64>"}).message


@pytest.mark.parametrize("value", ['{"b":null}', "[null]", "[]", '[{"b":null,"c":[]}]', '{"b":{"c":[null]}}'])
def test_given_nulls_alone_in_a_file_of_a_first_batch_when_no_type_holds_all_then_the_remedy_is_a_type(
    tmp_path: Path, value: str
) -> None:
    files = [position(tmp_path, "a", b'{"a":true}\n'), position(tmp_path, "b", f'{{"a":{value}}}\n'.encode())]
    with pytest.raises(Failed, match="no type holds both") as caught:
        read(read_spec(tmp_path, "json"), files, b"")
    told = re.search(r'read\.schema: \{a: "(.*)"\} takes such values', caught.value.failure.message)
    assert told, caught.value.failure.message
    assert read(read_spec(tmp_path, "json", schema={"a": arrow_type(told[1])}), files[1:], b"").table.num_rows == 1


def test_given_files_of_one_batch_when_read_then_one_type_holds_all(tmp_path: Path) -> None:
    files = [
        position(tmp_path, "a.jsonl", b'{"a":1,"b":"x"}\n'),
        position(tmp_path, "b.jsonl.gz", gzip.compress(b'{"a":2.5,"b":"y"}\n')),
        position(tmp_path, "c.json", b""),
    ]
    found = read(read_spec(tmp_path, "json"), files, b"")
    assert found.table.to_pylist() == [{"a": 1.0, "b": "x"}, {"a": 2.5, "b": "y"}]
    assert found.schema_text == ["a: double", "b: string"]
    later = [position(tmp_path, "d.jsonl", b""), position(tmp_path, "e.jsonl", b'{"b":"z","a":3}\n{"a":null}')]
    again = read(read_spec(tmp_path, "json"), later, found.schema).table
    assert again.to_pylist() == [{"a": 3.0, "b": "z"}, {"a": None, "b": None}]


def test_given_a_file_without_rows_when_it_is_the_first_then_nothing_is_pinned(tmp_path: Path) -> None:
    for data in (b"", b"[]", b"\n\n"):
        found = read(read_spec(tmp_path, "json"), [position(tmp_path, "a.json", data)], b"")
        assert (found.table.num_rows, found.schema) == (0, b"")
    declared = read_spec(tmp_path, "json", schema={"x": "int64"})
    assert read(declared, [position(tmp_path, "a.json", b"")], b"").table.schema == pa.schema([("x", pa.int64())])


def test_given_columns_that_lack_or_are_new_then_as_with_any_format(tmp_path: Path) -> None:
    first = read(read_spec(tmp_path, "json"), [position(tmp_path, "a.json", b'{"a":1,"b":2}')], b"")
    for data, says in ((b'{"a":1}', "column 'b' is missing"), (b'{"a":1,"b":1,"c":1}', "column 'c' is new")):
        with pytest.raises(Failed, match=says):
            read(read_spec(tmp_path, "json"), [position(tmp_path, "b.json", data)], first.schema)
    spec = read_spec(tmp_path, "json", ignore=["c"], optional=["b"], schema={"b": "int64"})
    found = read(spec, [position(tmp_path, "c.json", b'{"a":1,"c":"x"}')], first.schema)
    assert found.table.to_pylist() == [{"a": 1, "b": None}]


@pytest.mark.parametrize(
    ("text", "inferred", "declared"),
    [
        ('{"a":9223372036854775808}\n{"a":-1}', None, {}),
        ('{"a":-1}', None, {"a": "uint64"}),
        ('{"a":0.12345678901234567890}\n{"a":12345678901234567890123}', None, {}),
        ('{"a":12345678901234567890123}', None, {"a": "decimal128(38, 20)"}),
        ('{"a":9007199254740993}\n{"a":0.25}\n{"a":0.0125}', None, {}),
        ('{"a":9007199254740993}\n{"a":0.25}', {"a": "int64"}, {}),
        ('{"a":9007199254740993}', {"a": "double"}, {}),
        ('{"a":{"b":1,"c":2}}', {"a": "struct<b: int64>"}, {}),
        ('{"a":[{"d":"2024-01-31","c":2.5}]}', None, {"a": "list<struct<d: date32>>"}),
        ('{"a":[1]}', {"a": "list<string>"}, {}),
        ('{"a":[0.5]}', {"a": "list<int64>"}, {}),
        ('{"a":[9007199254740993]}', {"a": "list<double>"}, {}),
        ('{"a":{"x":[]}}\n{"a":{"x":{}}}', None, {}),
        ('{"a":{}}', None, {}),
    ],
)
def test_given_a_remedy_when_it_is_followed_then_the_file_is_read_exactly(
    text: str, inferred: dict[str, str] | None, declared: dict[str, str]
) -> None:
    said = re.search(r"read\.schema: {a: (.+)} takes", refused(text, inferred, **declared).message)
    assert said is not None
    table = parsed(text, a=said[1].strip('"'))
    for found, line in zip(table["a"].to_pylist(), text.splitlines(), strict=True):
        meant = json.loads(line, parse_float=Decimal)["a"]
        assert str(found) == str(meant) or same_value(found, meant)


def same_value(found: Any, meant: Any) -> bool:
    """Whether a value of a declared column says what was written."""
    if isinstance(found, str) and not isinstance(meant, str):
        return bool(json.loads(found, parse_float=Decimal) == meant)
    if isinstance(meant, list):
        return all(map(same_value, found, meant))
    if isinstance(meant, dict):
        return all(same_value(dict(found)[name], part) for name, part in meant.items())
    return str(found) == meant if isinstance(meant, str) else bool(Decimal(str(found)) == meant)


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ('{"x":1}', '{"y":"t"}', "struct<x: int64, y: string>"),
        ('{"x":1.5}', '{"x":1}', "struct<x: double>"),
        ('{"x":1}', '{"x":1.5,"y":[]}', "struct<x: double, y: list<string>>"),
        ("[]", '[{"x":1}]', "list<struct<x: int64>>"),
        ('[{"x":null}]', '[{"x":[1]}]', "list<struct<x: list<int64>>>"),
    ],
)
def test_given_files_of_one_batch_with_other_keys_within_then_one_type_holds_all(
    tmp_path: Path, first: str, second: str, kind: str
) -> None:
    files = [position(tmp_path, name, f'{{"a":{text}}}'.encode()) for name, text in (("1", first), ("2", second))]
    table = read(read_spec(tmp_path, "json"), files, b"").table
    assert table.schema.field("a").type == parse_type(kind)
    assert all(map(same, table["a"].to_pylist(), [json.loads(first), json.loads(second)]))


def test_given_files_of_one_batch_with_other_kinds_within_then_the_column_is_told(tmp_path: Path) -> None:
    files = [position(tmp_path, name, text) for name, text in (("1", b'{"a":{"x":1}}'), ("2", b'{"a":{"x":"t"}}'))]
    with pytest.raises(Failed, match=r"the column is struct<x: string> here, and struct<x: int64> in 1: no"):
        read(read_spec(tmp_path, "json"), files, b"")


def test_given_a_text_that_nests_too_deep_then_it_is_refused() -> None:
    deep = '{"a":' + '{"b":' * 500 + "1" + "}" * 501
    assert "it nests too deep for a text; read.ignore: [a]" in refused(deep, a="string").message


NAMES = st.sampled_from(["a", "b", "c d", "ü"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, min_size=1, max_size=3)),
    max_leaves=6,
)


PIECES = st.sampled_from(
    [*'{}[],: ', "\n", "\r\n", "\t", "\ufeff", '{"a":', '"b":', '"a":1', '{"a":1}\n', '{"a":[1.5]}\n',
     "1", "-0", "1.10", "1e5", "0.1", "9007199254740993", "1E400", "12345678901234567890", "NaN", "null", "true",
     '"x"', '"\\u00e4"', '"ä"', '"\\ud800"', '"\\/"']
)  # fmt: skip


def outcome(read: Any) -> Any:
    try:
        found = read()
    except Malformed as refusal:
        return str(refusal), refusal.line
    return repr(found.objects), [found.line(row) for row in range(len(found.objects))]


@given(st.one_of(st.lists(PIECES, max_size=12).map("".join), st.text()).map(str.encode))
def test_given_any_text_then_the_quick_way_reads_what_the_exact_one_does(data: bytes) -> None:
    assert outcome(lambda: json_rows.rows(data)) == outcome(lambda: json_rows._scanned(data))


@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=4), st.booleans(), st.booleans(), st.booleans())
def test_given_any_rows_then_the_quick_way_reads_what_the_exact_one_does(
    rows: list[dict[str, Any]], lines: bool, escaped: bool, blanks: bool
) -> None:
    options: Any = {"ensure_ascii": escaped, "separators": (", ", ": ") if blanks else (",", ":")}
    text = "\n".join(json.dumps(row, **options) for row in rows) if lines else json.dumps(rows, **options)
    assert outcome(lambda: json_rows.rows(text.encode())) == outcome(lambda: json_rows._scanned(text.encode()))


def same(found: Any, meant: Any) -> bool:
    """Whether a value is the one that was written; a key that is null may be one that lacked."""
    if isinstance(meant, dict):
        return (
            isinstance(found, dict)
            and set(meant) <= set(found)
            and all(same(found[name], meant.get(name)) for name in found)
        )
    if isinstance(meant, list):
        return isinstance(found, list) and len(found) == len(meant) and all(map(same, found, meant))
    if isinstance(meant, bool) or meant is None or isinstance(meant, str):
        return type(found) is type(meant) and found == meant
    return type(found) in (int, float) and found == meant and math.copysign(1, found) == math.copysign(1, meant)


@given(st.lists(st.dictionaries(NAMES, VALUES, min_size=1, max_size=3), min_size=1, max_size=4), st.booleans())
def test_given_any_json_then_each_value_comes_back_or_its_file_is_refused(
    rows: list[dict[str, Any]], lines: bool
) -> None:
    text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows, ensure_ascii=False, indent=1)
    try:
        table = parsed(text)
    except Malformed as refusal:
        event(refusal.message.rpartition(":")[0][-20:])
        return
    table.validate(full=True)
    assert all(map(same, table.to_pylist(), rows))
    if table.schema.names and not any(pa.types.is_null(field.type) for field in table.schema):
        again = parsed(text, {field.name: str(field.type) for field in table.schema if not nested(field.type)})
        assert again.to_pylist() == table.to_pylist()


def nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind))


@given(VALUES.filter(lambda value: value is not None))
def test_given_any_value_when_it_is_declared_text_then_its_json_says_the_same(value: Any) -> None:
    (row,) = parsed(json.dumps({"a": value}), a="string").to_pylist()
    assert row["a"] == value if isinstance(value, str) else json.loads(row["a"]) == value
