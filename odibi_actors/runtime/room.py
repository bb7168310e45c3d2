"""Room on a disk: which errors say that there is none, and what is free."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from odibi_actors.units import size

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
"""A full disk, or a quota that is used up: passes by itself once somebody makes room."""


def lacking(error: BaseException) -> bool:
    """Whether this is an error of the system for want of room."""
    return isinstance(error, OSError) and error.errno in NO_ROOM


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
