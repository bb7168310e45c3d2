"""Foreign keys of PostgreSQL, and what is to be unique: it looks at them at the end of each statement, or of the
transaction where they are ``initially deferred``."""

from __future__ import annotations

import re
from typing import Any

from odibi_actors.errors import ConflictError
from odibi_actors.model import Target
from odibi_actors.nodes.sinks.table_columns import BRING_PARENT, TAKEN, TWICE

_ACTIONS = {"a": "NO ACTION", "c": "CASCADE", "d": "SET DEFAULT", "n": "SET NULL", "r": "RESTRICT"}
_FOREIGN, _UNIQUE = "23503", "23505"
"""SQLSTATE where a foreign key, or what makes values unique, is violated."""
_REMEDY = {
    _FOREIGN: BRING_PARENT,
    _UNIQUE: f"{TAKEN}. Two rows cannot exchange such values in one iteration, unless that constraint is DEFERRABLE "
    "INITIALLY DEFERRED",
}
_HELD = re.compile(r"\((.*)\)=\((.*)\)", re.DOTALL)
"""Columns and values of a row, in whatever language the server speaks."""


def refusal(at: Target, error: Exception, said: str) -> ConflictError:
    """The table refuses rows. ``said``: what the server says of them, with their values."""
    remedy = _REMEDY.get(getattr(error, "sqlstate", None) or "", "")
    said = f"{said.rstrip('.')}; {remedy}" if remedy else said.rstrip(".")
    return ConflictError(f"table {at.locator!r} of {at.connection} refuses the rows: {said}")


def twice(error: Any) -> str:
    """What is told of rows of one batch that have a value which is to be unique; "" when that is not why they are
    refused. The constraint that the server names is not that of the table: they were tried in one of its like."""
    if getattr(error, "sqlstate", "") != _UNIQUE:
        return ""
    detail = error.diag.message_detail or str(error)
    return f"{detail.rstrip('.')}; {TWICE}"


def holding(error: Any) -> str:
    """See ``TableKind.holding``; nothing is asked any more in a transaction that has failed, and nothing has to be."""
    if getattr(error, "sqlstate", "") != _FOREIGN:
        return ""
    said = error.diag
    found = _HELD.search(said.message_detail or "")
    row = f"{found[1]} = {found[2]!r}" if found else "a key that is in use"
    return f"{row}: table {said.table_name!r} refers to it (by {said.constraint_name})"


_MINE = "(select oid from pg_class where relname = ? and relnamespace = current_schema()::regnamespace)"


def refers(db: Any, table: str) -> bool:
    """See ``TableKind.refers``: rows are tried in a table like this one, which has none of its foreign keys."""
    query = f"select 1 from pg_constraint where contype = 'f' and conrelid = {_MINE} limit 1"
    return db.execute(query, (table,)).fetchone() is not None


def dependent(db: Any, table: str) -> tuple[str, str]:
    """See ``TableKind.dependent``."""
    looked_at = "(confdeltype in ('a', 'r') and not condeferred and has_table_privilege(conrelid, 'select'))"
    columns = "array(select quote_ident(attname) from pg_attribute where attrelid = conrelid and attnum = any (conkey))"
    rows = db.execute(
        f"select conrelid::regclass::text, confdeltype::text, {columns} from pg_constraint where contype = 'f' and"
        f" confrelid = {_MINE} and conrelid <> confrelid and (confdeltype in ('c', 'n', 'd') or {looked_at})"
        " order by 1",
        (table,),
    ).fetchall()
    for name, action, names in rows:
        told = " and ".join(f"{one} is not null" for one in names)
        if db.execute(f"select 1 from {name} where {told} limit 1").fetchone():
            return str(name), _ACTIONS[action]
    return "", ""


def needing(db: Any, table: str) -> list[str]:
    """See ``TableKind.needing``: tables whose foreign keys lead to it, views that show it, tables that inherit from it
    (its partitions go with it). Those of other schemas are named with these."""
    mine = "(select oid from pg_class where relname = ? and relnamespace = current_schema()::regnamespace)"
    views = "pg_rewrite r on r.oid = d.objid and d.classid = 'pg_rewrite'::regclass"
    rows = db.execute(
        "select case when relnamespace = current_schema()::regnamespace then relname else c.oid::regclass::text end"
        f" from pg_class c, {mine} as mine (table_oid) where c.oid <> table_oid and (exists (select 1 from"
        " pg_constraint where contype = 'f' and confrelid = table_oid and conrelid = c.oid) or exists (select 1 from"
        f" pg_depend d join {views} where refclassid = 'pg_class'::regclass and refobjid = table_oid and ev_class ="
        " c.oid) or exists (select 1 from pg_inherits where inhparent = table_oid and inhrelid = c.oid and not"
        " c.relispartition)) order by 1",
        (table,),
    ).fetchall()
    return [str(name) for (name,) in rows]
