"""File formats: bytes of one file to a table, or the exact place that does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import pyarrow as pa


class Malformed(Exception):
    """The bytes of a file do not fit. ``line`` is 1-based (0: not known), ``column`` and ``value`` "" where none.
    ``takes``: the type that would take the column, "" where none is known; ``uneven``: the columns that this file has
    and others do not, or the other way round."""

    def __init__(
        self,
        message: str,
        *,
        line: int = 0,
        column: str = "",
        value: str = "",
        takes: str = "",
        uneven: Sequence[str] = (),
    ) -> None:
        message = message.removesuffix(".")  # of what a library says: it is followed by more
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.value = value
        self.takes = takes
        self.uneven = tuple(uneven)


class Parsed(NamedTuple):
    """One file as a table; ``left_out``: its columns that were not read ("" for one without a name). ``quoted``: the
    first row with a quoted cell of each column where that has a meaning. ``doubt``: why its header looks like data.
    ``sparse``: objects within lack keys, so that those of several files may become one type. ``rescued``: of columns
    that ``table`` has without some of their values, or not at all, these as JSON texts, None for rows without one."""

    table: pa.Table
    left_out: list[str]
    quoted: dict[str, int] = {}
    doubt: str = ""
    sparse: bool = False
    rescued: Mapping[str, list[str | None]] = MappingProxyType({})


def first_bad(count: int, fits: Callable[[int, int], bool]) -> int:
    """The index of the first of ``count`` values that does not fit, where ``fits(start, stop)`` tells it of a range."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if not fits(low, middle) else (middle, high)
    return low
