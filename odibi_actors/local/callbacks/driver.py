"""The impure half of the desk: threads that call, a pipe that wakes the loop, what people see."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from odibi_actors.actor import Effect
from odibi_actors.local.callbacks.effects import Call, Show, Shown
from odibi_actors.local.threads import Threads
from odibi_actors.messages import LOCAL, Message

Job = Callable[[Call], Callable[[], None]]
"""Makes of a Call what a thread is to do; it must not raise."""


class DeskDriver:
    """Carries out Call and Show. ``post`` is for every thread, the rest for the runtime's."""

    def __init__(self, slots: int, job: Job, show: Callable[[dict[str, Shown | None]], None]) -> None:
        self._threads = Threads(slots)
        self._job, self._show = job, show
        self._lock = threading.Lock()
        self._posted: deque[Message] = deque()
        self._closed = False
        self._out, self._in = os.pipe()
        os.set_blocking(self._out, False)

    def post(self, message: Message) -> None:
        """Tell the desk, and wake the loop. Nothing happens once it is closed."""
        with self._lock:
            if self._closed:
                return
            self._posted.append(message)
            if len(self._posted) == 1:
                os.write(self._in, b"\0")

    def perform(self, effect: Effect, now: float) -> Iterable[tuple[str, Message]]:
        """Do it; that a Call is over comes through ``inputs``."""
        match effect:
            case Call():
                self._threads.submit(self._job(effect))
            case Show(items=items):
                self._show(items)
            case _:
                raise TypeError(f"the desk's driver does not know {type(effect).__name__}")
        return ()

    def inputs(self) -> Mapping[Any, Callable[[], Iterable[tuple[str, Message]]]]:
        """The pipe that becomes readable when something was posted."""
        return {self._out: self._take}

    def close(self) -> None:
        """Let idle threads end. Those that are in a callback end when it does."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            os.close(self._in)
            os.close(self._out)
        self._threads.close(wait=False)

    def _take(self) -> list[tuple[str, Message]]:
        with self._lock:
            if not self._posted:
                return []
            os.read(self._out, 1)
            news = [(LOCAL, message) for message in self._posted]
            self._posted.clear()
        return news
