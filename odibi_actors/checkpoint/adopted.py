"""Targets that have passed from one sink to another (ADOPT): who owns them, and under which names what is in them was
published. Pure; the broker asks it of what it has loaded, the store of its table."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

import msgspec

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.model import Target

AdoptDecoder = msgspec.msgpack.Decoder(r.Adopt)

Name = tuple[str, str]
"""(pipeline, node) of a sink."""


def names(adoptions: Sequence[r.Adopt], target: Target) -> list[Name]:
    """The sinks that have published to the target, its owner first, the others newest first, each once; [] when it has
    never passed on."""
    chain = [one for one in adoptions if one.target == target]
    if not chain:
        return []
    found = [(chain[-1].pipeline, chain[-1].node), *((one.from_pipeline, one.from_node) for one in reversed(chain))]
    return list(dict.fromkeys(found))


def former(adoptions: Sequence[r.Adopt], target: Target, name: Name) -> list[Name]:
    """The names under which others have published what this sink owns now, newest first."""
    found = names(adoptions, target)
    return found[1:] if found and found[0] == name else []


def spared(adoptions: Sequence[r.Adopt], target: Target, name: Name) -> list[tuple[int, int]]:
    """Numbers (after, up to; 0: no end) of parts in the target that have this sink's file names and are another
    pipeline's: its node is called the same. Numbers in a target only grow, whoever it belongs to."""
    chain = [one for one in adoptions if one.target == target]
    found, after = [], 0
    for one in chain:
        if one.through > after:  # else that one has published nothing there
            found.append((one.from_pipeline, one.from_node, after, one.through))
        after = one.through
    if chain:
        found.append((chain[-1].pipeline, chain[-1].node, after, 0))
    return [(low, high) for pipeline, node, low, high in found if node == name[1] and pipeline != name[0]]


def through(adoptions: Sequence[r.Adopt], target: Target) -> int:
    """The newest number that any former owner of the target can have published there; 0 when it has none."""
    return max((one.through for one in adoptions if one.target == target), default=0)


def unused(adoptions: Sequence[r.Adopt], pipeline: str, after: int) -> int:
    """How many numbers after this one the pipeline has passed over, to go on above another pipeline's."""
    skipped = [one for one in adoptions if one.pipeline == pipeline != one.from_pipeline]
    return sum(max(0, one.through - max(one.after, after)) for one in skipped)


def by_target(adoptions: Sequence[r.Adopt]) -> dict[str, list[Name]]:
    """Name of a target -> ``names`` of all that have passed on."""
    return {target.name: names(adoptions, target) for target in dict.fromkeys(one.target for one in adoptions)}


def load(execute: Callable[..., sqlite3.Cursor]) -> list[r.Adopt]:
    """All of a store, oldest first. Raises StoreError, sqlite3.Error."""
    rows = execute("SELECT seq, payload FROM adoptions ORDER BY seq").fetchall()
    return [unseal(payload, AdoptDecoder, f"adoption {seq}") for seq, payload in rows]


def forget(db: sqlite3.Connection, targets: Sequence[Target]) -> None:
    """These targets are no more: whoever begins them is their first owner. Raises StoreError, sqlite3.Error."""
    rows = db.execute("SELECT seq, payload FROM adoptions").fetchall()
    gone = [(seq,) for seq, blob in rows if unseal(blob, AdoptDecoder, f"adoption {seq}").target in targets]
    db.executemany("DELETE FROM adoptions WHERE seq = ?", gone)
