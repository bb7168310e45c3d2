"""Tables of each SQL engine as a test needs them, and a source that is asked as its finder and its workers ask."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from odibi_actors.config.model import BatchSpec, ConnectionSpec, ReadSpec, TableSpec
from odibi_actors.kinds.connection import OPEN, Access
from odibi_actors.kinds.source import ReadResult
from odibi_actors.sources.incremental import Incremental
from odibi_actors.streaming.effects import Again, Ahead, AsNow, Begin, Part, Piece, Seen
from tests import postgres


class Engine(Protocol):
    """A database of a test's own."""

    name: str
    path: str
    access: Access

    def execute(self, sql: str, rows: Sequence[Sequence[Any]] = ()) -> None:
        """One statement, committed; with ``rows`` once for each, parameters being ``?``."""


class Sqlite:
    name = "sqlite"
    access = OPEN

    def __init__(self, root: Path) -> None:
        self.path = str(root / "shop.db")

    def execute(self, sql: str, rows: Sequence[Sequence[Any]] = ()) -> None:
        with closing(sqlite3.connect(self.path)) as db, db:
            db.executemany(sql, rows) if rows else db.execute(sql)


class Duckdb:
    name = "duckdb"
    access = OPEN

    def __init__(self, root: Path) -> None:
        self.path = str(root / "shop.duckdb")

    def execute(self, sql: str, rows: Sequence[Sequence[Any]] = ()) -> None:
        with closing(duckdb.connect(self.path)) as db:
            db.execute("set timezone = 'UTC'")
            db.execute("begin")
            db.executemany(sql, [list(row) for row in rows]) if rows else db.execute(sql)
            db.execute("commit")


class Postgres:
    name = "postgres"

    def __init__(self, root: Path) -> None:
        self.schema = postgres.Schema(root)
        self.path, self.access = self.schema.place, self.schema.access
        self._db = self.connected()

    def connected(self) -> Any:
        return postgres.connected(options=f"-c search_path={self.schema.name} -c TimeZone=UTC")

    def execute(self, sql: str, rows: Sequence[Sequence[Any]] = ()) -> None:
        if rows:
            self._db.cursor().executemany(sql.replace("?", "%s"), rows)
        else:
            self._db.execute(sql)

    def close(self) -> None:
        self._db.close()


ENGINES: dict[str, Any] = {"sqlite": Sqlite, "duckdb": Duckdb, "postgres": Postgres}


class Source:
    """One source: ``place`` is what the store would have, ``last`` the newest look."""

    def __init__(self, engine: Engine, limits: BatchSpec | None = None, **more: Any) -> None:
        schema = more.pop("schema", {})
        given = {"table": "t", "query": "", "watermark_column": "w"} | more
        place = ConnectionSpec("shop", engine.name, engine.path)
        self.engine, self.limits, self.kind = engine, limits or BatchSpec(), Incremental()
        self.read = ReadSpec(
            place, "sql", "incremental", consumption="cursor", schema=schema, of_table=TableSpec(**given)
        )
        self.place, self.pinned = b"", b""
        self.last = Part("")
        self.remarks: list[str] = []

    def look(self, credit: int = 10, until: bytes = b"", place: bytes | None = None) -> list[Piece]:
        """What is behind the place."""
        begin = Begin(self.read.table.table or "query", self.place if place is None else place, until)
        places = [begin] if begin.place or until else []
        ask = Ahead("p/t", 1, self.read, places, self.limits, credit, access=self.engine.access)
        (seen,) = [one for one in self.kind.probe(ask) if isinstance(one, Seen)]
        (self.last,) = seen.parts
        return self.last.pieces

    def take(self, pieces: Sequence[Piece]) -> ReadResult:
        """Plan and read them: the place moves."""
        assert not pieces or not self.place or pieces[0].range.lower == self.place
        if pieces:
            self.place = pieces[-1].range.upper
        return self.load(pieces)

    def load(self, pieces: Sequence[Piece]) -> ReadResult:
        """Read them."""
        positions = [piece.position for piece in pieces]
        found = self.kind.load(self.read, positions, self.pinned, self.engine.access)
        self.pinned = self.pinned or found.schema
        self.remarks += found.remarks
        return found

    def rows(self, limit: int = 1000) -> list[dict[str, Any]]:
        """All that is new, until nothing is."""
        rows: list[dict[str, Any]] = []
        for _ in range(limit):
            if not (pieces := self.look()):
                if not self.last.more:
                    return rows
                continue
            for piece in pieces:
                rows += self.take([piece]).table.to_pylist()
        raise AssertionError("it does not end")

    def table(self) -> pa.Table:
        """All that is new, as a table."""
        return self.take(self.look()).table

    def now(self, *pieces: Piece) -> AsNow:
        """How they are now."""
        ask = Again("p/t", 2, self.read, [piece.position for piece in pieces], self.engine.access)
        (found,) = [one for one in self.kind.probe(ask) if isinstance(one, AsNow)]
        return found
