"""What of a file fits no column (``on_schema_change: rescue``), as JSON texts that give it back: which values of a
column these are, and how each is written.

A value is the text of a cell (csv), the same value (JSON), or ``{"type": ..., "value": ...}`` (formats that bring their
types), where ``value`` is JSON's own where that has one: numbers, texts, truth values, lists, objects; else the text
that csv would have, base64 of bytes, and pairs of key and value of a map.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.config.arrow_types import type_name
from odibi_actors.config.remedies import listed
from odibi_actors.kinds.format import Format, Request
from odibi_actors.model import RESCUED
from odibi_actors.nodes.formats import Malformed, Parsed
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.formats.texts import digits
from odibi_actors.nodes.formats.typed import exactly, fit, related

_HALF = re.compile("[\ud800-\udfff]")
"""Half of a character, which JSON may say and UTF-8 may not."""
Texts = list[str | None]
"""The JSON of each row's value; None where there is nothing to keep."""


@runtime_checkable
class Rescuing(Protocol):
    """What a format has besides whose files may be read with ``on_schema_change: rescue``."""

    def rescue(self, request: Request) -> Parsed:
        """The file as ``parse`` gives it, with the columns that are known; null is what does not fit, and what is lost
        by that, and columns that are not known, are ``Parsed.rescued``. Raises Malformed for what is no value that does
        not fit."""


def parsed(known: Format, request: Request) -> Parsed:
    """A file of which what does not fit is kept beside. Raises Malformed."""
    try:
        found = known.parse(request)
    except Malformed as error:
        if not error.column:
            raise
    else:
        check_free(found.table.column_names)
        if {*found.table.column_names} <= {*(request.wanted.expected or ())}:
            return found
    assert isinstance(known, Rescuing)
    found = known.rescue(request)
    check_free(found.rescued)
    return found


def with_folders(found: Parsed, wanted: Wanted, values: Mapping[str, str | None]) -> Parsed:
    """A file whose folders are columns (``values``): those that are not known are kept too, as texts."""
    new = [name for name in found.table.column_names if name not in (wanted.expected or ())]
    rows = found.table.num_rows
    kept = {name: [None if (value := values[name]) is None else written(value)] * rows for name in new}
    return found._replace(table=found.table.drop_columns(new), rescued={**found.rescued, **kept}) if new else found


def check_free(names: Collection[str]) -> None:
    """Raise Malformed for a file that has the column of what is rescued itself."""
    if RESCUED in names:
        message = f"the file has a column {RESCUED!r}, which is that of what is rescued: rename it, or leave it out: "
        raise Malformed(message + listed("read.ignore", RESCUED), column=RESCUED)


def joined(rows: int, rescued: Mapping[str, Texts]) -> pa.Array:
    """An object for each row: what was kept of it, by column; null where that is nothing."""
    parts: list[list[str]] = [[] for _ in range(rows)]
    for name, texts in rescued.items():
        key = written(name)
        for row, text in enumerate(texts):
            if text is not None:
                parts[row].append(f"{key}:{text}")
    return pa.array([f"{{{','.join(some)}}}" if some else None for some in parts], pa.string())


