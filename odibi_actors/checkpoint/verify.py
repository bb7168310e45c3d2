"""``checkpoint.verify``: all of a store against its digests, a chunk at a time, and which files it counts on.

A cursor is the JSON list [section, ...]: section 0 are the pages of the file, each further one is a table.
"""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

import msgspec
import xxhash

from odibi_actors.checkpoint import adopted, consistency
from odibi_actors.checkpoint.outputs import replaced_by
from odibi_actors.checkpoint.schema import FIX
from odibi_actors.checkpoint.seals import Seals
from odibi_actors.checkpoint.tables import AckDecoder, SchemaDecoder, SinksDecoder
from odibi_actors.errors import ConfigError
from odibi_actors.model import BatchRef, StagedRef

PAGES = 2000
ROWS = 500
"""Looked at in one chunk: a few ms, which is what the store's loop may wait."""

_SEAL = 8
_AGAIN = "nothing: it is made again when it is needed; watch the disk"
_STAGED = "`odibictl iteration show PIPELINE N`: its publishing will fail; cancel it, or restore the file"
_PART = "was it moved or edited? Restore it from a backup: the store will not write it again"

_MARK = "has an older copy been put in its place? Bring the newer one back;"


class _Table(NamedTuple):
    name: str
    keys: tuple[tuple[str, type], ...]
    blobs: tuple[str, ...] = ("payload",)


_P, _I, _N = ("pipeline", str), ("iteration", int), ("node", str)
_TABLES = (
    _Table("versions", (_P, ("version", int))),
    _Table("schemas", (_P, _N)),
    _Table("plans", (_P, _I)),
    _Table("errors", (_P, _I, _N, ("seq", int))),
    _Table("dead_letters", (("id", int),)),
    _Table("states", (_P, _N, _I)),
    _Table("rewinds", (_P,)),
    _Table("acks", (_P, _I, _N)),
    _Table("iterations", (_P, _I), ("failures", "sinks", "states", "summary")),
    _Table("schedules", (_P, ("name", str))),
    _Table("occurrences", (("seq", int),)),
    _Table("runs", (("seq", int),)),
    _Table("backfills", (_P, ("lane", str))),
    _Table("alerts", (("id", int),)),
    _Table("adoptions", (("seq", int),)),
    _Table("places", (_P, ("lane", str), ("source", str), ("partition", str)), ()),
)


def chunk(db: sqlite3.Connection, seals: Seals | None, cursor: str) -> dict[str, Any]:
    """What the chunk after ``cursor`` shows: ``problems`` ({what, fix}), ``files`` to look at ({what, paths: any of
    these, size, digest, host, fix, before: of what these are files that may be gone together}; a path without "/" in
    front is in the spool; with a ``table`` the path is that of a database of one of the ``owners``, which is to have
    the mark of ``sink`` and ``iteration``), ``pages`` and ``rows`` looked at, the next ``cursor``, "" after the last.
    Raises ConfigError for a bad cursor."""
    section, *after = _parse(cursor)
    if section == 0:
        return _pages(seals, after[0])
    table = _TABLES[section - 1]
    keys = ", ".join(name for name, _ in table.keys)
    where = f"WHERE ({keys}) > ({', '.join('?' * len(after))})" if after else ""
    rows = db.execute(
        f"SELECT {', '.join([keys, *table.blobs])} FROM {table.name} {where} ORDER BY {keys} LIMIT ?", (*after, ROWS)
    ).fetchall()
    problems: list[dict[str, str]] = []
    files: list[dict[str, Any]] = []
    for row in rows:
        key, blobs = row[: len(table.keys)], row[len(table.keys) :]
        bad = [name for name, blob in zip(table.blobs, blobs, strict=True) if blob is not None and not _holds(blob)]
        problems += [
            {"what": f"{name} of {table.name} {_told(key)} does not match its digest", "fix": FIX} for name in bad
        ]
        if not bad:
            files += _files(db, table.name, key, blobs)
            problems += consistency.problems(db, table.name, key, blobs[0] if blobs else None)
    if len(rows) == ROWS:
        following = [section, *rows[-1][: len(table.keys)]]
    else:
        following = [section + 1] if section < len(_TABLES) else []
    return _result(problems, files, 0, len(rows), following)


def _pages(seals: Seals | None, first: int) -> dict[str, Any]:
    if seals is None:
        return _result([], [], 0, 0, [1])
    last = min(first + PAGES - 1, seals.pages)
    problems = [
        {"what": f"page {page} of {seals.path} is not as it was written", "fix": FIX}
        for page in seals.damaged(first, last)
    ]
    following = [0, last + 1] if last < seals.pages else [1]
    return _result(problems, [], max(0, last - first + 1), 0, following)


def _result(
    problems: list[dict[str, str]], files: list[dict[str, Any]], pages: int, rows: int, following: list[Any]
) -> dict[str, Any]:
    cursor = msgspec.json.encode(following).decode() if following else ""
    return {"problems": problems, "files": files, "pages": pages, "rows": rows, "cursor": cursor}


