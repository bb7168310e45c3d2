"""A table cut into partitions, and put together again from their files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.config.arrow_types import type_name
from odibi_actors.nodes.failures import MAX_VALUE, Failed, shorten
from odibi_actors.nodes.sinks import hive

_WAYS_OUT = (
    "Let a node before the sink change such values, or set `on_error: dead_letter`, and `odibictl apply`, then "
    "`odibictl iteration retry`; or cancel the iteration"
)
"""Of values that come back with each retry: rows that are pushed cannot be corrected."""


class Piece(NamedTuple):
    """The rows of one partition, in the order in which they came, without its columns. ``values``: of these columns,
    as texts."""

    values: list[str | None]
    table: pa.Table


def check(schema: pa.Schema, by: Sequence[str]) -> None:
    """Raise Failed (``invalid``) for columns that cannot be folders."""
    for name in by:
        if name not in schema.names:
            message = (
                f"write.partition_by names column {name!r}, which is not there; columns: {', '.join(schema.names)}"
            )
            raise Failed("invalid", message, column=name)
        kind = schema.field(name).type
        if not _is_plain(kind):
            message = (
                f"column {name!r} is {type_name(kind)}, and partitions are by text, whole numbers, booleans and dates, "
                "which each reader of their folders reads the same: cast it, or partition by another one"
            )
            raise Failed("invalid", message, column=name)
    if len(by) == len(schema.names):
        raise Failed("invalid", "write.partition_by names all columns: none is left for the files")


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_integer(kind) or types.is_boolean(kind) or types.is_date32(kind))


def split(table: pa.Table, by: Sequence[str], limit: int) -> Iterator[Piece]:
    """The rows by partition, in the order of their first rows. Raises Failed (``invalid``): more than ``limit``
    partitions, or a value that no folder can have as its name."""
    if not table.num_rows:
        return
    check(table.schema, by)
    table = table.combine_chunks()
    texts = {name: _texts(name, table.column(name)) for name in by}
    codes = pa.array([0] * table.num_rows, pa.int64())
    for column in texts.values():
        codes = _dense(pc.add(pc.multiply(codes, max(len(column.dictionary), 1)), column.indices.cast(pa.int64())))
    counts = pc.value_counts(codes).field("counts").to_pylist()
    if len(counts) > limit:
        raise Failed(
            "invalid",
            f"these rows are of {len(counts):,} partitions ({', '.join(by)}), more than write.max_partitions "
            f"({limit:,}) allows in one iteration: partition by what has fewer values, take less in one, or raise it",
        )
    rest = table.select([name for name in table.column_names if name not in by])
    order, start = pc.sort_indices(codes), 0  # stable
    for count in counts:
        rows = order.slice(start, count)
        first = rows[0].as_py()
        values = [column.dictionary[column.indices[first].as_py()].as_py() for column in texts.values()]
        yield Piece(values, rest.take(rows))
        start += count


def _dense(codes: pa.Array) -> pa.Array:
    """Numbers from 0 on in the order of their first rows, equal where these are."""
    return codes.dictionary_encode().indices.cast(pa.int64())


def _texts(name: str, column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The values as texts, each once. Raises Failed (``invalid``)."""
    whole = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
    found = whole.dictionary_encode(null_encoding="encode")
    try:
        told = found.dictionary.cast(pa.string())
        back = told.cast(found.dictionary.type)
    except pa.ArrowInvalid as error:
        raise Failed(
            "invalid", f"column {name!r} holds a value that cannot be a folder: {error}. {_WAYS_OUT}", column=name
        ) from error
    for value, text, again in zip(found.dictionary, told.to_pylist(), back, strict=True):
        reason = "" if value.equals(again) else "is not read back from a folder's name as it is"
        reason = reason or _unnameable(name, text)
        if reason:
            shown = shorten(repr(text), MAX_VALUE)
            what = f"column {name!r}, by which write.partition_by makes folders, holds {shown}, which {reason}"
            raise Failed("invalid", f"{what}. {_WAYS_OUT}", column=name, value=str(text))
    return pa.DictionaryArray.from_arrays(found.indices, told)


def _unnameable(name: str, text: str | None) -> str:
    """Why no folder can be called so; "" when one can."""
    if text == hive.NULL:
        return "is how folders say null"
    if text is not None and "\0" in text:
        return "holds a zero byte, which readers of folders cut off or refuse"
    size = len(hive.folder([name], [text]).encode())
    if size > hive.MAX_NAME:
        return f"makes a folder's name of {size} bytes; {hive.MAX_NAME} are the most"
    return ""


def column(value: str | None, kind: pa.DataType, rows: int) -> pa.Array:
    """A column of a partition, for so many of its rows. Raises ArrowInvalid when the text is no such value."""
    return pa.repeat(pa.scalar(value, pa.string()).cast(kind), rows)


def joined(table: pa.Table, by: Sequence[str], values: Sequence[str | None], schema: pa.Schema) -> pa.Table:
    """The rows of a file with the columns of its partition, in the order of the schema. Raises ArrowInvalid."""
    given = dict(zip(by, values, strict=True))
    columns = [
        pa.chunked_array([column(given[field.name], field.type, table.num_rows)])
        if field.name in given
        else table.column(field.name).cast(field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
