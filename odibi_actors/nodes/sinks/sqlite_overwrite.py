"""``mode: overwrite`` of a SQLite table: which iteration wrote the rows that are there.

Only rows that an overwrite of the sink has written are deleted: ``_odibi_overwritten`` says so, in the transaction that
writes them. Rows of anybody else, or that were appended or upserted, are refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from odibi_actors.errors import ConflictError
from odibi_actors.nodes.sinks.owner import Owner, table_owner
from odibi_actors.nodes.sinks.sqlite_table import quote

TABLE = "_odibi_overwritten"
_CREATE = (
    f"create table if not exists {TABLE} (table_name text primary key collate nocase, store_id text not null,"
    " pipeline text not null, node text not null, iteration integer not null)"
)


def overwritten(connection: sqlite3.Connection, table: str, *owners: Owner) -> int:
    """The iteration of one of these sinks whose rows the table holds, and no others; 0 when they have overwritten
    nothing, or others have come since. Raises sqlite3.Error."""
    if not _is_table(connection, TABLE):
        return 0
    row = connection.execute(
        f"select iteration, store_id, pipeline, node from {TABLE} where table_name = ?", (table,)
    ).fetchone()
    return int(row[0]) if row and tuple(row[1:]) in owners else 0


def _is_table(connection: sqlite3.Connection, name: str) -> bool:
    query = "select 1 from sqlite_master where name = ? collate nocase and type = 'table'"
    return connection.execute(query, (name,)).fetchone() is not None


def holds(connection: sqlite3.Connection, table: str) -> tuple[int, int]:
    """(iteration, rows): whose rows stand in the table, whoever's sink that is (0: no overwrite's), and how many there
    are. Raises sqlite3.Error."""
    owner = table_owner(connection, table)
    iteration = overwritten(connection, table, owner) if owner is not None else 0
    rows = connection.execute(f"select count(*) from {quote(table)}").fetchone()[0] if iteration else 0
    return iteration, int(rows)


def check_rows(
    connection: sqlite3.Connection, table: str, owner: Owner, place: str, former: Collection[Owner] = ()
) -> None:
    """Raise ConflictError when the table has rows that no overwrite of this sink, or of a ``former`` owner, has
    written. Raises sqlite3.Error."""
    if not _is_table(connection, table) or overwritten(connection, table, owner, *former):
        return
    (rows,) = connection.execute(f"select count(*) from {quote(table)}").fetchone()
    if rows:
        raise ConflictError(
            f"table {table!r} of {place} holds {rows} rows that no overwrite of {owner.pipeline}.{owner.node} has "
            "written, and does not delete: publish to another table, or delete them yourself if they are to go: "
            f"`delete from {quote(table)}`"
        )


def empty(connection: sqlite3.Connection, table: str, owner: Owner, iteration: int) -> None:
    """Delete all rows, and note whose rows come. Raises sqlite3.Error."""
    if _is_table(connection, table):
        connection.execute(f"delete from {quote(table)}")
    connection.execute(_CREATE)
    connection.execute(f"insert or replace into {TABLE} values (?, ?, ?, ?, ?)", (table, *owner, iteration))


def forget(connection: sqlite3.Connection, table: str) -> None:
    """Rows are added to those of an overwrite: a later one does not delete them. Raises sqlite3.Error."""
    if _is_table(connection, TABLE):
        connection.execute(f"delete from {TABLE} where table_name = ?", (table,))


def hand_over(connection: sqlite3.Connection, table: str, former: Owner, owner: Owner) -> None:
    """What the former owner of the table has overwritten is this one's. Raises sqlite3.Error."""
    if _is_table(connection, TABLE):
        connection.execute(
            f"update {TABLE} set store_id = ?, pipeline = ?, node = ? where table_name = ? and store_id = ?"
            " and pipeline = ? and node = ?",
            (*owner, table, *former),
        )
