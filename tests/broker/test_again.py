"""An iteration that failed of a file: an operator's retry plans it again, with its files as they are then."""

from __future__ import annotations

import pytest

from odibi_actors.actor import Log
from odibi_actors.checkpoint import records as rec
from odibi_actors.cli.iteration import _retried
from odibi_actors.config.model import BatchSpec
from odibi_actors.messages import Offer, Released
from odibi_actors.model import Failure, Position
from odibi_actors.sources.file_position import file_position
from tests.broker.harness import SOURCE, Broker, pipeline, position
from tests.broker.restart import restarted
from tests.broker.test_references import given

BAD = Failure("malformed", "f1.csv line 2: 'x' is no int64", position="f1.csv")


def failed(kind: str = "malformed", **more: object) -> Broker:
    """Iteration 1 has failed at its file; iteration 2 is behind it."""
    broker = Broker(pipeline(**more)).start()
    broker.know(read=b"schema")
    broker.offer("f1.csv", "f2.csv")
    broker.durable()
    tasks = broker.tasks()
    broker.fail(tasks[0], "read", Failure(kind, BAD.message, position="f1.csv"))  # type: ignore[arg-type]
    broker.finish(tasks[1])
    broker.compute()
    broker.durable()
    return broker


def commit(broker: Broker) -> None:
    for _ in range(6):
        broker.compute()
        broker.durable()
        for publication in broker.publications():
            broker.published(publication)
    broker.durable()


@pytest.mark.parametrize("kind", ["malformed", "changed"])
def test_given_a_file_at_fault_when_retried_then_all_from_there_is_planned_again_as_it_is_now(kind: str) -> None:
    broker = failed(kind)
    reply = broker.ask("iteration.retry", pipeline="p", iteration=1)
    assert reply is not None
    assert reply.result == {
        "pipeline": "p", "iteration": 1, "state": "cancelled", "planned_again": [1, 2], "above": 2, "letters": []
    }  # fmt: skip
    assert _retried("p", 1, reply.result)[0].startswith(
        "p 1: planned again as its files are now, under a number above 2, with 1 iteration behind it"
    )
    (cancel,) = broker.of(rec.Cancel)
    assert cancel.iterations == [1, 2]
    how = "with the files of read as they are now, without those that are gone"
    assert cancel.reason == f"{rec.PLANNED_AGAIN}when it was retried, {how}"
    broker.durable()
    assert [m.seq for m in broker.take(Released)] == [broker.flow.pipelines["p"].sources["read"].seq]
    seq = broker.flow.pipelines["p"].sources["read"].seq
    broker.say(SOURCE, Offer(broker.epoch, "f1", "p", "read", seq, [file_position("f1.csv", 99, 7, 7)]))  # f2 is gone
    commit(broker)
    plan = broker.of(rec.Plan)[-1]
    assert (plan.iteration, plan.positions["read"]) == (3, [file_position("f1.csv", 99, 7, 7)])
    assert [one.iteration for one in broker.of(rec.Commit)] == [3]
    again = broker.ask("iteration.retry", pipeline="p", iteration=1)
    assert again is not None
    assert "is finished; `odibictl iteration wait p 1` says how, or as which it was planned again" in again.error


@pytest.mark.parametrize("kind", ["malformed", "changed"])
def test_given_a_restart_when_retried_then_it_is_planned_again_too(kind: str) -> None:
    broker = restarted(failed(kind))
    reply = broker.ask("iteration.retry", pipeline="p", iteration=1)
    assert reply is not None
    assert reply.result["planned_again"] == [1, 2]


@pytest.mark.parametrize("kind", ["io", "code", "invalid"])
def test_given_what_is_not_the_files_fault_when_retried_then_the_plan_stands(kind: str) -> None:
    broker = failed(kind)
    if not broker.of(rec.Fail):
        broker.wait(2.0)
        (task,) = broker.tasks()
        broker.fail(task, "read", Failure(kind, "no", position=""))  # type: ignore[arg-type]
    reply = broker.ask("iteration.retry", pipeline="p", iteration=1)
    assert reply is not None
    assert reply.result == {"pipeline": "p", "iteration": 1, "state": "running"}
    assert broker.of(rec.Cancel) == []


@pytest.mark.parametrize(
    "now", [position("f1.csv", 11), file_position("f1.csv", 10, 2, 1), file_position("f1.csv", 10, 1, 2)]
)
def test_given_a_file_written_again_after_it_was_read_when_retried_then_all_is_planned_again(now: Position) -> None:
    broker = failed_behind(now)
    reply = broker.ask("iteration.retry", pipeline="p", iteration=1)
    assert reply is not None
    assert reply.result["planned_again"] == [1, 2]


def test_given_a_file_that_is_as_it_was_read_when_retried_then_the_plan_stands() -> None:
    broker = failed_behind(position("f1.csv"))
    reply = broker.ask("iteration.retry", pipeline="p", iteration=1)
    assert reply is not None
    assert reply.result == {"pipeline": "p", "iteration": 1, "state": "running"}
    assert broker.of(rec.Cancel) == []


