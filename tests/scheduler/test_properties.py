"""What holds for any expression, zone and place."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from itertools import islice, pairwise, takewhile
from typing import get_args
from zoneinfo import ZoneInfo

import msgspec
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from odibi_actors.config.model import ScheduleSpec
from odibi_actors.scheduler.cron import parse
from odibi_actors.scheduler.timetable import Dst, first, occurrences
from odibi_actors.scheduler.zones import changes
from tests.scheduler.expressions import random_expression

ZONES = [
    "UTC",
    "America/New_York",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Africa/Monrovia",
    "Antarctica/Troll",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Pacific/Apia",
]
DAY = 86_400
END = 2_145_916_800  # 2038
SEEDS = st.integers(0, 2**32)


@st.composite
def schedules(draw: st.DrawFn) -> tuple[ScheduleSpec, float]:
    """A schedule, and an instant near a change of its zone."""
    rng = random.Random(draw(SEEDS))
    name = draw(st.sampled_from(ZONES))
    found = changes(ZoneInfo(name), 0, END)
    instant = rng.choice(found).start + rng.uniform(-2 * DAY, DAY) if found else rng.uniform(0, END)
    near = datetime.fromtimestamp(instant, ZoneInfo(name)).date()
    start = draw(st.sampled_from([0.0, instant + rng.randint(0, DAY) + 0.5]))
    spec = ScheduleSpec(
        "s",
        timezone=name,
        dst=draw(st.sampled_from(get_args(Dst))),
        start=start,
        end=draw(st.sampled_from([0.0, instant + 3 * DAY])),
        exclude=draw(st.sampled_from([[], [near.isoformat()], [(near + timedelta(days=1)).isoformat()]])),
    )
    if draw(st.integers(0, 4)) == 0:
        return msgspec.structs.replace(spec, every=float(rng.randint(1, 2 * DAY))), instant
    return msgspec.structs.replace(spec, cron=random_expression(rng, near, seconds=rng.random() < 0.2)), instant


@settings(max_examples=150, deadline=None)
@given(schedules(), st.integers(0, 60), st.floats(0, 2 * DAY))
def test_what_follows_a_place_is_the_rest_of_what_followed_an_earlier_one(
    given_: tuple[ScheduleSpec, float], index: int, later: float
) -> None:
    spec, instant = given_
    whole = list(islice(occurrences(spec, instant), 80))
    assert all(one.place < following.place for one, following in pairwise(whole))
    assert len({one.id for one in whole}) == len(whole)
    assert all(instant < one.due and spec.start <= one.due < (spec.end or one.due + 1) for one in whole)
    for at in {0, index, len(whole) - 1} & set(range(len(whole))):
        rest = list(islice(occurrences(spec, whole[at].place), 20))
        assert rest[: len(whole) - at - 1] == whole[at + 1 : at + 21]
    if whole and instant + later < whole[-1].due:
        assert first(spec, instant + later) == next(one for one in whole if one.due > instant + later)


@settings(max_examples=150, deadline=None)
@given(schedules())
def test_an_end_or_an_excluded_date_takes_away_and_changes_nothing_else(given_: tuple[ScheduleSpec, float]) -> None:
    spec, instant = given_
    free = msgspec.structs.replace(spec, exclude=[], end=0.0)
    until = instant + 4 * DAY
    kept = list(takewhile(lambda one: one.due < until, occurrences(spec, instant)))
    wanted = [
        one
        for one in takewhile(lambda one: one.due < min(until, spec.end or until), occurrences(free, instant))
        if _date(spec, one.due, one.wall) not in spec.exclude
    ]
    assert kept == wanted


def _date(spec: ScheduleSpec, due: int, wall: str) -> str:
    if spec.cron and spec.dst != "utc":
        return wall[:10]
    return datetime.fromtimestamp(due, ZoneInfo(spec.timezone)).date().isoformat()


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.datetimes(datetime(1970, 1, 1), datetime(2090, 1, 1)), st.booleans())
def test_stepping_over_lists_is_the_calendar_of_croniter(seed: int, after: datetime, seconds: bool) -> None:
    cron = parse(random_expression(random.Random(seed), after.date(), seconds=seconds))
    after = after.replace(microsecond=0)
    theirs = croniter(cron.fields, after, second_at_beginning=True, max_years_between_matches=100)
    assert list(islice(cron.walls(after), 10)) == [theirs.get_next(datetime) for _ in range(10)]
    matches = croniter.match(cron.fields, after, second_at_beginning=True)
    assert (next(cron.walls(after, inclusive=True)) == after) == matches
