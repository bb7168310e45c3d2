"""What the store knows of sinks: where they publish, which schema they are held to, how much they have published."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.asking import Name, known
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.checkpoint.snapshot import VersionDecoder
from odibi_actors.checkpoint.tables import SchemaDecoder
from odibi_actors.config.model import NodeSpec
from odibi_actors.errors import NotFoundError

COUNTED = 10_000
"""Newest iterations whose parts are counted."""


class Sinks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``sink.list``: of one pipeline or all."""

    pipeline: Name | None = None


class Sink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``sink.show``."""

    pipeline: Name
    sink: Name


def _list(db: sqlite3.Connection, given: Sinks) -> Any:
    if given.pipeline is not None:
        known(db, given.pipeline)
    rows = db.execute(
        "SELECT pipeline, payload FROM versions AS v WHERE coalesce(?, pipeline) = pipeline AND version ="
        " (SELECT max(version) FROM versions WHERE pipeline = v.pipeline) ORDER BY pipeline",
        (given.pipeline,),
    ).fetchall()
    found = []
    for name, blob in rows:
        version = unseal(blob, VersionDecoder, f"the version of {name}")
        found += [_row(db, name, node) for node in version.spec.nodes if node.write is not None]
    return {"items": found}


def _show(db: sqlite3.Connection, given: Sink) -> Any:
    rows = {row["sink"]: row for row in _list(db, Sinks(given.pipeline))["items"]}
    if given.sink not in rows:
        raise NotFoundError(
            f"pipeline {given.pipeline} has no sink {given.sink!r}; its sinks: {', '.join(rows) or 'none'}"
        )
    parts, total, first, last = db.execute(
        "SELECT count(*), total(rows_out), min(iteration), max(iteration) FROM (SELECT a.iteration, a.rows_out FROM"
        " iterations AS i JOIN acks AS a ON a.pipeline = i.pipeline AND a.iteration = i.iteration AND a.node = ?"
        " WHERE i.pipeline = ? AND i.state = 'committed' AND NOT EXISTS"
        " (SELECT 1 FROM json_each(i.abandoned) WHERE value = a.node) ORDER BY i.iteration DESC LIMIT ?)",
        (given.sink, given.pipeline, COUNTED),
    ).fetchone()
    return rows[given.sink] | {"parts": parts, "rows": int(total), "first": first or 0, "last": last or 0}


def _row(db: sqlite3.Connection, pipeline: str, node: NodeSpec) -> dict[str, Any]:
    write = node.write
    assert write is not None
    row: dict[str, Any] = {
        "pipeline": pipeline,
        "sink": node.name,
        "target": write.target,
        "mode": write.mode,
        "keys": write.keys,
        "version": write.version,
        "schema": [],
        "pinned_by": 0,
        "open": False,
    }
    found = db.execute("SELECT payload FROM schemas WHERE pipeline = ? AND node = ?", (pipeline, node.name)).fetchone()
    pin: r.Schema | None = unseal(found[0], SchemaDecoder, f"the schema of {pipeline}.{node.name}") if found else None
    if pin is not None and pin.target == write.target:
        row |= {"schema": pin.text, "pinned_by": pin.iteration, "open": pin.open}
    return row


VERBS: dict[str, tuple[Callable[[sqlite3.Connection, Any], Any], Any]] = {
    "sink.list": (_list, Sinks),
    "sink.show": (_show, Sink),
}
