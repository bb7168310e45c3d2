"""Cron expressions on naive local time: what the wall clock must show. Zones are the business of ``timetable``.

Five fields (minute, hour, day of month, month, day of week) or six with seconds first; ``@hourly`` and its kin; names
of months and days; ranges, lists, steps; ``L`` (last day; ``5L`` or ``L5``: last Friday), ``15W`` (weekday nearest the
15th), ``5#2`` (second Friday). When both day fields are restricted a day matches either, as in Vixie cron. The calendar
itself is croniter's; what croniter takes and users misread is refused here, when the configuration is read.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from calendar import monthrange
from collections.abc import Iterator
from copy import copy
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

import msgspec
from croniter import CroniterBadCronError, CroniterBadDateError, croniter

_FIVE: Final = ("minute", "hour", "day of month", "month", "day of week")
_BOUNDS: Final = {
    "second": (0, 59),
    "minute": (0, 59),
    "hour": (0, 23),
    "day of month": (1, 31),
    "month": (1, 12),
    "day of week": (0, 7),
}
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES: Final = {
    "month": {name: number for number, name in enumerate(_MONTHS, 1)},
    "day of week": {name: number for number, name in enumerate(_DAYS)},
}
_SHORT: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ITEM: Final = re.compile(r"(?P<first>\*|[a-z0-9]+)(?:-(?P<last>[a-z0-9]+))?(?:/(?P<step>[0-9]+))?")
MAX_LENGTH: Final = 200
"""Characters of an expression: a longer one is no schedule."""
_PLAIN: Final = frozenset("0123456789-/*,")
SHORTEST: Final = 28
"""Days of the shortest month."""
MONTHS_AHEAD: Final = 12 * 8 + 1
"""How far to look for a day: between two leap years there are at most eight years (1896 to 1904)."""
KEPT: Final = 131_072
"""Parsed expressions kept in memory."""
SECOND: Final = timedelta(seconds=1)
PROBE: Final = datetime(2000, 1, 1)
"""Where the search for a first date begins when an expression is read: any leap cycle will do."""


class CronError(ValueError):
    """The expression cannot be a schedule; the message names the field, the value and the fix."""


class Cron(msgspec.Struct, frozen=True):
    """A parsed expression. ``text`` as written, ``fields`` as croniter takes them, seconds first. ``wild``: minute or
    hour (or second) begin with ``*``, so that it follows real time through changes of the zone's offset."""

    text: str
    fields: str
    wild: bool

    def walls(self, after: datetime, *, inclusive: bool = False) -> Iterator[datetime]:
        """Naive local times that match, ascending, all later than ``after`` (or equal, if ``inclusive``)."""
        calendar = _calendar(self.fields)
        wall = calendar.following(after - SECOND if inclusive else after)
        while wall is not None:
            yield wall
            wall = calendar.following(wall)


class _Lists:
    """Numbers, ranges, steps and ``L``, stepped over as sorted lists: ten times as fast as croniter, and the same."""

    __slots__ = ("_days", "_earliest", "_hours", "_minutes", "_months", "_seconds")

    def __init__(self, fields: str) -> None:
        second, minute, hour, day, month, weekday = fields.split()
        self._seconds, self._minutes, self._hours = _expand(second, 0, 59), _expand(minute, 0, 59), _expand(hour, 0, 23)
        self._earliest = (self._hours[0], self._minutes[0], self._seconds[0])
        self._days, self._months = _days(day, weekday), _expand(month, 1, 12)

    def following(self, after: datetime) -> datetime | None:
        """The first wall time later than ``after`` that matches."""
        year, month, day = after.year, after.month, after.day
        time = self._later(after.hour, after.minute, after.second)
        if time is not None and month in self._months and day in self._days.of(year, month):
            return datetime(year, month, day, *time)
        for _ in range(MONTHS_AHEAD):
            if month in self._months:
                days = self._days.of(year, month)
                if days and days[-1] > day:
                    return datetime(year, month, days[bisect_right(days, day)], *self._earliest)
            year, month, day = (year, month + 1, 0) if month < 12 else (year + 1, 1, 0)
        return None

    def _later(self, hour: int, minute: int, second: int) -> tuple[int, int, int] | None:
        """The next time of the same day."""
        if hour in self._hours:
            if minute in self._minutes and second < self._seconds[-1]:
                return hour, minute, self._seconds[bisect_right(self._seconds, second)]
            if minute < self._minutes[-1]:
                return hour, self._minutes[bisect_right(self._minutes, minute)], self._seconds[0]
        if hour < self._hours[-1]:
            return self._hours[bisect_right(self._hours, hour)], self._minutes[0], self._seconds[0]
        return None


