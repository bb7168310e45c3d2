"""What the machine says about time: its wall clock, when that is set, and when its time zones change."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Final

from odibi_actors.messages import ClockSet

DRIFT: Final = 0.001
"""Seconds by which the wall clock may differ from what was told."""
JUMP: Final = 0.5
"""Seconds from which on a difference is a jump, not a correction."""
ZONES_EVERY: Final = 60.0
"""Seconds between two looks at the time zone data."""

_REALTIME: Final = 0
_NONBLOCK_CLOEXEC: Final = os.O_NONBLOCK | os.O_CLOEXEC
_ABSTIME_CANCEL_ON_SET: Final = 1 | 2
_FAR: Final = 2**40  # seconds: a time that never comes


def boot_time() -> float:
    """Seconds since the machine was started, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class WallClock:
    """Compares the wall clock with the runtime's, which goes on from ``now`` and is never set."""

    def __init__(
        self, now: float, wall: Callable[[], float] = time.time, elapsed: Callable[[], float] = boot_time
    ) -> None:
        self._wall, self._elapsed = wall, elapsed
        self._base = now - elapsed()
        self._told: float | None = None

    def look(self) -> ClockSet | None:
        """News, if the offset is not what was told before."""
        offset = self._wall() - (self._base + self._elapsed())
        change = 0.0 if self._told is None else abs(offset - self._told)
        if self._told is not None and change <= DRIFT:
            return None
        self._told = offset
        return ClockSet(offset, jumped=change > JUMP)


class _TimerSpec(ctypes.Structure):
    """``struct itimerspec``: interval and value, in seconds and nanoseconds."""

    _fields_ = [("every", ctypes.c_long * 2), ("at", ctypes.c_long * 2)]


class Alarm:
    """A file descriptor that becomes readable when the wall clock is set: a timer that is cancelled then
    (``timerfd_create(2)``; the library of Python 3.11 lacks it). ``fd`` is None where there is no such thing: the
    clock is looked at each second all the same."""

    def __init__(self) -> None:
        self.fd: int | None = None
        try:
            self._libc = ctypes.CDLL(None, use_errno=True)
            fd = self._libc.timerfd_create(_REALTIME, _NONBLOCK_CLOEXEC)
        except (OSError, AttributeError):
            return
        if fd < 0:
            return
        self.fd = fd
        if not self.arm():
            self.close()

    def arm(self, at: int = _FAR) -> bool:
        """Wait for the clock to be set, or for the second ``at``."""
        spec = _TimerSpec((0, 0), (at, 0))
        return bool(self._libc.timerfd_settime(self.fd, _ABSTIME_CANCEL_ON_SET, ctypes.byref(spec), None) == 0)

    def read(self) -> None:
        """It was set: wait for the next time."""
        if self.fd is None:
            return
        with contextlib.suppress(OSError):  # ECANCELED is how the kernel says that it was set
            os.read(self.fd, 8)
        if not self.arm():
            self.close()

    def close(self) -> None:
        """Release the descriptor."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def zone_files() -> list[Path]:
    """Files that change with the time zone data: of the machine, and of the package ``tzdata``."""
    folders = [Path(folder) for folder in zoneinfo.TZPATH]
    folders += [Path(folder) / "tzdata" / "zoneinfo" for folder in sys.path if folder]
    names = ("", "tzdata.zi", "+VERSION", "tzdata.version", "zones", "../__init__.py")
    return [folder / name for folder in folders for name in names]


class ZoneFiles:
    """Looks now and then whether the time zone data has changed."""

    def __init__(self, now: float, files: Callable[[], list[Path]] = zone_files) -> None:
        self._files = files
        self._next = now + ZONES_EVERY
        self._seen = self._print()

    def changed(self, now: float) -> bool:
        """Whether it has since the last look; at most one look each ZONES_EVERY."""
        if now < self._next:
            return False
        self._next = now + ZONES_EVERY
        before, self._seen = self._seen, self._print()
        return before != self._seen

    def _print(self) -> list[tuple[str, int, int]]:
        prints = []
        for path in self._files():
            try:
                stat = path.stat()
            except OSError:
                continue
            prints.append((str(path), stat.st_mtime_ns, stat.st_ino))
        return prints
