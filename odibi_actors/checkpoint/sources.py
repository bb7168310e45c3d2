"""What the store can tell of sources: the columns and types that their first batches have pinned."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from odibi_actors.checkpoint.aside import there
from odibi_actors.checkpoint.asking import Name, Number, known
from odibi_actors.checkpoint.records import PRUNED, Schema
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.checkpoint.snapshot import VersionDecoder
from odibi_actors.checkpoint.tables import LetterDecoder, SchemaDecoder
from odibi_actors.config.arrow_types import parted
from odibi_actors.config.remedies import schema
from odibi_actors.errors import NotFoundError
from odibi_actors.model import LIVE, MAX_PLACE, RESCUED

Partition = Annotated[str, msgspec.Meta(max_length=1000)]
PlaceText = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2})+$", max_length=2 * MAX_PLACE)]
"""A place, in hex digits."""


class SchemaOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``schema.show``: of one source."""

    pipeline: Name
    source: Name


def no_types(pipeline: str, source: str) -> str:
    """That a source has no types, whatever became of its batches."""
    return (
        f"no types are pinned for {pipeline}.{source}: it has read nothing yet, or what it read was cancelled or set "
        f"aside (`odibictl deadletter list {pipeline}`)"
    )


def _schema(db: sqlite3.Connection, given: SchemaOf) -> dict[str, Any]:
    row = db.execute(
        "SELECT payload FROM schemas WHERE pipeline = ? AND node = ?", (given.pipeline, given.source)
    ).fetchone()
    record = None if row is None else unseal(row[0], SchemaDecoder, f"the schema of {given.pipeline}.{given.source}")
    if record is None or record.target is not None:  # a sink's
        known(db, given.pipeline)
        raise NotFoundError(no_types(given.pipeline, given.source))
    notes = [*record.notes, *[""] * (len(record.text) - len(record.notes))]
    columns = []
    for text, note in zip(record.text, notes, strict=False):
        name, kind = parted(text)
        columns.append({"column": name, "type": kind, "origin": _origin(db, record, name, note)})
    columns += _kept(db, given)
    return {
        "pipeline": record.pipeline,
        "source": record.node,
        "iteration": record.iteration or None,
        "columns": columns,
        "left_out": record.left_out,
        "history": history(record),
        "deleted": pruned(db).get(record.pipeline, {}).get(record.node, 0),
    }


_NOT_KEPT = re.compile(
    "inferred: .* would not be kept as a (?P<what>number|truth value|date|timestamp in UTC|timestamp|time)"
)
_REMEDY = re.compile(r"; read\.(schema|options): .* are written so")
_SPELLED = {
    "number": ("double", ("decimal_point",)),
    "truth value": ("bool", ("true_values", "false_values")),
    "date": ("date32", ("timestamp_parsers",)),
    "time": ("time64[us]", ("timestamp_parsers",)),
    "timestamp": ("timestamp[us]", ("timestamp_parsers",)),
    "timestamp in UTC": ("timestamp[us, tz=UTC]", ("timestamp_parsers",)),
}
"""What most of a column looks like: its type, and the options that say how such values are written."""
_NULLS = ("null_values", "strings_can_be_null")


def _origin(db: sqlite3.Connection, record: Schema, name: str, note: str) -> str:
    """Where a type comes from, with what the project says by now of a column that stays text."""
    found = _NOT_KEPT.match(note)
    spec = there(db, record.pipeline).spec if found is not None else None
    read = next((one.read for one in spec.nodes if one.name == record.node), None) if spec is not None else None
    if found is None or read is None:
        return note
    plain = _REMEDY.sub("", note)
    if name in read.schema:
        return f"{plain}; {schema('read', name, read.schema[name])} holds from here on"
    kind, options = _SPELLED[found["what"]]
    then = _options(db, record)
    if then is None:  # of an iteration that is pruned: what the note recommends was not there
        then = {key: value for key, value in read.options.items() if f"{{{key}: " not in note}
    later = [f"options.{one}" for one in (*options, *_NULLS) if then.get(one) != read.options.get(one)]
    if not later:
        return note
    by = f" since iteration {record.iteration}" if record.iteration else ""
    leave, that = ("leaves", "that") if len(later) == 1 else ("leave", "them")
    return (
        f"{plain}; it is pinned as string{by}, which {' and '.join(later)}, changed later, {leave} as it is: "
        f"{schema('read', name, kind)} has it read with {that} from here on "
        "(a sink that holds it as text needs a cast before it, or a reset)"
    )


