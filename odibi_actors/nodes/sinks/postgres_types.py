"""How Arrow values are kept in PostgreSQL, and written as csv, of which COPY reads them.

=======================================  =========================================================================
Arrow                                    PostgreSQL
=======================================  =========================================================================
bool                                     boolean
integers                                 smallint, integer, bigint: the least that holds them; uint64 numeric(20,0)
float, double                            real, double precision, with NaN and infinities
decimal                                  numeric of its digits
string, binary                           text, bytea
date, time, timestamp                    date, time, timestamp, timestamp with time zone: the instant
duration                                 bigint, the count of its unit
list, struct, map                        refused: flatten them first
=======================================  =========================================================================

Refused by value: times finer than microseconds, years beyond 0001 to 9999, NUL in texts.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.config.arrow_types import type_name
from odibi_actors.nodes.failures import MAX_VALUE, Failed, shorten
from odibi_actors.nodes.sinks.sqlite_types import check_values


def sql_type(field: pa.Field) -> str:
    """The type of a column. Raises Failed (``invalid``) for types that have none."""
    kind, types = field.type, pa.types
    if types.is_uint64(kind):
        return "numeric(20,0)"
    if types.is_integer(kind):
        bits = kind.bit_width + types.is_unsigned_integer(kind)
        return "smallint" if bits <= 16 else "integer" if bits <= 32 else "bigint"
    if types.is_floating(kind):
        return "double precision" if types.is_float64(kind) else "real"
    if types.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})" if 0 <= kind.scale <= kind.precision else "numeric"
    if types.is_timestamp(kind):
        return "timestamp with time zone" if kind.tz is not None else "timestamp without time zone"
    for known, name in (
        (types.is_boolean, "boolean"),
        (types.is_string, "text"),
        (types.is_binary, "bytea"),
        (types.is_fixed_size_binary, "bytea"),
        (types.is_date, "date"),
        (types.is_time, "time without time zone"),
        (types.is_duration, "bigint"),
    ):
        if known(kind):
            return name
    fix = "flatten it, or make it text (to_json() in SQL, json.dumps in Python)"
    message = f"column {field.name!r} is {type_name(kind)}, for which PostgreSQL has no type here; {fix}"
    raise Failed("invalid", message, column=field.name)


def check(column: pa.ChunkedArray, name: str) -> None:
    """Raise Failed (``invalid``) for the first sort of value of a column that PostgreSQL would refuse or change."""
    kind, types = column.type, pa.types
    if types.is_string(kind):
        bad, why = pc.match_substring(column, "\0"), "a NUL, which texts of PostgreSQL cannot have; replace it"
    elif types.is_time64(kind) or types.is_timestamp(kind):
        if types.is_timestamp(kind):
            check_values(column, name)  # years whose texts are not read back
        if kind.unit != "ns":
            return
        bits = pa.chunked_array([chunk.view(pa.int64()) for chunk in column.chunks], pa.int64())
        bad = pc.not_equal(pc.multiply(pc.divide(bits, 1000), 1000), bits)
        why = "nanoseconds, which PostgreSQL rounds; truncate it to microseconds"
    else:
        if types.is_date(kind):
            check_values(column, name)
        return
    if pc.any(bad).as_py():
        value = shorten(str(column.filter(bad)[0]), MAX_VALUE)
        raise Failed("invalid", f"column {name!r} holds {why} ({value!r})", column=name, value=value)


def prepared(rows: pa.Table) -> pa.Table:
    """The rows with values whose texts in csv PostgreSQL reads as they are."""
    columns = []
    for field in rows.schema:
        column, kind, types = rows.column(field.name), field.type, pa.types
        if types.is_float16(kind):
            column = column.cast(pa.float32())
        elif types.is_duration(kind):
            column = column.cast(pa.int64())
        elif types.is_date64(kind):
            column = column.cast(pa.date32())
        elif types.is_decimal(kind):
            column = column.cast(pa.string())
        elif types.is_binary(kind) or types.is_fixed_size_binary(kind):
            texts = [None if one is None else "\\x" + one.hex() for one in column.to_pylist()]
            column = pa.chunked_array([pa.array(texts, pa.string())])
        columns.append(column)
    return pa.table(columns, rows.column_names)
