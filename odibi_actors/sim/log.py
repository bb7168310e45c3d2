"""A partitioned log, the simulator's own kind of source: its partitions grow amid the life, and are read in order.

Each record of it is, for all who look at a life, what a file is elsewhere: delivered, planned once, in an iteration or
a dead letter. A position holds several; ``records`` says which.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from odibi_actors.config.model import BatchSpec, Consumption, ReadSpec
from odibi_actors.messages import Message, SourceSpec
from odibi_actors.model import Position, Range
from odibi_actors.streaming.effects import Again, Ahead, Ask, AsNow, Begin, Part, Piece, Seen
from odibi_actors.streaming.ordered import Ordered
from odibi_actors.streaming.patterns import Pattern

if TYPE_CHECKING:
    import random

    from odibi_actors.kinds.connection import Access
    from odibi_actors.kinds.source import ReadResult
    from odibi_actors.sim.host import Host, SimFile

MODE = "log"

PARTITIONS = ("f0", "f1", "f2")

_PLACE = struct.Struct(">Q")
_DETAIL = struct.Struct(">3sQQ")
_MARK = b"log"
_EVENT = struct.Struct(">Q16s")
_ROWS = b"rows"


class _Rows(msgspec.Struct, frozen=True, array_like=True):
    """Beside the ``detail`` of a position of a table the rows that it reads."""

    partition: str
    rows: list[int]
    detail: bytes


class _Events(msgspec.Struct, frozen=True, array_like=True):
    """What of the detail of a position of events is looked at here."""

    partition: str
    id: bytes
    first: int
    last: int
    lower: bytes
    upper: bytes


def place(number: int) -> bytes:
    """Before which record it is."""
    return _PLACE.pack(number)


def record(partition: str, number: int) -> str:
    """The name of a record."""
    return f"{partition}/{number:04d}"


def within(one: Range) -> list[str] | None:
    """The records that a range reads, of a log, or of events, which are numbered from 1; None: its ends do not say, as
    of a table, or of events from the beginning, of which the first may be deleted by then."""
    if len(one.lower) == _PLACE.size:
        lower, upper = _PLACE.unpack(one.lower)[0], _PLACE.unpack(one.upper)[0]
        return [record(one.partition, number) for number in range(lower, upper)]
    if len(one.lower) == _EVENT.size and one.lower[:1] == b"\0":
        lower, upper = _EVENT.unpack(one.lower)[0], _EVENT.unpack(one.upper)[0]
        return [record(one.partition, number) for number in range(lower + 1, upper + 1)] if lower else None
    return None


def piece(partition: str, lower: int, upper: int, files: list[SimFile]) -> Piece:
    """These records as a position."""
    from odibi_actors.sim.host import digest_of

    digest = digest_of(b"".join(file.digest.encode() for file in files))
    rows, size = sum(len(file.rows) for file in files), sum(file.size for file in files)
    detail = _DETAIL.pack(_MARK, lower, upper)
    position = Position(f"{partition}:{lower}-{upper}", size, rows, 1, digest, detail)
    return Piece(Range(partition, place(lower), place(upper)), position)


def records(position: Position) -> list[str]:
    """The records of a position of a log, the events or rows that it reads; of any other the file that it is."""
    detail = position.detail
    if detail.startswith(_ROWS):
        found = msgspec.msgpack.decode(detail[len(_ROWS) :], type=_Rows)
        return [record(found.partition, row) for row in found.rows]
    if detail.startswith(b"\x96"):  # six fields
        events = msgspec.msgpack.decode(detail, type=_Events)
        return [record(events.partition, number) for number in range(events.first, events.last + 1)]
    if len(detail) != _DETAIL.size or not detail.startswith(_MARK):
        return [position.identity]
    _, lower, upper = _DETAIL.unpack(detail)
    return [record(position.identity.rpartition(":")[0], number) for number in range(lower, upper)]


def telling(position: Position, partition: str, rows: list[int]) -> Position:
    """A position of a table that says itself which rows it reads."""
    return replace(position, detail=_ROWS + msgspec.msgpack.encode(_Rows(partition, rows, position.detail)))


def bare(position: Position) -> Position:
    """As its own kind knows it."""
    if not position.detail.startswith(_ROWS):
        return position
    return replace(position, detail=msgspec.msgpack.decode(position.detail[len(_ROWS) :], type=_Rows).detail)


class Log:
    """The kind: see ``kinds.source.Source``. What its probe does on a host the simulated driver does here."""

    name = MODE
    about = "a log of the simulator"
    format = ""
    consumption: Consumption = "cursor"
    keys: tuple[str, ...] = ()
    declared = False

    def check(self, read: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        """Nobody writes it into a project file."""
        return iter(())

    def finder(self, spec: SourceSpec, read: ReadSpec, incarnation: str, first: int) -> Ordered:
        """The finder of all that is read in order."""
        return Ordered(spec, read, incarnation, first)

    def probe(self, ask: Ask) -> Iterator[Message | None]:
        """See ``answer``."""
        raise TypeError("the simulated driver asks no probe")

    def load(self, spec: ReadSpec, positions: list[Position], pinned: bytes, access: Access) -> ReadResult:
        """See ``work``."""
        raise TypeError("simulated workers read by themselves")


def answer(host: Host, ask: Ask, rng: random.Random) -> Message:
    """What the probe finds."""
    logs = host.logs.get(ask.read.connection.path, {})
    if isinstance(ask, Again):
        return _as_now(ask, logs)
    assert isinstance(ask, Ahead)
    pattern = Pattern(ask.read.pattern)
    asked = {one.partition: one for one in ask.places if pattern.matches(one.partition)}
    if ask.more:
        asked |= {name: Begin(name, b"") for name in logs if name not in asked and pattern.matches(name)}
    parts, credit = [], ask.credit
    for name in sorted(asked):
        parts.append(_part(asked[name], logs.get(name, []), ask.limits, credit, rng))
        credit -= len(parts[-1].pieces)
    return Seen(ask.source, ask.number, parts)


def _part(begin: Begin, files: list[SimFile], limits: BatchSpec, credit: int, rng: random.Random) -> Part:
    """Cut again each time, and so at other records."""
    at = _PLACE.unpack(begin.place)[0] if begin.place else 0
    until = _PLACE.unpack(begin.until)[0] if begin.until else len(files)
    pieces: list[Piece] = []
    while at < until and len(pieces) < credit:
        upper = min(until, at + rng.randint(1, 3))
        pieces.append(piece(begin.partition, at, upper, files[at:upper]))
        at = upper
    return Part(begin.partition, pieces, at < until, place(len(files)), f"read up to record {at}")


def _as_now(ask: Again, logs: dict[str, list[SimFile]]) -> AsNow:
    pieces, changed = [], []
    for position in ask.positions:
        partition = position.identity.rpartition(":")[0]
        _, lower, upper = _DETAIL.unpack(position.detail)
        pieces.append(piece(partition, lower, upper, logs[partition][lower:upper]))
        if pieces[-1].position.digest != position.digest:
            changed.append(position.identity)
    return AsNow(ask.source, ask.number, pieces, changed, [])
