"""Positions of growing files: what their detail says. Pure."""

from __future__ import annotations

import msgspec

from odibi_actors.model import Position, Range
from odibi_actors.sources.growing.cutting import Cut
from odibi_actors.sources.growing.places import mark
from odibi_actors.streaming.effects import Piece


class Detail(msgspec.Struct, frozen=True, array_like=True):
    """The rows from ``begin`` up to before ``end`` of the file at ``path`` (relative to the connection's folder), with
    ``line`` line ends before them. ``header``: bytes of the row that names the columns, which are read with them, and
    ``names``, their digest. ``lower``, ``upper``: the places between which they are read."""

    path: str
    begin: int
    end: int
    line: int
    header: int
    names: bytes
    lower: bytes
    upper: bytes


_decoder = msgspec.msgpack.Decoder(Detail)


def detail_of(position: Position) -> Detail:
    """What a position says. Raises ValueError where it is that of another kind of source."""
    try:
        found = _decoder.decode(position.detail)
        if not 0 <= found.header <= found.begin < found.end:
            raise ValueError("it reads nothing")
        mark(found.lower), mark(found.upper)
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError(f"the detail of {position.identity!r} is not that of rows of a file: {error}") from None
    return found


def piece(path: str, cut: Cut, lower: bytes, upper: bytes, header: int, names: bytes) -> Piece:
    """What was cut, as it is offered; ``lower``: the place where it begins, which may be before its first row."""
    begin = cut.begin
    detail = Detail(path, begin.offset, cut.end.offset, begin.line, header, names, lower, upper)
    position = Position(
        name(path, begin.generation, begin.offset, cut.end.offset),
        size=cut.end.offset - begin.offset,
        rows=cut.rows,
        digest=cut.digest,
        detail=msgspec.msgpack.encode(detail),
    )
    return Piece(Range(path, lower, upper), position)


def again(position: Position, found: Detail, digest: str) -> Piece:
    """A planned position as it is now."""
    now_is = msgspec.structs.replace(position, digest=digest)
    return Piece(Range(found.path, found.lower, found.upper), now_is)


def name(path: str, generation: int, begin: int, end: int) -> str:
    """The identity: ``orders.csv:120-480``; of a content that replaced another ``orders.csv#2:0-90``."""
    return f"{path}{f'#{generation + 1}' if generation else ''}:{begin}-{end}"
