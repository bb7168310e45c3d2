"""How far a table was read. Pure.

A mark is the place that the store keeps, so that a cancel or a rewind brings it back as a whole. It is **open** where
more rows may come with the watermarks that were read last: it has the digests of all rows that were read from ``floor``
on (``lag`` before the watermark; without one the watermark itself), so that each of them is known again, and a new one
is new. Any other is **closed**: all rows up to its watermark were read, and what comes there later is late.

Marks are bytes in the order of reading: first the watermark, then how many rows are known at it, a closed one last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import xxhash

from odibi_actors.sources.query.watermarks import Sort, key

DIGEST = 12
"""Bytes of the digest of a row. Rows are compared with a few thousand others at most, those of one mark."""

MAX_KNOWN = 2000
"""Rows that an open mark knows: it has to fit into a place, and two of them into a position."""

_COUNT = 4
_CLOSED = (1 << 32) - 1
_BEGINNING = b"\0"


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    sort: Sort
    text: str
    floor: str
    known: bytes


_decoder = msgspec.msgpack.Decoder(_Packed)


class Mark(NamedTuple):
    """Read up to ``text``, a watermark of this ``sort``. ``known``: the sorted digests of the rows from ``floor`` on,
    of one that is open; None: it is closed. ``text`` None: nothing was read."""

    sort: Sort = "number"
    text: str | None = None
    floor: str = ""
    known: tuple[bytes, ...] | None = None

    @property
    def key(self) -> bytes:
        """What its watermark is in the order of reading."""
        return _BEGINNING if self.text is None else key(self.sort, self.text)

    def packed(self) -> bytes:
        """The place."""
        if self.text is None:
            return _BEGINNING
        count = _CLOSED if self.known is None else len(self.known)
        rest = _Packed(self.sort, self.text, self.floor, b"".join(self.known or ()))
        return self.key + count.to_bytes(_COUNT, "big") + msgspec.msgpack.encode(rest)

    def shown(self) -> str:
        """As the name of a piece has it: ``2025-01-03``, with the rows that are known there if it is open."""
        if self.text is None:
            return ""
        return self.text if self.known is None else f"{self.text}+{len(self.known)}"


BEGINNING = Mark()


def mark(place: bytes) -> Mark:
    """What a place says. Raises ValueError where it is that of another kind of source."""
    if place == _BEGINNING:
        return BEGINNING
    try:
        number = place[:1] == b"\x01"
        end = _end_of_number(place) if number else place.index(b"\0\x01", 1) + 2
        count = int.from_bytes(place[end : end + _COUNT], "big")
        found = _decoder.decode(place[end + _COUNT :])
        known = None if count == _CLOSED else _apart(found.known)
        made = Mark(found.sort, found.text, found.floor, known)
        if made.packed() != place:
            raise ValueError("it is not what its parts make")
    except (ValueError, IndexError, msgspec.DecodeError) as error:
        raise ValueError(f"a place of {len(place)} bytes is not that of a table: {error}") from None
    return made


def _end_of_number(place: bytes) -> int:
    sign = place[1]
    if sign == 0x80:
        return 2
    return place.index(b"\0" if sign == 0xC0 else b"\xff", 6) + 1


def _apart(data: bytes) -> tuple[bytes, ...]:
    return tuple(data[at : at + DIGEST] for at in range(0, len(data), DIGEST))


def digest_of(row: str | bytes) -> bytes:
    """The digest of what a database says of a row; one that it has made itself is taken as it is."""
    if isinstance(row, bytes):
        return row
    return bytes(xxhash.xxh3_128_digest(row.encode("utf-8", "surrogatepass"))[:DIGEST])


def beyond(rows: Iterable[bytes], known: Iterable[bytes]) -> Counter[bytes]:
    """The rows that are not among those that are known. Two that are the same are two."""
    left = Counter(rows)
    left.subtract(Counter(known))
    return +left


def merged(known: Iterable[bytes], new: Counter[bytes]) -> tuple[bytes, ...]:
    """What is known with the new ones."""
    return tuple(sorted((Counter(known) + new).elements()))
