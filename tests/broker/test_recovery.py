"""What a broker knows after a crash: all that was durable, from a whole snapshot, and nothing of its predecessor's."""

from __future__ import annotations

import msgspec

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import PipelineSpec
from odibi_actors.messages import LOCAL, STORE, Claim, Claimed, Load, LoadedPage, StoreHello, Tick
from odibi_actors.model import Attempt
from tests.broker.harness import Broker, Failure, pipeline
from tests.broker.restart import restarted, snapshot

RAISED = Failure("raised", "boom")


def _failing(times: int) -> Broker:
    """A broker whose first task has raised so often, of two attempts it has."""
    broker = Broker().start()
    broker.offer("f1.csv")
    for _ in range(times):
        (task,) = broker.tasks()
        broker.fail(task, "read", RAISED)
        broker.wait(2)
    return broker


def test_given_a_counted_attempt_when_restarted_then_it_still_counts() -> None:
    after = restarted(_failing(1))
    (task,) = after.tasks()
    assert task.attempt_no == 2
    after.fail(task, "read", RAISED)
    assert [f.iteration for f in after.of(rec.Fail)] == [1]


def test_given_a_failed_iteration_when_restarted_then_it_waits_for_an_operator() -> None:
    after = restarted(_failing(2))
    assert after.flow.pipelines["p"].state == "failed"
    assert after.tasks() == []
    after.ask("iteration.retry", pipeline="p", iteration=1)
    assert [t.attempt_no for t in after.tasks()] == [1]


def test_given_a_paused_pipeline_when_restarted_then_it_is_paused() -> None:
    before = Broker().start()
    before.ask("pipeline.pause", pipeline="p")
    after = restarted(before)
    after.offer("f1.csv")
    assert after.of(rec.Plan) == []
    after.ask("pipeline.resume", pipeline="p")
    assert len(after.tasks()) == 1


def test_given_a_new_epoch_when_tasks_are_given_out_then_no_attempt_id_comes_again() -> None:
    before = Broker().start()
    before.offer("f1.csv")
    (former,) = before.tasks()
    (again,) = restarted(before).tasks()
    assert (former.attempt, again.attempt) == (Attempt(1, 1), Attempt(2, 1))


def test_given_a_snapshot_of_many_pages_when_loading_then_each_is_taken_once_and_nothing_is_done_before_the_last() -> (
    None
):
    before = Broker().start()
    before.offer("f1.csv")
    items, last_seq = snapshot(before)
    broker = Broker(recover=True)
    broker.say(STORE, StoreHello("s1", "host", 1, "store", 1, last_seq))
    (claim,) = broker.take(Claim)
    broker.say(STORE, Claimed(2, last_seq, claim.claimant))
    pages = [
        LoadedPage(2, [item], str(n + 1) if n + 1 < len(items) else "", str(n) if n else "")
        for n, item in enumerate(items)
    ]
    for page in pages:
        assert [load.cursor for load in broker.take(Load)] == [page.asked]
        assert broker.actor.flow is None
        broker.say(STORE, page)
        if page.cursor:
            broker.say(STORE, page)  # a message that comes twice
    assert [i.number for i in broker.flow.pipelines["p"].unfinished()] == [1]


def test_given_a_store_that_does_not_answer_when_loading_then_it_is_asked_again_and_nothing_begins() -> None:
    broker = Broker(recover=True)
    broker.say(STORE, StoreHello("s1", "host", 1, "store", 1, 5))
    (claim,) = broker.take(Claim)
    broker.say(STORE, Claimed(2, 5, claim.claimant))
    assert len(broker.take(Load)) == 1
    for _ in range(60):
        broker.now += 1.0
        broker.say(LOCAL, Tick())
    assert len(broker.take(Load)) > 10
    assert broker.actor.flow is None


# --- new configuration ------------------------------------------------------------------------------------------------


def _changed() -> PipelineSpec:
    """The pipeline with other parameters of its transform."""
    spec = pipeline()
    nodes = [
        msgspec.structs.replace(n, transform=msgspec.structs.replace(n.transform, params={"x": 1}))
        if n.transform
        else n
        for n in spec.nodes
    ]
    return msgspec.structs.replace(spec, nodes=nodes)


def test_given_a_prepared_iteration_when_the_configuration_changes_then_it_stays_as_it_is() -> None:
    before = Broker().start()
    before.offer("f1.csv")
    before.compute()
    after = restarted(before, _changed())
    assert after.of(rec.Version)[0].version == 2
    assert after.of(rec.Invalidate) == []
    assert {t.node.name: t.part for t in after.publications()} == before.of(rec.Prepare)[0].sinks
    assert {run.state for run in after.flow.pipelines["p"].iterations[1].nodes.values()} == {"acked"}
