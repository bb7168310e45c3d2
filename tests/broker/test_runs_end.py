"""Runs that cannot go on come to an end: nobody else would end them."""

from __future__ import annotations

from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import BatchSpec, NodeSpec, PipelineSpec, ReadSpec
from odibi_actors.messages import SOURCE, Apply, Discover, Offer
from tests.broker.harness import CLIENT, Failure, pipeline, position, project
from tests.broker.scheduling import Timed, hourly, occurrence, scheduled


def two_sources() -> PipelineSpec:
    """Its second source has never read anything."""
    spec = pipeline(trigger="schedule", schedules=[hourly(overlap="buffer_all")], batch=BatchSpec(max_files=4))
    first = spec.nodes[0]
    assert first.read is not None
    more = NodeSpec("more", read=ReadSpec(first.read.connection, "csv", "file_watch", path="more"))
    transform = spec.nodes[1]
    joined = NodeSpec("t", ["read", "more"], transform=transform.transform)
    return PipelineSpec("p", [first, more, joined, *spec.nodes[2:]], "schedule", schedules=spec.schedules)


def look(broker: Timed, run: str, files: dict[str, list[str]], more: str = "") -> None:
    """The sources say what they have; ``more``: this one has more than its credit lets it say."""
    for source, state in broker.flow.pipelines["p"].live.sources.items():
        found = [position(name) for name in files.get(source, [])]
        broker.say(SOURCE, Offer(broker.epoch, "f1", "p", source, state.seq, found, run, source != more))


def test_given_a_source_that_has_no_schema_and_no_file_when_all_is_looked_at_then_the_run_ends_and_says_why() -> None:
    broker = Timed(two_sources()).start()
    broker.due(occurrence(1), occurrence(2))
    first, second = (f"p.hourly@{occurrence(n).id}" for n in (1, 2))

    look(broker, first, {"read": ["f1"]})

    assert broker.runs() == [(first, "no_data"), (second, "active")]
    assert "source more: no file yet to learn its schema from" in broker.flow.pipelines["p"].problem

    look(broker, second, {"read": ["f1"], "more": ["g1"]})
    broker.complete()

    assert broker.runs() == [(first, "no_data"), (second, "done")]


def test_given_a_source_that_has_no_schema_when_the_other_has_more_than_its_credit_then_the_run_ends_all_the_same() -> (
    None
):
    broker = Timed(two_sources()).start()
    broker.due(occurrence(1))

    look(broker, f"p.hourly@{occurrence(1).id}", {"read": ["f1", "f2"]}, more="read")

    assert [state for _, state in broker.runs()] == ["no_data"]


def test_given_a_source_that_hears_of_an_earlier_run_again_when_it_answers_then_it_is_asked_for_the_present_one() -> (
    None
):
    broker = Timed(scheduled(hourly(overlap="buffer_all"))).start()
    broker.due(occurrence(1), occurrence(2))
    first, second = (f"p.hourly@{occurrence(n).id}" for n in (1, 2))
    look(broker, first, {})
    look(broker, second, {}, more="read")  # not yet exhausted
    broker.take(Discover)

    look(broker, first, {"read": ["f1"]})
    broker.wait(5.0)

    assert [one.run for one in broker.take(Discover)] == [second]
    look(broker, second, {"read": ["f1"]})
    assert [plan.run for plan in broker.of(rec.Plan)] == [second]


def test_given_a_retried_iteration_that_fails_again_then_a_run_that_found_nothing_more_has_failed_too() -> None:
    broker = Timed(pipeline(trigger="manual")).start()
    broker.ask("pipeline.trigger", pipeline="p", run="r1")
    broker.discovered("f1")
    (task,) = broker.tasks()
    broker.fail(task, "read", Failure("invalid", "no"))
    broker.ask("pipeline.trigger", pipeline="p", run="r2", retry=True)
    (task,) = broker.tasks()
    broker.discovered()
    assert broker.runs()[1] == ("r2", "active")

    broker.fail(task, "read", Failure("invalid", "no"))

    assert broker.runs() == [("r1", "failed"), ("r2", "failed")]


