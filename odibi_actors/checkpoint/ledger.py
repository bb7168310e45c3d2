"""What the source asks of the ledger: pages of it, and single files."""

from __future__ import annotations

import sqlite3
from typing import Literal

from odibi_actors.checkpoint.tables import POSITION, position
from odibi_actors.messages import LedgerRow
from odibi_actors.model import UNPREPARED, Position

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


def rows(db: sqlite3.Connection, pipeline: str, lane: str, source: str, identities: list[str]) -> list[LedgerRow]:
    """See ``Engine.ledger_rows``."""
    found = []
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
        found.append(LedgerRow(position(tuple(columns)), iteration, _whether_read(columns[5], revised, state)))
    return found


def _whether_read(digest: str | bytes, revised: int, state: tuple[str] | None) -> Literal["read", "unread", "letter"]:
    """Of a position: its digest is there once it was read. Iterations of former releases left none."""
    if revised or state == ("dead_lettered",):
        return "letter"
    return "unread" if not digest and state is not None and state[0] in UNPREPARED else "read"
