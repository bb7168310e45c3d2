"""The threads of probes: one for each connection, so that one that hangs holds up no other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from odibi_actors.failpoints import failpoint
from odibi_actors.kinds.registry import source_of
from odibi_actors.messages import Message
from odibi_actors.streaming.effects import Ask, Broken


class Probes:
    """``answer`` is called by their threads, one for each line of asks: that of a connection, or one of its own."""

    def __init__(self, answer: Callable[[Message], None]) -> None:
        self._answer = answer
        self._lock = threading.Condition()
        self._asked: dict[str, deque[Ask]] = {}  # by the path of the connection
        self._forgotten: dict[str, int] = {}  # source -> the newest number that nobody waits for any more
        self._threads: list[threading.Thread] = []
        self._closed = False

    def ask(self, ask: Ask) -> None:
        """Answer it in the thread of its connection."""
        path = ask.line
        with self._lock:
            if path not in self._asked:
                self._asked[path] = deque()
                thread = threading.Thread(target=self._work, args=(path,), name=f"probe of {path}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._asked[path].append(ask)
            self._lock.notify_all()

    def forget(self, source: str) -> None:
        """Nobody waits for what this source has asked until now."""
        with self._lock:
            numbers = [ask.number for asks in self._asked.values() for ask in asks if ask.source == source]
            self._forgotten[source] = max([*numbers, self._forgotten.get(source, 0)])

    def close(self, patience: float) -> None:
        """End the threads; one that hangs is left behind."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        for thread in self._threads:
            thread.join(timeout=patience)

    def _work(self, path: str) -> None:
        try:
            while (ask := self._next(path)) is not None:
                for message in self._steps(ask):
                    if self._closed:
                        return
                    if message is not None:
                        self._answer(message)
        except Exception as error:  # noqa: BLE001 - a thread must not die unheard: the process is restarted
            self._answer(Broken(f"{type(error).__name__}: {error}"))

    def _steps(self, ask: Ask) -> Iterator[Message | None]:
        failpoint("source.probe")
        yield from source_of(ask.read.mode).probe(ask)
        failpoint("source.probed")

    def _next(self, path: str) -> Ask | None:
        with self._lock:
            while True:
                while not self._asked[path] and not self._closed:
                    self._lock.wait()
                if self._closed:
                    return None
                ask = self._asked[path].popleft()
                if ask.number > self._forgotten.get(ask.source, 0):
                    return ask
