"""Daemon threads that run functions of users. Not a ThreadPoolExecutor: the interpreter waits for the threads of one
when it exits, so that a callback that never returns would keep a notebook or a script from ending."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Threads:
    """At most ``most`` threads, made when they are needed and kept for what comes later."""

    def __init__(self, most: int, name: str = "callback") -> None:
        self._most, self._name = most, name
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def submit(self, job: Callable[[], None]) -> None:
        """Run it in a thread; it must not raise. Called by one thread only."""
        self._jobs.put(job)
        if len(self._threads) < self._most and not self._idle.acquire(blocking=False):
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self, wait: bool = True) -> None:
        """Each thread ends once its job is done; ``wait`` until then (at once, where none has a job)."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            self._idle.release()
