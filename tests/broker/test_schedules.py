"""What the broker makes of due times: each noted once, run or skipped by its policy, whatever is repeated or lost."""

from __future__ import annotations

import pytest

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import ScheduleSpec
from odibi_actors.messages import SCHEDULER, Discover, Due, Dues, Hello, Noted, Reply, Request, Schedules
from odibi_actors.model import Place
from tests.broker.harness import CLIENT, Failure
from tests.broker.scheduling import HOUR, Timed, hourly, occurrence, scheduled

INVALID = Failure("invalid", "bad line")


def given(**more: object) -> Timed:
    return Timed(scheduled(hourly(**more))).start()


def test_given_a_schedule_when_the_scheduler_joins_then_it_is_told_of_it_from_now_on() -> None:
    broker = given()
    entry = broker.entries()["hourly"]
    assert (entry.pipeline, entry.place, entry.off) == ("p", Place(1000), False)


def test_given_an_occurrence_when_it_is_due_then_it_is_noted_and_its_run_looks_for_data() -> None:
    broker = given()
    assert broker.due(occurrence(1)) == [occurrence(1).place]
    (noted,), (run,) = broker.of(rec.Occurrence), broker.of(rec.Run)
    assert (noted.id, noted.due, noted.place) == ("1970-01-01T01:00:00", HOUR, occurrence(1).place)
    assert run.run == "p.hourly@1970-01-01T01:00:00"
    assert (run.trigger.schedule, run.trigger.occurrence, run.trigger.due) == ("hourly", noted.id, HOUR)
    assert [d.run for d in broker.take(Discover)] == [run.run]


def test_given_a_run_when_there_is_data_then_its_iterations_carry_the_occurrence() -> None:
    broker = given(params={"limit": 3})
    broker.due(occurrence(1))
    broker.discovered("f1")
    (plan,) = broker.of(rec.Plan)
    assert (plan.run, plan.trigger.occurrence) == ("p.hourly@1970-01-01T01:00:00", "1970-01-01T01:00:00")
    assert plan.trigger.params == {"limit": 3}
    (task,) = broker.tasks()
    assert task.trigger == plan.trigger
    broker.finish(task)
    broker.complete()
    assert broker.runs() == [(plan.run, "done")]


def test_given_nothing_to_do_when_it_is_due_then_the_run_ends_as_no_data() -> None:
    broker = given()
    broker.due(occurrence(1))
    broker.discovered()
    assert broker.runs() == [("p.hourly@1970-01-01T01:00:00", "no_data")]


def test_given_the_same_word_twice_when_it_comes_then_the_occurrence_is_noted_once() -> None:
    broker = given()
    start = Place(1000)
    for _ in range(3):
        assert broker.due(occurrence(1), after=start) == [occurrence(1).place]
    assert len(broker.of(rec.Occurrence)) == len(broker.of(rec.Run)) == 1


def test_given_a_word_that_misses_one_when_it_comes_then_nothing_is_taken_and_the_place_is_told() -> None:
    broker = given()
    assert broker.due(occurrence(3), after=occurrence(2).place) == [Place(1000)]
    assert broker.of(rec.Occurrence) == []


def test_given_another_epoch_or_a_stranger_when_it_says_due_then_nothing_happens() -> None:
    broker = given()
    dues = [Dues("p", "hourly", Place(1000), [occurrence(1)])]
    broker.say(SCHEDULER, Due(7, 4000.0, dues))
    broker.say("pool-0", Due(1, 4000.0, dues))
    broker.say(SCHEDULER, Due(1, 4000.0, [Dues("p", "nobody", Place(1000), [occurrence(1)])]))
    assert broker.take(Noted) == []
    assert broker.of(rec.Occurrence) == []


def test_given_what_the_scheduler_skips_when_it_tells_then_it_is_counted_by_reason() -> None:
    broker = given()
    first = occurrence(1).id
    assert broker.due(occurrence(3, "superseded by a later one", 3, first), occurrence(4)) == [occurrence(4).place]
    (skip,) = broker.of(rec.Skip)
    assert (skip.first, skip.last, skip.count, skip.place) == (first, occurrence(3).id, 3, occurrence(3).place)
    row = broker.ask("schedule.show", pipeline="p", schedule="hourly")
    assert row is not None
    assert (row.result["skipped"], row.result["reasons"]) == (3, {"superseded by a later one": 3})
    assert (row.result["started"], row.result["last"]) == (1, occurrence(4).id)


