"""The checkpoint store's engine: one SQLite database that applies numbered records and answers what it holds."""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from odibi_actors.checkpoint import (
    adopted,
    forgetting,
    ledger,
    opening,
    queries,
    ranges,
    refusals,
    relocating,
    retention,
    snapshot,
    verify,
)
from odibi_actors.checkpoint.files import Files
from odibi_actors.checkpoint.records import Adopt, AnyLoaded, AnyRecord
from odibi_actors.checkpoint.tables import Contradiction
from odibi_actors.checkpoint.transaction import Transaction
from odibi_actors.errors import ConflictError, StoreError
from odibi_actors.failpoints import failpoint
from odibi_actors.messages import LOOKED_UP, Claimed, ClaimRefused, LedgerRow
from odibi_actors.model import Position, Reached, Target
from odibi_actors.nodes.sinks.owner import home_of
from odibi_actors.runtime.sqlite_space import give_back

WAL_CAP = 16_000_000
"""Bytes of log (estimated) after which it should be checkpointed even while busy. It bounds the time of a start after
a crash (the log is verified at 15 ms per MB) and the disk it takes."""

PAGES_PER_COMMIT = 4 * 4096
"""Pages that every transaction writes, whatever it holds: meta, counters, iterations, one leaf."""


PLACES = 10_000
"""Partitions of one page of places; a page ends at the asker's limit, if that is less."""


