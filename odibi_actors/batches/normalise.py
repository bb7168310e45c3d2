"""One Arrow type for one meaning: what pandas, polars, DuckDB and parquet write differently becomes the same.

========================================  ==================
found                                     becomes
========================================  ==================
large_string, string_view                 string
large_binary, binary_view                 binary
large_list, list_view, large_list_view    list
dictionary, run-end encoded               type of its values
decimal32, decimal64, decimal256          decimal128, if it has the digits
a decimal of negative scale               the same of scale 0
date64                                    date32
null (nothing but nulls)                  string
arrow.uuid, pandas.period                 string: its text
arrow.json                                string
arrow.bool8                               bool
========================================  ==================

Refused by column: intervals, unions, other extension types, structs without fields, values that their type does not
allow (texts that are not UTF-8, times of a day that has passed). Metadata and "not null" marks are dropped; all else
(nullable integers, decimals, dates, time zones) stays exact.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.config.arrow_types import type_name
from odibi_actors.errors import BatchError

_LISTS = (pa.ListArray, pa.LargeListArray, pa.ListViewArray, pa.LargeListViewArray)
_MAX_DIGITS = 38
"""Of decimal128."""
_OFFSET = re.compile(r"[+-]([01]\d|2[0-3]):[0-5]\d", re.ASCII)
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


class BadValueError(BatchError):
    """The type is kept, but a value of it is none, or the type that is kept cannot hold it."""


def normal_type(kind: pa.DataType) -> pa.DataType:
    """What a column of type ``kind`` becomes. Raises BatchError for types that are not kept."""
    types = pa.types
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return normal_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _extension_type(kind)
    if types.is_null(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind) or kind == pa.binary(0):
        return pa.binary()
    if types.is_decimal(kind):
        return _decimal_type(kind)
    if types.is_date64(kind):
        return pa.date32()
    if types.is_fixed_size_list(kind) and kind.list_size:
        return pa.list_(normal_type(kind.value_type), kind.list_size)
    if types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind) or _is_view(kind):
        return pa.list_(normal_type(kind.value_type))
    if types.is_map(kind):
        return pa.map_(normal_type(kind.key_type), normal_type(kind.item_type))
    if types.is_struct(kind):
        return _struct_type(kind)
    if types.is_timestamp(kind) and kind.tz is not None:
        _check_zone(kind.tz)
    if types.is_interval(kind):
        raise BatchError("months, days and seconds apart have no type here; make it a duration, a number or a text")
    if types.is_union(kind):
        raise BatchError("values of several types are no column; make it one type, a text for example")
    return kind


def normalise(table: pa.Table) -> pa.Table:
    """The table with normal types. Raises BatchError: names missing or doubled, or a column without a normal form."""
    check_names(table.column_names)
    columns = [normal_column(name, table.column(place)) for place, name in enumerate(table.column_names)]
    schema = pa.schema([(name, column.type) for name, column in zip(table.column_names, columns, strict=True)])
    return pa.Table.from_arrays(columns, schema=schema)


def normal_column(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with its normal type. Raises BatchError, which names it."""
    try:
        return kept(column)
    except BatchError as error:
        message = f"column {name!r} of type {type_name(column.type)} cannot be kept: {error}"
        if isinstance(error, BadValueError):
            message += "; correct it or cast it before it is returned"
        raise BatchError(message, column=name) from error


