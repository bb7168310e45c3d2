"""One poll of a source beside whatever runs, for ``odibictl try``."""

from __future__ import annotations

import time
from pathlib import Path

from msgspec.structs import replace

from odibi_actors.config.model import ConnectionSpec, NodeSpec
from odibi_actors.kinds.connection import Access, name_of
from odibi_actors.kinds.registry import source_of
from odibi_actors.model import Accesses
from odibi_actors.sources.events.effects import Append, Put
from odibi_actors.sources.ticks.clock import patience
from odibi_actors.sources.ticks.effects import Poll, Polled
from odibi_actors.sources.ticks.names import what


def polled(pipeline: str, node: NodeSpec, accesses: Accesses, root: str, folder: Path) -> tuple[NodeSpec, str]:
    """The node with a log of its own in ``folder``, which has what there is now, and why that is nothing, or "". Others
    as they are."""
    if node.read is None or node.read.polled is None:
        return node, ""
    read, given = replace(node.read, connection=ConnectionSpec("ticks", "local", str(folder))), node.read.polled
    access = Access(accesses.get(name_of(given.connection.type, given.connection.path), {}), root)
    kind, key = source_of(read.mode), f"{pipeline}/{node.name}"
    at = time.time() // given.every * given.every
    problem = ""
    ask = Poll(key, 1, read, at, patience(given.every), pipeline, access)
    for found in kind.probe(ask):
        if isinstance(found, Polled) and found.problem:
            problem = f"{what(read)} could not be read: {found.problem}"
        elif isinstance(found, Polled):
            puts = [Put("1", found.data, found.rows)]
            list(kind.probe(Append(key, 2, read, puts, 0, 1 << 62, read.window)))
    return replace(node, read=read), problem
