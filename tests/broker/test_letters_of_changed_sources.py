"""Dead letters whose sources are read otherwise by now: a file lies in a letter, or is read by others, never both."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from odibi_actors.actor import Log
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import ConnectionSpec, NodeSpec, PipelineSpec, ReadSpec
from odibi_actors.messages import SOURCE, STORE, Offer
from odibi_actors.sources.file_position import file_position
from tests.broker.harness import Broker, pipeline
from tests.broker.test_operators import answer, letter, replies

FILE, RATES = file_position("f2.csv", 10, 1, 1), file_position("r.csv", 3, 1, 2)
LEFT = {"positions": {"read": [FILE.shown()], "rates": [RATES.shown()]}, "consumed": ["read"]}
"""Of an iteration that had ``rates`` as a reference."""


def joined(**modes: str) -> PipelineSpec:
    """Source ``rates`` beside ``read``, each in its mode."""
    spec = pipeline(on_error="dead_letter")
    rates = NodeSpec("rates", read=ReadSpec(ConnectionSpec("landing", "local", "/rates"), "csv", "file_watch"))
    nodes = [replace(node, inputs=["read", "rates"]) if node.name == "t" else node for node in [rates, *spec.nodes]]
    return replace(spec, nodes=[as_read(node, modes.get(node.name, "")) for node in nodes])


def as_read(node: NodeSpec, mode: str) -> NodeSpec:
    if node.read is None or mode != "batch":
        return node
    return replace(node, read=replace(node.read, mode="batch", consumption="pinned"))


def replayed(**modes: str) -> Broker:
    broker = Broker(joined(**modes)).start()
    broker.flow.pipelines["p"].last_iteration = 2
    broker.know(read=b"schema", rates=b"schema")
    for name, mode in modes.items():
        if mode == "batch":
            broker.say(SOURCE, Offer(1, "f1", "p", name, 0, [file_position("now.csv", 5, 1, 3)]))
    assert broker.ask("deadletter.replay", letter=7) is None
    answer(broker, STORE, letter(**LEFT))
    return broker


def planned(broker: Broker) -> rec.Plan:
    (plan,) = broker.of(rec.Plan)
    return plan


def told(broker: Broker) -> list[Any]:
    return [effect.text for effect in broker.effects if isinstance(effect, Log) and "open again" in effect.text]


def test_given_a_reference_that_is_watched_by_now_then_a_replay_takes_nothing_of_what_was_read_of_it() -> None:
    broker = replayed(read="file_watch", rates="file_watch")
    answer(broker, SOURCE, {"files": [FILE.shown()], "gone": []})
    (reply,) = replies(broker)
    assert reply.result == {"letter": 7, "pipeline": "p", "files": 1, "iteration": 3}
    assert planned(broker).positions == {"read": [replace(FILE, generation=2)], "rates": []}


def test_given_a_file_whose_source_is_read_whole_by_now_then_its_letter_is_open_when_the_replay_is_void() -> None:
    broker = replayed(read="batch", rates="file_watch")
    (reply,) = replies(broker)
    assert reply.status == 0
    assert planned(broker).replay == rec.Replay(7, 2, True, keeps=True)
    assert {name: [one.identity for one in some] for name, some in planned(broker).positions.items()} == {
        "read": ["now.csv"],
        "rates": [],
    }
    broker.durable()
    broker.ask("iteration.cancel", pipeline="p", iteration=3)
    assert len(told(broker)) == 1
