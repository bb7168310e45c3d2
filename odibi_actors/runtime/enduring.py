"""Standard output and error of ``odibictl``: what happens to what it prints does not stop what it does.

A reader may leave (`| head`), a disk may be full, the encoding of a terminal may lack a letter. None of that is worth
a half-done run, so writing neither raises nor ends the process, and the exit code stays that of the work.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Any, TextIO

GONE = (errno.EPIPE, errno.EIO)  # a pipe nobody reads; a terminal that hung up


class _Enduring(io.FileIO):
    """A descriptor; what it does not take is dropped, and ``lost`` is the first reason."""

    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        """All of it, or nothing more of it. Waits where the descriptor does not: somebody who shares it made it so."""
        left = memoryview(data).cast("B")
        while left:
            try:
                taken = super().write(left)
            except OSError as error:
                self.lost = self.lost or error
                if error.errno in GONE:
                    self._forget()
                break
            if taken is None:
                self._await()
            else:
                left = left[taken:]
        return memoryview(data).nbytes

    def _await(self) -> None:
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        poll.poll()

    def _forget(self) -> None:
        """Nobody is there. What nodes and their children write to the descriptor itself shall not fail either."""
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def endure() -> None:
    """Make ``sys.stdout`` and ``sys.stderr`` of this process so."""
    sys.stdout, sys.stderr = _over(sys.stdout), _over(sys.stderr)


def _over(stream: TextIO) -> TextIO:
    assert isinstance(stream, io.TextIOWrapper)
    stream.flush()
    utf8 = stream.encoding.replace("-", "").lower() == "utf8"
    return io.TextIOWrapper(
        io.BufferedWriter(_Enduring(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors if utf8 or stream.errors != "strict" else "backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _standard_output() -> _Enduring | None:
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Enduring) else None


def lost() -> OSError | None:
    """Why part of what was printed on stdout is lost; None when all of it was taken, or its reader simply left."""
    raw = _standard_output()
    if raw is None:
        return None
    sys.stdout.flush()
    return raw.lost if raw.lost is not None and raw.lost.errno not in GONE else None


def unread() -> bool:
    """Whether showing more on stdout makes no sense: its reader has left, or does not take it."""
    raw = _standard_output()
    if raw is None:
        return False
    if raw.lost is not None:
        return True
    poll = select.poll()
    poll.register(raw.fileno(), 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))
