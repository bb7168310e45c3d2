"""Tables for those who know fewer types than Arrow: what they would bend in silence is converted exactly, or refused.

==============================  =====================  ===========================
type                            DuckDB gets            polars gets
==============================  =====================  ===========================
halffloat                       float                  as it is
duration                        duration[us]           as it is (seconds: ms)
timestamp[s or ms] with a zone  timestamp[us], UTC     as it is (seconds: ms)
timestamp with a fixed offset   UTC                    UTC
timestamp[s], time32            as it is               ms, ns
decimal256                      refused                refused
==============================  =====================  ===========================
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from odibi_actors.batches.normalise import without_case
from odibi_actors.config.arrow_types import type_name
from odibi_actors.errors import BatchError

Change = Callable[[pa.DataType], pa.DataType]


def for_duckdb(table: pa.Table) -> pa.Table:
    """The table with types that DuckDB reads exactly. Raises BatchError, by column; two names that are one to SQL are
    refused as well."""
    folded: dict[str, str] = {}
    for name in table.column_names:
        other = folded.setdefault(without_case(name), name)
        if other != name:
            raise BatchError(f"columns {other!r} and {name!r} are one to SQL; rename one of them", column=name)
    return changed(table, _duckdb_type, "SQL")


def for_polars(table: pa.Table) -> pa.Table:
    """The table with types that polars reads exactly. Raises BatchError, by column."""
    return changed(table, _polars_type, "polars")


def _duckdb_type(kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_float16(kind):
        return pa.float32()
    if types.is_duration(kind):
        return pa.duration("us")
    if types.is_timestamp(kind) and kind.tz is not None and kind.unit != "ns":
        return pa.timestamp("us", kind.tz)
    return _common(kind)


def _polars_type(kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_duration(kind) and kind.unit == "s":
        return pa.duration("ms")
    if types.is_timestamp(kind):
        fixed = kind.tz is not None and (kind.tz[:1] in ("+", "-") or kind.tz == "Z")
        return pa.timestamp("ms" if kind.unit == "s" else kind.unit, "UTC" if fixed else kind.tz)
    return _common(kind)


def _common(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_decimal256(kind):
        raise BatchError("it has more than 38 digits; cast it in the node before, to string or a smaller decimal")
    return kind


def changed(table: pa.Table, change: Change, reader: str) -> pa.Table:
    """The table with the types that ``change`` makes of its types, at every depth. Raises BatchError, by column, which
    names the ``reader``."""
    for place, name in enumerate(table.column_names):
        column = table.column(place)
        try:
            target = _nested(column.type, change)
            if target != column.type:
                table = table.set_column(place, name, column.cast(target))
        except MemoryError:
            raise
        except (BatchError, pa.ArrowException) as error:
            message = f"column {name!r} of type {type_name(column.type)} cannot be given to {reader} as it is: {error}"
            raise BatchError(message, column=name) from error
    return table


def _nested(kind: pa.DataType, change: Change) -> pa.DataType:
    types = pa.types
    if types.is_fixed_size_list(kind):
        return pa.list_(_nested(kind.value_type, change), kind.list_size)
    if types.is_list(kind):
        return pa.list_(_nested(kind.value_type, change))
    if types.is_map(kind):
        return pa.map_(_nested(kind.key_type, change), _nested(kind.item_type, change))
    if types.is_struct(kind):
        return pa.struct([(field.name, _nested(field.type, change)) for field in kind])
    return change(kind)
