"""The local runtime: every actor in this process, in-memory queues, real clock and disk. One engine, not two.

It serves ``odibictl run``, notebooks and tests. Nodes run in this process one at a time, so a node that never returns
cannot be killed here: use ``odibictl up`` for that.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odibi_actors.actor import Actor, DeleteSpool, Driver, Effect, Log, Send, StartWorker, Stop, ToWorker
from odibi_actors.errors import ConflictError
from odibi_actors.local.interrupts import Interrupts
from odibi_actors.messages import (
    BROKER,
    LOCAL,
    Connected,
    Message,
    Reply,
    Tick,
    WorkerReady,
    WorkerResult,
    WorkerTask,
)
from odibi_actors.runtime.place import Place
from odibi_actors.runtime.visible import visible
from odibi_actors.workers import spool

if TYPE_CHECKING:
    from odibi_actors.nodes.executor import Executor

CLIENT = "client-local"


def tell(text: str) -> None:
    """On stderr, if somebody reads it: that nobody does is no reason to break off."""
    with contextlib.suppress(OSError):
        print(visible(text), file=sys.stderr)  # noqa: T201


class LocalClock:
    """Seconds since the Unix epoch that never go backwards within this process."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        return self._offset + time.monotonic()


class LocalPoolDriver:
    """Workers that are this very process: a task is run when it is handed over."""

    def __init__(
        self,
        data_dir: Path,
        host: str,
        code_digest: str,
        clock: Callable[[], float],
        interrupts: Interrupts,
        place: Place,
    ) -> None:
        self._data_dir, self._host, self._clock = data_dir, host, clock
        self._code_digest = code_digest
        self._executors: dict[str, Executor] = {}
        self._interrupts = interrupts
        self._place = place

    def perform(self, effect: Effect, now: float) -> Iterable[tuple[str, Message]]:
        """Start a worker, run a task in it, or delete spool folders."""
        match effect:
            case StartWorker():
                executor = self._executors[effect.worker] = self._make(effect.worker)
                self._interrupts.listeners.append(executor.interrupt)
                yield effect.worker, WorkerReady(pid=os.getpid(), code_digest=self._code_digest)
            case ToWorker(message=WorkerTask(task=task)):
                self._refuse_left()
                results = []
                steps = self._executors[effect.worker].run(task)
                while (message := self._interrupts.call(lambda: next(steps, None))) is not None:
                    self._refuse_left()
                    if isinstance(message, Message):
                        yield effect.worker, message
                    else:
                        results.append(message)
                        if len(results) > 1:
                            yield effect.worker, WorkerResult(result=results.pop(0), last=False)
                yield effect.worker, WorkerResult(result=results[0], last=True)
            case DeleteSpool():
                for problem in spool.delete(self._data_dir / "spool", effect.iterations):
                    tell(f"warning: {problem}")

    def _make(self, worker: str) -> Executor:
        # Imported here: it brings pandas, and who reads a store at rest runs no node.
        from odibi_actors.nodes.executor import Executor

        return Executor(self._data_dir, self._host, worker, self._code_digest, self._clock)

    def _refuse_left(self) -> None:
        """Raise ConflictError when the project is somewhere else by now: of what was being done nothing counts."""
        if left := self._place.left():
            raise ConflictError(f"{left}; nothing of it counts: `odibictl run` goes on where the project is now")

    def inputs(self) -> Mapping[Any, Callable[[], Iterable[tuple[str, Message]]]]:
        """Nothing to wait for: tasks are done when they are given."""
        return {}

    def close(self) -> None:
        """Nothing is kept."""


LOOK_EVERY = 0.25
"""Seconds between two calls of ``each``."""


