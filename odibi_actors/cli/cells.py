"""Rows of data for people: no two different values look alike.

A text stands as it is where it can be nothing else, and in quotes, escaped as in JSON, where it could: ``null`` is a
null, ``"null"`` the text; what is empty, begins or ends with white space, or holds what cannot be seen has quotes too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from odibi_actors.cli.output import WIDE, console
from odibi_actors.units import plural

if TYPE_CHECKING:
    from rich.console import RenderableType

MAX_CELL = 60
"""Characters of a value in a table; ``-o json`` has all of it."""
NULL = "null"
_AMBIGUOUS = frozenset({"", NULL, "-"})


def cell(value: object) -> str:
    """A value as JSON has it (see ``outputs.head``), in at most a line: what is cut says how long it is."""
    if isinstance(value, str):
        text = value if _plain(value) else json.dumps(value, ensure_ascii=False)
        text = text if text.isprintable() else json.dumps(value)
        if len(text) <= MAX_CELL:
            return text
        begin = json.dumps(value[: MAX_CELL // 2], ensure_ascii=not value[: MAX_CELL // 2].isprintable())
        return f"{begin}... {len(value):,} characters"
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = text if text.isprintable() else json.dumps(value, default=str)
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL // 2]}... {len(text):,} characters"


def _plain(text: str) -> bool:
    return text not in _AMBIGUOUS and text.isprintable() and text == text.strip() and text[0] not in "\"'"


def heading(shown: int, total: int) -> str:
    """What stands above the first rows of something."""
    return f"first {shown} of {plural(total, 'row')}" if shown < total else plural(total, "row")


def rows(head: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, str]]) -> RenderableType:
    """Rows with their columns, (name, type): side by side where the terminal is wide enough, else one after the
    other."""
    from rich.table import Table
    from rich.text import Text

    lines = [[cell(row[name]) for name, _ in columns] for row in head]
    headings = [(cell(name), kind) for name, kind in columns]
    widths = [max(map(len, (*headings[place], *(line[place] for line in lines)))) + 2 for place in range(len(columns))]
    if sum(widths) <= (console().width if sys.stdout.isatty() else WIDE):
        view = Table(box=None, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for name, kind in headings:
            view.add_column(Text(f"{name}\n{kind}"), no_wrap=True)
        for line in lines:
            view.add_row(*map(Text, line))
        return view
    view = Table(box=None, pad_edge=False, show_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(3):
        view.add_column(overflow="fold")
    for number, line in enumerate(lines, 1):
        view.add_row(Text(f"row {number}", style="bold"))
        for (name, kind), value in zip(headings, line, strict=True):
            view.add_row(Text(name), Text(kind), Text(value))
    return view
