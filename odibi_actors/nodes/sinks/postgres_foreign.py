"""Foreign keys of PostgreSQL: it looks at them at the end of each statement, or of the transaction where they are
``initially deferred``."""

from __future__ import annotations

from typing import Any

from odibi_actors.errors import ConflictError
from odibi_actors.model import Target
from odibi_actors.nodes.sinks.table_columns import BRING_PARENT

_ACTIONS = {"a": "NO ACTION", "c": "CASCADE", "d": "SET DEFAULT", "n": "SET NULL", "r": "RESTRICT"}
_MISSING = "23503"  # foreign_key_violation


def refusal(at: Target, error: Exception, said: str) -> ConflictError:
    """The table refuses rows. ``said``: what the server says of them, with their values."""
    remedy = f"; {BRING_PARENT}" if getattr(error, "sqlstate", "") == _MISSING else ""
    return ConflictError(f"table {at.locator!r} of {at.connection} refuses the rows: {said.rstrip('.')}{remedy}")


def dependent(db: Any, table: str) -> tuple[str, str]:
    """See ``TableKind.dependent``."""
    mine = "(select oid from pg_class where relname = ? and relnamespace = current_schema()::regnamespace)"
    looked_at = "(confdeltype in ('a', 'r') and not condeferred and has_table_privilege(conrelid, 'select'))"
    columns = "array(select quote_ident(attname) from pg_attribute where attrelid = conrelid and attnum = any (conkey))"
    rows = db.execute(
        f"select conrelid::regclass::text, confdeltype::text, {columns} from pg_constraint where contype = 'f' and"
        f" confrelid = {mine} and conrelid <> confrelid and (confdeltype in ('c', 'n', 'd') or {looked_at}) order by 1",
        (table,),
    ).fetchall()
    for name, action, names in rows:
        told = " and ".join(f"{one} is not null" for one in names)
        if db.execute(f"select 1 from {name} where {told} limit 1").fetchone():
            return str(name), _ACTIONS[action]
    return "", ""
