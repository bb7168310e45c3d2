"""Values of frames: as JSON has them, and as numpy has those of a table."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

import pandas as pd
import pyarrow as pa

_COPY_ON_WRITE: Final = int(pd.__version__.split(".", maxsplit=1)[0]) >= 3
EXACT: Final = 1 << 53
"""Whole numbers up to here are exact as floats."""


def as_json(value: Any) -> Any:
    """A value as JSON gives it back: texts, numbers, booleans; None for what is missing; times as ISO 8601. Raises
    TypeError for any other."""
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 and not isinstance(value, pd.Timestamp):
        value = value.item()  # of numpy
    match value:
        case bool() | int() | str():
            return value
        case float():
            if math.isinf(value):
                raise TypeError("JSON has no infinity")
            return None if math.isnan(value) else value
        case _ if value is pd.NaT or value is pd.NA:
            return None
        case datetime() | date() | time():
            return value.isoformat()
        case list() | tuple():
            return [as_json(one) for one in value]
        case dict() if all(isinstance(key, str) for key in value):
            return {key: as_json(one) for key, one in value.items()}
    raise TypeError(f"JSON has no {type(value).__name__}")


def shown(value: Any) -> Any:
    """A value for people: as JSON has it, else as text."""
    try:
        return as_json(value)
    except TypeError:
        return str(value) if isinstance(value, Decimal | float | timedelta) else repr(value)


def records(frame: pd.DataFrame) -> Iterator[list[Any]]:
    """The values of each row, in the order of the columns; names may repeat."""
    columns = [frame.iloc[:, place].tolist() for place in range(frame.shape[1])]
    if not columns:  # rows are rows without columns, too
        yield from ([] for _ in range(len(frame)))
    yield from (list(row) for row in zip(*columns, strict=True))


def column(values: list[Any]) -> pd.Series:
    """Values as a column of numpy's types. Whole numbers among which some are missing become floats, as pandas has it,
    where that is exact, else ``Int64`` (``UInt64``); numbers that neither has stay objects."""
    numbers = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
    if len(numbers) < len(values) and numbers and max(map(abs, numbers)) > EXACT:
        missing = sum(value is None for value in values)
        return pd.Series(values, dtype=whole_type(numbers) if len(numbers) + missing == len(values) else object)
    return pd.Series(values, dtype=object if not values else None)


def whole_type(numbers: list[int]) -> Any:
    """The type of pandas that holds these numbers, and gaps."""
    least, most = min(numbers), max(numbers)
    if least >= -(1 << 63) and most < 1 << 63:
        return "Int64"
    return "UInt64" if least >= 0 and most < 1 << 64 else object


def is_text(value: Any) -> bool:
    """Whether UTF-8 has all of a text, and of the texts in a list or dict."""
    match value:
        case str():
            return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
        case list() | tuple():
            return all(map(is_text, value))
        case dict():
            return all(is_text(part) for pair in value.items() for part in pair)
    return True


def lent(value: Any) -> Any:
    """A value for somebody to do with as they like: what they change is changed nowhere else."""
    if isinstance(value, pd.DataFrame):
        return value.copy(deep=not _COPY_ON_WRITE)
    return copy.deepcopy(value) if isinstance(value, list | dict | set) else value


def with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its index as columns, where that holds data: it has a name, or is not of whole numbers, which is
    what filtering and sorting leave of a default one."""
    return frame.reset_index() if holds_data(frame.index) else frame


def holds_data(index: pd.Index) -> bool:
    """Whether an index is more than numbers of rows."""
    named = any(name is not None for name in index.names)
    return named or index.nlevels > 1 or (len(index) > 0 and not pd.api.types.is_integer_dtype(index.dtype))


def numpy_frame(table: pa.Table) -> pd.DataFrame:
    """The table with numpy's types. Whole numbers among which some are missing become floats, as pandas has it, where
    that is exact, else ``Int64``."""
    frame: pd.DataFrame = table.to_pandas()
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_integer(column.type) and column.null_count:
            values = [value for value in column.to_pylist() if value is not None]
            if values and max(map(abs, values)) > EXACT:
                frame[name] = pd.array(column.to_pylist(), dtype="UInt64" if max(values) >= 1 << 63 else "Int64")
    return frame
