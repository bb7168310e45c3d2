"""Who runs on a data_dir: the lock files in its run folder, each held by a living process and naming its pid.

The kernel frees a lock when its holder dies, so unlike a bare pid file it cannot lie.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from odibi_actors.errors import ConflictError
from odibi_actors.runtime.paths import sign

SUFFIXES = (".pid", ".lock")


def hold(path: Path) -> int:
    """Take the lock and write our pid; returns its open descriptor. Raises ConflictError when it is held."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _pid(fd)
        os.close(fd)
        raise ConflictError(f"another `odibictl up` is running (pid {pid} holds {path})") from None
    sign(fd, path)
    return fd


def holders(run: Path) -> dict[str, int]:
    """Name of the role -> pid (0: not told) of every lock that is held; ``up`` first."""
    found: dict[str, int] = {}
    if not run.is_dir():
        return found
    for path in sorted(run.iterdir(), key=lambda path: (path.stem != "up", path.name)):
        if path.suffix in SUFFIXES and (pid := holder(path)) is not None:
            found[path.stem] = pid
    return found


def holder(path: Path) -> int | None:
    """The pid that holds this lock, 0 when it is not told, None when it is free."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _who(path, _pid(fd))
    finally:
        os.close(fd)
    return None


def _who(path: Path, told: int) -> int:
    """Who has the file open: the one it names, if true, as that one may be sent a signal; else whom we find."""
    if told == os.getpid():
        return told
    found = os.stat(path)
    for pid in (told, *(int(name) for name in sorted(os.listdir("/proc")) if name.isdigit())):
        with suppress(OSError):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    if pid != os.getpid() and os.path.samestat(entry.stat(), found):
                        return pid
    return 0


def _pid(fd: int) -> int:
    text = os.pread(fd, 32, 0).decode("ascii", "replace").split()
    return int(text[0]) if text and text[0].isdigit() else 0


def runs(pid: int, command: str) -> bool:
    """Is the process of that pid an ``odibictl`` at ``command``?"""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    return command in words and any("odibi" in word for word in words[: words.index(command)])


def alive(pid: int) -> bool:
    """Is there a process of that pid (not a zombie)?"""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
