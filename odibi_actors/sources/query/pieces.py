"""Positions of tables: what their detail says. Pure."""

from __future__ import annotations

import msgspec

from odibi_actors.model import Position, Range
from odibi_actors.sources.query.cutting import Cut
from odibi_actors.sources.query.marks import Mark, mark
from odibi_actors.streaming.effects import Piece


class Detail(msgspec.Struct, frozen=True, array_like=True):
    """The rows of ``what`` between two places; ``initial``: where reading began, "" if not said. ``part``: of these
    only the rows that a backfill reads (see ``statements.ends_of``)."""

    what: str
    lower: bytes
    upper: bytes
    initial: str = ""
    part: str = "*"


_decoder = msgspec.msgpack.Decoder(Detail)


class Read(msgspec.Struct, frozen=True):
    """What a position reads, taken apart."""

    what: str
    low: Mark
    high: Mark
    initial: str
    part: str


def detail_of(position: Position) -> Read:
    """What a position says. Raises ValueError where it is that of another kind of source."""
    try:
        found = _decoder.decode(position.detail)
        low, high = mark(found.lower), mark(found.upper)
        if found.lower >= found.upper:
            raise ValueError("it reads nothing")
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError(f"the detail of {position.identity!r} is not that of rows of a table: {error}") from None
    return Read(found.what, low, high, found.initial, found.part)


def piece(what: str, cut: Cut, lower: bytes, upper: bytes, initial: str, part: str) -> Piece:
    """What was cut, as it is offered."""
    detail = msgspec.msgpack.encode(Detail(what, lower, upper, initial, part))
    position = Position(name(what, cut.low, cut.high), rows=cut.rows, detail=detail)
    return Piece(Range(what, lower, upper), position)


def again(position: Position, rows: int) -> Piece:
    """A planned position as it is now."""
    found = _decoder.decode(position.detail)
    return Piece(Range(found.what, found.lower, found.upper), msgspec.structs.replace(position, rows=rows))


def name(what: str, low: Mark, high: Mark) -> str:
    """The identity: ``orders:1000..2000``; where more rows may come with a watermark, with those that are known there:
    ``orders:2025-01-03+2..2025-01-03+5``."""
    return f"{what}:{low.shown()}..{high.shown()}"
