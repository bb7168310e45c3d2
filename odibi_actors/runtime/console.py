"""Where ``odibictl up`` shows what its lines say: each behind the name of its line, in a colour on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable

from odibi_actors.runtime.log import stamped

COLOURS = (36, 33, 32, 35, 34, 31)
"""cyan, yellow, green, magenta, blue, red: as `odibictl logs` has them."""
UP = "up"
"""Whose name is before what `up` itself says."""


class Console:
    """Writes lines to stderr, or to ``sink`` (bytes of whole lines)."""

    def __init__(self, names: Iterable[str], sink: Callable[[bytes], object] | None = None) -> None:
        names = [UP, *names]
        self._width = max(10, *map(len, names))
        self._sink = sink if sink is not None else _stderr
        coloured = sink is None and _terminal() and not os.environ.get("NO_COLOR")
        self._colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)} if coloured else {}

    def write(self, name: str, line: bytes) -> None:
        """One line, without its newline."""
        label = f"{name:<{self._width}} | "
        if name in self._colours:
            label = f"\x1b[{self._colours[name]}m{label}\x1b[0m"
        self._sink(label.encode() + line + b"\n")

    def say(self, level: str, text: str, **fields: object) -> None:
        """A line of ``up`` itself."""
        if line := stamped(level, UP, text, fields):
            self.write(UP, line.encode().rstrip(b"\n"))


def _stderr(data: bytes) -> None:
    try:
        sys.stderr.buffer.write(data)
        sys.stderr.buffer.flush()
    except (OSError, ValueError):
        return  # whoever read it is gone; the actors have logs of their own


def _terminal() -> bool:
    try:
        return os.isatty(2) and os.environ.get("TERM") != "dumb"
    except OSError:
        return False
