"""Comparing our occurrences with the model of ``oracle``, around a change of a zone, with a restart at every step."""

from __future__ import annotations

import random
from itertools import takewhile
from zoneinfo import ZoneInfo

from odibi_actors.scheduler.cron import parse
from odibi_actors.scheduler.timetable import Occurrence, cron_occurrences
from odibi_actors.scheduler.zones import Change
from tests.scheduler.oracle import walk

DAY = 86_400


def random_expression(rng: random.Random) -> str:
    """Five fields; hours mostly small, where zones change."""
    hour = _field(rng, 0, rng.choice([5, 5, 23]), 0.2)
    return (
        f"{_field(rng, 0, 59, 0.1)} {hour} {_field(rng, 1, 28, 0.8)} {_field(rng, 1, 12, 0.9)} {_field(rng, 0, 6, 0.8)}"
    )


def _field(rng: random.Random, low: int, high: int, star: float) -> str:
    dice = rng.random()
    if dice < star:
        return "*"
    if dice < star + 0.15:
        return f"*/{rng.choice([2, 3, 5])}"
    if dice < star + 0.3:
        first = rng.randint(low, high)
        step = f"/{rng.randint(1, 4)}" if rng.random() < 0.4 else ""
        return f"{first}-{rng.randint(first, high)}{step}"
    return ",".join(str(number) for number in sorted(rng.sample(range(low, high + 1), rng.randint(1, 3))))


def compare(text: str, zone: ZoneInfo, change: Change, rng: random.Random) -> str:
    """What differs within a day of the change, or ""."""
    start, end = change.start - rng.randint(DAY // 2, DAY), change.start + DAY
    wanted = [run for run in walk(text, zone, start - DAY, end) if run[0] > start]
    cron = parse(text)
    whole = list(takewhile(lambda one: one.due < end, cron_occurrences(cron, zone, "vixie", start)))
    where = f"{zone.key}, change at {change.start}, {text!r} from {start}"
    if [(one.due, one.wall) for one in whole] != wanted:
        return f"{where}: {[one for one in whole if (one.due, one.wall) not in wanted][:3]} and {wanted[:3]}"
    if any(one.due <= start for one in whole) or len({one.id for one in whole}) != len(whole):
        return f"{where}: in the past, or doubled"
    for place in _steps(whole, change, rng):
        cursor = whole[place].place
        following = next(cron_occurrences(cron, zone, "vixie", cursor))
        if place + 1 < len(whole) and following != whole[place + 1]:
            return f"{where}: after {cursor} came {following}, not {whole[place + 1]}"
    return ""


def _steps(whole: list[Occurrence], change: Change, rng: random.Random) -> list[int]:
    """Places to restart at: all within the hours around the change, up to a dozen of them."""
    near = [place for place, one in enumerate(whole) if abs(one.due - change.start) <= 3 * 3600]
    return near if len(near) <= 12 else rng.sample(near, 12)
