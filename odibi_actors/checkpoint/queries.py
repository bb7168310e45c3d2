"""Read-only questions of sources and clients. Each is bounded in rows, so that the store's loop never waits on a scan.

Result shapes: a list verb gives {"items": [row, ...]}; rows are plain dictionaries, times are seconds since the epoch.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec
import xxhash

from odibi_actors.checkpoint import (
    aside,
    ends,
    ledger,
    outputs,
    retention,
    runs,
    sources,
    summary,
    twins,
    verify,
    whereabouts,
)
from odibi_actors.checkpoint.asking import MAX_ROWS, Name, Number, bounded, known, rest
from odibi_actors.checkpoint.going_back import VERBS as GOING_BACK
from odibi_actors.checkpoint.schema import PRUNED, unseal
from odibi_actors.checkpoint.sinks import VERBS as SINKS
from odibi_actors.checkpoint.snapshot import VersionDecoder
from odibi_actors.checkpoint.tables import (
    OPEN,
    POSITION,
    STANDING,
    AckDecoder,
    ErrorDecoder,
    FailuresDecoder,
    LetterDecoder,
    SinksDecoder,
)
from odibi_actors.checkpoint.tables import position as position_of
from odibi_actors.config.model import PipelineSpec
from odibi_actors.config.parts import parts
from odibi_actors.errors import ConfigError, NotFoundError
from odibi_actors.model import Failure, IterationState, Position
from odibi_actors.units import naming

FREED = ("committed", "cancelled", "rewound")
"""States in which an iteration's outputs leave the spool."""

FINAL = 1 << 63
"""Later than any record: no failed try comes after the acks of an iteration that is summarised."""

_canonical = msgspec.msgpack.Encoder(order="deterministic")


def answer(db: sqlite3.Connection, verb: str, params: dict[str, Any]) -> Any:
    """The answer to a verb of VERBS. Raises NotFoundError (unknown pipeline or iteration), ConfigError (a parameter is
    missing or of the wrong type, or the verb is unknown)."""
    try:
        ask, model = VERBS[verb]
    except KeyError:
        raise ConfigError(f"the checkpoint store does not know {verb[:40]!r}; it knows {', '.join(VERBS)}") from None
    try:
        given = msgspec.convert(params, model)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{verb}: {error}") from None
    return ask(db, given)


# --- parameters of the verbs --------------------------------------------------------------------------------------


class Iterations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``iteration.list``: the newest ``limit`` iterations, newest first, of one state and ``before`` one if given."""

    pipeline: Name
    limit: Number = 20
    state: IterationState | None = None
    before: Number | None = None


class One(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``iteration.show`` and ``node.list``."""

    pipeline: Name
    iteration: Number


class DeadLetters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``deadletter.list``: newest first, of one pipeline or all, and ``before`` one if given. ``files``: how many were
    set aside in it."""

    pipeline: Name | None = None
    before: Number | None = None
    limit: Number = MAX_ROWS


class Letter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``deadletter.show``."""

    id: Number


class VersionOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``version.show``: what identifies a version of a pipeline, whole and by its parts, without its contents."""

    pipeline: Name
    version: Number


class Stats(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``checkpoint.stats``."""


