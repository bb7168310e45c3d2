"""How Arrow values are kept in SQLite.

=======================================  =========================================================================
Arrow                                    SQLite
=======================================  =========================================================================
integers, bool, duration                 INTEGER (bool: 0 and 1; duration: count of its unit)
float, double                            REAL (-0.0 is 0.0)
string, decimal                          TEXT (decimal: its digits, exact, never with an exponent)
date                                     TEXT ``2013-01-31``
timestamp                                TEXT ``2013-01-31 05:00:00``, fraction only if any, ``+00:00`` (UTC) if zoned:
                                         one instant has one text, whatever its unit, and texts sort by time
time                                     TEXT ``05:00:00``, fraction only if any
binary                                   BLOB
list, struct, map                        refused: flatten them first
=======================================  =========================================================================

Refused by value: NaN (SQLite would store NULL), integers beyond 63 bits, years beyond 0001 to 9999 (their texts would
not sort). Refused by name: columns that are one to SQLite, or that it cannot name.
"""

from __future__ import annotations

from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.batches.normalise import without_case
from odibi_actors.config.arrow_types import type_name
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.sinks.table_columns import RENAME
from odibi_actors.units import plural

LONGEST_ROW = 1_000_000_000
"""Bytes of one row, SQLite's default limit."""
_DAYS = (-719_162, 2_932_896)
"""0001-01-01 and 9999-12-31, in days since 1970-01-01."""
_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
"""A day in each unit."""


def check_types(table: pa.Table) -> None:
    """Raise Failed (``invalid``) when SQLite cannot hold a column of the table exactly, or tell it from another."""
    folded: dict[str, str] = {}
    for field in table.schema:
        sql_type(field)
        if "\0" in field.name:
            raise Failed("invalid", f"SQLite has no names like {field.name!r}; rename the column", column=field.name)
        other = folded.setdefault(without_case(field.name), field.name)
        if other != field.name:
            message = f"columns {other!r} and {field.name!r} are one to SQLite; {RENAME}"
            raise Failed("invalid", message, column=field.name)
        check_values(table.column(field.name), field.name)


def check_values(column: pa.ChunkedArray, name: str) -> None:
    """Raise Failed (``invalid``) for the first sort of value of a column that SQLite would change."""
    kind, types = column.type, pa.types
    if types.is_uint64(kind):
        _refuse_beyond(column, name, 0, (1 << 63) - 1, "more than SQLite's integers hold; cast it to string")
    elif types.is_floating(kind):
        nans = pc.sum(pc.is_nan(column)).as_py() or 0
        if nans:
            message = (
                f"column {name!r} holds NaN in {plural(nans, 'row')}, where SQLite would store NULL; if NULL is meant, "
                f"say so: nullif({name}, 'NaN') in SQL, .fill_nan(None) in polars, .where(x == x) in pandas"
            )
            raise Failed("invalid", message, column=name, value="nan")
    elif types.is_date(kind) or types.is_timestamp(kind):
        unit = "ms" if types.is_date64(kind) else "" if types.is_date(kind) else kind.unit
        day = _DAY.get(unit, 1)
        bits = pa.int32() if types.is_date32(kind) else pa.int64()
        _refuse_beyond(
            pa.chunked_array([chunk.view(bits) for chunk in column.chunks], type=bits),
            name,
            max(_DAYS[0] * day, -(1 << 63) if bits == pa.int64() else -(1 << 31)),
            min((_DAYS[1] + 1) * day - 1, (1 << 63) - 1 if bits == pa.int64() else (1 << 31) - 1),
            f"as {kind}: outside of the years 0001 to 9999, whose texts sort; cast it to an integer",
        )


def _refuse_beyond(column: pa.ChunkedArray, name: str, low: int, high: int, why: str) -> None:
    found = pc.min_max(column).as_py()
    for value in (found["min"], found["max"]):
        if value is not None and not low <= value <= high:
            raise Failed("invalid", f"column {name!r} holds {value}, {why}", column=name, value=str(value))


def check_lengths(table: pa.Table) -> None:
    """Raise Failed (``invalid``) when a row may be longer than SQLite takes."""
    longest = {}
    for field in table.schema:
        if pa.types.is_string(field.type) or pa.types.is_binary(field.type):
            longest[field.name] = pc.max(pc.binary_length(table.column(field.name))).as_py() or 0
    if sum(longest.values()) > LONGEST_ROW - 9 * len(table.schema):
        name = max(longest, key=longest.__getitem__)
        message = f"column {name!r} holds a value of {longest[name]} bytes; SQLite takes rows of {LONGEST_ROW} bytes"
        raise Failed("invalid", message, column=name)


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
    _no_type(field)


def _no_type(field: pa.Field) -> NoReturn:
    fix = "flatten it, or make it text (to_json() in SQL, json.dumps in Python)"
    message = f"column {field.name!r} is {type_name(field.type)}, for which SQLite has no type; {fix}"
    raise Failed("invalid", message, column=field.name)


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
    if types.is_date(kind):
        return column.cast(pa.string())
    if types.is_decimal(kind):
        return _digits(column)
    if types.is_duration(kind):
        return column.cast(pa.int64())
    if types.is_floating(kind):
        return pc.add(column.cast(pa.float32()) if types.is_float16(kind) else column, 0.0)  # no -0.0: keys compare
    return column


def _digits(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Decimals as plain digits; Arrow writes those with many zeros after the point as ``1E-10``."""
    text = column.cast(pa.string())
    if not pc.any(pc.match_substring(text, "E")).as_py():
        return text
    values = [None if value is None else format(value, "f") for value in column.to_pylist()]
    return pa.chunked_array([pa.array(values, pa.string())])
