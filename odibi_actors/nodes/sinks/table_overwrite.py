"""``mode: overwrite`` of a table: which iteration wrote the rows that are there.

Only rows that an overwrite of the sink has written are deleted: ``_odibi_overwritten`` says so, in the transaction that
writes them. Rows of anybody else, or that were appended or upserted, are refused. Arguments and errors are those of
``table_marks``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from odibi_actors.errors import ConflictError
from odibi_actors.model import Target
from odibi_actors.nodes.sinks.owner import Owner
from odibi_actors.nodes.sinks.table_marks import owner_of
from odibi_actors.nodes.sinks.table_names import quote

if TYPE_CHECKING:
    from odibi_actors.nodes.sinks.table_kind import Database, TableKind

OVERWRITTEN = "_odibi_overwritten"


def overwritten(kind: TableKind, db: Database, table: str, *owners: Owner) -> int:
    """The iteration of one of these sinks whose rows the table holds, and no others; 0 when they have overwritten
    nothing, or others have come since."""
    if not kind.relation(db, OVERWRITTEN):
        return 0
    row = db.execute(
        f"select iteration, store_id, pipeline, node from {OVERWRITTEN} where {kind.same}", (table,)
    ).fetchone()
    return int(row[0]) if row and tuple(row[1:]) in owners else 0


def holds(kind: TableKind, db: Database, table: str) -> tuple[int, int]:
    """(iteration, rows): whose rows stand in the table, whoever's sink that is (0: no overwrite's), and how many there
    are."""
    owner = owner_of(kind, db, table)
    iteration = overwritten(kind, db, table, owner) if owner is not None else 0
    rows = db.execute(f"select count(*) from {quote(table)}").fetchone()[0] if iteration else 0
    return iteration, int(rows)


def check_rows(kind: TableKind, db: Database, at: Target, owner: Owner, former: Collection[Owner] = ()) -> None:
    """Raise ConflictError when the table has rows that no overwrite of this sink, or of a ``former`` owner, has
    written, or when something would become of the rows of another table."""
    table = at.locator
    if kind.relation(db, table) != "table":
        return
    child, action = kind.dependent(db, table)
    if child:
        raise ConflictError(
            f"table {table!r} of {at.connection} is not overwritten: each time all of its rows go first, and table "
            f"{child!r} refers to them ON DELETE {action}; upsert (`mode: upsert`, `keys`), or change that foreign key"
        )
    if overwritten(kind, db, table, owner, *former):
        return
    (rows,) = db.execute(f"select count(*) from {quote(table)}").fetchone()
    if rows:
        raise ConflictError(
            f"table {table!r} of {at.connection} holds {rows} rows that no overwrite of {owner.pipeline}.{owner.node} "
            "has written, and does not delete: publish to another table, or delete them yourself if they are to go: "
            f"`delete from {quote(table)}`"
        )


def empty(kind: TableKind, db: Database, table: str, owner: Owner, iteration: int) -> None:
    """Delete all rows, and note whose rows come."""
    if kind.relation(db, table) == "table":
        db.execute(f"delete from {quote(table)}")
    db.execute(
        f"create table if not exists {OVERWRITTEN} (table_name {kind.names} primary key, store_id text not null,"
        " pipeline text not null, node text not null, iteration bigint not null)"
    )
    forget(kind, db, table)
    db.execute(f"insert into {OVERWRITTEN} values (?, ?, ?, ?, ?)", (table, *owner, iteration))


def forget(kind: TableKind, db: Database, table: str) -> None:
    """Rows are added to those of an overwrite: a later one does not delete them."""
    if kind.relation(db, OVERWRITTEN):
        db.execute(f"delete from {OVERWRITTEN} where {kind.same}", (table,))


def hand_over(kind: TableKind, db: Database, table: str, former: Owner, owner: Owner) -> None:
    """What the former owner of the table has overwritten is this one's."""
    if kind.relation(db, OVERWRITTEN):
        db.execute(
            f"update {OVERWRITTEN} set store_id = ?, pipeline = ?, node = ? where {kind.same} and store_id = ?"
            " and pipeline = ? and node = ?",
            (*owner, table, *former),
        )