class _Days:
    """The days that both day fields allow; by either of them, if both are restricted."""

    def __init__(self, day: str, weekday: str) -> None:
        days = day.split(",")
        self._last = "L" in days
        self._days = _expand(",".join(one for one in days if one != "L"), 1, 31)
        self._weekdays = {number % 7 for number in _expand(weekday, 0, 6)}
        self._either = day != "*" and weekday != "*"
        self._known: dict[tuple[int, int], tuple[int, ...]] = {}  # by first weekday and length of the month

    def of(self, year: int, month: int) -> tuple[int, ...]:
        """Those of a month, ascending."""
        shape = monthrange(year, month)
        if shape not in self._known:
            self._known[shape] = tuple(day for day in range(1, shape[1] + 1) if self._match(day, *shape))
        return self._known[shape]

    def _match(self, day: int, monday_based: int, length: int) -> bool:
        by_day = day in self._days or (self._last and day == length)
        by_weekday = (monday_based + day) % 7 in self._weekdays
        return (by_day or by_weekday) if self._either else (by_day and by_weekday)


_days = lru_cache(maxsize=KEPT)(_Days)


@lru_cache(maxsize=KEPT)
def _expand(field: str, low: int, high: int) -> tuple[int, ...]:
    """The numbers of a field that ``parse`` has written, ascending. Shared by all expressions that have it."""
    found: set[int] = set()
    for item in filter(None, field.split(",")):
        span, _, step = item.partition("/")
        first, _, last = span.partition("-")
        chosen = range(low, high + 1) if span == "*" else range(int(first), int(last or first) + 1)
        found.update(chosen[:: int(step or 1)])
    return tuple(sorted(found))


class _Croniter:
    """The days that only croniter knows: ``5L``, ``15W``, ``5#2``."""

    def __init__(self, fields: str) -> None:
        self._calendar = croniter(fields, PROBE, second_at_beginning=True, max_years_between_matches=100)
        self._last = (PROBE, PROBE)  # nothing matches between these two, but the latter

    def following(self, after: datetime) -> datetime | None:
        """The first wall time later than ``after`` that matches."""
        since, found = self._last
        if since <= after < found:
            return found
        try:  # a copy, since croniter remembers where it is, and threads may share this one
            later: datetime = copy(self._calendar).get_next(datetime, start_time=after)
        except CroniterBadDateError:
            return None
        self._last = (after, later)
        return later


@lru_cache(maxsize=KEPT)
def _calendar(fields: str) -> _Lists | _Croniter:
    _, _, _, day, _, weekday = fields.split()
    special = "W" in day or "L" in weekday or "#" in weekday
    return _Croniter(fields) if special else _Lists(fields)


@lru_cache(maxsize=KEPT)
def parse(text: str) -> Cron:
    """Read an expression; raises CronError."""
    if len(text) > MAX_LENGTH:
        raise CronError(f"a cron expression has at most {MAX_LENGTH} characters, this one has {len(text)}")
    words = _SHORT.get(text.strip().lower(), text).lower().split()
    if len(words) == 1 and words[0].startswith("@"):
        raise CronError(f"{text!r} is not known; there are {', '.join(_SHORT)}")
    if len(words) not in (5, 6):
        raise CronError(
            f"{text!r} has {len(words)} fields; a cron expression has 5 (minute, hour, day of month, month, day of "
            "week), or 6 with seconds first"
        )
    names = _FIVE if len(words) == 5 else ("second", *_FIVE)
    fields = [_field(name, word) for name, word in zip(names, words, strict=True)]
    if len(fields) == 5:
        fields.insert(0, "0")
    _both_days(fields[3], fields[5])
    cron = Cron(text=text, fields=" ".join(fields), wild=any(word.startswith("*") for word in words[: len(words) - 3]))
    try:
        first = next(cron.walls(PROBE), None)
    except CroniterBadCronError as error:
        raise CronError(f"{text!r}: {error}") from None
    if first is None:
        raise CronError(f"{text!r} never comes: no month has such a day")
    return cron


