"""Schemas of sources and sinks: told by the first iteration, and never changed by themselves. Part of ``flow``.

A sink that has no pin tells the schema of its part with its result. The result of the lowest iteration stands: it pins
the schema durably, and the schema is among what the keys of the sink's acknowledgements cover, so that parts that were
staged with another one do not stand and are made again. A source tells the schema of the first rows that are read of
it; one iteration at a time reads while none is pinned. A pin belongs to what is committed: when its iteration is void,
so is the pin, and what was read or staged with it is made again. The broker carries the bytes, and knows nothing of
Arrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from odibi_actors.actor import Log
from odibi_actors.broker import alerts, eras, reads, runs
from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.sources import no_types
from odibi_actors.config.model import NodeSpec, PipelineSpec
from odibi_actors.errors import ConflictError, NotFoundError
from odibi_actors.messages import NodeDone
from odibi_actors.model import Target, pin_digest

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow
    from odibi_actors.broker.iteration import Iteration
    from odibi_actors.broker.pipeline import Pipeline


def _free(pipeline: Pipeline, iteration: Iteration, pin: rec.Schema | None) -> bool:
    """The iteration's part may tell the schema: none is pinned, or only by itself, and nobody has brought more columns
    since, which would take turns with it; or by a later one, which goes after it."""
    if pin is None or pin.open:
        return True
    if pin.iteration == iteration.number:
        return not any(era.before for era in pin.history)
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
    if sink.read is not None:
        pin = pipeline.pins.get(sink.name)
        free = pin is None or eras.grows(pin, done)
    else:
        pin = _pin(pipeline, sink)
        free = sink.write is not None and (
            _free(pipeline, iteration, pin) or (pin is not None and eras.grows(pin, done))
        )
    return pin_digest(done.schema) if done.schema and free else None


def take(flow: Flow, pipeline: Pipeline, iteration: Iteration, sink: NodeSpec, done: NodeDone, now: float) -> None:
    """The part of this iteration is acknowledged: its schema is pinned, and parts made with another one are void."""
    pin = _pin(pipeline, sink)
    if pin is not None and not _free(pipeline, iteration, pin):
        _changed(flow, pipeline, pin, done, now)
        return
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
    if pin is None and done.schema_notes:
        flow.say(Log("info", reads.without_values(done), {"notice": True}))
    _void(flow, pipeline, iteration.number, f"iteration {iteration.number} tells another schema of {sink.name}")


def read(flow: Flow, pipeline: Pipeline, done: NodeDone, now: float) -> None:
    """A source is read, and may tell its schema: it is pinned. Headers alone tell none, and others may read now."""
    pin = pipeline.pins.get(done.node)
    if pin is not None:
        _changed(flow, pipeline, pin, done, now)
        return
    if done.schema:
        pin = rec.Schema(
            pipeline=pipeline.name,
            node=done.node,
            arrow=done.schema,
            text=done.schema_text,
            notes=done.schema_notes,
            left_out=done.left_out,
            iteration=done.iteration,
        )
        _write(flow, pipeline, pin)
        if told := reads.pinned(done, _rows(pipeline, done.node)):
            flow.say(Log("info", told, {"notice": True}))
        _changed(flow, pipeline, pin, done, now)
    flow.wake_all(pipeline)


def _rows(pipeline: Pipeline, source: str) -> bool:
    read = pipeline.spec.node(source).read
    return read is not None and read.of_table is not None


def _changed(flow: Flow, pipeline: Pipeline, pin: rec.Schema, done: NodeDone, now: float) -> None:
    """Its columns are others than the pinned ones: that is kept, and told. What was read, or staged, with the former
    ones and is not prepared is made again."""
    changed = eras.changed(pin, done, now, lambda number: _may_come_to_nothing(pipeline, number))
    if changed is None:
        return
    _write(flow, pipeline, changed.pin)
    if changed.told:
        text = f"{pin.node}: {'; '.join(change.text for change in changed.told)}"
        flow.say(Log("warning", f"{pipeline.name} {done.iteration} {text} (`odibictl {eras.shown(pin)}`)"))
        alerts.tell(flow, pipeline, "schema_change", f"{pipeline.name}/{done.iteration}: {text}", now)
    if changed.pin.history[-1].before:
        _void(flow, pipeline, done.iteration, f"iteration {done.iteration} brings other columns of {pin.node}")


def prepare(flow: Flow, pipeline: Pipeline, iteration: Iteration) -> None:
    """The iteration is about to roll forward only: pins that an unprepared one told, of another lane, are its own from
    here on. Written before PREPARE: were it the other way round, a crash in between would leave a part that goes on and
    a pin that does not. Of a source the pin is that of the lowest iteration that has read its files with it."""
    for node, part in iteration.parts().items():
        pin = pipeline.pins.get(node, part.at)
        if pin is None or pin.open:
            continue
        kept = eras.prepared(pin, iteration.number, lambda number: _may_come_to_nothing(pipeline, number, iteration))
        if _unsure(pipeline, pin, iteration) or (pin.history and iteration.number < pin.iteration):
            kept = replace(kept, iteration=iteration.number)
        if kept != pin:
            _write(flow, pipeline, kept)
    for node in list(pipeline.pins.sources):
        pin = pipeline.pins.get(node)
        if pin is None or not iteration.positions.get(node) or iteration.typeless(node):
            continue
        kept = eras.prepared(pin, iteration.number, lambda number: _may_come_to_nothing(pipeline, number, iteration))
        if _unsure(pipeline, pin, iteration) or iteration.number < pin.iteration:
            kept = replace(kept, iteration=iteration.number)
        if kept != pin:
            _write(flow, pipeline, kept)


def _unsure(pipeline: Pipeline, pin: rec.Schema, iteration: Iteration | None = None) -> bool:
    """The iteration that told it, if it is another than this one, may still come to nothing."""
    return _may_come_to_nothing(pipeline, pin.iteration, iteration)


def _may_come_to_nothing(pipeline: Pipeline, number: int, but: Iteration | None = None) -> bool:
    holder = pipeline.iterations.get(number)
    return holder is not None and holder is not but and not holder.prepared and not holder.terminal


def abandoned(flow: Flow, pipeline: Pipeline, iteration: Iteration, node: str) -> None:
    """Nothing of this sink is published for the iteration: a pin that it told stays, and says nothing of the target."""
    for pin in pipeline.pins.of([iteration.number]):
        if pin.node == node:
            _write(flow, pipeline, replace(pin, iteration=0))


def release(flow: Flow, pipeline: Pipeline, iterations: list[int], now: float, node: str = "") -> None:
    """These iterations are void, and with them the pins that they told, or that of ``node``; the store does the same
    with that record."""
    for pin in pipeline.pins.all():
        if node in ("", pin.node) and pin.iteration not in iterations:
            former = pin.without(lambda era: era.iteration in iterations)
            if former is not pin:
                pipeline.pins.put(former)
                text = f"{pipeline.name}.{pin.node}: what its columns have become is void with what told it"
                flow.say(Log("info", text, {"notice": True}))
                _void(flow, pipeline, 0, f"the columns of {pin.node} are the former ones")
    for pin in pipeline.pins.of(iterations):
        if node not in ("", pin.node):
            continue
        if pin.former:
            pipeline.pins.put(pin.reopened())
        else:
            pipeline.pins.drop(pin.node)
        if pin.target is None:
            _told_void(flow, pin)
        _void(flow, pipeline, 0, f"the schema of {pin.node} is void")
        if pin.target is None:
            _give_each_a_file(flow, pipeline, pin.node, now)


def rewound(flow: Flow, pipeline: Pipeline, to: int) -> None:
    """All after iteration ``to`` is taken back, and nothing is in flight."""
    for pin in pipeline.pins.rewound(to):
        _told_void(flow, pin)


def replaced(flow: Flow, pipeline: Pipeline, spec: PipelineSpec) -> None:
    """The pipeline is about to become ``spec``: what is not committed is read again by sources whose ``read`` changes,
    and what it told goes. UNPIN is written before VERSION, so that no crash leaves the new ``read`` held to it."""
    reads_ = {node.name: node.read for node in spec.nodes}
    for node in pipeline.spec.nodes:
        pin = pipeline.pins.get(node.name) if node.read is not None else None
        if pin is not None and reads_.get(node.name) != node.read and _unsure(pipeline, pin):
            flow.write(rec.Unpin(pipeline.name, node.name), pipeline.name)
            pipeline.pins.drop(node.name)
            _told_void(flow, pin)


def unpin(flow: Flow, pipeline: Pipeline, node: str, now: float, dry_run: bool) -> dict[str, object]:
    """An operator lets the next file of a source tell its columns and types. Raises NotFoundError."""
    pin = pipeline.pins.get(node)
    if node not in pipeline.sources:
        known = ", ".join(pipeline.sources) or "none"
        raise NotFoundError(f"pipeline {pipeline.name} has no source {node!r}; its sources: {known}")
    if pin is None:
        raise NotFoundError(no_types(pipeline.name, node))
    if not dry_run:
        flow.write(rec.Unpin(pipeline.name, node), pipeline.name)
        pipeline.pins.drop(node)
        _void(flow, pipeline, 0, f"source {node} is unpinned")
        _give_each_a_file(flow, pipeline, node, now)
    return {"pipeline": pipeline.name, "source": node, "iteration": pin.iteration or None, "columns": len(pin.text)}


def resume(flow: Flow, pipeline: Pipeline, now: float) -> None:
    """What a former broker did not come to."""
    for node in pipeline.sources:
        if node not in pipeline.pins.sources:
            _give_each_a_file(flow, pipeline, node, now)


def _told_void(flow: Flow, pin: rec.Schema) -> None:
    text = f"{pin.pipeline}.{pin.node}: the types that iteration {pin.iteration} told are void with it"
    flow.say(Log("info", f"{text}: what is read next tells undeclared ones", {"notice": True}))


def _give_each_a_file(flow: Flow, pipeline: Pipeline, node: str, now: float) -> None:
    """Without a schema there is not even an empty table of a source: iterations that hold no file of it are planned
    again, each with one, as the first ones are."""
    for lane in pipeline.lanes:
        source = lane.sources.get(node)
        without = [
            one.number
            for one in pipeline.unfinished(lane.name)
            if source is not None
            and not source.pinned
            and not source.known({})
            and not one.prepared
            and not one.positions.get(node)
        ]
        if without:
            suffix = [i for i in pipeline.unfinished(lane.name) if i.number >= without[0] and not i.prepared]
            reason = f"{rec.PLANNED_AGAIN}the types of {node} are void, and iteration {without[0]} holds no file of it"
            flow.cancel_from(pipeline, suffix, now, reason)
            runs.plan_again(lane, suffix)


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
    pipeline.stands.pop(node, None)  # it goes on without what was published, which may be gone
    _void(flow, pipeline, 0, f"sink {node} is pinned again")
    return opened


def published(pipeline: Pipeline, node: str, target: Target) -> bool:
    """Something of the sink stands in this target: the iteration that told its schema is committed; or, where the sink
    was given up for that one, a later one has published there."""
    pin = pipeline.pins.get(node, target)
    if pin is None or pin.open:
        return False
    if not pin.iteration:
        return pipeline.stands.get(node, (None, 0))[0] == target
    return pin.iteration not in pipeline.iterations


def _write(flow: Flow, pipeline: Pipeline, pin: rec.Schema) -> None:
    flow.write(pin, pipeline.name)
    pipeline.pins.put(pin)


def _void(flow: Flow, pipeline: Pipeline, but: int, reason: str) -> None:
    for other in pipeline.unfinished():
        if other.number != but and not other.prepared:
            flow.void_stale(other, reason)
            flow.wake(other)
