"""Folders and databases to which the sinks of a simulated life really publish: what stands in them, and what operators
do to that by hand."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from odibi_actors.batches.files import digest_file
from odibi_actors.model import StagedRef, Target
from odibi_actors.nodes.sinks import current, manifest
from odibi_actors.nodes.sinks.committed import listed
from odibi_actors.nodes.sinks.table_names import quote
from odibi_actors.sim.host import Part
from odibi_actors.sim.verdict import check
from odibi_actors.sim.work import Place

TYPES = {
    **{"id": (pa.int64(),), "name": (pa.string(),), "amount": (pa.int64(), pa.float64()), "salt": (pa.int64(),)},
    **{"part": (pa.string(),)},
}
"""What columns may be: that of the first part decides."""

Row = tuple[Any, ...]

BY_HAND = -1
"""The salt of rows that nobody has published."""


@contextmanager
def database(at: Target) -> Iterator[Any]:
    """That of a target, as its readers and operators open it; what is done there is committed."""
    if at.sink == "sqlite":
        with closing(sqlite3.connect(at.connection)) as sqlite, sqlite:
            yield sqlite
        return
    import duckdb  # not above: few lives have any

    with closing(duckdb.connect(at.connection, config={"threads": 1})) as db:
        db.execute("begin")
        yield db
        db.execute("commit")


class Publication(NamedTuple):
    """A part of a place, that is published, or may be. ``ids``, ``salt``: of its rows."""

    place: Place
    part: StagedRef
    ids: list[int]
    salt: int

    def stands(self) -> bool:
        """It is in its target, as it was prepared."""
        part, path = self.part, Path(self.part.published)
        if part.at.sink != "local":
            return self._mark() is not None
        if part.replaces:
            found = current.held(Path(part.at.locator))
            return found is not None and found.part == path.resolve()
        return os.path.lexists(path) and digest_file(path)[0] == part.digest

    def move_away(self) -> None:
        """An operator does; of a table rows and mark are deleted."""
        part, path = self.part, Path(self.part.published)
        if part.at.sink != "local":
            self._delete()
            return
        if part.replaces:
            if self.stands():
                (Path(part.at.locator) / current.CURRENT).unlink()
            shutil.rmtree(path.parent, ignore_errors=True)
        for file in self._files():
            file.unlink(missing_ok=True)

    def take_out(self) -> Callable[[], None]:
        """An older copy of the target, which has nothing of it, takes the place of the newer one; what brings that
        back."""
        if self.part.at.sink != "local":
            return self._delete()
        aside = {path: path.with_name(f"aside-{path.name}") for path in self._files()}
        for path, away in aside.items():
            with suppress(FileNotFoundError):  # nothing is to be seen of it
                path.rename(away)

        def bring_back() -> None:
            for path, away in aside.items():
                with suppress(FileNotFoundError):
                    away.rename(path)

        return bring_back

    def _files(self) -> list[Path]:
        """All that is to be moved with it: of a part in the folders of partitions each file."""
        path = Path(self.part.published)
        if self.part.replaces or not manifest.is_manifest(str(path)):
            return [path]
        with suppress(FileNotFoundError):
            return [path, *(file for _, file in manifest.files(path))]
        return [path]

    def _mark(self) -> Row | None:
        if not os.path.exists(self.part.at.connection):
            return None
        with database(self.part.at) as db:
            if not db.execute("select 1 from sqlite_master where name = '_odibi_commits'").fetchone():
                return None
            where = "pipeline = ? and iteration = ? and sink = ? and digest = ?"
            found = db.execute(f"select * from _odibi_commits where {where}", (*self.place, self.part.digest))
            mark: Row | None = found.fetchone()
            return mark

    def _delete(self) -> Callable[[], None]:
        """Rows and mark; what puts them back."""
        mark = self._mark()
        assert mark is not None
        table, at = quote(self.part.at.locator), self.part.at
        mine = f"select max(rowid) from {table} where salt = ? and id in ({', '.join(map(str, self.ids))}) group by id"
        with database(at) as db:
            rows: list[Row] = []
            if self.ids:  # else there may be no table
                rows = db.execute(f"select * from {table} where rowid in ({mine})", (self.salt,)).fetchall()
                db.execute(f"delete from {table} where rowid in ({mine})", (self.salt,))
            if self.part.replaces:
                which = "where table_name = ? and iteration = ?"
                db.execute(f"delete from _odibi_overwritten {which}", (at.locator, self.place[1]))
            db.execute("delete from _odibi_commits where pipeline = ? and iteration = ? and sink = ?", self.place)

        def put_back() -> None:
            with database(at) as db:
                db.execute(f"insert into _odibi_commits values ({', '.join('?' * len(mark))})", mark)
                for row in rows:
                    db.execute(f"insert into {table} values ({', '.join('?' * len(row))})", row)

        return put_back


def stocked(at: Target, ids: list[int]) -> list[Row]:
    """Somebody fills a table by hand, with a row for each of these, which are returned."""
    rows: list[Row] = [(row, "by hand", row, BY_HAND, None) for row in ids]
    Path(at.connection).parent.mkdir(parents=True, exist_ok=True)
    with database(at) as db:
        columns = "id bigint, name text, amount bigint, salt bigint, part text"
        db.execute(f"create table if not exists {quote(at.locator)} ({columns})")
        for row in rows:
            db.execute(f"insert into {quote(at.locator)} values (?, ?, ?, ?, ?)", row)
    return rows


class Table:
    """The rows that a table must hold. ``overwritten``: the iteration that has replaced all of them; 0 once others were
    added."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.overwritten = 0

    def take(self, rows: list[Row], part: Part, iteration: int) -> None:
        """A part is published."""
        if part.replaces:
            self.rows, self.overwritten = [], iteration
        else:
            self.overwritten = 0
        if part.keyed:
            keys = {row[0] for row in rows}
            self.rows = [row for row in self.rows if row[0] not in keys]
        self.rows += [] if part.deletes else rows

    def lose(self, rows: list[Row]) -> None:
        """Somebody has deleted these, each once."""
        for row in rows:
            if row in self.rows:
                self.rows.remove(row)

    def forget(self, iteration: int) -> None:
        """Somebody has deleted what says that this iteration has replaced all."""
        if self.overwritten == iteration:
            self.overwritten = 0


def rows_of(table: pa.Table) -> list[Row]:
    """Its rows, comparable. Raises Violation where a type is another one."""
    for field in table.schema:
        check(field.type in TYPES.get(field.name, ()), "I1", f"column {field.name} is {field.type}")
    check(table.column_names == [*TYPES], "I1", f"columns are {table.column_names}")
    return [tuple(row.values()) for row in table.to_pylist()]


def held(part: StagedRef) -> list[Row]:
    """All rows that a reader finds in the target of this part."""
    at = part.at
    if at.sink != "local":
        with database(at) as db:
            if not db.execute("select 1 from sqlite_master where name = ?", (at.locator,)).fetchone():
                return []
            rows: list[Row] = db.execute(f"select * from {quote(at.locator)}").fetchall()
            return rows
    return [row for one in listed(at.locator) for row in rows_of(one.table())]
