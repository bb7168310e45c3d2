"""The first rows of a table, for people and for ``-o json``."""

from __future__ import annotations

import math
from datetime import date, datetime, time
from typing import Any

import pyarrow as pa


def head(table: pa.Table, rows: int) -> list[dict[str, Any]]:
    """The first rows, with values as JSON has them; what it has no word for is text. Nothing is rounded."""
    some = table.slice(0, rows)
    columns = {name: _values(some.column(place)) for place, name in enumerate(some.column_names)}
    return [{name: values[row] for name, values in columns.items()} for row in range(some.num_rows)]


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Python has no nanoseconds within a day, and no years beyond 9999: Arrow writes such values itself."""
    try:
        if not pa.types.is_time64(column.type):
            return [_shown(value) for value in column.to_pylist()]
    except (OverflowError, ValueError):
        pass
    return [_shown(value) for value in column.cast(pa.string()).to_pylist()]


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _shown(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(one) for one in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, datetime | date | time) else str(value)
