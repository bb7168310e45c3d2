"""Arrow IPC by ``pyarrow.ipc``: the file format, which Feather version 2 is, and the stream format."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from odibi_actors.batches.ipc import check_limits
from odibi_actors.errors import BatchError
from odibi_actors.nodes.formats import Malformed, Parsed
from odibi_actors.nodes.formats.arrow_end import MAGIC, is_one
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.formats.packed import what_it_is
from odibi_actors.nodes.formats.typed import fitted

_FEATHER_1 = b"FEA1"
_STREAM = b"\xff\xff\xff\xff"
"""How a stream begins, since Arrow 0.15 (2019); former ones lack it."""
_EOS = _STREAM + b"\0" * 4
"""How one ends."""


def parse(data: bytes, types: Mapping[str, pa.DataType], wanted: Wanted) -> Parsed:
    """One file as a table with normal types, or ``types`` where given. Raises Malformed."""
    if not data:
        raise Malformed("the file is empty")
    if data.startswith(_FEATHER_1):
        raise Malformed("the file is Feather version 1, which lacks types; write it again as version 2")
    if not data.startswith((MAGIC, _STREAM)):
        found = what_it_is(data)
        raise Malformed(f"the file is {found[0] if found else 'something else'}, not Arrow IPC")
    try:
        table = _read(data)
        check_limits(table.num_rows, table.nbytes)
    except MemoryError:  # pyarrow's is an ArrowException too
        raise
    except Malformed:
        raise
    except (pa.ArrowException, OSError, ValueError, BatchError) as error:
        raise Malformed(f"not a readable Arrow file: {error}") from error
    names = table.column_names
    for place, name in enumerate(names):
        if not name.strip() and not wanted.ignored(""):
            raise Malformed(f'column {place + 1} has no name; give it one, or leave it out: read.ignore: [""]')
    chosen = wanted.chosen(names)
    table = fitted(table.select([names.index(name) for name in chosen]), types)
    return Parsed(table, [name for name in names if name not in chosen])


def _read(data: bytes) -> pa.Table:
    source = pa.BufferReader(data)
    if data.startswith(MAGIC):
        reader = pa.ipc.open_file(source)
        if not is_one(data):
            raise Malformed("it is several Arrow files in one, of which only one would be read: deliver each by itself")
        return reader.read_all()
    table = pa.ipc.open_stream(source).read_all()
    end = source.tell()
    if not data.endswith(_EOS, 0, end):  # pyarrow takes a stream that is cut off between two batches for whole
        raise Malformed("the stream has no end: it is cut off, or still being written")
    if end < len(data):
        message = f"{len(data) - end} bytes follow the end of the stream, which would not be read: deliver "
        raise Malformed(message + "each stream by itself")
    return table
