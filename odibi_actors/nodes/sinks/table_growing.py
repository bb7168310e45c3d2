"""``on_schema_change: evolve`` of a table: columns that the rows have and the table lacks are added to it, in the
transaction that publishes the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from odibi_actors.errors import ConflictError
from odibi_actors.model import Target
from odibi_actors.nodes.sinks.table_names import quote

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.nodes.sinks.table_kind import Database, TableKind


def lacking(kind: TableKind, db: Database, table: str, rows: pa.Table) -> list[str]:
    """The columns of the rows that the table lacks; [] where there is no table."""
    if kind.relation(db, table) != "table":
        return []
    known = {kind.as_name(name) for name in kind.columns(db, table)}
    return [name for name in rows.column_names if kind.as_name(name) not in known]


def known(kind: TableKind, db: Database, at: Target, rows: pa.Table) -> pa.Table:
    """What of the rows the table has columns for: the rest is added to it, which is tried, and undone. Raises
    ConflictError: it has none of them; and what the database says of a column that it does not add."""
    new = lacking(kind, db, at.locator, rows)
    if len(new) == rows.num_columns:
        raise ConflictError(
            f"table {at.locator!r} of {at.connection} has none of the columns {', '.join(map(repr, new))}: it is "
            "another table; publish to one of your own"
        )
    if not new:
        return rows
    db.execute("begin")
    try:
        grow(kind, db, at, rows)
    finally:
        kind.roll_back(db)
    return rows.select([name for name in rows.column_names if name not in new])


def grow(kind: TableKind, db: Database, at: Target, rows: pa.Table) -> None:
    """Add what the table lacks, null in the rows that are there, within a transaction."""
    new = lacking(kind, db, at.locator, rows)
    types = kind.sql_types(db, rows) if new else {}
    if new:
        kind.loosen(db, at.locator)
    for name in new:
        db.execute(f"alter table {quote(at.locator)} add column {quote(name)} {types[name]}")
