"""Rows of a CSV file by the ``csv`` module, slowly, for what pyarrow does not tell: physical lines, and what is wrong
with the shape of a file."""

from __future__ import annotations

import csv
import io
import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from odibi_actors.config.remedies import quoted
from odibi_actors.nodes.failures import MAX_VALUE, shorten
from odibi_actors.nodes.formats import Malformed
from odibi_actors.nodes.formats.packed import other_encoding
from odibi_actors.nodes.formats.quotes import ESCAPED, misplaced
from odibi_actors.units import plural

Options = Mapping[str, Any]
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
MAX_HEADER = 16 << 20
"""Bytes of a header: more is a file whose quote is left open, or no CSV at all."""


SEPARATOR = re.compile(r'"?sep=([^\r\n])"?[\r\n]', re.IGNORECASE)
"""The first line by which Excel knows the delimiter, whatever the locale."""


class Header(NamedTuple):
    """Names of the columns, and the line they are on (0 when the options give them)."""

    names: list[str]
    line: int


class Shape(NamedTuple):
    """``lines``: on which line each row of data begins, up to the first that is not in order; ``problem``: that one."""

    lines: array[int]
    problem: Malformed | None


def rows(data: bytes, options: Options) -> Iterator[tuple[int, list[str]]]:
    """(1-based line it begins on, cells) of every row, blank ones too. Raises csv.Error."""
    # The limit is the process's: never lowered, since node functions read csv as well.
    csv.field_size_limit(max(csv.field_size_limit(), min(len(data) + 1, (1 << 31) - 1)))
    stream = io.TextIOWrapper(io.BytesIO(data), "utf-8", "surrogateescape", newline="")
    skip = options.get("skip_rows", 0)
    for _ in range(skip):
        stream.readline()
    quote = options.get("quote_char", '"')
    reader = csv.reader(
        stream,
        delimiter=options.get("delimiter", ","),
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        doublequote=options.get("double_quote", True),
        escapechar=options.get("escape_char") or None,
    )
    line = skip + 1
    for row in reader:
        yield line, row
        line = skip + reader.line_num + 1


def header(data: bytes, options: Options) -> Header:
    """The names of the columns. Raises Malformed."""
    if "column_names" in options:
        return Header(list(options["column_names"]), 0)
    try:
        line, row = next(_filled(data[:MAX_HEADER], options), (0, []))
    except csv.Error as error:
        raise Malformed(f"not CSV: {error}", line=1) from error
    if not row:
        raise Malformed("the file has no header", line=1)
    for name in row:
        if problem := text_problem(name, line, ""):
            raise problem
    return Header(row, line)


def check_separator(data: bytes, options: Options) -> None:
    """Raise Malformed for a first line that tells Excel the delimiter: taken for a header, all rows would be values of
    a column ``sep=;``."""
    found = SEPARATOR.match(data[:16].decode("utf-8", "replace"))
    if found and not options.get("skip_rows", 0):
        says = f"options: {{skip_rows: 1, delimiter: {quoted(found[1])}}}"
        message = f"the first line tells Excel the delimiter and is no header; {says} reads it"
        raise Malformed(f"{message} where all files of the source begin so; else take the line out of this one", line=1)


def comment(data: bytes, options: Options) -> str:
    """The remedy for a header that begins with ``#``, if the file has one: "; if that is a comment, ..."."""
    if "column_names" in options:
        return ""
    skip = options.get("skip_rows", 0)
    found = 0
    for line in islice(io.BytesIO(data[:MAX_HEADER]), skip, None):
        if not line.startswith(b"#"):
            break
        found += 1
    leaves = f"options: {{skip_rows: {skip + found}}} leaves out so many lines before the header of each file"
    return f"; if that is a comment, {leaves}" if found else ""


def _filled(data: bytes, options: Options) -> Iterator[tuple[int, list[str]]]:
    """Rows, without the blank ones unless they count."""
    blank_counts = not options.get("ignore_empty_lines", True)
    for line, found in rows(data, options):
        row = found or ([""] if blank_counts else [])
        if row:
            yield line, row


def blank_line(data: bytes, head: Header, options: Options) -> int:
    """The first empty line below the header; 0 when there is none, or none can be told."""
    try:
        return next((line for line, row in rows(data, options) if not row and line > head.line), 0)
    except csv.Error:
        return 0


