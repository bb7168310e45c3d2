"""A source that reads something else since ``apply``: what it had said counts no more, and it is asked again."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.digest import read_digest
from odibi_actors.config.model import PipelineSpec, ReadSpec
from odibi_actors.messages import SOURCE, Discover, Offer, Sources
from odibi_actors.model import Failure
from odibi_actors.sources.file_position import file_position
from tests.broker.harness import Broker
from tests.broker.test_references import given, joined


def changed(spec: PipelineSpec, source: str, **keys: Any) -> PipelineSpec:
    nodes = [
        replace(node, read=replace(node.read, **keys)) if node.read and node.name == source else node
        for node in spec.nodes
    ]
    return replace(spec, nodes=nodes)


def reads(broker: Broker, source: str) -> ReadSpec:
    read = broker.flow.pipelines["p"].sources[source].node.read
    assert read is not None
    return read


def offer(broker: Broker, source: str, *names: str, read: ReadSpec | None = None, run: str = "") -> None:
    state = broker.flow.pipelines["p"].sources[source]
    positions = [file_position(name, 10, 1, 1, digest="d" if source == "cust" else "") for name in names]
    of = read_digest(read or reads(broker, source))
    broker.say(SOURCE, Offer(broker.epoch, "f1", "p", source, state.seq, positions, run, read=of))


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("cust", {"pattern": "new-*"}),
    ("cust", {"path": "elsewhere"}),
    ("cust", {"mode": "file_watch"}),
    ("read", {"path": "elsewhere"}),
]


@pytest.mark.parametrize(("source", "keys"), CHANGES)
@pytest.mark.parametrize("state", ["running", "failed"])
def test_what_was_planned_from_a_source_that_reads_something_else_is_planned_again(
    source: str, keys: dict[str, Any], state: str
) -> None:
    broker = given("halt")
    if state == "failed":
        (task,) = [t for t in broker.tasks() if t.steps[0].node.name == "cust"]
        broker.fail(task, "cust", Failure("malformed", "bad", position="cust.csv"))
    broker.apply(changed(joined(on_error="halt"), source, **keys))
    (cancel,) = broker.of(rec.Cancel)
    assert (cancel.iterations, cancel.reason.startswith(rec.PLANNED_AGAIN)) == ([1], True)
    assert "version 2" in cancel.reason
    assert source in cancel.reason
    broker.durable()
    offer(broker, "cust", "new.csv")
    offer(broker, "read", "f1.csv", "f2.csv")
    plans = broker.of(rec.Plan)[1:]
    assert (plans[0].iteration, plans[0].version) == (2, 2)
    assert [p.identity for plan in plans for p in plan.positions["cust"]] == ["new.csv"]
    assert [p.identity for plan in plans for p in plan.positions["read"]] == ["f1.csv", "f2.csv"]


@pytest.mark.parametrize("keys", [{"schema": {"x": "int64"}}, {"settle": 5.0}, {"options": {"delimiter": ";"}}])
def test_what_was_planned_stays_where_the_same_files_are_read_otherwise(keys: dict[str, Any]) -> None:
    broker = given("halt")
    broker.apply(changed(joined(on_error="halt"), "cust", **keys))
    assert broker.of(rec.Cancel) == []
    assert list(broker.flow.pipelines["p"].iterations) == [1]


def test_what_a_source_had_said_before_it_changed_is_not_planned() -> None:
    broker = Broker(joined(on_error="halt")).start()
    broker.know(read=b"schema", cust=b"schema")
    offer(broker, "cust", "old.csv")
    former = reads(broker, "cust")
    broker.apply(changed(joined(on_error="halt"), "cust", pattern="new-*"))
    offer(broker, "read", "f1.csv")
    assert broker.of(rec.Plan) == []
    offer(broker, "cust", "old.csv", read=former)  # it was on its way
    assert broker.of(rec.Plan) == []
    offer(broker, "cust", "new-1.csv")
    (plan,) = broker.of(rec.Plan)
    assert [p.identity for p in plan.positions["cust"]] == ["new-1.csv"]


@pytest.mark.parametrize("keys", [{"settle": 3.0}, {"pattern": "*.csv"}])
def test_a_run_that_plans_asks_a_changed_source_again_and_ends(keys: dict[str, Any]) -> None:
    spec = joined("file_watch", on_error="halt", trigger="manual", max_in_flight=1)
    broker = Broker(spec).start()
    broker.know(read=b"schema", cust=b"schema")
    assert broker.ask("pipeline.trigger", pipeline="p") is not None
    broker.durable()
    (run,) = {message.run for message in broker.take(Discover) if message.run}
    offer(broker, "cust", "c1.csv", run=run)
    broker.apply(changed(spec, "cust", **keys))
    broker.take(Sources)
    broker.wait(5.1)
    broker.wait(5.1)
    assert run in {message.run for message in broker.take(Discover)}
    offer(broker, "cust", "c1.csv", run=run)
    offer(broker, "read", run=run)
    broker.durable()
    (plan,) = broker.of(rec.Plan)
    assert [p.identity for p in plan.positions["cust"]] == ["c1.csv"]
