"""Several patterns of files as one text, as ``read.pattern`` and ``read.exclude`` become it.

Each is a line: a file is taken that matches any of them, but for those that a line is of which begins with ``!``. There
a pattern without a ``/`` is of names, in whatever folder. A lone pattern is taken as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

LINE, NOT = "\n", "!"


def several(taken: Sequence[str], excluded: Sequence[str] = ()) -> str:
    """Patterns of files that are taken, and of those that are not, as one."""
    if len(taken) == 1 and not excluded:
        return taken[0]
    names = (one if "/" in one else f"**/{one}" for one in excluded)
    return LINE.join([*taken, *(NOT + one for one in names)])


def shown(pattern: str) -> str:
    """A pattern as people read it: ``*.csv, *.txt, not **/*-test.*``."""
    taken, excluded = lines(pattern)
    return ", ".join([*taken, *(f"not {one}" for one in excluded)])


def lines(pattern: str) -> tuple[list[str], list[str]]:
    """The patterns of files that are taken, and of those that are not."""
    lines = pattern.split(LINE)
    if len(lines) == 1:
        return lines, []
    return [one for one in lines if one[:1] != NOT], [one[1:] for one in lines if one[:1] == NOT]


def one_line(pattern: str) -> None:
    """Raise ValueError for a pattern with a line break: each is a line where there are several."""
    if LINE in pattern:
        raise ValueError("must not hold a line break; write a list")


def pattern_leads_out(pattern: str) -> bool:
    """A pattern of files (several: each in a line) that would match outside of its folder."""
    return any(one.startswith("/") or ".." in one.split("/") for one in pattern.split(LINE))