# --- overlap --------------------------------------------------------------------------------------------------------


def test_given_skip_when_a_run_is_in_progress_then_the_next_does_not_run_and_says_why() -> None:
    broker = given(overlap="skip")
    broker.due(occurrence(1))
    broker.due(occurrence(2))
    assert broker.skips() == [("02:00", 1, "overlap: run p.hourly@1970-01-01T01:00:00 in progress")]
    broker.discovered()
    broker.due(occurrence(3))
    assert [run for run, _ in broker.runs()] == [f"p.hourly@{occurrence(n).id}" for n in (1, 3)]


def test_given_buffer_one_when_a_run_is_in_progress_then_one_waits_and_starts_after_it() -> None:
    broker = given(overlap="buffer_one")
    for number in (1, 2, 3):
        broker.due(occurrence(number))
    assert broker.skips() == [("03:00", 1, "overlap: one waits already")]
    assert len(broker.of(rec.Run)) == 1
    broker.discovered()
    assert broker.runs() == [(f"p.hourly@{occurrence(1).id}", "no_data"), (f"p.hourly@{occurrence(2).id}", "active")]


def test_given_buffer_all_when_a_run_is_in_progress_then_all_run_one_after_the_other() -> None:
    broker = given(overlap="buffer_all")
    for number in (1, 2, 3):
        broker.due(occurrence(number))
    for _ in range(3):
        broker.discovered()
    assert broker.skips() == []
    assert [state for _, state in broker.runs()] == ["no_data"] * 3


def test_given_allow_when_a_run_is_in_progress_then_the_next_plans_once_the_former_has_and_both_are_active() -> None:
    broker = given(overlap="allow")
    broker.due(occurrence(1))
    broker.due(occurrence(2))
    assert [state for _, state in broker.runs()] == ["active", "active"]
    broker.discovered("f1")
    broker.discovered("f2")
    assert [(p.iteration, p.run[-8:-3]) for p in broker.of(rec.Plan)] == [(1, "01:00"), (2, "02:00")]
    broker.complete()
    assert [state for _, state in broker.runs()] == ["done", "done"]


def test_given_cancel_when_a_run_is_in_progress_then_it_is_cancelled_and_the_next_reads_its_files() -> None:
    broker = given(overlap="cancel")
    broker.due(occurrence(1))
    broker.discovered("f1")
    broker.due(occurrence(2))
    assert [c.iterations for c in broker.of(rec.Cancel)] == [[1]]
    broker.discovered("f1")
    broker.complete()
    assert [state for _, state in broker.runs()] == ["cancelled", "done"]
    assert [(p.iteration, p.run[-8:-3]) for p in broker.of(rec.Plan)] == [(1, "01:00"), (2, "02:00")]


def test_given_cancel_when_the_run_is_prepared_then_that_much_rolls_forward_and_the_next_runs_behind_it() -> None:
    broker = given(overlap="cancel")
    broker.due(occurrence(1))
    broker.discovered("f1")
    broker.compute()
    broker.durable()
    assert [p.iteration for p in broker.of(rec.Prepare)] == [1]
    broker.due(occurrence(2))
    assert broker.of(rec.Cancel) == []
    broker.discovered("f2")
    broker.complete()
    assert [c.iteration for c in broker.of(rec.Commit)] == [1, 2]
    assert [state for _, state in broker.runs()] == ["cancelled", "done"]


@pytest.mark.parametrize(("verb", "word"), [("pipeline.pause", "paused"), ("pipeline.drain", "draining")])
def test_given_a_pipeline_that_takes_no_work_when_it_is_due_then_it_is_skipped_for_that(verb: str, word: str) -> None:
    broker = given()
    broker.ask(verb, pipeline="p", wait=False)
    broker.due(occurrence(1))
    assert broker.skips() == [("01:00", 1, f"pipeline {word}")]


