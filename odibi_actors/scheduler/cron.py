"""Cron expressions on naive local time: what the wall clock must show. Zones are the business of ``timetable``.

Five fields (minute, hour, day of month, month, day of week) or six with seconds first; ``@hourly`` and its kin; names
of months and days; ranges, lists, steps; ``L`` (last day; ``5L`` or ``L5``: last Friday), ``15W`` (weekday nearest the
15th), ``5#2`` (second Friday). When both day fields are restricted a day matches either, as in Vixie cron. The calendar
itself is croniter's; what croniter takes and users misread is refused here, when the configuration is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
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
PROBE: Final = datetime(2000, 1, 1)
"""Where the search for a first date begins when an expression is read: any leap cycle will do."""


class CronError(ValueError):
    """The expression cannot be a schedule; the message names the field, the value and the mend."""


class Cron(msgspec.Struct, frozen=True):
    """A parsed expression. ``text`` as written, ``fields`` as croniter takes them, seconds first. ``wild``: minute or
    hour (or second) begin with ``*``, so that it follows real time through changes of the zone's offset."""

    text: str
    fields: str
    wild: bool

    def walls(self, after: datetime, *, inclusive: bool = False) -> Iterator[datetime]:
        """Naive local times that match, ascending, all later than ``after`` (or equal, if ``inclusive``)."""
        if inclusive and croniter.match(self.fields, after, second_at_beginning=True):
            yield after
        calendar = croniter(self.fields, after, second_at_beginning=True, max_years_between_matches=100)
        while True:
            try:
                yield calendar.get_next(datetime)
            except CroniterBadDateError:
                return


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
    cron = Cron(text=text, fields=" ".join(fields), wild=any(word.startswith("*") for word in words[: len(words) - 3]))
    try:
        first = next(cron.walls(PROBE), None)
    except CroniterBadCronError as error:
        raise CronError(f"{text!r}: {error}") from None
    if first is None:
        raise CronError(f"{text!r} never comes: no month has such a day")
    return cron


def _field(name: str, word: str) -> str:
    return ",".join(_item(name, item) for item in word.split(","))


def _item(name: str, item: str) -> str:
    special = _special(name, item)
    if special is not None:
        return special
    match = _ITEM.fullmatch(item)
    if match is None:
        raise CronError(f"{name}: {item!r} is not a number, a range such as 1-5, a list or a step such as */15")
    low, high = _BOUNDS[name]
    step = match["step"]
    if step is not None and not 1 <= int(step) <= high:
        raise CronError(f"{name}: the step of {item!r} must be from 1 to {high}")
    if match["first"] == "*":
        if match["last"] is not None:
            raise CronError(f"{name}: {item!r} mixes * with a range; write 1-5 or *")
        return item
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
        if match := re.fullmatch(r"(\d+)w|w(\d+)", item):
            return f"{_number(name, match[1] or match[2])}W"
    if name == "day of week":
        if match := re.fullmatch(r"l([a-z0-9]+)|([a-z0-9]+)l", item):
            return f"L{_number(name, match[1] or match[2]) % 7}"
        if match := re.fullmatch(r"([a-z0-9]+)#(\d+)", item):
            if not 1 <= int(match[2]) <= 5:
                raise CronError(f"{name}: {item!r}: a month has a first to a fifth such day")
            return f"{_number(name, match[1]) % 7}#{match[2]}"
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
