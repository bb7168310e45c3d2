"""Tables as JSON lines: each value so that our own reader gives back the same one where its type is declared, or
refused. What JSON has no value for (moments, decimals) is its text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.config.arrow_types import type_name
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats.texts import no_type, portions, spelt

NAME = "json"
_encode = msgspec.json.Encoder().encode


def check(table: pa.Table) -> None:
    """Raise Failed (``invalid``) for the first column, by type or by value, that would not come back as it is."""
    for field in table.schema:
        if not field.name.strip():
            raise Failed("invalid", f"its reader takes {field.name!r} for no name of a column; rename it")
        for portion in portions(table.column(field.name)):
            for chunk in portion.chunks or [pa.array([], field.type)]:
                _plain(chunk, field, verify=True)


def write(schema: pa.Schema, batches: Iterable[pa.RecordBatch], out: BinaryIO) -> None:
    """One object a line, batch by batch. Raises OSError."""
    names = schema.names
    for batch in batches:
        columns = [
            _plain(column, field, verify=False).to_pylist() for field, column in zip(schema, batch.columns, strict=True)
        ]
        out.write(b"".join(_encode(dict(zip(names, row, strict=True))) + b"\n" for row in zip(*columns, strict=True)))


def _plain(array: pa.Array, field: pa.Field, *, verify: bool) -> pa.Array:
    """The same with values alone that JSON has, and texts for the others; refused what it cannot hold."""
    kind, types = array.type, pa.types
    if types.is_struct(kind):
        if not kind.num_fields:
            raise no_type(field, NAME)
        parts = [_plain(part, field, verify=verify) for part in array.flatten()]  # null where the struct is
        names = [one.name for one in kind]
        if len(set(names)) < len(names) or not all(map(str.strip, names)):
            raise Failed("invalid", f"column {field.name!r} is {type_name(kind)}: a name is there twice, or none")
        return pa.StructArray.from_arrays(parts, names=names, mask=pc.is_null(array))
    if types.is_list(kind) or types.is_large_list(kind):
        inner = _plain(array.flatten(), field, verify=verify)
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_pylist()
        offsets = [0]
        for length in lengths:
            offsets.append(offsets[-1] + length)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), inner, mask=pc.is_null(array))
    if types.is_map(kind) or types.is_nested(kind) or types.is_binary(kind) or types.is_fixed_size_binary(kind):
        raise no_type(field, NAME)
    if types.is_floating(kind):
        if verify and pc.any(pc.invert(pc.is_finite(array.cast(pa.float64())))).as_py():
            message = (
                f"column {field.name!r} holds NaN or an infinite number, and JSON has none; if null is meant, say so: "
                f"nullif({field.name}, 'NaN') in SQL, .where(x == x) in pandas"
            )
            raise Failed("invalid", message, column=field.name, value="nan")
        if verify and not types.is_float64(kind):
            spelt(pa.chunked_array([array]), field, NAME)
        return array if types.is_float64(kind) else _short(array)
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind):
        return array
    if types.is_string(kind) or types.is_large_string(kind):
        return array
    return spelt(pa.chunked_array([array], kind), pa.field(field.name, kind), NAME, verify=verify).combine_chunks()


def _short(array: pa.Array) -> pa.Array:
    """Floats of fewer bits as doubles that are written with as few digits: 0.1 of 32 bits is 0.1."""
    return array.cast(pa.float32()).cast(pa.string()).cast(pa.float64())
