"""From blocks of a file to pieces of whole rows that fit into an iteration. Pure: blocks are given."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

import xxhash

from odibi_actors.kinds.format import Lines
from odibi_actors.sources.growing.lines import Scanner
from odibi_actors.sources.growing.places import BEGINNING, BLOCK, Mark, digest, link


class Cut(NamedTuple):
    """Whole rows from ``begin`` up to before ``end``; ``digest`` of its bytes, 32 hex digits."""

    begin: Mark
    end: Mark
    rows: int
    digest: str


class Cutter:
    """Cuts from ``begin`` on. Blocks of the chain are fed in their order, the first of them whole, though it begins
    before that place. ``head``: the beginning of the file, ``BEGINNING`` bytes if it has as many."""

    def __init__(self, begin: Mark, inode: int, head: bytes, lines: Lines, rows: int, size: int) -> None:
        self._begin, self._inode, self._head = begin, inode, head
        self._max_rows, self._max_bytes = rows, size
        self._scanner = Scanner(lines)
        self._chain, self._block = begin.chain, begin.whole
        self._end = begin  # of the last row that is whole
        self._line = begin.line  # line ends up to what was fed
        self._rows = 0
        self._tail = b""  # fed, and behind the last row that is whole
        self._digest = xxhash.xxh3_128()

    @property
    def left(self) -> int:
        """Bytes that were fed behind the last whole row."""
        return len(self._tail)

    @property
    def open_quote(self) -> bool:
        """Whether what is left ends within quotes."""
        return self._scanner.inside

    def feed(self, block: bytes) -> Iterator[Cut]:
        """The pieces that are complete by now: no further row fits into them."""
        base = self._block * BLOCK
        skip = max(0, self._begin.offset - base) if base < self._begin.offset else 0
        data = block[skip:]
        base += skip
        ends = self._scanner.ends(data)
        done = 0  # bytes of data that are in pieces, or in the one that is being made
        place = 0
        while place < len(ends):
            last = min(len(ends), place + self._max_rows - self._rows)
            room = self._begin.offset + self._max_bytes - base
            fit = bisect_right(ends, room, place, last)
            if fit == place and self._rows == 0:
                fit = place + 1  # larger than the limit: taken alone
            if fit > place:
                self._take(block, skip, data, done, ends[fit - 1], fit - place)
                done = ends[fit - 1]
            full = fit < len(ends) or self._rows >= self._max_rows
            place = fit
            if full:
                yield self._cut()
        self._tail += data[done:]
        self._line += data.count(b"\n", done)
        if len(block) == BLOCK:
            self._chain = link(self._chain, block)
            self._block += 1

    def rest(self) -> Cut | None:
        """The last piece, of what there is."""
        return self._cut() if self._rows else None

    def _take(self, block: bytes, skip: int, data: bytes, done: int, end: int, rows: int) -> None:
        self._digest.update(self._tail + data[done:end])
        self._tail = b""
        self._line += data.count(b"\n", done, end)
        self._rows += rows
        offset = self._block * BLOCK + skip + end
        self._end = Mark(
            self._begin.generation,
            offset,
            self._line,
            self._inode,
            digest(self._head[: min(BEGINNING, offset)]),
            self._chain,
            digest(block[: skip + end]),
        )

    def _cut(self) -> Cut:
        made = Cut(self._begin, self._end, self._rows, self._digest.hexdigest())
        self._begin, self._rows, self._digest = self._end, 0, xxhash.xxh3_128()
        return made
