"""Schemas of read nodes: declared by the user, pinned in the log, or inferred from the first batch, in this order."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pyarrow as pa

from odibi_actors.batches.ipc import encode_schema
from odibi_actors.batches.normalise import normal_type
from odibi_actors.config.arrow_nested import Nested, split
from odibi_actors.config.arrow_types import arrow_type, suggestion
from odibi_actors.errors import BatchError
from odibi_actors.nodes.failures import Failed

_DECIMAL = re.compile(r"decimal(128|256)?\((\d+),(-?\d+)\)")
_ZONED = re.compile(r"timestamp\[(s|ms|us|ns),tz=([A-Za-z0-9_+/:-]+)\]")


def parse_type(text: str) -> pa.DataType:
    """The Arrow type of that name, as ``str(type)`` writes it. Raises ValueError with a suggestion."""
    compact = text.replace(" ", "")
    try:
        nested = split(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an Arrow type; {error}") from None
    if nested is not None:
        return _nested(nested)
    try:
        if match := _DECIMAL.fullmatch(compact):
            make = pa.decimal256 if match[1] == "256" else pa.decimal128
            return make(int(match[2]), int(match[3]))
        if match := _ZONED.fullmatch(compact):
            return pa.timestamp(match[1], match[2])
        return normal_type(pa.type_for_alias(compact))
    except (ValueError, BatchError):
        raise ValueError(f"{text!r} is not an Arrow type; {suggestion(text)}") from None


def _nested(nested: Nested) -> pa.DataType:
    fields = [pa.field(name, parse_type(text)) for name, text in nested.parts]
    if nested.kind == "struct":
        return pa.struct(fields)
    return pa.list_(fields[0]) if nested.kind == "list" else pa.map_(fields[0].type, fields[1].type)


def declared_types(schema: dict[str, str]) -> dict[str, pa.DataType]:
    """``read.schema`` as types. Raises Failed (``invalid``)."""
    try:
        return {name: parse_type(text) for name, text in schema.items()}
    except ValueError as error:
        raise Failed("invalid", f"read.schema: {error}") from error


def override(pinned: pa.Schema, declared: dict[str, pa.DataType]) -> pa.Schema:
    """The pinned schema with the declared types; declared columns it lacks come last."""
    fields = {field.name: field.type for field in pinned} | declared
    return pa.schema(list(fields.items()))


def pinned_as(columns: Iterable[tuple[str, str]]) -> bytes:
    """The schema of (name, type) as it is told, as a node is held to it. Raises ValueError for a type that has no name
    to be told by."""
    return encode_schema(pa.schema([(name, parse_type(arrow_type(kind))) for name, kind in columns]))


def widen(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """The type that holds what two files of one batch were inferred as; text where nothing else holds both."""
    if left == right:
        return left
    types, units = pa.types, ("s", "ms", "us", "ns")
    if types.is_list(left) and types.is_list(right):
        return pa.list_(widen(left.value_type, right.value_type))
    if types.is_struct(left) and types.is_struct(right):
        fields = {field.name: field.type for field in left}
        for field in right:
            fields[field.name] = widen(fields.get(field.name, field.type), field.type)
        return pa.struct(list(fields.items()))
    if types.is_timestamp(left) and types.is_timestamp(right) and left.tz and right.tz:  # instants, whatever the zone
        return pa.timestamp(max(left.unit, right.unit, key=units.index), left.tz)
    for one, other in ((left, right), (right, left)):
        if types.is_date32(one) and types.is_timestamp(other) and other.tz is None:
            return other
    try:
        pair = [pa.schema([("x", left)]), pa.schema([("x", right)])]
        kind = pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except pa.ArrowTypeError:
        return pa.string()
    return kind


def settle(kind: pa.DataType) -> pa.DataType:
    """What an inferred type is pinned as: nothing but nulls becomes text."""
    return normal_type(kind)


def hollow(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    """The column with those lists and fields that hold no value at all in the wanted type: theirs was a guess."""
    types = pa.types
    if column.type == wanted:
        return column
    if column.null_count == len(column):
        return pa.nulls(len(column), wanted)
    if types.is_list(column.type) and types.is_list(wanted):
        whole = column.take(pa.array(range(len(column)), pa.int64()))  # not a slice of another
        inner = hollow(whole.values, wanted.value_type)
        return pa.ListArray.from_arrays(whole.offsets, inner, mask=whole.is_null())
    if types.is_struct(column.type) and types.is_struct(wanted):
        names = [field.name for field in wanted]
        if names == [field.name for field in column.type]:
            parts = [hollow(part, field.type) for part, field in zip(column.flatten(), wanted, strict=True)]
            return pa.StructArray.from_arrays(parts, names, mask=column.is_null())
    return column
