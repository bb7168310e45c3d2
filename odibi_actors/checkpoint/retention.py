"""What may be forgotten: the rows behind ``iteration list`` and ``show`` once their iterations are history.

Two bounds: ``history`` (how old) and ``history_size`` (how much, oldest first). Never touched: the ledger, counters,
schedules, states, anything of an iteration that is not terminal or that has a dead letter, and its run.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from typing import Any, NamedTuple

from odibi_actors.checkpoint.records import HISTORY, HISTORY_SIZE, PROJECT
from odibi_actors.checkpoint.schema import PRUNED
from odibi_actors.checkpoint.tables import STANDING

CHUNK = 1000
"""Rows looked at or deleted in one transaction (a few ms): the store's loop never waits longer."""

SECONDS = 30 * 86400.0
SIZE = 2_000_000_000
"""Bounds of history unless the project says others."""

EVERY = 3600.0
SOON = 10.0
"""Seconds between two sweeps, at most and at least: a tenth of ``history``; or a minute, when its size is near the
bound."""


class Bounds(NamedTuple):
    """What is kept: seconds, and bytes (about, see ``schema.COUNTED``)."""

    seconds: float = SECONDS
    size: int = SIZE


def bounds(db: sqlite3.Connection, seconds: float = SECONDS) -> Bounds:
    """What the project says, else ``seconds`` and SIZE."""
    said = dict(db.execute("SELECT name, value FROM settings WHERE scope = ?", (PROJECT,)).fetchall())
    return Bounds(float(said.get(HISTORY, seconds)), int(said.get(HISTORY_SIZE, SIZE)))


def used(db: sqlite3.Connection) -> int:
    """Bytes of history."""
    names = ", ".join(f"'{name}'" for name in PRUNED)
    (size,) = db.execute(f"SELECT sum(bytes) FROM sizes WHERE name IN ({names})").fetchone()
    return int(size)


def every(db: sqlite3.Connection, bound: Bounds) -> float:
    """Seconds from the end of one sweep to the next."""
    pause = min(EVERY, max(SOON, bound.seconds / 10))
    return min(pause, 60.0) if used(db) > 0.8 * bound.size else pause


def told(db: sqlite3.Connection) -> dict[str, Any]:
    """What ``checkpoint stats`` says: the bounds, ``bytes`` of history, ``oldest`` (when the oldest iteration that is
    kept has ended), and of each bound what it has taken: ``pruned_*``. Times are seconds since the epoch."""
    bound = bounds(db)
    (oldest,) = db.execute("SELECT min(finished_at) FROM iterations WHERE finished_at IS NOT NULL").fetchone()
    names = ("at", "iterations", "rows", "through")
    pruned = {
        why: dict(zip(names, row, strict=True)) for why, *row in db.execute("SELECT * FROM prunings ORDER BY why")
    }
    return {
        "history": bound.seconds,
        "history_size": bound.size,
        "history_bytes": used(db),
        "oldest": oldest,
        "pruned_by_history": pruned.get(HISTORY),
        "pruned_by_history_size": pruned.get(HISTORY_SIZE),
    }


def before(db: sqlite3.Connection) -> dict[str, float]:
    """``{"pruned_before": when the newest of what was pruned had ended}`` (iterations, runs, alerts that were told) for
    a list that is empty, in which something may have stood; else ``{}``."""
    (through,) = db.execute("SELECT max(through) FROM prunings").fetchone()
    return {} if through is None else {"pruned_before": through}


