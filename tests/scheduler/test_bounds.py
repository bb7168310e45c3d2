"""The bounds of what the scheduler does at a time; and whatever is lost, doubled, cut off or restarted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odibi_actors.actor import Send
from odibi_actors.config.model import CatchUpSpec, ScheduleSpec
from odibi_actors.messages import (
    BROKER,
    LOCAL,
    ClockSet,
    Connected,
    Due,
    Dues,
    Noted,
    NotedPlace,
    ScheduleEntry,
    Welcome,
    ZonesChanged,
)
from odibi_actors.model import Place
from odibi_actors.scheduler import agenda as agenda_module
from odibi_actors.scheduler import judge as judge_module
from odibi_actors.scheduler.actor import SchedulerActor
from tests.scheduler.harness import (
    EVERY_10,
    Calendar,
    Log,
    at_seconds,
    dues,
    expand,
    given_schedules,
    noted,
    told,
    welcomed,
    work,
)


def test_given_more_schedules_than_may_be_told_when_all_are_due_then_the_others_wait_and_none_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agenda_module, "MAX_TOLD", 3)
    actor = welcomed(101.0)
    entries = [ScheduleEntry("p", ScheduleSpec(f"s{number}", every=10.0), Place(100)) for number in range(8)]
    given_schedules(actor, 101.0, *entries)
    work(actor, 101.0)
    seen = [one.schedule for one in dues(work(actor, 110.0))]
    assert len(seen) == 3
    assert [one.schedule for one in dues(work(actor, 112.0))] == seen  # repeated, and no more
    for number in range(8):
        actor.handle(BROKER, noted(110, schedule=seen[number]), 112.0)
        seen += [one.schedule for one in dues(work(actor, 112.0))]
    assert sorted(seen) == [f"s{number}" for number in range(8)]


def test_given_a_catch_up_storm_when_it_goes_on_then_each_flush_is_bounded_and_others_are_told_at_once() -> None:
    actor = welcomed(1_000_000.0)
    cron = ScheduleSpec("storm", cron="* * * * * *", catch_up=CatchUpSpec(policy="none"))
    given_schedules(
        actor, 1_000_000.0, ScheduleEntry("p", cron, Place(900_000)), ScheduleEntry("p", EVERY_10, Place(1_000_000))
    )
    actor.flush(1_000_000.0)
    assert actor.deadline() == 1_000_000.0  # there is more
    before = actor.agenda.entries["p", "storm"].stream.cost
    assert told(actor.flush(1_000_010.0)) == [(1_000_000, [1_000_010])]
    assert 0 < actor.agenda.entries["p", "storm"].stream.cost - before <= agenda_module.BUDGET + 50


def test_given_a_long_catch_up_when_it_goes_on_then_its_progress_is_told_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agenda_module, "PART", 500)
    actor = welcomed(2_000.0)
    cron = ScheduleSpec("s", cron="* * * * * *", catch_up=CatchUpSpec(window=10.0, policy="latest", grace=0.0))
    log = Log(Place(0))
    given_schedules(actor, 2_000.0, ScheduleEntry("p", cron, log.place))
    while log.place.due < 2_000:
        for one in dues(work(actor, 2_000.0)):
            actor.handle(BROKER, Noted(1, [log.take(one)]), 2_000.0)
    assert sum(one.count for one in log.judged) == 2_000
    assert len(log.judged) >= 4


def test_given_an_occurrence_on_time_when_told_then_the_calendar_is_not_asked_before() -> None:
    calendar = Calendar(at_seconds(10, 20, 30))
    actor = welcomed(calendar=calendar)
    given_schedules(actor, 1.0, ScheduleEntry("p", ScheduleSpec("s", cron="x"), Place(0)))
    work(actor, 1.0)
    opened = calendar.opened
    assert told(actor.flush(10.0)) == [(0, [10])]
    assert calendar.opened == opened


def test_given_a_removed_schedule_when_it_still_had_its_turn_before_it_then_nothing_of_it_is_told() -> None:
    actor = welcomed(115.0)
    given_schedules(actor, 115.0, ScheduleEntry("p", EVERY_10, Place(100)))
    given_schedules(actor, 115.0, ScheduleEntry("p", EVERY_10, Place(100), off=True))
    assert told(work(actor, 115.0)) == []
    assert actor.handle(BROKER, noted(110), 115.0) == []


def test_given_schedules_that_catch_up_when_others_were_noted_then_both_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agenda_module, "BUDGET", 8)
    monkeypatch.setattr(agenda_module, "HURRY", 8)
    actor = welcomed(1_000.0)
    late = ScheduleSpec("late", cron="* * * * * *", catch_up=CatchUpSpec(policy="none", grace=0.0))
    often = [ScheduleSpec(f"s{number}", every=1.0) for number in range(12)]
    given_schedules(actor, 1_000.0, *(ScheduleEntry("p", spec, Place(1_000)) for spec in often))
    work(actor, 1_000.0)
    given_schedules(actor, 1_000.0, ScheduleEntry("p", late, Place(900)))
    logs = {spec.name: Log(Place(1_000)) for spec in often} | {"late": Log(Place(900))}
    looked = []
    for tick in range(60):  # those that come due each second would need all of the budget
        now = 1_000.0 + tick
        for one in dues(actor.flush(now)):
            actor.handle(BROKER, Noted(1, [logs[one.schedule].take(one)]), now)
        looked.append((logs["late"].place.due, actor.agenda.entries["p", "late"].looked))
    assert looked[-1] > looked[30] > looked[10]
    assert logs["s0"].place.due > 1_005


@pytest.mark.parametrize("offset", [-50 - number / 7 for number in range(40)])
def test_given_any_offset_when_the_deadline_has_come_then_what_is_due_is_told(offset: float) -> None:
    begin = 2.0**31 - 48  # beyond 2**31 the runtime's time is coarser than the wall clock's
    actor = welcomed(begin)
    actor.handle(LOCAL, ClockSet(offset), begin)
    given_schedules(actor, begin, ScheduleEntry("p", EVERY_10, Place(2_147_483_600)))
    work(actor, begin)
    at = actor.agenda.deadline(offset, begin)
    assert at is not None
    assert told(actor.flush(at)) == [(2_147_483_600, [2_147_483_610])]


def test_given_a_schedule_that_changes_often_when_it_does_then_its_former_turns_are_not_kept() -> None:
    actor = welcomed(100.0)
    for number in range(5_000):
        given_schedules(actor, 100.0, ScheduleEntry("p", EVERY_10, Place(100 + number)))
        work(actor, 100.0)
    assert len(actor.agenda._heap) <= 1_010
    assert told(work(actor, 5_110.0)) == [(5_099, [5_100, 5_110])]


def test_given_many_that_catch_up_when_they_take_turns_then_few_hold_occurrences_at_a_time() -> None:
    actor = welcomed(10_000.0)
    catch_up = CatchUpSpec(window=1e6, policy="all", max=1_000, grace=0.0)
    specs = [ScheduleSpec(f"s{number}", cron="* * * * * *", catch_up=catch_up) for number in range(100)]
    given_schedules(actor, 10_000.0, *(ScheduleEntry("p", spec, Place(0)) for spec in specs))
    for _ in range(30):
        actor.flush(10_000.0)
        holding = [entry for entry in actor.agenda.entries.values() if entry.judge is not None and entry.judge._held]
        assert len(holding) <= agenda_module.MAX_ACTIVE


# --- whatever is lost, doubled, cut off or restarted ------------------------------------------------------------------

policies = st.builds(
    CatchUpSpec,
    window=st.sampled_from([0.0, 30.0, 1e6]),
    policy=st.sampled_from(["latest", "all", "none"]),
    max=st.integers(0, 4),
    grace=st.sampled_from([0.0, 5.0, 40.0]),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("time"), st.integers(0, 30)),
        st.tuples(st.just("clock"), st.integers(-40, 40)),
        st.tuples(st.just("deliver"), st.booleans()),
        st.tuples(st.sampled_from(["lose", "stale", "zones", "restart", "epoch"]), st.just(0)),
    ),
    max_size=40,
)


@given(policies, st.sampled_from([0.0, 7.0]), st.lists(st.integers(0, 9), min_size=1, max_size=30), steps, st.data())
def test_given_any_faults_when_they_are_over_then_each_occurrence_is_in_the_log_once_and_in_order(
    catch_up: CatchUpSpec, jitter: float, gaps: list[int], script: list[tuple[str, int]], data: st.DataObject
) -> None:
    found = at_seconds(*(sum(gaps[: number + 1]) for number in range(len(gaps))))
    calendar, log = Calendar(found), Log(Place(-1))
    spec = ScheduleSpec("s", cron="x", catch_up=catch_up, jitter=jitter)
    now, offset, epoch = 0.0, 0.0, 1
    network: list[Dues] = []
    said: list[NotedPlace] = [NotedPlace("p", "s", log.place)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agenda_module, "BUDGET", data.draw(st.sampled_from([1, 15, 2_000])))
        patch.setattr(agenda_module, "PART", data.draw(st.sampled_from([1, 3, 10_000])))
        most = data.draw(st.sampled_from([1, 3, 100]))
        patch.setattr(judge_module, "MAX_JUDGED", most)
        patch.setattr(agenda_module, "MAX_JUDGED", most)

        def begin() -> SchedulerActor:
            actor = SchedulerActor("i", "h", 1, calendar)
            actor.handle(LOCAL, Connected(), now)
            actor.handle(LOCAL, ClockSet(offset), now)
            actor.handle(BROKER, Welcome(epoch, 0, "s"), now)
            given_schedules(actor, now, ScheduleEntry("p", spec, log.place))
            return actor

        actor = begin()
        for what, value in [*script, *[("time", 100), ("clock", 200), ("deliver", 1)] * 40]:
            news = dues(actor.flush(now))
            for one in news:
                newest = found.index(next(o for o in found if o.id == one.judged[-1].id))
                assert now + offset >= found[newest].due
            network += news
            if what == "time":
                now += value
            elif what == "clock":
                offset += value if value < 200 else max(0, 400 - offset - now)
                actor.handle(LOCAL, ClockSet(offset, jumped=True), now)
            elif what == "deliver":
                sent, network = network, []
                for one in sent:
                    said.append(log.take(one))
                    actor.handle(BROKER, Noted(epoch, [said[-1]]), now)
                    if value:
                        actor.handle(BROKER, Noted(epoch, [log.take(one)]), now)
            elif what == "lose":
                network.clear()
            elif what == "stale":
                actor.handle(BROKER, Noted(epoch, [data.draw(st.sampled_from(said))]), now)
            elif what == "zones":
                actor.handle(LOCAL, ZonesChanged(), now)
            elif what == "restart":
                actor = begin()
            elif what == "epoch":
                epoch += 1
                actor.handle(BROKER, Welcome(epoch, 0, "s"), now)
                given_schedules(actor, now, ScheduleEntry("p", spec, log.place))
    assert [one for one, _ in expand(log.judged, found)] == [one.id for one in found]


def test_given_dues_when_they_are_many_then_they_are_cut_into_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odibi_actors.scheduler.actor.MAX_SAID", 2)
    actor = welcomed(101.0)
    entries = [ScheduleEntry("p", ScheduleSpec(f"s{number}", every=10.0), Place(100)) for number in range(5)]
    given_schedules(actor, 101.0, *entries)
    work(actor, 101.0)
    messages = [e.message for e in actor.flush(110.0) if isinstance(e, Send) and isinstance(e.message, Due)]
    assert [len(message.items) for message in messages] == [2, 2, 1]
    assert {message.wall for message in messages} == {110.0}
