"""The log of events: one SQLite file below the source's connection, to which the source actor appends.

Each push that was acknowledged is one row of ``events``, with the bytes of an Arrow table; its number is its place, and
never used again. A transaction takes several pushes, with one sync (``synchronous = FULL``, write-ahead log: see
https://sqlite.org/pragma.html#pragma_synchronous). ``keys`` are those of pushes that had one, to know them again.

What everybody has read, and nobody goes back to, is deleted up to the ``floor``. Of what lies below it only those
events are there that a dead letter holds.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import xxhash

from odibi_actors.failpoints import failpoint
from odibi_actors.runtime.sqlite_space import give_back

NAME = "events.db"
VERSION = 2
WITHOUT_FLOOR = 1
"""The version of logs from which nothing was ever deleted."""
PATIENCE = 5.0
"""Seconds to wait for another process that writes: a former source actor that still does so."""
FORGOTTEN = 1000
"""Keys that are forgotten by one append at most."""
CHUNK, CHUNK_BYTES = 1000, 64 << 20
"""Events that are deleted in one transaction, and their bytes, at most: what is pushed waits for it."""

_SCHEMA = """
CREATE TABLE log (
    version INTEGER NOT NULL, id BLOB NOT NULL,
    floor INTEGER NOT NULL, base INTEGER NOT NULL, owner TEXT NOT NULL
);
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


class Floor(NamedTuple):
    """Up to and with event ``number`` all is deleted that nobody holds; these were ``base`` bytes. ``owner``: the store
    whose sources read it, and decide about that ("": nobody has)."""

    number: int = 0
    base: int = 0
    owner: str = ""


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
            self.version, self.id = db.execute("SELECT version, id FROM log").fetchone()
        except (sqlite3.DatabaseError, TypeError) as error:
            raise Damaged(f"{path} is no log of events: {error}") from None
        if self.version not in (WITHOUT_FLOOR, VERSION):
            raise Damaged(f"{path} is a log of version {self.version}; this release reads version {VERSION}")

    # --- reading --------------------------------------------------------------------------------------------------

    @contextmanager
    def as_of_now(self) -> Iterator[None]:
        """All that is read within is of one moment."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    @property
    def floor(self) -> Floor:
        """Up to where it is deleted."""
        if self.version == WITHOUT_FLOOR:
            return Floor()
        return Floor._make(self._db.execute("SELECT floor, base, owner FROM log").fetchone())

    @property
    def last(self) -> int:
        """The number of the last event that was ever pushed, 0 for none."""
        (newest,) = self._db.execute("SELECT coalesce(max(number), 0) FROM events").fetchone()
        return max(int(newest), self.floor.number)

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
        base = self.floor.base
        ends = [self._db.execute(total, (number,)).fetchone() for number in (taken, 1 << 62)]
        begin, end = (max(int(one[0]) if one else 0, base) for one in ends)
        return end - begin

    def since(self) -> float | None:
        """When the oldest event above the floor was pushed (seconds since the epoch); None: there is none."""
        ask = "SELECT at FROM events WHERE number > ? ORDER BY number LIMIT 1"
        found = self._db.execute(ask, (self.floor.number,)).fetchone()
        return float(found[0]) if found else None

    @property
    def newest(self) -> str:
        """The key of the newest push that has one, "" for none: it is never forgotten."""
        found = self._db.execute("SELECT key FROM keys ORDER BY at DESC, number DESC LIMIT 1").fetchone()
        return str(found[0]) if found else ""

    def any_up_to(self, number: int) -> bool:
        """Whether any event up to that one is there."""
        return self._db.execute("SELECT 1 FROM events WHERE number <= ? LIMIT 1", (number,)).fetchone() is not None

    def stale(self, before: float, keep: int) -> int:
        """The last event that was pushed before that time, or has ``keep`` bytes or more behind it; the floor if there
        is none. They are in the order of time, but for clocks that were set back."""
        floor, last = self.floor.number, self.last

        def stays(number: int) -> bool:
            (at,) = self._db.execute("SELECT at FROM events WHERE number = ?", (number,)).fetchone()
            return bool(at >= before and self.backlog(number) < keep)

        return floor + bisect_left(range(floor + 1, last + 1), True, key=stays)

    def known(self, key: str) -> Known | None:
        """The push that had this key."""
        found = self._db.execute("SELECT digest, number FROM keys WHERE key = ?", (key,)).fetchone()
        return Known._make(found) if found else None

    # --- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def changing(self) -> Iterator[None]:
        """A transaction: what is changed within is so after it, whatever happens, or nothing of it."""
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
        before = max(total[0] if total else 0, self.floor.base)
        values = (now, rows, len(data), before + len(data), found, data)
        insert = "INSERT INTO events (at, rows, bytes, total, digest, data) VALUES (?, ?, ?, ?, ?, ?)"
        number = self._db.execute(insert, values).lastrowid
        assert number is not None
        if key:
            self._db.execute("INSERT INTO keys VALUES (?, ?, ?, ?)", (key, found, number, now))
        return number

    def forget(self, before: float) -> None:
        """Forget keys of earlier pushes."""
        ask = "DELETE FROM keys WHERE key IN (SELECT key FROM keys WHERE at < ? AND key <> ? ORDER BY at LIMIT ?)"
        self._db.execute(ask, (before, self.newest, FORGOTTEN))

    def prune(self, through: int, held: Sequence[tuple[int, int]], owner: str) -> tuple[int, bool]:
        """Delete the first events up to and with ``through``, but for those that are ``held`` (first, last): how many,
        and whether there are more. Raises Damaged: they are another store's to delete."""
        gone: list[int] = []
        size = 0
        with self.changing():
            floor = self.floor
            if floor.owner not in ("", owner):
                raise Damaged("another project's store reads it, and deletes from it what it has read")
            if self._db.execute("SELECT 1 FROM events WHERE number = ?", (through,)).fetchone() is None:
                through = min(through, floor.number)
            more = False
            for number, length in self._db.execute(
                "SELECT number, bytes FROM events WHERE number <= ? ORDER BY number", (through,)
            ):
                if any(first <= number <= last for first, last in held):
                    continue
                if len(gone) >= CHUNK or size >= CHUNK_BYTES:
                    more = True
                    break
                gone.append(number)
                size += length
            reached = gone[-1] if more else through
            if reached > floor.number:
                (base,) = self._db.execute("SELECT total FROM events WHERE number = ?", (reached,)).fetchone()
                self._db.execute("UPDATE log SET floor = ?, base = ?, owner = ?", (reached, base, owner))
            self._db.executemany("DELETE FROM events WHERE number = ?", [(number,) for number in gone])
            failpoint("events.prune")
        failpoint("events.pruned")
        return len(gone), more

    def give_back(self) -> bool:
        """Give some of the space that is free back to the file system; whether there is more. A log that was made by a
        release before this one keeps its space, for what comes."""
        with self.changing():
            return give_back(self._db)[1]


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
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a log that is there already it changes nothing
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute("INSERT INTO log VALUES (?, ?, 0, 0, '')", (VERSION, secrets.token_bytes(16)))
        elif Log(db, path).version == WITHOUT_FLOOR:
            for column in ("floor INTEGER NOT NULL DEFAULT 0", "base INTEGER NOT NULL DEFAULT 0"):
                db.execute(f"ALTER TABLE log ADD COLUMN {column}")
            db.execute("ALTER TABLE log ADD COLUMN owner TEXT NOT NULL DEFAULT ''")
            db.execute("UPDATE log SET version = ?", (VERSION,))
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
