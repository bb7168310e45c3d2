"""The log of events: one SQLite file below the source's connection, to which the source actor appends.

Each push that was acknowledged is one row of ``events``, with the bytes of an Arrow table; its number is its place, and
never used again. A transaction takes several pushes, with one sync (``synchronous = FULL``, write-ahead log: see
https://sqlite.org/pragma.html#pragma_synchronous). ``keys`` are those of pushes that had one, to know them again.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import xxhash

from odibi_actors.failpoints import failpoint

NAME = "events.db"
VERSION = 1
PATIENCE = 5.0
"""Seconds to wait for another process that writes: a former source actor that still does so."""
FORGOTTEN = 1000
"""Keys that are forgotten by one append at most."""

_SCHEMA = """
CREATE TABLE log (version INTEGER NOT NULL, id BLOB NOT NULL);
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    total INTEGER NOT NULL,
    digest BLOB NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE keys (key TEXT PRIMARY KEY, digest BLOB NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX keys_by_time ON keys (at);
"""


class Event(NamedTuple):
    """One push in the log: its ``number`` (1 for the first), ``rows``, ``size`` in bytes, and the digest of these."""

    number: int
    rows: int
    size: int
    digest: bytes


class Known(NamedTuple):
    """The push of a key: the digest of its bytes, and its number."""

    digest: bytes
    number: int


class Damaged(Exception):
    """The file is not a log of events, or not one that this release reads."""


def digest(data: bytes) -> bytes:
    """16 bytes (xxh3-128)."""
    return bytes(xxhash.xxh3_128_digest(data))


class Log:
    """An open log. ``id``: it is another log, though it has its name, if that is another one."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        try:
            version, self.id = db.execute("SELECT version, id FROM log").fetchone()
        except (sqlite3.DatabaseError, TypeError) as error:
            raise Damaged(f"{path} is no log of events: {error}") from None
        if version != VERSION:
            raise Damaged(f"{path} is a log of version {version}; this release reads version {VERSION}")

    # --- reading --------------------------------------------------------------------------------------------------

    @property
    def last(self) -> int:
        """The number of the last event, 0 for none."""
        return int(self._db.execute("SELECT coalesce(max(number), 0) FROM events").fetchone()[0])

    def behind(self, number: int, through: int) -> Iterator[Event]:
        """The events behind that one, up to and with the other."""
        ask = "SELECT number, rows, bytes, digest FROM events WHERE number > ? AND number <= ? ORDER BY number"
        yield from map(Event._make, self._db.execute(ask, (number, through)))

    def data(self, first: int, last: int) -> list[tuple[int, bytes]]:
        """Numbers and bytes of these events."""
        ask = "SELECT number, data FROM events WHERE number BETWEEN ? AND ? ORDER BY number"
        return list(self._db.execute(ask, (first, last)))

    def backlog(self, taken: int) -> int:
        """The bytes behind that event."""
        total = "SELECT total FROM events WHERE number <= ? ORDER BY number DESC LIMIT 1"
        ends = [self._db.execute(total, (number,)).fetchone() for number in (taken, 1 << 62)]
        begin, end = (int(one[0]) if one else 0 for one in ends)
        return end - begin

    def known(self, key: str) -> Known | None:
        """The push that had this key."""
        found = self._db.execute("SELECT digest, number FROM keys WHERE key = ?", (key,)).fetchone()
        return Known._make(found) if found else None

    # --- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def appending(self) -> Iterator[None]:
        """A transaction: what is added within is there after it, whatever happens, or nothing of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            failpoint("events.commit")
            self._db.execute("COMMIT")
            failpoint("events.committed")
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    def add(self, key: str, data: bytes, rows: int, now: float) -> int:
        """Append one event; its number. ``key`` "" is none."""
        found = digest(data)
        total = self._db.execute("SELECT total FROM events ORDER BY number DESC LIMIT 1").fetchone()
        values = (now, rows, len(data), (total[0] if total else 0) + len(data), found, data)
        insert = "INSERT INTO events (at, rows, bytes, total, digest, data) VALUES (?, ?, ?, ?, ?, ?)"
        number = self._db.execute(insert, values).lastrowid
        assert number is not None
        if key:
            self._db.execute("INSERT INTO keys VALUES (?, ?, ?, ?)", (key, found, number, now))
        return number

    def forget(self, before: float) -> None:
        """Forget keys of earlier pushes."""
        ask = "DELETE FROM keys WHERE key IN (SELECT key FROM keys WHERE at < ? ORDER BY at LIMIT ?)"
        self._db.execute(ask, (before, FORGOTTEN))


@contextmanager
def reading(folder: Path) -> Iterator[Log | None]:
    """The log in a folder, None where there is none yet. Raises Damaged, sqlite3.Error and OSError."""
    path = folder / NAME
    if not path.exists():
        yield None
        return
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=PATIENCE, isolation_level=None)) as db:
        yield Log(db, path)


def writing(folder: Path) -> Log:
    """The log in a folder, made where there is none. Raises Damaged, sqlite3.Error and OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    new = not path.exists()
    db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        if new:
            path.chmod(0o600)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute("INSERT INTO log VALUES (?, ?)", (VERSION, secrets.token_bytes(16)))
        db.execute("COMMIT")
        if new:
            _sync(folder)
        return Log(db, path)
    except BaseException:
        db.close()
        raise


def _sync(folder: Path) -> None:
    """The names in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
