"""The end of a process, where threads that nobody waits for still run.

Python before 3.14 ends such a thread when it next wants the interpreter while that is being taken down. If C++ code
(DuckDB, Arrow) has called, that is ``terminate``: the process dies of SIGABRT after all its work was done, and its exit
code is a lie (https://github.com/python/cpython/issues/87135). So where one still runs, what is left of the way out is
left out: everything that was registered later has run by then, and what was printed is written.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading

_code = [0]


def prepare() -> None:
    """Call it early in a process: what is registered first is called last."""
    atexit.register(_leave)


def leave(code: int) -> int:
    """The exit code that this process ends with; returns it."""
    _code[0] = code
    return code


def _leave() -> None:
    mine = threading.current_thread()
    if all(thread is mine or not thread.is_alive() for thread in threading.enumerate()):
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # as Python does: nobody is left who could be told
            stream.flush()
    os._exit(_code[0])
