"""Parquet by ``pyarrow.parquet``; values are brought to the schema only where nothing of them changes."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from odibi_actors.batches.ipc import check_limits
from odibi_actors.batches.normalise import normalise
from odibi_actors.errors import BatchError
from odibi_actors.nodes.formats import Malformed, check_columns, first_bad


def parse(data: bytes, types: Mapping[str, pa.DataType], expected: list[str] | None) -> pa.Table:
    """One file as a table with normal types. ``types``: columns to be of these; ``expected``: exactly these columns.

    Raises Malformed.
    """
    if not data:
        raise Malformed("the file is empty")
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        sizes = [file.metadata.row_group(index).total_byte_size for index in range(file.metadata.num_row_groups)]
        check_limits(file.metadata.num_rows, sum(sizes))
        table = file.read(use_threads=False)
        table.validate(full=True)  # texts that are none would crash or mislead whoever reads them later
        table = normalise(table)
    except MemoryError:  # pyarrow's is an ArrowException too
        raise
    except (pa.ArrowException, OSError, ValueError, BatchError) as error:  # ValueError: a name that is not UTF-8
        raise Malformed(f"not a readable parquet file: {error}") from error
    try:
        check_columns(table.column_names, expected or table.column_names)
    except Malformed as error:
        raise Malformed(error.message, column=error.column) from None
    for place, name in enumerate(table.column_names):
        if name in types and table.column(name).type != types[name]:
            table = table.set_column(place, name, fit(table.column(name), name, types[name]))
    return table.select(expected) if expected else table


def _family(kind: pa.DataType) -> str:
    types = pa.types
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "instant" if types.is_timestamp(kind) and kind.tz else "date"
    return str(kind)


def fit(column: pa.ChunkedArray, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    """The column as ``kind``, unchanged in value. Raises Malformed: another sort of type, or the first value lost."""
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), kind)])
    if _family(column.type) != _family(kind):
        raise Malformed(f"the column is {column.type} in this file, not {kind}", column=name)
    try:
        return column.cast(kind)
    except pa.ArrowNotImplementedError as error:
        raise Malformed(f"the column is {column.type} in this file, not {kind}", column=name) from error
    except pa.ArrowInvalid as error:

        def fits(start: int, stop: int) -> bool:
            try:
                column.slice(start, stop - start).cast(kind)
            except pa.ArrowInvalid:
                return False
            return True

        row = first_bad(len(column), fits)
        value = str(column[row].as_py())
        raise Malformed(f"row {row + 1}: {value} is not {kind}", column=name, value=value) from error