def test_given_a_run_that_found_nothing_when_one_before_it_is_stuck_then_it_has_failed_too() -> None:
    broker = Timed(scheduled(hourly(overlap="allow"))).start()
    first, second = (f"p.hourly@{occurrence(n).id}" for n in (1, 2))
    broker.due(occurrence(1))
    broker.discovered("f1")
    (task,) = broker.tasks()
    broker.due(occurrence(2))
    broker.discovered()
    assert broker.runs() == [(first, "active"), (second, "active")]

    broker.fail(task, "read", Failure("invalid", "no"))

    assert broker.runs() == [(first, "failed"), (second, "failed")]


def test_given_two_runs_that_have_planned_when_the_sources_change_then_they_plan_again_in_their_order() -> None:
    spec = scheduled(hourly(overlap="allow"), max_in_flight=4)
    broker = Timed(spec).start()
    for number in (1, 2):
        broker.due(occurrence(number))
        broker.discovered(f"f{number}")
    read = spec.nodes[0].read
    assert read is not None
    reference = NodeSpec("ref", read=ReadSpec(read.connection, "csv", "batch", path="ref"))
    joined = NodeSpec("t", ["read", "ref"], transform=spec.nodes[1].transform)
    changed = replace(spec, nodes=[spec.nodes[0], reference, joined, *spec.nodes[2:]])

    broker.say(CLIENT, Apply("a", project(changed)))

    assert list(broker.flow.pipelines["p"].live.runs) == [f"p.hourly@{occurrence(n).id}" for n in (1, 2)]


def test_given_a_reference_that_is_being_written_when_a_run_looks_then_it_waits_for_it() -> None:
    spec = pipeline(trigger="schedule", schedules=[hourly()])
    first = spec.nodes[0]
    assert first.read is not None
    whole = replace(first, read=replace(first.read, mode="batch", consumption=""))
    broker = Timed(replace(spec, nodes=[whole, *spec.nodes[1:]])).start()
    broker.due(occurrence(1))
    run = f"p.hourly@{occurrence(1).id}"
    seq = broker.flow.pipelines["p"].live.sources["read"].seq

    broker.say(SOURCE, Offer(broker.epoch, "f1", "p", "read", seq, [], run, exhausted=False))
    assert broker.runs() == [(run, "active")]

    broker.say(SOURCE, Offer(broker.epoch, "f1", "p", "read", seq, [position("f1")], run))
    broker.complete()
    assert broker.runs() == [(run, "done")]


def test_given_a_cancel_while_a_run_plans_then_it_asks_again_and_plans_what_was_given_back_and_the_rest() -> None:
    broker = Timed(pipeline(trigger="manual")).start()
    broker.ask("pipeline.trigger", pipeline="p", run="r1")
    broker.discovered("f1", "f2", "f3")  # two iterations of a file each are in flight, and one file waits
    broker.durable()
    reply = broker.ask("iteration.cancel", pipeline="p", iteration=1)
    assert reply is not None
    assert reply.status == 0
    broker.wait(1.0)
    assert broker.runs() == [("r1", "active")]
    broker.wait(5.0)
    assert [one.run for one in broker.take(Discover)] == ["r1", "r1"]
    source = broker.flow.pipelines["p"].sources["read"]
    there = [position(name) for name in ("f1", "f2", "f3")]
    broker.say(SOURCE, Offer(broker.epoch, "f1", "p", "read", source.seq, there, "r1", True))
    broker.complete()
    source_seq = broker.flow.pipelines["p"].sources["read"].seq
    broker.say(SOURCE, Offer(broker.epoch, "f1", "p", "read", source_seq, [position("f3")], "r1", True))
    broker.complete()
    planned = [[p.identity for p in plan.positions["read"]] for plan in broker.of(rec.Plan)]
    assert planned[2:] == [["f1"], ["f2"], ["f3"]]
    assert broker.runs() == [("r1", "done")]
