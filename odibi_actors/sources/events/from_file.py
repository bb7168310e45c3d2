"""A file whose rows are pushed, read as a source reads files."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from odibi_actors.config.model import ConnectionSpec, ReadSpec
from odibi_actors.errors import ConfigError
from odibi_actors.kinds.registry import format_of, formats
from odibi_actors.model import Position
from odibi_actors.nodes.failures import Failed
from odibi_actors.sources.events.reader import declared


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
    spec = ReadSpec(connection, format_, "file_watch", **taken)
    try:
        return declared(spec, Position(name), data)
    except Failed as error:
        raise ConfigError(error.failure.message) from error
