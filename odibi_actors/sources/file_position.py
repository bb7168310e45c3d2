"""Positions of files. Pure: what the detail of one says is known here alone, and carried unread by everybody else.

``identity`` is the file's path relative to the connection's folder, with ``/``; ``generation`` grows with each replay;
``digest`` (xxh3-128 of the bytes) is known once the file was read, and always where it is read whole by every
iteration. A planned file never changes: one that no longer matches is an error. Another ctime alone is no such error:
other permissions or another link change it too. Such a file is read as it is, and that is told.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from odibi_actors.model import Position

_DETAIL = struct.Struct("<3Q")
_64 = (1 << 64) - 1


class FileTimes(NamedTuple):
    """By these, and by its size, a planned file is known: times in nanoseconds since the Unix epoch, as ``stat`` gives
    them; ``ctime_ns`` 0: not known."""

    mtime_ns: int
    inode: int
    ctime_ns: int = 0

    def packed(self) -> bytes:
        """The ``detail`` of the position, 24 bytes."""
        return _DETAIL.pack(*(number & _64 for number in self))


def file_position(
    identity: str,
    size: int,
    mtime_ns: int,
    inode: int,
    generation: int = 1,
    digest: str = "",
    ctime_ns: int = 0,
) -> Position:
    """The position of one generation of one file of ``size`` bytes."""
    detail = FileTimes(mtime_ns, inode, ctime_ns).packed()
    return Position(identity, size, generation=generation, digest=digest, detail=detail)


def file_times(detail: bytes) -> FileTimes:
    """What the detail of a file's position says. Raises ValueError where it is that of another kind of position."""
    if len(detail) != _DETAIL.size:
        raise ValueError(f"a detail of {len(detail)} bytes is not that of a file")
    mtime_ns, inode, ctime_ns = _DETAIL.unpack(detail)
    return FileTimes(_signed(mtime_ns), inode, _signed(ctime_ns))


def _signed(number: int) -> int:
    """A time as it was packed: files may be older than 1970."""
    return number - (1 << 64) if number >> 63 else number
