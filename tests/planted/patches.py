"""Unified diffs that are applied by their text, so that a patch survives what happens around the lines that it changes.

A hunk's old lines must stand in the file once. Where what is around them was changed since, context is dropped from its
ends until they do; where the file is another one now, the tree is searched. Line numbers only choose between several
places that are alike to the letter. What stays ambiguous, or is nowhere, does not apply.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HEADER = re.compile(r"@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@")


class Misfit(Exception):
    """A hunk fits nowhere, or in more than one place; the text says which."""


class Hunk(NamedTuple):
    """One change. ``lines``: with their sign, " ", "-" or "+"; ``at``: where it began, from 1."""

    path: str
    at: int
    lines: list[str]

    def trimmed(self, head: int, tail: int) -> Hunk:
        """Without so many lines of context at its beginning and its end."""
        return Hunk(self.path, self.at + head, self.lines[head : len(self.lines) - tail])

    @property
    def old(self) -> list[str]:
        """The lines that it replaces."""
        return [line[1:] for line in self.lines if line[0] != "+"]

    @property
    def new(self) -> list[str]:
        """What it replaces them with."""
        return [line[1:] for line in self.lines if line[0] != "-"]


def parse(text: str) -> list[Hunk]:
    """The hunks of a unified diff that changes files; what stands before its first file is no part of it."""
    hunks: list[Hunk] = []
    path = ""
    for line in text.splitlines():
        if line.startswith("--- a/"):
            path = line[6:]
        elif found := HEADER.match(line):
            hunks.append(Hunk(path, int(found[1]), []))
        elif hunks and hunks[-1].path == path and line[:1] in (" ", "-", "+", "") and not line.startswith("+++ b/"):
            hunks[-1].lines.append(line or " ")
    return hunks


def apply(text: str, tree: Path, *, check: bool = False) -> None:
    """Change the files below ``tree`` (``check``: only see whether it can be done). Raises Misfit."""
    changed: dict[Path, list[str]] = {}
    for hunk in parse(text):
        path, at, fitting = _place(hunk, tree, changed)
        lines = changed.setdefault(path, _lines(path))
        lines[at : at + len(fitting.old)] = fitting.new
    if not changed:
        raise Misfit("it changes nothing")
    for path, lines in () if check else changed.items():
        path.write_text("\n".join(lines), encoding="utf-8")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")


def _place(hunk: Hunk, tree: Path, changed: dict[Path, list[str]]) -> tuple[Path, int, Hunk]:
    named = tree / hunk.path
    places = list(_fits(hunk, [named] if named.exists() else [], changed)) or list(
        _fits(hunk, sorted(path for path in tree.rglob("*.py") if not path.is_symlink()), changed)
    )
    if len(places) == 1:
        return places[0]
    where = ", ".join(f"{path.relative_to(tree)}:{at + 1}" for path, at, _ in places)
    raise Misfit(f"{hunk.path}:{hunk.at}: its lines stand {f'more than once ({where})' if places else 'nowhere'}")


def _fits(hunk: Hunk, paths: list[Path], changed: dict[Path, list[str]]) -> Iterator[tuple[Path, int, Hunk]]:
    """Where it fits, with as much of its context as there is."""
    texts = {path: changed.get(path) or _lines(path) for path in paths}
    for less in _trimmed(hunk):
        old = less.old
        found = [
            (path, at, less)
            for path, lines in texts.items()
            for at in range(len(lines) - len(old) + 1)
            if lines[at] == old[0] and lines[at : at + len(old)] == old
        ]
        if found:
            exact = [place for place in found if place[1] == less.at - 1 and len(less.lines) == len(hunk.lines)]
            yield from exact if len(paths) == 1 and exact else found
            return


def _trimmed(hunk: Hunk) -> Iterator[Hunk]:
    """It, then with less and less context; some line that it replaces, or that it is put beside, is always left."""
    signs = "".join(line[0] for line in hunk.lines)
    head, tail = len(signs) - len(signs.lstrip(" ")), len(signs) - len(signs.rstrip(" "))
    for less in range(head + tail + 1):
        for first in range(less + 1):
            if first <= head and less - first <= tail:
                shorter = hunk.trimmed(first, less - first)
                if any(line.strip() for line in shorter.old):
                    yield shorter
