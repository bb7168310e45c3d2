"""Reading planned rows of growing files, and being sure that they are the planned ones."""

from __future__ import annotations

import os

import msgspec

from odibi_actors.batches.files import digest_bytes
from odibi_actors.batches.ipc import MAX_BYTES
from odibi_actors.model import Position, PositionRead
from odibi_actors.nodes.failures import Failed
from odibi_actors.runtime.visible import named
from odibi_actors.sources.growing.pieces import Detail, detail_of
from odibi_actors.sources.growing.places import digest

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class Rows:
    """The rows of one iteration as they are read: see ``nodes.positions.Files``, in whose place it stands."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.read: dict[str, PositionRead] = {}
        self.touched: list[str] = []  # nothing but the bytes themselves says whether they are the planned ones
        self._headers: dict[str, int] = {}  # lines of the header that goes before the rows

    def load(self, position: Position) -> bytes:
        """The row that names the columns, then the rows. Raises Failed (``changed``, ``invalid``, ``malformed``) and
        OSError."""
        try:
            found = detail_of(position)
        except ValueError as error:
            raise Failed("invalid", str(error), position=position.identity) from error
        if ".." in found.path.split("/") or found.path.startswith("/") or "\0" in found.path:
            raise Failed("invalid", f"{found.path!r} is not a path below {self.folder}", position=position.identity)
        if position.size + found.header > MAX_BYTES:
            message = f"{named(position.identity)} has {position.size} bytes, over the limit of {MAX_BYTES}"
            raise Failed("malformed", message, position=position.identity)
        try:
            descriptor = os.open(os.path.join(self.folder, found.path), _FLAGS)
        except (FileNotFoundError, NotADirectoryError):
            raise _changed(position, "the file has vanished") from None
        try:
            names, rows = _bytes(descriptor, 0, found.header), _bytes(descriptor, found.begin, found.end)
        finally:
            os.close(descriptor)
        self._check(position, found, names, rows)
        self._headers[position.identity] = names.count(b"\n")
        self.read[position.identity] = PositionRead(bytes.fromhex(position.digest), position.detail)
        return names + rows

    def parsed(self, position: Position, rows: int) -> None:
        """What was loaded has so many rows."""
        self.read[position.identity] = msgspec.structs.replace(self.read[position.identity], rows=rows)

    def line(self, position: Position, line: int) -> int:
        """The line of the file that is this line of what was loaded."""
        header = self._headers[position.identity]
        return line if line <= header else line - header + detail_of(position).line

    def _check(self, position: Position, found: Detail, names: bytes, rows: bytes) -> None:
        if len(rows) < found.end - found.begin:
            raise _changed(position, f"the file was cut short, at byte {found.begin + len(rows)}")
        if digest(names) != found.names:
            raise _changed(position, "the first line of the file is another one")
        if digest_bytes(rows) != position.digest:
            raise _changed(position, "its bytes are others (digest)")


def _bytes(descriptor: int, begin: int, end: int) -> bytes:
    found = bytearray()
    while len(found) < end - begin and (more := os.pread(descriptor, end - begin - len(found), begin + len(found))):
        found += more
    return bytes(found)


def _changed(position: Position, what: str) -> Failed:
    name = named(position.identity)
    return Failed("changed", f"{name} is not what was planned: {what}", position=position.identity)
