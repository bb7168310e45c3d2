"""When a schedule is due: occurrences in order, from any point on. Pure: a zone and a clock reading give the answer.

An **occurrence** is identified by the wall time of its zone and the fold (1: the second time this wall time is shown,
when clocks go back), so that it keeps its identity when the rules of the zone change. Daylight saving (``dst``):

- ``vixie`` (default; Paul Vixie's cron 3.0 and 4.1): a fixed time that the clock skips is due at the instant of the
  change; one that it shows twice is due the first time only. An expression whose minute or hour begins with ``*``
  follows real time: skipped times are skipped, repeated ones are repeated.
- ``literal``: whatever the wall clock shows: never in a gap, twice in an overlap.
- ``utc``: the expression is read in UTC; the zone is for display.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from odibi_actors.scheduler.cron import Cron
from odibi_actors.scheduler.zones import changes, offset

Dst = Literal["vixie", "literal", "utc"]
_EPOCH: Final = datetime(1970, 1, 1)
LOOK_BACK: Final = 3 * 86_400
"""Seconds before the cursor in which a change of offset may still matter: the widest was a day (Samoa, 2011)."""
SPAN: Final = 400 * 86_400
"""Seconds of changes that are looked up at a time."""
HORIZON: Final = 4_102_444_800
"""2100-01-01: nothing is due later."""


class Occurrence(msgspec.Struct, frozen=True, order=True):
    """One due time. ``due``: whole seconds since the Unix epoch; ``wall``: naive local time in ISO format. The order is
    that of ``due``; several that the clock skipped share one, and are told apart by ``wall``."""

    due: int
    wall: str
    fold: int = 0
    note: Literal["", "skipped by the clock", "first of two", "second of two"] = ""

    @property
    def id(self) -> str:
        """What makes it unique within its schedule."""
        return f"{self.wall}#{self.fold}" if self.fold else self.wall


def _local(at: int, plus: int) -> datetime:
    return _EPOCH + timedelta(seconds=at + plus)


def _seconds(wall: datetime) -> int:
    return (wall - _EPOCH) // timedelta(seconds=1)


def cron_occurrences(cron: Cron, zone: ZoneInfo, dst: Dst, after: Occurrence | float) -> Iterator[Occurrence]:
    """Occurrences in order: later than an instant, or following an occurrence (which may share its instant)."""
    cursor = after if isinstance(after, Occurrence) else Occurrence(math.floor(after), "~")
    if dst == "utc":
        zone = ZoneInfo("UTC")
    found = _all(cron, zone, dst, cursor.due)
    return (one for one in found if (one.due, one.wall) > (cursor.due, cursor.wall))


def _all(cron: Cron, zone: ZoneInfo, dst: Dst, since: int) -> Iterator[Occurrence]:
    """Occurrences due at ``since`` or later."""
    start = since - LOOK_BACK
    shown = _local(start, offset(zone, start))  # the wall clock has shown everything before this
    until = start + SPAN
    here = offset(zone, start)
    while start < HORIZON:
        for change in [*changes(zone, start, until), None]:
            end = change.start if change is not None else until
            yield from _stretch(cron, dst, here, max(start, since), end, shown)
            shown = max(shown, _local(end, here))
            start = end
            if change is not None:
                here = change.offset
                if dst == "vixie" and not cron.wild and change.start >= since:
                    yield from _skipped(cron, change.start, shown, _local(change.start, here))
        until = start + SPAN


def _stretch(cron: Cron, dst: Dst, plus: int, start: int, end: int, shown: datetime) -> Iterator[Occurrence]:
    """Occurrences in ``[start, end)``, while local time is UTC + ``plus``; walls before ``shown`` are shown again."""
    if start >= end:
        return
    stop = _local(end, plus)
    for wall in cron.walls(_local(start, plus), inclusive=True):
        if wall >= stop:
            return
        again = wall < shown
        if again and dst == "vixie" and not cron.wild:
            continue
        yield Occurrence(_seconds(wall) - plus, wall.isoformat(), int(again), "second of two" if again else "")


def _skipped(cron: Cron, due: int, shown: datetime, now_shown: datetime) -> Iterator[Occurrence]:
    """Fixed times between what the clock showed last and what it shows now."""
    if shown >= now_shown:
        return
    for wall in cron.walls(shown, inclusive=True):
        if wall >= now_shown:
            return
        yield Occurrence(due, wall.isoformat(), 0, "skipped by the clock")


def interval_occurrences(every: int, anchor: int, after: Occurrence | float) -> Iterator[Occurrence]:
    """``anchor + k * every`` seconds: no drift, whatever a run takes. Wall times are in UTC."""
    last = after.due if isinstance(after, Occurrence) else math.floor(after)
    due = anchor + ((last - anchor) // every + 1) * every
    while due < HORIZON:
        yield Occurrence(due, datetime.fromtimestamp(due, UTC).replace(tzinfo=None).isoformat())
        due += every
