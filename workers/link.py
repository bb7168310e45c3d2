"""What a pool and its warm parent say to each other: msgpack over a SOCK_SEQPACKET pair, which keeps each message
whole, carries descriptors, and ends when either of them dies."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import msgspec

from odibi_actors import __version__
from odibi_actors.messages import PROTOCOL

MESSAGE_MAX = 65536  # bytes; a message holds names, numbers, and the text of a few import errors
TEXT_MAX = 8_000  # characters of import errors told


class Fork(msgspec.Struct, tag=True, frozen=True):
    """pool -> parent: fork a worker under this name. ``pipe``: the descriptor into which it writes its results; sent as
    the pool's, heard as the parent's own."""

    worker: str
    pipe: int


class Kill(msgspec.Struct, tag=True, frozen=True):
    """pool -> parent: SIGKILL this worker and all it started."""

    worker: str


class Ready(msgspec.Struct, tag=True, frozen=True):
    """parent -> pool: everything is imported. ``problems``: modules of ``nodes/`` that could not be; ``threads``:
    number of threads, which should be 1, since forked children lack the others; ``version``, ``protocol``: of the
    package as it is now, which was another one, it may be, when the pool began."""

    code_digest: str
    seconds: float
    threads: int
    problems: list[str]
    version: str = __version__
    protocol: int = PROTOCOL


class Importing(msgspec.Struct, tag=True, frozen=True):
    """parent -> pool: it imports this now: a library, or a file of ``nodes/``."""

    what: str


class Failed(msgspec.Struct, tag=True, frozen=True):
    """parent -> pool: what it imported last cannot be, and it ends."""

    text: str


class Forked(msgspec.Struct, tag=True, frozen=True):
    """parent -> pool: the worker's process exists."""

    worker: str
    pid: int


class Exited(msgspec.Struct, tag=True, frozen=True):
    """parent -> pool: the worker's process is gone. ``status``: exit code, or minus the signal."""

    worker: str
    pid: int
    status: int


Said = Fork | Kill | Importing | Failed | Ready | Forked | Exited
_PIPE = struct.Struct("i")
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Said)


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def tell(end: socket.socket, said: Said) -> bool:
    """Send; False when the other one is gone."""
    try:
        socket.send_fds(end, [_encode(said)], [said.pipe] if isinstance(said, Fork) else [])
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def hear(end: socket.socket) -> Iterator[Said | None]:
    """What is there, without blocking; None at last when the other one is gone, or says what nobody understands: user
    code runs in the parent, and may have written to a descriptor that is not its own."""
    while True:
        try:
            # not socket.recv_fds, which has no use for flags in Python 3.11
            flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            data, extra, _, _ = end.recvmsg(MESSAGE_MAX, socket.CMSG_LEN(_PIPE.size), flags)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data, extra = b"", []
        said = _understood(data, _pipes(extra))
        yield said
        if said is None:
            return


def _pipes(extra: list[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors that came along, which are ours to close now."""
    kind = (socket.SOL_SOCKET, socket.SCM_RIGHTS)
    found = (part[: len(part) - len(part) % _PIPE.size] for level, what, part in extra if (level, what) == kind)
    return [pipe for part in found for (pipe,) in _PIPE.iter_unpack(part)]


def _understood(data: bytes, pipes: list[int]) -> Said | None:
    """None for what is no message, or comes without its descriptor, or with one that belongs to nothing."""
    try:
        said = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        said = None
    if isinstance(said, Fork) and pipes:
        return msgspec.structs.replace(said, pipe=pipes[0])
    for pipe in pipes:
        os.close(pipe)
    return None if pipes or isinstance(said, Fork) else said
