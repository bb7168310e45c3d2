"""The files of one source that are not planned yet, and which of them are ready to be read.

A file is ready when a watcher saw it closed after writing, or moved in; when the kernel said that nobody writes it; or
when it has been stable for ``settle`` seconds. One that was seen being written waits for its close, or, if that event
was lost, for a long stability. Whatever else was seen, and however long ago: a file that somebody has open for writing,
as the kernel of this host knows, is not ready. It is asked about each file before that is offered.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterable
from typing import Literal

from odibi_actors.streaming.effects import Found

LOST_CLOSE = 30.0
"""Seconds (at least) after which a file seen being written, whose close was never seen, is taken for finished."""

ASK_AGAIN = 1.0
"""Seconds until the kernel is asked again about a file that is written: its close by another name is not heard of."""

Mark = Literal["created", "modified", "closed"]
"""What the watcher told last of a file that is not ready."""


class File:
    """A candidate. ``since``: when it was first seen as it is now; ``due``: when to look again; ``seen``: last scan;
    ``asked``: since then the kernel was asked who writes it."""

    __slots__ = ("asked", "ctime_ns", "due", "inode", "mtime_ns", "ready", "seen", "since", "size")

    def __init__(self) -> None:
        self.size, self.mtime_ns, self.inode, self.ctime_ns = -1, 0, 0, 0
        self.asked = False
        self.since = self.due = 0.0
        self.seen = 0
        self.ready = False

    def found(self, identity: str) -> Found:
        """The file as it was seen last."""
        return Found(identity, self.size, self.mtime_ns, self.inode, self.ctime_ns)


class Held:
    """A candidate that somebody has open for writing. ``since``: when that was first seen; ``by``: who it is."""

    __slots__ = ("by", "since", "told")

    def __init__(self, since: float) -> None:
        self.since, self.by = since, ""
        self.told = False  # by a line in the log


class Files:
    """Candidates by identity, taken in the ``order`` of their times or of their names. ``changed`` is set whenever the
    set of ready files (or one of them) changes."""

    def __init__(self, settle: float, order: Literal["time", "name"] = "time") -> None:
        self.settle = settle
        self._by_name = order == "name"
        self.known: dict[str, File] = {}
        self.ready = 0
        self.changed = False
        self.held: dict[str, Held] = {}
        self._marks: dict[str, Mark] = {}
        self._queue: list[tuple[int, str]] = []  # ready files, first ones first; entries out of date are skipped
        self._timers: list[tuple[float, str]] = []

    @property
    def waiting(self) -> int:
        """Candidates that are not ready."""
        return len(self.known) - self.ready

    def mark(self, identity: str, mark: Mark, now: float) -> bool:
        """The watcher's hint. Returns whether the file should be looked at."""
        file = self.known.get(identity)
        if mark != "closed" and file is not None:
            self._unready(file)
            if mark == "modified" and self._marks.get(identity) == "modified":
                file.since = now  # still being written: no need to look before its close
                return False
        self._marks[identity] = mark
        return True

    def unwritten(self, identity: str, after: Literal["", "created"]) -> None:
        """Nobody was writing it when it was looked at, ``after`` at most this event. What the watcher told beyond that
        may be newer, so it wins: repeated ``modified`` are one."""
        if self._marks.get(identity, "") in ("", after):
            self._marks[identity] = "closed"

    def observe(self, found: Found, seen: int, now: float, asked: bool = False, written: bool = False) -> None:
        """The file exists, as ``found``; ``seen`` is the number of the newest scan; ``asked``: the kernel was asked who
        writes it; ``written``: it knows of somebody."""
        identity = found.identity
        file = self.known.get(identity)
        if file is None:
            file = self.known[identity] = File()
        file.seen = seen
        if file.found(identity) != found:
            self._unready(file)
            file.size, file.mtime_ns, file.inode, file.ctime_ns = (
                found.size,
                found.mtime_ns,
                found.inode,
                found.ctime_ns,
            )
            file.since = now
        if written:
            self._unready(file)
            self.held.setdefault(identity, Held(now))
            self._look_at(identity, file, now + ASK_AGAIN)
            return
        if asked:
            self.held.pop(identity, None)
            if file.ready and not file.asked:
                self.changed = True
            file.asked = True
        if file.ready or identity in self.held:
            return
        at = self.ready_at(identity, file)
        if at <= now:
            file.ready = self.changed = True
            self.ready += 1
            self._marks.pop(identity, None)
            heapq.heappush(self._queue, (self._rank(file), identity))
        else:
            self._look_at(identity, file, at)

    def _look_at(self, identity: str, file: File, at: float) -> None:
        if file.due != at:
            file.due = at
            heapq.heappush(self._timers, (at, identity))

    def ready_at(self, identity: str, file: File) -> float:
        """When the file may be taken for finished, if nothing more happens to it."""
        mark = self._marks.get(identity)
        if mark == "closed":
            return 0.0
        # created, with content, but never modified under this name: it was linked in, and is judged like any other
        if mark == "modified" or (mark == "created" and file.size == 0):
            return file.since + max(LOST_CLOSE, 10 * self.settle)
        return min(file.mtime_ns / 1e9, file.since) + self.settle

    def writing(self, identity: str) -> bool:
        """Whether it is known to be written: by the kernel, or by the watcher, which has not seen its close yet."""
        return identity in self.held or self._marks.get(identity) in {"created", "modified"}

    def unnamed(self, now: float, limit: int) -> list[str]:
        """Files that have been written for a while, by nobody knows whom."""
        if not self.held:
            return []
        return [i for i, held in self.held.items() if not held.by and now - held.since >= ASK_AGAIN][:limit]

    def ready_ones(self) -> list[str]:
        """All ready files."""
        return [identity for identity, file in self.known.items() if file.ready]

    def unasked(self, identities: Iterable[str]) -> list[str]:
        """Those of these files about which the kernel was not asked yet."""
        return [identity for identity in identities if not self.known[identity].asked]

    def touched(self, identity: str) -> None:
        """Something happened to it: it is not ready until it was looked at."""
        file = self.known.get(identity)
        if file is not None:
            self._unready(file)

    def drop(self, identity: str) -> None:
        """The file is planned, or gone."""
        self._marks.pop(identity, None)
        self.held.pop(identity, None)
        file = self.known.pop(identity, None)
        if file is not None:
            self._unready(file)

    def _unready(self, file: File) -> None:
        file.asked = False
        if file.ready:
            file.ready, self.changed = False, True
            self.ready -= 1

    def sweep(self, scan: int) -> list[str]:
        """Drop what the complete scan of this number did not find; returns it."""
        gone = [identity for identity, file in self.known.items() if file.seen < scan]
        for identity in gone:
            self.drop(identity)
        return gone

    def due(self, now: float, limit: int) -> list[str]:
        """At most ``limit`` files whose time to be looked at has come."""
        found: list[str] = []
        while self._timers and self._timers[0][0] <= now and len(found) < limit:
            at, identity = heapq.heappop(self._timers)
            file = self.known.get(identity)
            if file is not None and not file.ready and file.due == at:
                file.due = 0.0
                found.append(identity)
        return found

    def deadline(self) -> float | None:
        """When ``due`` has something to say, at the earliest."""
        return self._timers[0][0] if self._timers else None

    def first(self, limit: int, within: Container[str] | None) -> list[str]:
        """The first ready files, at most ``limit`` of them, of those ``within`` (None: of all). The order is a
        preference only: a late file with an early time, or name, is not lost."""
        if len(self._queue) > 2 * self.ready + 1000:
            self._queue = [(self._rank(f), identity) for identity, f in self.known.items() if f.ready]
            heapq.heapify(self._queue)
        kept: list[tuple[int, str]] = []
        found: list[str] = []
        while self._queue and len(found) < limit:
            entry = heapq.heappop(self._queue)
            file = self.known.get(entry[1])
            if file is None or not file.ready or self._rank(file) != entry[0] or (kept and kept[-1] == entry):
                continue
            kept.append(entry)
            if within is None or entry[1] in within:
                found.append(entry[1])
        for entry in kept:
            heapq.heappush(self._queue, entry)
        return found

    def _rank(self, file: File) -> int:
        """What decides before the name."""
        return 0 if self._by_name else file.mtime_ns

    def all_ready(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.ready == len(self.known) and not self.unasked(self.known)
