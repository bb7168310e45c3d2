"""What was found in the scheduler by hand and by random lives: each failed once."""

from __future__ import annotations

import random
from typing import Any

from msgspec.structs import replace

from odibi_actors.broker.coordinator import Coordinator
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import AlertSpec, PipelineSpec, ProjectSpec, ScheduleSpec
from odibi_actors.messages import SCHEDULER, SOURCE, Apply, Hello, Offer, Schedules, Task, Tasks
from odibi_actors.model import Failure, Place
from odibi_actors.runtime import wire
from tests.broker.harness import CLIENT, pipeline, position
from tests.broker.restart import snapshot
from tests.broker.scheduling import HOUR, Timed, hourly, occurrence, scheduled
from tests.broker.test_backfills import Backfilled, batch_only, given

CONFLICT = Failure("conflict", "somebody else's")
MALFORMED = Failure("malformed", "bad")


def of(*specs: PipelineSpec) -> ProjectSpec:
    return ProjectSpec("t", "/", "/data", 1, list(specs), code_digest="code")


def again(before: Timed, kind: type[Timed] = Timed) -> Any:
    items, last = snapshot(before)
    broker = kind(recover=True)
    broker.now = before.now
    broker.start(items, epoch=2, last_seq=last)
    return broker


# --- records that the store refuses -------------------------------------------------------------------------------


def test_given_the_id_of_a_run_of_another_pipeline_when_triggered_then_the_store_takes_it() -> None:
    broker = Timed(pipeline(trigger="manual")).start()
    q = replace(pipeline(trigger="manual"), name="q")
    broker.say(CLIENT, Apply("2", of(pipeline(trigger="manual"), q)))
    for name in ("p", "q"):
        broker.ask("pipeline.trigger", pipeline=name, run="nightly")
    snapshot(broker)


def test_given_the_id_of_a_run_long_ago_when_triggered_then_the_store_takes_it() -> None:
    broker = Timed(pipeline(trigger="manual")).start()
    for number in [*range(102), 0]:
        broker.ask("pipeline.trigger", pipeline="p", run=f"r{number}")
        if broker.flow.pipelines["p"].run is not None:
            broker.discovered()
    snapshot(broker)


def test_given_the_id_of_an_open_backfill_when_triggered_then_the_store_takes_it() -> None:
    broker = given(pipeline(trigger="manual"))
    broker.ask("pipeline.trigger", pipeline="p", run="m")
    broker.discovered("f0")
    broker.complete()
    broker.backfill(files={"": "*"}, run="b")
    broker.ask("pipeline.trigger", pipeline="p", run="b")
    snapshot(broker)


def test_given_a_run_named_as_an_occurrence_when_that_comes_due_then_the_store_takes_it() -> None:
    broker = Timed(scheduled(hourly())).start()
    refused = broker.ask("pipeline.trigger", pipeline="p", run=f"p.hourly@{occurrence(1).id}")
    assert refused is not None
    assert refused.status == 2
    broker.due(occurrence(1))
    snapshot(broker)


# --- stuck --------------------------------------------------------------------------------------------------------


def test_given_a_number_of_iterations_when_all_sources_are_read_whole_then_the_run_ends() -> None:
    spec = batch_only()
    broker = Timed(spec).start()
    broker.ask("pipeline.trigger", pipeline="p", run="m", iterations=3)
    broker.discovered("whole")
    broker.complete()
    broker.wait(6.0)
    assert broker.runs() == [("m", "done")]


def test_given_an_occurrence_that_waits_when_another_zone_shows_its_wall_time_again_then_it_still_has_its_turn() -> (
    None
):
    broker = Timed(scheduled(hourly(overlap="buffer_all", timezone="Asia/Tokyo"))).start()
    broker.due(occurrence(1), occurrence(2))
    spec = scheduled(hourly(overlap="buffer_all", timezone="America/New_York"))
    broker.say(CLIENT, Apply("2", of(spec)))
    broker.ask("pipeline.pause", pipeline="p")
    two = occurrence(2)
    broker.due(type(two)(two.id, 16 * HOUR, Place(16 * HOUR, two.place.wall)))
    broker.ask("pipeline.resume", pipeline="p")
    broker.discovered()
    broker.complete()
    assert [run for run, _ in broker.runs()] == [f"p.hourly@{occurrence(n).id}" for n in (1, 2)]


def test_given_many_live_runs_since_a_backfill_failed_when_it_is_retried_then_it_goes_on() -> None:
    broker = Backfilled(pipeline(trigger="manual")).start()
    broker.ask("pipeline.trigger", pipeline="p", run="m")
    broker.discovered("f0")
    broker.complete()
    broker.backfill(files={"": "*"}, run="b")
    lane = broker.lane
    broker.offers(lane, "b1", "b2")
    (task,) = broker.tasks()
    broker.fail(task, "read", MALFORMED)
    for number in range(101):
        broker.ask("pipeline.trigger", pipeline="p", run=f"r{number}")
        broker.discovered()
    broker.ask("iteration.retry", pipeline="p", iteration=task.iteration)
    broker.complete()
    if broker.flow.pipelines["p"].lane(lane) is not None:
        broker.offers(lane, "b2")
        broker.complete()
    assert broker.of(rec.BackfillEnd)[-1].state == "done"
    loaded, _ = snapshot(broker)
    assert [one for one in loaded if isinstance(one, rec.LoadedRun) and one.state == "active"] == []


