"""The source's copy of its ledger: which files are planned. The truth is in the store; this can be rebuilt any time.

It is stamped with ``seq``, the newest record it reflects. Broker messages can be lost, so a Planned names the record
before it: when that one is unknown here the whole ledger is read again, from pages that reflect at least it.
"""

from __future__ import annotations

import struct

from odibi_actors.messages import LedgerPage, LedgerQuery, Planned
from odibi_actors.model import Position
from odibi_actors.sources.file_position import FileTimes
from odibi_actors.streaming.effects import Found

Stamp = bytes
"""The size and the detail of a file's position (mtime, inode, ctime), 8 bytes each: by these a planned file is known.
There may be millions: a tuple of four numbers takes three times as much."""

_SIZE = struct.Struct("<Q")
_CTIME = 24
_64 = (1 << 64) - 1

RETRY = 2.0
"""Seconds until an unanswered query is asked again."""

BEHIND = 0.1
"""Seconds until it is asked again when the store had not yet written what the source was told already."""


class Ledger:
    """The planned files of one source. ``loaded``: complete and up to ``seq``; nothing may be offered before.
    ``through``: see ``LedgerQuery``."""

    def __init__(self, pipeline: str, source: str, lane: str, through: int = -1) -> None:
        self.pipeline, self.source, self.lane, self.through = pipeline, source, lane, through
        self.index: dict[str, Stamp] = {}
        self.seq = 0
        self.loaded = False
        self.next_query: float | None = None
        self._told = 0  # newest record the broker told of in this epoch
        self._needed = 0  # a page must reflect this record
        self._reading: dict[str, Stamp] = {}
        self._page_seq = -1  # of the oldest page read so far; -1 before the first
        self._cursor = ""
        self._during: list[Planned] = []

    def restart(self, start_seq: int, now: float) -> None:
        """A new epoch: what older ones told beyond ``start_seq`` did not happen."""
        self._told = self.seq = 0
        self._during = []
        self.reread(start_seq, now)

    def none(self, start_seq: int) -> None:
        """A source that consumes nothing has no ledger; only the order of records matters."""
        self.loaded, self.seq, self.next_query = True, max(self.seq, start_seq), None

    def reread(self, needed: int, now: float) -> None:
        """Read the whole ledger again; pages must reflect ``needed`` and all that was told so far."""
        self.loaded = False
        self._needed = max(needed, self._told)
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._reading, self._page_seq, self._cursor = {}, -1, ""
        self.next_query = now

    def query(self, now: float) -> LedgerQuery | None:
        """The query to send now, if one is due."""
        if self.next_query is None or now < self.next_query:
            return None
        self.next_query = now + RETRY
        return LedgerQuery(
            pipeline=self.pipeline, source=self.source, lane=self.lane, cursor=self._cursor, through=self.through
        )

    def page(self, page: LedgerPage, now: float) -> list[str] | None:
        """Take a page. After the last one: the identities that are planned no longer, else None."""
        wanted = (page.asked, page.lane, page.through) == (self._cursor, self.lane, self.through)
        if self.loaded or not wanted:
            return None
        if page.seq < self._needed:
            self.next_query = now + BEHIND
            return None
        self._page_seq = page.seq if self._page_seq < 0 else min(self._page_seq, page.seq)
        for position in page.positions:
            self._reading[position.identity] = stamp(position)
        if page.cursor:
            self._cursor, self.next_query = page.cursor, now
            return None
        return self._complete(now)

    def _complete(self, now: float) -> list[str] | None:
        """All pages are read: add what was told meanwhile, unless that shows a gap too."""
        former, self.index, self.seq = self.index, self._reading, self._page_seq
        self._reading, self.next_query, self.loaded = {}, None, True
        during, self._during = self._during, []
        for message in sorted(during, key=lambda m: m.seq):
            if message.seq > self.seq:
                self.planned(message, now)
        return [identity for identity in former if identity not in self.index]

    def planned(self, message: Planned, now: float) -> bool:
        """These positions are planned by record ``message.seq``. False for a late repetition: the ledger reflects that
        record already, and what it planned may have been released since."""
        if self.loaded and message.seq <= self.seq:
            return False
        for position in message.positions:
            self.index[position.identity] = stamp(position)
        self._told = max(self._told, message.seq)
        if not self.loaded:
            self._during.append(message)
        elif message.previous > self.seq:
            self._during.append(message)
            self.reread(message.previous, now)
        else:
            self.seq = message.seq
        return True

    def released(self, seq: int, now: float) -> None:
        """Record ``seq`` released positions, unless that is known already."""
        if not self.loaded:
            self._during = [m for m in self._during if m.seq > seq]
            if seq > self._needed:
                self._needed = seq
                self._begin(now)
        elif seq > self.seq:
            self.reread(seq, now)
        self._told = max(self._told, seq)


def stamp(file: Position | Found) -> Stamp:
    """The stamp of a file, planned or found."""
    detail = file.detail if isinstance(file, Position) else FileTimes(file.mtime_ns, file.inode, file.ctime_ns).packed()
    return _SIZE.pack(file.size & _64) + detail


def size_of(stamp: Stamp) -> int:
    """Bytes of the file."""
    return int.from_bytes(stamp[:8], "little")


def same_but_ctime(one: Stamp, other: Stamp) -> bool:
    """Whether nothing else tells them apart."""
    return one[:_CTIME] == other[:_CTIME]


def same_stamp(one: Stamp, other: Stamp) -> bool:
    """Whether the file is as it was, as far as the ctime of both is known."""
    return one == other or (same_but_ctime(one, other) and (not any(one[_CTIME:]) or not any(other[_CTIME:])))
