"""What may be forgotten: the rows behind ``iteration list`` and ``show`` once their iterations are history.

Never touched: the ledger, counters, schedules, anything of an iteration that is not terminal or that has a dead letter,
and its run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

CHUNK = 1000
"""Rows looked at or deleted in one transaction (a few ms): the store's loop never waits longer."""


class Sweep:
    """A walk over all iterations in chunks, then over what runs and schedules leave; begins anew at the end."""

    def __init__(self) -> None:
        self._pipeline = ""
        self._iteration = 0
        self._rest: list[Callable[[sqlite3.Connection, float, int], int]] = []
        self._seen = -1
        """Number of the occurrence looked at last."""

    def chunk(self, db: sqlite3.Connection, before: float, keep_last: int) -> bool:
        """Delete the next chunk of what finished before ``before`` (seconds since the epoch), but for the newest
        ``keep_last`` iterations of each pipeline. Returns False when the walk is complete."""
        if self._rest:
            return self._chunk_of_rest(db, before)
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
                self._rest = [_runs, self._occurrences, _alerts, _backfills]
                return self._chunk_of_rest(db, before)
        return True

    def _chunk_of_rest(self, db: sqlite3.Connection, before: float) -> bool:
        budget = CHUNK
        while self._rest:
            budget -= self._rest[0](db, before, budget)
            if budget <= 0:
                return True
            del self._rest[0]
        return False

    def _occurrences(self, db: sqlite3.Connection, before: float, limit: int) -> int:
        """They are numbered in the order of their times. One that was started goes after its run, which is looked up by
        name: a retry could make it active again."""
        rows = db.execute(
            "SELECT seq, at, state = 'waiting' OR EXISTS (SELECT 1 FROM runs WHERE run = o.run) FROM occurrences AS o"
            " WHERE seq > ? ORDER BY seq LIMIT ?",
            (self._seen, limit),
        ).fetchall()
        old = [row for row in rows if row[1] < before]
        db.executemany("DELETE FROM occurrences WHERE seq = ?", [(seq,) for seq, _, kept in old if not kept])
        self._seen = old[-1][0] if len(old) == limit else -1
        return len(old)

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


def _runs(db: sqlite3.Connection, before: float, limit: int) -> int:
    """Ended runs, but for those of iterations that may be retried."""
    return db.execute(
        "DELETE FROM runs WHERE seq IN (SELECT seq FROM runs WHERE ended < ? AND run NOT IN (SELECT run FROM iterations"
        " WHERE state NOT IN ('committed', 'dead_lettered', 'cancelled', 'rewound')) ORDER BY ended LIMIT ?)",
        (before, limit),
    ).rowcount


def _alerts(db: sqlite3.Connection, before: float, limit: int) -> int:
    return db.execute(
        "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE told_at < ? LIMIT ?)", (before, limit)
    ).rowcount


def _backfills(db: sqlite3.Connection, before: float, limit: int) -> int:
    return db.execute(
        "DELETE FROM backfills WHERE (pipeline, lane) IN"
        " (SELECT pipeline, lane FROM backfills WHERE ended < ? LIMIT ?)",
        (before, limit),
    ).rowcount
