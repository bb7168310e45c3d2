"""Changes of constant offset of a time zone: what daylight saving is made of.

``zoneinfo`` tells the offset of an instant, not when it changes. Changes are found by looking every day and halving;
all are whole seconds. Times are whole seconds since the Unix epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from itertools import count
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

LOOK_EVERY: Final = 86_400
"""Seconds between two looks: since 1970 no zone has changed twice within six days (``tests/scheduler`` checks all)."""

YEAR: Final = 366 * 86_400


class Change(msgspec.Struct, frozen=True):
    """From ``start`` on local time is UTC plus ``offset`` seconds, until then plus ``before``."""

    start: int
    offset: int
    before: int


class Piece(msgspec.Struct, frozen=True):
    """From ``start`` on and before ``end`` local time is UTC plus ``offset`` seconds."""

    start: int
    end: int
    offset: int


def offset(zone: ZoneInfo, at: int) -> int:
    """Seconds to add to UTC."""
    delta = datetime.fromtimestamp(at, zone).utcoffset()
    assert delta is not None
    return delta.days * 86_400 + delta.seconds


@lru_cache(maxsize=4096)
def _changes(zone: ZoneInfo, block: int) -> tuple[Change, ...]:
    """The changes within a block of a year's length."""
    found = []
    start, end = block * YEAR, (block + 1) * YEAR
    here = offset(zone, start)
    for at in range(start, end, LOOK_EVERY):
        low, high = at, min(at + LOOK_EVERY, end)
        there = offset(zone, high)
        if there == here:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(zone, middle) == here else (low, middle)
        found.append(Change(high, there, here))
        here = there
    return tuple(found)


def pieces(zone: ZoneInfo, start: int) -> Iterator[Piece]:
    """Time from ``start`` on, cut where the offset changes and at least once a year; without end."""
    here = offset(zone, start)
    for block in count(start // YEAR):
        for change in _changes(zone, block):
            if change.start > start:
                yield Piece(start, change.start, here)
                start, here = change.start, change.offset
        end = (block + 1) * YEAR
        yield Piece(start, end, here)
        start = end


def changes(zone: ZoneInfo, start: int, end: int) -> list[Change]:
    """Changes of the offset at instants after ``start``, up to ``end`` inclusive, ascending."""
    return [
        change
        for block in range(start // YEAR, end // YEAR + 1)
        for change in _changes(zone, block)
        if start < change.start <= end
    ]


@lru_cache(maxsize=1024)
def zone_named(name: str) -> ZoneInfo:
    """The zone of an IANA name; raises ZoneInfoNotFoundError."""
    return ZoneInfo(name)


def forget_zones() -> None:
    """Zones are read again when they are next asked for: their rules may change under a running process."""
    zone_named.cache_clear()
    _changes.cache_clear()
    ZoneInfo.clear_cache()
