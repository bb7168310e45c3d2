"""Alerts: who is told what, how often, and that it is told for sure."""

from __future__ import annotations

from typing import Any

import pytest

from odibi_actors.actor import Log
from odibi_actors.broker import alerts, held
from odibi_actors.broker import held as held_back
from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.config.model import AlertKind, AlertSpec, BatchSpec
from odibi_actors.messages import SCHEDULER, Hello, Notice, Noticed
from odibi_actors.units import plural
from tests.broker.harness import Failure, pipeline
from tests.broker.restart import snapshot
from tests.broker.scheduling import Timed, hourly, occurrence, scheduled

INVALID = Failure("invalid", "bad line 3")
LOG = AlertSpec(log=True, throttle=300.0)


def given(*alerts: AlertSpec, **more: object) -> Timed:
    return Timed(scheduled(hourly(**more), alerts=list(alerts) or [LOG])).start()


def asked(broker: Timed) -> list[Notice]:
    """What the scheduler is asked to tell, once it is durable."""
    broker.durable()
    return broker.take(Notice)


def told(broker: Timed) -> list[Notice]:
    """What the scheduler was asked to tell, and has."""
    notices = {notice.id: notice for notice in asked(broker)}
    for notice in notices.values():
        broker.say(SCHEDULER, Noticed(broker.epoch, notice.id))
    return list(notices.values())


def fails(broker: Timed, number: int) -> None:
    broker.due(occurrence(number))
    broker.discovered(f"f{number}")
    (task,) = broker.tasks()
    broker.fail(task, "read", INVALID)


def fixed(broker: Timed) -> None:
    stuck = broker.flow.pipelines["p"].stuck()
    assert stuck is not None
    broker.ask("iteration.retry", pipeline="p", iteration=stuck.number)
    broker.complete()


def test_given_a_failed_run_when_it_is_told_then_the_notice_says_what_and_where() -> None:
    broker = given()
    fails(broker, 1)
    (notice,) = asked(broker)
    assert (notice.kind, notice.pipeline, notice.schedule, notice.occurrence) == (
        "failure",
        "p",
        "hourly",
        occurrence(1).id,
    )
    assert "p/1: failed at read: bad line 3" in notice.text
    assert notice.targets == [LOG]
    broker.say(SCHEDULER, Noticed(broker.epoch, notice.id))
    assert [(a.id, a.error) for a in broker.of(rec.Alerted)] == [(notice.id, "")]


@pytest.mark.parametrize("on", [[], ["dead_letter"], ["failure"]])
@pytest.mark.parametrize("whole", [False, True])
def test_given_something_that_is_set_aside_then_it_is_told_before_that_is_written(
    on: list[AlertKind], whole: bool
) -> None:
    spec = pipeline(on_error="dead_letter", alerts=[AlertSpec(log=True, on=on)], batch=BatchSpec(max_files=2))
    broker = Timed(spec).start()
    broker.offer("f1.csv", "f2.csv")
    (task,) = broker.tasks()
    failure = Failure("invalid", "it does not fit") if whole else Failure("malformed", "bad line", position="f1.csv")
    broker.fail(task, "read", failure)
    (notice,) = told(broker)
    assert notice.kind == "dead_letter"
    assert notice.text == "p/1: dead letter at read: " + ("it does not fit" if whole else "f1.csv: bad line")
    kinds = [type(r) for r in broker.records]
    assert kinds.index(rec.Alert) < kinds.index(rec.DeadLetter if whole else rec.Revise)


