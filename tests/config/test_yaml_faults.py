"""What cannot be read of a project file is told in plain words: the line at fault, and what it should be."""

from __future__ import annotations

import re

import pytest

from odibi_actors.config.problems import Problems
from odibi_actors.config.tree import parse

FILE = """\
project: shop
connections:
  landing: {type: local, path: in}
pipelines:
  - pipeline: p
    nodes:
      - name: s
        read:
          connection: landing
          format: csv
          mode: file_watch
"""
UNLIKE = "this line is indented like none of those around it"
BELOW = "this line is indented below one that has a value"
READ = "          "
CASES = {
    "a key too deep": (
        "    nodes:",
        "     nodes:",
        f"6:6: {BELOW} (by 5 blanks) (got nodes:); indent it by 4, as line 5",
    ),
    "a key below a value": (
        f"{READ}format",
        f"{READ} format",
        f"10:12: {BELOW} (by 11 blanks) (got format: csv); indent it by 10, as line 9",
    ),
    "a key too shallow": (
        f"{READ}format",
        f"{READ[1:]}format",
        f"10:10: {UNLIKE} (by 9 blanks) (got format: csv); indent it by 10, as line 9",
    ),
    "a section too shallow": (
        "        read:",
        "       read:",
        f"8:8: {UNLIKE} (by 7 blanks) (got read:); indent it by 8, as line 7",
    ),
    "a section too deep": (
        "        read:",
        "         read:",
        f"8:10: {BELOW} (by 9 blanks) (got read:); indent it by 8",
    ),
    "a first level": ("connections:", " connections:", f"2:2: {BELOW} (by 1 blank) (got connections:); indent it by 0"),
    "an item too shallow": (
        "",
        "     - name: t",
        f"12:6: {UNLIKE} (by 5 blanks) (got - name: t); indent it by 6, as",
    ),
    "an item too deep": (
        "",
        "       - name: t",
        f"12:8: {UNLIKE} (by 7 blanks) (got - name: t); indent it by 6, as",
    ),
    "a key after a list": (
        "",
        "   retry: {}",
        f"12:4: {UNLIKE} (by 3 blanks) (got retry: {{}}); indent it by 4, as line 6",
    ),
    "a tab": (f"{READ}format", "\t\tformat", "10:1: a tab (got format: csv); indent with spaces"),
    "a tab after a colon": ("format: csv", "format:\tcsv", "10:18: a tab (got format:\tcsv); write a blank"),
    "no colon": (
        "format: csv",
        "format csv",
        "10:11: a colon is missing after the name of the key (got format csv); write `format: csv`",
    ),
    "no colon in the last line": (
        "mode: file",
        "mode file",
        "11:11: a colon is missing after the name of the key (got mode file_watch); write `mode: file_watch`",
    ),
    "no colon after a section": (
        "read:",
        "read",
        "8:9: a colon is missing after the name of the key (got read); write `read:`",
    ),
    "no blank after a colon": (
        "format: csv",
        "format:csv",
        "10:11: a blank is missing after the colon (got format:csv); write `format: csv`",
    ),
    "no blank after a dash": (
        "",
        "      -name: t",
        "12:7: a blank is missing after the dash (got -name: t); write `- name:`",
    ),
    "a key twice": (
        "",
        f"{READ}format: json",
        "12:11: pipelines[0].nodes[0].read.format: duplicate key; first on line 10; delete one of both",
    ),
    "a star": (
        "",
        f"{READ}pattern: *.csv",
        '12:20: pipelines[0].nodes[0].read.pattern: unknown alias *.csv; quote it: pattern: "*.csv"',
    ),
    "a star in a list": ("", f"{READ}pattern: [a, *.csv]", 'unknown alias *.csv; quote it: "*.csv"'),
    "an at": ("", f"{READ}path: @x", "12:17: '@' begins no text (got path: @x); quote it: path: \"@x\""),
    "a percent": ("", f"{READ}path: %x", "12:17: '%' begins no text (got path: %x); quote it: path: \"%x\""),
    "a brace": (
        "path: in}",
        "path: in",
        "3:12: { is opened here and not closed (got landing: {type: local, path: in); close it with }",
    ),
    "a bracket": ("", f"{READ}columns: [a", "12:20: [ is opened here and not closed (got columns: [a);"),
    "a comma": ("local, path", "local path", "3:25: a comma is missing before path (got landing: {type:"),
    "a quote": ("", f'{READ}path: "x', '12:17: a quote that is opened here is not closed (got path: "x);'),
    "a backslash": (
        "",
        f'{READ}path: "\\d"',
        'a backslash between double quotes (got path: "\\d"); between double quotes',
    ),
    "a colon in a text": (
        "",
        f"{READ}description: a: b",
        '12:25: a colon within a text that is not quoted (got description: a: b); quote the text: description: "..."',
    ),
    "no blank after the first colon": ("project: shop", "project:shop", "1:1: a blank is missing after the colon (got"),
    "a no-break space": (
        "project: shop",
        "project:\u00a0shop",
        "1:1: a blank is missing after the colon (U+00A0 is none) (got project:\u00a0shop); write `project: shop`",
    ),
    "an equals sign": ("project: shop", "project = shop", "1:1: a colon is missing after the name of the key (got"),
    "no blank in an item": (
        "- name: s",
        "- name:s",
        "7:7: a blank is missing after the colon (got - name:s); write `name: s`",
    ),
    "a quote within": (
        "path: in",
        "path: 'it's'",
        "3:35: the quote ends here, and the text goes on (got landing: {type: local, path: 'it's'}); within",
    ),
    "a quote within double ones": ("", f'{READ}path: "a "b""', "12:20: the quote ends here, and the text goes on (got"),
    "a tab at the end": ("read:", "read:\t", "8:14: a tab (got read:); write a blank instead, or nothing"),
    "a bell": ("project: shop", "project: sh\x07p", "1:12: the control character U+0007; delete it"),
    "a bracket too many": (
        "",
        f"{READ}columns: [a]]",
        "12:23: expected <block end>, but found ']' (got columns: [a]])",
    ),
    "another bracket": ("", f"{READ}columns: [a}}", "12:22: [ is opened in line 12, and } does not close it"),
    "a bracket in a text": ("path: in", "path: [a]b", "quote a text that begins with [ or {"),
    "a block of nothing": (
        "",
        f"{READ}sql: |\n{READ}select 1\n{READ}from t",
        "13:11: this line is not within the block `sql: |` (got select 1); indent the lines of the block deeper than "
        "sql (by 12 blanks, say)",
    ),
    "a block that ends early": ("", f"{READ}sql: |\n{READ}  select 1\n{READ}from t", "14:11: this line is not within"),
    "a key after a block": ("", f"{READ}sql: |\n{READ}  x\n    a: 1\n   b: 1", "15:4: this line is indented like none"),
    "a secret within quotes": (
        "",
        f"{READ}password: 'a'b'",
        "12:23: the quote ends here, and the text goes on; within",
    ),
    "a secret": ("", f"{READ}password: hunter2: x", "12:28: a colon within a text that is not quoted; quote"),
}


