"""Reading events, when they are pushed and when they are planned: by the same code, so that what was acknowledged is
what will be read."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pyarrow as pa

from odibi_actors.batches.ipc import encode, encode_schema
from odibi_actors.config.model import ReadSpec
from odibi_actors.kinds.source import ReadResult
from odibi_actors.model import Position, PositionRead
from odibi_actors.nodes import read
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.schemas import declared_types
from odibi_actors.runtime.visible import named
from odibi_actors.sources.events import log, pieces
from odibi_actors.units import size

PUSHED = Position("the push")
MAX_UNPACKED = 64 << 20
"""Bytes of a push as a table: what is packed has room for very many."""


class Tables:
    """The bytes of events, each as one position: see ``nodes.read.Loader``."""

    def __init__(self, found: dict[str, bytes]) -> None:
        self._found = found
        self.read: dict[str, PositionRead] = {}
        self.touched: list[str] = []

    def load(self, position: Position) -> bytes:
        """Of one event."""
        data = self._found.pop(position.identity)
        self.read[position.identity] = PositionRead(log.digest(data), b"")
        return data

    def parsed(self, position: Position, rows: int) -> None:
        """What was loaded has so many rows."""
        self.read[position.identity] = msgspec.structs.replace(self.read[position.identity], rows=rows)

    def line(self, position: Position, line: int) -> int:
        """Rows are not lines, and are as they are."""
        return line


def declared(spec: ReadSpec, position: Position, data: bytes) -> pa.Table:
    """These bytes as a table of the columns that the source's schema declares. Raises Failed."""
    pinned = encode_schema(pa.schema(list(declared_types(spec.schema).items())))
    return read.read(spec, [position], pinned, Tables({position.identity: data})).table


def conformed(spec: ReadSpec, data: bytes) -> tuple[bytes, int] | str:
    """What is pushed with the types of the source's schema, as the bytes of an Arrow file, and its rows; or why a
    worker could not read it."""
    try:
        table = declared(spec, PUSHED, data)
    except Failed as error:
        return error.failure.message
    if table.nbytes > MAX_UNPACKED:
        return f"what is pushed unpacks to {size(table.nbytes)}, and at most {size(MAX_UNPACKED)} go at once; push less"
    return encode(table.combine_chunks()), table.num_rows


def load(spec: ReadSpec, folder: Path, positions: list[Position], pinned: bytes) -> ReadResult:
    """In a worker: planned events as one table. Raises Failed and OSError."""
    found: dict[str, bytes] = {}
    of_whom: dict[str, Position] = {}
    for position in positions:
        for number, data in _events(folder, position):
            name = f"{pieces.detail_of(position).partition}:{number}{_file_of(spec)}"
            found[name], of_whom[name] = data, position
    tables = Tables(found)
    try:
        result = read.read(spec, [Position(name) for name in of_whom], pinned, tables)
    except Failed as error:
        planned = of_whom.get(error.failure.position)
        if planned is not None:
            error.failure = msgspec.structs.replace(error.failure, position=planned.identity, others=[], more=0)
        raise
    rows = dict.fromkeys([position.identity for position in positions], 0)
    for name, position in of_whom.items():
        rows[position.identity] += tables.read[name].rows
    told = [PositionRead(bytes.fromhex(one.digest), one.detail, rows[one.identity]) for one in positions]
    return result._replace(files=told)


def _file_of(spec: ReadSpec) -> str:
    """The file that was polled: its name says how it is packed, and is known to people."""
    return f" {spec.polled.path}" if spec.polled is not None and spec.polled.path else ""


def _events(folder: Path, position: Position) -> list[tuple[int, bytes]]:
    """Numbers and bytes, which are the planned ones."""
    name = named(position.identity)
    try:
        detail = pieces.detail_of(position)
    except ValueError as error:
        raise Failed("invalid", str(error), position=position.identity) from error
    try:
        with log.reading(folder) as opened:
            if opened is None or opened.id != detail.id:
                what = "the log of events is gone" if opened is None else "it is in another log of events"
                raise Failed("changed", f"{name} is not what was planned: {what}", position=position.identity)
            found = opened.data(detail.first, detail.last)
    except (log.Damaged, sqlite3.Error) as error:
        raise OSError(f"{folder / log.NAME}: {error}") from error
    if pieces.together([log.digest(data) for _, data in found]) != position.digest:
        message = f"{name} is not what was planned: its bytes are others (digest)"
        raise Failed("changed", message, position=position.identity)
    return found