def test_given_many_bad_files_when_they_are_set_aside_then_they_are_held_back_and_counted() -> None:
    broker = Timed(pipeline(on_error="dead_letter", alerts=[LOG], batch=BatchSpec(max_files=2))).start()
    for number in range(1, 4):
        broker.offer(f"f{number}.csv", f"g{number}.csv")
        (task,) = broker.tasks()
        broker.fail(task, "read", Failure("malformed", "bad line", position=f"f{number}.csv"))
        broker.durable()
        broker.complete()
    assert len(broker.of(rec.Revise)) == 3
    assert len(told(broker)) == 1
    broker.wait(301.0)
    (notice,) = [one for one in told(broker) if one.held_back]
    assert (notice.kind, notice.held_back) == ("dead_letter", 2)
    assert ": p/3: dead letter at read: f3.csv: bad line; " in notice.text
    assert "; the newest, at 19" in notice.text
    assert "2 more dead_letter alerts were held back (throttle) since 19" in notice.text
    assert notice.text.endswith(f"; {plural(broker.flow.pipelines['p'].dead_letters, 'dead letter')} open now")
    assert held_back.summary("p", "dead_letter", held_back.first(1.0, 2.0, "bad"), False, 0).endswith(
        "bad; no dead letter is open any more"
    )
    broker.wait(301.0)
    assert len(broker.of(rec.Alert)) == 2  # once


def letters(broker: Timed, *numbers: int) -> None:
    for number in numbers:
        broker.offer(f"f{number}.csv", f"g{number}.csv")
        (task,) = broker.tasks()
        broker.fail(task, "read", Failure("malformed", "bad line", position=f"f{number}.csv"))
        broker.durable()
        broker.complete()


def test_given_alerts_that_are_held_back_when_the_broker_is_restarted_then_the_next_one_tells_the_summary() -> None:
    spec = pipeline(on_error="dead_letter", alerts=[LOG], batch=BatchSpec(max_files=2))
    before = Timed(spec).start()
    letters(before, 1, 2, 3)
    (notice,) = asked(before)
    before.say(SCHEDULER, Noticed(before.epoch, notice.id))
    items, last_seq = snapshot(before)
    after = Timed(None, recover=True).start(items, epoch=2, last_seq=last_seq)
    assert told(after) == []
    after.wait(before.now + 301.0 - after.now)
    (notice,) = told(after)
    assert (notice.kind, notice.held_back, notice.targets) == ("dead_letter", 2, [LOG])
    after.durable()
    assert "p/3: dead letter" in notice.text
    again = Timed(None, recover=True).start(*_stored(before, after))
    again.wait(1000.0)
    assert told(again) == []


def test_given_a_target_that_was_told_when_the_broker_is_restarted_then_it_is_not_told_sooner_for_that() -> None:
    before = Timed(pipeline(on_error="dead_letter", alerts=[LOG], batch=BatchSpec(max_files=2))).start()
    letters(before, 1)
    (notice,) = asked(before)
    before.say(SCHEDULER, Noticed(before.epoch, notice.id))
    items, last_seq = snapshot(before)
    after = Timed(None, recover=True).start(items, epoch=2, last_seq=last_seq)
    after.now = before.now + 10.0
    letters(after, 2)
    assert told(after) == []
    after.wait(LOG.throttle)
    (notice,) = told(after)
    assert notice.held_back == 1


def test_given_alerts_that_are_told_with_one_then_it_says_how_many() -> None:
    broker = given(AlertSpec(log=True, throttle=5_000.0))
    fails(broker, 1)
    again_fails(broker)
    fixed(broker)
    _, recovery = told(broker)
    assert recovery.text.endswith(" (1 more alert before it held back by throttle)")


def test_given_a_clock_set_back_when_the_broker_is_restarted_then_the_summary_waits_for_throttle_at_most() -> None:
    before = Timed(pipeline(on_error="dead_letter", alerts=[LOG], batch=BatchSpec(max_files=2)))
    before.now += 100_000.0
    before.start()
    letters(before, 1, 2, 3)
    (notice,) = asked(before)
    before.say(SCHEDULER, Noticed(before.epoch, notice.id))
    items, last_seq = snapshot(before)
    after = Timed(None, recover=True)
    assert after.now < before.now - 50_000.0
    after.start(items, epoch=2, last_seq=last_seq)
    (kept,) = [one for one in after.of(rec.Setting) if one.scope == rec.ALERTS]
    assert held.loaded(kept)[1].due == pytest.approx(after.now + LOG.throttle, abs=1.0)
    after.wait(LOG.throttle - 10.0)
    assert told(after) == []
    after.wait(11.0)
    (notice,) = told(after)
    assert notice.held_back == 2


