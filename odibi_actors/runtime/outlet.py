"""Standard error for processes that must never wait for its reader: a terminal that is halted (Ctrl-S), a program at
the other end of a pipe that does not read, or has ended."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

LIMIT = 1_000_000  # bytes kept for a reader that is slow
PIECE = 4096  # bytes that a pipe which is writable takes at once (PIPE_BUF of Linux)
LAST_WORDS = 1.0  # seconds a reader has at the end to take what is left

Writer = Callable[[bytes], int]


class _Piece(NamedTuple):
    """Lines that wait, or a note that ``lines`` others were left out."""

    data: bytes
    lines: int
    note: bool


class Outlet:
    """Gives whole lines to the reader of ``fd`` as fast as it takes them, and keeps up to ``limit`` bytes for it. Lines
    beyond are left out, and once the reader has taken all the others, ``note(count)`` tells it so. Lines that are left
    out, for want of space or of a reader, go to ``spill``.

    For a poll loop: while ``waiting``, poll ``fd`` for POLLOUT, then ``pump``.
    """

    def __init__(
        self,
        note: Callable[[int], bytes],
        spill: Callable[[bytes], object] = lambda _: None,
        fd: int = 2,
        limit: int = LIMIT,
    ) -> None:
        self.fd, self.gone = fd, False
        self._note, self._spill, self._limit = note, spill, limit
        self._take = _writer(fd)
        self._kept: deque[_Piece] = deque()
        self._size = 0
        self._left_out = 0

    @property
    def waiting(self) -> bool:
        """Whether something is kept that the reader has not taken."""
        return bool(self._kept)

    def write(self, lines: bytes) -> None:
        """Now, later or never; it neither waits nor raises."""
        if self.gone or (self._kept and (self._left_out or self._size + len(lines) > self._limit)):
            self._leave_out(_Piece(lines, lines.count(b"\n"), note=False))
            return
        self._tell()
        self._keep(_Piece(lines, lines.count(b"\n"), note=False))
        self.pump()

    def pump(self) -> None:
        """Write what is taken at once."""
        while self._kept:
            piece = self._kept[0]
            try:
                taken = self._take(piece.data)
            except BlockingIOError:
                return
            except OSError as error:  # also a full disk, a terminal that hung up: the next lines are tried again
                self.gone = isinstance(error, BrokenPipeError)
                while self._kept:
                    self._leave_out(self._kept.popleft())
                self._size = 0
                return
            self._size -= taken
            if taken < len(piece.data):
                self._kept[0] = piece._replace(data=piece.data[taken:])
                continue
            self._kept.popleft()
            if not self._kept:
                self._tell()

    def close(self) -> None:
        """Wait a moment for the reader to take what is left; the rest is left out."""
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        end = time.monotonic() + LAST_WORDS
        while self._kept and (left := end - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self.pump()
        while self._kept:
            self._leave_out(self._kept.popleft())

    def _keep(self, piece: _Piece) -> None:
        self._kept.append(piece)
        self._size += len(piece.data)

    def _tell(self) -> None:
        """Say that lines were left out before what comes next."""
        if self._left_out:
            count, self._left_out = self._left_out, 0
            self._keep(_Piece(self._note(count), count, note=True))

    def _leave_out(self, piece: _Piece) -> None:
        self._left_out += piece.lines
        if not piece.note:
            self._spill(piece.data)


def _writer(fd: int) -> Writer:
    """What writes to ``fd`` without waiting, and raises BlockingIOError instead. Whoever shares the descriptor with us
    is not to notice, so its mode stays as it is."""
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            link = socket.socket(fileno=os.dup(fd))
            return lambda data: link.send(data, socket.MSG_DONTWAIT)
        if not stat.S_ISFIFO(mode) and not os.isatty(fd):
            return lambda data: os.write(fd, data)  # a file: it takes all
    except OSError:
        return lambda data: os.write(fd, data)  # closed: it will say so
    with contextlib.suppress(OSError):
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        return lambda data: os.write(own, data)
    return lambda data: _cautiously(fd, data)


def _cautiously(fd: int, data: bytes) -> int:
    """Where no descriptor of our own can be had (a terminal of another user): a little, once there is space."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(fd, data[:PIECE])
