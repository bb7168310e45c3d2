"""What daylight saving does to an occurrence, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from odibi_actors.cli.moments import local, utc, zone_of
from odibi_actors.scheduler.timetable import Occurrence, occurrences
from odibi_actors.scheduler.zones import Change, changes

if TYPE_CHECKING:
    from odibi_actors.cli.output import Row
    from odibi_actors.config.model import ScheduleSpec

FEW = 3
"""Times the clock skips that are named one by one."""
_EPOCH = datetime(1970, 1, 1)


def upcoming(spec: ScheduleSpec, start: float, number: int) -> Iterator[Row]:
    """The first ``number`` occurrences of a timed schedule due at or after ``start`` (seconds since the epoch): id,
    ``due``, ``utc``, ``local`` (ISO texts), ``note``."""
    zone = zone_of(spec.timezone)
    before = start
    for one in islice(occurrences(spec, start - 0.5), number):  # "after" an instant does not include it
        yield {
            "occurrence": one.id,
            "due": one.due,
            "utc": utc(one.due),
            "local": local(one.due, zone),
            "note": note(spec, one, before),
        }
        before = one.due


def note(spec: ScheduleSpec, one: Occurrence, before: float) -> str:
    """What a change of clocks does to this occurrence, or has done since ``before`` (the occurrence before it)."""
    zone = zone_of(spec.timezone)
    if not spec.cron or spec.dst == "utc":  # it follows no wall clock: the local time moves
        moved = changes(zone, int(before), one.due)
        return f"{_words(moved[-1])}: local time shifts" if moved else ""
    day = 86_400
    near = changes(zone, one.due - day, one.due + day)
    for change in near:
        back = change.before - change.offset
        if one.note == "skipped by the clock" and change.start == one.due:
            return f"{_words(change)}: runs at once"
        if one.note == "second of two" and change.start <= one.due < change.start + back:
            return f"{_words(change)}: second of two"
        if back > 0 and change.start - back <= one.due < change.start:
            return f"{_words(change)}: {'first of two' if _repeats(spec, one) else 'runs the first time'}"
    for change in changes(zone, int(before), one.due):
        if missed := _missed(spec, change):
            return f"{_words(change)}: {missed}"
    return ""


def _repeats(spec: ScheduleSpec, one: Occurrence) -> bool:
    """Whether the same wall time comes again when the clock shows it for the second time."""
    again = takewhile(lambda other: other.due <= one.due + 2 * 86_400, occurrences(spec, one.due))
    return any(other.wall == one.wall and other.fold for other in again)


def _missed(spec: ScheduleSpec, change: Change) -> str:
    """The times a change of clocks skips for good, if any."""
    from odibi_actors.scheduler.cron import parse

    start, end = _shown(change.start, change.before), _shown(change.start, change.offset)
    cron = parse(spec.cron)
    if end <= start or (spec.dst == "vixie" and not cron.wild):
        return ""
    walls = list(takewhile(lambda wall: wall < end, cron.walls(start, inclusive=True)))
    if not walls:
        return ""
    if len(walls) <= FEW:
        return f"{', '.join(f'{wall:%H:%M}' for wall in walls)} skipped"
    return f"{len(walls)} times skipped, {walls[0]:%H:%M} to {walls[-1]:%H:%M}"


def _words(change: Change) -> str:
    """``clocks go forward 02:00 -> 03:00``."""
    way = "forward" if change.offset > change.before else "back"
    return f"clocks go {way} {_shown(change.start, change.before):%H:%M} -> {_shown(change.start, change.offset):%H:%M}"


def _shown(at: int, plus: int) -> datetime:
    return _EPOCH + timedelta(seconds=at + plus)
