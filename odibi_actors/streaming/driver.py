"""The impure half of the source actor: one thread looks at files, watchdog's tells of changes, a pipe wakes the loop.

The actor's loop never touches a filesystem, so a hanging network mount cannot stop its heartbeat.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from odibi_actors.actor import Effect
from odibi_actors.failpoints import failpoint
from odibi_actors.messages import LOCAL, Message
from odibi_actors.streaming.effects import Ask, Broken, Digest, FileEvent, Forget, Overflow, Scan, Stat
from odibi_actors.streaming.probes import Probes
from odibi_actors.streaming.scan import digest, look, scan
from odibi_actors.streaming.watcher import Watcher

MAX_CHUNKS = 16
"""Chunks of scans that wait for the actor; the scan pauses beyond."""

MAX_EVENTS = 50_000
"""Paths with events that wait for the actor; beyond, a rescan is cheaper than more of them."""


class SourceDriver:
    """Carries out Scan, Stat, Digest, Forget, and asks probes. Create it in the process that uses it, after a fork."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._orders: deque[Effect] = deque()
        self._jobs: deque[tuple[str, Iterator[Message | None]]] = deque()  # the worker's own
        self._answers: deque[Message] = deque()
        self._events: dict[tuple[str, str], FileEvent] = {}
        self._overflows: dict[str, Overflow] = {}
        self._awake = False
        self._closed = False
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_out, False)
        self._watcher = Watcher(self._emit)
        self._worker: threading.Thread | None = None
        self._probes = Probes(self._answer)

    def perform(self, effect: Effect, now: float) -> Iterable[tuple[str, Message]]:
        """Hand it to the worker; answers come through ``inputs``."""
        if isinstance(effect, Ask):
            self._probes.ask(effect)
            return ()
        if isinstance(effect, Forget):
            self._probes.forget(effect.source)
        if not isinstance(effect, Scan | Stat | Digest | Forget):
            raise TypeError(f"the source driver does not know {type(effect).__name__}")
        with self._lock:
            self._orders.append(effect)
            self._lock.notify()
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="source-files", daemon=True)
            self._worker.start()
        return ()

    def inputs(self) -> Mapping[Any, Callable[[], Iterable[tuple[str, Message]]]]:
        """The pipe that becomes readable when there is news."""
        return {self._wake_out: self._take}

    def close(self) -> None:
        """End the threads; one that hangs in a filesystem is left behind."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._lock.notify()
        self._watcher.close()
        if self._worker is not None:
            self._worker.join(timeout=2.0)
        self._probes.close(2.0)
        with self._lock:
            os.close(self._wake_in)
            os.close(self._wake_out)

    # --- the loop's side ------------------------------------------------------------------------------------------

    def _take(self) -> list[tuple[str, Message]]:
        with self._lock:
            if self._closed or not self._awake:
                return []
            os.read(self._wake_out, 1)
            self._awake = False
            news: list[Message] = [*self._overflows.values(), *self._events.values(), *self._answers]
            self._overflows, self._events = {}, {}
            self._answers.clear()
            self._lock.notify()
        return [(LOCAL, message) for message in news]

    def _wake(self) -> None:
        """Make the pipe readable; the lock is held. One byte at most is in it."""
        if not self._awake and not self._closed:
            self._awake = True
            os.write(self._wake_in, b"\0")

    # --- other threads' side --------------------------------------------------------------------------------------

    def _emit(self, event: FileEvent | Overflow) -> None:
        """The watcher's news. Only the newest of a path counts."""
        with self._lock:
            if isinstance(event, Overflow):
                self._overflows[event.source] = event
            elif len(self._events) < MAX_EVENTS or (event.source, event.identity) in self._events:
                self._events[event.source, event.identity] = event
            else:
                self._overflows[event.source] = Overflow(event.source, f"more than {MAX_EVENTS} file events at once")
            self._wake()

    def _answer(self, message: Message) -> None:
        with self._lock:
            self._answers.append(message)
            self._wake()

    def _work(self) -> None:
        """The worker: orders first, in their order; between them one step of a scan or digest at a time."""
        try:
            while self._step():
                pass
        except Exception as error:  # noqa: BLE001 - a thread must not die unheard: the process is restarted
            self._answer(Broken(f"{type(error).__name__}: {error}"))

    def _step(self) -> bool:
        order = None
        with self._lock:
            while not self._orders and not (self._jobs and len(self._answers) < MAX_CHUNKS) and not self._closed:
                self._lock.wait()
            if self._closed:
                return False
            if self._orders:
                order = self._orders.popleft()
        match order:
            case None:
                self._advance()
            case Stat():
                self._answer(look(order))
            case Scan():
                self._jobs.append((order.source, scan(order, self._watcher)))
            case Digest():
                self._jobs.append((order.source, digest(order)))
            case Forget():
                self._jobs = deque(job for job in self._jobs if job[0] != order.source)
                self._watcher.forget(order.source)
        return True

    def _advance(self) -> None:
        """One step of the first job; then it is the next one's turn."""
        try:
            failpoint("source.scan")
            message = next(self._jobs[0][1])
            failpoint("source.scanned")
        except StopIteration:
            self._jobs.popleft()
            return
        self._jobs.rotate(-1)
        if message is not None:
            self._answer(message)
