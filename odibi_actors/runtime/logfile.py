"""The log file of an actor: bounded, and made again when somebody takes it away."""

from __future__ import annotations

import os
from pathlib import Path

from odibi_actors.runtime.log import stamped

LOG_MAX = 10_000_000  # bytes of one log file; the former one is kept beside it
LOOK = 2.0  # seconds between two looks whether it is still there, for those who have nothing to write


class LogFile:
    """``<name>.log``, cut over to ``<name>.log.1`` at ``LOG_MAX`` bytes. One that was removed, or renamed by
    ``logrotate``, is made again, its folder too. A disk that is full must not stop an actor: what cannot be written is
    lost, and counted in the next line that can."""

    def __init__(self, path: Path, limit: int = LOG_MAX) -> None:
        self._path, self._limit = path, limit
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._size = os.fstat(self._fd).st_size
        self._within = False  # a line has not ended
        self._missing = 0  # lines
        self._reason = ""

    def write(self, data: bytes) -> None:
        """Append."""
        try:
            self._look()
            if self._size + len(data) > self._limit:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._open()
            if self._missing:
                self._note(f"{self._missing} lines are missing here: {self._reason}")
                self._missing = 0
            while data:
                data = data[self._append(data) :]
        except OSError as error:
            self._missing += max(1, data.count(b"\n"))
            self._reason = error.strerror or str(error)

    def look(self) -> None:
        """Make it again if it was taken away."""
        try:
            self._look()
        except OSError as error:
            self._reason = error.strerror or str(error)

    def _look(self) -> None:
        mine = os.fstat(self._fd)
        try:
            if os.path.samestat(os.stat(self._path), mine):
                return
        except FileNotFoundError:
            if not self._path.parent.parent.is_dir():
                return  # the project was moved, and the file with it: what is said stands there
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
        self._open()
        if self._size == 0:
            self._note("this log begins here: the former file was removed or renamed")

    def _open(self) -> None:
        # the new one before the old one is closed: so it has another inode, and who follows the log sees the change
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        os.close(self._fd)
        self._fd, self._size, self._within = fd, os.fstat(fd).st_size, False

    def _append(self, data: bytes) -> int:
        taken = os.write(self._fd, data)
        self._size += taken
        self._within = not data[:taken].endswith(b"\n")
        return taken

    def _note(self, text: str) -> None:
        self._append(b"\n" * self._within + stamped("warning", self._path.stem, text).encode())