def _options(db: sqlite3.Connection, record: Schema) -> dict[str, Any] | None:
    """With which the batch was read that told the types; None: not known any more."""
    row = db.execute(
        "SELECT v.payload FROM iterations AS i JOIN versions AS v ON v.pipeline = i.pipeline AND v.version = i.version"
        " WHERE i.pipeline = ? AND i.iteration = ?",
        (record.pipeline, record.iteration),
    ).fetchone()
    if row is None:
        return None
    spec = unseal(row[0], VersionDecoder, f"a version of {record.pipeline}").spec
    return next((dict(one.read.options) for one in spec.nodes if one.name == record.node and one.read), {})


def _kept(db: sqlite3.Connection, given: SchemaOf) -> list[dict[str, Any]]:
    """The column of what the files' own do not hold, if the source has one by what it says now."""
    spec = there(db, given.pipeline).spec
    read = next((node.read for node in spec.nodes if node.name == given.source), None) if spec is not None else None
    if read is None or not read.rescues:
        return []
    return [{"column": RESCUED, "type": "string", "origin": "what does not fit, as JSON (on_schema_change: rescue)"}]


def pruned(db: sqlite3.Connection) -> dict[str, dict[str, int]]:
    """Of pipelines and their sources: up to which iteration what was read may be deleted from their logs."""
    rows = db.execute("SELECT scope, value FROM settings WHERE name = ? ORDER BY scope", (PRUNED,))
    return {pipeline: json.loads(value) for pipeline, value in rows}


class Spare(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``source.spare``: how much of a partition, at most up to ``place`` (hex digits), nobody reads any more, if what
    iterations up to ``upto`` were is settled."""

    pipeline: Name
    source: Name
    partition: Partition
    place: PlaceText
    upto: Number


HELD = 1000
"""Positions of dead letters of one answer."""


def _spare(db: sqlite3.Connection, given: Spare) -> dict[str, Any]:
    """``{"place", "iteration", "held", "more"}``: nothing before ``place`` ("": there is none) is read again by a
    rewind to that iteration or a later one, but for the positions that are ``held``, by dead letters of any lane which
    are open, or would be open again; ``more``: there are more of these."""
    key = (given.pipeline, LIVE, given.source, given.partition)
    at = "pipeline = ? AND lane = ? AND source = ? AND partition = ?"
    reached = db.execute(f"SELECT place FROM places WHERE {at}", key).fetchone()
    if reached is None:
        return {"place": "", "iteration": 0, "held": [], "more": False}
    # The ranges of what is under way are few, and an index finds them.
    (late,) = db.execute(
        f"SELECT min(lower) FROM ranges INDEXED BY ranges_of WHERE {at} AND iteration > ?", (*key, given.upto)
    ).fetchone()
    place = min(bytes.fromhex(given.place), reached[0], late if late is not None else reached[0])
    iteration = _newest(db, key, place)
    held: list[dict[str, Any]] = []
    for letter, payload in db.execute(
        "SELECT id, payload FROM dead_letters WHERE pipeline = ? AND NOT (state = 'replayed' AND replay <= ?)",
        (given.pipeline, iteration),
    ):
        found = unseal(payload, LetterDecoder, f"dead letter {letter}")
        held += [position.shown() for position in found.positions.get(given.source, ())]
        if len(held) > HELD:
            return {"place": "", "iteration": 0, "held": [], "more": True}
    return {"place": place.hex(), "iteration": iteration, "held": held, "more": False}


def _newest(db: sqlite3.Connection, key: tuple[str, str, str, str], place: bytes) -> int:
    """The newest iteration that has read something before a place. What is read later is read by later iterations, but
    for holes, which keep theirs while the place goes back."""
    newest = 0
    for iteration, hole in db.execute(
        "SELECT iteration, hole FROM ranges WHERE pipeline = ? AND lane = ? AND source = ? AND partition = ?"
        " AND lower < ? ORDER BY lower DESC",
        (*key, place),
    ):
        newest = max(newest, iteration)
        if not hole:
            break
    return newest


def history(record: Schema) -> list[dict[str, Any]]:
    """How a schema has changed, oldest first: ``{"iteration", "at", "column", "change", "type"}``; each change with the
    first iteration that has it."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for era in sorted(record.history, key=lambda era: era.iteration):
        for change in era.changes:
            row = {"iteration": era.iteration, "at": era.at} | msgspec.structs.asdict(change)
            found.setdefault((change.column, change.change), row)
    return list(found.values())


VERBS: dict[str, tuple[Callable[[sqlite3.Connection, Any], Any], type]] = {
    "schema.show": (_schema, SchemaOf),
    "source.spare": (_spare, Spare),
}
