"""Foreign keys of SQLite. The database enforces them, as it is told to on each connection that writes; which row it
misses it does not say, so that is looked for once it has refused.

A transaction defers them to its end: an overwrite deletes all rows before it brings others, and a row of a batch may
refer to one behind it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from odibi_actors.batches.normalise import without_case
from odibi_actors.errors import ConflictError
from odibi_actors.nodes.failures import MAX_VALUE, shorten
from odibi_actors.nodes.sinks.table_columns import BRING_PARENT
from odibi_actors.nodes.sinks.table_names import quote
from odibi_actors.units import plural

_HARMLESS = ("NO ACTION",)
"""What may become of rows whose parent is deleted, and comes back in the same transaction."""
_FAILED = "FOREIGN KEY constraint failed"


class Foreign(NamedTuple):
    """A foreign key: ``columns`` of ``table`` name a row of ``parent`` by its ``keys``."""

    table: str
    columns: tuple[str, ...]
    parent: str
    keys: tuple[str, ...]
    on_delete: str


def commit(db: sqlite3.Connection, table: str, place: str) -> None:
    """End a transaction that has written to ``table``. Raises ConflictError where a row would be without the one that
    it refers to: nothing is kept; and sqlite3.Error."""
    try:
        db.execute("commit")
    except sqlite3.IntegrityError as error:
        if _FAILED not in str(error):
            raise
        raise ConflictError(_told(db, table, place, str(error))) from error


def dependent(db: sqlite3.Connection, table: str) -> tuple[str, str]:
    """(name, ON DELETE ...) of another table with rows, where something becomes of them, or is refused, while the rows
    of this one are replaced; "" where there is none."""
    for one in _leading_to(db, table):
        if one.on_delete in _HARMLESS or without_case(one.table) == without_case(table):
            continue
        if db.execute(f"select 1 from {quote(one.table)} limit 1").fetchone():
            return one.table, one.on_delete
    return "", ""


def referring(db: sqlite3.Connection, table: str) -> list[str]:
    """The names of other tables whose foreign keys lead to this one: a drop would delete their rows, or leave them
    without theirs."""
    others = (one.table for one in _leading_to(db, table) if without_case(one.table) != without_case(table))
    return list(dict.fromkeys(others))


def holding(db: sqlite3.Connection, table: str, going: str) -> str:
    """What another table says of one of the rows of ``table`` that are to be deleted, since it refers to it. ``going``:
    the condition that a row is among these, of the table as ``t``."""
    for one in _leading_to(db, table):
        if one.on_delete not in ("NO ACTION", "RESTRICT"):
            continue
        keys = ", ".join(f"t.{quote(key)}" for key in one.keys)
        same = " and ".join(f"c.{quote(a)} = t.{quote(b)}" for a, b in zip(one.columns, one.keys, strict=True))
        found = db.execute(
            f"select {keys} from {quote(table)} t where {going} and exists"
            f" (select 1 from {quote(one.table)} c where {same}) limit 1"
        ).fetchone()
        if found is not None:
            return f"{_values(one.keys, found)}: table {one.table!r} refers to it ({', '.join(one.columns)})"
    return ""


def _told(db: sqlite3.Connection, table: str, place: str, said: str) -> str:
    """Which row is missed; the transaction is undone for that. What was missed before it began is no matter of it."""
    keys = list(dict.fromkeys([*_of(db, table), *_leading_to(db, table)]))
    after = [_lacking(db, one) for one in keys]
    db.execute("rollback")
    for one, there in zip(keys, after, strict=True):
        before = _lacking(db, one)
        for values, rows in there.items():
            if rows > before.get(values, 0):
                return (
                    f"table {one.table!r} of {place}: {plural(rows, 'row')} with {_values(one.columns, values)} would "
                    f"be without a row of table {one.parent!r} that has {_values(one.keys, values)} ({said}); "
                    f"{BRING_PARENT}"
                )
    return f"table {table!r} of {place} refuses the rows: {said}"


def _lacking(db: sqlite3.Connection, one: Foreign) -> dict[tuple[object, ...], int]:
    """Rows by the values whose row in the other table is not there."""
    columns = ", ".join(f"c.{quote(name)}" for name in one.columns)
    told = " and ".join(f"c.{quote(name)} is not null" for name in one.columns)
    same = " and ".join(f"p.{quote(b)} = c.{quote(a)}" for a, b in zip(one.columns, one.keys, strict=True))
    try:
        rows = db.execute(
            f"select {columns}, count(*) from {quote(one.table)} c where {told} and not exists"
            f" (select 1 from {quote(one.parent)} p where {same}) group by {columns}"
        )
        return {tuple(row[:-1]): int(row[-1]) for row in rows}
    except sqlite3.OperationalError:  # a table or column that is not there
        return {}


def _of(db: sqlite3.Connection, table: str) -> Iterator[Foreign]:
    """The foreign keys of a table."""
    rows = db.execute(
        'select id, "table", "from", "to", on_delete from pragma_foreign_key_list(?) order by id, seq', (table,)
    ).fetchall()
    for number in dict.fromkeys(row[0] for row in rows):
        mine = [row for row in rows if row[0] == number]
        parent, keys = str(mine[0][1]), [row[3] for row in mine]
        if None in keys:  # not said: its primary key
            info = "select name from pragma_table_info(?) where pk > 0 order by pk"
            keys = [name for (name,) in db.execute(info, (parent,))]
        if len(keys) == len(mine):
            yield Foreign(table, tuple(row[2] for row in mine), parent, tuple(keys), str(mine[0][4]).upper())


def _leading_to(db: sqlite3.Connection, table: str) -> Iterator[Foreign]:
    """The foreign keys of all tables that lead to this one."""
    tables = db.execute("select name from sqlite_master where type = 'table' order by rowid").fetchall()
    for (name,) in tables:
        for one in _of(db, name):
            if without_case(one.parent) == without_case(table):
                yield one


def _values(names: tuple[str, ...], values: tuple[object, ...]) -> str:
    return shorten(", ".join(f"{name} = {value!r}" for name, value in zip(names, values, strict=True)), MAX_VALUE)
