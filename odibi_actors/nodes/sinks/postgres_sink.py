"""The sink of a ``postgres`` connection: a table of a schema. Rows go by COPY, as csv: what an append brings goes into
the table, what is upserted into a temporary one beside it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odibi_actors.connections.postgres import MAX_NAME
from odibi_actors.connections.postgres_session import Database, TooSlowError, connected, passing
from odibi_actors.errors import ConflictError, MissingExtraError
from odibi_actors.kinds.connection import AGAIN, OPEN, Access
from odibi_actors.model import Target
from odibi_actors.nodes.sinks.table_kind import TableKind
from odibi_actors.nodes.sinks.table_names import quote
from odibi_actors.units import plural

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.nodes.failures import Failed

_LOCK = 7301_2026
"""Of the advisory lock by which those that publish into one schema wait for each other."""
_ROWS, _LIKE = "_odibi_rows", "_odibi_like"
_NUMBERS = ("smallint", "integer", "bigint", "numeric", "real", "double precision")
_TEXTS = ("text", "character varying")


class _Database(Database):
    """A connection of psycopg as ``table_kind.Database``."""

    def copy(self, statement: str, rows: pa.Table) -> int:
        """COPY rows in; how many the table took."""
        import pyarrow as pa
        from pyarrow import csv

        cursor = self.connection.cursor()
        options = csv.WriteOptions(include_header=False, batch_size=65_536, quoting_style="needed")
        with self.bounded(), cursor.copy(statement) as copy:

            class Wire:
                closed = False

                def write(self, data: Any) -> int:
                    copy.write(bytes(data))
                    return len(data)

                def flush(self) -> None:
                    return None

            if rows.num_rows:
                with csv.CSVWriter(pa.PythonFile(Wire(), mode="w"), rows.schema, write_options=options) as writer:
                    writer.write_table(rows)
        return int(cursor.rowcount)


class PostgresKind(TableKind):
    """See ``kinds.sink.Sink`` and ``table_kind.TableKind``."""

    name = "postgres"
    title = flat = "PostgreSQL"

    # --- the database -------------------------------------------------------------------------------------------------

    def place(self, at: Target) -> Path | None:
        return None

    def stands(self, at: Target) -> bool:
        return True

    def stand_in(self, folder: Path) -> Path | None:
        return None

    def reserved(self, at: Target) -> tuple[str, str]:
        if len(at.locator.encode()) > MAX_NAME:
            return f"PostgreSQL cuts names at {MAX_NAME} bytes", at.locator
        return super().reserved(at)

    @contextmanager
    def opened(self, at: Target, access: Access = OPEN) -> Iterator[_Database]:
        with connected(at.connection, access) as db:
            yield _Database(db.connection, db.patience)

    looked = opened

    def begin(self, db: Any) -> None:
        db.execute("begin")
        db.execute(f"select pg_advisory_xact_lock({_LOCK}, hashtext(current_schema()))")

    def commit(self, db: Any, at: Target) -> None:
        import psycopg

        from odibi_actors.nodes.sinks.postgres_foreign import refusal

        try:
            db.execute("commit")
        except psycopg.IntegrityError as error:  # of a constraint that is deferred
            raise refusal(at, error, _said(error)) from error

    def roll_back(self, db: Any) -> None:
        if not db.connection.closed:
            db.execute("rollback")

    def relation(self, db: Any, name: str) -> str:
        query = (
            "select case when relkind in ('r', 'p', 'f') then 'table' when relkind in ('v', 'm') then 'view' else"
            " 'thing that is no table' end from pg_class where relnamespace = current_schema()::regnamespace"
            " and relname = ?"
        )
        row = db.execute(query, (name,)).fetchone()
        return str(row[0]) if row else ""

    def columns(self, db: Any, table: str) -> list[str]:
        return list(self._declared(db, table))

    def _declared(self, db: Any, table: str) -> dict[str, tuple[str, bool, bool]]:
        """Column -> its type, whether it may not be null, whether the table computes it."""
        query = (
            "select attname, format_type(atttypid, atttypmod), attnotnull, attgenerated <> '' or attidentity = 'a'"
            " from pg_attribute where attrelid = (select oid from pg_class where relname = ? and relnamespace ="
            " current_schema()::regnamespace) and attnum > 0 and not attisdropped order by attnum"
        )
        return {row[0]: tuple(row[1:]) for row in db.execute(query, (table,)).fetchall()}

    def failure(self, at: Target, error: Exception) -> Failed | None:
        from odibi_actors.nodes.failures import Failed

        if isinstance(error, MissingExtraError):
            return Failed("code", str(error))
        if isinstance(error, TooSlowError):
            return Failed("io", f"{at.connection}, table {at.locator!r}: {error}")  # tried as often as `retry` says
        psycopg = sys.modules.get("psycopg")
        if psycopg is None or not isinstance(error, psycopg.Error):
            return None
        code, said = error.sqlstate or "", f"{at.connection}: {str(error).strip()}"
        if code.startswith("53100"):
            return Failed("full", said)
        if passing(error):
            return Failed("busy", f"{said}{AGAIN}it answers")
        return Failed("invalid", said)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def check_rows(self, rows: pa.Table) -> None:
        from odibi_actors.nodes.failures import Failed
        from odibi_actors.nodes.sinks.postgres_types import check, sql_type
        from odibi_actors.nodes.sinks.table_columns import check_names

        check_names(rows.schema, self.title, cased=True)
        for name in rows.column_names:
            if len(name.encode()) > MAX_NAME:
                message = (
                    f"column {name!r} has a name of more than {MAX_NAME} bytes, which {self.title} cuts; rename it"
                )
                raise Failed("invalid", message, column=name)
            sql_type(rows.schema.field(name))
            check(rows.column(name), name)

    def stored(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        import pyarrow as pa
        import pyarrow.compute as pc

        column = column.cast(pa.float32()) if pa.types.is_float16(column.type) else column
        return pc.add(column, 0.0) if pa.types.is_floating(column.type) else column  # no -0.0: they are equal

    def sorts(self, column: pa.DataType) -> bool:
        return True

    def refers(self, db: Any, table: str) -> bool:
        from odibi_actors.nodes.sinks.postgres_foreign import refers

        return refers(db, table)

    def holding(self, db: Any, table: str, going: str, error: Exception) -> str:
        from odibi_actors.nodes.sinks.postgres_foreign import holding

        return holding(error)

    def rehearse(
        self, db: Any, at: Target, rows: pa.Table, keys: list[str], version: str | None, replaces: bool = False
    ) -> None:
        import psycopg

        from odibi_actors.nodes.failures import Failed
        from odibi_actors.nodes.sinks.postgres_foreign import twice

        relation = self.relation(db, at.locator)
        if relation not in ("", "table"):
            raise ConflictError(f"{at.locator!r} of {at.connection} is a {relation}; write to a table")
        declared = self._declared(db, at.locator) if relation else {}
        if relation:
            self._compare_types(at, rows, declared)
            if keys and not self._keys_unique(db, at.locator, keys):
                self._check_unique(db, at, keys)
            if self._plain(db, at.locator, rows, declared):
                return
        db.execute("begin")
        try:
            self._make(db, f"temp table {_ROWS}", rows)
            if relation:
                self._fill(db, _ROWS, rows)
                self._compare(db, at, rows, declared)
                db.execute(f"create temp table {_LIKE} (like {quote(at.locator)} including all)")
                names = ", ".join(map(quote, rows.column_names))
                db.execute(f"insert into {_LIKE} ({names}) select {names} from {_ROWS}")
        except (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError) as error:
            message = f"table {at.locator!r} of {at.connection} refuses the rows: {twice(error) or _said(error)}"
            raise Failed("invalid", message) from error
        finally:
            self.roll_back(db)

    def insert(self, db: Any, at: Target, rows: pa.Table, keys: list[str], version: str | None) -> None:
        import psycopg

        from odibi_actors.nodes.sinks.postgres_foreign import refusal
        from odibi_actors.nodes.sinks.table_columns import count_older, on_conflict

        table = quote(at.locator)
        if not self.relation(db, at.locator):
            self._make(db, f"table {table}", rows)
        if keys and not self._keys_unique(db, at.locator, keys):
            self._make_unique(db, at, keys)
        names = ", ".join(map(quote, rows.column_names))
        older, watched = 0, False
        try:
            if not keys:
                taken = self._fill(db, table, rows)
            else:
                db.execute(f"create temp table {_ROWS} on commit drop as select {names} from {table} limit 0")
                self._fill(db, _ROWS, rows)
                if watched := version is not None and self.watched(db, at.locator):
                    (older,) = db.execute(count_older(at.locator, _ROWS, keys, str(version))).fetchone()
                conflict = on_conflict(at.locator, rows.column_names, keys, version)
                taken = db.execute(f"insert into {table} ({names}) select {names} from {_ROWS}{conflict}").rowcount
        except (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.RaiseException) as error:
            raise refusal(at, error, _said(error)) from error
        if taken != rows.num_rows - older and (version is None or watched) and len(keys) < rows.num_columns:
            raise ConflictError(
                f"table {at.locator!r} of {at.connection} takes {taken} of {plural(rows.num_rows - older, 'row')}: a "
                "trigger drops the others"
            )

    def collated(self, db: Any, table: str, keys: Sequence[str], *, indexes: bool) -> str:
        blind = "in (select oid from pg_collation where not collisdeterministic)"
        mine = "(select oid from pg_class where relname = ? and relnamespace = current_schema()::regnamespace)"
        column = (
            f"select attname from pg_attribute where attrelid = {mine} and attname = any (?) and attcollation {blind}"
        )
        index = (
            "select attname from pg_index cross join lateral unnest((indkey::int2[])[0:indnkeyatts - 1],"
            " (indcollation::oid[])[0:indnkeyatts - 1]) as one(place, compared) join pg_attribute on attrelid ="
            f" indrelid and attnum = place where indrelid = {mine} and indisunique and attname = any (?)"
            f" and compared {blind}"
        )
        row = db.execute(column, (table, list(keys))).fetchone()
        if row is None and indexes:
            row = db.execute(index, (table, list(keys))).fetchone()
        return str(row[0]) if row else ""

    def as_name(self, name: str) -> str:
        return name

    def sql_types(self, db: Any, rows: pa.Table) -> dict[str, str]:
        from odibi_actors.nodes.sinks.postgres_types import sql_type

        return {field.name: sql_type(field) for field in rows.schema}

    def hold(self, db: Any, at: Target, rows: pa.Table) -> str:
        import psycopg

        from odibi_actors.nodes.failures import Failed

        declared = self._declared(db, at.locator)
        self._check_types(at, rows, declared)
        self._make(db, f"temp table {_ROWS}", rows)
        self._fill(db, _ROWS, rows)
        try:
            self._compare(db, at, rows, declared)
        except psycopg.DataError as error:
            raise Failed(
                "invalid", f"table {at.locator!r} of {at.connection} has no such values: {_said(error)}"
            ) from error
        db.execute(f"analyze {_ROWS}")
        return _ROWS

    def watched(self, db: Any, table: str) -> bool:
        mine = "(select oid from pg_class where relname = ? and relnamespace = current_schema()::regnamespace)"
        query = (
            f"select exists (select 1 from pg_trigger where tgrelid = {mine}) or exists (select 1 from pg_rewrite"
            f" where ev_class = {mine})"
        )
        return bool(db.execute(query, (table, table)).fetchone()[0])

    def dependent(self, db: Any, table: str) -> tuple[str, str]:
        from odibi_actors.nodes.sinks.postgres_foreign import dependent

        return dependent(db, table)

    def needing(self, db: Any, table: str) -> list[str]:
        from odibi_actors.nodes.sinks.postgres_foreign import needing

        return needing(db, table)

    def _make(self, db: Any, what: str, rows: pa.Table) -> None:
        from odibi_actors.nodes.sinks.postgres_types import sql_type

        db.execute(f"create {what} ({', '.join(f'{quote(one.name)} {sql_type(one)}' for one in rows.schema)})")

    def _fill(self, db: Any, table: str, rows: pa.Table) -> int:
        from odibi_actors.nodes.sinks.postgres_types import prepared

        names = ", ".join(map(quote, rows.column_names))
        return int(db.copy(f"copy {table} ({names}) from stdin (format csv)", prepared(rows)))

    def _compare_types(self, at: Target, rows: pa.Table, declared: Mapping[str, tuple[str, bool, bool]]) -> None:
        from odibi_actors.nodes.sinks.postgres_types import sql_type
        from odibi_actors.nodes.sinks.table_columns import check_there

        wanted = {field.name: sql_type(field) for field in rows.schema}
        check_there(at, wanted, declared, [name for name, (_, _, computed) in declared.items() if computed])
        self._check_types(at, rows, declared)

    def _check_types(self, at: Target, rows: pa.Table, declared: Mapping[str, tuple[str, bool, bool]]) -> None:
        """Raise Failed (``invalid``) for a column that the table keeps as something else."""
        from odibi_actors.nodes.sinks.postgres_types import sql_type
        from odibi_actors.nodes.sinks.table_columns import other_type

        wanted = {field.name: sql_type(field) for field in rows.schema}
        for field in rows.schema:
            kind, given = declared[field.name][0], wanted[field.name]
            families = [{_bare(kind), _bare(given)} <= {*family} for family in (_NUMBERS, _TEXTS)]
            if kind != given and not any(families):
                raise other_type(at, field, kind, given)

    def _compare(self, db: Any, at: Target, rows: pa.Table, declared: Mapping[str, tuple[str, bool, bool]]) -> None:
        """Raise Failed (``invalid``) for the first value that the type of its column would change."""
        from odibi_actors.nodes.failures import MAX_VALUE, Failed, shorten
        from odibi_actors.nodes.sinks.postgres_types import sql_type

        for field in rows.schema:
            name, kind, given = quote(field.name), declared[field.name][0], sql_type(field)
            if kind == given:
                continue
            changed = db.execute(
                f"select {name}::text, {name}::{kind}::text from {_ROWS} where {name}::{kind}::{given}::text is"
                f" distinct from {name}::text limit 1"  # as texts: 0 and -0 are equal, and two
            ).fetchone()
            if changed is not None:
                value, kept = (shorten(one, MAX_VALUE) for one in changed)
                raise Failed(
                    "invalid",
                    f"column {field.name!r} of table {at.locator!r} in {at.connection} is declared {kind}: it would "
                    f"keep {value} as {kept}. Declare it {given}, or cast it before the sink",
                    column=field.name,
                    value=value,
                )

    def _plain(self, db: Any, table: str, rows: pa.Table, declared: Mapping[str, tuple[str, bool, bool]]) -> bool:
        """The table takes any rows of these types: nothing but they and our own index is said of it."""
        from odibi_actors.nodes.sinks.postgres_types import sql_type

        if any(declared[field.name][0] != sql_type(field) for field in rows.schema):
            return False
        if any(needed for _, needed, _ in declared.values()):
            return False
        mine = "(select oid from pg_class where relname = ? and relnamespace = current_schema()::regnamespace)"
        (others,) = db.execute(
            f"select (select count(*) from pg_constraint where conrelid = {mine}) + (select count(*) from pg_trigger"
            f" where tgrelid = {mine}) + (select count(*) from pg_index join pg_class on oid = indexrelid where"
            f" indrelid = {mine} and (indisunique or indexprs is not null) and relname not like 'odibi\\_%%')",
            (table, table, table),
        ).fetchone()
        return not others

    def _keys_unique(self, db: Any, table: str, keys: list[str]) -> bool:
        """Whether the table has a unique index that an upsert by these keys can use."""
        query = (
            "select 1 from pg_index i where indrelid = (select oid from pg_class where relname = ? and relnamespace ="
            " current_schema()::regnamespace) and indisunique and indisvalid and indimmediate and indpred is null and"
            " indexprs is null and (select array_agg(attname::text order by attname::text) from pg_attribute a where"
            " attrelid = indrelid and attnum = any ((indkey::int2[])[0:indnkeyatts - 1])) = ?::text[] limit 1"
        )
        return db.execute(query, (table, sorted(keys))).fetchone() is not None

    def _check_unique(self, db: Any, at: Target, keys: list[str]) -> None:
        from odibi_actors.nodes.sinks.table_columns import not_unique

        columns = ", ".join(map(quote, keys))
        named = " and ".join(f"{quote(key)} is not null" for key in keys)
        twice = f"select 1 from {quote(at.locator)} where {named} group by {columns} having count(*) > 1 limit 1"
        if db.execute(twice).fetchone():
            raise not_unique(at, keys)

    def _make_unique(self, db: Any, at: Target, keys: list[str]) -> None:
        import psycopg
        import xxhash

        from odibi_actors.nodes.sinks.table_columns import not_unique

        digest = xxhash.xxh3_64_hexdigest("\0".join([at.locator, *keys]).encode())
        columns = ", ".join(map(quote, keys))
        try:
            db.execute(f"create unique index {quote(f'odibi_{digest}')} on {quote(at.locator)} ({columns})")
        except psycopg.errors.UniqueViolation as error:
            raise not_unique(at, keys) from error


def _bare(kind: str) -> str:
    """A type without its length, or digits."""
    return re.sub(r"\(.*?\)", "", kind).strip()


def _said(error: Exception) -> str:
    """What the server says of a row, with its values."""
    diagnosis = getattr(error, "diag", None)
    parts = [diagnosis.message_primary, diagnosis.message_detail, diagnosis.context] if diagnosis is not None else []
    return "; ".join(one for one in parts if one) or str(error).strip()


SINK = PostgresKind()
