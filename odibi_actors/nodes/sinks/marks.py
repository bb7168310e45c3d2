"""What a database says of what was published into it: the marks that each publishing leaves in its transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from odibi_actors.nodes.sinks.owner import OWNER_TABLE

BUSY = 5.0
"""Seconds that a database may be locked by somebody who writes."""


def missing(
    database: Path,
    table: str,
    sink: Sequence[str],
    iteration: int,
    digest: str,
    owners: Sequence[Sequence[str]],
) -> str:
    """Why the part of ``iteration`` with ``digest``, of ``sink`` (store id, pipeline, node), is not known to be in the
    table; "" when it is. ``owners``: the sinks whose the table may be, as it has passed from one to the other. Old
    marks are given up, see ``low_water``. Writes nothing."""
    if not database.exists():
        return "is missing"
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY)) as db:
            there = {name.lower() for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
            if table.lower() not in there:
                return "is missing: there is no such table"
            owned = None
            if OWNER_TABLE in there:
                owner = f"select store_id, pipeline, node, low_water from {OWNER_TABLE} where table_name = ?"
                owned = db.execute(f"{owner} collate nocase", (table,)).fetchone()
            if owned is None or list(owned[:3]) not in [list(one) for one in owners]:
                return "is missing: the table is not of this sink any more"
            mark = db.execute(
                "select digest from _odibi_commits where store_id = ? and pipeline = ? and sink = ? and iteration = ?",
                (*sink, iteration),
            ).fetchone()
    except sqlite3.Error as error:
        return f"cannot be looked for: {error}"
    if mark is None:
        return "" if iteration <= owned[3] else "is missing"
    return "" if mark[0] == digest else "was published with another digest"
