"""The scheduler joins, shows that it lives, tells what is due until it is noted, and leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odibi_actors.actor import Effect, Send, Stop
from odibi_actors.actor import Log as LogLine
from odibi_actors.config.model import CatchUpSpec, ScheduleSpec
from odibi_actors.messages import (
    BROKER,
    HEARTBEAT,
    LOCAL,
    Bye,
    ByeAck,
    ClockSet,
    Connected,
    Due,
    Dues,
    Heartbeat,
    Hello,
    Noted,
    NotedPlace,
    Refused,
    Request,
    ScheduleEntry,
    Schedules,
    Shutdown,
    Terminate,
    Tick,
    Welcome,
    WhoAreYou,
    ZonesChanged,
)
from odibi_actors.model import Place
from odibi_actors.scheduler import agenda as agenda_module
from odibi_actors.scheduler import judge as judge_module
from odibi_actors.scheduler.actor import SchedulerActor
from odibi_actors.scheduler.agenda import REPEAT
from odibi_actors.scheduler.effects import FollowClock
from odibi_actors.scheduler.judge import OUTSIDE, PAUSED
from tests.scheduler.harness import Calendar, Log, at_seconds, dues, expand

HELLO = Send(BROKER, Hello("scheduler", "i", "h", 1))
EVERY_10 = ScheduleSpec("s", every=10.0, catch_up=CatchUpSpec(window=100.0, policy="all", max=3, grace=5.0))


def connected() -> SchedulerActor:
    actor = SchedulerActor("i", "h", 1)
    assert actor.start(0.0) == [FollowClock()]
    assert actor.handle(LOCAL, Connected(), 0.0) == [HELLO]
    return actor


def welcomed(now: float = 0.0, **calendar: Calendar) -> SchedulerActor:
    """One that knows no schedule yet, in epoch 1."""
    actor = SchedulerActor("i", "h", 1, **calendar)
    actor.handle(LOCAL, Connected(), now)
    actor.handle(BROKER, Welcome(1, 0, "s"), now)
    assert actor.flush(now) == [Send(BROKER, Heartbeat(1, version=0, wall=now))]
    return actor


def given_schedules(actor: SchedulerActor, now: float, *items: ScheduleEntry) -> None:
    actor.handle(BROKER, Schedules(actor.epoch, actor.version, actor.version + 1, list(items)), now)


def with_every_10(now: float = 101.0) -> SchedulerActor:
    """One whose schedule is due at 110, 120, ..."""
    actor = welcomed(now)
    given_schedules(actor, now, ScheduleEntry("p", EVERY_10, Place(100)))
    assert dues(actor.flush(now)) == []
    return actor


def noted(due: int, wall: str = "", epoch: int = 1, schedule: str = "s") -> Noted:
    return Noted(epoch, [NotedPlace("p", schedule, Place(due, wall or f"1970-01-01T00:{due // 60:02}:{due % 60:02}"))])


def work(actor: SchedulerActor, now: float) -> list[Effect]:
    """Flush until the actor has nothing more to do at once."""
    effects = actor.flush(now)
    while (at := actor.deadline()) is not None and at <= now:
        effects += actor.flush(now)
    return effects


def told(effects: list[Effect]) -> list[tuple[float, list[float]]]:
    """(after, dues) of each schedule told."""
    return [(one.after.due, [judged.due for judged in one.judged]) for one in dues(effects)]


def test_given_no_link_when_started_then_it_only_follows_the_clock() -> None:
    actor = SchedulerActor("i", "h", 1)
    assert actor.deadline() is None
    assert actor.flush(99.0) == []
    assert actor.handle(LOCAL, Terminate(), 0.0) == [Stop(0, "left")]


def test_given_no_welcome_when_time_passes_then_hello_is_repeated_and_afterwards_the_heart_beats() -> None:
    actor = connected()
    assert actor.deadline() == HEARTBEAT
    assert actor.handle(LOCAL, Tick(), HEARTBEAT) == []
    assert actor.flush(HEARTBEAT) == [HELLO]
    actor.handle(BROKER, Welcome(2, 0, "s"), 1.5)
    actor.handle(BROKER, Welcome(1, 0, "s"), 1.5)
    assert actor.flush(1.6) == [Send(BROKER, Heartbeat(2, wall=1.6))]
    assert actor.flush(2.5) == []
    assert actor.flush(2.6) == [Send(BROKER, Heartbeat(2, wall=2.6))]
    assert actor.handle(BROKER, WhoAreYou(), 2.7) == [HELLO]


@pytest.mark.parametrize("message", [Terminate(), Shutdown()])
def test_given_the_end_when_told_then_it_says_bye_and_stops_on_the_answer_or_without_it(
    message: Terminate | Shutdown,
) -> None:
    actor = connected()
    assert actor.handle(BROKER, message, 5.0) == [Send(BROKER, Bye())]
    assert actor.flush(5.1) == []
    assert actor.handle(BROKER, ByeAck(), 5.2) == [Stop(0, "left")]
    assert actor.flush(actor.deadline() or 0.0) == [Stop(0, "left without an answer")]


def test_given_a_second_signal_or_a_refusal_when_it_comes_then_it_stops_at_once() -> None:
    assert connected().handle(LOCAL, Terminate(at_once=True), 1.0) == [Stop(0, "terminated")]
    assert connected().handle(BROKER, Refused("twice"), 1.0) == [Stop(70, "refused by the broker: twice")]


# --- schedules --------------------------------------------------------------------------------------------------------


def test_given_a_schedule_when_it_comes_due_then_it_is_told_at_once_and_again_until_it_is_noted() -> None:
    actor = with_every_10()
    actor.flush(109.5)
    assert actor.deadline() == 110.0
    first = actor.flush(110.0)
    assert told(first) == [(100, [110])]
    assert dues(first)[0].judged[0].reason == ""
    assert told(actor.flush(111.9)) == []
    assert dues(actor.flush(110.0 + REPEAT)) == dues(first)
    actor.handle(BROKER, noted(110), 112.1)
    assert told(work(actor, 112.1)) == []
    assert told(work(actor, 114.5)) == []
    assert told(work(actor, 120.0)) == [(110, [120])]


def test_given_two_places_when_noted_is_not_the_expected_one_then_the_schedule_goes_on_from_there() -> None:
    actor = with_every_10()
    assert told(actor.flush(110.0)) == [(100, [110])]
    actor.handle(BROKER, noted(100, "~"), 110.1)  # it was not taken: it stands
    assert told(work(actor, 110.1)) == []
    actor.handle(BROKER, noted(130), 110.2)  # beyond
    assert told(work(actor, 125.0)) == []
    assert told(work(actor, 140.0)) == [(130, [140])]
    actor.handle(BROKER, noted(120), 140.1)  # lower
    assert told(work(actor, 140.1)) == [(120, [130, 140])]


def test_given_several_judged_when_a_part_is_noted_then_the_rest_is_told_at_once() -> None:
    actor = welcomed(135.0)
    given_schedules(actor, 135.0, ScheduleEntry("p", EVERY_10, Place(100)))
    assert told(work(actor, 135.0)) == [(100, [110, 120, 130])]
    actor.handle(BROKER, noted(120), 135.1)
    assert told(actor.flush(135.1)) == [(120, [130])]


def test_given_a_page_when_it_does_not_go_on_from_the_last_then_it_does_not_count() -> None:
    actor = welcomed()
    item = ScheduleEntry("p", EVERY_10, Place(0))
    actor.handle(BROKER, Schedules(1, 3, 4, [item]), 1.0)
    actor.handle(BROKER, Schedules(2, 0, 4, [item]), 1.0)
    assert (actor.version, actor.agenda.entries) == (0, {})
    actor.handle(BROKER, Schedules(1, 0, 4, [item]), 1.0)
    actor.handle(BROKER, Schedules(1, 0, 9, []), 1.0)
    assert actor.version == 4
    assert [e for e in actor.flush(5.0) if isinstance(e, Send)] == [Send(BROKER, Heartbeat(1, version=4, wall=5.0))]


def test_given_schedules_when_the_epoch_is_higher_then_all_is_forgotten_and_a_lower_one_says_nothing() -> None:
    actor = with_every_10()
    actor.handle(BROKER, Welcome(2, 0, "s"), 102.0)
    assert (actor.version, actor.agenda.entries) == (0, {})
    assert actor.flush(102.0) == [Send(BROKER, Heartbeat(2, version=0, wall=102.0))]
    given_schedules(actor, 102.0, ScheduleEntry("p", EVERY_10, Place(100)))
    assert told(work(actor, 110.0)) == [(100, [110])]
    actor.handle(BROKER, Welcome(2, 0, "s"), 110.0)  # it is the same broker: nothing is forgotten
    actor.handle(BROKER, noted(500, epoch=1), 110.0)
    actor.handle(BROKER, Welcome(1, 0, "s"), 110.0)
    assert told(work(actor, 112.0)) == [(100, [110])]


def test_given_a_schedule_when_it_is_off_or_changed_then_only_what_is_new_counts() -> None:
    actor = with_every_10()
    given_schedules(actor, 102.0, ScheduleEntry("p", EVERY_10, Place(100), off=True))
    assert told(work(actor, 111.0)) == []
    given_schedules(actor, 115.0, ScheduleEntry("p", EVERY_10, Place(100), floor=112.0))
    assert [(one.reason, one.due) for one in dues(work(actor, 115.0))[0].judged] == [(PAUSED, 110)]
    changed = ScheduleSpec("s", every=7.0)
    given_schedules(actor, 116.0, ScheduleEntry("p", changed, Place(110)))
    assert told(work(actor, 119.0)) == [(110, [112, 119])]


def test_given_a_schedule_that_cannot_be_read_when_computed_then_it_is_logged_and_the_others_go_on() -> None:
    actor = welcomed(101.0)
    bad = ScheduleSpec("bad", cron="* * * * *", timezone="Mars/Base")
    given_schedules(actor, 101.0, ScheduleEntry("p", bad, Place(0)), ScheduleEntry("p", EVERY_10, Place(100)))
    (line,) = [e for e in work(actor, 101.0) if isinstance(e, LogLine)]
    assert (line.level, line.fields["schedule"]) == ("error", "bad")
    assert told(work(actor, 110.0)) == [(100, [110])]
    actor.handle(LOCAL, ZonesChanged(), 111.0)
    assert [e.level for e in work(actor, 111.0) if isinstance(e, LogLine)] == ["error"]


# --- the wall clock ---------------------------------------------------------------------------------------------------


def test_given_an_offset_when_set_then_every_deadline_follows_it() -> None:
    actor = with_every_10()
    actor.handle(LOCAL, ClockSet(4.0, jumped=True), 102.0)
    actor.flush(105.5)
    assert actor.deadline() == pytest.approx(106.0, abs=1e-5)
    assert told(actor.flush(106.1)) == [(100, [110])]


def test_given_a_jump_forwards_when_it_comes_then_what_lies_between_is_judged_late() -> None:
    actor = with_every_10()
    actor.handle(LOCAL, ClockSet(401.0, jumped=True), 102.0)
    judged = dues(work(actor, 102.0))[0].judged
    assert [(one.reason, one.count, one.due) for one in judged] == [
        (OUTSIDE, 30, 400),
        ("over catch_up.max", 6, 460),
        *[("", 1, due) for due in (470, 480, 490, 500)],
    ]


def test_given_a_jump_backwards_when_it_comes_then_nothing_is_told_twice_and_what_was_not_noted_waits() -> None:
    actor = with_every_10()
    assert told(actor.flush(110.0)) == [(100, [110])]
    actor.handle(BROKER, noted(110), 110.1)
    assert told(work(actor, 120.0)) == [(110, [120])]
    actor.handle(LOCAL, ClockSet(-50.0, jumped=True), 120.1)
    assert told(work(actor, 123.0)) == []  # it shows 73: 120 is not due any more, 110 was noted
    assert told(work(actor, 169.9)) == []
    assert told(work(actor, 170.1)) == [(110, [120])]


def test_given_new_zones_when_they_come_then_all_is_computed_anew_from_the_places() -> None:
    calendar = Calendar(at_seconds(10, 20, 30))
    actor = welcomed(calendar=calendar)
    given_schedules(actor, 1.0, ScheduleEntry("p", ScheduleSpec("s", cron="x"), Place(0)))
    assert told(work(actor, 10.0)) == [(0, [10])]
    actor.handle(BROKER, noted(10, "w0000"), 10.0)
    work(actor, 10.0)
    calendar.found = at_seconds(10, 15, 30)
    actor.handle(LOCAL, ZonesChanged(), 11.0)
    work(actor, 11.0)
    assert told(work(actor, 15.0)) == [(10, [15])]


# --- bounds -----------------------------------------------------------------------------------------------------------


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
    actor = welcomed(1_000.0)
    late = ScheduleSpec("late", cron="* * * * * *", catch_up=CatchUpSpec(policy="none", grace=0.0))
    often = [ScheduleSpec(f"s{number}", every=1.0) for number in range(4)]
    given_schedules(actor, 1_000.0, *(ScheduleEntry("p", spec, Place(1_000)) for spec in often))
    work(actor, 1_000.0)
    given_schedules(actor, 1_000.0, ScheduleEntry("p", late, Place(900)))
    logs = {spec.name: Log(Place(1_000)) for spec in often} | {"late": Log(Place(900))}
    for tick in range(60):  # those that come due each second would need all of the budget
        now = 1_000.0 + tick
        for one in dues(actor.flush(now)):
            actor.handle(BROKER, Noted(1, [logs[one.schedule].take(one)]), now)
    assert logs["late"].place.due >= 1_000
    assert logs["s0"].place.due > 1_010


@pytest.mark.parametrize("offset", [number / 7 + 0.123456789 for number in range(40)])
def test_given_any_offset_when_the_deadline_has_come_then_what_is_due_is_told(offset: float) -> None:
    actor = welcomed(1_750_000_000.0)
    actor.handle(LOCAL, ClockSet(offset), 1_750_000_000.0)
    given_schedules(actor, 1_750_000_000.0, ScheduleEntry("p", EVERY_10, Place(1_750_000_090)))
    actor.handle(LOCAL, Tick(), 1_750_000_000.0)
    work(actor, 1_750_000_000.0)
    at = actor.agenda.deadline(offset, 1_750_000_000.0)
    assert at is not None
    assert told(actor.flush(at)) == [(1_750_000_090, [1_750_000_100])]


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


def test_given_the_cli_when_it_asks_what_nobody_knows_then_it_is_refused() -> None:
    actor = connected()
    (other,) = actor.handle("client-1", Request("8", "schedule.dance"), 1.0)
    assert isinstance(other, Send)
    assert other.message.status == 2  # type: ignore[attr-defined]


def test_given_dues_when_they_are_many_then_they_are_cut_into_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odibi_actors.scheduler.actor.MAX_SAID", 2)
    actor = welcomed(101.0)
    entries = [ScheduleEntry("p", ScheduleSpec(f"s{number}", every=10.0), Place(100)) for number in range(5)]
    given_schedules(actor, 101.0, *entries)
    work(actor, 101.0)
    messages = [e.message for e in actor.flush(110.0) if isinstance(e, Send) and isinstance(e.message, Due)]
    assert [len(message.items) for message in messages] == [2, 2, 1]
    assert {message.wall for message in messages} == {110.0}
