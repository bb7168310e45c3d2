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
from datetime import datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from odibi_actors.config.model import ScheduleSpec
from odibi_actors.model import Place
from odibi_actors.scheduler.cron import Cron, parse
from odibi_actors.scheduler.zones import offset, pieces, zone_named

Dst = Literal["vixie", "literal", "utc"]
_EPOCH: Final = datetime(1970, 1, 1)
LOOK_BACK: Final = 3 * 86_400
"""Seconds before the cursor in which a change of offset may still matter: the widest was a day (Samoa, 2011)."""
DAY: Final = 86_400
SECOND: Final = timedelta(seconds=1)
ANY: Final = "~"
"""The wall time of a place that is after all that are due at its instant."""
HORIZON: Final = 4_102_444_800
"""2100-01-01: nothing is due later."""


class Occurrence(msgspec.Struct, frozen=True, order=True):
    """One due time. ``due``: whole seconds since the Unix epoch; ``wall``: naive local time in ISO format. The order is
    that of ``due``; several that the clock skipped share one, and are told apart by ``wall``."""

    due: int
    wall: str
    fold: int = 0
    note: Literal["", "skipped by the clock", "second of two"] = ""
    shown: str = ""
    """Of the second of two: the last wall time that the clock showed before it went back."""

    @property
    def id(self) -> str:
        """What makes it unique within its schedule."""
        return f"{self.wall}#{self.fold}" if self.fold else self.wall

    @property
    def place(self) -> Place:
        """How far a schedule has come with this one: of wall times, to the latest that the clock has shown."""
        return Place(self.due, self.shown or self.wall)


def occurrences(spec: ScheduleSpec, after: Place | float) -> Iterator[Occurrence]:
    """Those of a timed schedule in order, from ``start`` on and before ``end``, without excluded dates: all that follow
    a place in the order (due, wall), or are later than an instant."""
    place = after if isinstance(after, Place) else Place(math.floor(after))
    if spec.start:
        place = max(place, Place(math.ceil(spec.start) - 1))
    zone = zone_named(spec.timezone)
    found = _of(spec, zone, place)
    while (one := next(found, None)) is not None:
        if spec.end and one.due >= spec.end:
            return
        if spec.exclude and (day := _date(spec, zone, one)) in spec.exclude:
            # over the rest of the date at one stride: it may hold 86,400 of them
            found = _of(spec, zone, max(one.place, Place(_end_of(zone, one.due, day) - 1)))
        else:
            yield one


def _of(spec: ScheduleSpec, zone: ZoneInfo, place: Place) -> Iterator[Occurrence]:
    if spec.cron:
        return cron_occurrences(parse(spec.cron), zone, spec.dst, place)
    return interval_occurrences(int(spec.every), math.ceil(spec.start), place)


def first(spec: ScheduleSpec, after: Place | float) -> Occurrence | None:
    """The one of ``occurrences`` that comes first."""
    return next(occurrences(spec, after), None)


def _date(spec: ScheduleSpec, zone: ZoneInfo, one: Occurrence) -> str:
    """The date in the zone of the schedule."""
    if spec.cron and spec.dst != "utc":
        return one.wall[:10]
    return _local(one.due, offset(zone, one.due)).date().isoformat()


def _local(at: int, plus: int) -> datetime:
    return _EPOCH + timedelta(seconds=at + plus)


def _seconds(wall: datetime) -> int:
    return (wall - _EPOCH) // SECOND


def _end_of(zone: ZoneInfo, since: int, day: str) -> int:
    """An instant before which the wall clock shows no later date, from ``since`` on."""
    midnight = _seconds(datetime.fromisoformat(day)) + DAY
    return next(midnight - one.offset for one in pieces(zone, since) if midnight - one.offset < one.end)


def cron_occurrences(cron: Cron, zone: ZoneInfo, dst: Dst, after: Place | float) -> Iterator[Occurrence]:
    """Occurrences in order that follow a place (and may share its instant), or are later than an instant.

    A place with a wall time says what was due so far. Where the rules of the zone have changed since, that is more than
    the clock tells: no wall time up to it comes again; fixed times that the clock now never showed are due at once."""
    place = after if isinstance(after, Place) else Place(math.floor(after))
    if place.due >= HORIZON:
        return
    if dst == "utc":
        zone = zone_named("UTC")
    at_instant = place.wall == ANY
    for one in _all(cron, zone, dst, place):
        if (one.due, one.wall) <= (place.due, place.wall):
            continue
        if at_instant or one.wall > place.wall or (one.fold and place.wall == _last_shown(zone, place.due)):
            yield one


def _last_shown(zone: ZoneInfo, at: int) -> str:
    """The latest wall time that the clock has shown up to this instant, by the rules of now."""
    shown = _EPOCH
    for piece in pieces(zone, at - LOOK_BACK):
        if at < piece.end:
            return max(_local(at, piece.offset), shown - SECOND).isoformat()
        shown = max(shown, _local(piece.end, piece.offset))
    raise AssertionError("the pieces of a zone never end")


def _all(cron: Cron, zone: ZoneInfo, dst: Dst, place: Place) -> Iterator[Occurrence]:
    """Occurrences due at the place or later."""
    fixed = dst == "vixie" and not cron.wild
    if fixed and place.wall != ANY:
        start, shown = place.due, datetime.fromisoformat(place.wall)
    else:
        start = place.due - LOOK_BACK
        shown = _local(start, offset(zone, start))
    # ``shown``: everything before this the wall clock has shown, or was made up for
    for piece in pieces(zone, start):
        if piece.start >= HORIZON:
            return
        if fixed and piece.start >= place.due:
            yield from _skipped(cron, piece.start, shown, _local(piece.start, piece.offset))
        yield from _stretch(cron, fixed, piece.offset, max(piece.start, place.due), min(piece.end, HORIZON), shown)
        shown = max(shown, _local(piece.end, piece.offset))


def _stretch(cron: Cron, fixed: bool, plus: int, start: int, end: int, shown: datetime) -> Iterator[Occurrence]:
    """Occurrences in ``[start, end)``, while local time is UTC + ``plus``; walls before ``shown`` are shown again."""
    if start >= end:
        return
    stop = _local(end, plus)
    for wall in cron.walls(_local(start, plus), inclusive=True):
        if wall >= stop:
            return
        due = _seconds(wall) - plus
        if wall >= shown:
            yield Occurrence(due, wall.isoformat())
        elif not fixed:
            yield Occurrence(due, wall.isoformat(), 1, "second of two", (shown - SECOND).isoformat())


def _skipped(cron: Cron, due: int, shown: datetime, now_shown: datetime) -> Iterator[Occurrence]:
    """Fixed times between what the clock showed last and what it shows now."""
    if shown >= now_shown:
        return
    for wall in cron.walls(shown, inclusive=True):
        if wall >= now_shown:
            return
        yield Occurrence(due, wall.isoformat(), 0, "skipped by the clock")


def interval_occurrences(every: int, anchor: int, after: Place | float) -> Iterator[Occurrence]:
    """``anchor + k * every`` seconds: no drift, whatever a run takes. Wall times are in UTC."""
    place = after if isinstance(after, Place) else Place(math.floor(after))
    due = anchor + ((place.due - anchor) // every + 1) * every
    while due < HORIZON:
        yield Occurrence(due, _local(due, 0).isoformat())
        due += every
