"""The life of an iteration, told as messages."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from odibi_actors.actor import Log, Stop
from odibi_actors.broker.dispatch import LOST_AFTER
from odibi_actors.broker.stopping import FAREWELL, STOP_GRACE
from odibi_actors.broker.views import pipeline_row
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import AlertSpec, BatchSpec, NodeSpec, RetrySpec
from odibi_actors.messages import (
    LOCAL,
    SOURCE,
    STORE,
    Bye,
    ByeAck,
    Discover,
    Drop,
    Fenced,
    Forget,
    Heartbeat,
    HeldTask,
    Offer,
    Planned,
    Release,
    Released,
    Reply,
    Results,
    Returned,
    Shutdown,
    Terminate,
)
from odibi_actors.model import Attempt, FailureKind
from odibi_actors.sources.file_position import file_position
from tests.broker.harness import POOL, Broker, Failure, pipeline, position

RAISED = Failure("raised", "boom", traceback="Traceback ...")
DIED = Failure("died", "killed by SIGKILL")
MALFORMED = Failure("malformed", "f1.csv line 3: bad", position="f1.csv", line=3)
INVALID = Failure("invalid", "no")


def test_an_offer_becomes_a_plan_before_anything_runs() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (plan,) = broker.of(rec.Plan)
    assert plan.iteration == 1
    assert plan.positions == {"read": [position("f1.csv")]}
    (planned,) = broker.take(Planned)
    assert planned.positions == [position("f1.csv")]
    first = [type(m).__name__ for _, m in broker.sent]
    assert first.index("AppendRecords") < first.index("Tasks")


def test_a_linear_chain_travels_as_one_task_and_branches_apart() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    assert [s.node.name for s in task.steps] == ["read", "t"]
    broker.finish(task)
    assert sorted(s.node.name for t in broker.tasks() for s in t.steps) == ["a", "b"]


def test_each_node_is_acknowledged_as_it_arrives() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    first, second = broker.run(task)
    broker.results(first)
    assert [a.node for a in broker.of(rec.Ack)] == ["read"]
    broker.results(second)
    assert [a.node for a in broker.of(rec.Ack)] == ["read", "t"]


def test_nothing_is_published_before_prepare_is_durable() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    broker.compute()
    assert len(broker.of(rec.Prepare)) == 1
    assert broker.publications() == []
    broker.durable()
    assert sorted(t.node.name for t in broker.publications()) == ["a", "b"]


def test_commit_waits_for_every_sink_and_then_frees_the_spool() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    broker.compute()
    broker.durable()
    one, two = broker.publications()
    broker.published(one)
    assert broker.of(rec.Commit) == []
    broker.published(two)
    assert [c.iteration for c in broker.of(rec.Commit)] == [1]
    assert broker.take(Release) == []
    broker.durable()
    assert [r.iterations for r in broker.take(Release)] == [[("p", 1)]]


def test_iterations_compute_together_and_prepare_in_order() -> None:
    broker = Broker().start()
    broker.offer("f1.csv", "f2.csv", "f3.csv")
    (first,) = broker.tasks()  # alone, until its schema is known
    broker.results(broker.run(first)[0])
    (second,) = broker.tasks()
    assert second.iteration == 2
    broker.finish(second)
    for task in broker.tasks():
        broker.finish(task)
    assert broker.of(rec.Prepare) == []
    broker.results(broker.run(first)[1])
    broker.compute()
    assert [p.iteration for p in broker.of(rec.Prepare)] == [1, 2]
    assert [p.iteration for p in broker.of(rec.Plan)] == [1, 2]  # max_in_flight


def test_a_batch_stays_within_its_rows_by_what_earlier_files_held() -> None:
    broker = Broker(pipeline(batch=BatchSpec(max_files=10, max_rows=25), max_in_flight=8)).start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    done = [msgspec.structs.replace(d, rows_out=10) for d in broker.run(task)]  # 10 rows in 10 bytes
    broker.results(*done)
    broker.offer("f2.csv", "f3.csv", "f4.csv", "f5.csv", "f6.csv")
    assert [len(p.positions["read"]) for p in broker.of(rec.Plan)] == [1, 2, 2, 1]


def test_an_offer_that_missed_a_plan_is_dropped() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    broker.offer("f1.csv", seq=0)
    assert [p.iteration for p in broker.of(rec.Plan)] == [1]


def test_a_source_that_never_heard_of_a_plan_is_told_after_a_while() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    broker.offer("f1.csv", seq=0)
    assert broker.take(Released) == []
    broker.now += 3
    broker.offer("f1.csv", seq=0)
    assert len(broker.take(Released)) == 1


def test_a_result_sent_twice_counts_once() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    done = broker.run(task)
    broker.results(*done, *done)
    assert [a.node for a in broker.of(rec.Ack)] == ["read", "t"]


def test_results_are_confirmed_once_they_are_durable() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.finish(task)
    broker.wait(1)
    assert broker.take(Forget) == []
    broker.durable()
    broker.wait(1)
    confirmed = [pair for message in broker.take(Forget) for pair in message.confirmed]
    assert confirmed == [(task.attempt, "read"), (task.attempt, "t")]


def test_a_failed_node_is_tried_again_after_its_backoff() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.results(broker.run(task)[0])
    broker.fail(task, "t", RAISED)
    assert broker.tasks() == []
    broker.wait(0.5)
    assert broker.tasks() == []
    broker.wait(0.6)
    (again,) = broker.tasks()
    assert [s.node.name for s in again.steps] == ["t"]
    assert again.attempt != task.attempt
    assert again.attempt_no == 2


def test_a_node_whose_worker_died_is_tried_again_at_once_but_only_the_first_time() -> None:
    spec = pipeline()
    patient = RetrySpec(max_attempts=3, initial=1.0, jitter=0.0)
    nodes = [msgspec.structs.replace(node, retry=patient) for node in spec.nodes]
    broker = Broker(msgspec.structs.replace(spec, nodes=nodes)).start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.results(broker.run(task)[0])
    broker.fail(task, "t", DIED)
    broker.wait(0.0)
    (again,) = broker.tasks()
    assert again.attempt_no == 2, "the first attempt counts"
    broker.fail(again, "t", DIED)
    broker.wait(0.5)
    assert broker.tasks() == []
    broker.wait(2.0)
    (last,) = broker.tasks()
    assert last.attempt_no == 3


def test_halt_holds_the_lane_until_a_retry() -> None:
    broker = Broker().start()
    broker.offer("f1.csv", "f2.csv")
    for _ in range(2):
        (task,) = broker.tasks()
        broker.fail(task, task.steps[0].node.name, RAISED)
        broker.wait(2)
    assert [f.iteration for f in broker.of(rec.Fail)] == [1]
    broker.compute()
    assert broker.of(rec.Prepare) == []
    reply = broker.ask("iteration.retry", pipeline="p", iteration=1)
    assert reply is not None
    assert reply.status == 0
    broker.compute()
    assert [p.iteration for p in broker.of(rec.Prepare)] == [1, 2]


def test_dead_letter_gives_up_and_lets_the_others_go_on() -> None:
    broker = Broker(pipeline(on_error="dead_letter")).start()
    broker.offer("f1.csv", "f2.csv")
    for _ in range(2):
        (task,) = broker.tasks()
        broker.fail(task, "read", RAISED)
        broker.wait(2)
    assert [d.iteration for d in broker.of(rec.DeadLetter)] == [1]
    broker.compute()
    assert [p.iteration for p in broker.of(rec.Prepare)] == [2]


def test_one_malformed_file_does_not_condemn_the_others() -> None:
    broker = Broker(pipeline(on_error="dead_letter", batch=BatchSpec(max_files=2))).start()
    broker.offer("f1.csv", "f2.csv")
    (task,) = broker.tasks()
    broker.fail(task, "read", MALFORMED)
    (revise,) = broker.of(rec.Revise)
    assert revise.identities == ["f1.csv"]
    assert broker.tasks() == []  # not before REVISE is durable
    broker.durable()
    (again,) = broker.tasks()
    assert again.steps[0].positions == [position("f2.csv")]
    (plan,) = broker.of(rec.Plan)
    assert plan.positions["read"] == [position("f1.csv"), position("f2.csv")]  # the record is what it was


@pytest.mark.parametrize("schemas", [{}, {"read": b"schema"}])
def test_an_iteration_of_nothing_but_malformed_files_is_set_aside_as_a_whole(schemas: dict[str, bytes]) -> None:
    broker = Broker(pipeline(on_error="dead_letter")).start()
    broker.know(**schemas)
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.fail(task, "read", MALFORMED)
    assert [d.iteration for d in broker.of(rec.DeadLetter)] == [1]
    assert broker.of(rec.Revise) == []
    broker.durable()
    assert broker.tasks() == []


def test_a_malformed_file_halts_at_once_when_told_so() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.fail(task, "read", MALFORMED)
    assert [f.iteration for f in broker.of(rec.Fail)] == [1]
    assert broker.of(rec.Error)[0].failure.line == 3


def test_a_lost_output_is_made_again_and_the_attempt_does_not_count() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.finish(task)
    one, _two = broker.tasks()
    broker.fail(one, one.steps[0].node.name, Failure("input_lost", "gone", lost="t"))
    assert [i.nodes for i in broker.of(rec.Invalidate)] == [["t"]]
    (again,) = broker.tasks()
    assert again.steps[0].node.name == "t"
    assert broker.of(rec.Error) == []


def test_other_bytes_void_those_who_consumed_the_former_ones() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.finish(task)
    one, two = broker.tasks()
    broker.finish(two)
    broker.fail(one, one.steps[0].node.name, Failure("input_lost", "gone", lost="t"))
    (again,) = broker.tasks()
    broker.finish(again, salt="other")
    assert [i.nodes for i in broker.of(rec.Invalidate)] == [["t"], [two.steps[0].node.name]]
    assert sorted(s.node.name for t in broker.tasks() for s in t.steps) == ["a", "b"]
    assert broker.of(rec.Prepare) == []


def test_a_returned_task_runs_again_and_does_not_count() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.results(Returned(task.attempt, "drain"))
    (again,) = broker.tasks()
    assert again.attempt != task.attempt
    assert again.attempt_no == 1


def test_a_pool_that_comes_back_as_another_has_lost_its_tasks() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.pool_joins("w2")
    (again,) = broker.tasks()
    assert again.attempt != task.attempt


def test_a_silent_pool_loses_its_tasks() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    broker.tasks()
    broker.wait(LOST_AFTER + 1)
    assert broker.flow.dispatcher.pools == {}
    (said,) = [one.text for one in broker.effects if isinstance(one, Log) and "is silent" in one.text]
    assert said == f"{POOL} is silent: its tasks run once a pool is heard again"
    broker.pool_joins("w1")
    assert len(broker.tasks()) == 1


def test_given_a_locked_target_then_it_is_told_and_tried_until_it_is_released_and_nothing_counts() -> None:
    locked = Failure("busy", "/mart.db is locked by pid 7 (sqlite3)")
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.finish(task)
    waits, other = sorted(broker.tasks(), key=lambda t: t.steps[-1].node.name)
    broker.finish(other)
    for _ in range(10):  # while it is staged
        broker.fail(waits, "a", locked)
        (problem,) = pipeline_row(broker.flow.pipelines["p"])["problems"]
        assert "iteration 1, a: waits since " in problem
        assert "/mart.db is locked by pid 7 (sqlite3)" in problem
        broker.wait(3.0)
        (waits,) = broker.tasks()
    broker.finish(waits)
    broker.compute()
    broker.durable()
    one, two = broker.publications()
    broker.published(two)
    for _ in range(10):
        broker.fail(one, one.node.name, locked)
        assert "waits since" in pipeline_row(broker.flow.pipelines["p"])["problems"][0]
        broker.wait(3.0)
        (one,) = broker.publications()
    broker.published(one)
    assert [c.iteration for c in broker.of(rec.Commit)] == [1]
    assert pipeline_row(broker.flow.pipelines["p"])["problems"] == []
    assert [*broker.of(rec.Error), *broker.of(rec.Block), *broker.of(rec.Fail)] == []


FULL = Failure("full", "OSError: [Errno 28] No space left on device: '/lake/x' (0 B of 1.0 GB free)")


def test_given_a_full_disk_then_it_is_told_and_tried_ever_less_often_until_there_is_room_and_nothing_counts() -> None:
    broker = Broker(pipeline(on_error="dead_letter", alerts=[AlertSpec(log=True)])).start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.finish(task)
    waits, other = sorted(broker.tasks(), key=lambda t: t.steps[-1].node.name)
    broker.finish(other)
    pauses = []
    for _ in range(30):  # while it is staged
        broker.fail(waits, "a", FULL)
        (problem,) = pipeline_row(broker.flow.pipelines["p"])["problems"]
        assert "iteration 1, a: waits since " in problem
        assert FULL.message in problem
        began = broker.now
        while not (again := broker.tasks()):
            assert broker.now - began < 60.0
            broker.wait(0.5)
            broker.say(POOL, Heartbeat(broker.epoch, [waits.attempt]))
        (waits,) = again
        pauses.append(broker.now - began)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (2.0, 30.0)
    assert [alert.kind for alert in broker.of(rec.Alert)] == ["failure"]
    broker.finish(waits)
    broker.compute()
    broker.durable()
    one, two = broker.publications()
    broker.published(two)
    for _ in range(5):
        broker.fail(one, one.node.name, FULL)
        assert "waits since" in pipeline_row(broker.flow.pipelines["p"])["problems"][0]
        while not (again := broker.publications()):
            broker.wait(0.5)
            broker.say(POOL, Heartbeat(broker.epoch, []))
        (one,) = again
    broker.published(one)
    assert [c.iteration for c in broker.of(rec.Commit)] == [1]
    assert pipeline_row(broker.flow.pipelines["p"])["problems"] == []
    assert [*broker.of(rec.Error), *broker.of(rec.Block), *broker.of(rec.Fail), *broker.of(rec.DeadLetter)] == []
    assert [alert.kind for alert in broker.of(rec.Alert)] == ["failure", "recovery"]


def test_given_a_full_disk_when_nobody_stays_to_wait_then_it_counts_and_halts() -> None:
    broker = Broker(pipeline(on_error="dead_letter")).start()
    broker.offer("f1.csv")
    broker.flow.pipelines["p"].manual = True
    for tries in range(1, 3):
        (task,) = broker.tasks()
        broker.fail(task, "read", FULL)
        assert [error.used for error in broker.of(rec.Error)] == [*range(1, tries + 1)]
        broker.wait(5.0)
    assert broker.tasks() == []
    assert broker.flow.pipelines["p"].state == "failed"
    assert broker.of(rec.DeadLetter) == []


def test_a_publish_that_conflicts_blocks_and_a_retry_fixes_it() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    broker.compute()
    broker.durable()
    one, two = broker.publications()
    broker.published(two)
    broker.fail(one, one.node.name, Failure("conflict", "another owner"))
    assert [b.node for b in broker.of(rec.Block)] == [one.node.name]
    assert broker.flow.pipelines["p"].state == "blocked"
    reply = broker.ask("iteration.cancel", pipeline="p", iteration=1)
    assert reply is not None
    assert reply.status == 4
    broker.ask("iteration.retry", pipeline="p", iteration=1)
    (again,) = broker.publications()
    broker.published(again)
    assert [c.iteration for c in broker.of(rec.Commit)] == [1]


def test_cancel_voids_a_suffix_and_releases_its_positions() -> None:
    broker = Broker().start()
    broker.offer("f1.csv", "f2.csv")
    tasks = broker.tasks()
    reply = broker.ask("iteration.cancel", pipeline="p", iteration=1)
    assert reply is not None
    assert reply.result == {"pipeline": "p", "cancelled": [1, 2], "letters": []}
    assert [c.iterations for c in broker.of(rec.Cancel)] == [[1, 2]]
    assert [a for d in broker.take(Drop) for a in d.attempts] == [t.attempt for t in tasks]
    broker.offer("f1.csv")
    assert [p.iteration for p in broker.of(rec.Plan)] == [1, 2, 3]  # numbers are never used again


def test_pause_stops_new_work_and_resume_goes_on() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.ask("pipeline.pause", pipeline="p")
    broker.finish(task)
    broker.offer("f1.csv", "f2.csv")
    assert broker.tasks() == []
    assert len(broker.of(rec.Plan)) == 1
    broker.ask("pipeline.resume", pipeline="p")
    assert len(broker.tasks()) >= 2


def test_a_fenced_broker_stops() -> None:
    broker = Broker().start()
    broker.say(STORE, Fenced(epoch=2))
    assert [e.code for e in broker.effects if isinstance(e, Stop)] == [70]


def test_results_for_an_older_epoch_have_no_effect() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.say(POOL, Results(0, list(broker.run(task))))
    assert broker.of(rec.Ack) == []


@pytest.mark.parametrize("kind", ["conflict", "code"])
def test_what_is_not_the_datas_fault_halts_at_once_even_under_dead_letter(kind: FailureKind) -> None:
    broker = Broker(pipeline(on_error="dead_letter")).start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.finish(task)
    one, _ = broker.tasks()
    broker.fail(one, one.steps[0].node.name, Failure(kind, "the target belongs to another project"))
    assert broker.of(rec.DeadLetter) == []
    assert [f.iteration for f in broker.of(rec.Fail)] == [1]


def test_status_says_what_failed() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.fail(task, "read", MALFORMED)
    reply = broker.ask("pipeline.list")
    assert reply is not None
    (row,) = reply.result["items"]
    assert row["stuck"] == 1
    remedy = (
        "Fix the file, or take it away; then `odibictl iteration retry p 1`, and what is there then is planned again"
    )
    assert row["problems"] == [f"iteration 1 failed at read: f1.csv line 3: bad. {remedy}"]


def test_a_reference_file_that_changed_is_planned_again() -> None:
    spec = pipeline()
    assert spec.nodes[0].read is not None
    reference = NodeSpec("ref", read=msgspec.structs.replace(spec.nodes[0].read, mode="batch", consumption=""))
    joined = msgspec.structs.replace(spec.nodes[1], inputs=["read", "ref"])
    broker = Broker(msgspec.structs.replace(spec, nodes=[spec.nodes[0], reference, joined, *spec.nodes[2:]])).start()
    pin = file_position("ref.csv", 5, 1, 1, digest="old")
    broker.say(SOURCE, Offer(1, "f1", "p", "ref", 0, [pin]))
    broker.offer("f1.csv")
    task = next(t for t in broker.tasks() if t.steps[0].node.name == "ref")
    broker.fail(task, "ref", Failure("changed", "ref.csv is not the file that was planned", position="ref.csv"))
    assert [c.iterations for c in broker.of(rec.Cancel)] == [[1]]
    assert broker.of(rec.Fail) == []
    told = "p 1: planned again, with reference ref as it is now: ref.csv is not the file that was planned"
    assert Log("info", told) in broker.effects  # a reference may be replaced
    broker.offer("f1.csv")
    assert len(broker.of(rec.Plan)) == 1  # not with the former content
    broker.say(SOURCE, Offer(1, "f1", "p", "ref", 0, [msgspec.structs.replace(pin, digest="new")]))
    assert [p.positions["ref"][0].digest for p in broker.of(rec.Plan)] == ["old", "new"]


# --- runs -------------------------------------------------------------------------------------------------------------


def _run(broker: Broker, run: str, **more: Any) -> Reply | None:
    return broker.ask("pipeline.trigger", pipeline="p", run=run, **more)


def test_a_run_plans_what_was_found_and_ends() -> None:
    broker = Broker(pipeline(trigger="manual")).start()
    broker.offer("f0.csv")
    assert broker.of(rec.Plan) == []
    _run(broker, "r1")
    assert [d.run for d in broker.take(Discover)] == ["r1"]
    broker.offer("f0.csv", "f1.csv", run="r1", exhausted=True)
    broker.compute()
    for _ in range(2):
        broker.durable()
        for task in broker.publications():
            broker.published(task)
    assert [(p.iteration, p.run) for p in broker.of(rec.Plan)] == [(1, "r1"), (2, "r1")]
    assert [(e.run, e.state) for e in broker.of(rec.RunEnd)] == [("r1", "done")]


def test_a_run_with_nothing_to_do_is_no_data() -> None:
    broker = Broker(pipeline(trigger="manual")).start()
    _run(broker, "r1")
    broker.offer(run="r1", exhausted=True)
    assert [(e.run, e.state) for e in broker.of(rec.RunEnd)] == [("r1", "no_data")]


def test_a_run_behind_a_failed_iteration_is_refused_or_retries_it() -> None:
    broker = Broker(pipeline(trigger="manual")).start()
    _run(broker, "r1")
    broker.offer("f1.csv", run="r1", exhausted=True)
    (task,) = broker.tasks()
    broker.fail(task, "read", INVALID)
    assert [e.state for e in broker.of(rec.RunEnd)] == ["failed"]
    refused = _run(broker, "r2")
    assert refused is not None
    assert refused.status == 4
    assert "iteration 1 of p is failed" in refused.error
    _run(broker, "r3", retry=True)
    assert [r.iteration for r in broker.of(rec.Retry)] == [1]
    (task,) = broker.tasks()
    broker.fail(task, "read", INVALID)
    # The retry made r1 active again; it failed once more, and with it r3, which had to wait behind.
    ended = [(e.run, e.state) for e in broker.of(rec.RunEnd)]
    assert ended == [("r1", "failed"), ("r1", "failed"), ("r3", "failed")]


# --- recovery ---------------------------------------------------------------------------------------------------------


def _snapshot(broker: Broker) -> list[rec.AnyLoaded]:
    """What a store would load after everything the broker has written so far."""
    version = broker.of(rec.Version)[-1]
    plan = broker.of(rec.Plan)[-1]
    prepared = broker.of(rec.Prepare)
    items: list[rec.AnyLoaded] = [
        rec.LoadedVersion(version),
        rec.LoadedSchema(broker.of(rec.Schema)[-1]),
        rec.LoadedCounter("p", plan.iteration, 0, 0, ["read"]),
        rec.LoadedIteration(plan, "prepared" if prepared else "running", prepared[-1].sinks if prepared else {}),
    ]
    return items + [rec.LoadedAck(ack) for ack in broker.of(rec.Ack)]


def test_acknowledged_nodes_are_not_run_again_after_a_crash() -> None:
    before = Broker().start()
    before.offer("f1.csv")
    (task,) = before.tasks()
    before.finish(task)
    after = Broker(recover=True).start(_snapshot(before), epoch=2, last_seq=10)
    tasks = after.tasks()
    assert sorted(s.node.name for t in tasks for s in t.steps) == ["a", "b"]
    assert [t.verify for t in tasks] == [["t"], ["t"]]  # what an earlier epoch left is checked before use


def test_a_prepared_iteration_only_rolls_forward_with_exactly_its_parts() -> None:
    before = Broker().start()
    before.offer("f1.csv")
    before.compute()
    after = Broker(recover=True).start(_snapshot(before), epoch=2, last_seq=20)
    publications = after.publications()
    assert {t.node.name: t.part for t in publications} == before.of(rec.Prepare)[0].sinks
    assert after.tasks() == []


def test_a_running_task_of_the_former_epoch_goes_on_when_it_is_what_is_wanted() -> None:
    before = Broker().start()
    before.offer("f1.csv")
    (task,) = before.tasks()
    before.finish(task)
    held_task = before.tasks()[0]
    held = HeldTask(held_task.attempt, "p", 1, [(s.node.name, s.static) for s in held_task.steps], running=True)
    after = Broker(recover=True)
    after.pool_joins(held=[held])
    after.start(_snapshot(before), epoch=2, last_seq=10)
    assert after.take(Drop) == []
    assert [s.node.name for t in after.tasks() for s in t.steps] == ["b"]
    after.results(*before.run(held_task))
    assert [a.node for a in after.of(rec.Ack)] == ["a"]


def test_a_task_nobody_wants_any_more_is_dropped() -> None:
    broker = Broker().start()
    held = HeldTask(Attempt(0, 7), "p", 99, [("t", "static")], running=True)
    broker.pool_joins(held=[held])
    assert [a for d in broker.take(Drop) for a in d.attempts] == [Attempt(0, 7)]


# --- config versions --------------------------------------------------------------------------------------------------


def test_new_config_reuses_what_it_does_not_change() -> None:
    before = Broker().start()
    before.offer("f1.csv")
    (task,) = before.tasks()
    before.finish(task)
    spec = pipeline()
    changed = [
        msgspec.structs.replace(n, transform=msgspec.structs.replace(n.transform, params={"x": 1}))
        if n.transform is not None
        else n
        for n in spec.nodes
    ]
    after = Broker(msgspec.structs.replace(spec, nodes=changed)).start(_snapshot(before), epoch=2, last_seq=10)
    assert after.of(rec.Version)[0].version == 2
    assert [i.nodes for i in after.of(rec.Invalidate)] == [["t"]]
    (again,) = after.tasks()
    assert [s.node.name for s in again.steps] == ["t"]


def test_a_prepared_sink_is_published_even_when_new_config_has_it_no_more() -> None:
    before = Broker().start()
    before.offer("f1.csv")
    before.compute()
    spec = pipeline()
    less = msgspec.structs.replace(spec, nodes=spec.nodes[:-1])
    after = Broker(less).start(_snapshot(before), epoch=2, last_seq=20)
    publications = after.publications()
    assert [t.node.name for t in publications] == ["a", "b"]
    for task in publications:
        after.fail(task, task.node.name, Failure("io", "disk full"))
    after.wait(2)
    for task in after.publications():
        after.published(task)
    assert [c.iteration for c in after.of(rec.Commit)] == [1]


def test_a_source_that_has_consumed_data_cannot_be_renamed() -> None:
    before = Broker().start()
    before.offer("f1.csv")
    before.compute()
    spec = pipeline()
    read, t, *sinks = spec.nodes
    replace = msgspec.structs.replace
    nodes = [replace(read, name="other"), replace(t, inputs=["other"]), *sinks]
    after = Broker(msgspec.structs.replace(spec, nodes=nodes)).start(_snapshot(before), epoch=2, last_seq=10)
    (stop,) = [e for e in after.effects if isinstance(e, Stop)]
    assert stop.code == 4
    assert "read" in stop.reason


@pytest.mark.parametrize("verb", ["status", "pipeline.list", "worker.list"])
def test_views_answer(verb: str) -> None:
    reply = Broker().start().ask(verb)
    assert isinstance(reply, Reply)
    assert reply.status == 0


def test_requests_name_what_is_wrong() -> None:
    broker = Broker().start()
    unknown = broker.ask("pipeline.show", pipeline="nope")
    assert unknown is not None
    assert (unknown.status, unknown.error) == (3, "no pipeline 'nope'; known: p")
    verb = broker.ask("fly")
    assert verb is not None
    assert verb.status == 2


# --- the end ----------------------------------------------------------------------------------------------------------


def test_a_failure_is_told_once_it_is_durable() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    assert broker.ask("iteration.wait", pipeline="p", **{"for": ["failed"]}) is None
    broker.fail(task, "read", MALFORMED)
    assert broker.replies() == []
    broker.durable()
    assert broker.replies() == []  # another broker may rule by now, and know better: the store is asked
    broker.store_answers()
    (reply,) = broker.replies()
    assert reply.result == {"pipeline": "p", "iteration": 1, "state": "failed", "files": 0}


def test_down_lets_pools_finish_before_anyone_else_leaves() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.ask("shutdown")
    assert [to for to, m in broker.sent if isinstance(m, Shutdown)] == [POOL]
    broker.say(LOCAL, Terminate())  # honcho: a line has ended
    assert not [e for e in broker.effects if isinstance(e, Stop)]
    broker.finish(task)
    assert [a.node for a in broker.of(rec.Ack)] == ["read", "t"]
    broker.durable()
    broker.say(POOL, Bye())
    broker.wait(FAREWELL)
    assert [e.code for e in broker.effects if isinstance(e, Stop)] == [0]


def test_down_tells_the_store_last() -> None:
    broker = Broker().start()
    broker.ask("shutdown")
    for name in (POOL, SOURCE, STORE):
        assert [to for to, m in broker.sent if isinstance(m, Shutdown)][-1] == name
        assert not [e for e in broker.effects if isinstance(e, Stop)]
        broker.durable()
        broker.say(name, Bye())
    # What is said in the moment of closing is lost: the store would wait for its answer in vain.
    assert [m for to, m in broker.sent if to == STORE][-1] == ByeAck()
    assert not [e for e in broker.effects if isinstance(e, Stop)]
    broker.wait(FAREWELL)
    assert [e.code for e in broker.effects if isinstance(e, Stop)] == [0]


def test_down_does_not_wait_for_ever() -> None:
    broker = Broker().start()
    broker.ask("shutdown")
    waited = 0
    while not [e for e in broker.effects if isinstance(e, Stop)]:
        broker.wait(STOP_GRACE)
        waited += 1
    assert waited == 3  # pools, sources, store


THREE = msgspec.structs.replace(
    MALFORMED,
    others=[Failure("malformed", "f2.csv line 9: worse", position="f2.csv", line=9, column="x", value="y")],
    more=1,
)


def test_given_several_malformed_files_when_the_pipeline_halts_then_all_are_told_in_one_message() -> None:
    broker = Broker(pipeline(batch=BatchSpec(max_files=4))).start()
    broker.offer("f1.csv", "f2.csv", "f3.csv", "f4.csv")
    (task,) = broker.tasks()
    broker.fail(task, "read", THREE)
    (error,) = broker.of(rec.Error)
    said = "f1.csv line 3: bad. 2 more files of this batch cannot be read: f2.csv line 9, column x ('y'); and 1 more"
    assert error.failure.message == said
    assert error.failure.text.startswith(f"{said}. Fix the files, or take them away; then `odibictl iteration retry")
    assert len(broker.of(rec.Fail)) == 1


def test_given_several_malformed_files_when_they_are_set_aside_then_each_has_a_letter_of_its_own() -> None:
    broker = Broker(pipeline(on_error="dead_letter", batch=BatchSpec(max_files=4))).start()
    broker.offer("f1.csv", "f2.csv", "f3.csv", "f4.csv")
    (task,) = broker.tasks()
    others = [*THREE.others, Failure("malformed", "never planned", position="elsewhere.csv")]
    broker.fail(task, "read", msgspec.structs.replace(THREE, others=others))
    revised = broker.of(rec.Revise)
    assert [one.identities for one in revised] == [["f1.csv"], ["f2.csv"]]
    assert [one.failure for one in revised] == [MALFORMED, THREE.others[0]]
    broker.durable()
    (again,) = broker.tasks()
    assert [one.identity for one in again.steps[0].positions] == ["f3.csv", "f4.csv"]


def test_given_nothing_but_malformed_files_when_they_are_set_aside_then_the_last_takes_the_iteration_along() -> None:
    broker = Broker(pipeline(on_error="dead_letter", batch=BatchSpec(max_files=2))).start()
    broker.offer("f1.csv", "f2.csv")
    (task,) = broker.tasks()
    broker.fail(task, "read", msgspec.structs.replace(THREE, more=0))
    assert [one.identities for one in broker.of(rec.Revise)] == [["f1.csv"]]
    assert [one.failure.position for one in broker.of(rec.DeadLetter)] == ["f2.csv"]
