"""Judging, against a model that lists everything and judges it at once; cut anywhere, restarted anywhere."""

from __future__ import annotations

from itertools import accumulate, takewhile

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from odibi_actors.config.model import CatchUpSpec, ScheduleSpec
from odibi_actors.messages import Judged
from odibi_actors.model import Place
from odibi_actors.scheduler.judge import MAX_JUDGED, OUTSIDE, OVER, PAUSED, SUPERSEDED, Judge, Stream, shift
from odibi_actors.scheduler.timetable import Occurrence, occurrences
from tests.scheduler.harness import Calendar, at_seconds, brute, expand

START = Place(0, "")

catch_ups = st.builds(
    CatchUpSpec,
    window=st.integers(0, 60).map(float),
    policy=st.sampled_from(["latest", "all", "none"]),
    max=st.integers(0, 6),
    grace=st.integers(0, 40).map(float),
)
specs = st.builds(
    ScheduleSpec,
    name=st.just("s"),
    cron=st.just("* * * * *"),
    catch_up=catch_ups,
    jitter=st.sampled_from([0.0, 3.0, 50.0]),
)
calendars = st.lists(st.integers(0, 12), max_size=40).map(lambda gaps: at_seconds(*accumulate(gaps, initial=1)))
budgets = st.integers(1, 7)


def finish(judge: Judge, budget: int) -> list[Judged]:
    """All of a pass, in steps of ``budget``."""
    told = []
    while not judge.done or judge.ready:
        judge.step(budget)
        told += judge.take()
    return told


@given(specs, calendars, st.integers(0, 300), st.integers(0, 100), budgets)
def test_given_any_schedule_when_judged_in_steps_then_it_is_as_if_judged_at_once(
    spec: ScheduleSpec, found: list[Occurrence], wall: int, floor: int, budget: int
) -> None:
    judge = Judge(Stream("p", spec, START, Calendar(found)), floor, wall)
    assert expand(finish(judge, budget), found) == brute(spec, found, floor, wall)


@given(specs, calendars, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5), budgets), min_size=1, max_size=12))
def test_given_restarts_at_any_point_when_judged_on_then_each_occurrence_is_judged_once_and_by_the_policy_of_then(
    spec: ScheduleSpec, found: list[Occurrence], lives: list[tuple[int, int, int]]
) -> None:
    place, wall, log = START, 0, []
    for later, steps, budget in [*lives, (1_000, 10_000, 5)]:
        wall += later
        rest = [one for one in found if one.place > place]
        judge = Judge(Stream("p", spec, place, Calendar(found)), 0.0, wall)
        told = []
        for _ in range(steps):
            judge.step(budget)
            told += judge.take()
        expected = brute(spec, rest, 0.0, wall)
        assert expand(told, found) == expected[: sum(one.count for one in told)]
        log += told
        place = told[-1].place if told else place
    assert [one for one, _ in expand(log, found)] == [one.id for one in found]


@given(
    st.builds(
        ScheduleSpec,
        name=st.just("s"),
        every=st.integers(1, 9).map(float),
        catch_up=st.builds(
            CatchUpSpec,
            window=st.sampled_from([0.0, 60.0, 900.0, 5000.0]),
            policy=st.sampled_from(["latest", "all", "none"]),
            max=st.sampled_from([0, 1, 7, 200]),
            grace=st.sampled_from([0.0, 0.5, 60.0, 2000.0]),
        ),
        start=st.sampled_from([0.0, 40.0]),
        end=st.sampled_from([0.0, 700.0, 700.5, 1500.0]),
        jitter=st.sampled_from([0.0, 0.0, 7.0]),
    ),
    st.floats(1, 3_000),
    st.integers(0, 2_000),
    st.integers(0, 500),
)
def test_given_intervals_when_counted_by_arithmetic_then_it_is_as_if_each_was_looked_at(
    spec: ScheduleSpec, wall: float, floor: int, after: int
) -> None:
    place = Place(after)
    found = list(takewhile(lambda one: one.due < 3_500, occurrences(spec, place)))
    stream = Stream("p", spec, place, occurrences)
    assert expand(finish(Judge(stream, floor, wall), 50), found) == brute(spec, found, floor, wall)


def test_given_a_per_second_interval_when_ten_days_were_missed_then_they_are_counted_not_listed() -> None:
    spec = ScheduleSpec("s", every=1.0, catch_up=CatchUpSpec(window=3600.0, policy="all", max=5, grace=60.0))
    stream = Stream("p", spec, Place(0), occurrences)
    told = finish(Judge(stream, 0.0, 864_000.0), 1_000)
    assert [(one.reason, one.count) for one in told[:2]] == [(OUTSIDE, 860_399), (OVER, 3_535)]
    assert [one.reason for one in told[2:]] == [""] * (5 + 61)
    assert sum(one.count for one in told) == 864_000
    assert stream.cost < 200


