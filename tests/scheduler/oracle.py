"""An independent model of cron under changes of the zone: it looks at every minute, and knows no library of ours.

The model is that of Paul Vixie's cron: a process that wakes each minute and compares the fields with the wall clock;
when the clock has jumped forward, fixed jobs of the minutes that were skipped run at once; when it was set back, fixed
jobs wait until the clock has passed where it had been; jobs with ``*`` in minute or hour run by the clock alone. With
six fields it wakes each second. Beside it the two simpler rules, ``literal`` and ``utc``.
"""

from __future__ import annotations

import calendar
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1)
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun"]
SHORT = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

Run = tuple[int, str, int]
"""Due (seconds since the epoch), wall time, fold (1: the clock had shown this time before)."""


class Fields:
    """What an expression means, field by field."""

    def __init__(self, text: str) -> None:
        words = SHORT.get(text, text).lower().split()
        self.tick = 1 if len(words) == 6 else 60  # seconds between two looks
        second, minute, hour, self.day, month, self.weekday = words if self.tick == 1 else ["0", *words]
        self.wild = any(word[0] == "*" for word in words[:-3])
        self.seconds, self.minutes = self._set(second, range(60)), self._set(minute, range(60))
        self.hours = self._set(hour, range(24))
        self.months = self._set(month, range(1, 13), ["", *MONTHS])
        self._known: dict[date, bool] = {}

    @staticmethod
    def _set(field: str, every: range, names: list[str] | None = None) -> set[int]:
        def number(word: str) -> int:
            return names.index(word) if names and word in names else int(word)

        found: set[int] = set()
        for item in field.split(","):
            span, _, step = item.partition("/")
            first, _, last = span.partition("-")
            if span == "*":
                chosen = every
            elif names is DAYS and last in ("sun", "0"):  # until Sunday, as the end of the week
                chosen = range(number(first), (7 if number(first) else 0) + 1)
            else:
                chosen = range(number(first), number(last or first) + 1)
            found.update(chosen[:: int(step or 1)])
        return found

    def match(self, wall: datetime) -> bool:
        """Whether the wall clock shows a time of this expression."""
        if wall.minute not in self.minutes or wall.hour not in self.hours or wall.second not in self.seconds:
            return False
        today = wall.date()
        if today not in self._known:
            self._known[today] = today.month in self.months and self._match_day(today)
        return self._known[today]

    def _match_day(self, today: date) -> bool:
        if self.day == "*":
            return self._match_weekday(today)
        if self.weekday == "*":
            return self._match_date(today)
        return self._match_date(today) or self._match_weekday(today)

    def _match_date(self, today: date) -> bool:
        last = calendar.monthrange(today.year, today.month)[1]
        for item in self.day.split(","):
            if item == "l":
                matches = today.day == last
            elif "w" in item:  # of the weekdays of the month the nearest to that day; none is as near as another
                wanted = int(item.strip("w"))
                weekdays = [day for day in range(1, last + 1) if calendar.weekday(today.year, today.month, day) < 5]
                matches = today.day == min(weekdays, key=lambda day: abs(day - wanted))
            else:
                matches = today.day in self._set(item, range(1, 32))
            if matches:
                return True
        return False

    def _match_weekday(self, today: date) -> bool:
        here = today.isoweekday() % 7
        for item in self.weekday.split(","):
            name, _, nth = item.partition("#")
            if nth:
                matches = self._is(name, here) and (today.day + 6) // 7 == int(nth)
            elif "l" in item:
                matches = self._is(item.strip("l"), here) and (today + timedelta(days=7)).month != today.month
            else:
                matches = here in {number % 7 for number in self._set(item, range(7), DAYS)}
            if matches:
                return True
        return False

    @staticmethod
    def _is(name: str, weekday: int) -> bool:
        return (DAYS.index(name) if name in DAYS else int(name)) % 7 == weekday


def walk(text: str, zone: ZoneInfo, start: int, end: int) -> dict[str, list[Run]]:
    """The runs in ``[start, end)`` seconds since the epoch by each rule; ``start`` lies well before any change of the
    offset that matters. Offsets need not be whole minutes: the clock is read when it shows ``:00`` and when it changes.

    Wall times are of one zone all along, so that Python compares and subtracts them as the clock shows them."""
    fields = Fields(text)
    step = timedelta(seconds=fields.tick)
    vixie, literal = [], []
    at, wall = start, datetime.fromtimestamp(start, zone)
    furthest = _up(wall, fields.tick)  # times before this one have been shown
    while at < end:
        shown = _up(wall, fields.tick)
        while furthest < shown:
            if not fields.wild and fields.match(furthest):
                vixie.append((at, _iso(furthest), 0))
            furthest += step
        if shown == wall:
            if fields.match(wall):
                again = wall < furthest
                literal.append((at, _iso(wall), int(again)))
                if fields.wild or not again:
                    vixie.append((at, _iso(wall), int(again)))
            furthest = max(furthest, wall + step)
        at, wall = _next(zone, at, wall, fields.tick)
    return {"vixie": vixie, "literal": literal, "utc": _walk_utc(fields, start, end)}


def _walk_utc(fields: Fields, start: int, end: int) -> list[Run]:
    instants = range(start - start % -fields.tick, end, fields.tick)
    walls = ((at, EPOCH + timedelta(seconds=at)) for at in instants)
    return [(at, wall.isoformat(), 0) for at, wall in walls if fields.match(wall)]


def _iso(wall: datetime) -> str:
    return wall.replace(tzinfo=None).isoformat()


def _up(wall: datetime, tick: int) -> datetime:
    """The first whole minute (or second) from there on."""
    past = wall.second % tick
    return wall + timedelta(seconds=tick - past) if past else wall


def _next(zone: ZoneInfo, at: int, wall: datetime, tick: int) -> tuple[int, datetime]:
    """The next instant at which a minute (or second) begins, or the offset changes; and what the clock shows."""
    step = tick - wall.second % tick
    then = datetime.fromtimestamp(at + step, zone)
    if then - wall == timedelta(seconds=step):
        return at + step, then
    for later in range(at + 1, at + step):
        between = datetime.fromtimestamp(later, zone)
        if between - wall != timedelta(seconds=later - at):
            return later, between
    return at + step, then
