"""Quotes in csv cells: a quoted value ends with its closing quote, or the file is malformed at that place."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats import Malformed
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.formats.csv import parse
from odibi_actors.nodes.formats.quotes import in_order, misplaced
from odibi_actors.nodes.read import read
from tests.nodes.helpers import position, read_spec

ESCAPE = {"escape_char": "\\"}
NO_QUOTE = "options: {quote_char: false} takes all quotes of the source as characters"

# name: file, options, (line, column, value), what the message says
MISPLACED: dict[str, tuple[bytes, dict[str, Any], tuple[int, str, str], str]] = {
    "a quote with a backslash": (
        b'id,a\n1,"he said \\"hi\\""\n',
        {},
        (2, "a", '"he said \\"hi\\""'),
        'escape_char: "\\\\"',
    ),
    "and a comma after it": (
        b'id,a\n1,"he said \\"hi, there\\""\n',
        {},
        (2, "a", '"he said \\"hi'),
        'escape_char: "\\\\"',
    ),
    "and a comma right after it": (b'id,a\n1,"a \\", b"\n', {}, (2, "", '1,a \\, b"'), 'escape_char: "\\\\"'),
    "a letter": (
        b'id,a\n1,x\n2,"x"y\n',
        {},
        (3, "a", '"x"y'),
        f"with 'y'; a quote within quotes is written twice (\"\"); {NO_QUOTE}",
    ),
    "words": (b'id,a\n1,"Smith" & Co\n', {}, (2, "a", '"Smith" & Co'), "with ' & Co'"),
    "a number": (b'id,a\n"1"2,3\n', {}, (2, "id", '"1"2'), "with '2'"),
    "a date": (b'a\n"2024"-01-31\n', {}, (2, "a", '"2024"-01-31'), "with '-01-31'"),
    "a truth value": (b'a\n"tr"ue\n', {}, (2, "a", '"tr"ue'), "with 'ue'"),
    "a blank": (b'id,a\n"1" ,2\n', {}, (2, "id", '"1" '), "with ' '"),
    "after an empty value": (b'id,a\n1,""x\n', {}, (2, "a", '""x'), "with 'x'"),
    "after a delimiter": (b'id,a\n1,"a,"b\n', {}, (2, "a", '"a,"b'), "with 'b'"),
    "after a doubled quote": (b'id,a\n1,"a"""b\n', {}, (2, "a", '"a"""b'), "with 'b'"),
    "after line breaks": (b'id,a\r\n1,"x\ny"\r\n2,"x"y', {}, (4, "a", '"x"y'), "with 'y'"),
    "left open in a line above": (b'id,a\n1,"open\n2,"b"\n', {}, (2, "a", '"open\n2,"b"'), "with 'b\"'"),
    "in the header": (b'id,"a"b\n1,2\n', {}, (1, "ab", '"a"b'), "with 'b'"),
    "doubled, though that has no meaning": (
        b'id,a\n1,"x""y"\n',
        {"double_quote": False},
        (2, "a", '"x""y"'),
        "options: {double_quote: true} reads",
    ),
    "of another kind": (b"id;a\n1;'x'y\n", {"quote_char": "'", "delimiter": ";"}, (2, "a", "'x'y"), "twice ('')"),
    "after an escaped one": (b'id,a\n1,"x\\"y"z\n', ESCAPE, (2, "a", '"x\\"y"z'), "with 'z'"),
    "below lines that are passed over": (
        b'# "\n# "x"y\nid,a\n1,"x"y\n',
        {"skip_rows": 2},
        (4, "a", '"x"y'),
        "with 'y'",
    ),
    "in another encoding": ('id,ä\n1,"é"b\n'.encode("utf-16"), {"encoding": "utf-16"}, (2, "ä", '"é"b'), "with 'b'"),
    "in a column that is not read": (b'id,b\n1,"x"y\n', {}, (2, "b", '"x"y'), "with 'y'"),
}


@pytest.mark.parametrize("case", MISPLACED)
def test_given_text_after_a_closing_quote_then_line_column_value_and_a_remedy_are_named(
    tmp_path: Path, case: str
) -> None:
    data, options, place, says = MISPLACED[case]
    spec = read_spec(tmp_path, options=options, ignore=["b"])
    with pytest.raises(Failed) as caught:
        read(spec, [position(tmp_path, "f", data)], b"")
    failure = caught.value.failure
    assert (failure.line, failure.column, failure.value) == place
    assert says in failure.message


TAKEN: dict[str, tuple[bytes, dict[str, Any], list[str]]] = {
    "the remedy for backslashes": (b'a\n"he said \\"hi, there\\""\n', ESCAPE, ['he said "hi, there"']),
    "the remedy for plain quotes": (b'a\n"Smith" & Co\n', {"quote_char": False}, ['"Smith" & Co']),
    "inches": (b'a\n5" pipe\n', {}, ['5" pipe']),
    "quotes after a blank": (b'a,b\n1, "x"y\n', {}, [' "x"y']),
    "a path": (b'a,b\n"C:\\","x"\n', {}, ["x"]),
    "doubled quotes, at both ends": (b'a\n"""x"" and ""y"""\n', {}, ['"x" and "y"']),
    "delimiters and line ends next to doubled quotes": (b'a\n",""\n"","\n', {}, [',"\n",']),
    "no line end": (b'a\n"x"', {}, ["x"]),
    "carriage returns": (b'a\r"x"\r"y"\r', {}, ["x", "y"]),
}


@pytest.mark.parametrize("case", TAKEN)
def test_given_quotes_in_order_then_each_value_is_what_stands_there(case: str) -> None:
    data, options, values = TAKEN[case]
    table = parse(data, {}, Wanted(), options).table
    assert table.column(table.num_columns - 1).to_pylist() == values


@given(
    st.text('",x\n\r\\', max_size=24),
    st.sampled_from([{}, ESCAPE, {"delimiter": ";"}, {"quote_char": "'"}]),
)
def test_given_any_text_then_it_is_refused_where_a_strict_reader_refuses_it_and_else_read_alike(
    text: str, options: dict[str, str]
) -> None:
    text = text.replace(",", options.get("delimiter", ",")).replace('"', options.get("quote_char", '"')) + "\n"
    if options == ESCAPE and text.rstrip("\r\n").endswith("\\"):
        return  # what a backslash at the end stands before is another question
    strict = csv.reader(
        io.StringIO(text, newline=""),
        strict=True,
        delimiter=options.get("delimiter", ","),
        quotechar=options.get("quote_char", '"'),
        escapechar=options.get("escape_char"),
    )
    try:
        rows = [row for row in strict if row]
    except csv.Error:
        rows = None
    assert in_order(text.encode(), options) == (rows is not None)
    assert (misplaced(text.encode(), [], options) is None) == (rows is not None)
    if rows:
        width = len(rows[0])
        names = [f"c{place}" for place in range(width)]
        more = {"column_names": names, "ignore_empty_lines": True, "strings_can_be_null": False}
        if any(len(row) != width for row in rows):
            with pytest.raises(Malformed, match="the row has"):
                parse(text.encode(), {}, Wanted(), options | more)
        else:
            declared = dict.fromkeys(names, pa.string())
            table = parse(text.encode(), declared, Wanted(), options | more).table
            assert [list(row.values()) for row in table.to_pylist()] == rows
