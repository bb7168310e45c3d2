"""Deleting what was read from a log: how much of it nobody goes back to, and that nobody will. Part of ``flow``.

The source deletes it, who owns the log, and asks before. What the broker writes down first is up to which iteration,
so that from then on no rewind means to read again what may be gone.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from odibi_actors.actor import Log
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import ReadSpec
from odibi_actors.errors import ConflictError, NotFoundError
from odibi_actors.messages import STORE

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow

Row = dict[str, Any]


def ask(flow: Flow, pipeline: Pipeline, source: str, partition: str, place: str, now: float) -> Row | None:
    """Up to which place, at most ``place``, a partition of a source may be deleted, and which positions before it not:
    ``{"place", "held", "waits", "store_id"}``, ``place`` "": nothing, and why it ``waits``. Of all sources that read
    the same the least. None while the store has not answered. Raises NotFoundError, ConflictError."""
    asker = pipeline.live.sources.get(source)
    if asker is None or asker.node.read is None or not asker.ordered:
        raise NotFoundError(f"pipeline {pipeline.name} has no source {source!r} that is read in order")
    readers = list(_readers(flow, asker.node.read))
    for one, _ in readers:
        _check(flow, one)
    asked: list[str] = []
    late: list[str] = []
    while True:  # what one of them needs the others keep: they are asked again, about less
        answers = [_spare(flow, one, name, partition, place, now, asked) for one, name in readers]
        found = [(one, name, answer) for (one, name), answer in zip(readers, answers, strict=True) if answer]
        if len(found) < len(readers):
            return None
        late = late or [f"{one.name}.{name}" for one, name, answer in found if answer["place"] < place]
        least = min(answer["place"] for _, _, answer in found)
        if least in ("", place) or len(found) == 1:
            break
        place = least
    flow.asks.forget(*asked)
    full = [f"{one.name}.{name}" for one, name, answer in found if answer["more"]]
    waits = f"more dead letters than are looked through hold some of it: {', '.join(full)}" if full else ""
    if late and not full:
        waits = f"not all of the rest is committed: {', '.join(late)}"
    for one, name, answer in found if least else ():
        _write(flow, one, name, answer["iteration"])
    held = [position for _, _, answer in found for position in answer["held"]]
    return {"place": least, "held": held, "waits": waits, "store_id": flow.store_id}


def _spare(
    flow: Flow, pipeline: Pipeline, source: str, partition: str, place: str, now: float, asked: list[str]
) -> Row | None:
    """What one reader needs no more. The answer holds as long as nothing is rewound."""
    upto = pipeline.settled(flow.journal.durable)
    given = {"pipeline": pipeline.name, "source": source, "partition": partition, "place": place, "upto": upto}
    asked.append(f"spare {pipeline.name} {source} {partition} {place} {upto} {pipeline.rewind_seq}")
    return flow.asks.ask(asked[-1], STORE, "source.spare", given, now)


def _readers(flow: Flow, read: ReadSpec) -> Iterator[tuple[Pipeline, str]]:
    """The live sources that read what this one reads."""
    for pipeline in flow.pipelines.values():
        for source in pipeline.live.sources.values() if not pipeline.removed else ():
            other = source.node.read
            if other is not None and other.mode == read.mode and _place(other) == _place(read):
                yield pipeline, source.node.name


def _place(read: ReadSpec) -> tuple[str, str]:
    return read.connection.path, posixpath.normpath(read.path)


def _check(flow: Flow, pipeline: Pipeline) -> None:
    if pipeline.rewind is not None or pipeline.rewind_seq > flow.journal.durable:
        raise ConflictError(f"pipeline {pipeline.name} is being rewound")
    if pipeline.backfills:
        raise ConflictError(f"pipeline {pipeline.name} has an open backfill, {next(iter(pipeline.backfills))}")


def _write(flow: Flow, pipeline: Pipeline, source: str, upto: int) -> None:
    if upto <= pipeline.pruned.get(source, 0):
        return
    pipeline.pruned[source] = upto
    flow.write(rec.Setting(pipeline.name, rec.PRUNED, msgspec.json.encode(pipeline.pruned).decode()), pipeline.name)
    text = f"{pipeline.name}.{source}: what iterations up to {upto} have read is deleted from its log (`retain`)"
    flow.say(Log("info", f"{text}; from now on it is not rewound below that"))


def refuse(pipeline: Pipeline, to: int) -> None:
    """Raise ConflictError when what iterations after ``to`` have read may be deleted."""
    for source, upto in pipeline.pruned.items():
        if upto > to:
            raise ConflictError(
                f"what {pipeline.name}.{source} has read up to iteration {upto} is deleted from its log (`retain`): "
                f"rewind to {upto} or later"
            )