def _field(name: str, word: str) -> str:
    items = word.split(",")
    if "" in items:
        raise CronError(f"{name}: {word!r} has an empty item; remove a comma")
    if "*" in items and len(items) > 1:
        raise CronError(f"{name}: {word!r} lists * among others; * is all of them, write *")
    fields = [_item(name, item) for item in items]
    special = [item for item, field in zip(items, fields, strict=True) if field != "L" and not set(field) <= _PLAIN]
    if special and len(items) > (1 if name == "day of month" else len(special)):
        raise CronError(f"{name}: {special[0]!r} cannot stand in a list with other days; make it a schedule of its own")
    return ",".join(fields)


def _both_days(day: str, weekday: str) -> None:
    """Refuses two restricted day fields of which not every tool makes "either of them"."""
    if "*" in (day, weekday):
        return
    for name, field, every in (("day of month", day, "1-31"), ("day of week", weekday, "0-6")):
        if field.startswith("*"):
            fix = field.replace("*", every, 1)
            raise CronError(
                f"{name}: {field!r} beside another day field is read differently from tool to tool; if either is to "
                f"do, write {fix!r}"
            )
    if "W" in day or not set(weekday) <= _PLAIN:
        raise CronError(
            f"the days {day!r} and {weekday!r} cannot be combined: 15W, 5L and 5#2 need * in the other day field; make "
            "two schedules"
        )


def _item(name: str, item: str) -> str:
    special = _special(name, item)
    if special is not None:
        return special
    if item == "?":
        raise CronError(f"{name}: '?' is not used here; write *")
    match = _ITEM.fullmatch(item)
    if match is None:
        raise CronError(f"{name}: {item!r} is not a number, a range such as 1-5, a list or a step such as */15")
    low, high = _BOUNDS[name]
    step = int(match["step"]) if match["step"] is not None else None
    if step is not None and not 1 <= step <= high:
        raise CronError(f"{name}: the step of {item!r} must be from 1 to {high}")
    if match["first"] == "*":
        if match["last"] is not None:
            raise CronError(f"{name}: {item!r} mixes * with a range; write 1-5 or *")
        return "*" if step is None else f"*/{step}"
    first = _number(name, match["first"])
    if match["last"] is None:
        if step is not None:
            raise CronError(f"{name}: {item!r} is read differently from tool to tool; write {first}-{high}/{step}")
        return str(first)
    last = _number(name, match["last"])
    if name == "day of week" and last == 0 < first:
        last = 7  # fri-sun
    if first > last:
        raise CronError(
            f"{name}: the range {item!r} runs backwards; write it as two, such as {first}-{high},{low}-{last}"
        )
    if first == last:
        return str(first)  # croniter 7 takes 4-4 for every hour
    return f"{first}-{last}" if step is None else f"{first}-{last}/{step}"


def _special(name: str, item: str) -> str | None:
    """``L``, ``W`` and ``#`` in croniter's spelling; None when the item is none of these."""
    if name == "day of month":
        if item == "l":
            return "L"
        if match := re.fullmatch(r"([0-9]+)w|w([0-9]+)", item):
            day = _number(name, match[1] or match[2])
            if day > SHORTEST:
                raise CronError(
                    f"{name}: {item!r}: not every month has a day {day}; write a day up to {SHORTEST}, or L"
                )
            return f"{day}W"
        if item.startswith("l"):
            raise CronError(f"{name}: {item!r} is not known; there are L (last day) and 15W (weekday nearest the 15th)")
    if name == "day of week":
        if match := re.fullmatch(r"l([a-z0-9]+)|([a-z0-9]+)l", item):
            return f"L{_number(name, match[1] or match[2]) % 7}"
        if match := re.fullmatch(r"([a-z0-9]+)#([0-9]+)", item):
            nth = int(match[2])
            if not 1 <= nth <= 5:
                raise CronError(f"{name}: {item!r}: a month has a first to a fifth such day")
            return f"{_number(name, match[1]) % 7}#{nth}"
    return None


def _number(name: str, word: str) -> int:
    low, high = _BOUNDS[name]
    named = _NAMES.get(name, {})
    if word in named:
        return named[word]
    if not word.isascii() or not word.isdigit():
        known = f", or a name such as {next(iter(named))}" if named else ""
        raise CronError(f"{name}: {word!r} is not a number from {low} to {high}{known}")
    number = int(word)
    if not low <= number <= high:
        raise CronError(f"{name}: {number} is not from {low} to {high}")
    return number
