"""Signals of the processes that user code forks.

A handler of ours is inherited by a fork, and so is the descriptor that signals wake. Both are ours alone: a child of a
node gets SIGTERM and SIGINT as it would anywhere else. They are blocked while a process forks, since Python forgets
those that reach a child before it runs (https://docs.python.org/3/c-api/sys.html#c.PyOS_AfterFork_Child): whoever
ended that child, such as ``multiprocessing.Pool``, would wait for it for ever.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
Handlers = Mapping[signal.Signals, Any]
"""What ``signal.signal`` takes, by signal; None: a handler that was not installed by Python."""
USUAL: Final[Handlers] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


class _Forks:
    """``given``: the handlers of children, None where they keep those of this process."""

    given: Handlers | None = None
    own = False
    armed = False
    masks = threading.local()

    @classmethod
    def arm(cls) -> None:
        """Once per process; children inherit it."""
        if not cls.armed:
            cls.armed = True
            os.register_at_fork(before=cls.before, after_in_parent=cls.after, after_in_child=cls.child)

    @classmethod
    def before(cls) -> None:
        cls.masks.former = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    @classmethod
    def after(cls) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, cls.masks.former)

    @classmethod
    def child(cls) -> None:
        if cls.given is not None and not cls.own:
            signal.set_wakeup_fd(-1)
            for number, handler in cls.given.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            cls.given = None
        cls.after()


def children_get(handlers: Handlers | None) -> Handlers | None:
    """From now on what this process forks has these handlers, and wakes no descriptor of ours; None: nothing is done to
    it. Returns what was so before."""
    _Forks.arm()
    former, _Forks.given = _Forks.given, handlers
    return former


@contextmanager
def forking_own() -> Iterator[None]:
    """A process forked within is one of ours: it keeps our handlers."""
    _Forks.own = True
    try:
        yield
    finally:
        _Forks.own = False
