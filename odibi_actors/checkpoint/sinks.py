"""What the store knows of sinks: where they publish, which schema they are held to, how much they have published."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from odibi_actors.checkpoint import adopted
from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.asking import Name, Number, known
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.checkpoint.snapshot import VersionDecoder
from odibi_actors.checkpoint.sources import history
from odibi_actors.checkpoint.tables import SchemaDecoder, SinksDecoder
from odibi_actors.config.model import NodeSpec
from odibi_actors.errors import NotFoundError

COUNTED = 10_000
"""Newest committed iterations whose parts are counted."""


PAGE = 1000
"""Parts of one answer."""


class Sinks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``sink.list``: of one pipeline or all."""

    pipeline: Name | None = None


class Sink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``sink.show``."""

    pipeline: Name
    sink: Name


class Parts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``sink.parts``."""

    pipeline: Name
    sink: Name
    after: Number = 0


class Adopted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``sink.adopted``."""


def _list(db: sqlite3.Connection, given: Sinks) -> Any:
    if given.pipeline is not None:
        known(db, given.pipeline)
    rows = db.execute(
        "SELECT pipeline, payload FROM versions AS v WHERE coalesce(?, pipeline) = pipeline AND version ="
        " (SELECT max(version) FROM versions WHERE pipeline = v.pipeline) AND NOT EXISTS (SELECT 1 FROM settings"
        " WHERE scope = v.pipeline AND name = ?) ORDER BY pipeline",
        (given.pipeline, r.FORGOTTEN),
    ).fetchall()
    found = []
    for name, blob in rows:
        version = unseal(blob, VersionDecoder, f"the version of {name}")
        older = version.spec.older_over_newer
        sinks = [node for node in version.spec.nodes if node.write is not None]
        below = version.spec.fed_by
        found += [
            _row(db, name, node) | {"older_over_newer": node.name in older, "sources": below[node.name]}
            for node in sinks
        ]
    return {"items": found}


def _show(db: sqlite3.Connection, given: Sink) -> Any:
    rows = {row["sink"]: row for row in _list(db, Sinks(given.pipeline))["items"]}
    if given.sink not in rows:
        raise NotFoundError(
            f"pipeline {given.pipeline} has no sink {given.sink!r}; its sinks: {', '.join(rows) or 'none'}"
        )
    parts, total, first, last = 0, 0, 0, 0
    for number, sinks, abandoned in db.execute(
        "SELECT iteration, sinks, abandoned FROM iterations WHERE pipeline = ? AND state = 'committed'"
        " AND sinks IS NOT NULL ORDER BY iteration DESC LIMIT ?",
        (given.pipeline, COUNTED),
    ):
        part = unseal(sinks, SinksDecoder, f"the sinks of {given.pipeline} iteration {number}").get(given.sink)
        if part is not None and given.sink not in json.loads(abandoned):
            parts, total, first, last = parts + 1, total + part.rows, number, last or number
    row = rows[given.sink]
    before = [
        _published(db, pipeline, sink, row["at"]) for pipeline, _, sink in (f.partition(".") for f in row["former"])
    ]
    compacted = db.execute(
        "SELECT value FROM settings WHERE scope = ? AND name = ?", (given.pipeline, r.COMPACTED)
    ).fetchone()
    joined = json.loads(compacted[0]).get(given.sink, 0) if compacted else 0
    former = {"parts": sum(one for one, _ in before), "rows": sum(one for _, one in before)}
    return row | {"parts": parts, "rows": total, "first": first, "last": last, "joined": joined, "before": former}


def _published(db: sqlite3.Connection, pipeline: str, sink: str, at: Any) -> tuple[int, int]:
    """Parts and rows of the history that a sink has published to this target."""
    parts = rows = 0
    for number, sinks, abandoned in db.execute(
        "SELECT iteration, sinks, abandoned FROM iterations WHERE pipeline = ? AND state = 'committed'"
        " AND sinks IS NOT NULL ORDER BY iteration DESC LIMIT ?",
        (pipeline, COUNTED),
    ):
        part = unseal(sinks, SinksDecoder, f"the sinks of {pipeline} iteration {number}").get(sink)
        if part is not None and sink not in json.loads(abandoned) and msgspec.to_builtins(part.at) == at:
            parts, rows = parts + 1, rows + part.rows
    return parts, rows


def _parts(db: sqlite3.Connection, given: Parts) -> Any:
    """``{"items": [[iteration, digest], ...], "first", "next"}``: the committed parts of a sink after ``after``, as far
    as they were not given up. ``first``: earlier iterations are not in the history; ``next``: ask on after it, 0: that
    is all."""
    known(db, given.pipeline)
    rows = db.execute(
        "SELECT iteration, sinks, abandoned FROM iterations WHERE pipeline = ? AND iteration > ?"
        " AND state = 'committed' AND sinks IS NOT NULL ORDER BY iteration LIMIT ?",
        (given.pipeline, given.after, PAGE),
    ).fetchall()
    items = []
    for number, sinks, abandoned in rows:
        part = unseal(sinks, SinksDecoder, f"the sinks of {given.pipeline} iteration {number}").get(given.sink)
        if part is not None and given.sink not in json.loads(abandoned):
            items.append([number, part.digest])
    (pruned,) = db.execute("SELECT pruned FROM counters WHERE pipeline = ?", (given.pipeline,)).fetchone() or (0,)
    return {"items": items, "first": pruned + 1, "next": rows[-1][0] if len(rows) == PAGE else 0}


def _row(db: sqlite3.Connection, pipeline: str, node: NodeSpec) -> dict[str, Any]:
    write = node.write
    assert write is not None
    row: dict[str, Any] = {
        "pipeline": pipeline,
        "sink": node.name,
        "target": write.target.name,
        "at": msgspec.to_builtins(write.target),
        "mode": write.mode,
        "keys": write.keys,
        "version": write.version,
        "partition_by": write.partition_by,
        "columns": [],
        "pinned_by": 0,
        "history": [],
        "former": [],
        "open": False,
    }
    found = db.execute("SELECT payload FROM schemas WHERE pipeline = ? AND node = ?", (pipeline, node.name)).fetchone()
    pin: r.Schema | None = unseal(found[0], SchemaDecoder, f"the schema of {pipeline}.{node.name}") if found else None
    passed_on = adopted.former(adopted.load(db.execute), write.target, (pipeline, node.name))
    row["former"] = [".".join(one) for one in passed_on]
    if pin is not None and pin.target == write.target:
        row |= {"columns": pin.text, "pinned_by": pin.iteration, "open": pin.open, "history": history(pin)}
    return row


def _adopted(db: sqlite3.Connection, _given: Adopted) -> Any:
    """``{"items": [{"target", "names": [[pipeline, node], ...]}]}``: see ``adopted.names``."""
    found = adopted.load(db.execute)
    return {"items": [{"target": target, "names": names} for target, names in adopted.by_target(found).items()]}


VERBS: dict[str, tuple[Callable[[sqlite3.Connection, Any], Any], Any]] = {
    "sink.list": (_list, Sinks),
    "sink.show": (_show, Sink),
    "sink.parts": (_parts, Parts),
    "sink.adopted": (_adopted, Adopted),
}
