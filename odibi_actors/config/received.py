"""A project that came over the network has not been through ``load_project``: what the actors rely on is checked again.

A version is durable before it is used, so one that breaks the broker would break every broker after it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from odibi_actors.config.kinds import MAX_NAME, NAME
from odibi_actors.config.model import NodeSpec, PipelineSpec, ProjectSpec
from odibi_actors.units import MAX_DURATION, MAX_SIZE

MAX_PIPELINES = MAX_NODES = 1000
MAX_COUNT = MAX_SIZE
"""The largest number the project file takes anywhere."""


def unsound(project: ProjectSpec) -> str:
    """The first thing about a project that no odibi.yaml could say, or "" when there is none."""
    return next(_problems(project), "")


def _problems(project: ProjectSpec) -> Iterator[str]:
    if len(project.pipelines) > MAX_PIPELINES:
        yield f"{len(project.pipelines)} pipelines; at most {MAX_PIPELINES}"
    if not _within(project.workers, 1, 1000) or not _within(project.history, 1, MAX_DURATION):
        yield "workers or history are out of range"
    names: dict[str, None] = {}
    for pipeline in project.pipelines:
        yield from _name("pipeline", pipeline.name)
        if pipeline.name in names:
            yield f"two pipelines {pipeline.name}"
        names[pipeline.name] = None
        yield from _pipeline(pipeline)


def _pipeline(pipeline: PipelineSpec) -> Iterator[str]:
    at, batch = f"pipeline {pipeline.name}", pipeline.batch
    if not 0 < len(pipeline.nodes) <= MAX_NODES:
        yield f"{at}: {len(pipeline.nodes)} nodes; at least one, at most {MAX_NODES}"
    counts = (batch.max_files, batch.max_rows, batch.max_bytes, pipeline.keep_last)
    if not all(_within(count, 1, MAX_COUNT) for count in counts) or not _within(pipeline.max_in_flight, 1, 1000):
        yield f"{at}: a number is out of range"
    if not _within(batch.linger, 0, MAX_DURATION):
        yield f"{at}: batch.linger is out of range"
    earlier: dict[str, NodeSpec] = {}
    for node in pipeline.nodes:
        yield from _name(f"{at}: node", node.name)
        if node.name in earlier:
            yield f"{at}: two nodes {node.name}"
        yield from _node(f"{at}: node {node.name}", node, earlier)
        earlier[node.name] = node


def _node(at: str, node: NodeSpec, earlier: dict[str, NodeSpec]) -> Iterator[str]:
    if sum(part is not None for part in (node.read, node.transform, node.write)) != 1:
        yield f"{at}: exactly one of read, transform, write"
    if (not node.inputs) != (node.read is not None) or (node.write is not None and len(node.inputs) != 1):
        yield f"{at}: {len(node.inputs)} inputs"
    for name in node.inputs:  # nodes are in topological order, so there are no cycles
        if name not in earlier or earlier[name].write is not None or node.inputs.count(name) > 1:
            yield f"{at}: input {name[:MAX_NAME]!r} is not the output of an earlier node"
    retry = node.retry
    if not _within(node.timeout, 0.001, MAX_DURATION) or not _within(retry.max_attempts, 1, 1000):
        yield f"{at}: timeout or retry.max_attempts is out of range"
    if not all(_within(wait, 0, MAX_DURATION) for wait in (retry.initial, retry.max)):
        yield f"{at}: retry.initial or retry.max is out of range"
    if not _within(retry.jitter, 0, 1):
        yield f"{at}: retry.jitter is out of range"
    if node.read is not None and not _within(node.read.settle, 0, MAX_DURATION):
        yield f"{at}: settle is out of range"
    for part in (node.read, node.write):
        if part is not None:
            yield from _name(f"{at}: connection", part.connection.name)
            if not part.connection.path.startswith("/") or "\0" in part.connection.path:
                yield f"{at}: the path of connection {part.connection.name} is not absolute"


def _name(what: str, name: str) -> Iterator[str]:
    if len(name) > MAX_NAME or not re.fullmatch(NAME, name, re.ASCII):
        yield f"{what} {name[:MAX_NAME]!r} is not a name ({NAME})"


def _within(number: float, low: float, high: float) -> bool:
    return math.isfinite(number) and low <= number <= high
