"""What clients and the broker can ask the scheduler."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from odibi_actors.actor import Effect, Send
from odibi_actors.config.model import ScheduleSpec
from odibi_actors.messages import BROKER, LOCAL, Connected, Reply, Request, ScheduleEntry, Schedules, Welcome
from odibi_actors.model import Place
from odibi_actors.scheduler import answers as module
from odibi_actors.scheduler.actor import SchedulerActor

EVERY_10 = ScheduleSpec("ten", every=10.0)
NEW_YORK = ScheduleSpec("ny", cron="30 2 * * *", timezone="America/New_York")


def joined(*items: ScheduleEntry) -> SchedulerActor:
    actor = SchedulerActor("i", "h", 1)
    actor.handle(LOCAL, Connected(), 100.0)
    actor.handle(BROKER, Welcome(1, 0, "s"), 100.0)
    actor.handle(BROKER, Schedules(1, 0, 1, list(items)), 100.0)
    return actor


def replies(effects: list[Effect]) -> list[Reply]:
    return [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, Reply)]


def ask(actor: SchedulerActor, verb: str, **params: Any) -> Reply:
    """Ask, and flush until the answer is there."""
    found = replies(actor.handle("client-1", Request("1", verb, params), 100.0))
    while not found:
        at = actor.deadline()
        assert at is not None
        assert at <= 100.0
        found = replies(actor.flush(100.0))
    return found[0]


def ranged(spec: ScheduleSpec, since: float, to: float, limit: int = 100) -> Any:
    params = {"pipeline": "p", "spec": msgspec.to_builtins(spec), "from": since, "to": to, "limit": limit}
    reply = ask(joined(), "schedule.range", **params)
    assert reply.status == 0, reply.error
    return reply.result


def test_given_schedules_when_asked_what_is_next_then_each_says_when_also_before_it_was_its_turn() -> None:
    ended = ScheduleSpec("ended", every=10.0, end=50.0)
    actor = joined(
        ScheduleEntry("p", EVERY_10, Place(100)),
        ScheduleEntry("q", EVERY_10, Place(200)),
        ScheduleEntry("q", ended, Place(60)),
    )
    assert ask(actor, "schedule.next").result["items"] == [
        {"pipeline": "p", "schedule": "ten", "next": 110, "late": 0.0},
        {"pipeline": "q", "schedule": "ten", "next": 210, "late": 0.0},
        {"pipeline": "q", "schedule": "ended", "next": None, "late": 0.0},
    ]
    actor.flush(100.0)
    actor.flush(112.5)
    assert ask(actor, "schedule.next", pipeline="p").result["items"] == [
        {"pipeline": "p", "schedule": "ten", "next": 110, "late": 2.5}
    ]
    actor.handle(BROKER, Schedules(1, 1, 2, [ScheduleEntry("p", EVERY_10, Place(110))]), 100.0)
    assert ask(actor, "schedule.next", pipeline="p").result["items"] == [
        {"pipeline": "p", "schedule": "ten", "next": 120, "late": 2.5}
    ]
    assert ask(actor, "schedule.next", pipeline=7).status == 2


def test_given_many_schedules_when_asked_what_is_next_at_once_then_the_answer_does_not_wait_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LOOKS", 1)
    actor = joined(*(ScheduleEntry("p", ScheduleSpec(f"s{n}", every=10.0), Place(100)) for n in range(3)))
    assert [item["next"] for item in ask(actor, "schedule.next").result["items"]] == [110, None, None]


def test_given_a_range_when_asked_then_its_first_second_counts_and_its_last_does_not() -> None:
    assert [one["due"] for one in ranged(EVERY_10, 100.0, 130.0)["items"]] == [100, 110, 120]
    assert [one["due"] for one in ranged(EVERY_10, 100.5, 130.5)["items"]] == [110, 120, 130]
    assert ranged(EVERY_10, 100.0, 130.0, 3)["more"] is False
    assert ranged(EVERY_10, 100.0, 130.0, 2) == {
        "items": [
            {"id": "1970-01-01T00:01:40", "due": 100, "note": ""},
            {"id": "1970-01-01T00:01:50", "due": 110, "note": ""},
        ],
        "more": True,
    }
    spring = ranged(NEW_YORK, 1_772_900_000.0, 1_773_000_000.0)["items"]  # 2026-03-08: there is no 2:30
    assert [(one["id"], one["note"]) for one in spring] == [("2026-03-08T02:30:00", "skipped by the clock")]


def test_given_a_long_range_when_asked_then_it_is_found_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 10)
    found = ranged(ScheduleSpec("s", every=1.0), 0.0, 1e6, 95)
    assert [one["due"] for one in found["items"]] == list(range(95))
    assert found["more"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"spec": {"name": "s", "cron": "61 * * * *"}}, "61"),
        ({"spec": {"name": "s", "cron": "* * * * *", "timezone": "Mars/Base"}}, "Mars/Base"),
        ({"spec": {"name": "s", "cron": "* * * * *", "timezone": "../../etc/passwd"}}, "passwd"),
        ({"spec": {"name": "s", "after": ["p"]}}, "follows no clock"),
        ({"spec": 7}, "object"),
        ({"limit": 0}, "limit"),
        ({"limit": 10_001}, "limit"),
        ({"from": "x"}, "from"),
        ({"from": float("nan")}, "from"),
    ],
)
def test_given_a_question_that_is_wrong_when_asked_then_the_answer_says_what_is(change: Any, says: str) -> None:
    params = {"pipeline": "p", "spec": msgspec.to_builtins(EVERY_10), "from": 0.0, "to": 99.0, "limit": 10}
    reply = ask(joined(), "schedule.range", **{**params, **change})
    assert reply.status == 2
    assert says in reply.error


def test_given_too_many_questions_when_asked_then_the_last_is_refused_and_the_others_are_answered() -> None:
    actor = joined()
    params = {"spec": msgspec.to_builtins(EVERY_10), "from": 0.0, "to": 99.0}
    asked = [
        replies(actor.handle(f"client-{n}", Request(str(n), "schedule.range", params), 100.0))
        for n in range(module.MAX_WAITING + 1)
    ]
    assert [len(found) for found in asked] == [0] * module.MAX_WAITING + [1]
    assert asked[-1][0].status == 4
    answered = [reply.id for _ in range(module.MAX_WAITING) for reply in replies(actor.flush(100.0))]
    assert answered == [str(n) for n in range(module.MAX_WAITING)]
