"""Notices: told to each target, tried again, answered once, remembered."""

from __future__ import annotations

import msgspec
import pytest

from odibi_actors.actor import Log, Send
from odibi_actors.config.model import AlertKind, AlertSpec
from odibi_actors.messages import BROKER, LOCAL, Connected, Notice, Noticed, Told, Welcome
from odibi_actors.scheduler import notices as module
from odibi_actors.scheduler.actor import SchedulerActor
from odibi_actors.scheduler.effects import Tell

COMMAND, HOOK, LOG = AlertSpec(command="alert.sh"), AlertSpec(webhook="http://x/y"), AlertSpec(log=True)


def notice(
    *targets: AlertSpec, id_: int = 7, kind: AlertKind = "failure", epoch: int = 1, pipeline: str = "p"
) -> Notice:
    return Notice(
        epoch=epoch, id=id_, kind=kind, pipeline=pipeline, text="p failed", at=1_750_000_000.25, targets=list(targets),
        schedule="s", run="p.s@1", occurrence="1", held_back=2, project="flights",
    )  # fmt: skip


@pytest.fixture
def actor() -> SchedulerActor:
    made = SchedulerActor("i", "h", 1)
    made.handle(LOCAL, Connected(), 0.0)
    made.handle(BROKER, Welcome(1, 0, "s"), 0.0)
    made.flush(0.0)
    return made


def done(error: str = "", id_: int = 7, epoch: int = 1) -> Send:
    return Send(BROKER, Noticed(epoch, id_, error))


def test_given_a_notice_when_taken_then_each_target_is_told_with_all_there_is_to_know(actor: SchedulerActor) -> None:
    tell, second = actor.handle(BROKER, notice(COMMAND, HOOK), 1.0)
    assert isinstance(tell, Tell)
    assert (tell.id, tell.target, tell.spec) == (7, 0, COMMAND)
    assert tell.payload == {
        "schema": 1,
        "kind": "failure",
        "project": "flights",
        "pipeline": "p",
        "schedule": "s",
        "occurrence": "1",
        "run": "p.s@1",
        "text": "p failed",
        "at": "2025-06-15T15:06:40.250Z",
        "held_back": 2,
    }
    assert second == Tell(7, 1, HOOK, tell.payload)
    assert actor.handle(LOCAL, Told(7, 1), 2.0) == []
    assert actor.handle(BROKER, notice(COMMAND, HOOK), 2.0) == []  # repeated meanwhile
    assert actor.handle(LOCAL, Told(7, 0), 3.0) == [done()]


@pytest.mark.parametrize(
    ("kind", "level"),
    [("failure", "error"), ("dead_letter", "error"), ("lateness", "warning"), ("recovery", "info")],
)
def test_given_a_target_log_when_told_then_it_is_a_line_of_the_actors_own(
    actor: SchedulerActor, kind: AlertKind, level: str
) -> None:
    line, answer = actor.handle(BROKER, notice(LOG, kind=kind), 1.0)
    assert isinstance(line, Log)
    assert (line.level, line.text, line.fields["run"]) == (level, "p failed", "p.s@1")
    assert answer == done()


AT = 1_750_000_000.25
"""When the alert was."""


def test_given_a_target_that_fails_when_tried_for_a_day_then_the_broker_learns_why(actor: SchedulerActor) -> None:
    """Whoever restarts its webhook the next morning is told all the same."""
    now = AT + 10.0
    tries = 1
    actor.handle(BROKER, notice(HOOK), now)
    while True:
        now += 0.5
        answer = actor.handle(LOCAL, Told(7, 0, "refused"), now)
        if answer == [done("http://x/...: refused")]:
            break
        if tries >= 3:  # the broker hears of it meanwhile, so that `status` can say so
            (said,) = answer
            assert isinstance(said, Send)
            assert isinstance(said.message, Noticed)
            assert (said.message.error, said.message.again > 0) == ("http://x/...: refused", True)
        again_at = actor.notices.deadline()
        assert again_at is not None
        assert again_at - now <= 3600.0
        assert [e.target for e in actor.flush(again_at) if isinstance(e, Tell)] == [0]
        now, tries = again_at, tries + 1
    assert 24 * 3600.0 <= now - AT <= 25 * 3600.0 + 60.0
    assert 25 < tries < 40