class Verify(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``checkpoint.verify``: the chunk after ``cursor``, see ``verify``."""

    cursor: str = ""


# --- iterations ---------------------------------------------------------------------------------------------------

_ROW = "iteration, lane, state, version, run, taken, planned_at, finished_at, positions, error, sources, rows"


def _iterations(db: sqlite3.Connection, given: Iterations) -> Any:
    given_by = {"state = ?": given.state, "iteration < ?": given.before}
    chosen = {test: value for test, value in given_by.items() if value is not None}
    where, values, limit = "".join(f" AND {test}" for test in chosen), chosen.values(), bounded(given.limit)
    rows = db.execute(
        f"SELECT {_ROW} FROM iterations WHERE pipeline = ?{where} ORDER BY iteration DESC LIMIT ?",
        (given.pipeline, *values, limit + 1),
    ).fetchall()
    if not rows:
        known(db, given.pipeline)
    found = [_iteration(db, given.pipeline, row) for row in rows[:limit]]
    of_state = " AND state = ?" if given.state is not None else ""
    everything = [given.pipeline, *([given.state] if given.state is not None else [])]
    more = rest(
        db,
        [row[0] for row in rows[:limit]],
        len(rows) > limit > 0,
        f"iterations WHERE pipeline = ?{of_state}",
        everything,
    )
    return {"items": found, **more, **({} if found else retention.before(db))}


def _iteration(db: sqlite3.Connection, pipeline: str, row: tuple[Any, ...]) -> dict[str, Any]:
    """A row of the list. ``waits_for``: the stuck one that holds it back, 0 for none; ``rows_read``: rows that its
    read nodes gave, visible or not, without those of reference data; ``dead_letters``: 1 for the
    iteration itself, or the number of positions taken out of it."""
    rows = row[11]
    if rows is None:
        acks = db.execute("SELECT node, rows_out FROM acks WHERE pipeline = ? AND iteration = ?", (pipeline, row[0]))
        rows = summary.rows(acks, row[10])
    names = _ROW.split(", ")[:10]
    held = f"SELECT count(*) FROM dead_letters WHERE pipeline = ? AND iteration = ? AND {STANDING}"
    dead = db.execute(held, (pipeline, row[0]))
    found = dict(zip(names, row, strict=False))
    return {
        **found,
        "waits_for": _stuck_before(db, pipeline, found) if found["state"] in _HELD else 0,
        "rows_read": rows,
        "dead_letters": dead.fetchone()[0],
    }


_HELD = ("planned", "running", "prepared")


def _stuck_before(db: sqlite3.Connection, pipeline: str, row: dict[str, Any]) -> int:
    """The first failed or blocked iteration before this one in its lane."""
    (number,) = db.execute(
        f"SELECT coalesce(min(iteration), 0) FROM iterations WHERE pipeline = ? AND {OPEN} AND lane = ?"
        " AND state IN ('failed', 'blocked') AND iteration < ?",
        (pipeline, row["lane"], row["iteration"]),
    ).fetchone()
    return int(number)


def _find(db: sqlite3.Connection, given: One, columns: str) -> tuple[Any, ...]:
    row = db.execute(
        f"SELECT {columns} FROM iterations WHERE pipeline = ? AND iteration = ?", (given.pipeline, given.iteration)
    ).fetchone()
    if row is None:
        known(db, given.pipeline)
        raise NotFoundError(_absent(db, given))
    return tuple(row)


def _absent(db: sqlite3.Connection, given: One) -> str:
    last, pruned = db.execute(
        "SELECT last_iteration, pruned FROM counters WHERE pipeline = ?", (given.pipeline,)
    ).fetchone()
    said = f"pipeline {given.pipeline} has no iteration {given.iteration}: "
    if not 0 < given.iteration <= last:
        return f"{said}the newest is {last}"
    if given.iteration > pruned:
        return f"{said}its number was never used"
    (oldest,) = db.execute(
        "SELECT min(iteration) FROM iterations WHERE pipeline = ? AND iteration > ?", (given.pipeline, given.iteration)
    ).fetchone()
    kept = f"kept are {oldest} and later" if oldest else "none is kept"
    return f"{said}{ends.FORGOTTEN} (see history and history_size in odibi.yaml); {kept}"


def _show(db: sqlite3.Connection, given: One) -> Any:
    *row, failures, sinks, abandoned = _find(db, given, f"{_ROW}, failures, sinks, abandoned")
    key = (given.pipeline, given.iteration)
    what = f"of {given.pipeline} iteration {given.iteration}"
    planned = summary.positions_of(db, *key)
    positions = _as_read(db, key, planned)
    revised = db.execute(
        "SELECT node, position AS identity, message FROM dead_letters WHERE pipeline = ? AND iteration = ?"
        f" AND revised = 1 AND {STANDING} ORDER BY id LIMIT ?",
        (*key, MAX_ROWS),
    ).fetchall()
    ended = row[2] in FREED
    errors = _errors(db, key, what, ended)
    final = unseal(failures, FailuresDecoder, f"the failures {what}") if failures is not None else {}
    told = {(error["node"], error["message"]): None for error in errors}
    # The try that condemned an iteration is among the errors already; one that blocked a sink is not.
    errors += [
        {"node": node, "attempt": "", **_failure(failure, ended), "at": at, "used": 0}
        for node, (failure, at) in final.items()
        if (node, failure.message if ended else failure.text) not in told
    ]
    parts = unseal(sinks, SinksDecoder, f"the sinks {what}") if sinks is not None else {}
    given_up = json.loads(abandoned)
    return {
        "pipeline": given.pipeline,
        **(found := _iteration(db, given.pipeline, tuple(row))),
        "files": found["positions"],
        "planned_as": ends.planned_as(db, *key, found["lane"]) if found["state"] in ("cancelled", "rewound") else [],
        "positions": {name: [p.shown() for p in some] for name, some in positions.items()},
        "more": {name: len(some) - MAX_ROWS for name, some in planned.items() if len(some) > MAX_ROWS},
        "twins": [one for name, some in positions.items() for one in twins.earlier(db, *key, name, some)],
        "revised": [dict(zip(("node", "identity", "message"), row, strict=True)) for row in revised],
        "nodes": _nodes(db, given)["items"],
        "errors": errors,
        "sinks": {
            name: {
                "target": p.published or p.at.name,
                "rows": p.rows,
                "digest": p.digest,
                "abandoned": name in given_up,
            }
            for name, p in parts.items()
        },
    }


def _as_read(
    db: sqlite3.Connection, key: tuple[str, int], positions: dict[str, list[Position]]
) -> dict[str, list[Position]]:
    """The first positions of each source, with digest and detail of what was read of them, as far as it was: a file may
    have been written again after it was planned (see ``broker.reads.touched``)."""

    columns = ", ".join(f"ledger.{name}" for name in POSITION.split(", "))

    def read(source: str, planned: Position) -> Position:
        row = db.execute(
            f"SELECT {columns} FROM iterations JOIN ledger USING (pipeline, lane, iteration)"
            " WHERE pipeline = ? AND iteration = ? AND source = ? AND identity = ? AND generation = ?",
            (*key, source, planned.identity, planned.generation),
        ).fetchone()
        if row is None or not (known := position_of(row)).digest:
            return planned
        return msgspec.structs.replace(planned, digest=known.digest, detail=known.detail)

    return {source: [read(source, position) for position in some[:MAX_ROWS]] for source, some in positions.items()}


def _errors(db: sqlite3.Connection, key: tuple[str, int], what: str, ended: bool) -> list[dict[str, Any]]:
    """Failed tries that are kept, oldest first."""
    rows = db.execute(
        "SELECT payload FROM errors WHERE pipeline = ? AND iteration = ? ORDER BY seq DESC LIMIT ?", (*key, MAX_ROWS)
    ).fetchall()
    found = [unseal(row[0], ErrorDecoder, f"an error {what}") for row in reversed(rows)]
    return [
        {"node": e.node, "attempt": str(e.attempt), **_failure(e.failure, ended), "at": e.at, "used": e.used}
        for e in found
    ]


def _failure(failure: Failure, ended: bool = False) -> dict[str, Any]:
    """``ended``: its iteration has, and nothing is to be done about it any more."""
    names = ("kind", "message", "traceback", "position", "line", "column", "value")
    shown = {name: getattr(failure, name) for name in names} | {"message": failure.message if ended else failure.text}
    if failure.others:
        shown["others"] = [{name: getattr(one, name) for name in names} for one in failure.others]
        shown["more"] = failure.more
    return shown


# --- nodes --------------------------------------------------------------------------------------------------------


def _nodes(db: sqlite3.Connection, given: One) -> Any:
    """Each node of the iteration's version in topological order, then others that have an ack or an error. ``kept``:
    whether an output that is no sink's is still there; None where there is none."""
    version, failures, kept, state, abandoned = _find(db, given, "version, failures, summary, state, abandoned")
    key = (given.pipeline, given.iteration)
    what = f"of {given.pipeline} iteration {given.iteration}"
    rows: dict[str, dict[str, Any]] = {}
    spec = db.execute(
        "SELECT payload FROM versions WHERE pipeline = ? AND version = ?", (given.pipeline, version)
    ).fetchone()
    if spec is not None:
        nodes = unseal(spec[0], VersionDecoder, f"version {version} of {given.pipeline}").spec.nodes
        rows = {node.name: _node(node.name) for node in nodes}
    acked: dict[str, int] = {}
    for one in summary.unpack(kept, what).nodes if kept is not None else ():
        acked[one.node] = FINAL
        rows[one.node] = {**_node(one.node), **_acked(one)}
    for node, seq, blob in db.execute(
        "SELECT node, seq, payload FROM acks WHERE pipeline = ? AND iteration = ? ORDER BY seq", key
    ):
        acked[node] = seq
        rows[node] = {**_node(node), **_acked(summary.output(unseal(blob, AckDecoder, f"the ack of {node} {what}")))}
    for node, seq, live, blob in db.execute(
        "SELECT node, max(seq), live, payload FROM errors WHERE pipeline = ? AND iteration = ? GROUP BY node", key
    ):
        error = unseal(blob, ErrorDecoder, f"an error of {node} {what}")
        row = rows.setdefault(node, _node(node))
        if seq > acked.get(node, 0):
            row["error"] = error.failure.message if state in FREED else error.failure.text
            row["state"], row["attempt"] = "error", str(error.attempt)
            row["used"] = error.used if live else 0
        elif live:
            row["used"] = error.used
    if failures is not None:
        for node, (failure, _) in unseal(failures, FailuresDecoder, f"the failures {what}").items():
            rows.setdefault(node, _node(node)).update(state="error", error=failure.message)
    given_up = json.loads(abandoned)
    for row in rows.values():
        if row["where"] == "staged" and state == "committed":
            row["where"] = "abandoned" if row["node"] in given_up else "published"
        if row["where"] in ("inline", "spool"):
            row["kept"] = kept is None and not (row["where"] == "spool" and state in FREED)
    return {"items": list(rows.values())}


def _node(name: str) -> dict[str, Any]:
    return {
        "node": name,
        "state": "none",
        "attempt": "",
        "used": 0,
        "started_at": None,
        "duration": None,
        "rows_in": 0,
        "rows_out": 0,
        "size": 0,
        "where": "",
        "kept": None,
        "state_size": 0,
        "memory": None,
        "memory_before": None,
        "key": "",
        "worker": "",
        "error": "",
    }


def _acked(ack: summary.Output) -> dict[str, Any]:
    names = ("started_at", "duration", "rows_in", "rows_out", "key", "worker", "where", "size", "state_size")
    memory = {"memory": ack.memory or None, "memory_before": ack.memory_before or None}
    return {"state": "acked", "attempt": str(ack.attempt), **{name: getattr(ack, name) for name in names}, **memory}


# --- the rest -----------------------------------------------------------------------------------------------------


def _dead_letters(db: sqlite3.Connection, given: DeadLetters) -> Any:
    """``remedy``: what is to be done about one that is open; ID stands for its number. ``first``: the first of what it
    holds, also where no position is to blame."""
    names = ("id", "pipeline", "iteration", "node", "position", "kind", "message", "at", "state", "replay")
    columns = ", ".join(f"l.{name}" for name in names)
    values = [] if given.pipeline is None else [given.pipeline]
    where = "dead_letters AS l {} WHERE l.state <> 'replayed'" + (
        "" if given.pipeline is None else " AND l.pipeline = ?"
    )
    below = [] if given.before is None else [given.before]
    limit = bounded(given.limit)
    rows = db.execute(
        f"SELECT {columns}, l.payload, l.revised, CASE WHEN l.revised = 1 THEN 1 ELSE i.positions END FROM"
        f" {where.format('LEFT JOIN iterations AS i USING (pipeline, iteration)')}{' AND l.id < ?' if below else ''}"
        " ORDER BY l.id DESC LIMIT ?",
        (*values, *below, limit + 1),
    ).fetchall()
    if given.pipeline is not None and not rows:
        known(db, given.pipeline)
    more = rest(db, [row[0] for row in rows[:limit]], len(rows) > limit > 0, where.format(""), values)
    items = [dict(zip((*names, "payload", "revised", "files"), row, strict=True)) for row in rows[:limit]]
    there = {name: aside.there(db, name) for name in {item["pipeline"] for item in items}}
    for item in items:
        letter = unseal(item.pop("payload"), LetterDecoder, f"dead letter {item['id']}")
        of, whole = there[item["pipeline"]], not item.pop("revised")
        item["first"] = next((one.identity for some in letter.held().values() for one in some), "")
        item["remedy"] = aside.remedy(of, letter, item["iteration"], whole) if item["state"] == "open" else ""
    return {"items": items, **more}


def _dead_letter(db: sqlite3.Connection, given: Letter) -> Any:
    """A row of the list, with ``whole``, the failure's fields, ``positions`` by source, and the ``trigger``.
    ``consumed``: the sources of which they lie in it, all but references; None: nobody has noted that."""
    names = ("id", "pipeline", "iteration", "node", "position", "revised", "state", "replay", "at", "payload")
    row = db.execute(f"SELECT {', '.join(names)} FROM dead_letters WHERE id = ?", (given.id,)).fetchone()
    if row is None or row[6] == "replayed":
        raise NotFoundError(f"there is no dead letter {given.id}: {_settled(row)}")
    letter = dict(zip(names, row, strict=True))
    kept = unseal(letter.pop("payload"), LetterDecoder, f"dead letter {given.id}")
    whole = not letter.pop("revised")
    listed = {name: [p.shown() for p in some] for name, some in kept.read().items()}
    return {
        **letter,
        **_failure(kept.failure),
        "whole": whole,
        "positions": listed,
        "consumed": kept.consumed,
        "trigger": msgspec.to_builtins(kept.trigger),
        "remedy": aside.remedy(aside.there(db, letter["pipeline"]), kept, letter["iteration"], whole, given.id),
    }


def _settled(row: tuple[Any, ...] | None) -> str:
    """What became of a letter that is no more, by its row, if there is one."""
    if row is None:
        return "see `odibictl deadletter list`"
    if row[7]:
        return f"it was taken up by iteration {row[7]} of {row[1]}"
    gone = unseal(row[9], LetterDecoder, f"dead letter {row[0]}").discarded
    return f"it was discarded, with {naming(p.identity for some in gone.values() for p in some)} of {row[1]}"


def spec_digest(spec: PipelineSpec) -> str:
    """xxh3-128 (32 hex digits) of a pipeline's configuration: two that are equal have the same."""
    stored = msgspec.msgpack.decode(_canonical.encode(spec), type=PipelineSpec)  # 5 and 5.0 are equal, and become so
    return str(xxhash.xxh3_128_hexdigest(_canonical.encode(stored)))


def _version(db: sqlite3.Connection, given: VersionOf) -> Any:
    key = (given.pipeline, given.version)
    row = db.execute("SELECT payload FROM versions WHERE pipeline = ? AND version = ?", key).fetchone()
    if row is None:
        known(db, given.pipeline)
        raise NotFoundError(f"pipeline {given.pipeline} has no version {given.version}")
    found = unseal(row[0], VersionDecoder, f"version {given.version} of {given.pipeline}")
    digests = {"spec_digest": spec_digest(found.spec), "code_digest": found.code_digest}
    shown = {"pipeline": given.pipeline, "version": given.version, **digests, "at": found.at}
    return {**shown, "parts": parts(found.spec)}


def stats(db: sqlite3.Connection) -> dict[str, Any]:
    """Size of the database and what it holds, as counted all along: nothing is read for it. ``tables``: rows and bytes
    (about), and whether they count to ``history_size``; ``history``: see ``retention.told``; ``logs``: of sources whose
    logs were cut (`retain`), the iteration up to which that they have read is gone."""
    committed, positions = db.execute("SELECT total(committed), total(positions) FROM counters").fetchone()
    sizes = {name: (rows, size) for name, rows, size in db.execute("SELECT name, rows, bytes FROM sizes")}
    few = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("versions", "schedules")}
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    counted = {name: rows for name, (rows, _) in sizes.items() if name not in ("ledger", "plans", "states")}
    return {
        "format": db.execute("PRAGMA user_version").fetchone()[0],
        "bytes": pages * size,
        "page_count": pages,
        "free_pages": free,
        "counts": {**few, **counted, "committed": int(committed), "ledger": int(positions)},
        "tables": {
            name: {"rows": rows, "bytes": size, "counts": name in PRUNED} for name, (rows, size) in sizes.items()
        },
        "history": retention.told(db),
        "logs": {f"{name}.{one}": upto for name, some in sources.pruned(db).items() for one, upto in some.items()},
    }


def _stats(db: sqlite3.Connection, _given: Stats) -> Any:
    return stats(db)


def _one_node(db: sqlite3.Connection, given: outputs.Node) -> Any:
    return outputs.show(db, given, _show(db, One(given.pipeline, given.iteration)))


def _verify(db: sqlite3.Connection, given: Verify) -> Any:
    return verify.chunk(db, None, given.cursor)


VERBS: dict[str, tuple[Callable[[sqlite3.Connection, Any], Any], Any]] = {
    "iteration.list": (_iterations, Iterations),
    "iteration.ended": (ends.ended, ends.Ended),
    "iteration.show": (_show, One),
    "node.list": (_nodes, One),
    "node.show": (_one_node, outputs.Node),
    "deadletter.list": (_dead_letters, DeadLetters),
    "deadletter.show": (_dead_letter, Letter),
    **GOING_BACK,
    "version.show": (_version, VersionOf),
    **runs.VERBS,
    **SINKS,
    **sources.VERBS,
    **whereabouts.VERBS,
    **ledger.VERBS,
    "checkpoint.stats": (_stats, Stats),
    "checkpoint.verify": (_verify, Verify),
}
