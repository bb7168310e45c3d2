"""What must hold between the rows of some tables: ``checkpoint.verify`` looks at each of them.

Only what records cannot leave behind is a problem, so one that is found is a defect of ours, or of the disk.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from odibi_actors.checkpoint import adopted, ranges
from odibi_actors.checkpoint.tables import (
    AlertDecoder,
    BackfillDecoder,
    LetterDecoder,
    OccurrenceDecoder,
    ScheduleDecoder,
    TriggerDecoder,
)
from odibi_actors.model import LIVE, Place, Trigger
from odibi_actors.runtime.visible import named

_SEAL = 8
_FIX = "this is a defect, of Odibi Actors or of the disk: keep a copy of the data_dir, and report it"


def problems(db: sqlite3.Connection, table: str, key: tuple[Any, ...], blob: bytes | None) -> Iterator[dict[str, str]]:
    """What does not hold of a row, whose payload matches its seal."""
    check = _CHECKS.get(table)
    data = None if blob is None else blob[:-_SEAL]
    for what in check(db, key, data) if check is not None else ():
        yield {"what": what, "fix": _FIX}


def _schedule(db: sqlite3.Connection, key: tuple[Any, ...], data: bytes | None) -> Iterator[str]:
    due, wall, gone, skipped, reasons = db.execute(
        "SELECT due, wall, gone, skipped, reasons FROM schedules WHERE pipeline = ? AND name = ?", key
    ).fetchone()
    record = ScheduleDecoder.decode(data or b"")
    what = f"schedule {key[0]}.{key[1]}"
    if (record.pipeline, record.name, record.gone) != (*key, bool(gone)):
        yield f"{what} is not what its record says"
    if record.place > Place(due, wall):
        yield f"{what} is at {Place(due, wall)}, before its record's {record.place}"
    if skipped != sum(json.loads(reasons).values()):
        yield f"{what} has skipped {skipped} occurrences, but by reason {reasons}"


def _occurrence(db: sqlite3.Connection, key: tuple[Any, ...], data: bytes | None) -> Iterator[str]:
    pipeline, schedule, name, state, run = db.execute(
        "SELECT pipeline, schedule, id, state, run FROM occurrences WHERE seq = ?", key
    ).fetchone()
    what = f"occurrence {name} of {pipeline}.{schedule}"
    found = db.execute(
        "SELECT due, wall, gone FROM schedules WHERE pipeline = ? AND name = ?", (pipeline, schedule)
    ).fetchone()
    if found is None:
        yield f"{what}: there is no such schedule"
        return
    if state == "waiting" and found[2]:
        yield f"{what} waits, but its schedule was removed"
    if data is None and state != "skipped":
        yield f"{what} is {state}, but was not noted"
    if data is not None:
        record = OccurrenceDecoder.decode(data)
        if (record.pipeline, record.schedule, record.id) != (pipeline, schedule, name):
            yield f"{what} is not what its record says"
        if record.place is not None and record.place > Place(*found[:2]):
            yield f"{what} is at {record.place}, but its schedule only at {Place(*found[:2])}"
    if state == "started":
        started = db.execute("SELECT pipeline, schedule, occurrence FROM runs WHERE run = ?", (run,)).fetchone()
        if started is not None and started != (pipeline, schedule, name):
            yield f"{what} has run {run}, which is of {' '.join(started)}"


def _run(db: sqlite3.Connection, key: tuple[Any, ...], data: bytes | None) -> Iterator[str]:
    run, pipeline, state, ended, schedule, occurrence = db.execute(
        "SELECT run, pipeline, state, ended, schedule, occurrence FROM runs WHERE seq = ?", key
    ).fetchone()
    if (state == "active") != (ended is None):
        yield f"run {run} is {state}, but its end says otherwise"
    trigger = Trigger() if data is None else TriggerDecoder.decode(data)
    if (trigger.schedule, trigger.occurrence) != (schedule, occurrence):
        yield f"run {run} is not what its trigger says"
    if state == "active" and schedule and trigger.kind != "backfill":
        found = db.execute(
            "SELECT run FROM occurrences WHERE pipeline = ? AND schedule = ? AND id = ? AND state = 'started'"
            " AND state <> 'skipped'",
            (pipeline, schedule, occurrence),
        ).fetchone()
        if found != (run,):
            yield f"run {run} is active, but occurrence {occurrence} of {pipeline}.{schedule} does not name it"


def _backfill(_db: sqlite3.Connection, key: tuple[Any, ...], data: bytes | None) -> Iterator[str]:
    record = BackfillDecoder.decode(data or b"")
    if (record.pipeline, record.lane) != key:
        yield f"backfill {key[1]} of {key[0]} is not what its record says"


def _alert(_db: sqlite3.Connection, key: tuple[Any, ...], data: bytes | None) -> Iterator[str]:
    if AlertDecoder.decode(data or b"").id != key[0]:
        yield f"alert {key[0]} is not what its record says"


def _letter(db: sqlite3.Connection, key: tuple[Any, ...], data: bytes | None) -> Iterator[str]:
    pipeline, iteration, state = db.execute(
        "SELECT pipeline, iteration, state FROM dead_letters WHERE id = ?", key
    ).fetchone()
    letter = LetterDecoder.decode(data or b"")
    held = letter.held()
    what = f"dead letter {key[0]} of {pipeline}"
    if state == "open" and any(letter.positions.get(source) for source in held) and not any(held.values()):
        yield f"{what} is open, and holds no file"
    for source, positions in held.items():
        for position in positions if state == "open" else ():
            row = (pipeline, LIVE, source, position.identity)
            rows = db.execute(
                "SELECT iteration, generation FROM ledger WHERE pipeline = ? AND lane = ? AND source = ?"
                " AND identity = ? ORDER BY generation DESC",
                row,
            ).fetchall()
            # What is read whole is in no ledger; nor is what a replay had, of a source that came to be read so.
            taken = rows[0] if rows else (iteration, position.generation)
            if taken[1] != position.generation or taken[0] > iteration:
                yield f"{what} holds {named(position.identity)} of {source}, which iteration {rows[0][0]} has as well"


def _adoption(db: sqlite3.Connection, key: tuple[Any, ...], data: bytes | None) -> Iterator[str]:
    record = adopted.AdoptDecoder.decode(data or b"")
    before = db.execute("SELECT payload FROM adoptions WHERE seq < ? ORDER BY seq DESC", key).fetchall()
    chain = (adopted.AdoptDecoder.decode(blob[:-_SEAL]) for (blob,) in before)
    former = next((one for one in chain if one.target == record.target), None)
    if former is not None and (former.pipeline, former.node) != (record.from_pipeline, record.from_node):
        yield (
            f"adoption {key[0]} of {record.target} is from {record.from_pipeline}.{record.from_node}, but its owner "
            f"was {former.pipeline}.{former.node}"
        )


_CHECKS: dict[str, Callable[[sqlite3.Connection, tuple[Any, ...], bytes | None], Iterator[str]]] = {
    "schedules": _schedule,
    "occurrences": _occurrence,
    "runs": _run,
    "backfills": _backfill,
    "alerts": _alert,
    "dead_letters": _letter,
    "adoptions": _adoption,
    "places": lambda db, key, _data: iter(ranges.problems(db.execute, key)),
}
