"""The few Linux calls Python's library lacks: dying with the parent, and finding who started us."""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from odibi_actors.runtime import forks

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def own_standard_descriptors() -> None:
    """Descriptors 0 to 2 are open, if only to /dev/null: where they are closed, the next socket or file would get their
    numbers, and what is printed would go there."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free one: this one
            os.set_inheritable(opened, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, mode, closefd=False, encoding="utf-8"))  # noqa: SIM115 - as long as we live


def cast_away() -> bool:
    """Whether the current folder was removed: then nothing relative means anything."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def stand_in(folder: Path) -> None:
    """Go to ``folder`` (absolute), if the current one was removed: DuckDB, for one, ends a process that stands in none.
    Raises OSError."""
    if cast_away():
        os.chdir(folder)


def ignore_draining() -> None:
    """SIGTERM and SIGINT, which reach whole process groups, do nothing to this process; what it starts, or forks, gets
    them as any program does. So a handler, which exec resets: SIG_IGN would be inherited by whatever a node starts."""
    for number in forks.SIGNALS:
        signal.signal(number, lambda *_: None)
    forks.children_get(forks.USUAL)


def die_with_parent(parent: int) -> None:
    """SIGKILL this process when ``parent``, which started it, dies; at once when it is dead already.

    The kernel ties this to the thread that forked, so only single-threaded parents (or main threads) may start us.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died between fork and prctl: the signal will never come
        os._exit(1)


def ancestors() -> Iterator[tuple[int, list[str]]]:
    """(pid, argv) of our parent, its parent, and so on."""
    pid = os.getppid()
    while pid > 0:
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            # the command's name is in parentheses and may hold anything, so count from the last one
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return
        yield pid, argv
        pid = int(stat[1])


def launchers() -> list[int]:
    """pids of those that started us and that we end with, nearest first: honcho, and the process that
    ``ODIBI_LAUNCHER=<pid>`` names, which ``odibictl up`` sets to its own."""
    named = os.environ.get("ODIBI_LAUNCHER", "")
    return [pid for pid, argv in ancestors() if str(pid) == named or _is_honcho(argv)]


def _is_honcho(argv: list[str]) -> bool:
    return "honcho" in [os.path.basename(word) for word in argv[:4]]


def abandoned() -> bool:
    """Whether who launched us was killed while it started us. ``odibictl up`` is our parent, or its parent, as long as
    it lives. honcho's runner, a fork of it that started our shell, lives on with us
    for good: there is no other honcho above it, and whoever led its process group is gone."""
    named = os.environ.get("ODIBI_LAUNCHER", "")
    if named and not any(str(pid) == named for pid, _ in ancestors()):
        return True
    near = [pid for pid, argv in itertools.islice(ancestors(), 2) if _is_honcho(argv)]
    return len(near) == 1 and launchers() == near and not _lives(os.getpgid(near[0]))


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def exit_reason(status: int) -> str:
    """``exit code 3`` or ``SIGKILL``, from a return code as ``subprocess`` gives it."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def lock_holders(*paths: Path) -> str:
    """Who else holds a lock on one of these files, as ``pid 12 (sqlite3)``, as far as /proc tells; "" when nobody."""
    try:
        wanted = {(found.st_dev, found.st_ino) for found in (path.stat() for path in paths if path.exists())}
        lines = Path("/proc/locks").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    pids: dict[int, None] = {}
    for line in lines:
        words = line.replace("->", "").split()  # number, kind, mode, access, pid, major:minor:inode, from, to
        if len(words) < 8 or words[5].count(":") != 2:
            continue
        major, minor, inode = words[5].split(":")
        if (os.makedev(int(major, 16), int(minor, 16)), int(inode)) in wanted and int(words[4]) > 0:
            pids[int(words[4])] = None
    pids.pop(os.getpid(), None)
    return ", ".join(f"pid {pid} ({_command(pid)})" for pid in pids)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "?"
