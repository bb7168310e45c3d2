"""A schedule that begins again: wall times of its former generation say nothing about the new one."""

from __future__ import annotations

from typing import Any

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import ProjectSpec, ScheduleSpec
from odibi_actors.messages import Apply
from odibi_actors.model import Place
from tests.broker.restart import snapshot
from tests.broker.scheduling import HOUR, Timed, hourly, occurrence, scheduled


def apply(broker: Timed, *schedules: ScheduleSpec) -> None:
    broker.say("client-1", Apply("a", ProjectSpec("t", "/", "/data", 1, [scheduled(*schedules)], code_digest="code")))


def newest(broker: Timed) -> rec.Schedule:
    return broker.of(rec.Schedule)[-1]


def again(before: Timed, **more: Any) -> Timed:
    items, last = snapshot(before)
    broker = Timed(recover=True, **more)
    broker.now = before.now
    broker.start(items, epoch=2, last_seq=last)
    return broker


def test_given_another_zone_and_a_restart_when_an_earlier_wall_time_is_due_then_it_runs() -> None:
    before = Timed(scheduled(hourly(timezone="Asia/Tokyo", overlap="buffer_all"))).start()
    before.due(occurrence(9))  # 09:00
    apply(before, hourly(timezone="America/New_York", overlap="buffer_all"))
    broker = again(before)

    early = occurrence(4)  # 04:00, of another zone, and due later
    broker.due(type(early)(early.id, 10 * HOUR, Place(10 * HOUR, early.place.wall)))

    assert [one.id for one in broker.of(rec.Occurrence)] == [f"{early.id}~1"]
    assert broker.skips() == []


def test_given_a_place_ahead_of_the_clock_when_the_zone_changes_then_no_wall_time_holds_back_what_is_due() -> None:
    broker = Timed(scheduled(hourly(timezone="Asia/Tokyo"))).start()
    broker.due(occurrence(9))
    broker.now = 2.0 * HOUR  # a new broker, after the clock was set back

    apply(broker, hourly(timezone="America/New_York"))

    assert newest(broker).place == Place(9 * HOUR)
