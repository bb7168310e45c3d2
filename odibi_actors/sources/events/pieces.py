"""Places in a log of events, and positions that read it. Pure."""

from __future__ import annotations

import struct
from typing import NamedTuple

import msgspec
import xxhash

from odibi_actors.model import Position, Range
from odibi_actors.sources.events.log import Event
from odibi_actors.streaming.effects import Piece

_PLACE = struct.Struct(">Q16s")


class Mark(NamedTuple):
    """Read up to and with event ``number`` (0: none) of the log with this ``id``."""

    number: int = 0
    id: bytes = bytes(16)

    def packed(self) -> bytes:
        """The place, 24 bytes, in the order of the events."""
        return _PLACE.pack(*self)


def mark(place: bytes) -> Mark:
    """What a place says. Raises ValueError where it is that of another kind of source."""
    if len(place) != _PLACE.size:
        raise ValueError(f"a place of {len(place)} bytes is not that of a log of events")
    return Mark(*_PLACE.unpack(place))


class Detail(msgspec.Struct, frozen=True, array_like=True):
    """The events from ``first`` up to and with ``last`` of the log with this ``id``. ``lower``, ``upper``: the places
    between which they are."""

    partition: str
    id: bytes
    first: int
    last: int
    lower: bytes
    upper: bytes


_decoder = msgspec.msgpack.Decoder(Detail)


def detail_of(position: Position) -> Detail:
    """What a position says. Raises ValueError where it is that of another kind of source."""
    try:
        found = _decoder.decode(position.detail)
        if not 0 < found.first <= found.last:
            raise ValueError("it reads nothing")
        mark(found.lower), mark(found.upper)
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError(f"the detail of {position.identity!r} is not that of events: {error}") from None
    return found


def together(digests: list[bytes]) -> str:
    """The digest of events by theirs, 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(b"".join(digests))


def piece(partition: str, id_: bytes, events: list[Event], lower: bytes, upper: bytes) -> Piece:
    """Events, one behind the other, as they are offered."""
    detail = Detail(partition, id_, events[0].number, events[-1].number, lower, upper)
    position = Position(
        f"{partition}:{detail.first}-{detail.last}",
        size=sum(one.size for one in events),
        rows=sum(one.rows for one in events) if all(one.rows >= 0 for one in events) else -1,
        digest=together([one.digest for one in events]),
        detail=msgspec.msgpack.encode(detail),
    )
    return Piece(Range(partition, lower, upper), position)


def again(position: Position, found: Detail) -> Piece:
    """A planned position as it is now: the log never changes what it has."""
    return Piece(Range(found.partition, found.lower, found.upper), position)