def leads_somewhere(problems: Problems) -> None:
    """What is told to be written is not what is there."""
    for problem in problems.found:
        blanks = problem.column - 1
        assert f"by {blanks}," not in problem.suggestion, problem
        for written in re.findall("write `(.*)`", problem.suggestion):
            assert written not in str(problem).partition("; write")[0], problem


@pytest.mark.parametrize("name", CASES)
def test_given_a_slip_then_the_line_at_fault_is_named_and_what_to_write(name: str) -> None:
    old, new, expected = CASES[name]
    problems = Problems("odibi.yaml")
    parse(FILE.replace(old, new, 1) if old else f"{FILE}{new}\n", problems, lambda text: (text, []))
    (told,) = (str(problem).replace("not valid YAML: ", "") for problem in problems.found)
    assert told.startswith(f"odibi.yaml:{expected}") or (not expected[0].isdigit() and expected in told), told
    leads_somewhere(problems)


@pytest.mark.parametrize("old", sorted({line for line in FILE.splitlines() if line.strip()}))
def test_given_any_line_indented_otherwise_then_what_is_told_to_be_written_is_what_was_there(old: str) -> None:
    indent = len(old) - len(old.lstrip())
    for blanks in {indent - 1, indent + 1} - {-1}:
        problems = Problems("odibi.yaml")
        parse(FILE.replace(old, " " * blanks + old.lstrip(), 1), problems, lambda text: (text, []))
        leads_somewhere(problems)
        for problem in problems.found:
            if problem.line == FILE.splitlines().index(old) + 1 and "indent it by" in problem.suggestion:
                assert f"by {indent}, as line" in problem.suggestion, (blanks, problem)
