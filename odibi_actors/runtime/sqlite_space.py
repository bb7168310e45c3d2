"""Space that SQLite files no longer need, given back to the file system."""

from __future__ import annotations

import sqlite3

VACUUM_PAGES = 256
"""Pages given back in one transaction: a MB, each of which may have to be moved."""

SLACK_PAGES = 64
"""Free pages that always stay, besides an eighth of those in use: what comes next takes them."""


def give_back(db: sqlite3.Connection) -> tuple[int, bool]:
    """Cut free pages off the file's end, beyond what is likely to be taken again: how many, and whether there are more.
    None of a file that was made without ``auto_vacuum``. In a transaction."""
    pages, free, mode = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "auto_vacuum")
    )
    surplus = free - max(SLACK_PAGES, (pages - free) // 8)
    if mode == 0 or surplus <= 0:
        return 0, False
    wanted = min(VACUUM_PAGES, surplus)
    for _ in range(wanted):
        db.execute("PRAGMA incremental_vacuum(1)")  # it stops after each page, and sqlite3 does not go on
    return wanted, surplus > wanted
