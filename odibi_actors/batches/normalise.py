"""One Arrow type for one meaning: what pandas, polars, DuckDB and parquet write differently becomes the same.

========================================  ==================
found                                     becomes
========================================  ==================
large_string, string_view                 string
large_binary, binary_view                 binary
large_list, list_view, large_list_view    list
dictionary, run-end encoded               type of its values
extension                                 its storage
decimal32, decimal64                      decimal128
null (nothing but nulls)                  string
========================================  ==================

Metadata and "not null" marks are dropped; all else (nullable integers, decimals, dates, time zones) stays exact.
"""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.errors import BatchError


def normal_type(kind: pa.DataType) -> pa.DataType:
    """What a column of type ``kind`` becomes."""
    types = pa.types
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return normal_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return normal_type(kind.storage_type)
    if types.is_null(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    if types.is_decimal32(kind) or types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if types.is_fixed_size_list(kind):
        return pa.list_(normal_type(kind.value_type), kind.list_size)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_list_view(kind) or types.is_large_list_view(kind):
        return pa.list_(normal_type(kind.value_type))
    if types.is_map(kind):
        return pa.map_(normal_type(kind.key_type), normal_type(kind.item_type))
    if types.is_struct(kind):
        return pa.struct([(field.name, normal_type(field.type)) for field in kind])
    return kind


def _convert(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if isinstance(column.type, pa.BaseExtensionType):
        chunks = [chunk.storage for chunk in column.chunks]
        column = pa.chunked_array(chunks, type=column.type.storage_type)
    if pa.types.is_run_end_encoded(column.type):
        chunks = [pc.run_end_decode(chunk) for chunk in column.chunks]
        column = pa.chunked_array(chunks, type=column.type.value_type)
    target = normal_type(column.type)
    return column if column.type == target else column.cast(target)


def check_names(names: list[str]) -> None:
    """Raise BatchError for columns without a name or with the same one, naming them."""
    if not names:
        raise BatchError("the table has no columns")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BatchError(f"the table has several columns named {', '.join(map(repr, twice))}; give each its own name")
    if "" in names:
        raise BatchError(f"column {names.index('') + 1} of the table has no name")


def normalise(table: pa.Table) -> pa.Table:
    """The table with normal types. Raises BatchError: names missing or doubled, or a column without a normal form."""
    check_names(table.column_names)
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            columns.append(_convert(column))
        except MemoryError:  # pyarrow's is an ArrowException too
            raise
        except (pa.ArrowException, ValueError) as error:
            raise BatchError(f"column {name!r} of type {column.type} cannot be kept: {error}") from error
    schema = pa.schema([(name, column.type) for name, column in zip(table.column_names, columns, strict=True)])
    return pa.Table.from_arrays(columns, schema=schema)
