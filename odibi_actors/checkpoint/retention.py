"""What may be forgotten: the rows behind ``iteration list`` and ``show`` once their iterations are history.

Never touched: the ledger, counters, anything of an iteration that is not terminal or that has a dead letter.
"""

from __future__ import annotations

import sqlite3

CHUNK = 1000
"""Rows looked at or deleted in one transaction (a few ms): the store's loop never waits longer."""


class Sweep:
    """A walk over all iterations in chunks; begins anew when it has reached the end."""

    def __init__(self) -> None:
        self._pipeline = ""
        self._iteration = 0

    def chunk(self, db: sqlite3.Connection, before: float, keep_last: int) -> bool:
        """Delete the next chunk of what finished before ``before`` (seconds since the epoch), but for the newest
        ``keep_last`` iterations of each pipeline. Returns False when the walk is complete."""
        budget = CHUNK
        while budget > 0:
            bound = _bound(db, self._pipeline, keep_last)
            rows = db.execute(
                "SELECT iteration, state, finished_at FROM iterations WHERE pipeline = ? AND iteration > ?"
                " AND iteration <= ? ORDER BY iteration LIMIT ?",
                (self._pipeline, self._iteration, bound, budget),
            ).fetchall()
            for iteration, state, finished_at in rows:
                self._iteration = iteration
                budget -= 1
                if finished_at is not None and finished_at >= before:
                    rows = []  # those after it are younger still
                    break
                if state in ("committed", "cancelled", "rewound"):
                    budget -= _forget(db, self._pipeline, iteration)
                if budget <= 0:
                    break
            if not rows and not self._advance(db):
                db.execute(
                    "DELETE FROM runs WHERE run IN"
                    " (SELECT run FROM runs WHERE state <> 'active' AND ended < ? LIMIT ?)",
                    (before, CHUNK),
                )
                return False
        return True

    def _advance(self, db: sqlite3.Connection) -> bool:
        row = db.execute("SELECT min(pipeline) FROM counters WHERE pipeline > ?", (self._pipeline,)).fetchone()
        self._pipeline, self._iteration = row[0] or "", 0
        return row[0] is not None


def _bound(db: sqlite3.Connection, pipeline: str, keep_last: int) -> int:
    row = db.execute(
        "SELECT iteration FROM iterations WHERE pipeline = ? ORDER BY iteration DESC LIMIT 1 OFFSET ?",
        (pipeline, keep_last),
    ).fetchone()
    return row[0] if row else 0


def _forget(db: sqlite3.Connection, pipeline: str, iteration: int) -> int:
    """Delete an iteration's rows, unless a dead letter refers to it; returns how many."""
    key = (pipeline, iteration)
    open_ = "SELECT 1 FROM dead_letters WHERE pipeline = ? AND iteration = ? AND state <> 'replayed' LIMIT 1"
    if db.execute(open_, key).fetchone():
        return 0
    # A letter that was taken up is kept as long as that iteration could be rewound.
    db.execute("DELETE FROM dead_letters WHERE pipeline = ? AND replay = ? AND state = 'replayed'", key)
    return sum(
        db.execute(f"DELETE FROM {table} WHERE pipeline = ? AND iteration = ?", key).rowcount
        for table in ("acks", "errors", "plans", "iterations")
    )
