"""``apply`` takes away, or replaces, the node that failed: nothing is left to retry, and the iteration goes on."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import CodeSpec, NodeSpec, PipelineSpec, TransformSpec
from odibi_actors.messages import Offer
from odibi_actors.sources.file_position import file_position
from tests.broker import test_again
from tests.broker.harness import SOURCE, Broker, Failure, pipeline
from tests.broker.restart import restarted
from tests.broker.test_waits import work

BAD = Failure("code", "no module named nodes.bad")


def with_bad(node: str = "bad") -> PipelineSpec:
    """One more node, which fails."""
    spec = pipeline()
    bad = NodeSpec(node, ["read"], transform=TransformSpec(function="nodes.bad:f"))
    return replace(spec, nodes=[*spec.nodes, bad])


def failed() -> Broker:
    """Iteration 1 has failed at ``bad``, and done everything else."""
    broker = Broker(with_bad()).start()
    broker.offer("f1.csv")
    while tasks := broker.tasks():
        for task in tasks:
            steps = [step.node.name for step in task.steps]
            if "bad" in steps:
                done = [one for one in broker.run(task) if one.node != "bad"]
                broker.results(*done)
                broker.fail(task, "bad", BAD)
            else:
                broker.finish(task)
    broker.durable()
    assert broker.flow.pipelines["p"].state == "failed"
    return broker


def good() -> PipelineSpec:
    spec = with_bad()
    return replace(
        spec, nodes=[*spec.nodes[:-1], replace(spec.nodes[-1], transform=TransformSpec(function="nodes.good:f"))]
    )


@pytest.mark.parametrize("spec", [pipeline(), good()], ids=["it is gone", "it is another one"])
@pytest.mark.parametrize("restart", [False, True])
def test_what_failed_of_a_node_that_is_no_more_goes_on_by_itself(spec: PipelineSpec, restart: bool) -> None:
    broker = failed()
    if restart:
        broker = restarted(broker, spec)
    else:
        reply = broker.apply(spec)
        (row,) = reply.result["items"]
        assert (row["version"], row["goes_on"]) == (2, [1])
    work(broker)
    assert [one.iteration for one in broker.of(rec.Commit)] == [1]
    assert broker.flow.pipelines["p"].state == "active"
    retry = broker.ask("iteration.retry", pipeline="p", iteration=1)
    assert retry is not None
    assert (retry.status, retry.result["version"]) == (0, 2)


def test_what_failed_of_a_node_that_stays_waits_for_its_retry_and_what_was_read_stays() -> None:
    broker = failed()
    spec = replace(with_bad(), code=CodeSpec(nodes={"read": "of a function that is polled"}))
    reply = broker.apply(replace(spec, nodes=[*spec.nodes, replace(spec.nodes[-1], name="more")]))
    assert reply.result["items"][0]["goes_on"] == []
    assert [step.node.name for task in broker.tasks() for step in task.steps] == ["more"]
    work(broker)
    assert broker.of(rec.Commit) == []
    assert broker.flow.pipelines["p"].state == "failed"


def reads_otherwise() -> PipelineSpec:
    spec = pipeline()
    assert spec.nodes[0].read is not None
    read = replace(spec.nodes[0].read, options={"delimiter": ";"})
    return replace(spec, nodes=[replace(spec.nodes[0], read=read), *spec.nodes[1:]])


@pytest.mark.parametrize("restart", [False, True])
def test_given_a_file_corrected_in_place_when_its_source_is_another_one_then_it_is_planned_again(restart: bool) -> None:
    """It had failed of its file: what was done about the file is read at once, as after a retry."""
    broker = test_again.failed()
    if restart:
        broker = restarted(broker, reads_otherwise())
    else:
        assert broker.apply(reads_otherwise()).result["items"][0]["goes_on"] == [1]
    broker.durable()
    task = next(task for task in broker.tasks() if task.iteration == 1)
    broker.fail(task, "read", Failure("changed", "f1.csv is not the file that was planned", position="f1.csv"))
    (cancel,) = broker.of(rec.Cancel)
    assert cancel.iterations == [1, 2]
    assert cancel.reason == (
        f"{rec.PLANNED_AGAIN}version 2 changes read, and f1.csv is not the file that was planned, with the files of "
        "read as they are now, without those that are gone"
    )
    broker.durable()
    seq = broker.flow.pipelines["p"].sources["read"].seq
    broker.say(SOURCE, Offer(broker.epoch, "f1", "p", "read", seq, [file_position("f1.csv", 99, 7, 7)]))
    test_again.commit(broker)
    assert [one.iteration for one in broker.of(rec.Commit)] == [3]
    assert broker.flow.pipelines["p"].state == "active"


def test_given_what_had_failed_elsewhere_when_a_file_changed_meanwhile_then_an_operator_decides() -> None:
    """What was read of a file may be gone since: planned again by itself it would be lost."""
    broker = failed()
    broker.apply(replace(reads_otherwise(), nodes=[*reads_otherwise().nodes, good().nodes[-1]]))
    broker.durable()
    task = next(task for task in broker.tasks() if any(step.node.name == "read" for step in task.steps))
    broker.fail(task, "read", Failure("changed", "f1.csv is not the file that was planned", position="f1.csv"))
    assert broker.of(rec.Cancel) == []
    assert broker.flow.pipelines["p"].state == "failed"
    assert broker.of(rec.Error)[-1].failure.text == (
        "f1.csv is not the file that was planned. A planned file must stay as it is until it is read: deliver new data "
        "under a new name. `odibictl iteration retry p 1` plans again what is there now"
    )
