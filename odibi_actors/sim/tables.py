"""A table that grows, of a database in which transactions run side by side: one that began earlier may commit later,
and what nobody has committed nobody sees. What has committed lies in a file of SQLite; which transactions run, and how
they end while somebody looks, is told here.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from odibi_actors.config.model import ReadSpec, TableSpec
from odibi_actors.kinds.connection import Access
from odibi_actors.kinds.dialect import Unfinished
from odibi_actors.sources.query.sqlite import SqliteDialect, SqliteSession

TICK = 0.5
"""Virtual seconds of one watermark: several rows share it."""
MEANWHILE = 0.15
"""How often something is committed between two statements of a look."""


class Transaction:
    """One that runs: ``began``, by the watermarks of then; ``rows`` that nobody else sees, each with its watermark."""

    def __init__(self, number: int, began: int) -> None:
        self.number, self.began = number, began
        self.rows: list[tuple[int, int]] = []


class Database:
    """One table. ``more``: the rows of a transaction that comes while somebody looks ([]: none does); ``on_commit``
    hears of rows that everybody sees from now on, ``count`` of what has happened."""

    def __init__(
        self, path: Path, table: TableSpec, rng: random.Random, now: Callable[[], float], more: Callable[[], list[int]]
    ) -> None:
        self.table = table
        self.running: dict[int, Transaction] = {}
        self.on_commit: Callable[[list[int]], None] = lambda _rows: None
        self.count: Callable[[str], None] = lambda _what: None
        self._rng, self._now, self._more = rng, now, more
        self._begun, self._start = 0, now()
        self.quiet = False  # nothing comes while somebody looks
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f'CREATE TABLE "{table.table}" (id INTEGER NOT NULL, mark INTEGER NOT NULL)')

    def close(self) -> None:
        """It is needed no more."""
        self._db.close()

    def begin(self, rows: list[int]) -> Transaction:
        """A transaction begins, and has written these by the time it ends."""
        self._begun += 1
        one = self.running[self._begun] = Transaction(self._begun, self._tick())
        self.write(one, rows)
        return one

    def write(self, one: Transaction, rows: list[int]) -> None:
        """It writes rows: with the watermark of its beginning, as ``now()`` has it, or of this moment; up to ``lag``
        behind that."""
        lag = int(self.table.lag or 0)
        for row in rows:
            mark = self._rng.choice([one.began, self._tick()])
            one.rows.append((row, mark - (self._rng.randint(0, lag) if lag else 0)))

    def commit(self, one: Transaction) -> None:
        """Everybody sees what it has written, unless it has ended already."""
        if self.running.pop(one.number, None) is None:
            return
        self._db.executemany(f'INSERT INTO "{self.table.table}" VALUES (?, ?)', one.rows)
        self.on_commit([row for row, _ in one.rows])

    def meanwhile(self) -> None:
        """Between two statements of somebody who looks one ends, or a short one comes and goes."""
        if self.quiet or self._rng.random() >= MEANWHILE:
            return
        if self.running and self._rng.random() < 0.5:
            self.commit(self._rng.choice([*self.running.values()]))
        elif rows := self._more():
            self.commit(self.begin(rows))

    def _tick(self) -> int:
        return int((self._now() - self._start) / TICK)


class _Session(SqliteSession):
    """Sees what has committed, as of its snapshot if it has one, and knows who runs."""

    def __init__(self, inner: SqliteSession, database: Database) -> None:
        super().__init__(inner._db, inner._path)
        self._database = database

    def rows(self, sql: str, parameters: Sequence[Any] = (), many: bool = False) -> Iterator[tuple[Any, ...]]:
        self._database.meanwhile()
        yield from super().rows(sql, parameters, many)

    def running(self) -> Unfinished:
        self._database.meanwhile()
        return Unfinished(0, frozenset(map(str, self._database.running)))

    def holds(self, unfinished: Unfinished) -> list[str]:
        self._database.meanwhile()
        found = [f"transaction {one}" for one in self._database.running if str(one) in unfinished.running]
        if found:
            self._database.count("transaction waited for")
        return found


class Running(SqliteDialect):
    """Its databases are those of a life, by the ends of their paths."""

    def __init__(self, databases: dict[str, Database]) -> None:
        self._databases = databases

    @contextmanager
    def open(self, read: ReadSpec, access: Access) -> Iterator[SqliteSession]:
        (database,) = [one for path, one in self._databases.items() if read.connection.path.endswith(path)]
        with super().open(read, access) as session:
            yield _Session(session, database)