def _stored(*brokers: Timed) -> tuple[list[rec.AnyLoaded], int, int]:
    engine = Engine(":memory:")
    for number, broker in enumerate(brokers, 1):
        engine.claim(number - 1, f"b{number}")
        engine.apply(number, engine.last_seq + 1, broker.records)
    items, _ = engine.load()
    return items, len(brokers) + 1, engine.last_seq


def test_given_alerts_that_are_held_back_when_listed_then_they_are_there_with_the_time_they_are_told_at() -> None:
    broker = Timed(pipeline(on_error="dead_letter", alerts=[LOG], batch=BatchSpec(max_files=2))).start()
    letters(broker, 1, 2, 3)
    engine = Engine(":memory:")
    engine.claim(0, "b1")
    engine.apply(1, 1, broker.records)
    listed = engine.answer("alert.list", {"pipeline": "p"})
    (held,) = listed["held"]
    (alert,) = listed["items"]
    assert (held["kind"], held["count"], held["due"]) == ("dead_letter", 2, alert["at"] + 300.0)


def test_given_alerts_that_are_held_back_when_nobody_wants_them_any_more_then_they_are_forgotten() -> None:
    spec = pipeline(on_error="dead_letter", alerts=[LOG], batch=BatchSpec(max_files=2))
    before = Timed(spec).start()
    letters(before, 1, 2)
    items, last_seq = snapshot(before)
    other = pipeline(on_error="dead_letter", alerts=[], batch=BatchSpec(max_files=2))
    after = Timed(other).start(items, epoch=2, last_seq=last_seq)
    after.wait(1000.0)
    assert list(after.of(rec.Alert)) == []
    assert [one.value for one in after.of(rec.Setting) if one.scope == rec.ALERTS] == [""]


def test_given_a_target_that_cannot_be_told_yet_when_asked_then_status_says_so_until_it_is() -> None:
    broker = given()
    fails(broker, 1)
    (notice,) = asked(broker)
    broker.say(SCHEDULER, Noticed(broker.epoch, notice.id, "http://x: refused", again=300.0))
    for _ in range(2):  # the same again is not written again
        broker.say(SCHEDULER, Noticed(broker.epoch, notice.id, "http://x: refused", again=300.0))
    assert [(a.id, a.error, a.again) for a in broker.of(rec.Alerted)] == [(notice.id, "http://x: refused", True)]
    assert [(a["state"], a["error"]) for a in untold(broker)] == [("tried again", "http://x: refused")]
    broker.say(SCHEDULER, Noticed(broker.epoch, notice.id))
    assert untold(broker) == []
    last = list(broker.of(rec.Alerted))[-1]
    assert (last.id, last.error, last.again) == (notice.id, "", False)


def test_given_a_target_that_was_given_up_when_asked_then_status_says_so_for_a_day() -> None:
    broker = given()
    fails(broker, 1)
    (notice,) = asked(broker)
    broker.say(SCHEDULER, Noticed(broker.epoch, notice.id, "http://x: refused"))
    assert [a["state"] for a in untold(broker)] == ["given up"]
    broker.wait(25 * 3600.0)
    assert untold(broker) == []


def untold(broker: Timed) -> list[dict[str, Any]]:
    reply = broker.ask("status")
    assert reply is not None
    found: list[dict[str, Any]] = reply.result["alerts"]["untold"]
    return found


def test_given_a_recovery_when_the_next_run_is_done_then_it_is_told_once() -> None:
    broker = given()
    fails(broker, 1)
    kinds = [n.kind for n in told(broker)]
    fixed(broker)
    broker.due(occurrence(2))
    broker.discovered()
    assert kinds + [n.kind for n in told(broker)] == ["failure", "recovery"]


