"""Foreign keys of DuckDB, and what is to be unique: it looks at them with each row. What a row refers to may be
published between its staging and its publication, so that only the latter refuses one whose parent is missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from odibi_actors.batches.normalise import without_case
from odibi_actors.nodes.sinks.table_columns import BRING_PARENT, TAKEN
from odibi_actors.nodes.sinks.table_names import quote, text

_HELD = re.compile(r'because key "(.*)" is still referenced by a foreign key', re.DOTALL)
_HERE = "database_name = current_database() and schema_name = current_schema()"


def parentless(error: BaseException) -> bool:
    """Whether DuckDB refuses a row since the one that it refers to is not there."""
    return "foreign key" in str(error) and "does not exist in the referenced table" in str(error)


def dependent(db: Any, table: str) -> tuple[str, str]:
    """See ``TableKind.dependent``: DuckDB deletes no row that another table refers to, and has no other ON DELETE."""
    for child, columns, _ in _leading_to(db, table):
        if without_case(child) == without_case(table):
            continue
        told = " and ".join(f"{quote(name)} is not null" for name in columns)
        if db.execute(f"select 1 from {quote(child)} where {told} limit 1").fetchone():
            return str(child), "NO ACTION"
    return "", ""


def holding(db: Any, table: str, error: BaseException) -> str:
    """See ``TableKind.holding``: DuckDB says the columns of the other table, and their values. Asked beside the
    transaction, which has failed."""
    said = _HELD.search(str(error))
    if said is None:
        return ""
    with db.beside() as other:
        for child, columns, keys in _leading_to(other, table):
            texts = [f"{quote(name)}::varchar" for name in columns]
            told = ", ".join(f"{text(f'{name}: ')} || {one}" for name, one in zip(columns, texts, strict=True))
            query = f"select {', '.join(texts)} from {quote(child)} where concat_ws(', ', {told}) = ? limit 1"
            if values := other.execute(query, (said[1],)).fetchone():
                row = ", ".join(f"{key} = {value!r}" for key, value in zip(keys, values, strict=True))
                return f"{row}: table {child!r} refers to it ({', '.join(columns)})"
    return f"{said[1]}: another table refers to it"  # with a row of the same transaction


def remedy(
    db: Any, table: str, names: Sequence[str], keys: Sequence[str], error: BaseException, there: str = TAKEN
) -> str:
    """What is to be done where DuckDB refuses rows of these columns, upserted by ``keys``, behind what it says itself;
    "" when that says enough. ``there``: what of a value that is to be unique."""
    if parentless(error):
        return f"; {BRING_PARENT}"
    if "violates unique constraint" in str(error):
        return f"; {there}"
    if who := holding(db, table, error):
        besides = _unique(db, table, names, keys) or "the column that is unique besides its keys"
        return (
            f"; the row has the key {who}. DuckDB changes no such row with a column that is unique besides: leave "
            f"{besides} out before the sink, or make the table without that constraint"
        )
    return ""


def _unique(db: Any, table: str, names: Sequence[str], keys: Sequence[str]) -> str:
    """Columns of the rows, but for the keys, that the table has a constraint of; "" when it is an index."""
    with db.beside() as other:
        rows = other.execute(
            "select constraint_column_names from duckdb_constraints() where constraint_type in"
            f" ('UNIQUE', 'PRIMARY KEY') and lower(table_name) = lower(?) and {_HERE}",
            (table,),
        ).fetchall()
    theirs = {without_case(name) for (columns,) in rows for name in columns} - set(map(without_case, keys))
    return ", ".join(name for name in names if without_case(name) in theirs)


def _leading_to(db: Any, table: str) -> list[tuple[str, list[str], list[str]]]:
    """(table, columns, the columns of this one) of each foreign key that leads to it."""
    found: list[tuple[str, list[str], list[str]]] = db.execute(
        "select table_name, constraint_column_names, referenced_column_names from duckdb_constraints() where"
        f" constraint_type = 'FOREIGN KEY' and lower(referenced_table) = lower(?) and {_HERE} order by table_oid",
        (table,),
    ).fetchall()
    return found


def needing(db: Any, table: str) -> list[str]:
    """See ``TableKind.needing``."""
    others = (child for child, _, _ in _leading_to(db, table) if without_case(child) != without_case(table))
    return list(dict.fromkeys(others))
