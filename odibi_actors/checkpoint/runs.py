"""Read-only questions about runs, occurrences of schedules, and alerts; see ``queries`` for the rules of all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from odibi_actors.checkpoint import retention
from odibi_actors.checkpoint.asking import Name, Number, bounded, known, known_schedule, rest
from odibi_actors.checkpoint.records import ALERTS
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.checkpoint.tables import AlertDecoder, trigger
from odibi_actors.errors import NotFoundError
from odibi_actors.model import OccurrenceState, RunState


class Occurrences(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``occurrence.list``: the newest ``limit`` occurrences, newest first, of one schedule and one state if given,
    and ``before`` one."""

    pipeline: Name
    schedule: Name | None = None
    state: OccurrenceState | None = None
    limit: Number = 20
    before: Number | None = None


class Runs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``run.list``: the newest ``limit`` runs, newest first, of one pipeline and one state if given; ``backfills``: of
    those only."""

    pipeline: Name | None = None
    state: RunState | None = None
    limit: Number = 20
    backfills: bool = False
    before: Number | None = None


class One(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``run.show``."""

    run: str


class Alerts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``alert.list``: the newest ``limit`` alerts, newest first, of one pipeline if given, and ``before`` one."""

    pipeline: Name | None = None
    limit: Number = 20
    before: Number | None = None


def _newest(
    db: sqlite3.Connection,
    table: str,
    key: str,
    where: dict[str, str | None],
    states: tuple[str, ...],
    limit: int,
    before: int | None,
) -> tuple[list[int], dict[str, Any]]:
    """Keys of the newest rows with these values, newest first, below ``before`` if given; and what is said of the rest.
    Of each state on its own, so that an index has them in order and no more than that is read; none: there is no state
    to choose by."""
    limit = bounded(limit)
    given = {name: value for name, value in where.items() if value is not None}
    tests = [f"{name} = ?" for name in (*given, *(["state"] if states else []))]
    below = [] if before is None else [before]
    chosen = " AND ".join([*tests, *([f"{key} < ?"] if below else [])])
    query = f"SELECT {key} FROM {table}{f' WHERE {chosen}' if chosen else ''} ORDER BY {key} DESC LIMIT ?"
    found: list[int] = []
    for state in [[state] for state in states] or [[]]:
        found += [row[0] for row in db.execute(query, (*given.values(), *state, *below, limit + 1))]
    keys = sorted(found, reverse=True)[:limit]
    all_of = [f"{name} = ?" for name in given] + ([f"state IN ({', '.join('?' * len(states))})"] if states else [])
    rows = table + (f" WHERE {' AND '.join(all_of)}" if all_of else "")
    return keys, rest(db, keys, len(found) > limit > 0, rows, (*given.values(), *states))


_OCCURRENCE = ("schedule", "occurrence", "due", "at", "state", "run", "reason", "count", "first")
_OCCURRENCE_STATES = ("waiting", "started", "skipped")


def _occurrences(db: sqlite3.Connection, given: Occurrences) -> Any:
    where = {"pipeline": given.pipeline, "schedule": given.schedule}
    states = (given.state,) if given.state else _OCCURRENCE_STATES
    keys, more = _newest(db, "occurrences", "seq", where, states, given.limit, given.before)
    if not keys:
        known(db, given.pipeline)
        if given.schedule is not None:
            known_schedule(db, given.pipeline, given.schedule)
    return {"items": [_occurrence(db, key) for key in keys], **more}


def _occurrence(db: sqlite3.Connection, seq: int) -> dict[str, Any]:
    row = db.execute(
        "SELECT schedule, id, due, at, state, run, reason, count, first FROM occurrences WHERE seq = ?", (seq,)
    ).fetchone()
    found = dict(zip(_OCCURRENCE, row, strict=True))
    run = db.execute("SELECT state FROM runs WHERE run = ?", (found["run"],)).fetchone()
    return {**found, "run_state": run[0] if run else ""}


_RUN = (
    *("run", "pipeline", "state", "cause", "at", "ended", "planned", "took"),
    *("lane", "schedule", "occurrence", "error"),
)
_KEPT = "planned - cancelled + took - took_cancelled"
_RUN_STATES = ("active", "done", "failed", "no_data", "cancelled")


def _runs(db: sqlite3.Connection, given: Runs) -> Any:
    """Of one pipeline each state is asked for on its own; of all of them the newest rows are simply the last ones."""
    states = (given.state,) if given.state else _RUN_STATES if given.pipeline is not None else ()
    where = {"pipeline": given.pipeline, **({"cause": "backfill"} if given.backfills else {})}
    keys, more = _newest(db, "runs", "seq", where, states, given.limit, given.before)
    if not keys and given.pipeline is not None:
        known(db, given.pipeline)
    query = f"SELECT {', '.join(_RUN)}, {_KEPT} FROM runs WHERE seq = ?"
    found = [_shown(db.execute(query, (key,)).fetchone()) for key in keys]
    return {"items": found, **more, **({} if found else retention.before(db))}


def _run(db: sqlite3.Connection, given: One) -> Any:
    """A row of the list, and of what set it off ``due``, ``params`` and ``files``."""
    row = db.execute(f"SELECT {', '.join(_RUN)}, {_KEPT}, payload FROM runs WHERE run = ?", (given.run,)).fetchone()
    if row is None:
        raise NotFoundError(
            f"there is no run {given.run[:200]}: see `odibictl pipeline runs PIPELINE`; what is old is pruned"
        )
    cause = trigger(row[-1], given.run)
    return {**_shown(row[:-1]), "due": cause.due, "params": cause.params, "files": cause.files}


def _shown(row: tuple[Any, ...]) -> dict[str, Any]:
    """A run as it is told. ``took``: seconds, None until it has ended; ``planned``, ``taken_up``: iterations, its own
    and those that it found unfinished; ``kept``: those of both that were not cancelled."""
    found = dict(zip((*_RUN, "kept"), row, strict=True))
    found["taken_up"] = found["took"]
    found["took"] = max(0.0, found["ended"] - found["at"]) if found["ended"] else None
    return found


_ALERT = ("id", "kind", "pipeline", "schedule", "run", "occurrence", "text", "at", "held_back", "targets")


def _alerts(db: sqlite3.Connection, given: Alerts) -> Any:
    keys, rest_of = _newest(db, "alerts", "id", {"pipeline": given.pipeline}, (), given.limit, given.before)
    if not keys and given.pipeline is not None:
        known(db, given.pipeline)
    more = {} if keys else retention.before(db)
    return {"items": [_alert(db, key) for key in keys], **rest_of, "held": _held(db, given.pipeline), **more}


def _held(db: sqlite3.Connection, pipeline: str | None) -> list[dict[str, Any]]:
    """What is held back as of now: ``{"pipeline", "kind", "target", "count", "since", "due", "text"}``, to be told at
    ``due``. ``target``: the place among the pipeline's alerts."""
    found = []
    rows = db.execute("SELECT name, value FROM settings WHERE scope = ? ORDER BY name", (ALERTS,))
    for name, value in rows.fetchall():
        one, kind, number = name.split("/")
        if pipeline in (None, one):
            found.append({"pipeline": one, "kind": kind, "target": int(number), **json.loads(value)})
    return found


def _alert(db: sqlite3.Connection, number: int) -> dict[str, Any]:
    told_at, error, blob = db.execute("SELECT told_at, error, payload FROM alerts WHERE id = ?", (number,)).fetchone()
    alert = unseal(blob, AlertDecoder, f"alert {number}")
    return {**{name: getattr(alert, name) for name in _ALERT}, "told_at": told_at, "error": error}


VERBS: dict[str, tuple[Callable[[sqlite3.Connection, Any], Any], Any]] = {
    "occurrence.list": (_occurrences, Occurrences),
    "run.list": (_runs, Runs),
    "run.show": (_run, One),
    "alert.list": (_alerts, Alerts),
}