def test_given_a_scheduler_that_restarts_when_it_is_asked_again_then_the_day_counts_from_the_alert() -> None:
    for age, over in ((3600.0, False), (25 * 3600.0, True)):
        again = SchedulerActor("i", "h", 1)
        again.handle(LOCAL, Connected(), AT + age)
        again.handle(BROKER, Welcome(1, 0, "s"), AT + age)
        again.flush(AT + age)
        again.handle(BROKER, notice(HOOK), AT + age)
        last: list[object] = []
        for _ in range(3):
            last = list(again.handle(LOCAL, Told(7, 0, "refused"), AT + age))
            due = again.notices.deadline()
            if due is not None:
                again.flush(due)
        assert (last == [done("http://x/...: refused")]) == over


def test_given_a_webhook_that_fails_when_many_wait_for_it_then_one_tries_and_all_go_once_it_works(
    actor: SchedulerActor,
) -> None:
    for id_ in (1, 2, 3):
        actor.handle(BROKER, notice(HOOK, id_=id_, pipeline=f"p{id_}"), AT)
    for id_ in (1, 2, 3):
        actor.handle(LOCAL, Told(id_, 0, "refused"), AT + 1)
    (probe,) = [e for e in actor.flush(AT + 60) if isinstance(e, Tell)]
    assert actor.notices.deadline() is None  # the others wait for what comes of it
    assert [e for e in actor.handle(BROKER, notice(HOOK, id_=4, pipeline="p4"), AT + 61) if isinstance(e, Tell)] == []
    assert [e for e in actor.handle(BROKER, notice(COMMAND, id_=5), AT + 61) if isinstance(e, Tell)] != []
    assert actor.handle(LOCAL, Told(probe.id, 0), AT + 62) == [done(id_=probe.id)]
    assert sorted(e.id for e in actor.flush(AT + 62) if isinstance(e, Tell)) == [2, 3, 4]


def test_given_a_failure_and_its_recovery_when_a_target_is_told_then_one_after_the_other(actor: SchedulerActor) -> None:
    (first,) = actor.handle(BROKER, notice(HOOK, id_=1), AT)
    assert actor.handle(BROKER, notice(HOOK, LOG, id_=2, kind="recovery"), AT)[0] == Log(
        "info", "p failed", {"kind": "recovery", "pipeline": "p", "schedule": "s", "run": "p.s@1", "occurrence": "1"}
    )  # a log does not wait
    others = actor.handle(BROKER, notice(HOOK, id_=3, pipeline="q"), AT)
    assert [e.id for e in [first, *others] if isinstance(e, Tell)] == [1, 3]
    assert actor.handle(LOCAL, Told(3, 0), AT) == [done(id_=3)]
    assert actor.handle(LOCAL, Told(1, 0, "refused"), AT + 1) == []
    assert actor.notices.deadline() == AT + 2
    assert [e.id for e in actor.flush(AT + 5) if isinstance(e, Tell)] == [1]  # not the recovery, though it is due
    assert actor.handle(LOCAL, Told(1, 0), AT + 6) == [done(id_=1)]
    assert [e.id for e in actor.flush(AT + 6) if isinstance(e, Tell)] == [2]
    assert actor.handle(LOCAL, Told(2, 0), AT + 7) == [done(id_=2)]


def test_given_a_notice_that_was_lost_on_the_way_when_the_next_one_comes_then_that_waits_for_it(
    actor: SchedulerActor,
) -> None:
    recovery = msgspec.structs.replace(notice(HOOK, id_=2, kind="recovery"), after=1)
    assert actor.handle(BROKER, recovery, AT) == []
    assert len(actor.handle(BROKER, notice(HOOK, id_=1), AT + 60)) == 1
    assert actor.handle(BROKER, recovery, AT + 60) == []
    assert actor.handle(LOCAL, Told(1, 0), AT + 61) == [done(id_=1)]
    assert [e.id for e in actor.flush(AT + 61) if isinstance(e, Tell)] == [2]


def test_given_a_target_that_fails_when_another_notice_waits_behind_then_the_broker_hears_why(
    actor: SchedulerActor,
) -> None:
    actor.handle(BROKER, notice(HOOK, id_=1), AT)
    actor.handle(BROKER, notice(HOOK, id_=2), AT)
    now = AT
    for _ in range(3):
        actor.handle(LOCAL, Told(1, 0, "refused"), now)
        now = actor.notices.deadline() or now
        actor.flush(now)
    actor.handle(LOCAL, Told(1, 0, "refused"), now)
    (said,) = actor.handle(BROKER, notice(HOOK, id_=2), now)
    assert isinstance(said, Send)
    assert isinstance(said.message, Noticed)
    assert (said.message.id, said.message.error, said.message.again > 0) == (2, "http://x/...: refused", True)


