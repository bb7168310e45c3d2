"""The first place in a CSV file that does not fit: exact physical line, column and value.

pyarrow names a row, not a line, and not always that. So a refused file is read again by the ``csv`` module, and cells
are converted by pyarrow itself in groups, halved until one is left: the verdict is pyarrow's, the place is ours.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv as pc

from odibi_actors.nodes.failures import MAX_VALUE, shorten
from odibi_actors.nodes.formats import Malformed, check_columns, first_bad

GROUP = 4096
"""Rows converted at once."""
_NOT_UTF8 = re.compile("[\udc80-\udcff]")

Options = Mapping[str, Any]
MakeConvert = Callable[[Mapping[str, pa.DataType], Options], pc.ConvertOptions]


def find_culprit(
    data: bytes,
    types: Mapping[str, pa.DataType],
    expected: list[str] | None,
    options: Options,
    convert: MakeConvert,
) -> Malformed | None:
    """The first place that does not fit ``types`` and ``expected``; None when the slow reading finds nothing wrong."""
    encoding = options.get("encoding", "utf-8")
    plain = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    text = data.decode("utf-8" if plain else encoding, "surrogateescape" if plain else "replace")
    text = text.removeprefix("\ufeff")
    csv.field_size_limit(min(len(text) + 1, (1 << 31) - 1))
    try:
        _scan(text, expected, options, _Cells(types, options, convert))
    except Malformed as culprit:
        opened = _open_quote(text, options)
        if opened and (not culprit.line or culprit.line >= opened):
            return Malformed("a quoted value is never closed: the file is cut off", line=opened)
        return culprit
    opened = _open_quote(text, options)
    return Malformed("a quoted value is never closed: the file is cut off", line=opened) if opened else None


def _rows(text: str, options: Options, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """(1-based line it begins on, cells) of every row, blank ones too."""
    skip = options.get("skip_rows", 0)
    stream = io.StringIO(text, newline="")
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
        strict=strict,
    )
    line = skip + 1
    for row in reader:
        yield line, row
        line = skip + reader.line_num + 1


def _open_quote(text: str, options: Options) -> int:
    """The line on which the row begins whose last value is never closed; 0 when there is none."""
    line = 0
    strict = _rows(text, options, strict=True)
    try:
        for line, _ in _rows(text, options):  # noqa: B007 - where the strict reading has got to when it raises
            next(strict)
    except csv.Error as error:
        return line if "unexpected end" in str(error) else 0
    return 0


def _scan(text: str, expected: list[str] | None, options: Options, cells: _Cells) -> None:
    names: list[str] | None = options.get("column_names")
    blank_counts = not options.get("ignore_empty_lines", True)
    to_skip = options.get("skip_rows_after_names", 0)
    group: list[tuple[int, list[str]]] = []
    try:
        for line, found in _rows(text, options):
            row = found or ([""] if blank_counts else [])
            if not row:
                continue
            if names is None:
                names = _header(row, line, expected)
            elif to_skip:
                to_skip -= 1
            elif problem := _shape_problem(line, row, names):
                cells.check(group, names)  # the rows before it come first
                raise problem
            else:
                group.append((line, row))
                if len(group) == GROUP:
                    cells.check(group, names)
                    group.clear()
    except csv.Error as error:
        raise Malformed(f"not CSV: {error}") from error
    if names is None:
        raise Malformed("the file has no header", line=1)
    cells.check(group, names)


def _header(row: list[str], line: int, expected: list[str] | None) -> list[str]:
    for name in row:
        if problem := _text_problem(name, line, ""):
            raise problem
    try:
        check_columns(row, expected or row)
    except Malformed as error:
        raise Malformed(error.message, line=line, column=error.column) from None
    return row


def _shape_problem(line: int, row: list[str], names: list[str]) -> Malformed | None:
    if len(row) != len(names):
        shown = shorten(",".join(row), MAX_VALUE)
        return Malformed(f"the row has {len(row)} columns, the header {len(names)}", line=line, value=shown)
    problems = (_text_problem(cell, line, name) for name, cell in zip(names, row, strict=True))
    return next((problem for problem in problems if problem), None)


def _text_problem(cell: str, line: int, column: str) -> Malformed | None:
    if "\0" in cell:
        line += cell[: cell.index("\0")].count("\n")
        return Malformed("a NUL byte, so this is no text", line=line, column=column, value=repr(cell[:50]))
    if _NOT_UTF8.search(cell):
        shown = cell[:MAX_VALUE].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return Malformed("bytes that are not UTF-8 (set options.encoding?)", line=line, column=column, value=shown)
    return None


class _Cells(NamedTuple):
    """How cells become values: the types that are known, and the options of the one conversion there is."""

    types: Mapping[str, pa.DataType]
    options: Options
    convert: MakeConvert

    def check(self, group: list[tuple[int, list[str]]], names: list[str]) -> None:
        """Raise Malformed for the first row of the group with a cell that pyarrow does not convert."""
        first = len(group)
        culprit: Malformed | None = None
        for place, name in enumerate(names):
            if name not in self.types:
                continue
            cells = [row[place] for _, row in group[:first]]
            if self._convertible(cells, name):
                continue
            first = first_bad(len(cells), lambda start, stop: self._convertible(cells[start:stop], name))  # noqa: B023
            message = f"{shorten(repr(cells[first]), MAX_VALUE)} is not {self.types[name]}"
            culprit = Malformed(message, line=group[first][0], column=name, value=cells[first])
        if culprit is not None:
            raise culprit

    def _convertible(self, cells: list[str], name: str) -> bool:
        if not cells:
            return True
        stream = io.StringIO(newline="")
        csv.writer(stream).writerows(("0", cell) for cell in cells)
        data = stream.getvalue().encode("utf-8", "surrogateescape")
        try:
            pc.read_csv(
                pa.BufferReader(data),
                read_options=pc.ReadOptions(use_threads=False, column_names=["row", "cell"], block_size=len(data) + 1),
                parse_options=pc.ParseOptions(newlines_in_values=True),
                convert_options=self.convert({"row": pa.string(), "cell": self.types[name]}, self.options),
            )
        except pa.ArrowInvalid:
            return False
        return True
