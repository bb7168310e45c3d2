"""What is kept of an iteration once it has ended well: a summary of its plan and of its acknowledgements.

Outputs that are inline are in the acks' rows, and nothing reads them any more: the newest ``keep_last`` iterations of a
pipeline are kept whole, for those who look at them; of older ones everything but the bytes is kept, compressed.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.schema import seal, sealed, sealing, unseal
from odibi_actors.checkpoint.tables import AckDecoder, PlanDecoder, SinksDecoder
from odibi_actors.errors import StoreError
from odibi_actors.model import Attempt, Position

Where = Literal["", "inline", "spool", "staged"]


class Output(msgspec.Struct, frozen=True, array_like=True):
    """What is known of an acknowledged node. ``size`` in bytes, of its output or its staged part; ``state_size`` of
    what it keeps for the next iteration; ``path``: of an output in the spool; times and digests as in ``Ack``."""

    node: str
    attempt: Attempt
    key: str
    started_at: float
    duration: float
    rows_in: int
    rows_out: int
    worker: str
    where: Where = ""
    size: int = 0
    digest: str = ""
    path: str = ""
    state_size: int = 0
    memory: int = 0
    memory_before: int = 0


class Summary(msgspec.Struct, frozen=True, array_like=True):
    """Of a finished iteration: its acks in the order of their records, and its positions by source, as revised."""

    nodes: list[Output]
    positions: dict[str, list[Position]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Summary)

Execute = Callable[..., sqlite3.Cursor]


def output(ack: r.Ack) -> Output:
    """The summary of an ack."""
    where: Where = ""
    size, digest, path = 0, "", ""
    if ack.staged is not None:
        where, size, digest = "staged", ack.staged.size, ack.staged.digest
    elif ack.output is not None:
        where = "spool" if ack.output.path else "inline"
        size, digest, path = ack.output.size, ack.output.digest, ack.output.path
    return Output(
        ack.node,
        ack.attempt,
        ack.key,
        ack.started_at,
        ack.duration,
        ack.rows_in,
        ack.rows_out,
        ack.worker,
        where,
        size,
        digest,
        path,
        ack.state.size if ack.state is not None else 0,
        ack.memory,
        ack.memory_before,
    )


def rows(acks: Iterable[tuple[str, int]], sources: str) -> int:
    """Rows that an iteration has read: ``acks`` are (node, rows it gave), ``sources`` the JSON
    list of the read nodes that count: the watched ones, or all where none is."""
    names = frozenset(json.loads(sources))
    return sum(count for node, count in acks if node in names)


def unpack(blob: bytes, what: str) -> Summary:
    """The summary in a column. Raises StoreError."""
    data = sealed(blob, f"the summary {what}")
    try:
        return _decoder.decode(zlib.decompress(data))
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError) as error:
        message = f"the checkpoint database holds the summary {what} that this release cannot read: {error}"
        raise StoreError(message) from error


def positions_of(db: sqlite3.Connection, pipeline: str, number: int) -> dict[str, list[Position]]:
    """What an iteration was planned with, by source; empty when that is pruned. Raises StoreError."""
    key, what = (pipeline, number), f"of {pipeline} iteration {number}"
    kept = db.execute("SELECT summary FROM iterations WHERE pipeline = ? AND iteration = ?", key).fetchone()
    if kept is not None and kept[0] is not None:
        return unpack(kept[0], what).positions
    plan = db.execute("SELECT payload FROM plans WHERE pipeline = ? AND iteration = ?", key).fetchone()
    return unseal(plan[0], PlanDecoder, f"the plan {what}").positions if plan else {}


def _pack(summary: Summary) -> bytes:
    return sealing(zlib.compress(_encoder.encode(summary)))


def summarise(
    execute: Execute,
    key: tuple[str, int],
    acks: str = "acks",
    plans: str = "plans",
    ack: msgspec.msgpack.Decoder[Any] = AckDecoder,
    plan: msgspec.msgpack.Decoder[Any] = PlanDecoder,
) -> int:
    """Put a summary in the place of the acks and the plan of a finished iteration (in tables of these names, of former
    releases read with these decoders), and of what its sinks had staged; returns its bytes."""
    what = f"of {key[0]} iteration {key[1]}"
    found = [
        output(unseal(blob, ack, f"the ack of {node} {what}"))
        for node, blob in execute(
            f"SELECT node, payload FROM {acks} WHERE pipeline = ? AND iteration = ? ORDER BY seq", key
        )
    ]
    row = execute(f"SELECT payload FROM {plans} WHERE pipeline = ? AND iteration = ?", key).fetchone()
    positions = unseal(row[0], plan, f"the plan {what}").positions if row else {}
    blob = _pack(Summary(found, positions))
    sources, sinks = execute(
        "SELECT sources, sinks FROM iterations WHERE pipeline = ? AND iteration = ?", key
    ).fetchone()
    if sinks is not None:
        parts = unseal(sinks, SinksDecoder, f"the sinks {what}")
        sinks = seal({node: msgspec.structs.replace(part, staged="") for node, part in parts.items()})
    execute(
        "UPDATE iterations SET summary = ?, rows = ?, sinks = ?, states = NULL WHERE pipeline = ? AND iteration = ?",
        (blob, rows(((one.node, one.rows_out) for one in found), sources), sinks, *key),
    )
    execute(f"DELETE FROM {acks} WHERE pipeline = ? AND iteration = ?", key)
    execute(f"DELETE FROM {plans} WHERE pipeline = ? AND iteration = ?", key)
    return len(blob)


WHOLE = "summary IS NULL AND state IN ('committed', 'cancelled', 'rewound')"
"""Of iterations that may be summarised, as the partial index says it."""

AT_ONCE = 8
"""Iterations that one commit summarises at most: what an operator cancelled, or a rewind took back, comes in turn."""


def beyond(execute: Execute, pipeline: str, keep: int, limit: int = AT_ONCE) -> list[tuple[str, int]]:
    """Finished iterations of a pipeline that are still whole, but for the newest ``keep``."""
    found: list[tuple[Any, ...]] = execute(
        f"SELECT pipeline, iteration FROM iterations WHERE pipeline = ? AND {WHOLE}"
        " ORDER BY iteration DESC LIMIT ? OFFSET ?",
        (pipeline, limit, max(1, keep)),
    ).fetchall()
    return [(name, number) for name, number in found]
