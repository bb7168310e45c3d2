"""Forgetting what a pipeline has done, at rest (``odibictl reset``). The reset itself, targets included, is carried out
by ``odibi_actors.local.reset``. First the store forgets, and notes with it what else is to be deleted: from then on
nothing of the pipeline is planned until that is done, and all others go on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from odibi_actors.checkpoint import adopted
from odibi_actors.checkpoint.records import COMPACTED, FORGOTTEN, PRUNED, RESETTING
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.checkpoint.tables import SinksDecoder
from odibi_actors.model import TRIGGER, Target

_TABLES = ("iterations", "plans", "acks", "errors", "dead_letters", "states", "rewinds", "schemas")


def of_former_release(db: sqlite3.Connection, data_dir: Path, now: float) -> None:
    """A former release noted in a file what a reset deletes, and forgot the pipeline last: it is forgotten now, in the
    transaction that is open. The files are deleted by ``taken_over``."""
    for path in _noted(data_dir):
        pipeline = path.stem.removeprefix("reset-")
        if not begun(db, pipeline):
            plan = json.loads(path.read_bytes())
            plan["given_up"] = (known(db, pipeline) or {}).get("given_up", {})
            forget(db, pipeline, now, json.dumps(plan))


def taken_over(data_dir: Path) -> None:
    """The store has what ``of_former_release`` has read, for good."""
    for path in _noted(data_dir):
        path.unlink()


def _noted(data_dir: Path) -> list[Path]:
    return sorted(data_dir.glob("reset-*.json"))


def begun(db: sqlite3.Connection, pipeline: str) -> str:
    """What a reset of the pipeline that has begun and not ended deletes, as it was given to ``forget``; "" for none."""
    row = db.execute("SELECT value FROM settings WHERE scope = ? AND name = ?", (pipeline, RESETTING)).fetchone()
    return str(row[0]) if row else ""


def unfinished(db: sqlite3.Connection) -> list[str]:
    """The pipelines whose reset has begun and not ended."""
    return [name for (name,) in db.execute("SELECT scope FROM settings WHERE name = ? ORDER BY scope", (RESETTING,))]


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


def forget(db: sqlite3.Connection, pipeline: str, now: float, plan: str) -> None:
    """Forget iterations, the ledger, letters, pinned schemas, states; end runs and backfills. Numbers go on from where
    they were, so that no part has the name of a former one. Versions, schedules and what they have waiting stay, and so
    do the files that started runs. ``plan``: what is to be deleted besides, before the pipeline may go on."""
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
    db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?, ?)", (pipeline, RESETTING, plan))


def end(db: sqlite3.Connection, pipeline: str, targets: Sequence[Target], *, hide: bool) -> None:
    """All is deleted: the pipeline may go on. ``targets``: those that are gone, with who has owned them. ``hide``: it
    is not in the project any more, and no list shows it from now on; its versions and its number stay, so that one
    that comes back under its name goes on above the parts that are there."""
    adopted.forget(db, targets)
    db.execute("DELETE FROM settings WHERE scope = ? AND name = ?", (pipeline, RESETTING))
    for name in ("removed", FORGOTTEN) if hide else ():
        db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?, '1')", (pipeline, name))


def left_out(db: sqlite3.Connection, pipeline: str) -> bool:
    """The store knows a pipeline of this name, and it was not forgotten."""
    found = db.execute("SELECT 1 FROM versions WHERE pipeline = ? LIMIT 1", (pipeline,)).fetchone()
    hidden = db.execute("SELECT 1 FROM settings WHERE scope = ? AND name = ?", (pipeline, FORGOTTEN)).fetchone()
    return found is not None and hidden is None
