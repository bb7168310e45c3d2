"""Zones, dates and instants as people write them. Nothing here asks what time it is."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from odibi_actors.config.problems import did_you_mean
from odibi_actors.scheduler.zones import zone_named

DATE_PATTERN = r"\d{4}-\d\d-\d\d"
MOMENT_PATTERN = rf"{DATE_PATTERN}([T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?"
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", re.ASCII)
_NOT_ZONES = ("posix", "right", "posixrules", "localtime", "Factory")
"""What lies among the zones' files and is none: other countings of the same zones, and what differs by machine."""
MAX_ZONE = 64
FIRST, LAST = date(1970, 1, 2), date(2099, 12, 31)
"""The calendar ends with 2099 (``scheduler/timetable.py``); an instant of 0 stands for none."""


class UnknownError(ValueError):
    """Not a zone, a date or a moment; ``suggestion`` says what to write."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.suggestion = suggestion


def zone(name: str) -> ZoneInfo:
    """The zone of an IANA name; raises UnknownError."""
    if len(name) <= MAX_ZONE and _ZONE.fullmatch(name) and name.partition("/")[0] not in _NOT_ZONES:
        try:
            return zone_named(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder of zones, such as Europe
            pass
    known = _names()
    hint = f'did you mean "{known[name.lower()]}"?' if name.lower() in known else ""
    raise UnknownError("unknown time zone", hint or _near_zone(name, known))


def _near_zone(name: str, known: dict[str, str]) -> str:
    word = name.lower()[:MAX_ZONE].replace(" ", "_")
    cities: dict[str, str] = {}
    for lower, full in known.items():
        cities.setdefault(lower.rpartition("/")[2], full)
    if word in cities:
        return f'did you mean "{cities[word]}"?'
    hint = did_you_mean(word, known, "zones")
    near = re.fullmatch(r'did you mean "(.*)"\?', hint)
    return f'did you mean "{known[near[1]]}"?' if near else "write an IANA name, such as UTC or America/New_York"


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    """Lower-case name -> name, of all zones of this machine."""
    names = sorted(name for name in available_timezones() if name.partition("/")[0] not in _NOT_ZONES)
    return {name.lower(): name for name in names}


def check_date(text: str) -> None:
    """Raises UnknownError unless ``text`` is a day such as 2026-12-25."""
    if not re.fullmatch(DATE_PATTERN, text, re.ASCII):
        raise UnknownError("not a date", "write it as 2026-12-25")
    _bounded(text)


def check_moment(text: str) -> None:
    """Raises UnknownError unless ``text`` is a date or a date and time."""
    if not re.fullmatch(MOMENT_PATTERN, text, re.ASCII):
        raise UnknownError("not a date or time", "write 2026-12-25, 2026-12-25T06:00 or 2026-12-25T06:00:00+01:00")
    _bounded(text[:10])
    _datetime(text)


def instant(text: str, home: ZoneInfo) -> float:
    """Seconds since the epoch of a moment that passed :func:`check_moment`; one without an offset is local time of
    ``home``. As Python does with ``fold=0``: a time that the clock shows twice is the first of them, and one that it
    skips is read with the offset from before the change (2:30 is then 3:30)."""
    when = _datetime(text)
    return (when if when.tzinfo is not None else when.replace(tzinfo=home)).astimezone(UTC).timestamp()


def _datetime(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise UnknownError(f"there is no such time: {error}") from error


def _bounded(text: str) -> None:
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise UnknownError(f"there is no such day: {error}") from error
    if not FIRST <= day <= LAST:
        raise UnknownError(f"must be from {FIRST} to {LAST}")
