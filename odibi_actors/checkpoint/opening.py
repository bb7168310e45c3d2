"""Opening ``checkpoints.db``: who holds it, is it ours, is it whole. Every doubt is a StoreError, never a new start."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
import uuid
from pathlib import Path

from odibi_actors.checkpoint.schema import APPLICATION_ID, FORMAT, MEND, SCHEMA, TABLES
from odibi_actors.errors import ConflictError, StoreError

CHECK_BYTES = 64_000_000
"""Up to this size the whole database is checked at the start (0.3 s); beyond, all but the acks and the ledger."""

_DB_HEADER = b"SQLite format 3\0"
_WAL_MAGIC = 0x377F0682  # lowest bit: checksums are big-endian
_WAL_HEADER = struct.Struct(">8I")
_FRAME_HEADER = struct.Struct(">6I")


def lock(data_dir: Path) -> int:
    """Hold ``run/store.lock`` of the data_dir; returns the descriptor. Raises ConflictError naming the holder."""
    run = data_dir / "run"
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = run / "store.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise ConflictError(
            f"{path}: the checkpoint store of this data_dir is running already (process {holder}); "
            "stop it with `odibictl down`, or use another data_dir"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def open_database(path: Path) -> sqlite3.Connection:
    """The connection to a verified database, made anew only if neither it nor its log is there. Raises StoreError."""
    wal = path.with_name(path.name + "-wal")
    if not path.exists():
        if wal.exists():
            raise StoreError(f"{path} is missing, but its log {wal.name} is there; {MEND}")
        _create(path)
    _check_header(path)
    _check_wal(wal)
    db = sqlite3.connect(path, isolation_level=None, cached_statements=256, check_same_thread=False)
    try:
        # EXCLUSIVE: exactly one connection (two on one WAL can damage it before SQLite 3.51.3), and no shared memory.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("PRAGMA cache_size = -32000")
        _check_content(path, db)
        # What a process before us wrote but could not sync is in the page cache, and SQLite took it as committed.
        # Copying all of the log to the database file and syncing that makes it true before anyone relies on it.
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error as error:
        db.close()
        raise StoreError(f"{path} cannot be read: {error}; {MEND}") from error
    except StoreError:
        db.close()
        raise
    return db


def memory_database(store_id: str) -> sqlite3.Connection:
    """A database in memory with the same tables, for the simulator and tests."""
    db = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256, check_same_thread=False)
    db.executescript(SCHEMA.replace(":store_id:", store_id))
    return db


def _create(path: Path) -> None:
    """Make the empty database under another name and rename it: there is never a half-made one under its own."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    db = sqlite3.connect(new, isolation_level=None)
    try:
        db.executescript(SCHEMA.replace(":store_id:", uuid.uuid4().hex))
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be created: {error}") from error
    finally:
        db.close()
    new.chmod(0o600)
    _sync(new)
    new.rename(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check_header(path: Path) -> None:
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100 or not header.startswith(_DB_HEADER):
        what = "is empty" if not header else "is not a SQLite database"
        raise StoreError(f"{path} {what}; {MEND}")
    version, application = struct.unpack_from(">I4xI", header, 60)
    if application != APPLICATION_ID:
        raise StoreError(f"{path} is not a checkpoint database of Odibi Actors (application id {application:#x})")
    if version > FORMAT:
        raise StoreError(
            f"{path} has format {version}, this release knows {FORMAT}: it was written by a newer release; upgrade"
        )


def _check_content(path: Path, db: sqlite3.Connection) -> None:
    whole = path.stat().st_size <= CHECK_BYTES
    for table in ("",) if whole else TABLES[:-2]:
        found = db.execute(f"PRAGMA quick_check({table or 1})").fetchone()[0]
        if found != "ok":
            raise StoreError(f"{path} is damaged: {found}; {MEND}")
    if db.execute("SELECT count(*) FROM meta").fetchone()[0] != 1:
        raise StoreError(f"{path} is damaged: it has lost its identity (table meta); {MEND}")


# --- the log ------------------------------------------------------------------------------------------------------
# SQLite ends its log silently at the first frame that does not verify. That is right for a torn tail, but the same
# happens when a byte in the middle rots, and what was reported durable is gone without a word. Each transaction is
# synced before the next begins, so at most the last one can be torn: a bad frame before that means damage.
# Format: https://sqlite.org/fileformat2.html#the_write_ahead_log


def _check_wal(wal: Path) -> None:
    try:
        data = wal.read_bytes()
    except FileNotFoundError:
        return
    if len(data) < _WAL_HEADER.size + _FRAME_HEADER.size:
        return
    magic, _, page, _, salt1, salt2, *stored = _WAL_HEADER.unpack_from(data)
    order = ">" if magic & 1 else "<"
    sums = _checksum(order, data[:24], (0, 0))
    if magic & ~1 != _WAL_MAGIC or sums != tuple(stored):
        raise StoreError(f"{wal} is damaged in its header, so what it holds cannot be read; {MEND}")
    stride = page + _FRAME_HEADER.size
    offsets = range(_WAL_HEADER.size, len(data) - stride + 1, stride)
    commits = [offset for offset in offsets if _ends_transaction(data, offset, (salt1, salt2))]
    # Only what is followed by one more transaction needs to be verified: the last one may be torn.
    for offset in offsets if len(commits) > 1 else ():
        if offset > commits[-2]:
            break
        sums = _checksum(order, data[offset : offset + 8], sums)
        sums = _checksum(order, data[offset + 24 : offset + stride], sums)
        if data[offset + 8 : offset + 16] != data[16:24] or sums != struct.unpack_from(">2I", data, offset + 16):
            raise StoreError(f"{wal} is damaged at byte {offset}, before its end; {MEND}")


def _ends_transaction(data: bytes, offset: int, salts: tuple[int, int]) -> bool:
    """Whether the frame is the last of a transaction of this log; frames with other salts are older than the log."""
    _, pages, salt1, salt2, _, _ = _FRAME_HEADER.unpack_from(data, offset)
    return pages != 0 and (salt1, salt2) == salts


def _checksum(order: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    s1, s2 = sums
    for x1, x2 in struct.iter_unpack(f"{order}II", data):
        s1 = (s1 + x1 + s2) & 0xFFFF_FFFF
        s2 = (s2 + x2 + s1) & 0xFFFF_FFFF
    return s1, s2
