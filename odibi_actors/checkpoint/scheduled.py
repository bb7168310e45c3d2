"""What a snapshot has of the scheduler: schedules, occurrences, backfills, runs, alerts; see ``snapshot`` for pages."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator
from typing import Any

import msgspec

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.checkpoint.tables import (
    OPEN,
    AlertDecoder,
    BackfillDecoder,
    OccurrenceDecoder,
    ScheduleDecoder,
    trigger,
)
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
        if record.place != Place(due, wall) or seen != "{}" or record.seen:
            record = msgspec.structs.replace(record, place=Place(due, wall), seen=_counters(seen))
        item = r.LoadedSchedule(record, started, _counters(reasons), last, last_run)
        yield (pipeline, name), item, len(blob) + len(reasons) + len(seen) + 100


def _counters(text: str) -> dict[str, int]:
    return {} if text == "{}" else msgspec.json.decode(text, type=dict[str, int])


def occurrences(db: sqlite3.Connection, after: tuple[Any, ...]) -> Iterator[Item]:
    """Key (part, number of a record): part 0 are those whose run is active, in the order of their runs' start, 1 those
    that wait, in the order in which they were noted."""
    part, seq = after or (0, -1)
    if part == 0:
        # The active runs are few, so they are what is looked through.
        rows = db.execute(
            "SELECT r.seq, r.run, o.pipeline, o.schedule, o.id, o.payload FROM runs AS r CROSS JOIN occurrences AS o"
            " ON o.pipeline = r.pipeline AND o.schedule = r.schedule AND o.id = r.occurrence AND o.state <> 'skipped'"
            " WHERE r.state = 'active' AND r.occurrence <> '' AND o.run = r.run AND r.seq > ? ORDER BY r.seq",
            (seq,),
        )
        yield from _occurrences(0, rows)
        seq = -1
    rows = db.execute(
        "SELECT seq, run, pipeline, schedule, id, payload FROM occurrences WHERE state = 'waiting' AND seq > ?"
        " ORDER BY seq",
        (seq,),
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
    """Of each pipeline those that are active, failed ones that can become so again, and the newest that have ended, in
    the order of their start."""
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
    held = db.execute(
        "SELECT DISTINCT r.seq FROM iterations AS i JOIN runs AS r ON r.run IN (i.run, i.taken)"
        " WHERE i.pipeline = ? AND r.pipeline = i.pipeline"
        f" AND i.{OPEN} AND r.state = 'failed'",
        (pipeline,),
    ).fetchall()
    active = db.execute(
        "SELECT seq FROM runs WHERE pipeline = ? AND state = 'active' AND seq > ? ORDER BY seq", (pipeline, after)
    )
    ended = sorted({seq for (seq,) in [*found, *held]})
    for seq in heapq.merge(ended, (seq for (seq,) in active)):
        if seq > after:
            run, cause, at, state, lane, error, blob, most, planned, cancelled, aside, took, void, *rest = db.execute(
                f"SELECT {_RUN} FROM runs WHERE seq = ?", (seq,)
            ).fetchone()
            record = r.Run(run, pipeline, cause, at, trigger(blob, run), lane, most)
            size = len(cause) + len(error) + len(blob or b"") + 200
            back = db.execute("SELECT source, identity FROM given_back WHERE run = ? ORDER BY 1, 2", (run,)).fetchall()
            size += sum(len(source) + len(identity) for source, identity in back)
            voided, upto, taken, unread = rest
            item = r.LoadedRun(
                record,
                planned,
                state,
                error,
                planned - cancelled,
                aside,
                took - void,
                voided,
                back,
                upto,
                taken,
                unread,
            )
            yield (pipeline, seq), item, size


_RUN = (
    "run, cause, at, state, lane, error, payload, most, planned, cancelled, aside, took, took_cancelled, voided, upto,"
    " taken, unread"
)


def alerts(db: sqlite3.Connection, after: tuple[Any, ...]) -> Iterator[Item]:
    """Those that nobody was told yet."""
    rows = db.execute("SELECT id, payload FROM alerts WHERE told_at IS NULL AND id > ? ORDER BY id", after or (0,))
    for number, blob in rows:
        yield (number,), r.LoadedAlert(unseal(blob, AlertDecoder, f"alert {number}")), len(blob)
