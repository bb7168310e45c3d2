"""Values in tables for people: no two of them look alike."""

from __future__ import annotations

import ast
import json
import re
import sys
from itertools import combinations
from pathlib import Path

import pyarrow as pa
import pytest

from odibi_actors.batches.shown import head
from odibi_actors.cli import cells
from odibi_actors.cli.iteration import COLUMNS
from odibi_actors.cli.output import lines, span, table
from odibi_actors.units import plural

ROOT = Path(__file__).parents[2]
TEXTS = (
    *("", " ", "  ", "\n", "\t", "a", " a", "a ", "a\n", "a\tb", "a\\tb", "null", "NULL", '"null"', "'a'", '""'),
    *("''", "-", "None", "nan", "x\x00", "x\x1b[31m", "\u200b", "é", "e\u0301", "a\u00a0", "\u2028"),
    *("x" * 100, "x" * 101, "x" * 99 + "y", "x" * 30 + "...", '"' + "x" * 29, "[1]", '{"a": 1}'),
)


def test_given_texts_that_differ_when_shown_then_no_two_look_alike_and_none_drives_a_terminal() -> None:
    shown = {text: cells.cell(text) for text in TEXTS}
    alike = [(a, b) for a, b in combinations(TEXTS, 2) if shown[a] == shown[b]]
    assert alike == [("x" * 100, "x" * 99 + "y")]  # -o json has the rest of a long one
    assert all(text.isprintable() and len(text) < 80 for text in shown.values())
    assert cells.cell(None) == "null"
    assert all(text != "null" for text in shown.values())
    assert (shown["a"], shown["NULL"], shown["x" * 101]) == ("a", "NULL", f'"{"x" * 30}"... 101 characters')


def test_given_nested_values_when_shown_then_a_null_in_them_is_not_a_text() -> None:
    values = ([None], ["null"], {"a": None}, {"a": "null"}, [[]], [""], [], True, 1.5)
    assert len({cells.cell(value) for value in values}) == len(values)
    assert cells.cell([None, "null"]) == '[null, "null"]'


def test_given_a_type_in_brackets_when_shown_then_it_is_whole() -> None:
    text = lines(cells.rows([{"at": "x", "[b]": "y"}], [("at", "timestamp[us]"), ("[b]", "string")]))
    assert "timestamp[us]" in text
    assert "[b]" in text


def test_given_many_columns_when_shown_then_they_stand_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [(f"column{number}", "int64") for number in range(50)]
    row = {name: 7 for name, _ in columns}
    assert len(lines(cells.rows([row], columns)).splitlines()) == 3
    monkeypatch.setattr(cells, "WIDE", 80)
    tall = lines(cells.rows([row, row], columns)).splitlines()
    assert len(tall) == 2 * 51
    assert tall[0].split() == ["row", "1"]
    assert tall[50].split() == ["column49", "int64", "7"]


@pytest.mark.parametrize(
    ("array", "value"),
    [
        (pa.array([1], pa.time64("ns")), "00:00:00.000000001"),
        (pa.array([1], pa.timestamp("ns")), "1970-01-01T00:00:00.000000001"),
        (pa.array([2**60], pa.timestamp("us")), f"<value out of range: {2**60}>"),
        (pa.array([2**60 + 1], pa.int64()), 2**60 + 1),
        (pa.array([b"\x00\xff"]), "00ff"),
        (pa.array([float("nan")]), "nan"),
        (pa.array([None], pa.string()), None),
    ],
)
def test_given_a_value_when_it_is_json_then_nothing_of_it_is_lost(array: pa.Array, value: object) -> None:
    (row,) = head(pa.table({"x": array}), 5)
    assert row == {"x": value}
    json.dumps(row, allow_nan=False)


def test_given_a_count_when_told_then_its_noun_agrees() -> None:
    assert [plural(number, "row") for number in (0, 1, 2, 1000)] == ["0 rows", "1 row", "2 rows", "1,000 rows"]
    assert plural(1, "key stands", "keys stand") == "1 key stands"


NOUNS = re.compile(
    r" (?:more )?(rows|files|iterations|letters|columns|occurrences|sources|pages|values|records|workers|parts)\b"
)
AT_LEAST_TWO = {
    *("len(held)", "len(source.changed)", "len(found)", "len(former)", "len(taken)", "len(source.files.known)"),
    *("len(rows.column_names)", "record.count"),
}
"""Counts of which the line before says that they are no 1, or that stand behind another number."""


def test_given_a_message_with_a_count_then_the_count_and_its_noun_come_from_one_place() -> None:
    """What says "1 rows" was written as ``f"{number} rows"``."""
    found = []
    for path in sorted([*ROOT.glob("odibi_actors/**/*.py"), *ROOT.glob("broker/*.py"), *ROOT.glob("workers/*.py")]):
        if "/sim/" in str(path) or "__pycache__" in str(path):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.JoinedStr):
                continue
            for one, behind in zip(node.values, node.values[1:], strict=False):
                if isinstance(one, ast.FormattedValue) and isinstance(behind, ast.Constant):
                    value = ast.unparse(one.value)
                    counts = re.match(r"(len\(|count\()|.*(num_rows|count|missing|in_flight|backlog|nulls|nans)", value)
                    if counts and NOUNS.match(str(behind.value)) and value not in AT_LEAST_TWO:
                        found.append(f"{path.relative_to(ROOT)}: {{{value}}}{behind.value[:20]}")
    assert found == []


def test_given_a_long_error_then_it_is_one_line_of_a_terminal_and_whole_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = "line 3: " + "x" * 300 + "\nand more"
    row = {"iteration": 1, "state": "failed", "lane": "live", "error": error}
    assert "x" * 300 in lines(table([row], COLUMNS))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "40")
    head, *found = lines(table([row], COLUMNS)).splitlines()
    assert len(found) == 1
    assert max(len(head), len(found[0])) <= 120
    assert "line 3: xxx" in found[0]
    assert found[0].endswith("\u2026")


def test_given_a_clock_that_was_set_back_then_no_time_is_negative() -> None:
    assert (span(-30.0), span(-5), span(90)) == ("0.00s", "0s", "90s")
