"""Who writes a file: what the kernel of this host knows.

A read lease (fcntl(2), F_SETLEASE) is granted for a file that nobody on this host has open for writing, and refused
with EAGAIN while somebody has: by a descriptor, or by a shared map that outlives its descriptor. Any other refusal (a
filesystem without leases, a file of another user) says nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Iterable, Iterator
from typing import Literal

Writer = Literal["none", "some", "unknown"]
"""Whether somebody on this host has a file open for writing."""

MAX_DESCRIPTORS = 50_000
"""Descriptors looked at to find who writes: about 100 ms. Beyond, nobody is named."""


def writer(path: str) -> Writer:
    """Whether somebody writes this file; never blocks, and follows no link: of one that is followed name its end."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        # refused for the lease of another process (a file server's), which it takes for whoever has the file open
        return "some" if error.errno == errno.EAGAIN else "unknown"
    try:
        # a writer who comes within these microseconds waits for our close; the signal about it is one that is ignored
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return "some" if error.errno == errno.EAGAIN else "unknown"
    finally:
        os.close(handle)
    return "none"


def names(paths: Iterable[str]) -> dict[str, str]:
    """For each of these files the process that has it open for writing, as ``pid 12 (rsync)``, as far as /proc says:
    those of other users, and those that opened it by another name, are not found."""
    wanted = {os.path.realpath(path): path for path in paths}
    found: dict[str, str] = {}
    for pid, number, target in _descriptors():
        path = wanted.get(target)
        if path is not None and path not in found and _for_writing(pid, number):
            found[path] = f"pid {pid} ({_command(pid)})"
            if len(found) == len(wanted):
                break
    return found


def _descriptors() -> Iterator[tuple[str, str, str]]:
    """(pid, descriptor, path) of every process that may be looked at."""
    looked = 0
    for pid in _entries("/proc"):
        for number in _entries(f"/proc/{pid}/fd") if pid.isdigit() else ():
            looked += 1
            if looked > MAX_DESCRIPTORS:
                return
            try:
                yield pid, number, os.readlink(f"/proc/{pid}/fd/{number}")
            except OSError:
                continue  # closed meanwhile


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []  # another user's, or gone


def _for_writing(pid: str, number: str) -> bool:
    try:
        with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii", errors="replace") as lines:
            for line in lines:
                if line.startswith("flags:"):
                    return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    except (OSError, ValueError, IndexError):
        pass
    return False


def _command(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "?"
