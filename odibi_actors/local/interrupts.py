"""Ctrl-C and SIGTERM during a local run: it stops, and nothing of it counts as a try.

A node runs in the thread of the run, so the first signal interrupts it as Python does, by KeyboardInterrupt. What
comes of the task is dropped whatever the node made of that: caught it, wrapped it, returned all the same. Outside of a
task the signal is noticed before the next one begins. While C code runs (a query), Python hears of no signal: a thread
that the kernel's byte wakes asks the database to stop. A second signal ends the process at once, which is what the
store is made for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, TypeVar

from odibi_actors.runtime import forks

INTERRUPTED: Final = 130
JOIN_WITHIN: Final = 2.0
"""Seconds that a run waits at its end for the thread that watches for signals."""
T = TypeVar("T")


class Interrupts:
    """The signals of one run. Used as a context manager; only the main thread can listen to them. ``listeners`` are
    called from another thread, at the first signal."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[], None]] = []
        self._told = False
        self._busy = False
        self._former: dict[signal.Signals, Any] = {}
        self._children: forks.Handlers | None = None
        self._wake = self._former_wake = -1
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in forks.SIGNALS:
                self._former[number] = signal.signal(number, self._signalled)
            self._children = forks.children_get(self._former)
            out, self._wake = os.pipe()
            os.set_blocking(self._wake, False)
            self._former_wake = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
            self._watcher = threading.Thread(target=self._watch, args=(out,), name="interrupts", daemon=True)
            self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._former:
            forks.children_get(self._children)
        for number, former in self._former.items():
            signal.signal(number, former if former is not None else signal.SIG_DFL)
        if self._wake >= 0:
            signal.set_wakeup_fd(self._former_wake)
            os.close(self._wake)  # the thread reads the end, and ends
            self._wake = -1
        if self._watcher is not None:  # it may be within DuckDB, asking it to stop: see runtime/leaving.py
            self._watcher.join(timeout=JOIN_WITHIN)
            self._watcher = None

    def check(self) -> None:
        """Raise KeyboardInterrupt when somebody wants the run to stop."""
        if self._told:
            raise KeyboardInterrupt

    def call(self, function: Callable[[], T]) -> T:
        """Call what a signal may interrupt; afterwards raise KeyboardInterrupt if one came, whatever it returned."""
        self.check()
        with self._interruptible():
            result = function()
        self.check()
        return result

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        self._busy = True
        try:
            yield
        except BaseException:
            self.check()
            raise
        finally:
            self._busy = False

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        if self._told:
            _end()
        self._told = True
        if self._busy:
            raise KeyboardInterrupt

    def _watch(self, out: int) -> None:
        heard = 0
        with open(out, "rb", buffering=0) as pipe:
            while given := pipe.read(1):
                heard += given[0] in forks.SIGNALS
                if heard == 1:
                    for listener in self.listeners:
                        with contextlib.suppress(Exception):  # it may have ended meanwhile
                            listener()
                elif heard > 1:
                    _end()


def _end() -> None:
    """Now, whatever runs."""
    with contextlib.suppress(Exception):
        sys.stderr.write("interrupted\n")
        sys.stderr.flush()
    os._exit(INTERRUPTED)
