"""The open files of a store: SQLite's connection, its log, the seals. Whatever copies the log seals it first."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from odibi_actors.checkpoint import wal
from odibi_actors.checkpoint.seals import Mark, Seals
from odibi_actors.errors import StoreError


class Files:
    """Owner of a connection ``db`` and, unless it is in memory, of the database's seals."""

    def __init__(self, db: sqlite3.Connection, log: Path | None = None, seals: Seals | None = None) -> None:
        self.db = db
        self.log = log
        self.seals = seals
        # SQLite copies the log when it is closed, and it has to be read before that, whatever else is open by then.
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) if seals is not None else -1

    def advance(self, epoch: int, record: int) -> None:
        """A commit is synced: note how far it went. Raises OSError."""
        if self.seals is not None:
            self.seals.advance(Mark(epoch, record))

    def checkpoint(self) -> None:
        """Copy the log into the database file, sealed first. Raises StoreError, OSError and sqlite3.Error."""
        if self.seals is None or self.log is None:
            return
        log = wal.read(self.log, verify=False)
        self.seals.seal(log)
        _, frames, _ = self.db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if frames != log.frames:
            raise StoreError(f"{self.log} has {log.frames} frames, SQLite wrote {frames}: it was changed from outside")

    def close(self) -> None:
        """Close all of it; closing the connection copies and removes the log. Idempotent."""
        log = wal.Log()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        if self.seals is not None and self.log is not None and not self.seals.closed:
            try:
                log = wal.read(self.log, verify=False)
                self.seals.seal(log)
            except (StoreError, OSError):
                pass  # a failing disk: then the log is not copied either, or the next start says what does not match
        self.db.close()
        if self.seals is not None and self.log is not None and not self.seals.closed:
            try:
                if log.frames and not self.log.exists():
                    self.seals.settle(log)
            except OSError:
                pass
            self.seals.close()
