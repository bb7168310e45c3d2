"""Arrow tables as Spark's, and back: exactly, or refused by column.

=================================  ==========================================
type                               Spark gets
=================================  ==========================================
uint8, uint16, uint32              smallint, int, bigint
uint64                             decimal(20,0)
halffloat                          float
timestamp without a zone           timestamp_ntz, microseconds
timestamp with a zone              timestamp, microseconds, the instant
duration                           interval day to second, microseconds
binary of a fixed size             binary
list of a fixed size               array
time                               refused
decimal256                         refused
=================================  ==========================================

Nanoseconds that are no whole microseconds are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from odibi_actors.batches.narrow import changed
from odibi_actors.batches.normalise import check_names, normalise
from odibi_actors.errors import BatchError

if TYPE_CHECKING:
    from pyspark.sql.types import StructType

_WIDER = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
}


def for_spark(table: pa.Table) -> pa.Table:
    """The table with types that Spark has. Raises BatchError, by column; names that are one to Spark, which tells no
    ``A`` from ``a``, are refused as well."""
    folded: dict[str, str] = {}
    for name in table.column_names:
        other = folded.setdefault(name.lower(), name)
        if other != name:
            raise BatchError(f"columns {other!r} and {name!r} are one to Spark; rename one of them", column=name)
    return changed(table, _spark_type, "Spark")


def in_files(table: pa.Table) -> bool:
    """Whether a parquet file holds a table of ``for_spark`` as Spark reads it: a duration would be a number there."""
    return "duration" not in str(table.schema)


def schema_of(table: pa.Table) -> StructType:
    """The types of a table of ``for_spark``. Spark itself would take a time without a zone for an instant."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(table.schema, prefer_timestamp_ntz=True)


def to_arrow(frame: Any) -> pa.Table:
    """The rows of a Spark DataFrame, of normal types. Raises BatchError, and what Spark raises."""
    check_names(list(frame.columns))
    for field in frame.schema.fields:
        if why := _no_form(field.dataType):
            raise BatchError(
                f"column {field.name!r} of Spark's type {field.dataType.simpleString()} {why}", column=field.name
            )
    return normalise(frame.toArrow())


def _no_form(kind: Any) -> str:
    from pyspark.sql import types

    if isinstance(kind, types.YearMonthIntervalType | types.CalendarIntervalType):
        return "has no form here; make it a number of months, or a text"
    if type(kind).__name__ in ("VariantType", "GeometryType", "GeographyType"):
        return "has no form here; make it a text, to_json(x) for example"
    inner = [field.dataType for field in getattr(kind, "fields", ())]
    inner += [part for part in (getattr(kind, name, None) for name in ("elementType", "keyType", "valueType")) if part]
    return next((why for one in inner if (why := _no_form(one))), "")


def _spark_type(kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if kind in _WIDER:
        return _WIDER[kind]
    if types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz is not None else None)
    if types.is_duration(kind):
        return pa.duration("us")
    if types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_time(kind):
        raise BatchError("Spark has no time of day; make it a text, or a duration since midnight, in the node before")
    if types.is_decimal256(kind):
        raise BatchError("it has more than 38 digits; cast it in the node before, to string or a smaller decimal")
    return kind
