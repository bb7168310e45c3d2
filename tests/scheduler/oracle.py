"""An independent model of cron under changes of the zone: it looks at every minute, and knows no library of ours.

The model is that of Paul Vixie's cron: a process that wakes each minute and compares the fields with the wall clock;
when the clock has jumped forward, fixed jobs of the minutes that were skipped run at once; when it was set back, fixed
jobs wait until the clock has passed where it had been; jobs with ``*`` in minute or hour run by the clock alone.
"""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = 60


class Fields:
    """The sets of a five-field expression made of ``*``, numbers, ranges, lists and steps."""

    def __init__(self, text: str) -> None:
        minute, hour, day, month, weekday = text.split()
        self.wild = minute.startswith("*") or hour.startswith("*")
        self.minutes, self.hours = self._set(minute, 0, 59), self._set(hour, 0, 23)
        self.days, self.months = self._set(day, 1, 31), self._set(month, 1, 12)
        self.weekdays = {number % 7 for number in self._set(weekday, 0, 7)}
        self.any_day, self.any_weekday = day == "*", weekday == "*"

    @staticmethod
    def _set(field: str, low: int, high: int) -> set[int]:
        found: set[int] = set()
        for item in field.split(","):
            span, _, step = item.partition("/")
            first, _, last = span.partition("-")
            begin, end = (low, high) if span == "*" else (int(first), int(last or first))
            found.update(range(begin, end + 1, int(step or 1)))
        return found

    def match(self, wall: datetime) -> bool:
        """Whether the wall clock shows a time of this expression (seconds are not looked at)."""
        if wall.minute not in self.minutes or wall.hour not in self.hours or wall.month not in self.months:
            return False
        day = wall.day in self.days
        weekday = (calendar.weekday(wall.year, wall.month, wall.day) + 1) % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return day and weekday
        return day or weekday


def walk(text: str, zone: ZoneInfo, start: int, end: int) -> list[tuple[int, str]]:
    """(due, wall time) of each run in ``[start, end)`` seconds since the epoch; ``start`` lies well before any change
    of the offset that matters. Offsets need not be whole minutes: the clock is read each second it shows ``:00``."""
    fields = Fields(text)
    runs: list[tuple[int, str]] = []
    furthest: datetime | None = None  # minutes before this one have been shown
    at = start
    while at < end:
        wall = datetime.fromtimestamp(at, UTC).astimezone(zone).replace(tzinfo=None)
        if furthest is not None and not fields.wild:
            while furthest < wall.replace(second=0) + (timedelta(minutes=1) if wall.second else timedelta()):
                if fields.match(furthest):
                    runs.append((at, furthest.isoformat()))
                furthest += timedelta(minutes=1)
        if wall.second == 0 and fields.match(wall) and (fields.wild or furthest is None or wall >= furthest):
            runs.append((at, wall.isoformat()))
        shown = wall.replace(second=0) + timedelta(minutes=1)
        furthest = shown if furthest is None else max(furthest, shown)
        at = _next(zone, at, wall)
    return runs


def _next(zone: ZoneInfo, at: int, wall: datetime) -> int:
    """The next instant at which a minute begins, or the offset changes."""
    step = MINUTE - wall.second
    offset = datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()
    if datetime.fromtimestamp(at + step, UTC).astimezone(zone).utcoffset() == offset:
        return at + step
    for later in range(at + 1, at + step + 1):
        if datetime.fromtimestamp(later, UTC).astimezone(zone).utcoffset() != offset:
            return later
    return at + step