def _parse(cursor: str) -> list[Any]:
    if not cursor:
        return [0, 1]
    try:
        section, *after = msgspec.json.decode(cursor, type=list[int | str])
        wanted = [int] if section == 0 else [kind for _, kind in _TABLES[int(section) - 1].keys]
        given = [type(value) for value in after]
        fits = all(-(1 << 63) <= value < 1 << 63 for value in after if isinstance(value, int))
        if type(section) is int and section >= 0 and fits and (given == wanted or (section and not given)):
            return [section, *after] if section else [0, max(1, int(after[0]))]
    except (msgspec.DecodeError, ValueError, IndexError):
        pass
    raise ConfigError(f"checkpoint.verify: not a cursor: {cursor[:80]!r}")


def _holds(blob: Any) -> bool:
    return isinstance(blob, bytes) and xxhash.xxh3_64_digest(blob[:-_SEAL]) == blob[-_SEAL:]


def _told(key: tuple[Any, ...]) -> str:
    return " ".join(map(str, key))


def _files(db: sqlite3.Connection, table: str, key: tuple[Any, ...], blobs: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Files that this row counts on."""
    if table == "acks":
        if _state(db, key[:2]) not in ("planned", "running", "failed"):
            return []
        ack = AckDecoder.decode(blobs[0][:-_SEAL])
        found = [_batch(f"the output of {_told(key)}", ack.output, _AGAIN)] if ack.output is not None else []
        if ack.staged is not None:
            found.append(_staged(f"the staged part of {_told(key)}", ack.staged, [ack.staged.staged], _STAGED))
        return [one for one in found if one is not None]
    if table == "states":
        state = msgspec.msgpack.decode(blobs[0][:-_SEAL], type=BatchRef)
        one = _batch(f"the state of {_told(key)}", state, FIX)
        return [one] if one is not None else []
    if table == "iterations" and blobs[1] is not None:
        columns = "state, abandoned FROM iterations WHERE pipeline = ? AND iteration = ?"
        state, abandoned = db.execute(f"SELECT {columns}", key).fetchone()
        parts = SinksDecoder.decode(blobs[1][:-_SEAL])
        given_up = frozenset(msgspec.json.decode(abandoned))
        kept = {
            node: part
            for node, part in parts.items()
            if node not in given_up and not (part.replaces and replaced_by(db, key, part))
        }
        return _parts(db, state, key, kept)
    return []


def _parts(
    db: sqlite3.Connection, state: str, key: tuple[Any, ...], parts: dict[str, StagedRef]
) -> list[dict[str, Any]]:
    """A committed part is at its target, or its mark is in that database; a prepared one there or staged. One without
    rows is not looked at: there may be nothing of it to be seen. Nor are rows from before a repin, which goes on
    without what is missing of them; files from before it may be gone together (``before``)."""
    found = []
    for node, part in parts.items():
        if not part.rows:
            continue
        what = f"the part of {node} of {_told(key)}"
        owners = adopted.names(adopted.load(db.execute), part.at) or [(key[0], node)]
        before = state == "committed" and _before_repin(db, *owners[0], part, key[1])
        if not part.published and state == "committed":
            if before:
                continue
            (store,) = db.execute("SELECT store_id FROM meta").fetchone()
            sink = {"sink": [store, key[0], node], "owners": [[store, *one] for one in owners]}
            mark = {"at": msgspec.to_builtins(part.at), **sink, "iteration": key[1]}
            fix = f"{_MARK} `odibictl sink repin {'.'.join(owners[0])}` goes on without what is missing"
            found.append(_staged(what, part, [part.at.connection], fix) | mark)
        elif state == "committed":
            one = _staged(what, part, [part.published], _PART)
            found.append(one | {"before": f"{'.'.join(owners[0])} in {part.at.name}"} if before else one)
        elif part.published and state in ("prepared", "blocked"):
            found.append(_staged(what, part, [part.published, part.staged], _STAGED))
    return found


def _before_repin(db: sqlite3.Connection, pipeline: str, node: str, part: StagedRef, number: int) -> bool:
    """Whether the part of this iteration was there before the sink's schema was to be told again."""
    row = db.execute("SELECT payload FROM schemas WHERE pipeline = ? AND node = ?", (pipeline, node)).fetchone()
    if row is None or not _holds(row[0]):
        return False
    pin = SchemaDecoder.decode(row[0][:-_SEAL])
    return pin.target == part.at and (pin.open or pin.iteration > number)


def _state(db: sqlite3.Connection, key: tuple[Any, ...]) -> str:
    row = db.execute("SELECT state FROM iterations WHERE pipeline = ? AND iteration = ?", key).fetchone()
    return str(row[0]) if row else ""


def _batch(what: str, ref: BatchRef, fix: str) -> dict[str, Any] | None:
    if not ref.path:
        return None
    return {"what": what, "paths": [ref.path], "size": ref.size, "digest": ref.digest, "host": ref.host, "fix": fix}


def _staged(what: str, part: StagedRef, paths: list[str], fix: str) -> dict[str, Any]:
    return {"what": what, "paths": paths, "size": part.size, "digest": part.digest, "host": "", "fix": fix}
