"""How far a growing file was read, and by what it is known again. Pure.

A place is bytes: first the generation and the offset, by which places are in order; then what tells that the file is
still the one that was read up to there. All of it is the store's place of the partition, so that a cancel or a rewind
brings back the fingerprint of what precedes with the offset.

The fingerprint has two halves. The **beginning** and the **rest**, the bytes behind the last whole block of 1 MiB, are
compared whenever a file is read on: a look costs the same however long the file is. The **chain** is over all blocks
before the rest, and is compared where another inode says that somebody has written the file again.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import xxhash

BLOCK = 1 << 20
"""Bytes of a block of the chain."""

BEGINNING = 4096
"""Bytes of the beginning that is compared each time."""

NOTHING = bytes(16)

_PLACE = struct.Struct(">IQQQ16s16s16s")


class Mark(NamedTuple):
    """Read up to before ``offset`` of the content of this ``generation`` (0 for the first, one more for each that
    replaced it), ``line`` line ends before it, in the file with this ``inode``. ``beginning``, ``chain`` and ``rest``:
    the fingerprint of what precedes."""

    generation: int = 0
    offset: int = 0
    line: int = 0
    inode: int = 0
    beginning: bytes = NOTHING
    chain: bytes = NOTHING
    rest: bytes = NOTHING

    def packed(self) -> bytes:
        """The place, 76 bytes."""
        return _PLACE.pack(*self)

    @property
    def whole(self) -> int:
        """The blocks of the chain; behind them is the rest, which is empty at offset 0 only."""
        return max(0, self.offset - 1) // BLOCK


def mark(place: bytes) -> Mark:
    """What a place says. Raises ValueError where it is that of another kind of source."""
    if len(place) != _PLACE.size:
        raise ValueError(f"a place of {len(place)} bytes is not that of a growing file")
    return Mark(*_PLACE.unpack(place))


def link(chain: bytes, block: bytes) -> bytes:
    """The chain with one more block."""
    return bytes(xxhash.xxh3_128_digest(chain + xxhash.xxh3_128_digest(block)))


def digest(data: bytes) -> bytes:
    """Of the beginning, or the rest."""
    return bytes(xxhash.xxh3_128_digest(data)) if data else NOTHING
