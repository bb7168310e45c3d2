"""What the source asks of the ledger: pages of it, and single files."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from odibi_actors.checkpoint import ranges
from odibi_actors.checkpoint.asking import Name
from odibi_actors.checkpoint.tables import POSITION, STANDING, position
from odibi_actors.messages import LedgerRow
from odibi_actors.model import LIVE, UNPREPARED, Position

Whether = Literal["read", "unread", "letter", "discarded"]
"""``LedgerRow.state``."""

READ = ("read", "discarded")
LANES = 1000
"""Backfills that are asked whether they have read a file again."""

LEDGER_LIMIT, LEDGER_BYTES = 10_000, 1_000_000
"""A page of the ledger ends at the first of both, or at the asker's limit."""


def page(
    db: sqlite3.Connection, pipeline: str, lane: str, source: str, cursor: str, limit: int
) -> tuple[list[Position], str]:
    """See ``Engine.ledger``. Generations of one identity are never split over two pages: the cursor is an identity."""
    there = db.execute(
        f"SELECT {POSITION} FROM ledger WHERE pipeline = ? AND lane = ?"
        " AND source = ? AND identity > ? ORDER BY identity, generation",
        (pipeline, lane, source, cursor),
    )
    limit = max(1, min(limit, LEDGER_LIMIT))
    found: list[Position] = []
    size = 0
    for row in there:
        if found and (len(found) >= limit or size >= LEDGER_BYTES) and found[-1].identity != row[0]:
            return found, found[-1].identity
        found.append(position(row))
        size += len(row[0]) + 80
    return found, ""


def taken(
    db: sqlite3.Connection, pipeline: str, lane: str, source: str, through: int, cursor: str, limit: int
) -> tuple[list[Position], str]:
    """A page of what the lane had taken by iteration ``through`` and not set aside, of each file the newest position.
    An iteration whose history is pruned has ended well, or its letter was discarded."""
    there = db.execute(
        f"SELECT {', '.join(f'l.{name}' for name in POSITION.split(', '))}, l.revised, i.state FROM ledger AS l"
        " LEFT JOIN iterations AS i ON i.pipeline = l.pipeline AND i.iteration = l.iteration WHERE l.pipeline = ?"
        " AND l.lane = ? AND l.source = ? AND l.identity > ? AND l.iteration <= ? ORDER BY l.identity, l.generation",
        (pipeline, lane, source, cursor, through),
    )
    limit = max(1, min(limit, LEDGER_LIMIT))
    newest: dict[str, Position | None] = {}
    size = 0
    for *columns, revised, state in there:
        identity = columns[0]
        if identity not in newest:
            if newest and (len(newest) >= limit or size >= LEDGER_BYTES):
                return [p for p in newest.values() if p is not None], next(reversed(newest))
            size += len(identity) + 80
        newest[identity] = None if revised or state == "dead_lettered" else position(tuple(columns))
    return [p for p in newest.values() if p is not None], ""


