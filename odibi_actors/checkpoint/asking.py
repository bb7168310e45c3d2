"""What the verbs of the store share: parameters that are bounded, and what is said about names that are not known."""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec

from odibi_actors.errors import NotFoundError

MAX_ROWS = 1000
"""Rows of any list, positions of one node, errors of one iteration: what a person asks for, and a frame can carry."""

Name = Annotated[str, msgspec.Meta(max_length=200)]
Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What SQLite can hold."""


def bounded(limit: int) -> int:
    """As many rows as are given for a limit."""
    return max(0, min(limit, MAX_ROWS))


COUNTED = 10_000
"""Rows that are counted at most, to say how long a list is: the store's loop never waits on a scan."""


def rest(
    db: sqlite3.Connection, keys: Sequence[int], more: bool, rows: str, values: Iterable[object]
) -> dict[str, Any]:
    """What the answer says of the rows that are not in it. ``keys``: those that are, newest first; ``more``: there are
    others; ``rows``: the table and the condition that choose them all, with its ``values``. ``total``: how many there
    are, with ``at_least`` where no more were counted; ``next``: what ``before`` asks for those that follow."""
    if not more:
        return {}
    total = db.execute(f"SELECT count(*) FROM (SELECT 1 FROM {rows} LIMIT {COUNTED})", tuple(values)).fetchone()[0]
    return {"total": total, "next": keys[-1], **({"at_least": True} if total >= COUNTED else {})}


SHOWN = 20
"""Names that a message lists at most."""


def known(db: sqlite3.Connection, pipeline: str) -> None:
    """Raises NotFoundError, with a suggestion, unless the pipeline is known."""
    if not db.execute("SELECT 1 FROM counters WHERE pipeline = ?", (pipeline,)).fetchone():
        rows = db.execute("SELECT pipeline FROM counters ORDER BY pipeline LIMIT ?", (MAX_ROWS,))
        raise NotFoundError(f"there is no pipeline {pipeline}{suggestion(pipeline, [row[0] for row in rows])}")


def known_schedule(db: sqlite3.Connection, pipeline: str, schedule: str) -> None:
    """Raises NotFoundError, with a suggestion, unless the schedule is known; a removed one is."""
    if not db.execute("SELECT 1 FROM schedules WHERE pipeline = ? AND name = ?", (pipeline, schedule)).fetchone():
        known(db, pipeline)
        rows = db.execute("SELECT name FROM schedules WHERE pipeline = ? ORDER BY name LIMIT ?", (pipeline, MAX_ROWS))
        hint = suggestion(schedule, [row[0] for row in rows])
        raise NotFoundError(f"pipeline {pipeline} has no schedule {schedule}{hint}")


def suggestion(name: str, names: list[str]) -> str:
    """The end of a message about a name that is none of ``names``."""
    near = difflib.get_close_matches(name, names, 1)
    more = ", ..." if len(names) > SHOWN else ""
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(names[:SHOWN]) or 'none'}{more}"
