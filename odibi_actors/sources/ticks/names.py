"""How what is polled is called."""

from __future__ import annotations

from odibi_actors.config.model import ReadSpec


def what(read: ReadSpec) -> str:
    """A file, a table, a query, or a function."""
    polled = read.polled
    assert polled is not None
    if polled.function:
        return polled.function
    if polled.of_table is not None:
        return f"table {polled.of_table.table}" if polled.of_table.table else "the query"
    return f"{polled.connection.path.rstrip('/')}/{polled.path}"
