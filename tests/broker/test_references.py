"""Sources that every iteration reads whole (mode ``batch``): what cannot read its reference does not run without it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import replace

from odibi_actors.actor import Log
from odibi_actors.broker import views
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import (
    BatchSpec,
    ConnectionSpec,
    NodeSpec,
    PipelineSpec,
    ReadSpec,
    RetrySpec,
    TransformSpec,
    WriteSpec,
)
from odibi_actors.messages import SOURCE, STORE, Discover, Heartbeat, Offer, Reply, Request, SourceProblem
from odibi_actors.model import Failure, Position
from odibi_actors.sources.file_position import file_position
from tests.broker.harness import POOL, Broker, position

KINDS = ("raised", "timeout", "died", "io", "malformed", "invalid", "code", "state_lost", "conflict")
"""All failures that end an iteration; ``changed`` plans it again."""


def joined(other: str = "batch", **more: object) -> PipelineSpec:
    """read and cust -> t -> a. ``cust`` is of this mode."""
    landing, lake = ConnectionSpec("landing", "local", "/landing"), ConnectionSpec("lake", "local", "/lake")
    once = RetrySpec(max_attempts=1)
    nodes = [
        NodeSpec("read", read=ReadSpec(landing, "csv", "file_watch")),
        NodeSpec("cust", read=ReadSpec(landing, "csv", other, path="ref"), retry=once),  # type: ignore[arg-type]
        NodeSpec("t", ["read", "cust"], transform=TransformSpec(function="nodes.m:f")),
        NodeSpec("a", ["t"], write=WriteSpec(lake, path="a", format="parquet")),
    ]
    settings = {"batch": BatchSpec(max_files=4), "max_in_flight": 2, **more}
    return PipelineSpec("p", nodes, **settings)  # type: ignore[arg-type]


def offer(broker: Broker, source: str, *names: str, size: int = 10) -> None:
    seq = broker.flow.pipelines["p"].sources[source].seq
    positions = [file_position(name, size, 1, 1, digest="d" if source == "cust" else "") for name in names]
    broker.say(SOURCE, Offer(broker.epoch, "f1", "p", source, seq, positions))


def given(on_error: str, spec: PipelineSpec | None = None) -> Broker:
    """An iteration of two files and a reference, whose node fails next."""
    broker = Broker(spec or joined(on_error=on_error)).start()
    broker.know(read=b"schema", cust=b"schema")
    offer(broker, "cust", "cust.csv", "more.csv")
    offer(broker, "read", "f1.csv", "f2.csv")
    broker.durable()
    return broker


def fail(broker: Broker, failure: Failure) -> None:
    """The attempt of ``cust`` ends so."""
    for task in broker.tasks():
        if task.steps[0].node.name == "cust":
            broker.fail(task, "cust", failure)


@pytest.mark.parametrize("on_error", ["halt", "dead_letter"])
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_fails_at_a_reference_halts_with_all_files_and_says_what_to_do(kind: str, on_error: str) -> None:
    broker = given(on_error)
    fail(broker, Failure(kind, "cust.csv line 3: bad", position="cust.csv"))  # type: ignore[arg-type]
    assert [f.iteration for f in broker.of(rec.Fail)] == [1]
    assert broker.of(rec.Revise) == broker.of(rec.DeadLetter) == broker.of(rec.Prepare) == []
    iteration = broker.flow.pipelines["p"].iterations[1]
    assert [p.identity for p in iteration.positions["read"]] == ["f1.csv", "f2.csv"]
    assert [p.identity for p in iteration.positions["cust"]] == ["cust.csv", "more.csv"]
    assert iteration.trouble.startswith("failed at cust: cust.csv line 3: bad. Every iteration reads all of cust")
    assert "fix or replace the file, then `odibictl iteration retry p 1`" in iteration.trouble
    assert ("nothing is set aside" in iteration.trouble) == (on_error == "dead_letter")


def test_a_reference_that_a_sink_of_ours_writes_is_nothing_to_edit() -> None:
    spec = joined()
    lake = ReadSpec(ConnectionSpec("lake", "local", "/lake"), "parquet", "batch", path="a")
    spec.nodes[1] = replace(spec.nodes[1], read=lake)
    broker = given("halt", spec)
    fail(broker, Failure("malformed", "bad", position="cust.csv"))
    says = "p.a writes it: change the read of cust in odibi.yaml, and `odibictl apply`, then `odibictl iteration retry"
    assert says in broker.flow.pipelines["p"].iterations[1].trouble


def test_a_failed_iteration_whose_reference_was_replaced_is_planned_again_with_the_new_one_when_retried() -> None:
    broker = given("dead_letter")
    fail(broker, Failure("malformed", "bad", position="cust.csv"))
    assert broker.ask("iteration.retry", pipeline="p", iteration=1) is not None
    fail(broker, Failure("changed", "it changed", position="cust.csv"))
    broker.durable()
    assert [c.iterations for c in broker.of(rec.Cancel)] == [[1]]
    assert "" in [d.run for d in broker.take(Discover)]
    offer(broker, "cust", "cust.csv", size=11)
    offer(broker, "read", "f1.csv", "f2.csv")
    plan = broker.of(rec.Plan)[-1]
    assert (plan.iteration, plan.positions["read"]) == (2, [position("f1.csv"), position("f2.csv")])
    assert [p.size for p in plan.positions["cust"]] == [11]


def test_a_reference_that_changes_before_every_read_makes_plans_ever_more_seldom_and_is_told() -> None:
    broker = given("halt")
    lane, plans = broker.flow.pipelines["p"].live, []
    for _ in range(60):
        tasks = [task for task in broker.tasks() if task.steps[0].node.name == "cust"]
        if tasks:
            plans.append(broker.now)
            broker.fail(tasks[0], "cust", Failure("changed", "it changed", position="cust.csv"))
            broker.durable()
            offer(broker, "cust", "cust.csv")
            offer(broker, "read", "f1.csv", "f2.csv")
        broker.durable()
        broker.say(POOL, Heartbeat(broker.epoch, [t.attempt for t in tasks]))
        broker.wait(1.0)
    waits = [after - before for before, after in pairwise(plans)]
    assert waits == sorted(waits)
    assert waits[-1] >= 16
    reply = broker.ask("status")
    assert reply is not None
    (told,) = [text for text in reply.result["pipelines"][0]["problems"] if "source cust" in text]
    assert f"its files changed {lane.voided} times between plan and read; planned again in" in told
    while not (tasks := [task for task in broker.tasks() if task.steps[0].node.name == "cust"]):
        broker.say(POOL, Heartbeat(broker.epoch))
        broker.wait(1.0)
    broker.finish(tasks[0])
    assert (lane.voided, lane.not_before) == (0, 0.0)


# --- two sources that consume -------------------------------------------------------------------------------------


def test_a_source_whose_only_file_is_malformed_takes_the_iteration_with_it_and_a_replay_brings_all() -> None:
    broker = Broker(joined("file_watch", on_error="dead_letter")).start()
    broker.ask("pipeline.pause", pipeline="p")
    broker.know(read=b"schema", cust=b"schema")
    offer(broker, "cust", "cust.csv")
    offer(broker, "read", "f1.csv", "f2.csv")
    broker.ask("pipeline.resume", pipeline="p")
    broker.durable()
    fail(broker, Failure("malformed", "bad", position="cust.csv"))
    assert [d.iteration for d in broker.of(rec.DeadLetter)] == [1]
    assert broker.of(rec.Revise) == []
    (plan,) = broker.of(rec.Plan)
    assert {name: len(files) for name, files in plan.positions.items()} == {"read": 2, "cust": 1}


# --- dead letters that are taken up ------------------------------------------------------------------------------


def replayed(broker: Broker) -> list[Position] | str | None:
    """Replay letter 7, which holds f1.csv: what is read of ``cust``, or why not; None: it waits."""
    file = file_position("f1.csv", 10, 1, 1).shown()
    row = {"id": 7, "pipeline": "p", "iteration": 1, "state": "open", "replay": 0, "whole": True, "trigger": {}}
    broker.ask("deadletter.replay", letter=7)
    for peer, result in ((STORE, {**row, "positions": {"read": [file]}}), (SOURCE, {"files": [file], "gone": []})):
        for request in broker.take(Request, to=peer):
            broker.say(peer, Reply(request.id, 0, result))
    replies = broker.replies()
    if not replies:
        return None
    return replies[0].error or broker.of(rec.Plan)[-1].positions["cust"]


def test_a_letter_is_taken_up_after_a_run_with_the_reference_as_it_is() -> None:
    spec = joined(trigger="manual")
    broker = Broker(spec).start()
    broker.know(read=b"schema", cust=b"schema")
    broker.ask("pipeline.trigger", pipeline="p")
    broker.durable()
    (run,) = {message.run for message in broker.take(Discover) if message.run}
    for source, names in (("cust", ["cust.csv"]), ("read", [])):
        seq = broker.flow.pipelines["p"].sources[source].seq
        positions = [file_position(name, 10, 1, 1, digest="d") for name in names]
        broker.say(SOURCE, Offer(broker.epoch, "f1", "p", source, seq, positions, run, exhausted=True))
    assert [end.state for end in broker.of(rec.RunEnd)] == ["no_data"]
    found = replayed(broker)
    assert isinstance(found, list)
    assert [position.identity for position in found] == ["cust.csv"]


def test_a_letter_waits_until_the_reference_was_looked_at() -> None:
    broker = Broker(joined()).start()
    broker.know(read=b"schema", cust=b"schema")
    assert replayed(broker) is None
    assert broker.of(rec.Plan) == []
    offer(broker, "cust", "cust.csv")
    for request in broker.take(Request, to=SOURCE):
        file = file_position("f1.csv", 10, 1, 1).shown()
        broker.say(SOURCE, Reply(request.id, 0, {"files": [file], "gone": []}))
    assert [position.identity for position in broker.of(rec.Plan)[-1].positions["cust"]] == ["cust.csv"]


def test_a_letter_is_refused_with_the_reason_why_its_reference_is_not_read() -> None:
    """A source that cannot look at its files never tells what there is."""
    broker = Broker(joined()).start()
    broker.know(read=b"schema", cust=b"schema")
    broker.say(SOURCE, SourceProblem("p", "cust", ["/landing/ref does not exist"]))
    assert replayed(broker) == "source cust of p: /landing/ref does not exist; once that is fixed, try again"


def test_a_pipeline_that_was_removed_has_no_problem_of_a_source_any_more() -> None:
    """Nobody looks any more whether it is still so."""
    broker = Broker(joined()).start()
    assert broker.ask("source.pause", pipeline="p", source="read") is not None
    broker.say(SOURCE, SourceProblem("p", "cust", ["folder /landing/ref does not exist"]))
    p = broker.flow.pipelines["p"]
    assert "source cust: folder /landing/ref does not exist" in views.pipeline_row(p)["problems"]
    assert broker.apply(replace(joined(), name="q")).status == 0
    shown = views.pipeline_detail(p)
    assert (shown["state"], shown["problems"], [one["problems"] for one in shown["sources"]]) == (
        "removed",
        [],
        [[], []],
    )


def test_a_letter_is_refused_while_no_reference_is_there() -> None:
    broker = Broker(joined()).start()
    broker.know(read=b"schema", cust=b"schema")
    offer(broker, "cust")
    found = replayed(broker)
    assert isinstance(found, str)
    assert "source cust of p has no file to read: none matches '*'" in found


def test_a_letter_whose_reference_changed_before_it_was_read_is_told_to_be_open_again() -> None:
    broker = Broker(joined()).start()
    broker.know(read=b"schema", cust=b"schema")
    offer(broker, "cust", "cust.csv")
    assert isinstance(replayed(broker), list)
    broker.durable()
    (task,) = [one for one in broker.tasks() if one.steps[0].node.name == "cust"]
    broker.fail(task, "cust", Failure("changed", "cust.csv is another one", position="cust.csv"))
    assert [cancel.iterations for cancel in broker.of(rec.Cancel)] == [[1]]
    (said,) = [e.text for e in broker.effects if isinstance(e, Log) and "dead letter" in e.text]
    assert said == (
        "p 1 is void, and dead letter 7, which it had taken up, is open again: `odibictl deadletter replay 7`"
    )
