"""What parquet cannot hold, told by column before anything is staged."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq

from odibi_actors.config.arrow_types import type_name
from odibi_actors.nodes.failures import Failed


def check_types(table: pa.Table) -> None:
    """Raise Failed (``invalid``) for the first column that parquet cannot hold, naming it and its type."""
    if not table.column_names:
        return  # of nothing nothing is written; whether that may be is not asked here
    for name, why in _unwritable(table.schema):
        _refuse(name, table.schema.field(name).type, why)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_timestamp(column.type) and column.type.unit == "s":  # parquet has no seconds
            try:
                column.cast(pa.timestamp("ms", column.type.tz))
            except pa.ArrowInvalid as error:
                _refuse(name, column.type, str(error))


def _refuse(name: str, kind: pa.DataType, why: str) -> None:
    message = f"column {name!r} is {type_name(kind)}, which parquet cannot hold ({why}); cast it in the node before"
    raise Failed("invalid", message, column=name)


@lru_cache(maxsize=64)
def _unwritable(schema: pa.Schema) -> tuple[tuple[str, str], ...]:
    """(column, why) of those whose type cannot be written. The writer itself is asked, with no rows."""
    if not _problem(schema):
        return ()
    found = [(field.name, _problem(pa.schema([field]))) for field in schema]
    return tuple((name, why) for name, why in found if why) or (("", _problem(schema)),)


def _problem(schema: pa.Schema) -> str:
    try:
        pq.write_table(schema.empty_table(), pa.BufferOutputStream())
    except (pa.ArrowException, OSError) as error:
        return str(error)
    return ""
