"""Where ``odibictl up`` shows what its lines say: each behind the name of its line, in a colour on a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from odibi_actors.runtime.log import stamped
from odibi_actors.runtime.logfile import LOG_MAX, LogFile
from odibi_actors.runtime.outlet import Outlet

COLOURS = (36, 33, 32, 35, 34, 31)
"""cyan, yellow, green, magenta, blue, red: as `odibictl logs` has them."""
UP = "up"
"""Whose name is before what `up` itself says."""
GONE = "nothing reads this output any more; the system goes on, and `odibictl down` stops it"


class Console:
    """Writes lines to stderr as fast as they are taken, and those it does not take to the file ``log`` of at most
    ``limit`` bytes; with ``detached`` all of them go there. Without ``log`` the former are lost."""

    def __init__(
        self, names: Iterable[str], log: Path | None = None, *, detached: bool = False, limit: int = LOG_MAX
    ) -> None:
        names = [UP, *names]
        self._width = max(10, *map(len, names))
        self._path, self._limit = log, limit
        self._file = LogFile(log, limit) if log is not None and detached else None
        self._outlet = Outlet(self._left_out, self._spill) if not detached else None
        self._told_gone = False
        coloured = not detached and _terminal() and not os.environ.get("NO_COLOR")
        self._colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)} if coloured else {}

    def write(self, name: str, line: bytes) -> None:
        """One line, without its newline. It neither waits nor raises."""
        label = f"{name:<{self._width}} | "
        if name in self._colours:
            label = f"\x1b[{self._colours[name]}m{label}\x1b[0m"
        self._put(label.encode() + line + b"\n")

    def say(self, level: str, text: str, **fields: object) -> None:
        """A line of ``up`` itself."""
        if line := stamped(level, UP, text, fields):
            self.write(UP, line.encode().rstrip(b"\n"))

    # --- for the poll loop ----------------------------------------------------------------------------------------

    @property
    def fd(self) -> int:
        """What to poll for POLLOUT while ``waiting``."""
        return self._outlet.fd if self._outlet is not None else 2

    @property
    def waiting(self) -> bool:
        """Whether there are lines that nobody has taken yet."""
        return self._outlet is not None and self._outlet.waiting

    def pump(self) -> None:
        """Show what can be shown now, and see that the log file is there."""
        if self._outlet is not None:
            self._outlet.pump()
        if self._file is not None:
            self._file.look()

    def close(self) -> None:
        """At the end: wait a moment for a reader who is slow."""
        if self._outlet is not None:
            self._outlet.close()

    # --------------------------------------------------------------------------------------------------------------

    def _put(self, data: bytes) -> None:
        if self._outlet is not None:
            self._outlet.write(data)
        elif self._file is not None:
            self._file.write(data)

    def _spill(self, data: bytes) -> None:
        """Keep what the terminal has not taken."""
        if self._path is None:
            return
        if self._file is None:
            try:
                self._file = LogFile(self._path, self._limit)
            except OSError:  # no space, no rights: the next line tries again
                return
        if self._outlet is not None and self._outlet.gone and not self._told_gone:
            self._told_gone = True
            self._file.write(self._line("warning", GONE))
        self._file.write(data)

    def _left_out(self, count: int) -> bytes:
        where = f": they are in {self._path}" if self._path is not None else ""
        return self._line("warning", f"{count} lines were not shown here, because nothing took them{where}")

    def _line(self, level: str, text: str) -> bytes:
        line = stamped(level, UP, text)
        return f"{UP:<{self._width}} | {line}".encode() if line else b""


def _terminal() -> bool:
    try:
        return os.isatty(2) and os.environ.get("TERM") != "dumb"
    except OSError:
        return False