class Aside(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``ledger.aside``: files of a source's live lane that were set aside, given up or not; the first ones."""

    pipeline: Name
    source: Name


def _aside(db: sqlite3.Connection, given: Aside) -> Any:
    """``{"files": [identity], "more"}``: of files whose newest position is a dead letter, or was one."""
    rows = db.execute(
        "SELECT identity FROM ledger AS l WHERE pipeline = ? AND lane = ? AND source = ? AND (revised = 1 OR iteration"
        " IN (SELECT iteration FROM iterations WHERE pipeline = ? AND state = 'dead_lettered')) AND NOT EXISTS (SELECT"
        " 1 FROM ledger AS n WHERE n.pipeline = l.pipeline AND n.lane = l.lane AND n.source = l.source AND n.identity"
        " = l.identity AND n.generation > l.generation) ORDER BY identity LIMIT ?",
        (given.pipeline, LIVE, given.source, given.pipeline, LEDGER_LIMIT + 1),
    ).fetchall()
    return {"files": [row[0] for row in rows[:LEDGER_LIMIT]], "more": len(rows) > LEDGER_LIMIT}


class Places(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``ledger.places``: how far a lane has read the partitions of an ordered source, those after ``cursor``."""

    pipeline: Name
    source: Name
    lane: Name = LIVE
    cursor: str = ""


def _places(db: sqlite3.Connection, given: Places) -> Any:
    """``{"items": [{"partition", "place", "holes": [[lower, upper]]}], "cursor"}``, places in hex digits; ``cursor`` ""
    after the last: see ``ranges.Reached``."""
    found, cursor = ranges.reached(db.execute, given.pipeline, given.lane, given.source, given.cursor)
    items = [
        {
            "partition": one.partition,
            "place": one.place.hex(),
            "holes": [[lower.hex(), upper.hex()] for lower, upper in one.holes],
        }
        for one in found
    ]
    return {"items": items, "cursor": cursor}


class Apart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``ledger.apart``: what the live lane of a source has read, and a source ``of`` another pipeline has not; names
    after ``cursor``."""

    pipeline: Name
    source: Name
    other: Name
    of: Name
    cursor: str = ""


def _apart(db: sqlite3.Connection, given: Apart) -> Any:
    """``{"items": [name], "cursor"}``: files, and partitions that the other one has not read as far; ``cursor`` ""
    after the last. What was not published, or was set aside, counts as not read."""
    own, others = (given.pipeline, LIVE, given.source), (given.other, LIVE, given.of)
    rows = db.execute(
        "SELECT name FROM (SELECT identity AS name, x'' AS place FROM ledger AS l WHERE pipeline = ? AND lane = ? AND"
        " source = ? AND revised = 0 AND NOT EXISTS (SELECT 1 FROM iterations AS i WHERE i.pipeline = l.pipeline AND"
        " i.iteration = l.iteration AND i.state NOT IN ('committed', 'prepared', 'blocked'))"
        " UNION SELECT partition, place FROM places WHERE pipeline = ? AND lane = ? AND source = ?)"
        " WHERE name > ? AND NOT EXISTS (SELECT 1 FROM ledger WHERE pipeline = ? AND lane = ? AND source = ? AND"
        " identity = name) AND NOT EXISTS (SELECT 1 FROM places AS n WHERE n.pipeline = ? AND n.lane = ? AND"
        " n.source = ? AND n.partition = name AND n.place >= place) ORDER BY name LIMIT ?",
        (*own, *own, given.cursor, *others, *others, LEDGER_LIMIT),
    ).fetchall()
    names = [row[0] for row in rows]
    return {"items": names, "cursor": names[-1] if len(names) == LEDGER_LIMIT else ""}


VERBS: dict[str, tuple[Callable[[sqlite3.Connection, Any], Any], type]] = {
    "ledger.aside": (_aside, Aside),
    "ledger.places": (_places, Places),
    "ledger.apart": (_apart, Apart),
}


def rows(db: sqlite3.Connection, pipeline: str, lane: str, source: str, identities: list[str]) -> list[LedgerRow]:
    """See ``Engine.ledger_rows``."""
    found: list[LedgerRow] = []
    for identity in identities:
        row = db.execute(
            f"SELECT {POSITION}, iteration, revised FROM ledger WHERE pipeline = ? AND lane = ? AND source = ?"
            " AND identity = ? ORDER BY generation DESC LIMIT 1",
            (pipeline, lane, source, identity),
        ).fetchone()
        if row is None:
            continue
        *columns, iteration, revised = row
        state = db.execute(
            "SELECT state FROM iterations WHERE pipeline = ? AND iteration = ?", (pipeline, iteration)
        ).fetchone()
        whether = _whether_read(columns[4], revised, state)
        if whether == "letter" and not _lies(db, pipeline, iteration, identity, revised):
            whether = "discarded"
        done = state in (None, ("committed",))  # one that is pruned was
        known = LedgerRow(position(tuple(columns)), iteration, whether, state == ("failed",), lane, done)
        again = _read_again(db, pipeline, source, known) if lane == LIVE and whether in READ else None
        found.append(again or known)
    return found


def _read_again(db: sqlite3.Connection, pipeline: str, source: str, known: LedgerRow) -> LedgerRow | None:
    """As the newest backfill has read the file that did so later, and is committed; None where none has, or it was what
    it had been."""
    newest = known
    for lane in _backfills(db, pipeline):
        row = db.execute(
            f"SELECT {', '.join(f'l.{name}' for name in POSITION.split(', '))}, l.iteration FROM ledger AS l LEFT JOIN"
            " iterations AS i ON i.pipeline = l.pipeline AND i.iteration = l.iteration WHERE l.pipeline = ?"
            " AND l.lane = ? AND l.source = ? AND l.identity = ? AND l.revised = 0 AND length(l.digest) > 0"
            " AND coalesce(i.state, 'committed') = 'committed' ORDER BY l.generation DESC LIMIT 1",
            (pipeline, lane, source, known.position.identity),
        ).fetchone()
        if row is not None and row[-1] > newest.iteration:
            newest = LedgerRow(position(row[:-1]), row[-1], "read", lane=lane, committed=True)
    return None if newest.position.digest == known.position.digest else newest


def _backfills(db: sqlite3.Connection, pipeline: str) -> Iterator[str]:
    """The lanes of backfills that have taken files: one step in the index for each."""
    lane = "backfill."  # the first text behind all of them
    for _ in range(LANES):
        (found,) = db.execute(
            "SELECT max(lane) FROM ledger WHERE pipeline = ? AND lane < ?", (pipeline, lane)
        ).fetchone()
        if found is None or not found.startswith("backfill-"):
            return
        lane = found
        yield lane


def _lies(db: sqlite3.Connection, pipeline: str, iteration: int, identity: str, revised: int) -> bool:
    """Whether there is still a dead letter in which the file was set aside."""
    letter = db.execute(
        "SELECT 1 FROM dead_letters WHERE pipeline = ? AND iteration = ? AND revised = ? AND (? = 0 OR position = ?)"
        f" AND {STANDING}",
        (pipeline, iteration, revised, revised, identity),
    ).fetchone()
    return letter is not None


def _whether_read(digest: str | bytes, revised: int, state: tuple[str] | None) -> Whether:
    """Of a position: its digest is there once it was read. Iterations of former releases left none."""
    if revised or state == ("dead_lettered",):
        return "letter"
    return "unread" if not digest and state is not None and state[0] in UNPREPARED else "read"