def test_given_an_interval_that_has_ended_when_it_was_missed_then_it_is_counted_to_its_end() -> None:
    spec = ScheduleSpec("s", every=1.0, end=500_000.0, catch_up=CatchUpSpec(window=1e9))
    stream = Stream("p", spec, Place(0), occurrences)
    told = finish(Judge(stream, 0.0, 864_000.0), 1_000)
    assert [(one.reason, one.count, one.due) for one in told] == [(SUPERSEDED, 499_998, 499_998), ("", 1, 499_999)]
    assert stream.cost < 200


def test_given_a_per_second_cron_when_a_long_time_was_missed_then_it_goes_on_in_steps_and_holds_little() -> None:
    spec = ScheduleSpec("s", cron="* * * * * *", catch_up=CatchUpSpec(window=1e9, policy="all", max=100, grace=0.0))
    judge = Judge(Stream("p", spec, Place(0), occurrences), 0.0, 20_000.0)
    counted = 0
    while not judge.done:
        assert judge.step(500) <= 500 + 20
        assert len(judge.ready) + len(judge._held) <= 2 * MAX_JUDGED + 1
        counted += sum(one.count for one in judge.take())
    counted += sum(one.count for one in judge.take())
    assert counted == 20_000


def test_given_the_rules_when_several_fit_then_the_first_counts_and_skips_are_joined() -> None:
    spec = ScheduleSpec("s", cron="* * * * *", catch_up=CatchUpSpec(window=50.0, policy="latest", grace=5.0))
    found = at_seconds(10, 20, 30, 40, 50, 60, 70, 90, 98, 101)
    told = finish(Judge(Stream("p", spec, START, Calendar(found)), 20.0, 100.0), 99)
    assert [(one.reason, one.first, one.id, one.count) for one in told] == [
        (PAUSED, "w0000", "w0001", 2),
        (OUTSIDE, "w0002", "w0003", 2),
        (SUPERSEDED, "w0004", "w0007", 4),
        ("", "", "w0008", 1),
    ]


@pytest.mark.parametrize(
    ("wall", "expected"),
    [
        (99.5, [("w0000", SUPERSEDED), ("w0001", "")]),
        (100.0, [("w0000", SUPERSEDED), ("w0001", SUPERSEDED), ("w0002", "")]),
    ],
)
def test_given_two_late_ones_when_a_later_one_is_just_due_then_it_alone_runs(
    wall: float, expected: list[tuple[str, str]]
) -> None:
    spec = ScheduleSpec("s", cron="* * * * *", catch_up=CatchUpSpec(grace=5.0))
    found = at_seconds(80, 90, 100)
    assert expand(finish(Judge(Stream("p", spec, START, Calendar(found)), 0.0, wall), 99), found) == expected


def test_given_excluded_days_when_intervals_are_counted_then_they_are_left_out() -> None:
    spec = ScheduleSpec("s", every=3_600.0, exclude=["1970-01-02"], catch_up=CatchUpSpec(policy="none"))
    found = list(takewhile(lambda one: one.due <= 300_000, occurrences(spec, Place(0))))
    told = finish(Judge(Stream("p", spec, Place(0), occurrences), 0.0, 300_000.0), 500)
    assert sum(one.count for one in told) == len(found) == 300_000 // 3_600 - 24


def test_given_jitter_when_judged_then_it_is_spread_kept_and_never_out_of_order() -> None:
    spread = [shift("p", "s", str(number), 10.0) for number in range(1_000)]
    assert 0 <= min(spread) < 0.2
    assert 9.8 < max(spread) < 10
    assert spread == [shift("p", "s", str(number), 10.0) for number in range(1_000)]
    assert shift("p", "t", "1", 10.0) != spread[1]
    spec = ScheduleSpec("s", every=2.0, jitter=60.0)
    stream = Stream("p", spec, Place(0), occurrences)
    stream.limit = 1_000
    ripe = [stream.ripe(number) for number in range(50)]
    assert ripe == sorted(ripe)
    assert all(2 * number + 2 <= at <= 2 * number + 4 for number, at in enumerate(ripe))


def test_given_no_budget_when_judged_then_the_calendar_is_not_opened_either_to_count() -> None:
    spec = ScheduleSpec("s", every=1.0, catch_up=CatchUpSpec(policy="none"))
    stream = Stream("p", spec, Place(0), occurrences)
    stream.limit = 1
    assert stream.look() is not None
    cost = stream.cost
    judge = Judge(stream, 0.0, 5_000.0)
    assert judge.step(0) == 0
    assert (stream.cost, judge.idle) == (cost, True)


@pytest.mark.parametrize("closed", [False, True])
def test_given_a_stream_when_its_calendar_is_closed_then_it_goes_on_where_it_was(closed: bool) -> None:
    calendar = Calendar(at_seconds(1, 1, 2, 5))
    stream = Stream("p", msgspec.structs.replace(ScheduleSpec("s"), cron="* * * * *"), START, calendar)
    seen = []
    stream.limit = 1_000
    while (one := stream.look()) is not None:
        seen.append(one.due)
        stream.pass_()
        if closed:
            stream.close()
    assert seen == [1, 1, 2, 5]
    assert (calendar.opened > 1) is closed
