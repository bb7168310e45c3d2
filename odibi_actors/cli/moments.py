"""Moments as people write and read them: in the time zone of a schedule, and relative to now."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import click

from odibi_actors.cli.output import span

SOON = 6
"""Days for which the name of the day says which one is meant."""
WALL = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}(?::\d{2})?)(?:#(\d))?")
"""The id of an occurrence that follows the clock: wall time, and #1 for the second time the clock shows it."""


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.3
    """``2026-10-25``, ``2026-10-25T02:30``, ``2026-10-25T02:30Z``, ``2026-10-25T02:30+02:00`` or ``now``, as text."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, checked; which instant it is depends on the schedule's zone (see ``instant``)."""
        from odibi_actors.config.moments import UnknownError, check_moment

        try:
            if value != "now":
                check_moment(value)
        except UnknownError as error:
            self.fail(f"{value!r}: {error}" + (f"; {error.suggestion}" if error.suggestion else ""), param, ctx)
        return str(value)


def instant(moment: str, zone: ZoneInfo) -> float:
    """Seconds since the epoch of what ``Moment`` has read; without an offset it is local time of ``zone``."""
    from odibi_actors.config import moments

    return time.time() if moment == "now" else moments.instant(moment, zone)


def zone_of(name: str | None) -> ZoneInfo:
    """The time zone of that name; UTC where this machine does not know it (the row is shown all the same)."""
    try:
        return ZoneInfo(name or "UTC")
    except (LookupError, ValueError, OSError):
        return ZoneInfo("UTC")


def utc(at: float) -> str:
    """``2026-10-25T01:30:00Z``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def local(at: float, zone: ZoneInfo) -> str:
    """``2026-10-25T02:30:00+01:00``."""
    return datetime.fromtimestamp(at, UTC).astimezone(zone).isoformat(timespec="seconds")


def full(at: float, zone: ZoneInfo) -> str:
    """``Sun 2026-03-08 03:00:00 EDT``."""
    return datetime.fromtimestamp(at, UTC).astimezone(zone).strftime("%a %Y-%m-%d %H:%M:%S %Z")


def clock(at: float, zone: ZoneInfo, now: float | None = None) -> str:
    """As short as is clear: ``14:00 EDT`` today, ``Fri 14:00 EDT`` this week, else ``2026-10-25 14:00 EDT``."""
    there = datetime.fromtimestamp(at, UTC).astimezone(zone)
    return f"{_day(there, _today(zone, now))}{_time(there.strftime('%H:%M:%S'))} {there.tzname()}"


def wall(occurrence: str, zone: ZoneInfo, now: float | None = None) -> str:
    """The id of an occurrence for people: ``13:00``, ``Fri 13:00``; an id of another kind as it is."""
    found = WALL.fullmatch(occurrence)
    if found is None:
        return occurrence
    day = _day(datetime.fromisoformat(found[1]), _today(zone, now))
    return f"{day}{_time(found[2])}{' (second)' if found[3] else ''}"


def spaced(occurrence: str) -> str:
    """The id of an occurrence, with a space between date and time."""
    return re.sub(r"(\d{4}-\d{2}-\d{2})T(?=\d{2}:\d{2})", r"\1 ", str(occurrence))


def until(at: float, now: float | None = None) -> str:
    """``in 12m``, or ``now`` when it is due."""
    left = at - (time.time() if now is None else now)
    return f"in {span(int(left))}" if left >= 1 else "now"


def _today(zone: ZoneInfo, now: float | None) -> datetime:
    return datetime.fromtimestamp(time.time() if now is None else now, UTC).astimezone(zone)


def _day(moment: datetime, today: datetime) -> str:
    away = moment.date() - today.date()
    if not away:
        return ""
    return moment.strftime("%a " if abs(away) <= timedelta(days=SOON) else "%Y-%m-%d ")


def _time(text: str) -> str:
    return text.removesuffix(":00") if len(text) == len("12:00:00") else text
