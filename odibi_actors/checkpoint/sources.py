"""What the store can tell of sources: the columns and types that their first batches have pinned."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from odibi_actors.checkpoint.asking import Name, known
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.checkpoint.tables import SchemaDecoder
from odibi_actors.config.arrow_types import parted
from odibi_actors.errors import NotFoundError


class SchemaOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``schema.show``: of one source."""

    pipeline: Name
    source: Name


def _schema(db: sqlite3.Connection, given: SchemaOf) -> dict[str, Any]:
    row = db.execute(
        "SELECT payload FROM schemas WHERE pipeline = ? AND node = ?", (given.pipeline, given.source)
    ).fetchone()
    record = None if row is None else unseal(row[0], SchemaDecoder, f"the schema of {given.pipeline}.{given.source}")
    if record is None or record.target is not None:  # a sink's
        known(db, given.pipeline)
        raise NotFoundError(f"{given.pipeline}.{given.source} has read nothing yet, so no types are pinned")
    notes = [*record.notes, *[""] * (len(record.text) - len(record.notes))]
    columns = []
    for text, note in zip(record.text, notes, strict=False):
        name, kind = parted(text)
        columns.append({"column": name, "type": kind, "origin": note})
    return {
        "pipeline": record.pipeline,
        "source": record.node,
        "iteration": record.iteration or None,
        "columns": columns,
        "left_out": record.left_out,
    }


VERBS = {"schema.show": (_schema, SchemaOf)}
