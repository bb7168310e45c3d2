"""What a snapshot has of the scheduler: schedules, occurrences, backfills, runs, alerts; see ``snapshot`` for pages."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import msgspec

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.checkpoint.tables import AlertDecoder, BackfillDecoder, OccurrenceDecoder, ScheduleDecoder, trigger
from odibi_actors.model import Place

Item = tuple[tuple[Any, ...], r.AnyLoaded, int]
"""Key within the section, item, bytes."""


def schedules(db: sqlite3.Connection, after: tuple[Any, ...]) -> Iterator[Item]:
    """All, removed ones too, as they are now."""
    rows = db.execute(
        "SELECT pipeline, name, due, wall, started, reasons, seen, last, last_run, payload FROM schedules"
        " WHERE (pipeline, name) > (?, ?) ORDER BY pipeline, name",
        after or ("", ""),
    )
    for pipeline, name, due, wall, started, reasons, seen, last, last_run, blob in rows:
        record = unseal(blob, ScheduleDecoder, f"schedule {pipeline}.{name}")
        followed = record.seen if seen == "{}" else json.loads(seen)
        record = msgspec.structs.replace(record, place=Place(due, wall), seen=followed)
        item = r.LoadedSchedule(record, started, json.loads(reasons), last, last_run)
        yield (pipeline, name), item, len(blob) + len(reasons) + len(seen) + 100


def occurrences(db: sqlite3.Connection, after: tuple[Any, ...]) -> Iterator[Item]:
    """Key (part, number of the record): part 0 are those whose run is active, 1 those that wait, each as noted."""
    part, seq = after or (0, 0)
    columns = "o.seq, o.run, o.pipeline, o.schedule, o.id, o.payload"
    if part == 0:
        # The active runs are few, so they are what is looked through; sorted, as pages need one order.
        rows = db.execute(
            f"SELECT {columns} FROM runs AS r CROSS JOIN occurrences AS o ON o.pipeline = r.pipeline"
            " AND o.schedule = r.schedule AND o.id = r.occurrence AND o.state <> 'skipped'"
            " WHERE r.state = 'active' AND r.occurrence <> '' AND o.run = r.run AND o.seq > ? ORDER BY o.seq",
            (seq,),
        )
        yield from _occurrences(0, rows)
        seq = 0
    rows = db.execute(
        f"SELECT {columns} FROM occurrences AS o WHERE o.state = 'waiting' AND o.seq > ? ORDER BY o.seq", (seq,)
    )
    yield from _occurrences(1, rows)


def _occurrences(part: int, rows: sqlite3.Cursor) -> Iterator[Item]:
    for seq, run, pipeline, schedule, name, blob in rows:
        record = unseal(blob, OccurrenceDecoder, f"occurrence {name} of {pipeline}.{schedule}")
        yield (part, seq), r.LoadedOccurrence(record, run), len(blob)


def backfills(db: sqlite3.Connection, after: tuple[Any, ...]) -> Iterator[Item]:
    """Those that have not ended."""
    rows = db.execute(
        "SELECT pipeline, lane, planned, committed, positions, payload FROM backfills"
        " WHERE state = 'active' AND (pipeline, lane) > (?, ?) ORDER BY pipeline, lane",
        after or ("", ""),
    )
    for pipeline, lane, planned, committed, positions, blob in rows:
        record = unseal(blob, BackfillDecoder, f"backfill {lane} of {pipeline}")
        yield (pipeline, lane), r.LoadedBackfill(record, planned, committed, positions), len(blob)


def runs(db: sqlite3.Connection, after: tuple[Any, ...]) -> Iterator[Item]:
    """Of each pipeline those that are active and the newest that have ended, in the order of their start."""
    pipeline, seq = after or ("", -1)
    if after:
        yield from _runs_of(db, pipeline, seq)
    while True:
        (pipeline,) = db.execute("SELECT min(pipeline) FROM runs WHERE pipeline > ?", (pipeline,)).fetchone()
        if pipeline is None:
            return
        yield from _runs_of(db, pipeline, -1)


def _runs_of(db: sqlite3.Connection, pipeline: str, after: int) -> Iterator[Item]:
    found = db.execute(
        "SELECT seq FROM runs WHERE pipeline = ? AND ended IS NOT NULL ORDER BY ended DESC, seq DESC LIMIT ?",
        (pipeline, r.RUNS_LOADED),
    ).fetchall()
    found += db.execute("SELECT seq FROM runs WHERE pipeline = ? AND state = 'active'", (pipeline,)).fetchall()
    for (seq,) in sorted(found):
        if seq > after:
            run, cause, at, state, planned, cancelled, lane, error, blob = db.execute(
                "SELECT run, cause, at, state, planned, cancelled, lane, error, payload FROM runs WHERE seq = ?", (seq,)
            ).fetchone()
            record = r.Run(run, pipeline, cause, at, trigger(blob, run), lane)
            size = len(cause) + len(error) + len(blob or b"") + 200
            yield (pipeline, seq), r.LoadedRun(record, planned, state, error, planned - cancelled), size


def alerts(db: sqlite3.Connection, after: tuple[Any, ...]) -> Iterator[Item]:
    """Those that nobody was told yet."""
    rows = db.execute("SELECT id, payload FROM alerts WHERE told_at IS NULL AND id > ? ORDER BY id", after or (0,))
    for number, blob in rows:
        yield (number,), r.LoadedAlert(unseal(blob, AlertDecoder, f"alert {number}")), len(blob)
