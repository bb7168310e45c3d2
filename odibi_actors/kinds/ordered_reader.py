"""Reading what a kind on ``ordered.OrderedSource`` has planned, as files are read: with types, and misfits by name."""

from __future__ import annotations

import msgspec
import xxhash

from odibi_actors.batches.ipc import encode
from odibi_actors.config.model import ReadSpec
from odibi_actors.kinds.connection import Access
from odibi_actors.kinds.ordered import OrderedSource
from odibi_actors.model import Position, PositionRead
from odibi_actors.nodes.failures import Failed
from odibi_actors.runtime.visible import named


class Tables:
    """See ``nodes.read.Loader``."""

    def __init__(self, kind: OrderedSource, spec: ReadSpec, access: Access) -> None:
        self._kind, self._spec, self._access = kind, spec, access
        self.read: dict[str, PositionRead] = {}
        self.touched: list[str] = []

    def load(self, position: Position) -> bytes:
        """Its rows as an Arrow file. Raises Failed: it holds something else than was planned."""
        try:
            at = self._kind.detail(position)
        except ValueError as error:
            raise Failed("invalid", str(error), position=position.identity) from error
        if position.digest:
            first = next(self._kind.behind(self._spec, at.partition, at.lower, self._access), None)
            if first is None or (first.upper, first.digest) != (at.upper, position.digest):
                raise Failed(
                    "changed", f"{named(position.identity)} is not what was planned", position=position.identity
                )
        table = self._kind.rows(self._spec, at.partition, at.lower, at.upper, self._access)
        data = encode(table.combine_chunks())
        self.read[position.identity] = PositionRead(xxhash.xxh3_128_digest(data), position.detail)
        return data

    def parsed(self, position: Position, rows: int) -> None:
        """What was loaded has so many rows."""
        self.read[position.identity] = msgspec.structs.replace(self.read[position.identity], rows=rows)

    def line(self, position: Position, line: int) -> int:
        """Rows are not lines, and are as they are."""
        return line
