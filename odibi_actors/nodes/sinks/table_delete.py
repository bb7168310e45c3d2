"""``mode: delete`` of a table: the rows of a batch are keys, and what has one of them goes.

The table is somebody's who fills it, so it is never made here, and never dropped. What a deletion has found stands in
``_odibi_deleted``, in the transaction that deletes, so that it can be told again by whoever finds it done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from odibi_actors.errors import ConflictError
from odibi_actors.model import Target
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.sinks import table_marks as marks
from odibi_actors.nodes.sinks.owner import Owner
from odibi_actors.nodes.sinks.table_names import quote
from odibi_actors.units import plural

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.nodes.sinks.table_kind import Database, TableKind

DELETED = "_odibi_deleted"
_CLAIM = 0
"""The iteration of a row that says: this sink deletes here, and the table is not its own."""


class Deleted(NamedTuple):
    """What became of the keys of one part: how many ``rows`` went, how many keys had none (``missing``), and how many
    rows of these keys stay, as their version is a ``newer`` one."""

    rows: int
    missing: int
    newer: int

    def told(self, table: str) -> str:
        """What people are told of it; "" when each key had its rows, and they went."""
        told = []
        if self.missing:
            told.append(f"{plural(self.missing, 'key')} to delete {'is' if self.missing == 1 else 'are'} not there")
        if self.newer:
            told.append(f"{plural(self.newer, 'row')} with a newer version {'stays' if self.newer == 1 else 'stay'}")
        rest = f"; {plural(self.rows, 'row')} deleted" if told else ""
        return f"table {table!r}: {', and '.join(told)}{rest}" if told else ""


# --- what the database keeps ------------------------------------------------------------------------------------------


def _make(kind: TableKind, db: Database) -> None:
    db.execute(
        f"create table if not exists {DELETED} (table_name {kind.names} not null, store_id text not null,"
        " pipeline text not null, sink text not null, iteration bigint not null, missing bigint not null,"
        " newer bigint not null)"
    )


_OF = "store_id = ? and pipeline = ? and sink = ? and iteration = ?"


def claim(kind: TableKind, db: Database, table: str, owner: Owner) -> None:
    """Note that the sink deletes from a table which it does not fill, so that a reset leaves it."""
    if not claimed(kind, db, table, [owner]):
        _make(kind, db)
        note(kind, db, table, owner, _CLAIM, Deleted(0, 0, 0))


def claimed(kind: TableKind, db: Database, table: str, owners: Sequence[Owner]) -> bool:
    """One of these sinks has claimed to delete from the table."""
    if not kind.relation(db, DELETED):
        return False
    query = f"select 1 from {DELETED} where {kind.same} and {_OF}"
    return any(db.execute(query, (table, *owner, _CLAIM)).fetchone() for owner in owners)


def spares(kind: TableKind, db: Database, table: str, owners: Sequence[Owner]) -> bool:
    """Nothing in the table is of these sinks: they do nothing but delete there."""
    if not claimed(kind, db, table, owners):
        return False
    filled = (
        f"select 1 from {marks.COMMITS} c where store_id = ? and pipeline = ? and sink = ? and not exists (select 1"
        f" from {DELETED} d where d.store_id = c.store_id and d.pipeline = c.pipeline and d.sink = c.sink and"
        " d.iteration = c.iteration) limit 1"
    )
    return not any(db.execute(filled, tuple(owner)).fetchone() for owner in owners)


def note(kind: TableKind, db: Database, table: str, owner: Owner, iteration: int, found: Deleted) -> None:
    """Keep what the part of an iteration has found; its mark says how many rows went."""
    values = (table, *owner, iteration, found.missing, found.newer)
    db.execute(f"insert into {DELETED} values (?, ?, ?, ?, ?, ?, ?)", values)


def noted(kind: TableKind, db: Database, owner: Owner, iteration: int) -> Deleted | None:
    """What the part of that iteration has found; None when it has deleted nothing, or is not published."""
    if not kind.relation(db, DELETED):
        return None
    row = db.execute(f"select missing, newer from {DELETED} where {_OF}", (*owner, iteration)).fetchone()
    rows = db.execute(f"select rows from {marks.COMMITS} where {_OF}", (*owner, iteration)).fetchone()
    return Deleted(int(rows[0]), int(row[0]), int(row[1])) if row and rows else None


def prune(kind: TableKind, db: Database, owner: Owner, upto: int) -> None:
    """Keep nothing of the owner's iterations up to this one, as no mark is kept of them."""
    if kind.relation(db, DELETED):
        of = "store_id = ? and pipeline = ? and sink = ? and iteration > ? and iteration <= ?"
        db.execute(f"delete from {DELETED} where {of}", (*owner, _CLAIM, upto))


