"""A broker after a crash: what the former one wrote goes through a real store, and the next loads it from there."""

from __future__ import annotations

from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.config.model import PipelineSpec
from tests.broker.harness import Broker


def snapshot(before: Broker) -> tuple[list[rec.AnyLoaded], int]:
    """What a store loads after everything the broker has written, and the number of the last record."""
    engine = Engine(":memory:")
    engine.claim(0, "b1")
    engine.apply(1, 1, before.records)
    items, cursor = engine.load()
    assert cursor == ""
    return items, engine.last_seq


def restarted(before: Broker, spec: PipelineSpec | None = None) -> Broker:
    """The next broker, with a new source and pool; ``spec``: it takes in this configuration."""
    items, last_seq = snapshot(before)
    return Broker(spec, recover=spec is None).start(items, epoch=2, last_seq=last_seq)
