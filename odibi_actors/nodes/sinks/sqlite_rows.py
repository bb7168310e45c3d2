"""Rows on their way into a table of SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from odibi_actors.batches.normalise import without_case
from odibi_actors.nodes.failures import MAX_VALUE, shorten
from odibi_actors.nodes.sinks.sqlite_types import as_sqlite

ROWS_AT_ONCE = 10_000
"""Rows turned into Python values at once."""


UNIQUE = "UNIQUE constraint failed"
"""What SQLite says where a value, or several, are to be unique."""


def blamed(why: str) -> set[str]:
    """The columns that SQLite complains of: ``UNIQUE constraint failed: t.a, t.b``."""
    return {without_case(part.rpartition(".")[2]) for part in why.rpartition(": ")[2].split(", ")}


class Going:
    """Rows on their way into a table, so that the one that is refused can be told."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._row: tuple[Any, ...] = ()
        self._number = 0

    def through(self, columns: list[list[Any]]) -> Iterator[tuple[Any, ...]]:
        """The rows, one by one."""
        for self._row in zip(*columns, strict=True):
            self._number += 1
            yield self._row

    def told(self, why: str) -> str:
        """The row that went last, with the values of the columns that ``why`` names, or of all."""
        if not self._number:
            return "the rows"
        values = {name: f"{name} = {value!r}" for name, value in zip(self._names, self._row, strict=True)}
        shown = [values[name] for name in self._names if without_case(name) in blamed(why)] or list(values.values())
        return f"row {self._number} ({shorten(', '.join(shown), MAX_VALUE)})"


def batches(rows: pa.Table) -> Iterator[list[list[Any]]]:
    """The columns of the rows, some rows at once, as ``sqlite3`` takes them."""
    for batch in rows.to_batches(max_chunksize=ROWS_AT_ONCE):
        yield [as_sqlite(column).to_pylist() for column in batch.columns]
