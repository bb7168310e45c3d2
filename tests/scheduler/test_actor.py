"""The scheduler joins, shows that it lives, answers, and leaves."""

from __future__ import annotations

import pytest

from odibi_actors.actor import Send, Stop
from odibi_actors.messages import (
    BROKER,
    HEARTBEAT,
    LOCAL,
    Bye,
    ByeAck,
    Connected,
    Heartbeat,
    Hello,
    Refused,
    Reply,
    Request,
    Shutdown,
    Terminate,
    Tick,
    Welcome,
    WhoAreYou,
)
from odibi_actors.scheduler.actor import SchedulerActor
from odibi_actors.scheduler.driver import NullDriver

HELLO = Send(BROKER, Hello("scheduler", "i", "h", 1))


def connected() -> SchedulerActor:
    actor = SchedulerActor("i", "h", 1)
    assert actor.start(0.0) == []
    assert actor.handle(LOCAL, Connected(), 0.0) == [HELLO]
    return actor


def test_given_no_link_when_started_then_there_is_nothing_to_do() -> None:
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
    assert actor.flush(1.6) == []
    assert actor.flush(2.0) == [Send(BROKER, Heartbeat(2))]
    assert actor.handle(BROKER, WhoAreYou(), 2.1) == [HELLO]


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


def test_given_the_cli_when_it_asks_for_schedules_then_the_list_is_empty() -> None:
    actor = connected()
    asked = Request("7", "schedule.list")
    assert actor.handle("client-1", asked, 1.0) == [Send("client-1", Reply("7", 0, {"items": []}))]
    other = actor.handle("client-1", Request("8", "schedule.dance"), 1.0)[0]
    assert isinstance(other, Send)
    assert isinstance(other.message, Reply)
    assert other.message.status == 2


def test_given_the_null_driver_when_used_then_it_has_nothing_to_poll_and_refuses_effects() -> None:
    driver = NullDriver()
    assert driver.inputs() == {}
    with pytest.raises(TypeError):
        driver.perform(Stop(0, ""), 0.0)
    driver.close()
