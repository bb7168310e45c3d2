"""Comparing our occurrences with the model of ``oracle``, around a change of a zone, with a restart at every step."""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise, takewhile
from typing import Final, get_args
from zoneinfo import ZoneInfo

from cronsim import CronSim

from odibi_actors.config.model import ScheduleSpec
from odibi_actors.model import Place
from odibi_actors.scheduler.cron import parse
from odibi_actors.scheduler.timetable import Dst, Occurrence, first, occurrences
from odibi_actors.scheduler.zones import Change
from tests.scheduler.oracle import Run, walk

DAY: Final = 86_400
HOURS: Final = 4 * 3600
NEAR: Final = 3 * 3600
"""Seconds on each side of the change within which a restart is made at every occurrence."""
MOST_RESTARTS: Final = 361
"""All there are within three hours of a change, but for seconds."""


class Tally:
    """What was compared."""

    def __init__(self) -> None:
        self.comparisons = self.occurrences = self.restarts = self.cronsim = 0

    def add(self, other: Tally) -> None:
        """Both together."""
        for name, number in vars(other).items():
            setattr(self, name, getattr(self, name) + number)


def compare(text: str, zone: ZoneInfo, change: Change, rng: random.Random, tally: Tally | None = None) -> str:
    """What differs within a day of the change (of six fields: four hours), by any of the three rules, or ""."""
    tally = tally or Tally()
    around = DAY if len(text.split()) < 6 else HOURS
    start, end = change.start - rng.randint(around // 2, around), change.start + around
    models = walk(text, zone, start - HOURS, end)
    for dst in get_args(Dst):
        wanted = [run for run in models[dst] if run[0] > start]
        problem = _rule(
            ScheduleSpec("s", cron=text, timezone=zone.key, dst=dst), change, start, end, wanted, rng, tally
        )
        if problem:
            return f"{zone.key}, change at {change.start}, {dst}, {text!r} from {start}: {problem}"
    if for_cronsim(text) and not in_fold(zone, start) and (change.start + change.offset) % 60 == 0:
        tally.cronsim += 1
        runs = {run[0] for run in models["vixie"] if run[0] > start}
        if (theirs := cronsim(for_cronsim(text), zone, start, end)) != sorted(runs):
            return f"{zone.key}, change at {change.start}, {text!r} from {start}: cronsim {theirs}, not {sorted(runs)}"
    return ""


def _rule(
    spec: ScheduleSpec, change: Change, start: int, end: int, wanted: list[Run], rng: random.Random, tally: Tally
) -> str:
    whole = list(takewhile(lambda one: one.due < end, occurrences(spec, float(start))))
    tally.comparisons += 1
    tally.occurrences += len(whole)
    found = [(one.due, one.wall, one.fold) for one in whole]
    if found != wanted:
        return (
            f"{[run for run in found if run not in wanted][:3]}, not {[run for run in wanted if run not in found][:3]}"
        )
    if len({one.id for one in whole}) != len(whole):
        return "an id twice"
    if any(one.due <= start for one in whole) or any(later.place <= one.place for one, later in pairwise(whole)):
        return "in the past, or not increasing"
    for after, index in _restarts(whole, change, rng):
        following = first(spec, after)
        tally.restarts += 1
        if index < len(whole) and following != whole[index]:
            return f"after {after} came {following}, not {whole[index]}"
        if index == len(whole) and following is not None and following.due < end:
            return f"after {after} came {following}, not the end"
    return ""


def _restarts(whole: list[Occurrence], change: Change, rng: random.Random) -> Iterator[tuple[Place | float, int]]:
    """Where to go on from, and the index of what follows: all places within hours of the change; instants of some,
    between them, and around the change."""
    near = [index for index, one in enumerate(whole) if abs(one.due - change.start) <= NEAR]
    if len(near) > MOST_RESTARTS:
        near = rng.sample(near, MOST_RESTARTS)
    dues = [one.due for one in whole]
    for index in near:
        yield whole[index].place, index + 1
    instants = [change.start + by for by in (-1.0, -0.5, 0.0, 1.0)]
    instants += [dues[index] + by for index in rng.sample(near, min(12, len(near))) for by in (0.0, rng.random() * 60)]
    instants += [change.start + rng.uniform(-NEAR, NEAR) for _ in range(4)]
    start = min([*dues, change.start])
    for instant in instants:
        if instant >= start:
            yield instant, bisect_right(dues, instant)


def for_cronsim(text: str) -> str:
    """The expression in the spelling of cronsim, or "": it is right about fixed times of five fields, where the clock
    changes at a whole minute and was not set back just before; but it lacks ``W``, ``L5`` and ``fri-sun``, and takes
    ``53-53/4`` for ``53/4``."""
    cron = parse(text)
    second, fields = cron.fields.split(maxsplit=1)
    if cron.wild or second != "0" or "W" in fields or len(text.split()) == 6:
        return ""
    return re.sub(r"L(\d)", r"\1L", fields)


def in_fold(zone: ZoneInfo, at: int) -> bool:
    """Whether the wall clock shows what it has shown before."""
    return datetime.fromtimestamp(at, zone).fold == 1


def cronsim(text: str, zone: ZoneInfo, start: int, end: int) -> list[int]:
    """Due times of cronsim."""
    found = []
    for wall in CronSim(text, datetime.fromtimestamp(start, zone)):
        due = int(wall.astimezone(UTC).timestamp())
        if due >= end:
            break
        found.append(due)
    return found
