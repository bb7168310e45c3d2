"""Opening ``checkpoints.db``: who holds it, is it ours, is it whole. Every doubt is a StoreError, never a new start."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
import time
import uuid
from pathlib import Path

from odibi_actors.checkpoint import refusals, seals, wal
from odibi_actors.checkpoint.files import Files
from odibi_actors.checkpoint.schema import APPLICATION_ID, FIX, FORMAT, SCHEMA
from odibi_actors.checkpoint.seals import Mark, Seals
from odibi_actors.checkpoint.upgrades import upgrade
from odibi_actors.errors import ConflictError, StoreError

SEALED = 2
"""The first format that has seals: an older database gets them, a newer one that has lost them is refused."""

UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
"""What a damaged database raises; the second when damaged text is part of SQLite's own message."""

_DB_HEADER = b"SQLite format 3\0"


LOOKERS_WAIT = 10.0
"""Seconds that a store waits at its start for those who read it at rest: they hold its lock, shared, for a moment."""


def lock(data_dir: Path) -> int:
    """Hold ``run/store.lock`` of the data_dir; returns the descriptor. Raises ConflictError naming the holder."""
    run = data_dir / "run"
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = run / "store.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    until = time.monotonic() + LOOKERS_WAIT
    while not _exclusive(fd):
        holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
        if time.monotonic() < until and _only_looked_at(fd):
            time.sleep(0.01)
            continue
        os.close(fd)
        raise ConflictError(
            f"{path}: the checkpoint store of this data_dir is running already (process {holder}); "
            "stop it with `odibictl down`, or use another data_dir"
        )
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _exclusive(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _only_looked_at(fd: int) -> bool:
    """No store holds the lock: it could be shared."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True


def open_files(path: Path) -> Files:
    """The verified database, made again only if there is nothing of one. Raises StoreError."""
    try:
        if not path.exists():
            _create(path)
        if check_header(path) >= SEALED and not path.with_name(path.name + seals.SUFFIX).exists():
            raise StoreError(unsealed(path))
        return _open(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error}") from error


def reseal(path: Path) -> None:
    """Trust the database as it is, as far as SQLite can read it, and make its seals again; the old ones and its log are
    kept as ``.old``. The caller holds the lock. Raises StoreError."""
    log = path.with_name(path.name + "-wal")
    file = path.with_name(path.name + seals.SUFFIX)
    try:
        check_header(path)
        wal.read(log, verify=True)
        if log.exists():
            log.with_name(log.name + ".old").write_bytes(log.read_bytes())
        if file.exists():
            os.replace(file, file.with_name(file.name + ".old"))
        _adopt(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be sealed again: {error}") from error


def _open(path: Path) -> Files:
    log_path = path.with_name(path.name + "-wal")
    log = wal.read(log_path, verify=True)
    if not path.with_name(path.name + seals.SUFFIX).exists():
        _adopt(path)
        log = wal.Log()
    sealed = Seals(path)
    db = files = None
    try:
        sealed.check(log)
        sealed.seal(log)
        db = _connect(path)
        # What a process before us wrote but could not sync is in the page cache, and SQLite took it as committed.
        # Copying all of the log to the database file and syncing that makes it true before anyone relies on it.
        found = _identity(path, db)
        if found.epoch < sealed.mark.epoch or found.record < sealed.mark.record:
            kept = log_path.with_name(log_path.name + ".damaged")
            if log.data and not kept.exists():
                os.replace(log_path, kept)  # closing would remove it
            raise StoreError(lost(path, found, sealed.mark))
        files = Files(db, log_path, sealed)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        sealed.advance(found)
        upgrade(db)
    except BaseException as error:
        if files is not None:
            files.close()  # what an upgrade has written is sealed before it is copied
        elif db is not None:
            db.close()
        sealed.close()
        if isinstance(error, UNREADABLE):
            raise StoreError(refusals.unreadable(path, error)) from error
        raise
    return files


def unsealed(path: Path) -> str:
    """What is wrong with a database whose seals are missing."""
    return (
        f"{path}{seals.SUFFIX} is missing, so nothing tells whether {path.name} is whole: restore "
        "both from one backup, or trust what is there: `odibictl checkpoint reseal`"
    )


def lost(path: Path, found: Mark, mark: Mark) -> str:
    """What is wrong with a database that ends before what was reported durable."""
    return (
        f"{path} ends with record {found.record} of epoch {found.epoch}, but record {mark.record} of epoch {mark.epoch}"
        f" was reported durable: the end of its log {path.name}-wal is lost; {FIX}"
    )


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, cached_statements=256, check_same_thread=False)
    try:
        # EXCLUSIVE: exactly one connection (two on one WAL can damage it before SQLite 3.51.3), and no shared memory.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("PRAGMA cache_size = -32000")
        # Some builds write zeros over every page that becomes free: that is 8 KiB of log for each output that goes.
        db.execute("PRAGMA secure_delete = FAST")
    except BaseException:
        db.close()
        raise
    return db


def memory_database(store_id: str) -> sqlite3.Connection:
    """A database in memory with the same tables, for the simulator and tests."""
    db = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256, check_same_thread=False)
    db.executescript(SCHEMA.replace(":store_id:", store_id))
    return db


def _create(path: Path) -> None:
    """Make the empty database under another name and rename it: there is never a half-made one under its own. Its
    seals come first; without a database, seals that have seen a record mean that it is lost."""
    file = path.with_name(path.name + seals.SUFFIX)
    if path.with_name(path.name + "-wal").exists():
        raise StoreError(f"{path} is missing, but its log {path.name}-wal is there; {FIX}")
    if file.exists():
        left = Seals(path)
        left.close()
        if left.mark != Mark():
            raise StoreError(f"{path} is missing, but its seals {file.name} are there; {FIX}")
    new = path.with_name(path.name + ".new")
    for left_over in (new, new.with_name(new.name + "-wal")):
        left_over.unlink(missing_ok=True)
    db = sqlite3.connect(new, isolation_level=None)
    try:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before anything writes the first page
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA.replace(":store_id:", uuid.uuid4().hex))
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be created: {error}") from error
    finally:
        db.close()
    new.chmod(0o600)
    _sync(new)
    seals.create(new, path, Mark())
    new.rename(path)
    _sync(path.parent)


def _adopt(path: Path) -> None:
    """Check what has no seals as far as SQLite can, and make them."""
    try:
        db = _connect(path)
        try:
            found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise StoreError(f"{path} is damaged: {found}; {FIX}")
            mark = _identity(path, db)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            db.close()
    except UNREADABLE as error:
        raise StoreError(refusals.unreadable(path, error)) from error
    seals.create(path, path, mark)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check_header(path: Path) -> int:
    """The format of the database."""
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100 or not header.startswith(_DB_HEADER):
        what = "is empty" if not header else "is not a SQLite database"
        raise StoreError(f"{path} {what}; {FIX}")
    version, application = struct.unpack_from(">I4xI", header, 60)
    if application != APPLICATION_ID:
        raise StoreError(
            f"{path} is not a checkpoint database of Odibi Actors (application id {application:#x}); if it once was, "
            f"it is damaged: {FIX}"
        )
    if version > FORMAT:
        raise StoreError(
            f"{path} has format {version}, this release knows {FORMAT}: it was written by a newer release; upgrade"
        )
    return int(version)


def _identity(path: Path, db: sqlite3.Connection) -> Mark:
    rows = db.execute("SELECT epoch, last_seq FROM meta").fetchall()
    if len(rows) != 1:
        raise StoreError(f"{path} is damaged: it has lost its identity (table meta); {FIX}")
    return Mark(*rows[0])