def test_given_a_file_that_is_gone_after_it_was_read_when_retried_then_what_was_read_runs_again() -> None:
    """Many take files away once they are read: planned again it would be lost."""
    broker = failed_behind(None, max_files=2)
    broker.files["f2.csv"] = position("f2.csv", 99)
    reply = broker.ask("iteration.retry", pipeline="p", iteration=1)
    assert reply is not None
    assert reply.result["state"] == "running"
    assert broker.of(rec.Cancel) == []
    (said,) = [e.text for e in broker.effects if isinstance(e, Log) and "written again" in e.text]
    assert said == "p 1: f2.csv was written again, and f1.csv is gone: what was read of them runs again"


def failed_behind(now: Position | None, max_files: int = 1) -> Broker:
    """Iteration 1 has read f1.csv, and failed at a transform; the file is ``now`` this."""
    broker = Broker(pipeline(batch=BatchSpec(max_files=max_files))).start()
    broker.know(read=b"schema")
    broker.offer("f1.csv", "f2.csv")
    broker.durable()
    task = broker.tasks()[0]
    broker.results(broker.run(task)[0])
    for _ in range(2):
        broker.fail(task, "t", Failure("raised", "ValueError: a negative amount"))
        broker.wait(2.0)
        task = next((one for one in broker.tasks() if one.iteration == 1), task)
    assert broker.flow.pipelines["p"].iterations[1].state == "failed"
    broker.files["f1.csv"] = now
    return broker


def test_given_a_planned_file_that_changed_when_nobody_asked_then_it_stays_failed() -> None:
    broker = failed("changed")
    broker.wait(600.0)
    assert broker.of(rec.Cancel) == []
    assert broker.flow.pipelines["p"].iterations[1].state == "failed"


def test_given_a_file_at_fault_then_the_remedy_that_works_is_told() -> None:
    broker = failed()
    (problem,) = broker.flow.pipelines["p"].iterations[1].trouble.splitlines()
    assert problem.endswith(
        "'x' is no int64. Fix the file, or take it away; then `odibictl iteration retry p 1`, and what is there then "
        "is planned again"
    )


def test_given_a_failed_run_of_that_when_retried_then_it_plans_again_and_is_done() -> None:
    broker = Broker(pipeline(trigger="manual", batch=BatchSpec(max_files=1))).start()
    broker.know(read=b"schema")
    reply = broker.ask("pipeline.trigger", pipeline="p")
    assert reply is not None
    run = reply.result["run"]
    broker.durable()
    broker.offer("f1.csv", run=run, exhausted=True)
    (task,) = broker.tasks()
    broker.fail(task, "read", BAD)
    broker.durable()
    assert [(end.run, end.state) for end in broker.of(rec.RunEnd)] == [(run, "failed")]
    broker.ask("iteration.retry", pipeline="p", iteration=1)
    broker.durable()
    broker.offer("f1.csv", run=run, exhausted=True)
    commit(broker)
    assert [(end.run, end.state) for end in broker.of(rec.RunEnd)] == [(run, "failed"), (run, "done")]
    assert broker.of(rec.Plan)[-1].run == run


def test_given_a_failed_run_whose_file_was_taken_away_when_retried_then_there_is_no_data() -> None:
    broker = Broker(pipeline(trigger="manual", batch=BatchSpec(max_files=1))).start()
    broker.know(read=b"schema")
    reply = broker.ask("pipeline.trigger", pipeline="p")
    assert reply is not None
    run = reply.result["run"]
    broker.durable()
    broker.offer("f1.csv", run=run, exhausted=True)
    (task,) = broker.tasks()
    broker.fail(task, "read", BAD)
    broker.ask("iteration.retry", pipeline="p", iteration=1)
    broker.durable()
    broker.offer(run=run, exhausted=True)
    assert [end.state for end in broker.of(rec.RunEnd)] == ["failed", "no_data"]


def test_given_a_stuck_iteration_then_those_behind_it_are_shown_to_wait_for_it() -> None:
    broker = failed()
    reply = broker.ask("pipeline.show", pipeline="p")
    assert reply is not None
    assert [(row["iteration"], row["waits_for"]) for row in reply.result["iterations"]] == [(1, 0), (2, 1)]


def test_given_a_reference_that_is_malformed_when_retried_then_the_plan_stands() -> None:
    broker = given("halt")
    (task,) = [t for t in broker.tasks() if t.steps[0].node.name == "cust"]
    broker.fail(task, "cust", Failure("malformed", "bad", position="cust.csv"))
    reply = broker.ask("iteration.retry", pipeline="p", iteration=1)
    assert reply is not None
    assert "planned_again" not in reply.result


def test_given_two_failed_ones_of_code_when_one_is_retried_then_the_other_is_named() -> None:
    broker = Broker(pipeline()).start()
    broker.know(read=b"schema")
    broker.offer("f1.csv", "f2.csv")
    broker.durable()
    for task in broker.tasks():
        broker.fail(task, "read", Failure("invalid", "no"))
    reply = broker.ask("iteration.retry", pipeline="p", iteration=1)
    assert reply is not None
    assert reply.result == {"pipeline": "p", "iteration": 1, "state": "running", "stuck": 2}
