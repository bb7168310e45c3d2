"""Runs: what they plan, when they end, and how."""

from __future__ import annotations

from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import PipelineSpec
from odibi_actors.messages import Discover
from tests.broker.harness import Broker, Failure, pipeline
from tests.broker.scheduling import Timed


def batch_only() -> PipelineSpec:
    spec = pipeline(trigger="manual")
    read = spec.nodes[0]
    assert read.read is not None
    return replace(spec, nodes=[replace(read, read=replace(read.read, mode="batch", consumption="")), *spec.nodes[1:]])


def test_given_a_whole_file_that_changed_before_it_was_read_when_planned_again_then_the_run_reads_it() -> None:
    broker = Timed(batch_only()).start()
    broker.ask("pipeline.trigger", pipeline="p", run="r1")
    broker.discovered("whole")
    (task,) = broker.tasks()
    broker.take(Discover)
    broker.fail(task, "read", Failure("changed", "it changed"))
    assert [c.iterations for c in broker.of(rec.Cancel)] == [[1]]
    assert [d.run for d in broker.take(Discover)] == ["", "r1"]  # digests are taken again, then the run is told
    broker.sent.append(("source", Discover(1, "p", "r1")))  # the one above, answered now
    broker.discovered("whole again")
    broker.complete()
    assert [c.iteration for c in broker.of(rec.Commit)] == [2]
    assert broker.runs() == [("r1", "done")]


def test_given_parameters_when_triggered_then_tasks_have_them_and_keys_differ() -> None:
    keys = []
    for params in ({"day": 1}, {"day": 2}, {"day": 2}):
        broker = Timed(pipeline(trigger="manual")).start()
        broker.ask("pipeline.trigger", pipeline="p", run="r1", params=params)
        broker.discovered("f1")
        (task,) = broker.tasks()
        assert task.trigger.params == params
        keys.append({step.node.name: step.static for step in task.steps})
    assert keys[0]["read"] == keys[1]["read"]  # what was read does not depend on them
    assert keys[0]["t"] != keys[1]["t"] == keys[2]["t"]


def test_given_an_operator_who_cancels_all_of_a_run_when_it_ends_then_it_was_cancelled() -> None:
    broker = Timed(pipeline(trigger="manual")).start()
    broker.ask("pipeline.trigger", pipeline="p", run="r1")
    broker.discovered("f1")
    broker.ask("iteration.cancel", pipeline="p", iteration=1)
    assert broker.runs() == [("r1", "cancelled")]


def test_given_a_run_in_progress_when_another_is_triggered_then_it_is_a_conflict_and_the_same_one_is_not() -> None:
    broker = Timed(pipeline(trigger="manual")).start()
    for run, status in (("r1", 0), ("r2", 4), ("r1", 0)):
        reply = broker.ask("pipeline.trigger", pipeline="p", run=run)
        assert reply is not None
        assert reply.status == status
    assert [run.run for run in broker.of(rec.Run)] == ["r1"]


def test_given_a_whole_file_that_is_being_written_when_a_run_looks_then_it_waits_and_without_any_file_it_ends() -> None:
    broker = Timed(batch_only()).start()
    broker.ask("pipeline.trigger", pipeline="p", run="r1")
    broker.discovered(exhausted=False)
    assert broker.runs() == [("r1", "active")]
    broker.discovered("whole")
    shown = broker.ask("pipeline.show", pipeline="p")
    assert shown is not None
    assert shown.result["sources"][0]["offered"] is None, "every iteration reads all of it"
    broker.complete()
    broker.ask("pipeline.trigger", pipeline="p", run="r2")
    broker.discovered()
    assert broker.runs() == [("r1", "done"), ("r2", "no_data")]
    assert "no file matches" in broker.flow.pipelines["p"].problem


def test_given_a_source_that_does_not_answer_when_time_passes_then_the_run_asks_again_and_status_says_so() -> None:
    broker = Timed(batch_only()).start()
    broker.ask("pipeline.trigger", pipeline="p", run="r1")
    assert len(broker.take(Discover)) == 1
    broker.wait(6.0)
    broker.wait(6.0)
    assert len(broker.take(Discover)) == 2
    row = broker.ask("pipeline.show", pipeline="p")
    assert row is not None
    assert any("r1: source read has not said what there is" in problem for problem in row.result["problems"])


def test_given_a_pipeline_that_follows_its_data_then_params_are_refused_not_dropped() -> None:
    broker = Broker(pipeline()).start()
    reply = broker.ask("pipeline.trigger", pipeline="p", params={"day": 1})
    assert reply is not None
    assert (reply.status, "belongs to no run that could be given params" in reply.error) == (2, True)
    again = broker.ask("pipeline.trigger", pipeline="p")
    assert again is not None
    assert again.status == 0
