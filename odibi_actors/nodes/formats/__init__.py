"""File formats: bytes of one file to a table, or the exact place that does not fit."""

from __future__ import annotations

from collections.abc import Callable


class Malformed(Exception):
    """The bytes of a file do not fit. ``line`` is 1-based (0: not known), ``column`` and ``value`` "" where none."""

    def __init__(self, message: str, *, line: int = 0, column: str = "", value: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.value = value


def check_columns(found: list[str], expected: list[str]) -> None:
    """Raise Malformed (line 1) unless ``found`` are the expected columns in any order, each once."""
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise Malformed(f"several columns are named {', '.join(map(repr, twice))}", line=1, column=twice[0])
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    if missing or extra:
        texts = [f"column {name!r} is missing" for name in missing] + [f"column {name!r} is new" for name in extra]
        wanted = ", ".join(expected)
        raise Malformed(f"{'; '.join(texts)}; expected: {wanted}", line=1, column=(missing + extra)[0])


def first_bad(count: int, fits: Callable[[int, int], bool]) -> int:
    """The index of the first of ``count`` values that does not fit, where ``fits(start, stop)`` tells it of a range."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if not fits(low, middle) else (middle, high)
    return low
