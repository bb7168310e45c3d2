"""Joining files of old iterations: what may be joined, and that it is never taken back again. Part of ``flow``.

Whoever asks joins the files himself, beside whatever is published: he touches only what is settled. What the broker
writes down first is up to where, so that from then on no rewind means to take back what may be in a file with others.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from odibi_actors.actor import Log
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import WriteSpec
from odibi_actors.errors import ConflictError, NotFoundError
from odibi_actors.model import Target

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow

Row = dict[str, Any]


def ask(flow: Flow, pipeline: Pipeline, sink: str, to: int | None, dry_run: bool) -> Row:
    """Up to which iteration the files of a sink may be joined, at most ``to``; unless it is ``dry_run``, it is written
    down that they are. Raises NotFoundError, ConflictError."""
    sinks = {node.name: node.write for node in pipeline.spec.nodes if node.write is not None}
    write, name = sinks.get(sink), f"{pipeline.name}.{sink}"
    if write is None:
        raise NotFoundError(f"pipeline {pipeline.name} has no sink {sink!r}; its sinks: {', '.join(sinks) or 'none'}")
    _check(flow, pipeline, name, write)
    # Beyond the newest commit nothing is accounted for: what is published next would meet files nobody knows of.
    settled = min(pipeline.settled(flow.journal.durable), pipeline.accounted)
    known = pipeline.compacted.get(sink, 0)
    upto = max(settled if to is None else min(to, settled), known)
    if not dry_run and upto > known:
        pipeline.compacted[sink] = upto
        told = msgspec.json.encode(pipeline.compacted).decode()
        flow.write(rec.Setting(pipeline.name, rec.COMPACTED, told), pipeline.name)
        text = f"{name}: files up to iteration {upto} are joined; from now on it is not rewound below that"
        flow.say(Log("info", text, {"notice": True}))
    at = msgspec.to_builtins(write.target)
    row: Row = {"pipeline": pipeline.name, "sink": sink, "target": write.target.name, "at": at, "upto": upto}
    return {**row, "store_id": flow.store_id, "dry_run": dry_run}


def _check(flow: Flow, pipeline: Pipeline, name: str, write: WriteSpec) -> None:
    if write.format is None:
        raise ConflictError(f"{name} publishes rows of a table: there are no files to be joined")
    if write.mode == "overwrite":
        raise ConflictError(f"{name} overwrites: it holds what one iteration has published, and nothing to be joined")
    if pipeline.rewind is not None:
        raise ConflictError(f"pipeline {pipeline.name} is being rewound: wait until it is done")
    reader = next(_readers(flow, write), "")
    if reader:
        raise ConflictError(
            f"{reader} reads the folder of {name} file by file, each once: it would read joined files as new ones, and "
            "rows twice. What is read in that way is not joined"
        )


def _readers(flow: Flow, write: WriteSpec) -> Iterator[str]:
    """Sources that read files of this folder each once."""
    target = write.target.locator
    for pipeline in flow.pipelines.values():
        for node in pipeline.spec.nodes:
            if node.read is None or node.read.pinned or node.read.connection.type != write.connection.type:
                continue
            folder = posixpath.normpath(posixpath.join(node.read.connection.path, node.read.path))
            if target == folder or target.startswith(f"{folder}/") or folder.startswith(f"{target}/"):
                yield f"{pipeline.name}.{node.name}"


def refuse(pipeline: Pipeline, to: int, sink: str, target: Target) -> None:
    """Raise ConflictError when parts of a sink after iteration ``to`` may be joined with earlier ones."""
    upto = pipeline.compacted.get(sink, 0)
    if upto > to:
        raise ConflictError(
            f"the files of sink {sink} in {target} were joined up to iteration {upto} (`odibictl sink compact`), and "
            f"what is joined is not taken back: rewind to {upto} or later; to have all of it again, `odibictl reset "
            f"{pipeline.name} --targets`"
        )