def test_given_a_failed_iteration_when_it_is_due_then_skip_says_what_holds_the_lane() -> None:
    broker = given()
    broker.due(occurrence(1))
    broker.discovered("f1")
    (task,) = broker.tasks()
    broker.fail(task, "read", INVALID)
    broker.due(occurrence(2))
    assert broker.skips() == [("02:00", 1, "overlap: iteration 1 is failed and holds its lane")]


def test_given_a_failed_iteration_when_an_occurrence_waits_then_it_starts_once_that_is_retried_and_done() -> None:
    broker = given(overlap="buffer_one")
    broker.due(occurrence(1))
    broker.discovered("f1")
    (task,) = broker.tasks()
    broker.fail(task, "read", INVALID)
    broker.due(occurrence(2))
    assert broker.runs() == [(f"p.hourly@{occurrence(1).id}", "failed")]
    broker.ask("iteration.retry", pipeline="p", iteration=1)
    broker.complete()
    assert [run for run, _ in broker.runs()] == [f"p.hourly@{occurrence(n).id}" for n in (1, 2)]
    assert [(e.run[-8:-3], e.state) for e in broker.of(rec.RunEnd)] == [("01:00", "failed"), ("01:00", "done")]


# --- the list of schedules ------------------------------------------------------------------------------------------


def test_given_lost_entries_when_the_scheduler_beats_with_an_older_version_then_they_are_sent_again() -> None:
    broker = given()
    assert list(broker.entries()) == ["hourly"]
    broker.beat(0)
    assert broker.take(Schedules) == []  # it may be on its way
    broker.now += 3
    broker.beat(0)
    (again,) = broker.take(Schedules)
    assert (again.since, again.version) == (0, 1)
    broker.now += 3
    broker.beat(1)
    assert broker.take(Schedules) == []


def test_given_a_new_scheduler_when_it_joins_then_it_is_told_everything() -> None:
    broker = given()
    broker.take(Schedules)
    broker.say(SCHEDULER, Hello("scheduler", "c2", "host", 5))
    assert list(broker.entries()) == ["hourly"]


def test_given_pause_and_resume_when_asked_then_what_came_due_meanwhile_is_below_the_floor() -> None:
    broker = given()
    broker.entries()
    broker.ask("schedule.pause", pipeline="p", schedule="hourly")
    assert broker.entries()["hourly"].off
    assert broker.due(occurrence(1)) == [Place(1000)]  # told before it heard of the pause: not taken
    broker.now = 2 * HOUR + 5
    broker.ask("schedule.resume", pipeline="p", schedule="hourly")
    entry = broker.entries()["hourly"]
    assert (entry.off, entry.floor, entry.place) == (False, 2 * HOUR + 5, Place(1000))


def test_given_the_wall_clock_ahead_of_the_brokers_when_a_schedule_is_added_then_it_begins_by_the_wall_clock() -> None:
    broker = given()
    broker.beat(1, wall=5000.0)
    spec = {"name": "extra", "every": 60.0}
    reply = broker.ask("schedule.add", pipeline="p", spec=spec)
    assert reply is not None
    assert reply.status == 0
    assert broker.entries()["extra"].place == Place(5000)


def test_given_a_schedule_added_by_hand_when_asked_again_or_clashing_then_it_is_the_same_or_a_conflict() -> None:
    broker = given()
    spec = {"name": "extra", "cron": "5 * * * *"}
    for _ in range(2):
        reply = broker.ask("schedule.add", pipeline="p", spec=spec)
        assert reply is not None
        assert (reply.status, reply.result["origin"]) == (0, "cli")
    for clash in ({"name": "extra", "cron": "6 * * * *"}, {"name": "hourly", "cron": "0 * * * *"}):
        reply = broker.ask("schedule.add", pipeline="p", spec=clash)
        assert reply is not None
        assert reply.status == 4
    for name, status in (("extra", 0), ("hourly", 4)):
        changed = broker.ask("schedule.add", pipeline="p", spec={"name": name, "cron": "7 * * * *"}, replace=True)
        assert changed is not None
        assert changed.status == status
    assert broker.flow.schedules.find("p", "extra").generation == 1
    bad = broker.ask("schedule.add", pipeline="p", spec={"name": "bad", "cron": "0 0 31 2 *"})
    assert bad is not None
    assert bad.status == 2
    assert len(broker.of(rec.Schedule)) == 3