class Refused(ConflictError):
    """Record ``seq`` contradicts what is stored, for this reason; it and what follows it were not applied."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"record {seq} is refused: {reason}")
        self.seq = seq
        self.reason = reason


class Engine:
    """Owner of one ``checkpoints.db`` (``path``), or of a database in memory (":memory:").

    ``store_id`` names the store for good (32 hex digits; given only for memory, where a simulator wants it the same
    each time). ``epoch`` and ``last_seq`` are what is durable. Every method that changes something returns once that
    is synced to disk. After an error of the disk every call raises StoreError: the process must stop and recover
    by a new start, as a second fsync may report success for what the first one lost.

    ``root``: the project's folder; what is recorded of places in the former one follows, and ``moved`` says so. Raises
    StoreError when the file cannot be read or verified, ConflictError when another process holds it, or it is another
    project's.
    """

    def __init__(self, path: Path | str, store_id: str = "0" * 32, root: Path | None = None) -> None:
        self.path = Path(path)
        self._broken = ""
        self._lock: int | None = None
        self._unsaved = 0
        self._notes: list[str] = []
        self._sweep = retention.Sweep()
        self._giving = False  # a sweep is done, and its free pages are given back
        if str(path) == ":memory:":
            self._files = Files(opening.memory_database(store_id))
        else:
            self._lock = opening.lock(self.path.parent)
            try:
                self._files = opening.open_files(self.path)
            except BaseException:
                os.close(self._lock)
                raise
        self._db = self._files.db
        # SQLite copies the log when a connection is garbage: it must be sealed before, at the latest at the exit.
        self._release = weakref.finalize(self, self._files.close)
        try:
            with self._guard("reading its identity"):
                row = self._db.execute("SELECT store_id, epoch, claimant, claim_seq, last_seq FROM meta").fetchone()
            self.store_id: str = row[0]
            self.epoch: int = row[1]
            self.last_seq: int = row[4]
            self._claimant, self._claim_seq = row[2:4]
            self.home = home_of(self.path.parent, root)
            self.moved = self._settle() if root is not None else ""
            if self._lock is not None:
                self._take_over()
        except BaseException:
            self.close()
            raise

    def _settle(self) -> str:
        """What is recorded follows to where the store is now; returns what is to be told of it."""
        with self._guard("following a project that was moved"):
            former = relocating.relocate(self._db, self.home)
        return relocating.told(former, self.home, self.store_id) if former is not None else ""

    def _take_over(self) -> None:
        with self._guard("taking over a reset of a former release"):
            with self._transaction():
                forgetting.of_former_release(self._db, self.path.parent, time.time())
            forgetting.taken_over(self.path.parent)

    def claim(self, expected: int, claimant: str) -> Claimed | ClaimRefused:
        """Compare-and-set of the epoch from ``expected`` to ``expected + 1``, durable; the same for a repetition."""
        if self.epoch == expected:
            with self._guard("claiming an epoch"):
                with self._transaction():
                    self._db.execute(
                        "UPDATE meta SET epoch = ?, claimant = ?, claim_seq = last_seq WHERE id = 1",
                        (expected + 1, claimant),
                    )
                self._files.advance(expected + 1, self.last_seq)
            self.epoch, self._claimant, self._claim_seq = expected + 1, claimant, self.last_seq
        elif self.epoch != expected + 1 or self._claimant != claimant:
            return ClaimRefused(self.epoch, claimant)
        return Claimed(self.epoch, self._claim_seq, claimant)

    def apply(self, epoch: int, first: int, records: Sequence[AnyRecord]) -> int:
        """Apply records numbered ``first``, ``first + 1``, ... of this epoch in one transaction; returns the last.

        Raises Refused, after what precedes the refused record was applied; StoreError for another epoch, a gap, or an
        error of the disk.
        """
        if epoch != self.epoch or first != self.last_seq + 1:
            raise StoreError(
                f"records from {first} of epoch {epoch} cannot follow {self.last_seq} of epoch {self.epoch}: a bug"
            )
        with self._guard("writing records"):
            try:
                self._write(first, records)
            except Contradiction as error:
                self._write(first, records[: error.index])
                raise Refused(first + error.index, str(error)) from error
        return first + len(records) - 1

    def _write(self, first: int, records: Sequence[AnyRecord]) -> None:
        if not records:
            return
        with self._transaction():
            transaction = Transaction(self._db)
            transaction.run(first, records)
            through = first + len(records) - 1
            self._db.execute("UPDATE meta SET last_seq = ? WHERE id = 1", (through,))
        self._files.advance(self.epoch, through)
        self._notes += transaction.notes
        self.last_seq = through
        self._unsaved += PAGES_PER_COMMIT + transaction.weight

    def notes(self) -> list[str]:
        """What people are to be told of the records that were applied since this was asked last."""
        notes, self._notes = self._notes, []
        return notes

    def load(self, cursor: str = "") -> tuple[list[AnyLoaded], str]:
        """A page of the snapshot in the order of ``records.Loaded``, and the cursor of the next ("": it was the last).
        Pages fit together as long as nothing is applied between them."""
        with self._guard("loading"):
            return snapshot.load(self._db, cursor)

    def ledger(
        self, pipeline: str, lane: str, source: str, cursor: str = "", limit: int = 5000, through: int = -1
    ) -> tuple[list[Position], str]:
        """Planned positions of a source with identity > ``cursor`` in that order, and the next cursor. ``through``:
        see ``LedgerQuery``."""
        with self._guard("reading the ledger"):
            if through >= 0:
                return ledger.taken(self._db, pipeline, lane, source, through, cursor, limit)
            return ledger.page(self._db, pipeline, lane, source, cursor, limit)

    def places(
        self, pipeline: str, lane: str, source: str, cursor: str = "", limit: int = 1000, through: int = -1
    ) -> tuple[list[Reached], str]:
        """How far the partitions of an ordered source were read, and the next cursor. See ``PlacesQuery``."""
        limit = max(1, min(limit, PLACES))
        with self._guard("reading the places"):
            if through >= 0:
                return ranges.taken(self._db.execute, pipeline, lane, source, through, cursor, limit)
            return ranges.reached(self._db.execute, pipeline, lane, source, cursor, limit)

    def ledger_rows(self, pipeline: str, lane: str, source: str, identities: list[str]) -> list[LedgerRow]:
        """What the ledger holds of these files, of each the newest generation; nothing of those not planned. A backfill
        that has read a file of the live lane later tells what it was then."""
        with self._guard("reading the ledger"):
            return ledger.rows(self._db, pipeline, lane, source, identities[:LOOKED_UP])

    def answer(self, verb: str, params: dict[str, Any]) -> Any:
        """What a client's request asks for, see ``queries``. Raises NotFoundError; ConfigError for a bad parameter."""
        with self._guard(f"answering {verb}"):
            if verb == "checkpoint.stats":
                return {**self._stats(), **queries.stats(self._db)}
            found = queries.answer(self._db, verb, params)
            if verb == "checkpoint.verify":  # now that the parameters are known to be right
                return verify.chunk(self._db, self._files.seals, params.get("cursor", ""))
            return found

    def _stats(self) -> dict[str, Any]:
        wal = self.path.with_name(self.path.name + "-wal")
        return {
            "path": str(self.path),
            "store_id": self.store_id,
            "epoch": self.epoch,
            "last_seq": self.last_seq,
            "wal_bytes": wal.stat().st_size if self._lock is not None and wal.exists() else 0,
        }

    def prune(self, now: float, history: float, keep_last: int) -> bool:
        """Delete one bounded chunk of what is older than ``history`` seconds or too much (see ``retention``), or than
        the project says; then give free pages back, a chunk at a time. Whether more may be left."""
        changes = self._db.total_changes
        with self._guard("pruning"), self._transaction():
            more = self._giving or self._sweep.chunk(self._db, now, retention.bounds(self._db, history), keep_last)
            if not more or self._giving:
                pages, self._giving = give_back(self._db)
                self._unsaved += 2 * 4096 * pages
                more = self._giving
        if self._db.total_changes > changes:
            self._unsaved += PAGES_PER_COMMIT + 300 * (self._db.total_changes - changes)
        return more

    def known(self, pipeline: str) -> dict[str, Any] | None:
        """See ``forgetting.known``."""
        with self._guard("reading what there is"):
            return forgetting.known(self._db, pipeline)

    def left_out(self, pipeline: str) -> bool:
        """See ``forgetting.left_out``."""
        with self._guard("reading what there is"):
            return forgetting.left_out(self._db, pipeline)

    def reset_begun(self, pipeline: str) -> str:
        """See ``forgetting.begun``."""
        with self._guard("reading what there is"):
            return forgetting.begun(self._db, pipeline)

    def forget(self, pipeline: str, now: float, plan: str) -> None:
        """Forget all that a pipeline has done, in one transaction; see ``forgetting.forget``."""
        with self._guard("forgetting a pipeline"), self._transaction():
            forgetting.forget(self._db, pipeline, now, plan)
        self._unsaved += 1 << 20

    def end_reset(self, pipeline: str, targets: Sequence[Target] = (), *, hide: bool = False) -> None:
        """What was to be deleted is gone, in one transaction; see ``forgetting.end``."""
        with self._guard("ending a reset"), self._transaction():
            forgetting.end(self._db, pipeline, targets, hide=hide)
        self._unsaved += 1 << 20

    def adoptions(self) -> list[Adopt]:
        """Targets that have passed from one sink to another, oldest first."""
        with self._guard("reading who has owned targets"):
            return adopted.load(self._db.execute)

    def prune_every(self, history: float) -> float:
        """Seconds until history is looked at again."""
        with self._guard("reading its settings"):
            return retention.every(self._db, retention.bounds(self._db, history))

    @property
    def broken(self) -> bool:
        """Whether the disk has failed (or it is closed), so that nothing can be done with it any more."""
        return bool(self._broken)

    @property
    def unsaved(self) -> bool:
        """Whether the log has anything that is not in the database file."""
        return self._unsaved > 0

    @property
    def wal_full(self) -> bool:
        """Whether the log has grown past its cap and should be checkpointed even while busy."""
        return self._unsaved > WAL_CAP

    def checkpoint(self) -> None:
        """Copy the log into the database file and sync that (about 5 ms per MB). The log's file is kept and
        overwritten from its start: that makes a commit 1.6 times faster than one that extends it."""
        if self._unsaved and self._lock is not None:
            with self._guard("checkpointing its log"):
                failpoint("store.checkpoint")
                try:
                    self._files.checkpoint()
                except StoreError as error:
                    self._broken = str(error)
                    raise
                failpoint("store.checkpointed")
        self._unsaved = 0

    def close(self) -> None:
        """Release database and lock. Idempotent."""
        self._broken = self._broken or "it is closed"
        self._release()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        failpoint("store.begin")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            failpoint("store.commit")
            self._db.execute("COMMIT")
            failpoint("store.committed")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _guard(self, doing: str) -> Iterator[None]:
        """Turns errors of the database into StoreError, and lets none be followed by a second try."""
        if self._broken:
            raise StoreError(f"{self.path} cannot be used any more: {self._broken}")
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._broken = f"{doing} failed: {error}"
            reason = refusals.passing(error, self.path) or "is the disk full or failing? see the system's log"
            raise StoreError(
                f"{self.path}: {self._broken}; the store stops and recovers by a new start ({reason})"
            ) from error
