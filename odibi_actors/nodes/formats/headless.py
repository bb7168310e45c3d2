"""Whether the first line of a csv file is a row of data: taken for a header, it would be lost in silence."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from itertools import islice, pairwise
from typing import Any

from odibi_actors.nodes.failures import shorten
from odibi_actors.nodes.formats import Malformed
from odibi_actors.nodes.formats.rows import MAX_HEADER, header, rows

LOOKED = 100
"""Rows below the first line that are looked at."""
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)*|[.,]\d+)([eE][+-]?\d+)?")
_DAY = r"\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}"
_MOMENT = re.compile(rf"({_DAY})([T ]+\d{{1,2}}:\d{{2}}.*)?|\d{{1,2}}:\d{{2}}(:\d{{2}}.*)?")
_YEAR = re.compile(r"(1[89]|2[01])\d\d")
_CODE = re.compile(r"\d.*|.*[^\W_].*[^\w\s].*\d.*|.*\d.*[^\w\s].*[^\W_].*", re.DOTALL)
"""Texts that are no names of columns, if all below are spelled so: ``AB-17``, ``00/7``."""
_WORDS = {"number": "a number", "moment": "a date or time", "code": "a value"}


def data_first(data: bytes, options: Mapping[str, Any]) -> str:
    """Why the first line of a csv file (UTF-8; its beginning will do) looks like data, in words; "" when it does not,
    or the options give the names."""
    if "column_names" in options:
        return ""
    try:
        head = header(data, options)
        skip = options.get("skip_rows_after_names", 0)
        below = [row for line, row in islice(rows(data[:MAX_HEADER], options), skip + LOOKED + 2) if line > head.line]
    except (Malformed, csv.Error):
        return ""
    return looks_like_data(head.names, [row for row in below[skip:] if row][:LOOKED])


def looks_like_data(first: Sequence[str], below: Sequence[Sequence[str]]) -> str:
    """Why a first line looks like one of the rows ``below`` it, in words; "" when it does not.

    It does with a number or a date where there are some below it, if no text stands above nothing but numbers or dates.
    Years side by side are names of columns. Without rows only a date, or a number that is no year, tells."""
    if _years(first):
        return ""
    found: list[tuple[str, str]] = []
    for place, cell in enumerate(first):
        column = [row[place] for row in below if place < len(row) and row[place].strip()]
        kind = _kind(cell)
        if not column:
            if not below and kind in ("number", "moment") and not _YEAR.fullmatch(cell.strip()):
                found.append((cell, kind))
            continue
        kinds = {_kind(one) for one in column}
        if cell.strip() and kinds <= {"number", "moment"} and kind not in kinds:
            return ""  # a name above numbers
        if kind in ("number", "moment") and kind in kinds:
            found.append((cell, kind))
        elif kind == "text" and _CODE.fullmatch(cell) and len({_shape(one) for one in [cell, *column]}) == 1:
            found.append((cell, "code"))
    if not found:
        return ""
    cell, kind = next(((cell, kind) for cell, kind in found if kind != "code"), found[0])
    return f"{shorten(cell, 50)!r} is {_WORDS[kind]}{', as below it' if below else ''}"


def without_header(count: int) -> list[str]:
    """Names for the columns of files that have none."""
    return [f"column_{number}" for number in range(1, count + 1)]


def _years(first: Sequence[str]) -> bool:
    """Names such as ``country, 2019, 2020``: a table with a column for each year."""
    years = [int(cell) for cell in first if _YEAR.fullmatch(cell.strip())]
    others = [_kind(cell) for cell in first if cell.strip() and not _YEAR.fullmatch(cell.strip())]
    steps = {later - former for former, later in pairwise(years)}
    return len(years) > 1 and len(steps) == 1 and 0 not in steps and "text" in others and set(others) == {"text"}


def _kind(cell: str) -> str:
    cell = cell.strip()
    if _MOMENT.fullmatch(cell):
        return "moment"
    return "number" if _NUMBER.fullmatch(cell) else "text"


def _shape(cell: str) -> str:
    return re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "a", cell.strip()))
