"""Foreign keys of DuckDB, which looks at them with each row. What a row refers to may be published between its staging
and its publication, so that only the latter refuses one whose parent is missing."""

from __future__ import annotations

from typing import Any

from odibi_actors.batches.normalise import without_case
from odibi_actors.nodes.sinks.table_names import quote


def parentless(error: BaseException) -> bool:
    """Whether DuckDB refuses a row since the one that it refers to is not there."""
    return "foreign key" in str(error) and "does not exist in the referenced table" in str(error)


def dependent(db: Any, table: str) -> tuple[str, str]:
    """See ``TableKind.dependent``: DuckDB deletes no row that another table refers to, and has no other ON DELETE."""
    rows = db.execute(
        "select table_name, constraint_column_names from duckdb_constraints() where constraint_type = 'FOREIGN KEY'"
        " and lower(referenced_table) = lower(?) and database_name = current_database()"
        " and schema_name = current_schema() order by table_oid",
        (table,),
    ).fetchall()
    for child, columns in rows:
        if without_case(child) == without_case(table):
            continue
        told = " and ".join(f"{quote(name)} is not null" for name in columns)
        if db.execute(f"select 1 from {quote(child)} where {told} limit 1").fetchone():
            return str(child), "NO ACTION"
    return "", ""