class LocalRuntime:
    """Runs actors that speak through queues until nobody has anything to do. ``pipeline``: the one that is run; "" for
    any. What fails of others meanwhile (a killed system has left it) is told as what it is."""

    def __init__(self, clock: Callable[[], float], pipeline: str = "") -> None:
        self.clock = clock
        self._pipeline = pipeline
        self._actors: dict[str, tuple[Actor, Driver]] = {}
        self._queue: deque[tuple[str, str, Message]] = deque()
        self._touched: dict[str, None] = {}
        self.replies: dict[str, Reply] = {}
        self.stopped: dict[str, Stop] = {}
        self.told: deque[str] = deque(maxlen=1000)
        """The newest warnings and errors that were printed."""

    def add(self, name: str, actor: Actor, driver: Driver) -> None:
        """Take an actor in and start it."""
        self._actors[name] = (actor, driver)
        self._carry_out(name, actor.start(self.clock()))
        if name != BROKER:
            self.feed(name, Connected())

    def feed(self, name: str, message: Message) -> None:
        """A message from the runtime itself."""
        self._queue.append((LOCAL, name, message))

    def send(self, sender: str, to: str, message: Message) -> None:
        """A message from outside the actors, as a client would send it."""
        self._queue.append((sender, to, message))

    def _carry_out(self, name: str, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to=to, message=message):
                    self._queue.append((name, to, message))
                case Stop():
                    self.stopped[name] = effect
                case Log(level="error", about=about) if about and self._pipeline not in ("", about):
                    tell(f"not of this run: {effect.text}")
                case Log(level="warning" | "error"):
                    self.told.append(effect.text)
                    tell(f"{effect.level}: {effect.text}")
                case Log(fields={"notice": True}):
                    tell(effect.text)
                case Log():
                    pass
                case _:
                    _, driver = self._actors[name]
                    for sender, message in driver.perform(effect, self.clock()):
                        self._queue.append((sender, name, message))

    def step(self, each: Callable[[], None] | None = None) -> None:
        """Handle everything that is queued, then let the actors flush, until nothing is left to do at this moment.
        ``each``: called now and then, but never while a node runs."""
        looked = self.clock()
        while self._queue or self._touched:
            while self._queue:
                sender, to, message = self._queue.popleft()
                if to == CLIENT:
                    if isinstance(message, Reply):
                        self.replies[message.id] = message
                    continue
                if to not in self._actors or to in self.stopped:
                    continue
                self._touched[to] = None
                self._carry_out(to, self._actors[to][0].handle(sender, message, self.clock()))
                if each is not None and self.clock() - looked >= LOOK_EVERY:
                    looked = self.clock()
                    each()
            touched, self._touched = self._touched, {}
            for name in touched:
                self._carry_out(name, self._actors[name][0].flush(self.clock()))

    def wait(self, limit: float) -> None:
        """Sleep until an actor's deadline, a driver's input, or ``limit`` seconds; then feed what has come."""
        now = self.clock()
        deadlines = self._deadlines()
        timeout = max(0.0, min([limit, *(when - now for when in deadlines.values())]))
        with selectors.DefaultSelector() as selector:
            for name, (_, driver) in self._actors.items():
                for fd, read in driver.inputs().items():
                    selector.register(fd, selectors.EVENT_READ, (name, read))
            for key, _ in selector.select(timeout):
                name, read = key.data
                for sender, message in read():
                    self._queue.append((sender, name, message))
        now = self.clock()
        for name, when in deadlines.items():
            if when <= now:
                self.feed(name, Tick())

    def inputs(self) -> list[int]:
        """The file descriptors that ``wait`` listens to."""
        return [fd for _, driver in self._actors.values() for fd in driver.inputs()]

    def deadline(self) -> float | None:
        """When an actor has something to do at the latest."""
        return min(self._deadlines().values(), default=None)

    def _deadlines(self) -> dict[str, float]:
        return {
            name: when
            for name, (actor, _) in self._actors.items()
            if name not in self.stopped and (when := actor.deadline()) is not None
        }

    def close(self) -> None:
        """Close every driver."""
        for _, driver in self._actors.values():
            driver.close()


class NullDriver:
    """For actors without effects of their own."""

    def perform(self, effect: Effect, now: float) -> Iterable[tuple[str, Message]]:
        """There is nothing to do."""
        return []

    def inputs(self) -> Mapping[Any, Callable[[], Iterable[tuple[str, Message]]]]:
        """There is nothing to read."""
        return {}

    def close(self) -> None:
        """There is nothing to close."""
