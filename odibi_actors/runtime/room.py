"""Room on a disk, and open files: which errors say that there are no more, and what is to be known of that."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
from pathlib import Path

from odibi_actors.units import size

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
"""A full disk, or a quota that is used up: passes by itself once somebody makes room."""
SPARE = 8
"""Files that SQLite may have to open beside a database: its journal, its index, the folder."""


def lacking(error: BaseException) -> bool:
    """Whether this is an error of the system for want of room."""
    return isinstance(error, OSError) and error.errno in NO_ROOM


def explained(error: BaseException, text: str) -> str:
    """``text``, which tells of this error; with what is free where a disk is full, and what to do where too many files
    are open."""
    number = error.errno if isinstance(error, OSError) else None
    if number in NO_ROOM:
        return with_free(text, getattr(error, "filename", None))
    told = too_many(error)
    return f"{text} ({told})" if told else text


def too_many(error: BaseException) -> str:
    """What to do where too many files are open; "" of any other error. SQLite does not say why it cannot open one."""
    number = error.errno if isinstance(error, OSError) else None
    cannot_open = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF == sqlite3.SQLITE_CANTOPEN
    if number == errno.EMFILE or (cannot_open and out_of_files()):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return f"a process may have {limit:,} files open: `ulimit -n 4096` before its start allows more"
    return "of all processes of this host: `sysctl fs.file-max` is the limit" if number == errno.ENFILE else ""


def out_of_files() -> bool:
    """Whether this process may open fewer than ``SPARE`` files more."""
    held: list[int] = []
    try:
        held += (os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(SPARE))
    except OSError as error:
        return error.errno == errno.EMFILE
    finally:
        for one in held:
            os.close(one)
    return False


def free(path: str | Path) -> str:
    """What is free on the disk of ``path``, which need not be there: ``12.0 KB of 1.0 GB free``, also of the inodes
    where those are used up; "" where nobody can tell. What a quota leaves is not known here."""
    place = Path(path)
    while True:
        try:
            found = os.statvfs(place)
            break
        except OSError:
            if place == place.parent:
                return ""
            place = place.parent
    if not found.f_blocks:
        return ""
    told = f"{size(found.f_bavail * found.f_frsize)} of {size(found.f_blocks * found.f_frsize)} free"
    return f"{told}, and no inode" if found.f_files and not found.f_favail else told


def with_free(text: str, path: str | Path | None) -> str:
    """``text``, and what is free where ``path`` lies."""
    told = free(path) if path else ""
    return f"{text} ({told})" if told else text
