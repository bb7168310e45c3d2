"""A store at rest, read without writing a byte: what verbs that only read show when nothing runs.

A store that was stopped has no log: SQLite reads its file as one that nobody changes (``immutable``), so no lock, log
or index file is made, and a read-only folder will do. What a crash or a former release left is put together in memory:
the pages of the log over those of the file, the tables of an older format made ours. The store's own lock is held,
shared, meanwhile: a store that starts waits for those who look (``opening.lock``).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from odibi_actors.checkpoint import (
    adopted,
    ledger,
    opening,
    queries,
    ranges,
    refusals,
    relocating,
    seals,
    snapshot,
    upgrades,
    verify,
    wal,
)
from odibi_actors.checkpoint.records import AnyLoaded
from odibi_actors.checkpoint.schema import FIX, FORMAT
from odibi_actors.checkpoint.seals import Seals
from odibi_actors.errors import ConflictError, NotFoundError, OdibiError, StoreError
from odibi_actors.model import NOWHERE, Position, Reached
from odibi_actors.nodes.sinks.owner import home_of

MAX_MEMORY = 1_000_000_000
"""Bytes of a database that are put together in memory; a larger one is read once a start has copied its log."""


class Resting:
    """The store of a data_dir in which nothing runs, for reading. ``as_of``: when it was written last (seconds since
    the epoch). ``root``: the project's folder, to which what is recorded of the former one follows. Raises
    NotFoundError (there is none), ConflictError (one runs, or another project's), StoreError (damaged, newer)."""

    def __init__(self, data_dir: Path, root: Path | None = None) -> None:
        self.path = data_dir / "checkpoints.db"
        self.home = home_of(data_dir, root)
        self._lock = _look(data_dir / "run" / "store.lock")
        self._seals: Seals | None = None
        self._db: sqlite3.Connection | None = None
        try:
            self._open()
        except OSError as error:
            self.close()
            raise StoreError(f"{self.path} cannot be read: {error}") from error
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        if not self.path.exists():
            lost = any(self._beside(suffix).exists() for suffix in ("-wal", seals.SUFFIX))
            if lost:
                raise StoreError(f"{self.path} is missing, but files that belong to it are there; {FIX}")
            raise NotFoundError(f"there is no checkpoint store in {self.path.parent}")
        version = opening.check_header(self.path)
        log = wal.read(self._beside("-wal"), verify=True)
        self.as_of = max(file.stat().st_mtime for file in (self.path, self._beside("-wal")) if file.exists())
        if self._beside(seals.SUFFIX).exists():
            self._seals = Seals(self.path, writable=False)
            self._seals.check(log)
        elif version >= opening.SEALED:
            raise StoreError(opening.unsealed(self.path))
        try:
            self._db = self._whole(log) if log.frames or version < FORMAT else self._as_it_is()
            if self.home != NOWHERE and relocating.recorded(self._db) != self.home:
                self._db.close()
                self._db = self._whole(log)  # what is recorded follows to where it is now
                relocating.relocate(self._db, self.home)
            self.store_id, self.epoch, self.last_seq = self._db.execute(
                "SELECT store_id, epoch, last_seq FROM meta"
            ).fetchone()
        except (*opening.UNREADABLE, TypeError) as error:
            raise StoreError(refusals.unreadable(self.path, error)) from error
        mark = self._seals.mark if self._seals is not None else seals.Mark()
        if self.epoch < mark.epoch or self.last_seq < mark.record:
            raise StoreError(opening.lost(self.path, seals.Mark(self.epoch, self.last_seq), mark))

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def _as_it_is(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(str(self.path))}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False
        )

    def _whole(self, log: wal.Log) -> sqlite3.Connection:
        size = self.path.stat().st_size
        if size > MAX_MEMORY:
            raise StoreError(
                f"{self.path} was not closed, was moved, or comes from a former release, and is too large "
                f"({size:,} bytes) to be read as it is; start the system once (`odibictl up`), which puts it in order"
            )
        data = bytearray(self.path.read_bytes())
        if log.frames:
            data = data[: log.size * log.page_size].ljust(log.size * log.page_size, b"\0")
            for page in log.pages:
                if page <= log.size:
                    data[(page - 1) * log.page_size : page * log.page_size] = log.content(page)
        data[18:20] = b"\1\1"  # in memory there is no log
        db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        db.deserialize(bytes(data))
        upgrades.upgrade(db, rewrite=False)
        return db

    # --- what can be asked, as of ``engine.Engine`` -----------------------------------------------------------------

    @property
    def db(self) -> sqlite3.Connection:
        """The connection; nothing can be written to the file by it."""
        assert self._db is not None
        return self._db

    def load(self, cursor: str = "") -> tuple[list[AnyLoaded], str]:
        """See ``Engine.load``."""
        return snapshot.load(self.db, cursor)

    def ledger(self, pipeline: str, lane: str, source: str, cursor: str = "") -> tuple[list[Position], str]:
        """See ``Engine.ledger``."""
        return ledger.page(self.db, pipeline, lane, source, cursor, ledger.LEDGER_LIMIT)

    def places(
        self, pipeline: str, lane: str, source: str, cursor: str = "", limit: int = 1000, through: int = -1
    ) -> tuple[list[Reached], str]:
        """See ``Engine.places``."""
        if through >= 0:
            return ranges.taken(self.db.execute, pipeline, lane, source, through, cursor, limit)
        return ranges.reached(self.db.execute, pipeline, lane, source, cursor, limit)

    def answer(self, verb: str, params: dict[str, Any]) -> Any:
        """See ``Engine.answer``."""
        found = queries.answer(self.db, verb, params)
        if verb == "checkpoint.stats":
            log = self._beside("-wal")
            told = {"path": str(self.path), "store_id": self.store_id, "epoch": self.epoch, "last_seq": self.last_seq}
            return {**told, "wal_bytes": log.stat().st_size if log.exists() else 0, **found}
        if verb == "checkpoint.verify":  # pages were compared when it was opened
            return verify.chunk(self.db, None, params.get("cursor", ""))
        return found

    @property
    def pages(self) -> int:
        """Pages that were compared with their digests."""
        return self._seals.pages if self._seals is not None else 0

    def close(self) -> None:
        """Let go of it. Idempotent."""
        if self._db is not None:
            self._db.close()
        if self._seals is not None:
            self._seals.close()
        if self._lock >= 0:
            os.close(self._lock)
        self._db, self._seals, self._lock = None, None, -1


def _look(path: Path) -> int:
    """Hold the store's lock together with others that look; -1 when there is no such file. Raises ConflictError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise ConflictError(f"{path}: the checkpoint store of this data_dir runs") from None
    return fd


def passed_on(data_dir: Path, root: Path) -> dict[str, list[adopted.Name]]:
    """See ``adopted.by_target``, of the store in a data_dir where nothing runs; nothing of one that cannot be read, of
    which the store itself will say more."""
    try:
        store = Resting(data_dir, root)
    except OdibiError:
        return {}
    try:
        return adopted.by_target(adopted.load(store.db.execute))
    finally:
        store.close()


def store_id(path: Path) -> str:
    """The id of the store in a database file, whether it runs or not; "" when there is none yet, or none that can be
    read, of which the store itself will say more."""
    if not path.exists():
        return ""
    try:
        # It never changes, so a file that is being written can be read as one that is not.
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as db:
            row = db.execute("SELECT store_id FROM meta").fetchone()
    except sqlite3.Error:
        return ""
    return str(row[0]) if row else ""