# --- lost ---------------------------------------------------------------------------------------------------------


def test_given_a_backfill_of_which_some_was_cancelled_and_failed_when_retried_later_then_none_is_lost() -> None:
    broker = Backfilled(batch_only()).start()
    broker.now = 6.0 * HOUR
    reply = broker.backfill(schedule="hourly", **{"from": 0.0, "to": 6.0 * HOUR}, concurrency=2)
    lane = reply.result["lane"]
    broker.offers(lane, "whole")
    first = broker.of(rec.Plan)[0].iteration
    broker.ask("iteration.cancel", pipeline="p", iteration=first)
    broker.take(Tasks)
    broker.offers(lane, "whole")
    (task, *_) = broker.tasks()
    broker.fail(task, "read", MALFORMED)
    next_ = again(broker, Backfilled)
    next_.ask("iteration.retry", pipeline="p", iteration=task.iteration)
    for _ in range(8):
        if next_.flow.pipelines["p"].lane(lane) is not None:
            next_.offers(lane, "whole")
        next_.complete()
    records = [*broker.records, *next_.records]
    done = {r.iteration for r in records if isinstance(r, rec.Commit)}
    ran = [r.trigger.occurrence for r in records if isinstance(r, rec.Plan) and r.iteration in done]
    assert [b.state for b in next_.of(rec.BackfillEnd)] == ["done"]
    assert ran == [f"h{n}" for n in range(6)]


def blocked_backfill() -> tuple[Backfilled, str, int]:
    broker = given()
    broker.backfill(files={"": "f*"})
    lane = broker.lane
    broker.offers(lane, "b1", "b2")
    broker.compute()
    broker.durable()
    first, second = broker.publications()
    broker.fail(first, first.node.name, CONFLICT)
    broker.published(second)
    return broker, lane, first.iteration


def test_given_a_blocked_backfill_that_was_cancelled_when_its_sink_is_retried_then_it_does_not_begin_again() -> None:
    broker, lane, number = blocked_backfill()
    broker.ask("backfill.cancel", pipeline="p", lane=lane)
    broker.ask("iteration.retry", pipeline="p", iteration=number)
    if broker.flow.pipelines["p"].lane(lane) is not None:
        broker.offers(lane, "b2")
    broker.complete()
    assert [p.iteration for p in broker.of(rec.Plan) if p.lane == lane] == [number]
    assert [b.state for b in broker.of(rec.BackfillEnd)] == ["cancelled"]


def test_given_a_blocked_backfill_when_the_sink_is_abandoned_then_the_rest_is_still_planned() -> None:
    broker, lane, number = blocked_backfill()
    broker.ask("iteration.abandon", pipeline="p", iteration=number, sink="a")
    broker.complete()
    if broker.flow.pipelines["p"].lane(lane) is not None:
        broker.offers(lane, "b2")
    broker.complete()
    assert [b.state for b in broker.of(rec.BackfillEnd)] == ["done"]


def test_given_a_failed_backfill_when_its_iteration_is_cancelled_then_what_was_not_planned_is_not_dropped() -> None:
    broker = given()
    broker.backfill(files={"": "f*"})
    lane = broker.lane
    broker.offers(lane, "b1", "b2", left=5)
    (task,) = broker.tasks()
    broker.fail(task, "read", MALFORMED)
    broker.ask("iteration.cancel", pipeline="p", iteration=task.iteration)
    assert broker.of(rec.BackfillEnd) == []


def test_given_schedules_with_large_parameters_when_the_scheduler_comes_then_it_is_told_of_them() -> None:
    specs = [ScheduleSpec(f"s{n}", every=60.0, params={"text": "x" * 60_000}) for n in range(300)]
    broker = Timed(scheduled(hourly())).start()
    for spec in specs:
        import msgspec

        reply = broker.ask("schedule.add", pipeline="p", spec=msgspec.to_builtins(spec))
        assert reply is not None
        assert reply.status == 0
    broker.take(Schedules)
    broker.say(SCHEDULER, Hello("scheduler", "c2", "host", 4))
    told = 0
    for message in broker.take(Schedules):
        for body in wire.bodies(message):
            assert len(body) < wire.BODY_MAX
        told += len(message.items)
    assert told == 301


# --- memory, alerts -----------------------------------------------------------------------------------------------