class Sweep:
    """A walk in chunks over finished iterations, oldest first, then over what runs and schedules leave; begins again
    at the end."""

    def __init__(self) -> None:
        self._after = (-math.inf, 0)
        self._through = -math.inf
        """When the newest iteration had ended that went for its size: runs as old go with it."""
        self._cut: float | None = None
        """What is older goes, of runs and schedules; None: iterations are not done yet."""
        self._rest: list[Callable[[sqlite3.Connection, float, int], tuple[int, float]]] = []
        self._seen = -1
        """Number of the occurrence looked at last."""

    def chunk(self, db: sqlite3.Connection, now: float, bound: Bounds, keep_last: int) -> bool:
        """Delete the next chunk of what finished more than ``bound.seconds`` before ``now`` (seconds since the epoch),
        or is too much, but for the newest ``keep_last`` iterations of each pipeline. Returns False when the walk is
        complete."""
        before = now - bound.seconds
        if self._cut is None and self._iterations(db, now, before, bound.size, keep_last):
            return True
        if not self._rest:
            self._rest = [_runs, self._occurrences, _alerts, _backfills]
        assert self._cut is not None
        if self._chunk_of_rest(db, self._cut, now, HISTORY if self._cut <= before else HISTORY_SIZE):
            return True
        if used(db) > bound.size and not math.isinf(self._cut):  # and no iteration is left that may go
            self._cut = _later(db, self._cut)
            return True
        self._after, self._through, self._cut = (-math.inf, 0), -math.inf, None
        return False

    def _iterations(self, db: sqlite3.Connection, now: float, before: float, size: int, keep_last: int) -> bool:
        """Whether there are more."""
        rows = db.execute(
            "SELECT finished_at, id, pipeline, iteration FROM iterations WHERE finished_at IS NOT NULL"
            " AND (finished_at, id) > (?, ?) ORDER BY finished_at, id LIMIT ?",
            (*self._after, CHUNK),
        ).fetchall()
        newest: dict[str, int] = {}
        pruning = _Pruning(db, now)
        excess = used(db) - size
        try:
            for finished_at, number, pipeline, iteration in rows:
                if finished_at >= before and excess <= 0:
                    self._cut = max(before, self._through)
                    return False
                self._after = (finished_at, number)
                if pipeline not in newest:
                    newest[pipeline] = _bound(db, pipeline, keep_last)
                if iteration > newest[pipeline]:
                    continue
                gone = _forget(db, pipeline, iteration)
                why = HISTORY if finished_at < before else HISTORY_SIZE
                pruning.note(pipeline, iteration, gone, why, finished_at)
                if gone and why == HISTORY_SIZE:
                    self._through = finished_at
                if excess > 0 and gone:
                    excess = used(db) - size
                if pruning.rows >= CHUNK:
                    return True
        finally:
            pruning.write()
        if len(rows) == CHUNK:
            return True
        self._cut = max(before, self._through)
        return False

    def _chunk_of_rest(self, db: sqlite3.Connection, before: float, now: float, why: str) -> bool:
        budget = CHUNK
        pruning = _Pruning(db, now)
        try:
            while self._rest:
                gone, newest = self._rest[0](db, before, budget)
                pruning.note_rest(gone, why, newest)
                budget -= gone
                if budget <= 0:
                    return True
                del self._rest[0]
        finally:
            pruning.write()
        return False

    def _occurrences(self, db: sqlite3.Connection, before: float, limit: int) -> tuple[int, float]:
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
        return len(old), -math.inf  # what is skipped is counted with its schedule; the rest goes with its run


class _Pruning:
    """What one chunk has taken, written down with it: so that a verb can say why something is not there."""

    def __init__(self, db: sqlite3.Connection, now: float) -> None:
        self._db = db
        self._now = now
        self._newest: dict[str, int] = {}
        self._taken: dict[str, tuple[int, int, float]] = {}
        self.rows = 0

    def note(self, pipeline: str, iteration: int, rows: int, why: str, finished_at: float) -> None:
        """``rows`` of an iteration went, 0 if it is kept."""
        if rows:
            self.rows += rows
            self._newest[pipeline] = max(self._newest.get(pipeline, 0), iteration)
            iterations, before, _ = self._taken.get(why, (0, 0, 0.0))
            self._taken[why] = (iterations + 1, before + rows, finished_at)

    def note_rest(self, rows: int, why: str, ended: float) -> None:
        """``rows`` of runs, alerts or backfills went, the newest of which had ``ended`` then."""
        if rows and ended > -math.inf:
            iterations, before, through = self._taken.get(why, (0, 0, -math.inf))
            self._taken[why] = (iterations, before + rows, max(through, ended))

    def write(self) -> None:
        """Into the transaction."""
        self._db.executemany(
            "UPDATE counters SET pruned = max(pruned, ?) WHERE pipeline = ?",
            [(number, pipeline) for pipeline, number in self._newest.items()],
        )
        self._db.executemany(
            "INSERT INTO prunings VALUES (?, ?, ?, ?, ?) ON CONFLICT (why) DO UPDATE SET at = excluded.at,"
            " iterations = iterations + excluded.iterations, rows = rows + excluded.rows,"
            " through = max(through, excluded.through)",
            [(why, self._now, *taken) for why, taken in self._taken.items()],
        )