def test_given_a_target_that_fails_when_tried_again_then_it_is_after_growing_pauses(actor: SchedulerActor) -> None:
    actor.handle(BROKER, notice(COMMAND, LOG), 10.0)
    for failed_at, again_at in ((10.5, 11.5), (12.0, 17.0), (18.0, 48.0)):
        said = [e.message for e in actor.handle(LOCAL, Told(7, 0, "exit code 1"), failed_at) if isinstance(e, Send)]
        assert said == ([Noticed(1, 7, "alert.sh: exit code 1", 30.0)] if failed_at == 18.0 else [])
        assert actor.handle(LOCAL, Told(7, 0, "exit code 1"), failed_at + 0.3) == []  # said twice
        assert actor.notices.deadline() == again_at
        assert not [e for e in actor.flush(again_at - 0.1) if isinstance(e, Tell)]
        assert [e.target for e in actor.flush(again_at) if isinstance(e, Tell)] == [0]
    assert actor.handle(BROKER, notice(COMMAND, LOG), 50.0) == []  # being tried
    assert actor.handle(LOCAL, Told(7, 0), 51.0) == [done()]
    assert actor.notices.deadline() is None


def test_given_a_target_that_fails_once_when_it_works_then_there_is_no_error(actor: SchedulerActor) -> None:
    actor.handle(BROKER, notice(HOOK), 10.0)
    actor.handle(LOCAL, Told(7, 0, "answers 503"), 10.0)
    actor.flush(11.0)
    assert actor.handle(LOCAL, Told(7, 0), 11.5) == [done()]


def test_given_a_notice_that_is_done_when_repeated_then_it_is_answered_at_once_also_to_a_new_broker(
    actor: SchedulerActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FINISHED", 2)
    for id_ in (1, 2, 3):
        assert actor.handle(BROKER, notice(LOG, id_=id_), 1.0)[-1] == done(id_=id_)
    assert actor.handle(BROKER, notice(LOG, id_=3), 2.0) == [done(id_=3)]
    actor.handle(BROKER, Welcome(2, 0, "s"), 3.0)
    assert actor.handle(BROKER, notice(LOG, id_=3), 3.0) == []  # of the former broker
    assert actor.handle(BROKER, notice(LOG, id_=3, epoch=2), 3.0) == [done(id_=3, epoch=2)]
    assert len(actor.handle(BROKER, notice(LOG, id_=1, epoch=2), 3.0)) == 2  # long ago, forgotten


def test_given_too_many_notices_when_they_come_then_they_are_left_to_the_brokers_repeat(
    actor: SchedulerActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ACTIVE", 1)
    actor.handle(BROKER, notice(COMMAND, id_=1), 1.0)
    assert actor.handle(BROKER, notice(COMMAND, id_=2), 1.0) == []
    actor.handle(LOCAL, Told(1, 0), 2.0)
    assert len(actor.handle(BROKER, notice(COMMAND, id_=2), 2.0)) == 1


def test_given_no_target_or_an_unknown_one_when_it_comes_then_nothing_is_stuck(actor: SchedulerActor) -> None:
    assert actor.handle(BROKER, notice(), 1.0) == [done()]
    assert actor.handle(LOCAL, Told(99, 0), 1.0) == []
    actor.handle(BROKER, notice(COMMAND, id_=8), 1.0)
    assert actor.handle(LOCAL, Told(8, 5), 1.0) == []
    assert actor.handle("client-1", Told(8, 0), 1.0) == []


def test_given_a_webhook_that_cannot_be_told_then_its_address_is_not_told_to_anybody(actor: SchedulerActor) -> None:
    hook = AlertSpec(webhook="https://hooks.slack.com:8443/services/T0/s3cr3tcanary?key=s3cr3tcanary")
    actor.handle(BROKER, notice(hook), 1.0)
    said = []
    now = 1.0
    for _ in range(5):
        said += actor.handle(LOCAL, Told(7, 0, "answers 503"), now)
        now += 10_000.0
        actor.handle(LOCAL, Connected(), now)
        said += [one for one in actor.flush(now) if not isinstance(one, Tell)]
    errors = [one.message.error for one in said if isinstance(one, Send) and isinstance(one.message, Noticed)]
    assert errors
    assert set(errors) == {"https://hooks.slack.com:8443/...: answers 503"}
