"""SQLite: values have types, columns hardly do. A look is a transaction; only one at a time writes, so nothing that a
look does not see can be committed before what it sees."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from odibi_actors.config.model import ReadSpec
from odibi_actors.kinds.connection import Access
from odibi_actors.kinds.dialect import ROWS, Column, Measure, Unfinished, Unreadable
from odibi_actors.runtime import room
from odibi_actors.runtime.linux import lock_holders
from odibi_actors.sources.query.marks import digest_of
from odibi_actors.sources.query.names import quote
from odibi_actors.sources.query.watermarks import Sort

if TYPE_CHECKING:
    import pyarrow as pa

PATIENCE = 3.0
"""Seconds to wait for a writer that locks readers out."""
BATCH = 20_000
"""Rows that are taken at once."""
_WHOLE = re.compile(r"-?\d+", re.ASCII)


class SqliteSession:
    """See ``kinds.dialect.Session``."""

    def __init__(self, db: sqlite3.Connection, path: str) -> None:
        self._db = db
        self._path = path
        db.create_function("odibi_row", -1, _row, deterministic=True)

    def relation(self, read: ReadSpec) -> str:
        if read.table.query:
            return f"({read.table.query}) as {ROWS}"
        found = self._db.execute(
            "select name from sqlite_master where type in ('table', 'view') and name = ? collate nocase",
            (read.table.table,),
        ).fetchone()
        if found is None:
            raise Unreadable(f"{self._path} has no table {read.table.table!r} yet", passing=True)
        return f"{quote(str(found[0]))} as {ROWS}"

    def columns(self, relation: str) -> list[Column]:
        names = [one[0] for one in self._db.execute(f"select * from {relation} limit 0").description]
        types: dict[str, str] = {}
        if not relation.startswith("("):
            table = relation.removesuffix(f" as {ROWS}")[1:-1].replace('""', '"')
            types = dict(self._db.execute("select name, type from pragma_table_xinfo(?)", (table,)).fetchall())
        return [Column(name, types.get(name, "")) for name in names]

    def measure(self, column: Column) -> Measure:
        name = f"{ROWS}.{quote(column.name)}"
        return Measure(None, f"{name} collate binary", name, "?")

    def parameter(self, sort: Sort, text: str) -> Any:
        if sort != "number":
            return text
        return int(text) if _WHOLE.fullmatch(text) and abs(int(text)) < 1 << 63 else float(text)

    def row(self, columns: Sequence[Column]) -> str:
        return f"odibi_row({', '.join(quote(column.name) for column in columns)})"

    def size(self, columns: Sequence[Column]) -> str:
        return " + ".join(f"coalesce(length(cast({quote(one.name)} as blob)), 0)" for one in columns)

    def selected(self, column: Column, text: bool) -> str:
        return quote(column.name)

    def rows(self, sql: str, parameters: Sequence[Any] = (), many: bool = False) -> Iterator[tuple[Any, ...]]:
        yield from self._db.execute(sql, parameters)

    def table(
        self, sql: str, parameters: Sequence[Any], columns: Sequence[Column], types: Mapping[str, pa.DataType]
    ) -> pa.Table:
        from odibi_actors.sources.query.values import table

        cursor = self._db.execute(sql, parameters)
        return table(iter(lambda: cursor.fetchmany(BATCH), []), [one.name for one in columns], types)

    def snapshot(self) -> None:
        self._db.execute("begin")

    def running(self) -> Unfinished | None:
        return None

    def holds(self, unfinished: Unfinished) -> list[str]:
        return []


class SqliteDialect:
    """See ``kinds.dialect.Dialect``."""

    name = "sqlite"
    title = "SQLite"

    @contextmanager
    def open(self, read: ReadSpec, access: Access) -> Iterator[SqliteSession]:
        path = read.connection.path
        if not os.path.exists(path):
            raise Unreadable(f"there is no {path} yet", passing=True)
        try:
            uri = f"{Path(path).as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)) as db:
                yield SqliteSession(db, path)
        except sqlite3.Error as error:
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                who = lock_holders(Path(path)) or "another process"
                raise Unreadable(f"{path} is locked by {who}: it is waited for", passing=True) from error
            raise Unreadable(room.explained(error, f"{path}: {error}"), passing=code == sqlite3.SQLITE_IOERR) from error

    def stamp(self, read: ReadSpec) -> tuple[Any, ...] | None:
        return None  # a look is cheap, and keeps nobody out


def _row(*values: Any) -> bytes:
    """The digest of values, each with its type: 1 is not 1.0, nor '1'."""
    return digest_of(msgspec.msgpack.encode([(type(one).__name__, one) for one in values]).hex())


DIALECT = SqliteDialect()