def forget(kind: TableKind, db: Database, owners: Sequence[Owner]) -> None:
    """All that is kept of what these have deleted."""
    if kind.relation(db, DELETED):
        for one in owners:
            db.execute(f"delete from {DELETED} where store_id = ? and pipeline = ? and sink = ?", tuple(one))


# --- rows -------------------------------------------------------------------------------------------------------------


def check(kind: TableKind, db: Database, at: Target, rows: pa.Table, keys: list[str], version: str | None) -> None:
    """Raise Failed (``invalid``: a key that the column could not hold) or ConflictError (the table) unless the rows of
    these keys can be deleted. Nothing is changed."""
    what = kind.relation(db, at.locator)
    if what != "table":
        is_ = f"is a {what}" if what else "is not there"
        raise ConflictError(f"{at.locator!r} of {at.connection} {is_}; `mode: delete` deletes rows of a table")
    there = kind.columns(db, at.locator)
    known = {kind.as_name(name) for name in there}
    if missing := [name for name in rows.column_names if kind.as_name(name) not in known]:
        raise ConflictError(
            f"table {at.locator!r} of {at.connection} has no column {', '.join(map(repr, missing))}, by which rows are "
            f"to be deleted; it has: {', '.join(there)}"
        )
    db.execute("begin")
    try:
        if kind.watched(db, at.locator):
            delete(kind, db, at, rows, keys, version)
        else:
            kind.hold(db, at, rows)
    finally:
        kind.roll_back(db)


def delete(kind: TableKind, db: Database, at: Target, rows: pa.Table, keys: list[str], version: str | None) -> Deleted:
    """Delete what has one of these keys, each of which comes once, within a transaction. Raises ConflictError where the
    table keeps a row, Failed (``invalid``) where another one refers to it, and what ``check`` does."""
    held, table = kind.hold(db, at, rows), quote(at.locator)
    names = ", ".join(map(quote, keys))
    same = " and ".join(f"t.{quote(key)} = r.{quote(key)}" for key in keys)
    older = "1 = 1"
    if version is not None:
        former = f"t.{quote(version)}"
        older = f"({former} is null or {former} <= r.{quote(version)}{kind.as_written})"
    joined = f"{table} t join {held} r on {same}"
    rest = ", ".join(f"r.{quote(key)}" for key in keys)
    (found,) = db.execute(f"select count(*) from (select distinct {rest} from {joined}) k").fetchone()
    (all_,) = db.execute(f"select count(*) from {joined}").fetchone()
    (going,) = db.execute(f"select count(*) from {joined} where {older}").fetchone()
    named = names if len(keys) == 1 else f"({names})"
    versioned = f" and exists (select 1 from {held} r where {same} and {older})" if version is not None else ""
    chosen = f"{named} in (select {names} from {held}){versioned}"
    try:
        db.execute(f"delete from {table} as t where {chosen}")
    except Exception as error:
        if who := kind.holding(db, at.locator, chosen, error):
            what = f"table {at.locator!r} of {at.connection} keeps its row with"
            raise Failed("invalid", f"{what} {who}: delete it there first") from error
        raise
    (kept,) = db.execute(f"select count(*) from {joined} where {older}").fetchone()
    if kept:
        raise ConflictError(
            f"table {at.locator!r} of {at.connection} keeps {plural(kept, 'row')} that {'is' if kept == 1 else 'are'} "
            "to be deleted: a trigger, or a rule, holds them"
        )
    return Deleted(going, rows.num_rows - found, all_ - going)
