"""PostgreSQL: transactions run side by side, and one that began earlier may commit later. So rows are read up to a
moment once all have ended that ran then: those that had written already, and those that had not, for a default such as
now() is of a transaction's beginning."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from odibi_actors.config.model import ReadSpec
from odibi_actors.connections.postgres_session import APPLICATION, Database, TooSlowError, connected, passing
from odibi_actors.errors import AccessError, ConflictError
from odibi_actors.kinds.connection import Access
from odibi_actors.kinds.dialect import ROWS, Column, Measure, Unfinished, Unreadable, unordered
from odibi_actors.sources.query.names import quote as quoted
from odibi_actors.sources.query.watermarks import Sort

if TYPE_CHECKING:
    import pyarrow as pa

READER = f"{APPLICATION} source"
"""The name of our sessions, which only read, and so hold up nobody."""
BATCH = 20_000
_INTEGERS = ("smallint", "integer", "bigint")
_FLOATS = ("real", "double precision")
_TEXTS = ("text", "character varying", "character", "name", "citext")
_MOMENTS = ("timestamp without time zone", "timestamp with time zone")
_ENUM = "enum "
_RUNNING = """\
select l.virtualxid, l.pid from pg_locks l join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'virtualxid' and l.granted and l.mode = 'ExclusiveLock' and a.datname = current_database()
  and l.pid <> pg_backend_pid() and coalesce(a.application_name, '') <> %s
  and coalesce(a.backend_type, 'client backend') not in ('autovacuum worker', 'walsender', 'parallel worker')"""
_WHO = """\
select l.virtualxid, l.pid, a.usename, a.application_name, to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS"Z"')
from pg_locks l left join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'virtualxid' and l.granted and l.mode = 'ExclusiveLock' and l.virtualxid = any(%s) order by 5, 2"""
_PREPARED = """\
select gid, owner, transaction::text, to_char(prepared, 'YYYY-MM-DD HH24:MI:SS"Z"') from pg_prepared_xacts
where database = current_database() order by prepared"""
_COLUMNS = "select oid::bigint, format_type(oid, null), typtype from pg_type where oid = any(%s)"


def quote(name: str) -> str:
    """A name; a % in it is none of a parameter."""
    return quoted(name).replace("%", "%%")


class PostgresSession:
    """See ``kinds.dialect.Session``."""

    def __init__(self, db: Database, place: str) -> None:
        self._db = db
        self._place = place
        self._cursors = 0

    def relation(self, read: ReadSpec) -> str:
        if self._one("select pg_is_in_recovery()")[0]:
            says = "is a standby, where transactions of its primary are not seen before they end: read from the primary"
            raise Unreadable(f"{self._place} {says}")
        if read.table.query:
            return f"({read.table.query.replace('%', '%%')}) as {ROWS}"
        sql = (
            "select 1 from pg_class where relname = %s and relnamespace = current_schema()::regnamespace"
            " and relkind in ('r', 'p', 'v', 'm', 'f')"
        )
        if next(self.rows(sql, [read.table.table]), None) is None:
            raise Unreadable(f"{self._place} has no table {read.table.table!r} yet", passing=True)
        return f"{quote(read.table.table)} as {ROWS}"

    def columns(self, relation: str) -> list[Column]:
        with self._db.bounded():
            found = self._db.connection.execute(f"select * from {relation} limit 0", ()).description
        types = {row[0]: row[1:] for row in self.rows(_COLUMNS, [[one.type_code for one in found]])}
        columns = []
        for one in found:
            kind, sort = types.get(one.type_code, ("unknown", "b"))
            if kind == "numeric" and one.precision is not None:
                kind = f"numeric({one.precision},{one.scale})"
            columns.append(Column(one.name, f"{_ENUM}{kind}" if sort == "e" else kind))
        return columns

    def measure(self, column: Column) -> Measure:
        name, kind = f"{ROWS}.{quote(column.name)}", column.type
        text = f"{name}::text"
        if kind in (*_INTEGERS, *_FLOATS) or kind.startswith("numeric"):
            cast = "numeric" if kind.startswith("numeric") else kind
            return Measure("number", name, text, f"cast(%s as {cast})")
        if kind == "date" or kind in _MOMENTS:
            return Measure("date" if kind == "date" else "moment", name, text, f"cast(%s as {kind})")
        if kind in ("text", "character varying"):
            if self._one("show server_encoding")[0] != "UTF8":
                raise Unreadable(f"column {column.name!r} is text, of which only databases of UTF8 have one order")
            return Measure("text", f'{name} collate "C"', text, 'cast(%s as text) collate "C"')
        raise Unreadable(unordered(column))

    def parameter(self, sort: Sort, text: str) -> Any:
        return text

    def row(self, columns: Sequence[Column]) -> str:
        return f"row({', '.join(quote(column.name) for column in columns)})::text"

    def size(self, columns: Sequence[Column]) -> str:
        return " + ".join(f"coalesce(octet_length({quote(column.name)}::text), 0)" for column in columns)

    def selected(self, column: Column, text: bool) -> str:
        name, kind = quote(column.name), column.type
        plain = kind in (*_INTEGERS, *_FLOATS, "boolean", "bytea", "character varying", "text", "character")
        if plain and not (text and kind not in _TEXTS):
            return name  # a cast to text would cut the blanks of a character(n)
        return f"{name}::text as {name}"

    def rows(self, sql: str, parameters: Sequence[Any] = (), many: bool = False) -> Iterator[tuple[Any, ...]]:
        if many:
            for batch in self._batches(sql, parameters):
                yield from batch
            return
        with self._db.bounded():
            found = self._db.connection.execute(sql, tuple(parameters)).fetchall()
        yield from found

    def table(
        self, sql: str, parameters: Sequence[Any], columns: Sequence[Column], types: Mapping[str, pa.DataType]
    ) -> pa.Table:
        from odibi_actors.sources.query.postgres_values import table

        return table(self._batches(sql, parameters), columns, types)

    def snapshot(self) -> None:
        with self._db.bounded():
            self._db.connection.execute("begin isolation level repeatable read read only")

    def running(self) -> Unfinished | None:
        (horizon,) = self._one("select pg_snapshot_xmax(pg_current_snapshot())::text")
        return Unfinished(int(horizon), frozenset(row[0] for row in self.rows(_RUNNING, [READER])))

    def holds(self, unfinished: Unfinished) -> list[str]:
        found = []
        if unfinished.running:
            for _, pid, user, application, since in self.rows(_WHO, [sorted(unfinished.running)]):
                what = ", ".join(text for text in (user, application) if text)
                began = f", since {since}" if since else ""
                found.append(f"a transaction of process {pid}{f' ({what})' if what else ''}{began}")
        for gid, owner, number, since in self.rows(_PREPARED):
            if (unfinished.horizon - int(number)) % (1 << 32) < 1 << 31:
                found.append(f"the prepared transaction {gid!r} of {owner}, since {since}")
        return found

    def _batches(self, sql: str, parameters: Sequence[Any]) -> Iterator[list[tuple[Any, ...]]]:
        """Rows by a cursor of the server: never all of them at once."""
        self._cursors += 1
        cursor = self._db.connection.cursor(name=f"odibi_{self._cursors}")
        try:
            with self._db.bounded():
                cursor.execute(sql, tuple(parameters))
            while True:
                with self._db.bounded():
                    rows = cursor.fetchmany(BATCH)
                if not rows:
                    return
                yield rows
        finally:
            if not self._db.connection.broken:
                cursor.close()

    def _one(self, sql: str) -> tuple[Any, ...]:
        return next(self.rows(sql))


class PostgresDialect:
    """See ``kinds.dialect.Dialect``."""

    name = "postgres"
    title = "PostgreSQL"

    @contextmanager
    def open(self, read: ReadSpec, access: Access) -> Iterator[PostgresSession]:
        place = read.connection.path
        try:
            with connected(place, access, READER) as db:
                yield PostgresSession(db, place)
        except (ConflictError, AccessError) as error:
            raise Unreadable(str(error), passing=True) from error
        except TooSlowError as error:
            raise Unreadable(f"{place}: {error}", passing=True) from error
        except Exception as error:
            psycopg = sys.modules.get("psycopg")
            if psycopg is None or not isinstance(error, psycopg.Error):
                raise
            raise Unreadable(f"{place}: {str(error).strip()}", passing=passing(error)) from error

    def stamp(self, read: ReadSpec) -> tuple[Any, ...] | None:
        return None


DIALECT = PostgresDialect()
