"""Occurrences through changes of the zone: against an independent model, and continued from any point."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import msgspec
import pytest

from odibi_actors.config.model import ScheduleSpec
from odibi_actors.model import Place
from odibi_actors.scheduler.cron import parse
from odibi_actors.scheduler.timetable import (
    HORIZON,
    Dst,
    Occurrence,
    cron_occurrences,
    first,
    interval_occurrences,
    occurrences,
)
from odibi_actors.scheduler.zones import changes
from tests.scheduler.differential import compare
from tests.scheduler.expressions import random_expression

NEW_YORK = ZoneInfo("America/New_York")
DAY = 86_400


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def due(text: str, after: str, count: int, dst: Dst = "vixie") -> list[str]:
    found = islice(cron_occurrences(parse(text), NEW_YORK, dst, at(after)), count)
    return [f"{datetime.fromtimestamp(one.due, UTC):%m-%dT%H:%M} {one.id[5:16]}{one.id[19:]}" for one in found]


def test_a_fixed_time_that_is_skipped_is_due_at_the_change() -> None:
    assert due("30 2 * * *", "2026-03-07T12:00", 2) == ["03-08T07:00 03-08T02:30", "03-09T06:30 03-09T02:30"]


def test_a_fixed_time_that_comes_twice_is_due_once() -> None:
    assert due("30 1 * * *", "2026-10-31T12:00", 2) == ["11-01T05:30 11-01T01:30", "11-02T06:30 11-02T01:30"]


def test_a_star_in_minute_or_hour_follows_real_time() -> None:
    assert due("*/30 1 * * *", "2026-11-01T00:00", 5) == [
        "11-01T05:00 11-01T01:00",
        "11-01T05:30 11-01T01:30",
        "11-01T06:00 11-01T01:00#1",
        "11-01T06:30 11-01T01:30#1",
        "11-02T06:00 11-02T01:00",
    ]
    assert due("*/30 2 * * *", "2026-03-08T00:00", 1) == ["03-09T06:00 03-09T02:00"]


def test_literal_runs_whatever_the_clock_shows_and_utc_knows_no_change() -> None:
    assert due("30 1 * * *", "2026-11-01T00:00", 2, "literal") == [
        "11-01T05:30 11-01T01:30",
        "11-01T06:30 11-01T01:30#1",
    ]
    assert due("30 2 * * *", "2026-03-08T00:00", 1, "literal") == ["03-09T06:30 03-09T02:30"]
    assert due("30 2 * * *", "2026-03-08T00:00", 1, "utc") == ["03-08T02:30 03-08T02:30"]


@pytest.mark.parametrize(
    "name",
    [
        "America/New_York",
        "Australia/Lord_Howe",  # half an hour
        "Africa/Casablanca",  # twice around Ramadan
        "Africa/Monrovia",  # seconds, in 1972
        "Pacific/Apia",  # a whole day, in 2011
        "America/Sao_Paulo",  # at midnight
        "Europe/Dublin",
        "Antarctica/Troll",  # two hours
    ],
)
def test_every_kind_of_change_agrees_with_the_model_from_any_restart(name: str) -> None:
    rng = random.Random(name)
    zone = ZoneInfo(name)
    all_changes = changes(zone, 0, int(at("2037-12-31T00:00")))
    for change in rng.sample(all_changes, min(4, len(all_changes))):
        near = datetime.fromtimestamp(change.start, zone).date()
        for seconds in (False, False, False, True):
            assert compare(random_expression(rng, near, seconds=seconds), zone, change, rng) == ""


def test_going_on_from_an_occurrence_loses_and_doubles_none_even_where_several_share_an_instant() -> None:
    cron = parse("0,10,20 2,3 * * *")
    begin, end = at("2026-03-06T00:00"), at("2026-03-11T00:00")
    whole = list(takewhile(lambda one: one.due < end, cron_occurrences(cron, NEW_YORK, "vixie", begin)))
    stepwise: list[Occurrence] = []
    cursor: Place | float = begin
    while (following := next(cron_occurrences(cron, NEW_YORK, "vixie", cursor))).due < end:
        stepwise.append(following)
        cursor = following.place
    assert stepwise == whole
    assert len({one.id for one in whole}) == len(whole)
    assert sum(one.note == "skipped by the clock" for one in whole) == 3


def test_an_interval_is_anchored_and_does_not_drift() -> None:
    found = list(islice(interval_occurrences(90, 30, 1000.7), 3))
    assert [one.due for one in found] == [1020, 1110, 1200]
    assert next(interval_occurrences(90, 30, found[0].place)).due == 1110


def ids(spec: ScheduleSpec, after: Place | float, count: int = 3) -> list[str]:
    return [one.id for one in islice(occurrences(spec, after), count)]


def test_a_schedule_has_its_start_included_and_its_end_excluded() -> None:
    spec = ScheduleSpec("s", cron="0 * * * *", start=at("2026-01-01T02:00"), end=at("2026-01-01T04:00"))
    assert ids(spec, 0.0) == ["2026-01-01T02:00:00", "2026-01-01T03:00:00"]
    assert ids(spec, at("2026-01-01T02:00")) == ["2026-01-01T03:00:00"]
    assert ids(spec, at("2026-01-01T01:59:59.5")) == ["2026-01-01T02:00:00", "2026-01-01T03:00:00"]
    assert first(spec, at("2026-01-01T03:00")) is None


def test_a_place_is_followed_by_what_shares_its_instant() -> None:
    spec = ScheduleSpec("s", cron="0,30 2 * * *", timezone="America/New_York")
    one, two, three = islice(occurrences(spec, at("2026-03-08T06:00")), 3)
    assert (one.id, two.id, one.due) == ("2026-03-08T02:00:00", "2026-03-08T02:30:00", two.due)
    assert first(spec, one.place) == two
    assert first(spec, two.place) == three
    assert first(spec, float(one.due)) == three


def test_excluded_dates_are_those_of_the_zone() -> None:
    late = ScheduleSpec("s", cron="0 23 * * *", timezone="America/New_York", exclude=["2026-12-25"])
    assert ids(late, at("2026-12-24T12:00"), 2) == ["2026-12-24T23:00:00", "2026-12-26T23:00:00"]
    # 04:00 in UTC is the evening before in New York
    read_in_utc = ScheduleSpec("s", cron="0 4 * * *", dst="utc", timezone="America/New_York", exclude=["2026-12-25"])
    assert ids(read_in_utc, at("2026-12-25T03:00"), 2) == ["2026-12-25T04:00:00", "2026-12-27T04:00:00"]
    interval = ScheduleSpec("s", every=14400.0, timezone="America/New_York", exclude=["2026-12-25"])
    assert ids(interval, at("2026-12-25T03:00"), 2) == ["2026-12-25T04:00:00", "2026-12-26T08:00:00"]


def test_an_interval_is_anchored_at_start_or_at_the_epoch() -> None:
    start = at("2026-01-01T00:00:07")
    assert ids(ScheduleSpec("s", every=3600.0, start=start), 0.0, 2) == ["2026-01-01T00:00:07", "2026-01-01T01:00:07"]
    assert ids(ScheduleSpec("s", every=3600.0), start, 1) == ["2026-01-01T01:00:00"]
    assert first(ScheduleSpec("s", every=3600.0, end=start), start) is None


@pytest.mark.parametrize("spec", [ScheduleSpec("s", cron="* * * * * *"), ScheduleSpec("s", every=1.0)])
def test_excluded_dates_are_passed_at_one_stride_each(spec: ScheduleSpec) -> None:
    year = [(datetime(2026, 1, 1) + timedelta(days=day)).date().isoformat() for day in range(365)]
    spec = msgspec.structs.replace(spec, exclude=year)
    assert ids(spec, at("2025-12-31T23:59:58"), 2) == ["2025-12-31T23:59:59", "2027-01-01T00:00:00"]  # not 31,536,000


def test_nothing_is_due_after_the_horizon() -> None:
    yearly = ScheduleSpec("s", cron="@yearly", timezone="America/New_York")
    assert ids(yearly, at("2098-06-01T00:00"), 9) == ["2099-01-01T00:00:00"]
    assert first(yearly, Place(10**12)) is None
    assert first(ScheduleSpec("s", every=1.0), Place(HORIZON - 1)) is None