def _later(db: sqlite3.Connection, cut: float) -> float:
    """The time by which a chunk more of runs and occurrences is over than by ``cut``; infinite: there is less."""
    rows = [
        db.execute("SELECT ended FROM runs WHERE ended > ? ORDER BY ended LIMIT 1 OFFSET ?", (cut, CHUNK)).fetchone(),
        db.execute("SELECT at FROM occurrences ORDER BY seq LIMIT 1 OFFSET ?", (CHUNK,)).fetchone(),
    ]
    return min((row[0] for row in rows if row is not None and row[0] > cut), default=math.inf)


def _bound(db: sqlite3.Connection, pipeline: str, keep_last: int) -> int:
    row = db.execute(
        "SELECT iteration FROM iterations WHERE pipeline = ? ORDER BY iteration DESC LIMIT 1 OFFSET ?",
        (pipeline, keep_last),
    ).fetchone()
    return row[0] if row else 0


def _forget(db: sqlite3.Connection, pipeline: str, iteration: int) -> int:
    """Delete a finished iteration's rows, unless a dead letter refers to it; returns how many."""
    key = (pipeline, iteration)
    # Of a dead-lettered one also a letter that was taken up, which could be open again.
    held = (
        "SELECT 1 FROM dead_letters AS d WHERE pipeline = ? AND iteration = ? AND (state <> 'replayed' OR (SELECT state"
        " FROM iterations AS i WHERE i.pipeline = d.pipeline AND i.iteration = d.iteration) = 'dead_lettered')"
        f" AND {STANDING} LIMIT 1"
    )
    if db.execute(held, key).fetchone():
        return 0
    # A letter that was taken up is kept as long as that iteration could be rewound.
    db.execute("DELETE FROM dead_letters WHERE pipeline = ? AND replay = ? AND state = 'replayed'", key)
    db.execute(f"DELETE FROM dead_letters WHERE pipeline = ? AND iteration = ? AND NOT {STANDING}", key)
    return sum(
        db.execute(f"DELETE FROM {table} WHERE pipeline = ? AND iteration = ?", key).rowcount
        for table in ("acks", "errors", "plans", "iterations")
    )


def _runs(db: sqlite3.Connection, before: float, limit: int) -> tuple[int, float]:
    """Ended runs, but for those of iterations that may be retried: how many, and when the newest had ended."""
    held = "FROM iterations WHERE state NOT IN ('committed', 'dead_lettered', 'cancelled', 'rewound')"
    rows = db.execute(
        f"SELECT seq, ended FROM runs WHERE ended < ? AND run NOT IN (SELECT run {held} UNION SELECT taken {held})"
        " ORDER BY ended LIMIT ?",
        (before, limit),
    ).fetchall()
    db.executemany("DELETE FROM runs WHERE seq = ?", [row[:1] for row in rows])
    db.execute("DELETE FROM given_back WHERE run NOT IN (SELECT run FROM runs)")
    return len(rows), _newest(rows)


def _alerts(db: sqlite3.Connection, before: float, limit: int) -> tuple[int, float]:
    rows = db.execute("SELECT id, told_at FROM alerts WHERE told_at < ? LIMIT ?", (before, limit)).fetchall()
    db.executemany("DELETE FROM alerts WHERE id = ?", [row[:1] for row in rows])
    return len(rows), _newest(rows)


def _backfills(db: sqlite3.Connection, before: float, limit: int) -> tuple[int, float]:
    rows = db.execute("SELECT pipeline, lane, ended FROM backfills WHERE ended < ? LIMIT ?", (before, limit)).fetchall()
    db.executemany("DELETE FROM backfills WHERE pipeline = ? AND lane = ?", [row[:2] for row in rows])
    return len(rows), _newest(rows)


def _newest(rows: list[tuple[object, ...]]) -> float:
    """The greatest of their last columns."""
    return max((float(str(row[-1])) for row in rows), default=-math.inf)