def shape(data: bytes, names: list[str], looked_at: list[int], options: Options) -> Shape:
    """The lines of all rows, and the first row of another width or with cells (``looked_at``) that are no text."""
    to_skip = options.get("skip_rows_after_names", 0) + (0 if "column_names" in options else 1)
    lines = array("Q")
    problem = None
    try:
        for line, row in _filled(data, options):
            if to_skip:
                to_skip -= 1
            elif problem := _row_problem(line, row, names, looked_at, options):
                if len(row) != len(names):
                    more = _escaped(data, line, names, options) or comment(data, options)
                    problem = Malformed(problem.message + more, line=line, value=problem.value)
                break
            else:
                lines.append(line)
    except csv.Error as error:
        problem = Malformed(f"not CSV: {error}")
    quotes = misplaced(data, names, options)
    if quotes is not None and (problem is None or not problem.line or problem.line >= quotes.line):
        problem = quotes
        lines = array("Q", [line for line in lines if line < quotes.line])
    return Shape(lines, problem)


def _escaped(data: bytes, line: int, names: list[str], options: Options) -> str:
    """The remedy for a row of another width with backslashes before its quotes, if it gives the row its width."""
    text = f"\\{options.get('quote_char', chr(34))}".encode()
    rest = data[len(before_line(data, line)) :]
    if options.get("escape_char") or text not in rest:
        return ""
    try:
        _, row = next(_filled(rest, {**options, "skip_rows": 0, "escape_char": "\\"}), (0, []))
    except csv.Error:
        return ""
    return f"; {ESCAPED}" if len(row) == len(names) and text not in ",".join(row).encode() else ""


def before_line(data: bytes, line: int) -> bytes:
    """What comes before a line (1-based; all of it for 0), as ``rows`` counts them."""
    if line < 1:
        return data
    ends = re.finditer(rb"\r\n|\r|\n", data)
    return data[: next(islice(ends, line - 2, None)).end()] if line > 1 else b""


def quoted_cells(data: bytes, names: list[str], options: Options) -> dict[str, int]:
    """The first row (from 0) in which each column has a quoted value."""
    quote, delimiter = str(options.get("quote_char", '"')), options.get("delimiter", ",")
    escape = options.get("escape_char")
    inner = rf"\{escape}.|" if escape else ""
    q, d = re.escape(quote), re.escape(delimiter)
    cell = re.compile(rf"({q}(?:{inner}[^{q}]|{q}{q})*{q}[^{d}\r\n]*|[^{d}\r\n]*)({d}|\r\n|\r|\n|\Z)", re.DOTALL)
    text = data.decode("utf-8", "surrogateescape")
    place = 0
    for _ in range(options.get("skip_rows", 0)):
        place = text.index("\n", place) + 1
    row = -options.get("skip_rows_after_names", 0) - (0 if "column_names" in options else 1)
    column, found = 0, dict[str, int]()
    while place < len(text) and (match := cell.match(text, place)):
        place = match.end()
        if row >= 0 and match[1].startswith(quote) and column < len(names):
            found.setdefault(names[column], row)
        if match[2] == delimiter:
            column += 1
        else:
            row += 1 if column or match[1] or not options.get("ignore_empty_lines", True) else 0
            column = 0
    return found


def other_delimiter(text: str, given: str, best: Callable[[list[str]], bool]) -> str:
    """What else may separate the values of a line that was read as one: what splits it as is ``best``, else what is in
    it most often; "" when there is nothing of the kind."""
    found = sorted((one for one in ";\t|," if one != given and one in text), key=text.count, reverse=True)
    return next((one for one in found if best([part.strip(' "') for part in text.split(one)])), next(iter(found), ""))


def separated(delimiter: str) -> str:
    """The remedy for a file whose values are separated so."""
    return (
        f"options: {{delimiter: {quoted(delimiter)}}} reads it where all files of the source are separated so; "
        "else deliver this one as the others are"
    )


def _row_problem(
    line: int, row: list[str], names: list[str], looked_at: list[int], options: Options
) -> Malformed | None:
    if len(row) != len(names):
        given = options.get("delimiter", ",")
        shown = shorten(given.join(row), MAX_VALUE)
        message = f"the row has {plural(len(row), 'column')}, the header {len(names)}"
        if len(row) == 1 and (found := other_delimiter(row[0], given, lambda parts: len(parts) == len(names))):
            message += f"; {separated(found)}" if len(row[0].split(found)) == len(names) else ""
        return Malformed(message, line=line, value=shown)
    problems = (text_problem(row[place], line, names[place]) for place in looked_at)
    return next((problem for problem in problems if problem), None)


def text_problem(cell: str, line: int, column: str) -> Malformed | None:
    """What keeps a cell from being a text."""
    if "\0" in cell:
        line += cell[: cell.index("\0")].count("\n")
        return Malformed(
            "a NUL byte: this is no text, or the file is damaged", line=line, column=column, value=repr(cell[:50])
        )
    if _NOT_UTF8.search(cell):
        shown = cell[:MAX_VALUE].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        message = f"bytes that are not UTF-8, perhaps windows-1252 or latin-1 text: {other_encoding('windows-1252')}"
        return Malformed(message, line=line, column=column, value=shown)
    return None
