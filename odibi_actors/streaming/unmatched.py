"""Patterns of a source that match nothing of what lies in its folder: of a misspelt one nothing else would tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher

from odibi_actors.config.patterns import lines
from odibi_actors.streaming.patterns import Pattern, temporary
from odibi_actors.units import plural

REMEMBERED = 200
"""Names of which the nearest is told: comparing them takes 10 ms."""

MAX_TAKEN = 10_000
"""Names that a source has taken, up to which they are asked whether they match; one that has taken more is no new one
with a misspelt pattern."""


class Unmatched:
    """Which of the patterns have matched nothing so far, while a folder is listed."""

    def __init__(self, pattern: str) -> None:
        taken, excluded = lines(pattern)
        self._left = {one: Pattern(one) for one in taken}
        self._all = [Pattern(one) for one in taken] if excluded else []
        self._files = 0
        self._names: list[str] = []

    def take(self, name: str, *, matches: bool) -> None:
        """A file of this name, relative to the source's folder, is there. ``matches``: the source takes it."""
        if not matches and temporary(name):
            return
        self._files += 1
        if not self._left:
            return
        if matches or any(one.matches(name) for one in self._all):
            self._left = {text: one for text, one in self._left.items() if not one.matches(name)}
        elif len(self._names) < REMEMBERED:
            self._names.append(name)

    def told(self) -> list[tuple[str, int, str]]:
        """Of each pattern that matches nothing: itself, how many files there are, and the nearest of those that none
        matches ("": there is none)."""
        return [(one, self._files, _nearest(one, self._names)) for one in self._left] if self._files else []


def _nearest(pattern: str, names: list[str]) -> str:
    folded = Pattern(pattern.casefold())
    shape = pattern.replace("*", "").casefold()

    def likeness(name: str) -> tuple[bool, float]:
        return folded.matches(name.casefold()), SequenceMatcher(None, shape, name.casefold()).ratio()

    return max(sorted(names), key=likeness, default="")


def said(found: Iterable[tuple[str, int, str]], folder: str, taken: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(pattern, what is said of it) of those of which nothing was ever read. ``found``: see ``Unmatched.told``; no
    number where files are not counted. ``taken``: names, relative to ``folder``, that the source has read: they may
    have been moved away since."""
    names = list(taken)
    for pattern, files, near in found:
        one = Pattern(pattern)
        if len(names) > MAX_TAKEN or any(one.matches(name) for name in names):
            continue
        of = f"none of the {plural(files, 'file')}" if files > 1 else "none of the files" if not files else "no file"
        yield pattern, f"pattern {pattern!r} matches {of} in {folder}" + (f" (such as {near})" if near else "")
