"""A source's copy of what the store has of it. The truth is in the store; this can be rebuilt any time.

It is stamped with ``seq``, the newest record it reflects. Broker messages can be lost, so a Planned names the record
before it: when that one is unknown here the whole is read again, from pages that reflect at least it.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from odibi_actors.messages import Planned

RETRY = 2.0
"""Seconds until an unanswered query is asked again."""

BEHIND = 0.1
"""Seconds until it is asked again when the store had not yet written what the source was told already."""

Value = TypeVar("Value")


class Page(Protocol):
    """A page of what the store has, after the key ``asked``; ``cursor``: where the next one begins, "" after the last;
    ``seq``: durable through. ``lane`` and ``through`` are those of the query."""

    @property
    def lane(self) -> str: ...
    @property
    def asked(self) -> str: ...
    @property
    def cursor(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def through(self) -> int: ...


class Copied(Generic[Value]):
    """What the store has of one source, in one lane, by key. ``loaded``: complete and up to ``seq``; nothing may be
    offered before. ``through``: of a backfill, what the lane had taken by that iteration; -1: as of now."""

    def __init__(self, pipeline: str, source: str, lane: str, through: int = -1) -> None:
        self.pipeline, self.source, self.lane, self.through = pipeline, source, lane, through
        self.index: dict[str, Value] = {}
        self.seq = 0
        self.loaded = False
        self.next_query: float | None = None
        self._told = 0  # newest record the broker told of in this epoch
        self._needed = 0  # a page must reflect this record
        self._reading: dict[str, Value] = {}
        self._page_seq = -1  # of the oldest page read so far; -1 before the first
        self._cursor = ""
        self._during: list[Planned] = []

    def take(self, message: Planned) -> None:
        """``index`` has what this plan has taken as well."""
        raise NotImplementedError

    def restart(self, start_seq: int, now: float) -> None:
        """A new epoch: what older ones told beyond ``start_seq`` did not happen."""
        self._told = self.seq = 0
        self._during = []
        self.reread(start_seq, now)

    def reread(self, needed: int, now: float) -> None:
        """Read all of it again; pages must reflect ``needed`` and all that was told so far."""
        self.loaded = False
        self._needed = max(needed, self._told)
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._reading, self._page_seq, self._cursor = {}, -1, ""
        self.next_query = now

    def due(self, now: float) -> str | None:
        """The cursor to ask with now; None: nothing is to be asked."""
        if self.next_query is None or now < self.next_query:
            return None
        self.next_query = now + RETRY
        return self._cursor

    def read(self, page: Page, items: dict[str, Value], now: float) -> list[str] | None:
        """Take a page. After the last one: the keys that are there no longer, else None."""
        wanted = (page.asked, page.lane, page.through) == (self._cursor, self.lane, self.through)
        if self.loaded or not wanted:
            return None
        if page.seq < self._needed:
            self.next_query = now + BEHIND
            return None
        self._page_seq = page.seq if self._page_seq < 0 else min(self._page_seq, page.seq)
        self._reading |= items
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
        return [key for key in former if key not in self.index]

    def planned(self, message: Planned, now: float) -> bool:
        """These positions are planned by record ``message.seq``. False for a late repetition: the copy reflects that
        record already, and what it planned may have been released since."""
        if self.loaded and message.seq <= self.seq:
            return False
        self.take(message)
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
