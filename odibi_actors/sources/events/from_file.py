"""A file whose rows are pushed, read as a source reads files."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from odibi_actors.batches.ipc import encode_schema
from odibi_actors.config.model import ConnectionSpec, ReadSpec
from odibi_actors.errors import ConfigError
from odibi_actors.kinds.registry import format_of, formats
from odibi_actors.model import Position, PositionRead
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.read import read
from odibi_actors.nodes.schemas import declared_types


class _OneFile:
    """See ``nodes.read.Loader``."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.read: dict[str, PositionRead] = {}
        self.touched: list[str] = []

    def load(self, position: Position) -> bytes:
        """Its bytes."""
        self.read[position.identity] = PositionRead(bytes(16), b"")
        return self._data

    def parsed(self, position: Position, rows: int) -> None:
        """Nobody asks for their number."""

    def line(self, position: Position, line: int) -> int:
        """As it is."""
        return line


def format_named(name: str, file: str) -> str:
    """That format, or the one of the file's suffix. Raises ConfigError."""
    if name in formats():
        return name
    found = next((one for one in formats() if file.lower().endswith(tuple(format_of(one).suffixes))), "")
    if name or not found:
        problem = f"no format {name!r} is installed here" if name else f"{file}: no format has this suffix"
        raise ConfigError(f"{problem}; say --format, one of: {', '.join(formats())}")
    return found


def table_of(data: bytes, name: str, format_: str, taken: dict[str, Any]) -> pa.Table:
    """The rows of a file, with the types of what a source takes (``EventVerbs.event_schema``). Raises ConfigError."""
    connection = ConnectionSpec("file", "local", "/")
    spec = ReadSpec(connection, format_, "file_watch", schema=taken["schema"], optional=taken["optional"])
    pinned = encode_schema(pa.schema(list(declared_types(spec.schema).items())))
    try:
        return read(spec, [Position(name)], pinned, _OneFile(data)).table
    except Failed as error:
        raise ConfigError(error.failure.message) from error