def written(value: Any) -> str:
    """A value of JSON as its text, without blanks."""
    return encodable(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def encodable(text: str) -> str:
    """JSON that UTF-8 can say."""
    return text if text.isascii() else _HALF.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


# --- texts ---------------------------------------------------------------------------------------------------------


def of_texts(
    texts: pa.ChunkedArray, kind: pa.DataType, convert: Callable[[pa.ChunkedArray], pa.ChunkedArray | None]
) -> tuple[pa.ChunkedArray, Texts]:
    """A column of cells as ``kind``, and those that it does not hold. ``convert``: cells, none of them null, as
    ``kind``; None unless it holds all of them."""
    coded = pa.concat_arrays(texts.chunks or [pa.array([], pa.string())]).dictionary_encode()  # each text once
    values, held = _held(pa.chunked_array([coded.dictionary]), kind, convert)
    fits = pa.array(held, pa.bool_()).take(coded.indices)
    lost = pc.fill_null(pc.invert(fits), False).to_pylist()
    found = [written(text) if odd else None for text, odd in zip(texts.to_pylist(), lost, strict=True)]
    return pa.chunked_array([values.take(coded.indices)]), found


def _held(
    column: pa.ChunkedArray, kind: pa.DataType, convert: Callable[[pa.ChunkedArray], pa.ChunkedArray | None]
) -> tuple[pa.Array, list[bool]]:
    """The column as ``kind``, null where that does not hold it, and where it does: looked for in halves."""
    found: list[pa.Array] = []
    fits: list[bool] = []
    left = [(0, len(column))] if len(column) else []
    while left:
        start, stop = left.pop()
        values = convert(column.slice(start, stop - start))
        if values is None and stop - start > 1:
            middle = (start + stop) // 2
            left += [(middle, stop), (start, middle)]
            continue
        found.append(pa.nulls(1, kind) if values is None else pa.concat_arrays(values.cast(kind).chunks))
        fits += [values is not None] * (stop - start)
    return pa.concat_arrays(found) if found else pa.array([], kind), fits


# --- values that bring their type -----------------------------------------------------------------------------------


def typed(found: Parsed, request: Request) -> Parsed:
    """A file with the types of its own: what of it fits those that are known, and what does not. Raises Malformed."""
    types = {**request.declared, **request.inferred}
    names, columns, rescued = list[str](), list[pa.ChunkedArray](), dict[str, Texts]()
    for name, column in zip(found.table.column_names, found.table.columns, strict=True):
        if name not in types:
            rescued[name] = _told(column, name, [True] * len(column))
            continue
        names.append(name)
        values = column
        if column.type != types[name]:
            values, rescued[name] = _of_type(column, name, types[name])
        columns.append(values)
    table = pa.Table.from_arrays(columns, names) if names else found.table.select([])
    return found._replace(table=table, rescued=rescued)


def _of_type(column: pa.ChunkedArray, name: str, kind: pa.DataType) -> tuple[pa.ChunkedArray, Texts]:
    try:
        return fit(column, name, kind), [None] * len(column)
    except Malformed:
        fits = [False] * len(column)
        values: pa.Array = pa.nulls(len(column), kind)
        if related(column.type, kind) and not pa.types.is_nested(kind):
            values, fits = _held(column, kind, lambda part: exactly(part, kind))
    return pa.chunked_array([values]), _told(column, name, [not one for one in fits])


def _told(column: pa.ChunkedArray, name: str, lost: list[bool]) -> Texts:
    """The values that are lost, each with its type."""
    chosen = column.filter(pa.array(lost, pa.bool_()))
    if chosen.null_count == len(chosen):
        return [None] * len(column)
    kind = written(type_name(column.type))
    values = iter(plain(pa.concat_arrays(chosen.chunks), name))
    texts: Texts = []
    for odd in lost:
        value = next(values) if odd else None
        texts.append(None if value is None else f'{{"type":{kind},"value":{written(value)}}}')
    return texts


def plain(array: pa.Array, name: str) -> list[Any]:
    """Values as JSON has them, exactly. Raises Malformed for what no JSON says."""
    kind, types = array.type, pa.types
    if types.is_struct(kind):
        names = [field.name for field in kind]
        if len({*names}) < len(names):
            raise Malformed(f"{type_name(kind)} has a name twice; {listed('read.ignore', name)}", column=name)
        parts = zip(*(plain(part, name) for part in array.flatten()), strict=True) if names else ((),) * len(array)
        valid = array.is_valid().to_pylist()
        return [dict(zip(names, one, strict=True)) if there else None for one, there in zip(parts, valid, strict=True)]
    if types.is_map(kind):
        whole = array.take(pa.array(range(len(array)), pa.int64()))  # not a slice of another
        pairs = list(map(list, zip(plain(whole.keys, name), plain(whole.items, name), strict=True)))
        return _cut(pairs, whole, whole.offsets.to_pylist())
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_pylist()
        offsets = [0]
        for length in lengths:
            offsets.append(offsets[-1] + length)
        return _cut(plain(array.flatten(), name), array, offsets)
    return _leaves(array)


def _cut(values: list[Any], array: pa.Array, offsets: list[int]) -> list[Any]:
    return [
        values[offsets[row] : offsets[row + 1]] if there else None
        for row, there in enumerate(array.is_valid().to_pylist())
    ]


def _leaves(array: pa.Array) -> list[Any]:
    kind, types = array.type, pa.types
    if types.is_floating(kind):
        if not types.is_float64(kind):  # as few digits as tell it apart from others of its bits
            array = array.cast(pa.float32()).cast(pa.string()).cast(pa.float64())
        return [one if one is None or math.isfinite(one) else str(one) for one in array.to_pylist()]
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind):
        return list(array.to_pylist())
    if types.is_string(kind) or types.is_large_string(kind):
        return list(array.to_pylist())
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return [None if one is None else base64.b64encode(one).decode() for one in array.to_pylist()]
    if types.is_decimal(kind):
        return list(digits(pa.chunked_array([array])).to_pylist())
    if types.is_duration(kind):
        return list(array.cast(pa.int64()).to_pylist())
    if types.is_timestamp(kind) and kind.tz is not None:
        texts = array.cast(pa.timestamp(kind.unit, "UTC")).cast(pa.timestamp(kind.unit)).cast(pa.string())
        return [None if one is None else f"{one}Z" for one in texts.to_pylist()]
    return list(array.cast(pa.string()).to_pylist())