def kept(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values with their normal type. Raises BatchError with the reason why they have none."""
    try:
        target = normal_type(column.type)
        column.validate(full=True)  # what is no text or no time would mislead, or crash, whoever reads it later
        if column.type == target:
            return column
        if not _is_plain(column.type):
            column = pa.chunked_array([_rebuilt(chunk) for chunk in column.chunks], type=target)
        return column if column.type == target else column.cast(target)
    except MemoryError:  # pyarrow's is an ArrowException too
        raise
    except (pa.ArrowException, ValueError) as error:
        raise BadValueError(re.sub(r"^In chunk \d+: Invalid: ", "", str(error))) from error


def check_names(names: list[str]) -> None:
    """Raise BatchError for columns without a name or with the same one, naming them."""
    if not names:
        raise BatchError("the table has no columns")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BatchError(f"the table has several columns named {', '.join(map(repr, twice))}; give each its own name")
    if "" in names:
        raise BatchError(f"column {names.index('') + 1} of the table has no name")


def without_case(name: str) -> str:
    """A name as SQL compares it: A to Z are a to z, all else (``É``, ``é``) stays apart."""
    return name.translate(_LOWER)


# --- types ------------------------------------------------------------------------------------------------------------


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))


def _decimal_type(kind: pa.DataType) -> pa.DataType:
    scale = max(kind.scale, 0)
    precision = max(kind.precision + scale - kind.scale, scale)
    return (pa.decimal128 if precision <= _MAX_DIGITS else pa.decimal256)(precision, scale)


def _struct_type(kind: pa.DataType) -> pa.DataType:
    names = [field.name for field in kind]
    if not names or "" in names or len(set(names)) < len(names):
        what = "without a name" if "" in names else "of the same name" if names else "missing"
        raise BatchError(f"its fields are {what}; give it fields with names of their own, or leave it out")
    return pa.struct([(field.name, normal_type(field.type)) for field in kind])


def _extension_type(kind: pa.BaseExtensionType) -> pa.DataType:
    if kind.extension_name in ("arrow.uuid", "arrow.json", "pandas.period"):
        return pa.string()
    if kind.extension_name == "arrow.bool8":
        return pa.bool_()
    if kind.extension_name == "pandas.interval":
        raise BatchError("an interval is no value of a column; make it a text, .astype(str), or keep its two ends")
    raise BatchError(f"what {kind.extension_name} means would be lost; return its storage, {kind.storage_type}")


@lru_cache(maxsize=1024)
def _check_zone(zone: str) -> None:
    if _OFFSET.fullmatch(zone):
        return
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:  # none; no name; a folder of zones
        raise BatchError(f"there is no time zone {zone!r}; name one such as UTC or Europe/Berlin") from error


# --- values -----------------------------------------------------------------------------------------------------------


def _is_plain(kind: pa.DataType) -> bool:
    """Whether Arrow's own cast to the normal type is right: it breaks list views (pyarrow 26 writes offsets that are
    none), and does not know run ends and extensions in nested types."""
    if isinstance(kind, pa.BaseExtensionType) or pa.types.is_run_end_encoded(kind) or _is_view(kind):
        return False
    if pa.types.is_dictionary(kind) and normal_type(kind.value_type) != kind.value_type:
        return False
    return all(_is_plain(kind.field(place).type) for place in range(kind.num_fields))


def _rebuilt(array: pa.Array) -> pa.Array:
    """The array with its normal type, made from its parts."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _rebuilt(array.dictionary).take(array.indices)  # views cannot be taken
    if pa.types.is_run_end_encoded(kind):
        return _rebuilt(pc.run_end_decode(array))
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_values(kind, array.storage)
    target = normal_type(kind)
    if _is_plain(kind):
        return array if kind == target else array.cast(target)
    if type(array) in _LISTS:  # a map is a list to Python
        ends = np.cumsum(pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False))
        offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
        return pa.ListArray.from_arrays(offsets, _rebuilt(array.flatten()), type=target, mask=pc.is_null(array))
    if pa.types.is_struct(kind):
        parts = [_rebuilt(part) for part in array.flatten()]
        return pa.StructArray.from_arrays(parts, fields=list(target), mask=pc.is_null(array))
    raise BatchError("its inner types have no plain form; convert them first")


def _plain_values(kind: pa.BaseExtensionType, storage: pa.Array) -> pa.Array:
    if kind.extension_name == "arrow.uuid":
        return _uuid_texts(storage)
    if kind.extension_name == "pandas.period":
        import pandas as pd  # only who has pandas has made one

        ordinals = storage.fill_null(0).to_numpy(zero_copy_only=False)
        texts = pd.PeriodIndex.from_ordinals(ordinals, freq=kind.freq).astype(str)  # type: ignore[attr-defined]
        return pc.if_else(pc.is_valid(storage), pa.array(list(texts), pa.string()), None)
    return storage.cast(_extension_type(kind))


def _uuid_texts(storage: pa.Array) -> pa.Array:
    """16 bytes each as ``8-4-4-4-12`` hexadecimal digits, without a loop over the rows."""
    values = storage.fill_null(bytes(16))
    start = values.offset * 16
    raw = np.frombuffer(values.buffers()[1], np.uint8, len(values) * 16, start).reshape(-1, 16)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    pairs = np.stack([digits[raw >> 4], digits[raw & 15]], axis=2).reshape(-1, 32)
    texts = np.full((len(values), 36), ord("-"), np.uint8)
    for source, place, width in ((0, 0, 8), (8, 9, 4), (12, 14, 4), (16, 19, 4), (20, 24, 12)):
        texts[:, place : place + width] = pairs[:, source : source + width]
    found = pa.FixedSizeBinaryArray.from_buffers(pa.binary(36), len(values), [None, pa.py_buffer(texts.tobytes())])
    return pc.if_else(pc.is_valid(storage), found.cast(pa.binary()).cast(pa.string()), None)