def test_given_runs_whose_folder_is_missing_then_that_is_told_once_and_that_it_is_there_again() -> None:
    broker = given(AlertSpec(log=True, throttle=86400.0))
    for number in (1, 2):
        broker.due(occurrence(number))
        broker.discovered(unread=["folder /in does not exist"])
    (notice,) = told(broker)
    assert (notice.kind, notice.schedule, notice.occurrence) == ("failure", "hourly", occurrence(1).id)
    assert "failed: not all was read: read: folder /in does not exist" in notice.text
    assert [record.state for record in broker.of(rec.RunEnd)] == ["failed", "failed"]
    broker.due(occurrence(3))
    broker.discovered("f3")
    broker.complete()
    assert [(one.kind, one.held_back) for one in told(broker)] == [("recovery", 1)]
    broker.due(occurrence(4))
    broker.discovered()
    assert told(broker) == []


def test_given_a_pipeline_that_follows_its_data_when_it_fails_and_recovers_then_both_are_told() -> None:
    broker = Timed(pipeline(alerts=[LOG])).start()
    broker.offer("f1")
    (task,) = broker.tasks()
    broker.fail(task, "read", INVALID)
    fixed(broker)
    assert [n.kind for n in asked(broker)] == ["failure", "recovery"]


def test_given_a_failure_that_nobody_was_told_yet_when_it_recovers_then_the_notice_names_what_comes_before() -> None:
    broker = given()
    fails(broker, 1)
    (failure,) = asked(broker)
    fixed(broker)
    (recovery,) = asked(broker)
    assert (failure.after, recovery.after) == (0, failure.id)
    broker.say(SCHEDULER, Noticed(broker.epoch, failure.id))
    broker.wait(61.0)
    assert [(one.id, one.after) for one in asked(broker)] == [(recovery.id, 0)]


def test_given_many_failures_when_they_come_fast_then_they_are_held_back_and_counted_in_the_next() -> None:
    broker = given(AlertSpec(log=True, throttle=10_000.0, on=["failure"]))
    for number in (1, 2, 3):
        fails(broker, number)
        assert len(told(broker)) == (number == 1)
        fixed(broker)
    fails(broker, 9)
    (notice,) = told(broker)
    assert notice.held_back == 2


def test_given_a_failure_that_is_held_back_when_it_is_over_then_the_recovery_tells_it_and_is_the_last_word() -> None:
    broker = given()
    fails(broker, 1)
    again_fails(broker)
    fixed(broker)
    failure, recovery = told(broker)
    assert (failure.kind, recovery.kind, recovery.held_back) == ("failure", "recovery", 1)
    assert recovery.text.startswith("p: has recovered, and goes on; what had failed: p/1: failed at read: bad line 3")
    broker.wait(1000.0)
    assert told(broker) == []
    assert broker.flow.alerts.throttle.changes() == []


def test_given_a_failure_and_its_recovery_that_are_held_back_then_one_summary_says_that_all_is_well() -> None:
    broker = given(AlertSpec(log=True, throttle=10_000.0))
    for number in (1, 2, 3):
        fails(broker, number)
        fixed(broker)
    assert [one.kind for one in told(broker)] == ["failure", "recovery"]
    broker.wait(10_000.0)
    (summary,) = told(broker)
    assert (summary.kind, summary.held_back) == ("recovery", 4)
    assert "p: 4 more alerts were held back (throttle) since" in summary.text
    assert ": p: has recovered, and goes on; what had failed: p/3: failed at read: bad" in summary.text


