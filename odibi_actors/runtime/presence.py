"""Why a broker of this host does not answer, from who holds which lock."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from odibi_actors.runtime.paths import held, left_behind
from odibi_actors.runtime.trouble import last_error, process_state

MAX_CONNECTION_FILE = 64 * 1024
LOGS = "see `odibictl logs broker`"


def absence(run: Path, waited: float) -> str:
    """What is to be said of the broker of the ``run`` folder, which has not answered for ``waited`` seconds, and what
    to do; "" when nothing of a system runs there."""
    pid = _holder(run / "broker.lock")
    if pid:
        state = process_state(pid)
        if state in ("T", "t"):
            return f"the broker (pid {pid}) is stopped by a signal: `kill -CONT {pid}` lets it go on"
        if "run" in _words(pid):
            return f"`odibictl run` (pid {pid}) is at work here, and takes no requests; wait for its end"
        waits = " and waits for the disk" if state == "D" else ""
        said = f"has not answered for {waited:g} s" if waited else "has not said yet where to reach it"
        return (
            f"the broker (pid {pid}) runs{waits}, but {said}: it is starting, or hangs; {LOGS}; "
            f"`kill -9 {pid}` has it started again, and loses nothing"
        )
    if held(run):
        said = last_error(run.parent / "log/broker.log")
        why = f" (it said last: {said})" if said else ""
        return f"a system runs, but not its broker, which is starting or is being started again{why}; {LOGS}"
    return ""


def moved(run: Path) -> str:
    """What is to be said when the ``run`` folder was moved, with its project, while a system runs on it, and what to
    do; "" when it was not."""
    try:
        with (run / "connection.json").open("rb") as file:
            told = json.loads(file.read(MAX_CONNECTION_FILE))
        former = left_behind(run / "connection.json", told) if isinstance(told, dict) else None
    except (OSError, ValueError, RecursionError):
        return ""
    if former is None or not held(run):
        return ""
    place = f" from {former.parent}" if former.name == run.name else ""
    return (
        f"{run.parent} was moved{place} while its system runs, which still looks for everything there: `odibictl down` "
        "stops it, then `odibictl up` goes on here"
    )


def _holder(path: Path) -> int:
    """The pid that holds the lock; 0 when it is free."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        told = os.pread(fd, 32, 0).decode("ascii", "replace").split()
        return int(told[0]) if told and told[0].isdigit() else 0
    finally:
        os.close(fd)
    return 0


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