def test_given_a_run_that_failed_and_is_retried_when_its_deadline_passes_then_it_is_late() -> None:
    spec = scheduled(hourly(overlap="buffer_all", deadline=60.0), alerts=[AlertSpec(on=["lateness"], log=True)])
    broker = Timed(spec).start()
    broker.due(occurrence(1))
    broker.discovered("f1")
    (task,) = broker.tasks()
    broker.fail(task, "read", MALFORMED)
    broker.ask("iteration.retry", pipeline="p", iteration=1)
    broker.wait(100.0)
    assert [a.kind for a in broker.of(rec.Alert)] == ["lateness"]


# --- parameters ---------------------------------------------------------------------------------------------------


def test_given_parameters_with_keys_of_two_kinds_when_triggered_then_the_broker_lives() -> None:
    broker = Timed(pipeline(trigger="manual")).start()
    broker.ask("pipeline.trigger", pipeline="p", run="m", params={"a": {1: "x"}})
    items, last = snapshot(broker)
    if broker.flow.pipelines["p"].run is not None:
        broker = Timed(recover=True).start(items, epoch=2, last_seq=last)
        broker.discovered("f1")


def test_given_the_longest_names_when_the_run_of_a_file_is_waited_for_then_its_id_is_taken() -> None:
    from odibi_actors.config.model import WatchSpec

    name = "s" * 64
    spec = replace(
        pipeline(trigger="schedule", schedules=[ScheduleSpec(name, file_watch=WatchSpec("/in"), overlap="buffer_all")]),
        name="p" * 64,
    )
    broker = Timed()
    broker.actor = Coordinator(of(spec), "b1", random.Random(1))
    broker.start()
    source = broker.flow.schedules.source(spec.name, name)
    assert source is not None
    long = "f" * 119
    broker.say(SOURCE, Offer(1, "f1", spec.name, name, source.seq, [position(long)], "", True, "trigger"))
    (run,) = [r.run for r in broker.of(rec.Run)]
    reply = broker.ask("run.wait", run=run)
    assert reply is None or reply.status == 0, reply.error


def test_given_a_pipeline_that_runs_by_data_now_when_a_schedule_of_before_is_due_then_it_is_off() -> None:
    import msgspec

    broker = Timed(scheduled(hourly())).start()
    broker.ask("schedule.add", pipeline="p", spec=msgspec.to_builtins(ScheduleSpec("mine", cron="0 * * * *")))
    broker.say(CLIENT, Apply("2", of(pipeline())))
    broker.due(occurrence(1), schedule="mine")
    assert broker.of(rec.Run) == []


def test_given_two_runs_that_are_planned_when_the_sources_change_then_they_plan_again_in_their_order() -> None:
    broker = Timed(scheduled(hourly(overlap="allow"), max_in_flight=4)).start()
    for number in (1, 2):
        broker.due(occurrence(number))
        broker.discovered(f"f{number}")
    from odibi_actors.config.model import NodeSpec, ReadSpec

    spec = scheduled(hourly(overlap="allow"), max_in_flight=4)
    read = spec.nodes[0].read
    assert read is not None
    more = NodeSpec("ref", read=ReadSpec(read.connection, "csv", "batch", path="ref"))
    joined = replace(spec.nodes[1], inputs=["read", "ref"])
    broker.say(CLIENT, Apply("2", of(replace(spec, nodes=[spec.nodes[0], more, joined, *spec.nodes[2:]]))))
    assert list(broker.flow.pipelines["p"].live.runs) == [f"p.hourly@{occurrence(n).id}" for n in (1, 2)]


def test_given_a_backfill_when_an_iteration_of_it_is_cancelled_then_its_positions_are_not_counted() -> None:
    broker = given()
    broker.backfill(files={"": "f*"})
    broker.offers(broker.lane, "b1")
    broker.ask("iteration.cancel", pipeline="p", iteration=2)
    assert broker.row()["positions"] == 0


def blocked_before_a_new_sink() -> tuple[Timed, Timed]:
    """Iteration 1 is blocked; then the configuration gets one more sink, and the broker dies."""
    spec = pipeline()
    broker = Timed(spec).start()
    broker.offer("f1")
    broker.compute()
    broker.durable()
    first, second = broker.publications()
    broker.fail(first, first.node.name, CONFLICT)
    broker.published(second)
    c = replace(spec.nodes[2], name="c", write=replace(spec.nodes[2].write, path="c"))
    broker.say(CLIENT, Apply("2", of(replace(spec, nodes=[*spec.nodes, c]))))
    return broker, again(broker)


def test_given_a_prepared_iteration_and_a_sink_it_does_not_know_when_the_broker_is_back_then_no_node_of_it_runs() -> (
    None
):
    _, next_ = blocked_before_a_new_sink()
    tasks = [t for m in next_.take(Tasks) for t in m.tasks if isinstance(t, Task)]
    for task in tasks:
        next_.fail(task, "c", Failure("invalid", "bad"))  # the broker dies of it
    assert tasks == []


def test_given_a_prepared_iteration_and_a_sink_it_does_not_know_when_that_runs_then_it_does_not_run_for_ever() -> None:
    _, next_ = blocked_before_a_new_sink()
    for _ in range(50):
        for task in next_.tasks():
            next_.finish(task)
    assert next_.tasks() == []
