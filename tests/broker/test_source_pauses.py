"""Sources that an operator has paused: nothing new of them is planned, and what they offer is kept."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from odibi_actors.broker import views
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import NodeSpec, PipelineSpec, ReadSpec
from odibi_actors.messages import SOURCE, Offer
from tests.broker.harness import Broker, pipeline, position
from tests.broker.restart import restarted


def joined(**more: Any) -> PipelineSpec:
    """read, more -> t -> (a, b)."""
    spec = pipeline(**more)
    first = spec.nodes[0].read
    assert first is not None
    second = NodeSpec("more", read=ReadSpec(first.connection, "csv", "file_watch", path="more"))
    return replace(
        spec, nodes=[spec.nodes[0], second, replace(spec.nodes[1], inputs=["read", "more"]), *spec.nodes[2:]]
    )


def offer(broker: Broker, source: str, *names: str, run: str = "", exhausted: bool = True) -> None:
    at = broker.flow.pipelines["p"].sources[source].seq
    positions = [position(name) for name in names]
    broker.say(SOURCE, Offer(broker.epoch, "f1", "p", source, at, positions, run, exhausted))


def planned(broker: Broker) -> list[dict[str, list[str]]]:
    return [{name: [p.identity for p in some] for name, some in plan.positions.items()} for plan in broker.of(rec.Plan)]


def asked(broker: Broker, verb: str, source: str = "read") -> tuple[int, Any]:
    reply = broker.ask(f"source.{verb}", pipeline="p", source=source)
    assert reply is not None
    return reply.status, reply.result if reply.status == 0 else reply.error


def problems(broker: Broker) -> list[str]:
    row = views.pipeline_row(broker.flow.pipelines["p"])
    return [text for text in row["problems"] if "paused" in text]


def test_given_a_paused_source_then_others_go_on_and_what_it_offered_is_planned_once_it_is_resumed() -> None:
    broker = Broker(joined()).start()
    broker.know(read=b"s", more=b"s")
    assert asked(broker, "pause") == (0, {"pipeline": "p", "source": "read", "paused": True, "offered": None})
    offer(broker, "read", "r1.csv", "r2.csv")
    offer(broker, "more", "m1.csv")
    assert planned(broker) == [{"read": [], "more": ["m1.csv"]}]
    assert problems(broker) == ["source read is paused, and 2 positions of it wait; `odibictl source resume p.read`"]
    assert asked(broker, "pause")[1]["offered"] == 2  # asked again: nothing changes
    assert [one.name for one in broker.of(rec.Setting) if one.scope == "p"] == ["paused read"]
    assert asked(broker, "resume")[1]["paused"] is False
    assert planned(broker)[1:] == [{"read": ["r1.csv"], "more": []}]
    assert problems(broker) == []


def test_given_a_pause_when_the_broker_is_another_or_the_source_reads_something_else_then_it_holds() -> None:
    spec = joined()
    first = Broker(spec).start()
    first.know(read=b"s", more=b"s")
    offer(first, "read", "r1.csv")
    asked(first, "pause")
    broker = restarted(first)
    broker.know(read=b"s", more=b"s")
    offer(broker, "read", "r2.csv")
    assert (planned(broker), len(problems(broker))) == ([], 1)
    read = spec.nodes[0].read
    assert read is not None
    other = replace(spec.nodes[0], read=replace(read, pattern="r*"))
    assert broker.apply(replace(spec, nodes=[other, *spec.nodes[1:]])).status == 0
    offer(broker, "read", "r3.csv")
    assert planned(broker) == []
    asked(broker, "resume")
    assert [plan["read"] for plan in planned(broker)] == [["r3.csv"]]


def test_given_a_run_then_it_waits_for_nothing_of_a_paused_source_and_says_so() -> None:
    broker = Broker(joined(trigger="manual")).start()
    broker.know(read=b"s", more=b"s")
    asked(broker, "pause")
    broker.ask("pipeline.trigger", pipeline="p", run="r1")
    offer(broker, "read", "r1.csv", run="r1", exhausted=False)
    offer(broker, "more", run="r1")
    broker.durable()
    assert [(end.run, end.state) for end in broker.of(rec.RunEnd)] == [("r1", "no_data")]
    assert any("source read is paused" in str(effect) for effect in broker.effects)


def test_given_what_cannot_be_paused_then_it_is_said_why() -> None:
    spec = joined()
    read = spec.nodes[1].read
    assert read is not None
    reference = replace(spec.nodes[1], read=replace(read, mode="batch", consumption="pinned"))
    broker = Broker(replace(spec, nodes=[spec.nodes[0], reference, *spec.nodes[2:]])).start()
    status, error = asked(broker, "pause", "more")
    assert (status, "odibictl pipeline pause p" in error) == (4, True)
    assert asked(broker, "pause", "t") == (3, "pipeline p has no source 't'; its sources: read, more")
    never_read = Broker(joined()).start()
    asked(never_read, "pause")
    offer(never_read, "more", "m1.csv")
    said = "source read: it is paused before its first file, which tells its schema"
    assert (planned(never_read), said in views.pipeline_row(never_read.flow.pipelines["p"])["problems"]) == ([], True)
