"""The sink of a ``sqlite`` connection: a table of a database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odibi_actors.kinds.connection import AGAIN, OPEN, Access
from odibi_actors.model import FailureKind, Target
from odibi_actors.nodes.sinks.owner import Owner
from odibi_actors.nodes.sinks.table_kind import FileKind

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.config.model import WriteSpec
    from odibi_actors.nodes.failures import Failed

BUSY_TIMEOUT = 3.0
"""Seconds to wait for another writer of the database. Then the worker does something else, it is told, and the broker
has it tried again: as long as it takes."""
LOOK_TIMEOUT = 5.0
"""Seconds to wait for one when the database is only looked at."""
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


class SqliteKind(FileKind):
    """See ``kinds.sink.Sink`` and ``table_kind.TableKind``."""

    name = "sqlite"
    title = flat = "SQLite"
    names = "text collate nocase"
    same = "table_name = ? collate nocase"
    older = True
    as_written = " collate binary"

    def reserved(self, at: Target) -> tuple[str, str]:
        if at.locator.lower().startswith("sqlite_"):
            return "the name is reserved", at.locator
        return super().reserved(at)

    @contextmanager
    def opened(self, at: Target, access: Access = OPEN) -> Iterator[sqlite3.Connection]:
        from odibi_actors.batches.files import make_dirs

        database = Path(at.connection)
        make_dirs(database.parent, sync=True)
        with closing(sqlite3.connect(database, timeout=BUSY_TIMEOUT, isolation_level=None)) as db:
            # EXTRA is FULL plus a sync of the folder when the rollback journal is deleted: else power loss can bring
            # the journal back, and it undoes the commit.
            db.execute("pragma synchronous = extra")
            db.execute("pragma foreign_keys = on")  # else it takes rows without the ones that they refer to
            yield db

    @contextmanager
    def looked(self, at: Target, access: Access = OPEN) -> Iterator[sqlite3.Connection]:
        uri = f"{Path(at.connection).absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=LOOK_TIMEOUT)) as db:
            yield db

    def begin(self, db: Any) -> None:
        db.execute("begin immediate")
        db.execute("pragma defer_foreign_keys = on")

    def commit(self, db: Any, at: Target) -> None:
        from odibi_actors.nodes.sinks.sqlite_foreign import commit

        commit(db, at.locator, at.connection)

    def roll_back(self, db: Any) -> None:
        if db.in_transaction:
            db.execute("rollback")

    def relation(self, db: Any, name: str) -> str:
        query = "select type from sqlite_master where name = ? collate nocase and type in ('table', 'view')"
        row = db.execute(query, (name,)).fetchone()
        return str(row[0]) if row else ""

    def columns(self, db: Any, table: str) -> list[str]:
        return [name for (name,) in db.execute("select name from pragma_table_info(?)", (table,))]

    def check_rows(self, rows: pa.Table) -> None:
        from odibi_actors.nodes.sinks.sqlite_types import check_lengths, check_types

        check_types(rows)
        check_lengths(rows)

    def stored(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        from odibi_actors.nodes.sinks.sqlite_types import as_sqlite

        return as_sqlite(column)

    def sorts(self, column: pa.DataType) -> bool:
        import pyarrow as pa

        return not pa.types.is_decimal(column)  # of which it keeps the digits

    def rehearse(
        self, db: Any, at: Target, rows: pa.Table, keys: list[str], version: str | None, replaces: bool = False
    ) -> None:
        from odibi_actors.nodes.sinks.sqlite_table import Existing

        Existing(db, at.locator, at.connection).check(rows, keys, version)

    def insert(self, db: Any, at: Target, rows: pa.Table, keys: list[str], version: str | None) -> None:
        from odibi_actors.nodes.sinks.sqlite_table import insert

        insert(db, at.locator, at.connection, rows, keys, version)

    def collated(self, db: Any, table: str, keys: Sequence[str], *, indexes: bool) -> str:
        from odibi_actors.nodes.sinks.sqlite_table import collated

        return collated(db, table, keys, indexes=indexes)

    def sql_types(self, db: Any, rows: pa.Table) -> dict[str, str]:
        from odibi_actors.nodes.sinks.sqlite_types import sql_type

        return {field.name: sql_type(field) for field in rows.schema}

    def hold(self, db: Any, at: Target, rows: pa.Table) -> str:
        from odibi_actors.nodes.sinks.sqlite_table import Existing, hold

        Existing(db, at.locator, at.connection).check_values(rows)
        return hold(db, at.locator, rows)

    def watched(self, db: Any, table: str) -> bool:
        from odibi_actors.nodes.sinks.sqlite_foreign import referring
        from odibi_actors.nodes.sinks.sqlite_table import Existing

        return Existing(db, table, "").triggers or bool(referring(db, table))

    def dependent(self, db: Any, table: str) -> tuple[str, str]:
        from odibi_actors.nodes.sinks.sqlite_foreign import dependent

        return dependent(db, table)

    def holding(self, db: Any, table: str, going: str, error: Exception) -> str:
        from odibi_actors.nodes.sinks.sqlite_foreign import holding

        return holding(db, table, going)

    def needing(self, db: Any, table: str) -> list[str]:
        from odibi_actors.nodes.sinks.sqlite_foreign import referring

        return referring(db, table)

    def stand_in(self, folder: Path) -> Path:
        return folder / "database.db"

    def resemble(self, write: WriteSpec, stand_in: Path, owner: Owner, access: Access = OPEN) -> None:
        """An empty database with the tables, indexes and views of the real one, if there is one."""
        if not Path(write.connection.path).exists():
            return
        with self.looked(write.target) as source, closing(sqlite3.connect(stand_in, isolation_level=None)) as target:
            found = source.execute(
                "select sql from sqlite_master where sql is not null and name not like 'sqlite\\_%' escape '\\'"
                " and name not like '\\_odibi\\_%' escape '\\' order by rowid"
            ).fetchall()
            for (statement,) in found:
                target.execute(statement)

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
            message = f"{path} is locked by {who or 'another program'}{AGAIN}the lock is released"
            return Failed("busy", message)
        if code == sqlite3.SQLITE_FULL:
            return Failed("full", room.with_free(f"{path}: {error}", path))
        kind: FailureKind = "io" if code in _IO else "conflict" if code in _DAMAGE else "invalid"
        error.args = (room.explained(error, f"{path}: {error}"),)
        return Failed(kind, describe(error))


SINK = SqliteKind()
