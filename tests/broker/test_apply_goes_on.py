"""``apply`` takes away, or replaces, the node that failed: nothing is left to retry, and the iteration goes on."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import NodeSpec, PipelineSpec, TransformSpec
from tests.broker.harness import Broker, Failure, pipeline
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


def test_what_failed_of_a_node_that_stays_waits_for_its_retry() -> None:
    broker = failed()
    spec = with_bad()
    reply = broker.apply(replace(spec, nodes=[*spec.nodes, replace(spec.nodes[-1], name="more")]))
    assert reply.result["items"][0]["goes_on"] == []
    work(broker)
    assert broker.of(rec.Commit) == []
    assert broker.flow.pipelines["p"].state == "failed"
