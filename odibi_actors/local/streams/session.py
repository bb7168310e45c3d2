"""A stream at work: its store, the engine's source and the desk, in this process, driven by whoever asks."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from odibi_actors.checkpoint.actor import StoreActor
from odibi_actors.checkpoint.driver import StoreDriver
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.records import AnyRecord
from odibi_actors.config.model import BatchSpec, ReadSpec
from odibi_actors.errors import OdibiError, StoreError
from odibi_actors.local.logged import LoggedRuntime
from odibi_actors.local.runtime import CLIENT, LocalClock, NullDriver
from odibi_actors.local.streams.desk import STREAM, Desk
from odibi_actors.local.streams.effects import Look, Note, Reads
from odibi_actors.local.streams.reading import SOURCE as NODE
from odibi_actors.local.streams.words import in_words
from odibi_actors.messages import BROKER, SOURCE, STORE, Offer, Push, Reply
from odibi_actors.model import LIVE
from odibi_actors.streaming.actor import SourceActor
from odibi_actors.streaming.driver import SourceDriver
from odibi_actors.streaming.source import Source, source_key

log = logging.getLogger("odibi_actors.streaming")

DATABASE: Final = "stream.db"
CREDIT: Final = 16
"""Positions of one offer, and of one iteration at most."""
MAX_BYTES: Final = 64_000_000
"""Bytes of one iteration, about: its rows are in memory until they are processed. One position goes in any case."""
CLOSING: Final = 0.5
"""Seconds for which the event of a file's close is waited for, where the kernel knows of nobody who writes it."""
HISTORY: Final = 7 * 86_400.0
"""Seconds for which committed iterations are kept."""


class Session:
    """``name``: as people know it; ``folder``: where its store is. Whoever works with it holds a lock; after an
    exception it is to be closed, and a new one finds what is durable. Raises ConflictError when another process has the
    folder, StoreError."""

    def __init__(self, name: str, folder: Path, read: ReadSpec, batch_size: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        engine = Engine(folder / DATABASE)
        me = (secrets.token_hex(6), socket.gethostname(), os.getpid())
        self.clock = LocalClock()
        self._runtime = LoggedRuntime(self.clock, log, partial(in_words, name))
        self._name = name
        self._looks = 0
        self._read = read
        self.desk = Desk(me[0], read, NODE, BatchSpec(CREDIT, batch_size, MAX_BYTES), CREDIT)
        try:
            self._runtime.add(BROKER, self.desk, NullDriver())
            store = StoreActor(*me, engine.store_id, engine.epoch, engine.last_seq, HISTORY)
            self._runtime.add(STORE, store, StoreDriver(engine))
            self._pump(lambda: self.desk.ready)  # what is stored is known before the source says Hello
            self._source = SourceActor(*me)
            self._runtime.add(SOURCE, self._source, SourceDriver())
            self._pump(lambda: source_key(STREAM, NODE, LIVE) in self._source.sources)
        except BaseException:
            self._runtime.close()
            engine.close()
            raise

    def close(self) -> None:
        """Release the folder, end the threads."""
        self._runtime.close()

    def look(self) -> Offer:
        """What there is to read now. What is being written is not waited for."""
        self._notice()
        self._follow(follow=False)
        self._looks += 1
        run = f"{self.desk.incarnation}-{self._looks}"
        self._runtime.feed(BROKER, Look(run))
        return self.rest(run)

    def rest(self, run: str) -> Offer:
        """What is left of what a look has found."""
        until = self.clock() + CLOSING
        self._pump(lambda: self.desk.answer(run) is not None or self._waits(run, until), CLOSING)
        offer = self.desk.offer
        assert offer is not None
        return offer

    def note(self, records: list[AnyRecord]) -> None:
        """Make records durable. Raises StoreError."""
        self._runtime.feed(BROKER, Note(records))
        self._pump(lambda: self.desk.durable)

    def reads(self, read: ReadSpec) -> None:
        """The source reads this from now on."""
        self._read = read
        self._runtime.feed(BROKER, Reads(read, self.desk.follows))
        self._runtime.step()

    def _notice(self) -> None:
        """Take notice of what has happened since something was asked for: of files that were written, for example."""
        self._runtime.wait(0.0)
        self._runtime.step()
        self._check()

    def _follow(self, *, follow: bool) -> None:
        if self.desk.follows is not follow:
            self._runtime.feed(BROKER, Reads(self._read, follow))

    def push(self, data: bytes, key: str, part: int) -> dict[str, Any]:
        """Have rows taken; they are durable when this returns. Raises OdibiError."""
        asked = secrets.token_hex(8)
        self._runtime.send(CLIENT, SOURCE, Push(asked, STREAM, NODE, data, key, part))
        self._pump(lambda: asked in self._runtime.replies)
        reply: Reply = self._runtime.replies.pop(asked)
        if reply.status:
            raise OdibiError(in_words(self._name, reply.error))
        return dict(reply.result)

    def news(self) -> bool:
        """Whether something to read is there that nobody has looked for; what has happened is taken notice of."""
        self._follow(follow=True)
        self._notice()
        return self.desk.offer is not None and bool(self.desk.offer.positions)

    def inputs(self) -> list[int]:
        """What ``wait`` listens to."""
        return self._runtime.inputs()

    def next_act(self) -> float:
        """Seconds until it has something to do by itself."""
        due = self._runtime.deadline()
        return float("inf") if due is None else max(0.0, due - self.clock())

    def taken(self) -> list[str]:
        """The files that were planned."""
        finder = self._source.sources[source_key(STREAM, NODE, LIVE)]
        if not isinstance(finder, Source) or finder.pinned:
            return []
        self._pump(lambda: finder.ledger.loaded)
        return list(finder.ledger.index)

    def _waits(self, run: str, until: float) -> bool:
        """Whether all that is left of a look is being written, or may be."""
        offer, finder = self.desk.offer, self._source.sources[source_key(STREAM, NODE, LIVE)]
        if offer is None or offer.run != run or offer.positions:
            return False
        if not isinstance(finder, Source) or finder.looked_at or not finder.waiting():
            return False
        files = finder.files
        closing = [one for one, file in files.known.items() if not file.ready and one not in files.held]
        return self.clock() >= until or not any(map(files.writing, closing))

    def _pump(self, done: Callable[[], bool], limit: float = 60.0) -> None:
        """Work until that is so; it is looked at again after ``limit`` seconds at most. Raises StoreError."""
        self._runtime.step()
        while not done():
            self._check()
            self._runtime.wait(limit)
            self._runtime.step()
        self._check()

    def _check(self) -> None:
        for name, stop in self._runtime.stopped.items():
            raise StoreError(f"the stream's {'desk' if name == BROKER else name} has stopped: {stop.reason}")


def forget(folder: Path) -> None:
    """Forget what a stream has read, at rest; settings stay. Raises as ``Session``."""
    engine = Engine(folder / DATABASE)
    try:
        engine.forget(STREAM, time.time(), "{}")
        engine.end_reset(STREAM)
    finally:
        engine.close()
