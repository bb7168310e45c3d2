"""The snapshot a new broker loads: all that is not history, in bounded pages.

A cursor is the JSON list [section, ...key of the last item]; a page resumes right after it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint import scheduled
from odibi_actors.checkpoint.adopted import AdoptDecoder
from odibi_actors.checkpoint.scheduled import Item
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.checkpoint.tables import (
    OPEN,
    AckDecoder,
    ErrorDecoder,
    FailuresDecoder,
    PlanDecoder,
    SchemaDecoder,
    SinksDecoder,
    StatesDecoder,
)
from odibi_actors.errors import ProtocolError, StoreError
from odibi_actors.model import LIVE, BatchRef, Target

PAGE_ITEMS = 1000
PAGE_BYTES = 1_000_000
"""A page is full at this many items or payload bytes; an item alone larger than that is a page of its own."""

VersionDecoder = msgspec.msgpack.Decoder(r.Version)
RewindDecoder = msgspec.msgpack.Decoder(r.Rewind)
StateDecoder = msgspec.msgpack.Decoder(BatchRef)


def load(db: sqlite3.Connection, cursor: str) -> tuple[list[r.AnyLoaded], str]:
    """The page after ``cursor`` and the next cursor ("" after the last). Raises ProtocolError for a bad cursor."""
    section, *after = _parse(cursor)
    items: list[r.AnyLoaded] = []
    total = 0
    last: tuple[Any, ...] = ()
    for number in range(section, len(_SECTIONS)):
        key = tuple(after) if number == section else ()
        for found, item, size in _SECTIONS[number](db, key):
            if items and (len(items) >= PAGE_ITEMS or total + size > PAGE_BYTES):
                return items, json.dumps(last)
            items.append(item)
            total += size
            last = (number, *found)
    return items, ""


def _parse(cursor: str) -> list[Any]:
    if not cursor:
        return [0]
    try:
        section, *key = msgspec.json.decode(cursor, type=list[int | str])
        if [type(value) for value in key] == _KEYS[int(section)]:
            return [section, *key]
    except (msgspec.DecodeError, ValueError, IndexError):
        pass
    raise ProtocolError(f"not a cursor of a snapshot: {cursor!r}")


def _versions(db: sqlite3.Connection, after: tuple[Any, ...]) -> Iterator[Item]:
    (pipeline,) = after or ("",)
    rows = db.execute(
        "SELECT pipeline, payload FROM versions AS v WHERE pipeline > ? AND version ="
        " (SELECT max(version) FROM versions WHERE pipeline = v.pipeline) ORDER BY pipeline",
        (pipeline,),
    )
    for name, blob in rows:
        record = unseal(blob, VersionDecoder, f"the version of {name}")
        yield (name,), r.LoadedVersion(record), len(blob)


def _schemas(db: sqlite3.Connection, after: tuple[Any, ...]) -> Iterator[Item]:
    rows = db.execute(
        "SELECT pipeline, node, payload FROM schemas WHERE (pipeline, node) > (?, ?) ORDER BY pipeline, node",
        after or ("", ""),
    )
    for pipeline, node, blob in rows:
        record = unseal(blob, SchemaDecoder, f"the schema of {pipeline}.{node}")
        yield (pipeline, node), r.LoadedSchema(record), len(blob)


def _settings(db: sqlite3.Connection, after: tuple[Any, ...]) -> Iterator[Item]:
    rows = db.execute(
        "SELECT scope, name, value FROM settings WHERE (scope, name) > (?, ?) ORDER BY scope, name",
        after or ("", ""),
    )
    for scope, name, value in rows:
        yield (scope, name), r.LoadedSetting(r.Setting(scope, name, value)), len(value) + 50


def _counters(db: sqlite3.Connection, after: tuple[Any, ...]) -> Iterator[Item]:
    rows = db.execute(
        "SELECT pipeline, last_iteration, last_committed, committed, commits, newest, max(pruned, last_committed,"
        " coalesce((SELECT iteration FROM iterations AS i WHERE i.pipeline = c.pipeline AND state = 'rewound'"
        " ORDER BY iteration DESC LIMIT 1), 0)) FROM counters AS c WHERE pipeline > ? ORDER BY pipeline",
        after or ("",),
    )
    for row in rows:
        kept = db.execute(
            "SELECT DISTINCT iteration FROM dead_letters WHERE pipeline = ? AND revised = 0 AND state <> 'replayed'"
            " ORDER BY iteration",
            row[:1],
        ).fetchall()
        (letters,) = db.execute(
            "SELECT count(*) FROM dead_letters WHERE pipeline = ? AND state <> 'replayed'", row[:1]
        ).fetchone()
        numbers = [number for (number,) in kept]
        sources = _ledger_sources(db, row[0])
        stands = _stands(db, (row[0], row[2]))
        item = r.LoadedCounter(row[0], row[1], row[2], row[3], sources, numbers, letters, stands, *row[4:])
        yield (row[0],), item, 200 + 5 * len(kept)


def _stands(db: sqlite3.Connection, key: tuple[str, int]) -> dict[str, Target]:
    """Sink -> place of what a committed iteration has published, but for sinks that were given up."""
    row = db.execute("SELECT sinks, abandoned FROM iterations WHERE pipeline = ? AND iteration = ?", key).fetchone()
    if row is None or row[0] is None:
        return {}
    parts, given_up = unseal(row[0], SinksDecoder, f"the sinks of {key[0]} iteration {key[1]}"), json.loads(row[1])
    return {node: part.at for node, part in parts.items() if node not in given_up}


def _ledger_sources(db: sqlite3.Connection, pipeline: str) -> list[str]:
    """Sources of which the live lane has planned something: those that are read in order, and those that have rows in
    the ledger, by skipping from one to the next: it may hold millions."""
    ordered = db.execute(
        "SELECT DISTINCT source FROM places WHERE pipeline = ? AND lane = ? AND EXISTS (SELECT 1 FROM ranges AS r WHERE"
        " r.pipeline = places.pipeline AND r.lane = places.lane AND r.source = places.source) ORDER BY source",
        (pipeline, LIVE),
    ).fetchall()
    found = [row[0] for row in ordered]
    source = ""
    while True:
        row = db.execute(
            "SELECT source FROM ledger WHERE pipeline = ? AND lane = ? AND source > ? ORDER BY source LIMIT 1",
            (pipeline, LIVE, source),
        ).fetchone()
        if row is None:
            return found
        source = row[0]
        found.append(source)


def _states(db: sqlite3.Connection, after: tuple[Any, ...]) -> Iterator[Item]:
    rows = db.execute(
        "SELECT pipeline, node, iteration, payload FROM states WHERE (pipeline, node, iteration) > (?, ?, ?)"
        " ORDER BY pipeline, node, iteration",
        after or ("", "", 0),
    )
    for pipeline, node, iteration, blob in rows:
        state = unseal(blob, StateDecoder, f"the state of {pipeline}.{node} as of iteration {iteration}")
        yield (pipeline, node, iteration), r.LoadedState(pipeline, node, iteration, state), len(blob)


def _rewinds(db: sqlite3.Connection, after: tuple[Any, ...]) -> Iterator[Item]:
    rows = db.execute("SELECT pipeline, payload FROM rewinds WHERE pipeline > ? ORDER BY pipeline", after or ("",))
    for pipeline, blob in rows:
        yield (pipeline,), r.LoadedRewind(unseal(blob, RewindDecoder, f"the rewind of {pipeline}")), len(blob)


def _adoptions(db: sqlite3.Connection, after: tuple[Any, ...]) -> Iterator[Item]:
    rows = db.execute("SELECT seq, payload FROM adoptions WHERE seq > ? ORDER BY seq", after or (0,))
    for seq, blob in rows:
        yield (seq,), r.LoadedAdopt(unseal(blob, AdoptDecoder, f"adoption {seq}")), len(blob)


def _iterations(db: sqlite3.Connection, after: tuple[Any, ...]) -> Iterator[Item]:
    """Key (pipeline, iteration, part, node): part 0 is the iteration itself, 1 its acks, 2 its errors."""
    pipeline, iteration, part, node = after or ("", 0, 0, "")
    if after:
        yield from _parts(db, pipeline, iteration, part, node)
    rows = db.execute(
        "SELECT i.pipeline, i.iteration, i.state, i.version, i.sinks, i.states, i.failures,"
        " i.abandoned, i.taken, p.payload FROM iterations AS i"
        " LEFT JOIN plans AS p ON p.pipeline = i.pipeline AND p.iteration = i.iteration"
        f" WHERE i.{OPEN} AND (i.pipeline, i.iteration) > (?, ?) ORDER BY i.pipeline, i.iteration",
        (pipeline, iteration),
    )
    for name, number, state, version, sinks, states, failures, abandoned, taken, blob in rows:
        if blob is None:
            raise StoreError(f"the checkpoint database is damaged: the plan of {name} iteration {number} is missing")
        plan = unseal(blob, PlanDecoder, f"the plan of {name} iteration {number}")
        if (plan.version, plan.taken) != (version, taken):
            plan = msgspec.structs.replace(plan, version=version, taken=taken)
        parts = unseal(sinks, SinksDecoder, f"the sinks of {name} iteration {number}") if sinks is not None else {}
        kept = unseal(states, StatesDecoder, f"the states of {name} iteration {number}") if states is not None else {}
        size = len(blob) + len(sinks or b"") + len(states or b"") + 100
        held = unseal(failures, FailuresDecoder, f"the failures of {name} iteration {number}") if failures else {}
        item = r.LoadedIteration(plan, state, parts, kept, list(held), msgspec.json.decode(abandoned, type=list[str]))
        yield (name, number, 0, ""), item, size
        yield from _parts(db, name, number, 0, "")


def _parts(db: sqlite3.Connection, pipeline: str, iteration: int, part: int, node: str) -> Iterator[Item]:
    """Standing acks, then the newest live error of each node, after (part, node)."""
    what = f"of {pipeline} iteration {iteration}"
    if part < 2:
        rows = db.execute(
            "SELECT node, payload FROM acks WHERE pipeline = ? AND iteration = ? AND node > ? ORDER BY node",
            (pipeline, iteration, node if part == 1 else ""),
        )
        for name, blob in rows:
            record = unseal(blob, AckDecoder, f"the ack of {name} {what}")
            yield (pipeline, iteration, 1, name), r.LoadedAck(record), len(blob)
    rows = db.execute(
        "SELECT node, payload, max(seq) FROM errors AS e WHERE pipeline = ? AND iteration = ? AND node > ? AND live = 1"
        " AND NOT EXISTS (SELECT 1 FROM acks AS a WHERE a.pipeline = e.pipeline AND a.iteration = e.iteration"
        " AND a.node = e.node AND a.seq > e.seq) GROUP BY node ORDER BY node",
        (pipeline, iteration, node if part == 2 else ""),
    )
    for name, blob, _ in rows:
        failed = unseal(blob, ErrorDecoder, f"an error of {name} {what}")
        yield (pipeline, iteration, 2, name), r.LoadedError(failed), len(blob)


Section = Callable[[sqlite3.Connection, tuple[Any, ...]], Iterator[Item]]

_SECTIONS: tuple[Section, ...] = (
    _versions,
    _schemas,
    _settings,
    scheduled.schedules,
    scheduled.occurrences,
    scheduled.backfills,
    scheduled.runs,
    _counters,
    _states,
    _rewinds,
    scheduled.alerts,
    _adoptions,
    _iterations,
)
_KEYS: list[list[type]] = [
    [str],
    [str, str],
    [str, str],
    [str, str],
    [int, int],
    [str, str],
    [str, int],
    [str],
    [str, str, int],
    [str],
    [int],
    [int],
    [str, int, int, str],
]
"""Types of the key of each section: a cursor comes from the network."""