def test_given_a_recovery_that_is_held_back_when_it_fails_again_then_the_summary_is_of_a_failure() -> None:
    broker = given(AlertSpec(log=True, throttle=10_000.0))
    for number in (1, 2):
        fails(broker, number)
        fixed(broker)
    fails(broker, 3)
    assert [one.kind for one in told(broker)] == ["failure", "recovery"]
    broker.wait(10_000.0)
    (summary,) = told(broker)
    assert (summary.kind, summary.held_back) == ("failure", 3)
    assert summary.text.endswith(": p/3: failed at read: bad line 3")
    broker.pool_joins("w2")
    fixed(broker)  # it was the last word: the recovery does not wait
    assert [(one.kind, one.held_back) for one in told(broker)] == [("recovery", 0)]


def test_given_a_target_that_was_told_of_a_failure_when_it_recovers_then_that_is_not_held_back() -> None:
    broker = given(AlertSpec(log=True, throttle=5_000.0))
    fails(broker, 1)
    broker.now += 4_000.0
    fixed(broker)
    fails(broker, 3)
    fixed(broker)  # less than the throttle after the former recovery
    assert [one.kind for one in told(broker)] == ["failure", "recovery", "failure", "recovery"]


def test_given_what_is_held_back_when_a_run_ends_then_that_of_its_own_pipeline_is_told_at_once() -> None:
    broker = Timed(pipeline(on_error="dead_letter", alerts=[LOG], batch=BatchSpec(max_files=2))).start()
    letters(broker, 1, 2, 3)
    told(broker)
    alerts.summarise(broker.flow, broker.now, at_once="q")
    broker.wait(0.0)
    assert told(broker) == []
    alerts.summarise(broker.flow, broker.now, at_once="p")
    broker.wait(0.0)
    assert [one.kind for one in told(broker)] == ["dead_letter"]


def test_given_a_target_that_wants_failures_alone_when_a_late_one_is_told_then_it_says_that_all_is_well_since() -> None:
    broker = given(AlertSpec(log=True, throttle=10_000.0, on=["failure"]))
    for number in (1, 2):
        fails(broker, number)
        fixed(broker)
    told(broker)
    broker.wait(10_000.0)
    (summary,) = told(broker)
    assert (summary.kind, summary.held_back) == ("failure", 1)
    assert summary.text.endswith("p/2: failed at read: bad line 3; it has recovered since")


def test_given_a_restart_while_what_failed_is_retried_then_the_recovery_is_told() -> None:
    before = Timed(pipeline(alerts=[LOG])).start()
    before.offer("f1")
    (task,) = before.tasks()
    before.fail(task, "read", INVALID)
    assert [one.kind for one in told(before)] == ["failure"]
    before.ask("iteration.retry", pipeline="p", iteration=1)
    items, last_seq = snapshot(before)
    after = Timed(None, recover=True).start(items, epoch=2, last_seq=last_seq)
    after.complete()
    assert [one.kind for one in told(after)] == ["recovery"]


def again_fails(broker: Timed) -> None:
    """What has failed is retried too early."""
    stuck = broker.flow.pipelines["p"].stuck()
    assert stuck is not None
    broker.ask("iteration.retry", pipeline="p", iteration=stuck.number)
    (task,) = broker.tasks()
    broker.fail(task, "read", INVALID)


def test_given_an_alert_when_it_is_not_durable_yet_then_nobody_is_told_and_the_broker_sleeps() -> None:
    """Whoever is told of one that is lost with the broker takes the next of that number for it."""
    broker = given()
    fails(broker, 1)
    assert broker.take(Notice) == []
    assert broker.flow.alerts.deadline() is None
    assert [one.kind for one in asked(broker)] == ["failure"]


def test_given_targets_of_other_kinds_when_something_fails_then_they_are_not_told() -> None:
    broker = given(AlertSpec(log=True, on=["lateness"]), AlertSpec(webhook="http://x", on=["failure"]))
    fails(broker, 1)
    (notice,) = asked(broker)
    assert [one.webhook for one in notice.targets] == ["http://x"]


