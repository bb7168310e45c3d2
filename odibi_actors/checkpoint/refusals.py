"""What it means that SQLite cannot work with ``checkpoints.db``: only damage is fixed from a backup."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from odibi_actors.checkpoint.schema import FIX
from odibi_actors.runtime import room
from odibi_actors.runtime.linux import lock_holders

AGAIN = "`odibictl up` goes on by itself, `odibictl run` when it is run again"
FULL = f"the disk is full; once there is space {AGAIN}"
LOCKED = f"once the lock is released {AGAIN}"
_PASSING = {
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_NOMEM: f"there is not enough memory; once there is {AGAIN}",
    sqlite3.SQLITE_READONLY: "it, or its folder, cannot be written by this user",
    sqlite3.SQLITE_PERM: "it, or its folder, cannot be written by this user",
    sqlite3.SQLITE_CANTOPEN: "it, or its folder, cannot be opened by this user",
    sqlite3.SQLITE_IOERR: "the disk fails, or is full: see the system's log",
}
"""Primary result code -> what keeps SQLite from working although the file may be whole."""


def passing(error: BaseException, path: Path) -> str:
    """Why it cannot work with the database at ``path`` now, where that says nothing about the file; "" where the file
    is at fault."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    reason = FULL if room.lacking(error) else room.too_many(error) or _PASSING.get(code, "")
    return room.with_free(reason, path) if reason == FULL else reason


def unreadable(path: Path, error: BaseException) -> str:
    """The message for a database that SQLite cannot read, with what to do."""
    reason = passing(error, path)
    if reason == LOCKED:
        who = lock_holders(path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")))
        return f"{path} is locked by {who or 'another program'}: {reason}"
    return f"{path}: {error}: {reason}" if reason else f"{path} cannot be read: {error}; {FIX}"
