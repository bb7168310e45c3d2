"""The sink of a ``sqlite`` connection: a table of a database."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odibi_actors.kinds.sink import Kept, Publisher, Site
from odibi_actors.model import FailureKind, Target
from odibi_actors.nodes.sinks import marks
from odibi_actors.nodes.sinks.owner import OWNER_TABLE, Mark, Owner, mark_in, take_table
from odibi_actors.nodes.sinks.plain import PlainSink

if TYPE_CHECKING:
    from odibi_actors.config.model import WriteSpec
    from odibi_actors.nodes.failures import Failed

_IO = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
"""Errors of the environment, which may pass."""
_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""The database is at fault; all others say that rows and table do not fit."""


class SqliteKind(PlainSink):
    """See ``kinds.sink.Sink``."""

    name = "sqlite"
    about = "a database file"
    needs = ("table",)
    takes = ("keys", "version")
    modes = ("append", "overwrite", "upsert")
    flat = "SQLite"

    def misplaced(self, path: str) -> tuple[str, str]:
        if os.path.isdir(path):
            return "is a folder; a sqlite connection is a database file", "such as data/mart.db"
        return "", ""

    def reserved(self, at: Target) -> tuple[str, str]:
        if self.folded(at).locator.startswith(("sqlite_", "odibi_", "_odibi")):
            return "the name is reserved", at.locator
        return "", ""

    def folded(self, at: Target) -> Target:
        return Target(at.sink, at.connection, at.locator.lower())

    def called(self, at: Target) -> tuple[str, tuple[str, str]]:
        return f"table {at.locator!r} of {at.connection}", take_table(at.locator)

    def mark(self, at: Target) -> Mark | None:
        return mark_in(Path(at.connection), at.locator)

    def check(self, write: WriteSpec, owner: Owner, former: Collection[Owner] = ()) -> None:
        at = write.target
        if write.mode == "overwrite" and Path(at.connection).exists():
            from odibi_actors.nodes.sinks import sqlite_overwrite  # not above: most commands need none of Arrow

            with _looking(at) as db:
                sqlite_overwrite.check_rows(db, at.locator, owner, at.connection, former)

    def holds(self, at: Target) -> tuple[int, int]:
        from odibi_actors.nodes.sinks import sqlite_overwrite

        if not Path(at.connection).is_file():
            return 0, 0
        with _looking(at, timeout=1.0) as db:
            return sqlite_overwrite.holds(db, at.locator)

    def missing(self, at: Target, sink: Sequence[str], iteration: int, digest: str, owners: Sequence[Any]) -> str:
        return marks.missing(Path(at.connection), at.locator, sink, iteration, digest, owners)

    def kept(self, at: Target, owners: Sequence[Owner], given_up: Sequence[Collection[int]]) -> Kept | None:
        from odibi_actors.nodes.sinks.sqlite_table import quote

        if not Path(at.connection).exists():
            return None
        with _looking(at) as db:
            known = "select 1 from sqlite_master where name = ? collate nocase"
            if not db.execute(known, (at.locator,)).fetchone():
                return Kept(0)
            return Kept(int(db.execute(f"select count(*) from {quote(at.locator)}").fetchone()[0]))

    def delete(self, at: Target, owners: Sequence[Owner], given_up: Sequence[Collection[int]]) -> None:
        from odibi_actors.nodes.sinks.sqlite_overwrite import forget
        from odibi_actors.nodes.sinks.sqlite_table import quote

        with closing(sqlite3.connect(at.connection, timeout=30.0, isolation_level=None)) as db:
            db.execute("pragma synchronous = extra")
            db.execute("begin immediate")
            db.execute(f"drop table if exists {quote(at.locator)}")
            for one in owners:
                db.execute("delete from _odibi_commits where store_id = ? and pipeline = ? and sink = ?", tuple(one))
            db.execute(f"delete from {OWNER_TABLE} where table_name = ? collate nocase", (at.locator,))
            forget(db, at.locator)
            db.execute("commit")

    def stand_in(self, folder: Path) -> Path:
        return folder / "database.db"

    def resemble(self, write: WriteSpec, stand_in: Path, owner: Owner) -> None:
        """An empty database with the tables, indexes and views of the real one, if there is one."""
        if not Path(write.connection.path).exists():
            return
        with _looking(write.target) as source, closing(sqlite3.connect(stand_in, isolation_level=None)) as target:
            found = source.execute(
                "select sql from sqlite_master where sql is not null and name not like 'sqlite\\_%' escape '\\'"
                " and name not like '\\_odibi\\_%' escape '\\' order by rowid"
            ).fetchall()
            for (statement,) in found:
                target.execute(statement)

    def open(self, site: Site, write: WriteSpec | None) -> Publisher:
        from odibi_actors.nodes.failures import Failed
        from odibi_actors.nodes.sinks.sqlite import SqliteSink

        if write is None:
            return SqliteSink(site)
        upsert = write.mode == "upsert"
        if not write.table or (upsert and not write.keys):
            raise Failed("invalid", "a SQL sink needs write.table, and write.keys to upsert")
        return SqliteSink(site, write.keys if upsert else [], write.version if upsert else None)

    def failure(self, at: Target, error: Exception) -> Failed | None:
        from odibi_actors.nodes.failures import Failed
        from odibi_actors.nodes.tracebacks import describe
        from odibi_actors.runtime import room
        from odibi_actors.runtime.linux import lock_holders

        if not isinstance(error, sqlite3.Error):
            return None
        path, code = at.connection, getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _LOCKED:
            who = lock_holders(*(Path(path + suffix) for suffix in ("", "-wal", "-shm", "-journal")))
            message = f"{path} is locked by {who or 'another program'}; it is tried again until the lock is released"
            return Failed("busy", message)
        if code == sqlite3.SQLITE_FULL:
            return Failed("full", room.with_free(f"{path}: {error}", path))
        kind: FailureKind = "io" if code in _IO else "conflict" if code in _DAMAGE else "invalid"
        error.args = (f"{path}: {error}",)
        return Failed(kind, describe(error))


@contextmanager
def _looking(at: Target, timeout: float = 5.0) -> Iterator[sqlite3.Connection]:
    uri = f"{Path(at.connection).absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=timeout)) as db:
        yield db


SINK = SqliteKind()
