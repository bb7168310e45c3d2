"""Arrow tables as bytes: the Arrow IPC *file* format (with a footer, so that it can be memory-mapped and read at once).

https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format
"""

from __future__ import annotations

import pyarrow as pa

from odibi_actors.batches.files import HashingWriter
from odibi_actors.errors import BatchError
from odibi_actors.units import plural

INLINE_MAX = 8 * 1024
"""Up to this many bytes a batch travels in the message and is kept in the acknowledgement's row."""
MAX_ROWS = 1_000_000_000
"""Rows of one batch: a few bytes can claim 2^31 rows of nulls, and nothing of ours comes near."""
MAX_BYTES = 4 << 30
"""Bytes of one batch: a worker holds inputs, output and what user code makes of them at the same time."""
SMALL = 1 << 20
"""Below this many bytes the chunks of a table are joined: each costs more in metadata than the copy does."""

_OPTIONS = pa.ipc.IpcWriteOptions()
"""Given, because without them pyarrow asks the environment each time."""


def check_limits(rows: int, size: int) -> None:
    """Raise BatchError when a batch of ``rows`` and ``size`` bytes is larger than the limits."""
    if rows > MAX_ROWS or size > MAX_BYTES:
        raise BatchError(
            f"a batch of {rows} rows, {size} bytes is over the limits ({MAX_ROWS} rows, {MAX_BYTES} bytes); "
            "take less at once: lower batch.max_rows, batch.max_bytes or batch.max_files"
        )


def compact(table: pa.Table) -> pa.Table:
    """The same table, a small one with one chunk per column."""
    return table.combine_chunks() if table.nbytes <= SMALL else table


def write(table: pa.Table, sink: HashingWriter | pa.NativeFile) -> None:
    """Write the whole table. Raises OSError."""
    with pa.ipc.new_file(sink, table.schema, options=_OPTIONS) as writer:
        writer.write_table(table)


def encode(table: pa.Table) -> bytes:
    """The table as one Arrow IPC file."""
    sink = pa.BufferOutputStream()
    write(table, sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def decode(source: bytes | pa.Buffer | pa.NativeFile, rows: int | None = None) -> pa.Table:
    """The table in an Arrow IPC file, sharing its memory. Raises BatchError: damaged, or not of ``rows`` rows."""
    try:
        table = pa.ipc.open_file(source).read_all()
    except MemoryError:  # pyarrow's is an ArrowException too
        raise
    except (pa.ArrowException, OSError) as error:
        raise BatchError(f"not a readable Arrow file: {error}") from error
    if rows is not None and table.num_rows != rows:
        raise BatchError(f"the Arrow file has {plural(table.num_rows, 'row')}, not {rows}")
    return table


def encode_schema(schema: pa.Schema) -> bytes:
    """A schema as pinned in the log."""
    data: bytes = schema.serialize().to_pybytes()
    return data


def decode_schema(data: bytes) -> pa.Schema:
    """The schema pinned in the log. Raises BatchError."""
    try:
        return pa.ipc.read_schema(pa.py_buffer(data))
    except (pa.ArrowException, OSError) as error:
        raise BatchError(f"the pinned schema cannot be read: {error}") from error
