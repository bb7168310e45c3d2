"""The scheduler joins, shows that it lives, tells what is due until it is noted, and leaves."""

from __future__ import annotations

import pytest

from odibi_actors.actor import Log as LogLine
from odibi_actors.actor import Send, Stop
from odibi_actors.config.model import ScheduleSpec
from odibi_actors.messages import (
    BROKER,
    HEARTBEAT,
    LOCAL,
    Bye,
    ByeAck,
    ClockSet,
    Connected,
    Heartbeat,
    Hello,
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
from odibi_actors.scheduler.actor import SchedulerActor
from odibi_actors.scheduler.agenda import REPEAT
from odibi_actors.scheduler.effects import FollowClock
from odibi_actors.scheduler.judge import OUTSIDE, PAUSED
from tests.scheduler.harness import (
    EVERY_10,
    Calendar,
    at_seconds,
    dues,
    given_schedules,
    noted,
    told,
    welcomed,
    work,
)

HELLO = Send(BROKER, Hello("scheduler", "i", "h", 1))


def connected() -> SchedulerActor:
    actor = SchedulerActor("i", "h", 1)
    assert actor.start(0.0) == [FollowClock()]
    assert actor.handle(LOCAL, Connected(), 0.0) == [HELLO]
    return actor


def with_every_10(now: float = 101.0) -> SchedulerActor:
    """One whose schedule is due at 110, 120, ..."""
    actor = welcomed(now)
    given_schedules(actor, now, ScheduleEntry("p", EVERY_10, Place(100)))
    assert dues(actor.flush(now)) == []
    return actor


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


def test_given_new_zones_when_they_come_then_all_is_computed_again_from_the_places() -> None:
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


def test_given_the_cli_when_it_asks_what_nobody_knows_then_it_is_refused() -> None:
    actor = connected()
    (other,) = actor.handle("client-1", Request("8", "schedule.dance"), 1.0)
    assert isinstance(other, Send)
    assert other.message.status == 2  # type: ignore[attr-defined]
