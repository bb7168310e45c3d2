"""How iterations ended: what a wait tells. Part of ``queries``, whose rules hold."""

from __future__ import annotations

import sqlite3
from typing import Annotated, Any

import msgspec

from odibi_actors.checkpoint.asking import MAX_ROWS, Name, Number, known
from odibi_actors.checkpoint.records import PLANNED_AGAIN
from odibi_actors.checkpoint.summary import positions_of
from odibi_actors.errors import NotFoundError
from odibi_actors.model import LIVE

COUNT_CAP = 100_000
"""Counting stops here: to count a table is to read it."""


class Ended(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``iteration.ended``: how these iterations of the live lane ended: those after ``after``, and ``open``; the newest
    that did if none of them has. ``one``: how this one did, whatever its lane."""

    pipeline: Name
    after: Number = 0
    open: Annotated[list[Number], msgspec.Meta(max_length=MAX_ROWS)] = []
    one: Number | None = None


_TERMINAL = "('committed', 'dead_lettered', 'cancelled')"

FORGOTTEN = "it is forgotten, by a reset or because it was pruned"
"""Of an iteration that was there."""
_REAL = f"NOT (state = 'cancelled' AND substr(error, 1, {len(PLANNED_AGAIN)}) = '{PLANNED_AGAIN}')"
"""What was planned again by itself has not ended: its input goes on under another number."""


def ended(db: sqlite3.Connection, given: Ended) -> Any:
    """``{"pipeline", "iteration", "state", "files", "ended": {state: count}}``: the newest iteration of the worst end
    among them, and how many files were set aside from all of them. What was set aside counts until it was taken up
    again; what was cancelled, to be planned again by itself, does not. ``iteration`` 0: none has ended yet."""
    if given.one is not None:
        return _ended_one(db, given.pipeline, given.one)
    numbers = ", ".join(str(number) for number in given.open)
    which = f"pipeline = ? AND (iteration > ? OR iteration IN ({numbers}))"
    rows = db.execute(
        "SELECT state, count(*), max(iteration) FROM (SELECT state, iteration FROM iterations"
        f" WHERE {which} AND lane = '{LIVE}' AND state IN {_TERMINAL}"
        f" AND {_REAL}"
        " ORDER BY iteration DESC LIMIT ?) GROUP BY state",
        (given.pipeline, given.after, COUNT_CAP),
    ).fetchall()
    if not rows:
        known(db, given.pipeline)
        last = db.execute(
            f"SELECT iteration FROM iterations WHERE pipeline = ? AND lane = '{LIVE}' AND state IN {_TERMINAL}"
            f" AND {_REAL} ORDER BY iteration DESC LIMIT 1",
            (given.pipeline,),
        ).fetchone()
        nothing = {"pipeline": given.pipeline, "iteration": 0, "state": "", "files": 0, "ended": {}}
        return nothing if last is None else _ended_one(db, given.pipeline, last[0])
    counts = {state: (count, newest) for state, count, newest in rows}
    letters = db.execute(
        f"SELECT revised, count(*), max(iteration) FROM dead_letters WHERE {which} AND state <> 'replayed'"
        " GROUP BY revised",
        (given.pipeline, given.after),
    )
    aside = {bool(revised): (count, newest) for revised, count, newest in letters}
    if False in aside:
        state, number = "dead_lettered", aside[False][1]
    elif "cancelled" in counts:
        state, number = "cancelled", counts["cancelled"][1]
    elif True in aside:
        state, number = "committed", aside[True][1]
    else:
        number, state = max((newest, state) for state, (_, newest) in counts.items())
    return {
        "pipeline": given.pipeline,
        "iteration": number,
        "state": state,
        "files": aside.get(True, (0, 0))[0],
        "ended": {state: count for state, (count, _) in counts.items()},
    }


def _ended_one(db: sqlite3.Connection, pipeline: str, number: int) -> dict[str, Any]:
    """How it ended; of one that was planned again by itself how those did that have its files now: see ``_goes_on``."""
    row = db.execute(
        f"SELECT state, NOT ({_REAL}), lane, run FROM iterations WHERE pipeline = ? AND iteration = ?",
        (pipeline, number),
    ).fetchone()
    if row is None:
        known(db, pipeline)
        raise NotFoundError(f"pipeline {pipeline} has no iteration {number}: {FORGOTTEN}")
    state, again, lane, run = row
    (files,) = db.execute(
        "SELECT count(*) FROM dead_letters WHERE pipeline = ? AND iteration = ? AND revised = 1"
        " AND state <> 'replayed'",
        (pipeline, number),
    ).fetchone()
    found = {"pipeline": pipeline, "iteration": number, "state": state, "files": files, "ended": {state: 1}}
    return {**found, **_goes_on(db, pipeline, number, lane, run)} if again else found


def planned_as(db: sqlite3.Connection, pipeline: str, number: int, lane: str) -> list[int]:
    """The iterations that have the files of one that is void now, ascending."""
    return sorted(_now_in(db, pipeline, number, lane)[0])


def _now_in(db: sqlite3.Connection, pipeline: str, number: int, lane: str) -> tuple[dict[int, None], list[list[str]]]:
    """Later iterations that have the files of a void one, and (source, identity) of those that are in none."""
    numbers: dict[int, None] = {}
    left = []
    for source, positions in positions_of(db, pipeline, number).items():
        for position in positions[:MAX_ROWS]:
            row = db.execute(
                "SELECT iteration FROM ledger WHERE pipeline = ? AND lane = ? AND source = ? AND identity = ?"
                " ORDER BY generation DESC LIMIT 1",
                (pipeline, lane, source, position.identity),
            ).fetchone()
            if row is not None and row[0] > number:
                numbers[row[0]] = None
            else:
                left.append([source, position.identity])
    return numbers, left


_WORST = ("planned", "running", "prepared", "failed", "blocked", "cancelled", "dead_lettered", "committed")


def _goes_on(db: sqlite3.Connection, pipeline: str, number: int, lane: str, run: str) -> dict[str, Any]:
    """``{"planned_again": number, "lane", "as": [iterations that have its files now], "left": [[source, identity]]}``,
    the last those of no iteration, and of those iterations what ``ended`` tells: the worst end, or an unfinished one.
    """
    numbers, left = _now_in(db, pipeline, number, lane)
    if not numbers and run:  # of one that reads references alone the ledger has nothing
        rows = db.execute(
            f"SELECT iteration FROM iterations WHERE pipeline = ? AND iteration > ? AND run = ? AND {_REAL}"
            " ORDER BY iteration LIMIT 1",
            (pipeline, number, run),
        ).fetchall()
        numbers.update(dict.fromkeys(row[0] for row in rows))
    ends = [_ended_one(db, pipeline, other) for other in sorted(numbers)]
    told = {"planned_again": number, "lane": lane, "as": sorted(numbers), "left": left[:MAX_ROWS]}
    if not ends:
        return told
    worst = min(ends, key=lambda one: (_WORST.index(one["state"]), not one["files"], -one["iteration"]))
    counts: dict[str, int] = {}
    for one in ends:
        counts[one["state"]] = counts.get(one["state"], 0) + 1
    files = sum(one["files"] for one in ends)
    return {**told, "iteration": worst["iteration"], "state": worst["state"], "files": files, "ended": counts}
