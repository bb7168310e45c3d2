"""Schemas of sinks: told by the part of the first iteration, and never changed by themselves. Part of ``flow``.

A sink that has no pin tells the schema of its part with its result. The result of the lowest iteration stands: it pins
the schema durably, and the schema is among what the keys of the sink's acknowledgements cover, so that parts that were
staged with another one do not stand and are made again. The pin belongs to what is committed: when its iteration is
void, so is the pin. The broker carries the bytes, and knows nothing of Arrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import NodeSpec
from odibi_actors.errors import ConflictError
from odibi_actors.messages import NodeDone
from odibi_actors.model import pin_digest

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow
    from odibi_actors.broker.iteration import Iteration
    from odibi_actors.broker.pipeline import Pipeline


class Pins:
    """The pins of one pipeline's sinks. One that was made for another target than the node's counts for nothing."""

    def __init__(self) -> None:
        self._pins: dict[str, tuple[rec.Schema, str]] = {}

    def put(self, pin: rec.Schema) -> None:
        """The newest pin of this sink."""
        self._pins[pin.node] = (pin, "" if pin.open else pin_digest(pin.arrow))

    def drop(self, node: str) -> None:
        """The sink has none."""
        self._pins.pop(node, None)

    def clear(self) -> None:
        """No sink has one."""
        self._pins.clear()

    def get(self, node: str, target: str) -> rec.Schema | None:
        """The pin of a sink with this target."""
        pin, _ = self._pins.get(node, (None, ""))
        return pin if pin is not None and pin.target == target else None

    def digest(self, sink: NodeSpec) -> str:
        """Digest of the schema a sink is held to; "" when it is free."""
        if sink.write is None or self.get(sink.name, sink.write.target) is None:
            return ""
        return self._pins[sink.name][1]

    def of(self, iterations: list[int]) -> list[rec.Schema]:
        """The pins that parts of these iterations told."""
        return [pin for pin, _ in self._pins.values() if pin.iteration in iterations]


def _free(pipeline: Pipeline, iteration: Iteration, pin: rec.Schema | None) -> bool:
    """The iteration's part may tell the schema: none is pinned, or only by itself or a later one, which goes after
    it."""
    if pin is None or pin.open or pin.iteration == iteration.number:
        return True
    holder = pipeline.iterations.get(pin.iteration)
    waits = holder is not None and not holder.prepared and not holder.terminal
    return waits and iteration.number < pin.iteration


def _pin(pipeline: Pipeline, sink: NodeSpec) -> rec.Schema | None:
    return pipeline.pins.get(sink.name, sink.write.target) if sink.write is not None else None


def given(pipeline: Pipeline, iteration: Iteration, sink: NodeSpec) -> tuple[bytes, bool]:
    """(schema, open) to stage this iteration's part with; b"" lets the part tell it."""
    pin = _pin(pipeline, sink)
    if pin is not None and pin.open:
        return pin.arrow, True
    if pin is None or _free(pipeline, iteration, pin):
        former = pin.former if pin is not None else b""
        return former, bool(former)
    return pin.arrow, False


def told(pipeline: Pipeline, iteration: Iteration, sink: NodeSpec, done: NodeDone) -> str | None:
    """Digest of the schema that a result tells, if it may tell one; None: the pinned one holds."""
    if sink.write is None or not done.schema or not _free(pipeline, iteration, _pin(pipeline, sink)):
        return None
    return pin_digest(done.schema)


def take(flow: Flow, pipeline: Pipeline, iteration: Iteration, sink: NodeSpec, done: NodeDone) -> None:
    """The part of this iteration is acknowledged: its schema is pinned, and parts made with another one are void."""
    pin = _pin(pipeline, sink)
    if sink.write is None or not done.schema or not _free(pipeline, iteration, pin):
        return
    former = b"" if pin is None else pin.arrow if pin.open else pin.former
    _write(
        flow,
        pipeline,
        rec.Schema(
            pipeline=pipeline.name,
            node=sink.name,
            arrow=done.schema,
            text=done.schema_text,
            target=sink.write.target,
            iteration=iteration.number,
            former=former,
        ),
    )
    _void(flow, pipeline, iteration.number, f"iteration {iteration.number} tells another schema of {sink.name}")


def prepared(flow: Flow, pipeline: Pipeline, iteration: Iteration) -> None:
    """The iteration only rolls forward: pins that an unprepared one told, of another lane, are its own from here on."""
    for node, part in iteration.parts().items():
        pin = pipeline.pins.get(node, part.place)
        holder = pipeline.iterations.get(pin.iteration) if pin is not None and not pin.open else None
        if pin is not None and holder is not None and not holder.prepared and not holder.terminal:
            _write(flow, pipeline, replace(pin, iteration=iteration.number))


def abandoned(flow: Flow, pipeline: Pipeline, iteration: Iteration, node: str) -> None:
    """Nothing of this sink is published for the iteration: a pin that it told stays, and says nothing of the target."""
    for pin in pipeline.pins.of([iteration.number]):
        if pin.node == node:
            _write(flow, pipeline, replace(pin, iteration=0))


def release(flow: Flow, pipeline: Pipeline, iterations: list[int]) -> None:
    """These iterations are void, and with them the pins that they told; the store does the same with that record."""
    for pin in pipeline.pins.of(iterations):
        if pin.former:
            pipeline.pins.put(replace(pin, arrow=pin.former, former=b"", iteration=0, open=True))
        else:
            pipeline.pins.drop(pin.node)
        _void(flow, pipeline, 0, f"the schema of {pin.node} is void")


def reopen(flow: Flow, pipeline: Pipeline, node: str) -> rec.Schema:
    """Let the next part of a sink bring other columns. Raises ConflictError."""
    spec = next((one for one in pipeline.spec.nodes if one.name == node), None)
    assert spec is not None
    assert spec.write is not None
    pin = _pin(pipeline, spec)
    if pin is not None and pin.open:
        return pin
    holder = pipeline.iterations.get(pin.iteration) if pin is not None else None
    if holder is not None and not holder.terminal and not holder.prepared:
        raise ConflictError(
            f"sink {node} of {pipeline.name} is pinned by iteration {holder.number}, which is not committed: cancel it"
        )
    arrow, text = (pin.arrow, pin.text) if pin is not None else (b"", [])
    opened = rec.Schema(pipeline.name, node, arrow, text, target=spec.write.target, open=True)
    _write(flow, pipeline, opened)
    _void(flow, pipeline, 0, f"sink {node} is pinned again")
    return opened


def published(pipeline: Pipeline, node: str, target: str) -> bool:
    """Something of the sink stands in this target: the iteration that told its schema is committed."""
    pin = pipeline.pins.get(node, target)
    return pin is not None and not pin.open and pin.iteration not in pipeline.iterations and pin.iteration > 0


def _write(flow: Flow, pipeline: Pipeline, pin: rec.Schema) -> None:
    flow.write(pin, pipeline.name)
    pipeline.pins.put(pin)


def _void(flow: Flow, pipeline: Pipeline, but: int, reason: str) -> None:
    for other in pipeline.unfinished():
        if other.number != but and not other.prepared:
            flow.void_stale(other, reason)
            flow.wake(other)
