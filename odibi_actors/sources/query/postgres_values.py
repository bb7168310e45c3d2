"""Values of PostgreSQL as columns: numbers and texts as they come, all else by its text, of which no digit is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from odibi_actors.config.remedies import schema
from odibi_actors.kinds.dialect import BEHIND, LAST, Column
from odibi_actors.nodes.formats import Malformed
from odibi_actors.sources.query.types import brought

_PLAIN: dict[str, pa.DataType] = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "bytea": pa.binary(),
}
_TEXTS = ("text", "character varying", "character", "name", "citext", "uuid", "json", "jsonb", "xml", "inet", "cidr")
_BY_TEXT: dict[str, pa.DataType] = {
    "date": pa.date32(),
    "time without time zone": pa.time64("us"),
    "timestamp without time zone": pa.timestamp("us"),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
}
_SIZED = re.compile(r"numeric\((\d+),(-?\d+)\)")
MAX_DIGITS = 38
"""Of decimal128."""


def table(
    batches: Iterator[list[tuple[Any, ...]]], columns: Sequence[Column], types: Mapping[str, pa.DataType]
) -> pa.Table:
    """The rows; behind ``columns`` come those of edges. Raises Malformed."""
    kinds = {column.name: _kind(column, types) for column in columns}
    names = [*kinds, BEHIND, LAST]
    found: list[list[pa.Array]] = [[] for _ in names]
    loaded = [_loaded(column, types) for column in columns] + [pa.string(), pa.string()]
    for batch in batches:
        for parts, kind, values in zip(found, loaded, zip(*batch, strict=True), strict=True):
            parts.append(pa.array(values, kind))
    made = [pa.chunked_array(parts, kind) for parts, kind in zip(found, loaded, strict=True)]
    return brought(pa.Table.from_arrays(made, names=names), kinds)


def _loaded(column: Column, types: Mapping[str, pa.DataType]) -> pa.DataType:
    """As it comes: see ``PostgresSession.selected``."""
    kind = types.get(column.name)
    if kind is not None and pa.types.is_string(kind):
        return pa.string()
    return _PLAIN.get(column.type, pa.string())


def _kind(column: Column, types: Mapping[str, pa.DataType]) -> pa.DataType:
    """What a column is. Raises Malformed: nothing here holds it exactly."""
    known = types.get(column.name)
    if known is not None and pa.types.is_string(known):
        return known
    if (kind := _PLAIN.get(column.type) or _BY_TEXT.get(column.type)) is not None:
        return kind
    if column.type in _TEXTS or column.type.startswith("enum "):
        return pa.string()
    if known is not None and column.type.startswith("numeric"):
        return known  # whatever digits it may have, those that it has are compared
    if (sized := _SIZED.fullmatch(column.type)) is not None:
        digits, scale = int(sized[1]), int(sized[2])
        if 0 <= scale <= digits <= MAX_DIGITS:
            return pa.decimal128(digits, scale)
    if column.type.startswith("numeric"):
        message = f"{column.type}, of which no type holds all: {schema('read', column.name, 'decimal128(38, 9)')}"
        raise Malformed(f"the column is {message}, or string", column=column.name)
    said = schema("read", column.name, "string")
    message = f"the column is {column.type}, for which there is no type here; {said} reads its text"
    raise Malformed(message, column=column.name)
