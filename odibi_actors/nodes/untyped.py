"""Columns that hold no value yet are text, whatever they are to hold: told where a transform fails because of it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pyarrow as pa

from odibi_actors.config.remedies import schema
from odibi_actors.nodes.failures import shorten

_OF_TEXT = re.compile(r"VARCHAR|\b(large_)?(str|string|utf8|object)\b", re.IGNORECASE)
"""What DuckDB, pandas, polars and pyarrow call texts, which cannot be added up."""
_SHOWN = 200
"""Characters of names that are told."""


def hint(message: str, inputs: Mapping[str, pa.Table], headers: frozenset[str]) -> str:
    """What to add to a failure of a transform that says something of texts, where some of its inputs have columns that
    are text for want of a value. ``headers``: sources of which no row was read yet, so that none of their columns has a
    type. "" when there is nothing to add."""
    if not _OF_TEXT.search(message):
        return ""
    for name, table in inputs.items():
        if table.num_rows == 0 and not headers:
            continue  # its types are known
        columns = [one for one in table.column_names if _hollow(table.column(one))]
        if not columns:
            continue
        named = shorten(", ".join(columns), _SHOWN)
        what = f"of {name} hold no value yet" if table.num_rows else f"of {name} have no row yet"
        of = name if name in headers or not headers else ", ".join(sorted(headers))
        return (
            f". Columns {named} {what}, and count as text until a type is said: "
            f"{schema('read', columns[0], 'TYPE')} of {of}, or a cast"
        )
    return ""


def by_default(table: pa.Table, declared: Mapping[str, str]) -> list[str]:
    """The columns of a sink's first part that nothing says to be text."""
    if not table.num_rows:
        return []
    return [name for name in table.column_names if name not in declared and _hollow(table.column(name))]


def _hollow(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_string(column.type)) and column.null_count == len(column)
