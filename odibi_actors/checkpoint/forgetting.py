"""Forgetting what a pipeline has done, at rest (``odibictl reset``). The reset itself, targets included, is carried out
by ``odibi_actors.local.reset``; a file beside the database says that one has begun, and keeps the store closed until it
is done."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from odibi_actors.checkpoint import adopted
from odibi_actors.checkpoint.records import COMPACTED, PRUNED
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.checkpoint.tables import SinksDecoder
from odibi_actors.errors import ConflictError
from odibi_actors.model import TRIGGER, Target

_TABLES = ("iterations", "plans", "acks", "errors", "dead_letters", "states", "rewinds", "schemas")


_INTENTION = "reset-"


def begun(data_dir: Path) -> list[str]:
    """The pipelines whose reset has begun and not ended."""
    return sorted(path.stem.removeprefix(_INTENTION) for path in data_dir.glob(f"{_INTENTION}*.json"))


def intention(data_dir: Path, pipeline: str) -> Path:
    """The file that says that the reset of a pipeline has begun, and what it deletes."""
    return data_dir / f"{_INTENTION}{pipeline}.json"


def interrupted(pipeline: str) -> tuple[str, str]:
    """What people are told of such a reset, and what ends it."""
    return f"a reset of {pipeline} was interrupted", f"`odibictl reset {pipeline}` ends it"


def refuse(data_dir: Path, resetting: str = "") -> None:
    """Raise ConflictError while a reset is half done, but for that of the pipeline ``resetting``: what runs would
    publish beside what is still to be deleted."""
    for pipeline in begun(data_dir):
        if pipeline != resetting:
            raise ConflictError(": ".join(interrupted(pipeline)))


def known(db: sqlite3.Connection, pipeline: str) -> dict[str, Any] | None:
    """What there is to forget: counts, (source, identity) of the planned ``files``, and (node, target) of what was
    published, and the iterations of which a sink was ``given_up``; None: no iteration was ever planned."""
    row = db.execute("SELECT last_iteration FROM counters WHERE pipeline = ?", (pipeline,)).fetchone()
    if row is None or not row[0]:
        return None
    states = dict(
        db.execute("SELECT state, count(*) FROM iterations WHERE pipeline = ? GROUP BY state ORDER BY 1", (pipeline,))
    )
    targets: dict[tuple[str, Target], None] = {}
    for (sinks,) in db.execute("SELECT sinks FROM iterations WHERE pipeline = ? AND sinks IS NOT NULL", (pipeline,)):
        for node, part in unseal(sinks, SinksDecoder, f"the sinks of {pipeline}").items():
            targets[node, part.at] = None
    files = db.execute(
        "SELECT DISTINCT source, identity FROM ledger WHERE pipeline = ? AND lane <> ?", (pipeline, TRIGGER)
    ).fetchall()
    counts = {
        name: db.execute(f"SELECT count(*) FROM {table} WHERE pipeline = ?", (pipeline,)).fetchone()[0]
        for name, table in (("schemas", "schemas"), ("states", "states"))
    }
    held = "SELECT count(*) FROM dead_letters WHERE pipeline = ? AND state <> 'replayed'"  # what was settled is no loss
    counts["letters"] = db.execute(held, (pipeline,)).fetchone()[0]
    given_up: dict[str, list[int]] = {}
    for number, abandoned in db.execute(
        "SELECT iteration, abandoned FROM iterations WHERE pipeline = ? AND abandoned <> '[]'", (pipeline,)
    ):
        for node in json.loads(abandoned):
            given_up.setdefault(node, []).append(number)
    return {"iterations": states, "files": files, **counts, "targets": list(targets), "given_up": given_up}


def forget(db: sqlite3.Connection, pipeline: str, now: float, targets: Sequence[Target] = ()) -> None:
    """Forget iterations, the ledger, letters, pinned schemas, states; end runs and backfills. Numbers go on from where
    they were, so that no part has the name of a former one. Versions, schedules and what they have waiting stay, and so
    do the files that started runs. ``targets``: what was deleted, with who has owned it."""
    adopted.forget(db, targets)
    db.execute("DELETE FROM settings WHERE scope = ? AND name IN (?, ?)", (pipeline, COMPACTED, PRUNED))
    for table in _TABLES:
        db.execute(f"DELETE FROM {table} WHERE pipeline = ?", (pipeline,))
    db.execute("DELETE FROM ledger WHERE pipeline = ? AND lane <> ?", (pipeline, TRIGGER))
    for table in ("ranges", "places"):
        db.execute(f"DELETE FROM {table} WHERE pipeline = ?", (pipeline,))
    for table in ("runs", "backfills"):
        db.execute(
            f"UPDATE {table} SET state = 'cancelled', ended = ? WHERE pipeline = ? AND ended IS NULL", (now, pipeline)
        )
    db.execute("DELETE FROM given_back WHERE run IN (SELECT run FROM runs WHERE pipeline = ?)", (pipeline,))
    db.execute(
        "UPDATE counters SET committed = 0, last_committed = 0, pruned = last_iteration,"
        " positions = (SELECT count(*) FROM ledger WHERE ledger.pipeline = counters.pipeline) WHERE pipeline = ?",
        (pipeline,),
    )
