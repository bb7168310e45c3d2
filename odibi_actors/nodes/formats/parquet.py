"""Parquet by ``pyarrow.parquet``."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from odibi_actors.batches.ipc import check_limits
from odibi_actors.config.remedies import listed
from odibi_actors.errors import BatchError
from odibi_actors.nodes.formats import Malformed, Parsed, rebased
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.formats.packed import what_it_is
from odibi_actors.nodes.formats.typed import fitted

_NS_PER_US = 1000
_MAX_US = (1 << 63) // _NS_PER_US - 1
"""Microseconds since the epoch, of either sign, that nanoseconds of 64 bits hold."""


def parse(data: bytes, types: Mapping[str, pa.DataType], wanted: Wanted) -> Parsed:
    """One file as a table with normal types, or ``types`` where given; a column of type null stays one.

    Raises Malformed.
    """
    if not data:
        raise Malformed("the file is empty")
    table, names = _read(data, wanted)
    read = frozenset(table.column_names)
    return Parsed(fitted(table, types), [name for name in names if name not in read])


def _read(data: bytes, wanted: Wanted) -> tuple[pa.Table, list[str]]:
    """The wanted columns, and the names of all."""
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        sizes = [file.metadata.row_group(index).total_byte_size for index in range(file.metadata.num_row_groups)]
        check_limits(file.metadata.num_rows, sum(sizes))
        names = file.schema_arrow.names
        for place, name in enumerate(names):
            if not name.strip() and not wanted.ignored(""):
                raise Malformed(f'column {place + 1} has no name; give it one, or leave it out: read.ignore: [""]')
        chosen = wanted.chosen(names)
        # By name a column of a nested one may be meant as well: `a.b` is a path to pyarrow.
        left = len(chosen) < len(names) and not any("." in name for name in names)
        table = file.read(columns=chosen if left else None, use_threads=False).select(chosen)
        paths = [file.schema.column(i).path for i in range(len(file.schema)) if _is_int96(file.schema.column(i))]
        for name in chosen:
            if any(path == name or path.startswith(f"{name}.") for path in paths):  # in it, if it is a nested one
                table = table.set_column(table.schema.get_field_index(name), name, _int96(data, table[name], name))
    except MemoryError:  # pyarrow's is an ArrowException too
        raise
    except (pa.ArrowException, OSError, ValueError, BatchError) as error:  # ValueError: a name that is not UTF-8
        found = what_it_is(data)
        says = (
            f"the file is {found[0]}, not parquet"
            if found and found[0] != "parquet"
            else f"not a readable parquet file: {error}"
        )
        raise Malformed(says) from error
    former = [name for name in chosen if any(path == name or path.startswith(f"{name}.") for path in paths)]
    rebased.check(table, file.metadata.metadata or {}, "parquet", former)
    return table, names


def _is_int96(column: pq.ColumnSchema) -> bool:
    return str(column.physical_type) == "INT96"


def _int96(data: bytes, nanoseconds: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Timestamps of the former kind, whole: pyarrow wraps those beyond 1677 to 2262, as nanoseconds of 64 bits do. Also
    those in lists, structs and maps."""
    file = pq.ParquetFile(pa.BufferReader(data), coerce_int96_timestamp_unit="us")
    names = file.schema_arrow.names
    chosen = None if any("." in one for one in names) else [name]  # see _read
    microseconds = file.read(columns=chosen, use_threads=False).column(name)
    fine, coarse = _moments(nanoseconds), _moments(microseconds)
    if not any(_finer(ns, us) for ns, us in zip(fine, coarse, strict=True)):
        return microseconds
    if all(pc.all(pc.less(pc.abs(us.cast(pa.int64())), _MAX_US)).as_py() is not False for us in coarse):
        return nanoseconds  # none has wrapped
    message = "timestamps (int96) that neither microseconds nor nanoseconds of 64 bits hold; correct the file"
    raise Malformed(f"{message}, or leave the column out: {listed('read.ignore', name)}", column=name)


def _finer(nanoseconds: pa.Array, microseconds: pa.Array) -> bool:
    """Whether any is more than its microseconds; both wrap in the same way."""
    if nanoseconds.type == microseconds.type:
        return False  # of the newer kind
    whole = pc.multiply(microseconds.cast(pa.int64()), _NS_PER_US)
    return pc.any(pc.not_equal(nanoseconds.cast(pa.int64()), whole)).as_py() is True


def _moments(column: pa.ChunkedArray | pa.Array) -> list[pa.Array]:
    """The timestamps in a column, however deep; of the same rows and types in the same order."""
    if isinstance(column, pa.ChunkedArray):
        return _moments(column.combine_chunks()) if column.num_chunks else []
    types = pa.types
    if types.is_timestamp(column.type):
        return [column]
    if types.is_map(column.type):
        return [*_moments(column.keys), *_moments(column.items)]
    if types.is_list(column.type) or types.is_large_list(column.type) or types.is_fixed_size_list(column.type):
        return _moments(column.flatten())
    return [one for part in column.flatten() for one in _moments(part)] if types.is_struct(column.type) else []