def test_given_a_schedule_of_the_file_when_removed_by_hand_then_it_is_a_conflict_that_says_how() -> None:
    reply = given().ask("schedule.remove", pipeline="p", schedule="hourly")
    assert reply is not None
    assert reply.status == 4
    assert "odibi.yaml" in reply.error


def test_given_a_removed_schedule_when_it_is_added_again_then_it_begins_where_it_was_or_later_never_before() -> None:
    broker = given()
    spec = {"name": "extra", "cron": "0 * * * *", "overlap": "buffer_all"}
    broker.ask("schedule.add", pipeline="p", spec=spec)
    broker.due(occurrence(5), schedule="extra")
    broker.due(occurrence(6), schedule="extra")
    broker.ask("schedule.remove", pipeline="p", schedule="extra")
    assert broker.skips() == [("06:00", 1, "schedule removed")]
    assert broker.entries()["extra"].off
    broker.say(SCHEDULER, Due(1, 1000.0, []))  # the clock was set back meanwhile
    broker.ask("schedule.add", pipeline="p", spec=spec)
    assert broker.entries()["extra"].place >= occurrence(6).place
    broker.due(occurrence(7), schedule="extra")
    assert broker.of(rec.Occurrence)[-1].id == f"{occurrence(7).id}~1"


def test_given_a_changed_timing_when_applied_then_it_begins_again_and_without_one_it_goes_on() -> None:
    broker = given()
    broker.due(occurrence(1))
    broker.now = 3 * HOUR
    broker.apply(scheduled(hourly(overlap="buffer_one")))
    assert broker.flow.schedules.find("p", "hourly").place == occurrence(1).place
    broker.apply(scheduled(ScheduleSpec("hourly", cron="30 * * * *")))
    changed = broker.flow.schedules.find("p", "hourly")
    assert (changed.place, changed.generation) == (Place(3 * HOUR), 1)
    broker.apply(scheduled(ScheduleSpec("other", cron="30 * * * *")))
    assert [one.name for one in broker.flow.schedules.of("p")] == ["other"]


def test_given_a_zone_whose_rules_changed_when_a_wall_time_comes_again_then_it_is_skipped_by_its_identity() -> None:
    broker = given(overlap="buffer_all")
    broker.due(occurrence(1))
    broker.due(occurrence(2))
    again = occurrence(2)
    later = type(again)(again.id, again.due + 1800, Place(int(again.due) + 1800, again.id))
    broker.due(later)
    assert broker.skips() == [("02:00", 1, "noted before: the rules of its zone have changed")]
    second = type(again)(f"{again.id}#1", again.due + HOUR, Place(int(again.due) + HOUR, again.id))
    broker.due(second)  # shown a second time by the clock: another one
    third = type(again)(second.id, second.due + 60, Place(int(second.due) + 60, again.id))
    broker.due(third)
    assert len(broker.skips()) == 2
    assert [one.id for one in broker.of(rec.Occurrence)] == [occurrence(1).id, occurrence(2).id, f"{again.id}#1"]


def test_given_a_clock_that_was_set_back_when_looked_at_then_the_schedule_says_so() -> None:
    broker = given()
    broker.due(occurrence(5))
    broker.beat(1, wall=2.0 * HOUR)
    row = broker.ask("schedule.show", pipeline="p", schedule="hourly")
    assert row is not None
    assert "the clock was set back: it has run up to 1970-01-01T05:00:00, 3 hours ahead" in row.result["problem"]


def test_given_a_schedule_that_was_added_when_that_is_not_durable_then_nobody_is_told_yet() -> None:
    broker = given()
    broker.durable()
    broker.say(CLIENT, Hello("client", "c1", "host", 9))
    broker.say(CLIENT, Request("7", "schedule.add", {"pipeline": "p", "spec": {"name": "extra", "every": 60.0}}))
    broker.say(CLIENT, Request("8", "schedule.list", {}))
    assert [reply.id for reply in broker.take(Reply)] == ["8"]
    broker.durable()
    assert [reply.id for reply in broker.take(Reply)] == ["7"]
