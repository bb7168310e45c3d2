"""What a worker says of its tasks: frames in a pipe of its own.

A pipe is the kernel's: what was written is there to be read, whole and in order, if its writer dies in the next
instruction. What was handed to a ZeroMQ socket is not: a thread of the process has yet to write it, and dies with it.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator

from odibi_actors.errors import ProtocolError
from odibi_actors.failpoints import failpoint
from odibi_actors.runtime.wire import BODY_MAX

_LENGTH = struct.Struct("<I")


def put(pipe: int, frame: bytes) -> None:
    """Put a frame of at most ``BODY_MAX`` bytes into the pipe; waits while it is full. Raises BrokenPipeError when
    nobody reads it any more."""
    left = memoryview(_LENGTH.pack(len(frame)) + frame)
    while left:
        left = left[os.write(pipe, left) :]


class Reader:
    """The pool's end of one pipe. ``ended``: there is nothing more to come."""

    def __init__(self, pipe: int) -> None:
        os.set_blocking(pipe, False)
        self._pipe = pipe
        self._holds = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)  # bytes: one read takes all that lies in it
        self._kept = bytearray()
        self.ended = False

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._pipe

    def frames(self) -> Iterator[bytes]:
        """What lies in the pipe, without waiting; the beginning of a frame is kept for the next time. Raises
        ProtocolError at what is no frame: user code runs in a worker, and may have written to a descriptor that is not
        its own. What follows cannot be read then."""
        if self.ended:
            return
        failpoint("pool.receive")
        try:
            read = os.read(self._pipe, self._holds)
        except BlockingIOError:
            return
        self.ended = not read
        self._kept += read
        while len(self._kept) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._kept)
            if size > BODY_MAX:
                self.ended = True
                raise ProtocolError(f"a frame of {size} bytes; at most {BODY_MAX} are allowed")
            end = _LENGTH.size + size
            if len(self._kept) < end:
                return
            frame = bytes(self._kept[_LENGTH.size : end])
            del self._kept[:end]
            failpoint("pool.received")
            yield frame

    def close(self) -> None:
        """Read no more: who writes is told so by BrokenPipeError."""
        self.ended = True
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
