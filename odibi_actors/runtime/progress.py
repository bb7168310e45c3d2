"""How far a run has come: a line now and then, which replaces the one before where that can be."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SELDOM: Final = 10.0
"""Seconds between two lines of progress where they stand below one another."""


class Progress(str):
    """A line of how far a run has come."""

    __slots__ = ()


def seldom(tell: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> Callable[[str], None]:
    """``tell``, to which all lines come but those of progress that follow another one too soon."""
    last = -SELDOM

    def told(line: str) -> None:
        nonlocal last
        if isinstance(line, Progress):
            if clock() - last < SELDOM:
                return
            last = clock()
        tell(line)

    return told
