"""Watermarks: how far a source was read, as a value of one of its columns, and the text file in which people see it.

What was read is known by the bytes of files, or the places in tables, and not by these. They decide once alone: where a
file that was read was replaced, or somebody has written another watermark into the text file, reading begins again,
with the rows beyond the watermark.
"""

from __future__ import annotations

import os
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.batches.files import named


def highest(table: pa.Table, column: str, former: Any) -> Any:
    """The highest value of the column, or ``former``, if that is higher; None: there is none."""
    found = pc.max(_numbers(table, column)).as_py()
    if found is None:
        return former
    return found if former is None or found > former else former


def beyond(table: pa.Table, column: str, floor: Any) -> pa.Table:
    """The rows whose value is above ``floor``, or missing: of these nobody knows whether they were read."""
    kind = table.column(column).type
    above = pc.greater(_numbers(table, column), pa.scalar(floor, kind))
    return table.filter(pc.fill_null(above, True))


def _numbers(table: pa.Table, column: str) -> pa.ChunkedArray:
    """The column, with null for what is no number."""
    values = table.column(column)
    if pa.types.is_floating(values.type):
        return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    return values


def check(table: pa.Table, column: str) -> None:
    """Raise ValueError where that is no column of the table, or has no order."""
    if column not in table.column_names:
        raise ValueError(f"watermark_column: there is no column {column!r}; there are: {', '.join(table.column_names)}")
    if pa.types.is_nested(table.column(column).type) or pa.types.is_boolean(table.column(column).type):
        raise ValueError(f"watermark_column: {column!r} is {table.column(column).type}, which has no order")


def text_of(value: Any) -> str:
    """As it stands in the file: times as ISO 8601."""
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def value_of(text: str, kind: pa.DataType) -> Any:
    """What a text says, of the type that the column has. Raises ValueError."""
    try:
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return text
        if pa.types.is_timestamp(kind):
            moment = datetime.fromisoformat(text)
            zoned = kind.tz is not None
            if zoned != (moment.tzinfo is not None):
                raise ValueError("it has no time zone" if zoned else "it has a time zone, and the column has none")
            return pa.scalar(moment, kind).as_py()
        if pa.types.is_date(kind):
            return datetime.fromisoformat(text).date()
        return pa.scalar(text).cast(kind).as_py()
    except (ValueError, pa.ArrowException) as error:
        raise ValueError(f"watermark {text!r} is no {kind}, which the column is: {error}") from None


class WatermarkFile:
    """The text file: odibi_core's, or ours."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> str:
        """Its text; "" where there is none, or it is empty. Raises OSError, ValueError."""
        try:
            return self.path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path} is no text: {error}") from None

    def write(self, text: str) -> None:
        """Whole, or not at all. It is shown, and not relied upon, so that it is not synced. Raises OSError."""
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with named(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(text, encoding="utf-8")
            os.replace(fresh, self.path)
