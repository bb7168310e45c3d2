"""The sink of a ``duckdb`` connection: a table of a database file, which is one process's at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odibi_actors.connections.duckdb_session import LOCKED as _LOCKED
from odibi_actors.connections.duckdb_session import connect, in_use
from odibi_actors.kinds.connection import OPEN, Access
from odibi_actors.model import Target
from odibi_actors.nodes.sinks.owner import Owner
from odibi_actors.nodes.sinks.table_kind import FileKind

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.config.model import WriteSpec
    from odibi_actors.nodes.failures import Failed

_DAMAGE = ("not a valid DuckDB database", "corrupt", "erialization")
"""The file is at fault."""


class _Found:
    """All rows that a statement has found: DuckDB does nothing else on a connection while any are left."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def fetchone(self) -> Any:
        return self._rows[0] if self._rows else None

    def fetchall(self) -> list[Any]:
        return self._rows


class _Database:
    """A connection of DuckDB as ``table_kind.Database``."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.register = connection.register
        self.close = connection.close

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> _Found:
        return _Found(self._connection.execute(sql, parameters).fetchall())

    @contextmanager
    def beside(self) -> Iterator[_Database]:
        """Another connection, in which an error does not end the transaction of this one."""
        other = _Database(self._connection.cursor())
        try:
            yield other
        finally:
            other.close()


class DuckdbKind(FileKind):
    """See ``kinds.sink.Sink`` and ``table_kind.TableKind``."""

    name = "duckdb"
    title = "DuckDB"
    same = "lower(table_name) = lower(?)"

    @contextmanager
    def opened(self, at: Target, access: Access = OPEN) -> Iterator[Any]:
        from odibi_actors.batches.files import fsync_dir, make_dirs

        folder = Path(at.connection).parent
        make_dirs(folder, sync=True)
        db = _connect(at.connection)
        try:
            yield db
        finally:
            db.close()
        fsync_dir(folder)  # the file, or its log, may be new: what is committed is to survive a power cut

    @contextmanager
    def looked(self, at: Target, access: Access = OPEN) -> Iterator[Any]:
        db = _connect(at.connection, read_only=True)
        try:
            yield db
        finally:
            db.close()

    def begin(self, db: Any) -> None:
        db.execute("begin")  # nobody else has the file

    def roll_back(self, db: Any) -> None:
        import duckdb

        with suppress(duckdb.TransactionException):  # none is open
            db.execute("rollback")

    def relation(self, db: Any, name: str) -> str:
        here = "database_name = current_database() and schema_name = current_schema()"
        if db.execute(
            f"select 1 from duckdb_tables() where {here} and lower(table_name) = lower(?)", (name,)
        ).fetchone():
            return "table"
        view = f"select 1 from duckdb_views() where {here} and lower(view_name) = lower(?)"
        return "view" if db.execute(view, (name,)).fetchone() else ""

    def columns(self, db: Any, table: str) -> list[str]:
        from odibi_actors.nodes.sinks.duckdb_table import declared

        return list(declared(db, table))

    def check_rows(self, rows: pa.Table) -> None:
        from odibi_actors.nodes.sinks.duckdb_table import check

        check(rows)

    def stored(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        from odibi_actors.nodes.sinks.duckdb_table import as_key

        return as_key(column)

    def sorts(self, column: pa.DataType) -> bool:
        return True

    def dependent(self, db: Any, table: str) -> tuple[str, str]:
        from odibi_actors.nodes.sinks.duckdb_foreign import dependent

        return dependent(db, table)

    def holding(self, db: Any, table: str, going: str, error: Exception) -> str:
        from odibi_actors.nodes.sinks.duckdb_foreign import holding

        return holding(db, table, error)

    def needing(self, db: Any, table: str) -> list[str]:
        from odibi_actors.nodes.sinks.duckdb_foreign import needing

        return needing(db, table)

    def rehearse(
        self, db: Any, at: Target, rows: pa.Table, keys: list[str], version: str | None, replaces: bool = False
    ) -> None:
        from odibi_actors.nodes.sinks.duckdb_table import rehearse

        rehearse(self, db, at, rows, keys, version, replaces)

    def insert(self, db: Any, at: Target, rows: pa.Table, keys: list[str], version: str | None) -> None:
        from odibi_actors.nodes.sinks.duckdb_table import insert

        insert(self, db, at, rows, keys, version)

    def collated(self, db: Any, table: str, keys: Sequence[str], *, indexes: bool) -> str:
        from odibi_actors.nodes.sinks.duckdb_table import collated

        return collated(db, table, keys)

    def sql_types(self, db: Any, rows: pa.Table) -> dict[str, str]:
        from odibi_actors.nodes.sinks.duckdb_table import prepared, register

        return register(db, prepared(rows))

    def loosen(self, db: Any, table: str) -> None:
        from odibi_actors.nodes.sinks.duckdb_table import drop_index

        drop_index(db, table)

    def hold(self, db: Any, at: Target, rows: pa.Table) -> str:
        from odibi_actors.nodes.sinks.duckdb_table import hold

        return hold(db, at, rows)

    def watched(self, db: Any, table: str) -> bool:
        query = "select 1 from duckdb_constraints() where constraint_type = 'FOREIGN KEY' limit 1"
        return db.execute(query).fetchone() is not None

    def stand_in(self, folder: Path) -> Path:
        return folder / "database.duckdb"

    def resemble(self, write: WriteSpec, stand_in: Path, owner: Owner, access: Access = OPEN) -> None:
        """An empty database with the tables of the real one, if there is one."""
        if not Path(write.connection.path).exists():
            return
        db = _connect(str(stand_in))
        try:
            path = write.connection.path.replace("'", "''")
            db.execute(f"attach '{path}' as original (read_only)")
            (name,) = db.execute("select current_database()").fetchone()
            db.execute(f'copy from database original to "{name}" (schema)')
            marks = "select table_name from duckdb_tables() where starts_with(table_name, '_odibi')"
            for (table,) in db.execute(marks).fetchall():
                db.execute(f'drop table if exists "{name}"."{table}"')
        finally:
            db.close()

    def failure(self, at: Target, error: Exception) -> Failed | None:
        from odibi_actors.nodes.failures import Failed
        from odibi_actors.nodes.tracebacks import describe
        from odibi_actors.runtime import room

        duckdb = sys.modules.get("duckdb")
        if duckdb is None or not isinstance(error, duckdb.Error):
            return None
        path, said = at.connection, str(error)
        if _LOCKED in said:
            return Failed("busy", in_use(path))
        if "No space left" in said:
            return Failed("full", room.with_free(f"{path}: {said}", path))
        error.args = (f"{path}: {said}",)
        if any(one in said for one in _DAMAGE):
            return Failed("conflict", describe(error))
        return Failed("io" if isinstance(error, duckdb.IOException) else "invalid", describe(error))


def _connect(path: str, *, read_only: bool = False) -> _Database:
    """The database, once nobody else has it. Raises duckdb.Error."""
    return _Database(connect(path, read_only=read_only))


SINK = DuckdbKind()