def test_given_targets_with_other_throttles_when_one_is_told_then_each_counts_what_it_was_not_told_of() -> None:
    often, seldom = AlertSpec(log=True, on=["failure"], throttle=1.0), AlertSpec(webhook="http://x", throttle=10_000.0)
    broker = given(often, seldom)
    held = []
    for number in (1, 2, 3, 4):  # hours
        fails(broker, number)
        held += [(len(one.targets), one.held_back) for one in told(broker) if one.kind == "failure"]
        fixed(broker)
        told(broker)
    assert held == [(2, 0), (1, 0), (1, 0), (2, 0)]  # what is over was told with the recovery


def test_given_a_notice_when_it_is_told_then_it_names_the_project() -> None:
    broker = given()
    fails(broker, 1)
    assert [one.project for one in told(broker)] == [broker.flow.project["name"]] != [""]


def test_given_a_target_that_fails_when_the_scheduler_gives_up_then_the_log_says_so() -> None:
    broker = given()
    fails(broker, 1)
    (notice,) = asked(broker)
    broker.effects.clear()
    broker.say(SCHEDULER, Noticed(broker.epoch, notice.id, "http://x: refused"))
    (line,) = [effect for effect in broker.effects if isinstance(effect, Log)]
    assert line.text == "p: the failure alert could not be delivered: http://x: refused"


def test_given_a_deadline_when_its_run_failed_at_once_and_is_not_taken_up_by_then_then_it_is_late() -> None:
    broker = given(deadline=600.0)
    fails(broker, 1)
    told(broker)
    broker.wait(601.0)
    (notice,) = told(broker)
    assert notice.kind == "lateness"
    assert notice.text.endswith("has failed, and was not taken up again")
    fixed(broker)
    broker.wait(601.0)
    assert "lateness" not in [one.kind for one in told(broker)]


def test_given_a_deadline_when_the_run_is_not_finished_by_then_then_it_is_late_and_told_once() -> None:
    broker = given(deadline=600.0, overlap="buffer_one")
    broker.due(occurrence(1))
    broker.wait(599.0)
    assert told(broker) == []
    broker.wait(2.0)
    (notice,) = told(broker)
    assert "occurrence 1970-01-01T01:00:00 of schedule hourly is late: run" in notice.text
    broker.due(occurrence(2))  # waits behind the first
    broker.wait(601.0)
    (notice,) = told(broker)
    assert "occurrence 1970-01-01T02:00:00 of schedule hourly is late: it still waits" in notice.text
    broker.wait(3000.0)
    assert told(broker) == []


def test_given_a_run_that_ends_in_time_when_its_deadline_comes_then_nobody_is_told() -> None:
    broker = given(deadline=600.0)
    broker.due(occurrence(1))
    broker.discovered()
    broker.wait(700.0)
    assert asked(broker) == []


def test_given_no_answer_when_time_passes_or_another_scheduler_joins_then_it_is_told_again() -> None:
    broker = given()
    fails(broker, 1)
    assert len(asked(broker)) == 1
    broker.wait(61.0)
    assert len(asked(broker)) == 1
    broker.say(SCHEDULER, Hello("scheduler", "c2", "host", 5))
    assert len(asked(broker)) == 1


def test_given_a_crash_before_the_alert_was_delivered_when_the_broker_is_back_then_it_is_told() -> None:
    broker = given()
    fails(broker, 1)
    items, last = snapshot(broker)
    again = Timed(recover=True).start(items, epoch=2, last_seq=last)
    (notice,) = told(again)
    assert (notice.kind, notice.targets) == ("failure", [LOG])
    fixed(again)
    assert [n.kind for n in told(again)] == ["recovery"]
    assert [a.kind for a in again.of(rec.Alert)] == ["recovery"]  # the failure is not told again


def test_given_a_crash_around_the_failure_when_the_broker_is_back_then_it_was_told_or_is_told() -> None:
    broker = given()
    fails(broker, 1)
    whole = list(broker.records)
    alert = next(i for i, r in enumerate(whole) if isinstance(r, rec.Alert))
    fail = next(i for i, r in enumerate(whole) if isinstance(r, rec.Fail))
    assert alert < fail  # a crash in between tells twice, not never
