"""DuckDB: a file that others write while nobody reads it, and many read while nobody writes it. So it is opened for one
look at a time, and only once the file has changed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from odibi_actors.config.model import ReadSpec
from odibi_actors.connections.duckdb_session import LOCKED, OTHERWISE, connect, in_use
from odibi_actors.errors import MissingExtraError
from odibi_actors.kinds.connection import Access
from odibi_actors.kinds.dialect import ROWS, Column, Measure, Unfinished, Unreadable, unordered
from odibi_actors.sources.query.names import quote
from odibi_actors.sources.query.watermarks import Sort

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 20_000
SURE = 2.0
"""Seconds after which a file that has changed tells by its time that it has changed again."""
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_FLOATS = ("FLOAT", "DOUBLE")
_MOMENTS = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE")


class DuckdbSession:
    """See ``kinds.dialect.Session``."""

    def __init__(self, db: Any, path: str) -> None:
        self._db = db
        self._path = path

    def relation(self, read: ReadSpec) -> str:
        if read.table.query:
            return f"({read.table.query}) as {ROWS}"
        here = "database_name = current_database() and schema_name = current_schema()"
        for kind in ("table", "view"):
            sql = f"select {kind}_name from duckdb_{kind}s() where {here} and lower({kind}_name) = lower(?)"
            if (found := self._db.execute(sql, [read.table.table]).fetchone()) is not None:
                return f"{quote(str(found[0]))} as {ROWS}"
        raise Unreadable(f"{self._path} has no table {read.table.table!r} yet", passing=True)

    def columns(self, relation: str) -> list[Column]:
        rows = self._db.execute(f"describe select * from {relation}").fetchall()
        return [Column(str(row[0]), str(row[1])) for row in rows]

    def measure(self, column: Column) -> Measure:
        name, kind = f"{ROWS}.{quote(column.name)}", column.type
        if kind in _NUMBERS or kind in _FLOATS or kind.startswith("DECIMAL("):
            cast = "DECIMAL(38," + kind.rpartition(",")[2] if kind.startswith("DECIMAL(") else kind
            return Measure("number", name, f"{name}::varchar", f"cast(? as {cast})")
        if kind == "DATE" or kind in _MOMENTS:
            return Measure("date" if kind == "DATE" else "moment", name, f"{name}::varchar", f"cast(? as {kind})")
        if kind == "VARCHAR":
            return Measure("text", f"{name} collate C", name, "cast(? as varchar) collate C")
        raise Unreadable(unordered(column))

    def parameter(self, sort: Sort, text: str) -> Any:
        return text

    def row(self, columns: Sequence[Column]) -> str:
        texts = [f"{quote(column.name)}::varchar" for column in columns]
        parts = [f"case when {text} is null then '-' else length({text}) || ':' || {text} end" for text in texts]
        return f"concat({', '.join(parts)})"

    def size(self, columns: Sequence[Column]) -> str:
        return " + ".join(f"coalesce(length({quote(column.name)}::varchar), 0)" for column in columns)

    def selected(self, column: Column, text: bool) -> str:
        name = quote(column.name)
        return f"{name}::varchar as {name}" if text and column.type != "VARCHAR" else name

    def rows(self, sql: str, parameters: Sequence[Any] = (), many: bool = False) -> Iterator[tuple[Any, ...]]:
        cursor = self._db.execute(sql, list(parameters))
        while found := cursor.fetchmany(BATCH):
            yield from found

    def table(
        self, sql: str, parameters: Sequence[Any], columns: Sequence[Column], types: Mapping[str, pa.DataType]
    ) -> pa.Table:
        from odibi_actors.nodes import sql_types

        relation = self._db.sql(sql, params=list(parameters))
        sql_types.check_types(relation.columns, relation.types)
        return sql_types.narrow(relation.to_arrow_table(), relation.types)

    def snapshot(self) -> None:
        self._db.execute("begin")

    def running(self) -> Unfinished | None:
        return None  # whoever writes has the file alone, and has ended

    def holds(self, unfinished: Unfinished) -> list[str]:
        return []


class DuckdbDialect:
    """See ``kinds.dialect.Dialect``."""

    name = "duckdb"
    title = "DuckDB"

    @contextmanager
    def open(self, read: ReadSpec, access: Access) -> Iterator[DuckdbSession]:
        path = read.connection.path
        if not os.path.exists(path):
            raise Unreadable(f"there is no {path} yet", passing=True)
        try:
            db = connect(path, read_only=True)
            try:
                db.execute("set timezone = 'UTC'")
                yield DuckdbSession(db, path)
            finally:
                db.close()
        except ImportError as error:
            raise MissingExtraError(str(error)) from error
        except Exception as error:
            duckdb = sys.modules.get("duckdb")
            if duckdb is None or not isinstance(error, duckdb.Error):
                raise
            said = str(error)
            if LOCKED in said or OTHERWISE in said:
                raise Unreadable(in_use(path), passing=True) from error
            raise Unreadable(f"{path}: {said}") from error

    def stamp(self, read: ReadSpec) -> tuple[Any, ...] | None:
        found = []
        for path in (read.connection.path, f"{read.connection.path}.wal"):
            try:
                one = os.stat(path)
            except OSError:
                found.append((0, 0, 0))
                continue
            if time.time() - one.st_mtime < SURE:
                return None
            found.append((one.st_mtime_ns, one.st_size, one.st_ino))
        return tuple(found)


DIALECT = DuckdbDialect()
