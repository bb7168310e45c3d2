"""How Arrow values are kept in SQLite.

=======================================  =========================================================================
Arrow                                    SQLite
=======================================  =========================================================================
integers, bool, duration                 INTEGER (bool: 0 and 1; duration: count of its unit)
float, double                            REAL (NaN is stored as NULL: SQLite has none)
string, decimal                          TEXT (decimal: its digits, exact)
date                                     TEXT ``2013-01-31``
timestamp                                TEXT ``2013-01-31 05:00:00``, fraction only if any, ``+00:00`` (UTC) if zoned:
                                         one instant has one text, whatever its unit, and texts sort by time
time                                     TEXT ``05:00:00``, fraction only if any
binary                                   BLOB
list, struct, map, interval              refused: flatten them first
=======================================  =========================================================================
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.nodes.failures import Failed


def check_unsigned(column: pa.ChunkedArray, name: str) -> None:
    largest = pc.max(column).as_py()
    if largest is not None and largest >= 1 << 63:
        message = f"column {name!r} holds {largest}, more than SQLite's integers; cast it to string"
        raise Failed("invalid", message, column=name, value=str(largest))


def sql_type(field: pa.Field) -> str:
    """The SQLite type of a column. Raises Failed (``invalid``) for types that have none."""
    kind, types = field.type, pa.types
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_duration(kind):
        return "INTEGER"
    if types.is_floating(kind):
        return "REAL"
    if types.is_binary(kind) or types.is_fixed_size_binary(kind):
        return "BLOB"
    if types.is_string(kind) or types.is_decimal(kind) or (types.is_temporal(kind) and not types.is_interval(kind)):
        return "TEXT"
    raise Failed(
        "invalid", f"column {field.name!r} is {kind}, for which SQLite has no type; flatten it", column=field.name
    )


def as_sqlite(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The column with values that ``sqlite3`` stores as they are (see the table above)."""
    kind, types = column.type, pa.types
    if types.is_date64(kind):
        column, kind = column.cast(pa.date32()), pa.date32()
    if types.is_timestamp(kind) or types.is_time(kind):
        zoned = types.is_timestamp(kind) and kind.tz is not None
        text = column.cast(pa.timestamp(kind.unit)).cast(pa.string()) if zoned else column.cast(pa.string())
        text = pc.replace_substring_regex(text, r"(\.\d*?)0+$", r"\1")
        text = pc.replace_substring_regex(text, r"\.$", "")
        return pc.binary_join_element_wise(text, "+00:00", "") if zoned else text
    if types.is_date(kind) or types.is_decimal(kind):
        return column.cast(pa.string())
    if types.is_duration(kind):
        return column.cast(pa.int64())
    if types.is_float16(kind):
        return column.cast(pa.float32())
    return column
