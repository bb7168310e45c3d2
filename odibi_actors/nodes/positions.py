"""Reading the bytes of a planned file, and being sure that they are the planned ones."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path, PurePosixPath

import msgspec

from odibi_actors.batches.files import digest_bytes
from odibi_actors.batches.ipc import MAX_BYTES
from odibi_actors.model import Position, PositionRead
from odibi_actors.nodes.failures import Failed
from odibi_actors.runtime.visible import named
from odibi_actors.sources.file_position import FileTimes, file_times
from odibi_actors.units import format_instant, plural

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
"""Never block on a FIFO, never follow a link unless that is asked for (``follow``): what was planned is a regular file,
whatever has taken its name since."""


TRIES = 3
"""Times a file is read whose ctime moves while it is read."""


class Files:
    """The planned files of one iteration as they are read: ``read``, by identity, says what was read of each, and
    ``touched`` which of them had another ctime than planned and nothing else."""

    def __init__(self, folder: Path, follow: bool = False) -> None:
        self.folder = folder
        self._flags = _FLAGS & ~os.O_NOFOLLOW if follow else _FLAGS
        self.read: dict[str, PositionRead] = {}
        self.touched: list[str] = []

    def load(self, position: Position) -> bytes:
        """See ``load``. What is read twice has to be the same twice."""
        data, times = _load(self.folder, position, self._flags)
        digest = bytes.fromhex(position.digest or digest_bytes(data))
        former = self.read.get(position.identity)
        if former is not None and former.digest != digest:
            raise _changed(position, "its bytes are others than a moment ago")
        if former is None and file_times(position.detail).ctime_ns not in (0, times.ctime_ns):
            self.touched.append(position.identity)
        self.read[position.identity] = PositionRead(digest, times.packed())
        return data

    def line(self, position: Position, line: int) -> int:
        """A file is loaded whole: its lines are those of what was loaded."""
        return line

    def parsed(self, position: Position, rows: int) -> None:
        """A file that was loaded has so many rows."""
        self.read[position.identity] = msgspec.structs.replace(self.read[position.identity], rows=rows)


def load(folder: Path, position: Position) -> bytes:
    """All bytes of a planned file, checked against its position before and after (size, mtime, inode, digest).

    They are copied, not mapped: a file cut short under a map would kill the worker. Raises Failed (``changed``, or
    ``malformed`` when larger than a batch may be) and OSError.
    """
    return _load(folder, position)[0]


def _load(folder: Path, position: Position, flags: int = _FLAGS) -> tuple[bytes, FileTimes]:
    """The bytes, and the times of the file as it was read."""
    parts = PurePosixPath(position.identity).parts
    if not parts or ".." in parts or parts[0].startswith("/") or "\0" in position.identity:
        raise Failed("invalid", f"{position.identity!r} is not a path below {folder}", position=position.identity)
    try:
        file_times(position.detail)
    except ValueError as error:
        raise Failed("invalid", str(error), position=position.identity) from error
    if position.size > MAX_BYTES:
        name = named(position.identity)
        message = f"{name} has {position.size} bytes, over the limit of {MAX_BYTES}; split the file"
        raise Failed("malformed", message, position=position.identity)
    try:
        descriptor = os.open(folder.joinpath(*parts), flags)
    except (FileNotFoundError, NotADirectoryError):
        raise _vanished(position) from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _changed(position, "a link or a socket stands in its place") from None
        raise
    try:
        data, times = _read(descriptor, position)
    finally:
        os.close(descriptor)
    if len(data) != position.size:
        raise _changed(position, f"{len(data)} of {plural(position.size, 'byte')} were read")
    if position.digest and digest_bytes(data) != position.digest:
        raise _changed(position, "its bytes are others (digest)")
    return data, times


def _read(descriptor: int, position: Position) -> tuple[bytes, FileTimes]:
    """The bytes and the times. The ctime moves with every write, whatever times the writer sets, and also when somebody
    links the file or changes its permissions: so bytes count that were read while it stood still."""
    for _ in range(TRIES):
        before = os.fstat(descriptor)
        _compare(position, before)
        os.lseek(descriptor, 0, os.SEEK_SET)
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            data = file.readall()
        after = os.fstat(descriptor)
        _compare(position, after)
        if before.st_ctime_ns == after.st_ctime_ns:
            return data, FileTimes(after.st_mtime_ns, after.st_ino, after.st_ctime_ns)
    raise _changed(position, f"its ctime moved each of {TRIES} times that it was read")


def _compare(position: Position, now: os.stat_result) -> None:
    if not stat.S_ISREG(now.st_mode):
        raise _changed(position, "it is no regular file any more")
    planned = file_times(position.detail)
    if planned.inode != now.st_ino:
        raise _changed(position, f"another file has taken its name{_written(position, now)}")
    if position.size != now.st_size:
        what = f"it had {plural(position.size, 'byte')}, and has {now.st_size:,}{_written(position, now)}"
        raise _changed(position, what)
    if planned.mtime_ns != now.st_mtime_ns:
        raise _changed(position, f"it was written again{_written(position, now)}")


def _written(position: Position, now: os.stat_result) -> str:
    """When the file was written, and when the one that was planned; "" where these times do not tell them apart."""
    both = (file_times(position.detail).mtime_ns, now.st_mtime_ns)
    planned, found = (format_instant(ns / 1e9) for ns in both)
    return f" (modified {found}; when planned, {planned})" if planned != found else ""


def _vanished(position: Position) -> Failed:
    """It went since it was planned; or it was not there then, and the sink that has published it says that it is
    committed: nothing takes its place."""
    if file_times(position.detail).inode:
        return _changed(position, "it has vanished")
    message = (
        f"{named(position.identity)} is not there, though the sink that published it has it among what is committed"
    )
    return Failed("missing", message, position=position.identity)


def _changed(position: Position, what: str) -> Failed:
    """What is to be done about it the broker says: a reference may be replaced, what is read once may not."""
    message = f"{named(position.identity)} is not the file that was planned: {what}"
    return Failed("changed", message, position=position.identity)
