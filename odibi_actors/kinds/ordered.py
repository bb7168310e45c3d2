"""The least that a source which is read in order has to say; the rest of ``kinds.source.Source`` follows from it.

A kind is a class with this one as its base. What it reads lies in partitions, each in an order of its own, of which a
**place** is a point: bytes, whose order is that of what is read. Names, parameters and results of the methods below are
settled: they change with a new major version only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from odibi_actors.config.model import Consumption, ReadSpec
from odibi_actors.kinds.connection import Access
from odibi_actors.runtime.visible import named

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.kinds.source import Finder, ReadResult
    from odibi_actors.messages import Message, SourceSpec
    from odibi_actors.model import Position
    from odibi_actors.streaming.effects import Ahead, Ask, Begin, Part, Piece


class Slice(NamedTuple):
    """What is read at once, never cut: from where the one before ends up to ``upper``. ``size`` in bytes and ``rows``
    as far as they are known, else -1. ``digest``: of what it holds, if something else might come to stand there: 32 hex
    digits (xxh3-128), "" if that cannot be."""

    upper: bytes
    size: int = -1
    rows: int = -1
    digest: str = ""


class Detail(msgspec.Struct, frozen=True, array_like=True):
    """What a position reads."""

    partition: str
    lower: bytes
    upper: bytes


_decoder = msgspec.msgpack.Decoder(Detail)


class OrderedSource:
    """``name``: as ``mode:`` says it; ``about``: in a few words. ``keys``: keys of ``read`` that it takes besides those
    of all. The methods may raise OSError: that is told, and tried again."""

    name = ""
    about = ""
    keys: tuple[str, ...] = ()
    format = "arrow"
    declared = False
    consumption: Consumption = "cursor"

    # --- what a kind says -----------------------------------------------------------------------------------------

    def partitions(self, read: ReadSpec, access: Access) -> list[str]:
        """Those that are there."""
        raise NotImplementedError

    def behind(self, read: ReadSpec, partition: str, place: bytes, access: Access) -> Iterator[Slice]:
        """What is there of it behind a place (b"": from its beginning), slice by slice, each as it will always be."""
        raise NotImplementedError

    def rows(self, read: ReadSpec, partition: str, lower: bytes, upper: bytes, access: Access) -> pa.Table:
        """The rows between two places, in a worker."""
        raise NotImplementedError

    def check(self, _read: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        """What is wrong with its section: (key, problem, what to write)."""
        return iter(())

    # --- what follows ---------------------------------------------------------------------------------------------

    def finder(self, spec: SourceSpec, read: ReadSpec, incarnation: str, first: int) -> Finder:
        """The one of all sources that are read in order."""
        from odibi_actors.streaming.ordered import Ordered

        return Ordered(spec, read, incarnation, first)

    def probe(self, ask: Ask) -> Iterator[Message | None]:
        """Look at what is behind places, or at planned positions."""
        from odibi_actors.streaming.effects import Again, Ahead, AsNow, Begin, Part, Piece, Seen

        match ask:
            case Ahead():
                problems, parts, begins = list[str](), list[Part](), list(ask.places)
                try:
                    known = {one.partition for one in begins}
                    there = self.partitions(ask.read, ask.access) if ask.more else []
                    begins += [Begin(name, b"") for name in there if name not in known]
                except OSError as error:
                    problems.append(f"{ask.read.connection.path}: {error}")
                for begin in begins:
                    yield None
                    parts.append(self._part(ask, begin, ask.credit - sum(len(one.pieces) for one in parts)))
                yield Seen(ask.source, ask.number, parts, problems=problems)
            case Again():
                found, changed, gone = list[Piece](), list[str](), list[tuple[str, str]]()
                for position in ask.positions:
                    yield None
                    now = self._now(ask.read, position, ask.access)
                    if isinstance(now, str):
                        gone.append((position.identity, now))
                        continue
                    found.append(now)
                    changed += [position.identity] if now.position.digest != position.digest else []
                yield AsNow(ask.source, ask.number, found, changed, gone)
            case _:
                raise TypeError(f"mode {self.name} is not asked for {type(ask).__name__}")

    def load(self, spec: ReadSpec, positions: list[Position], pinned: bytes, access: Access) -> ReadResult:
        """In a worker: the rows of planned positions, in their order, as one table. Raises Failed and OSError."""
        from odibi_actors.kinds.ordered_reader import Tables
        from odibi_actors.nodes.read import read

        return read(spec, positions, pinned, Tables(self, spec, access))

    def _part(self, ask: Ahead, begin: Begin, credit: int) -> Part:
        from odibi_actors.streaming.effects import Part

        pieces: list[Piece] = []
        lower, end, more = begin.place, begin.place, False
        try:
            for one in self.behind(ask.read, begin.partition, begin.place, ask.access):
                end = max(end, one.upper)
                if begin.until and one.upper > begin.until:
                    break
                more = more or len(pieces) >= credit
                if not more:
                    pieces.append(self.piece(begin.partition, lower, one))
                    lower = one.upper
        except OSError as error:
            return Part(
                begin.partition, pieces, more, max(end, begin.until), problem=f"{named(begin.partition)}: {error}"
            )
        return Part(begin.partition, pieces, more, end)

    def piece(self, partition: str, lower: bytes, one: Slice) -> Piece:
        """A slice as it is offered."""
        from odibi_actors.model import Position, Range
        from odibi_actors.streaming.effects import Piece

        detail = msgspec.msgpack.encode(Detail(partition, lower, one.upper))
        identity = f"{partition}:{lower.hex() or '0'}-{one.upper.hex()}"
        position = Position(identity, one.size, one.rows, digest=one.digest, detail=detail)
        return Piece(Range(partition, lower, one.upper), position)

    @staticmethod
    def detail(position: Position) -> Detail:
        """What a position reads. Raises ValueError where it is that of another kind of source."""
        try:
            return _decoder.decode(position.detail)
        except msgspec.DecodeError as error:
            raise ValueError(f"the detail of {position.identity!r} is of another kind of source: {error}") from None

    def _now(self, read: ReadSpec, position: Position, access: Access) -> Piece | str:
        """A planned position as it is now, or why it cannot be read."""
        try:
            at = self.detail(position)
            first = next(self.behind(read, at.partition, at.lower, access), None)
        except (ValueError, OSError) as error:
            return str(error)
        if first is None or first.upper != at.upper:
            return "it is not there any more"
        return self.piece(at.partition, at.lower, first)
