"""SQL for one table, and what a table that is there already makes of rows: found out before anything is staged.

SQLite converts what it stores by the affinity of the declared type (``STRING`` and ``DATE`` have that of NUMERIC), and
a table of somebody else's may have constraints, collations, generated columns. Nothing of that is worked out here: the
rows are inserted into an empty copy of the table, in a temporary database, and read back.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa
import xxhash

from odibi_actors.batches.normalise import without_case
from odibi_actors.config.arrow_types import type_name
from odibi_actors.errors import ConflictError
from odibi_actors.nodes.failures import MAX_VALUE, Failed, shorten
from odibi_actors.nodes.sinks.sqlite_rows import UNIQUE, Going, batches, blamed
from odibi_actors.nodes.sinks.sqlite_types import as_sqlite, sql_type
from odibi_actors.nodes.sinks.table_columns import LEADS_THERE, TAKEN, TWICE, count_older
from odibi_actors.nodes.sinks.table_names import quote
from odibi_actors.units import plural

_ROW = "_odibi_row"
_HELD = "_odibi_rows"
_BINARY = "BINARY"
_INDEXES = "sqlite_master where tbl_name = ? collate nocase and type = 'index'"
_REFUSED = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.OperationalError)


def create_statement(table: str, schema: pa.Schema) -> str:
    """CREATE TABLE for a table that is not there. Raises Failed (``invalid``) for types that SQLite lacks."""
    columns = ", ".join(f"{quote(field.name)} {sql_type(field)}" for field in schema)
    return f"CREATE TABLE {quote(table)} ({columns})"


def insert_statement(
    table: str, names: list[str], keys: list[str], version: str | None = None, *, strict: bool = False
) -> str:
    """INSERT of one row with these columns, replacing the row of the same ``keys`` where there are keys, unless that
    has a greater ``version``. ``strict``: whatever the table's constraints say of conflicts (ON CONFLICT REPLACE would
    drop a row that is there, IGNORE the new one), they refuse the row."""
    columns = ", ".join(map(quote, names))
    verb = "insert or abort" if strict else "insert"
    statement = f"{verb} into {quote(table)} ({columns}) values ({', '.join('?' * len(names))})"
    if not keys:
        return statement
    # The keys as well: 1 and 1.0 are equal.
    change = f"update set {', '.join(f'{quote(name)} = excluded.{quote(name)}' for name in names)}"
    if version is not None:
        former = f"{quote(table)}.{quote(version)}"
        change += f" where {former} is null or {former} <= excluded.{quote(version)} collate binary"
    return f"{statement} on conflict ({', '.join(map(quote, keys))}) do {change}"


def index_name(table: str, keys: list[str]) -> str:
    """The unique index of an upsert's keys: names of tables and columns alone can be joined to the same name."""
    digest = xxhash.xxh3_64_hexdigest("\0".join([table, *keys]).lower().encode())
    return f"odibi_{table}_{digest}"


def make_index(connection: sqlite3.Connection, table: str, keys: list[str], place: str) -> None:
    """Make the keys of an upsert unique, unless they are. Raises ConflictError, and sqlite3.Error."""
    if keys_unique(connection, table, keys):
        return
    name = index_name(table, keys)
    columns = ", ".join(map(quote, keys))
    try:
        connection.execute(f"create unique index if not exists {quote(name)} on {quote(table)} ({columns})")
    except sqlite3.IntegrityError as error:
        raise ConflictError(_not_unique(table, keys, place)) from error
    if not keys_unique(connection, table, keys):
        raise ConflictError(
            f"index {name} of table {table!r} in {place} is not a unique one of the upsert's keys {', '.join(keys)}; "
            "drop it, and `odibictl iteration retry`"
        )


def keys_unique(connection: sqlite3.Connection, table: str, keys: list[str]) -> bool:
    """Whether the table has a unique index that an upsert by these keys can use: SQLite itself says so."""
    columns = ", ".join(map(quote, keys))
    marks = ", ".join("?" * len(keys))
    probe = f"explain insert into {quote(table)} ({columns}) values ({marks}) on conflict ({columns}) do nothing"
    try:
        connection.execute(probe, [None] * len(keys))
    except sqlite3.OperationalError as error:
        if "ON CONFLICT clause does not match" not in str(error):
            raise
        return False
    return True


def collated(connection: sqlite3.Connection, table: str, keys: Sequence[str], *, indexes: bool) -> str:
    """See ``TableKind.collated``. Of a column's collation SQLite tells by an index on it: one of an empty copy."""
    query = "select sql from sqlite_master where name = ? collate nocase and type = 'table'"
    (sql,) = connection.execute(query, (table,)).fetchone()
    if sql.lower().startswith("create virtual"):
        return ""  # it takes no upsert, and compares by characters
    with closing(sqlite3.connect("", isolation_level=None)) as copy:
        copy.execute(sql)
        columns = ", ".join(map(quote, keys))
        copy.execute(f"create index _odibi_keys on {quote(table)} ({columns})")
        found = dict(_collations(copy, "_odibi_keys"))
    if indexes:
        unique = "select name from pragma_index_list(?) where [unique]"
        for (name,) in connection.execute(unique, (table,)).fetchall():
            other = dict(_collations(connection, name))
            if other.keys() == found.keys():
                found.update((key, one) for key, one in other.items() if one != _BINARY)
    return next((key for key in keys if found[without_case(key)] != _BINARY), "")


def _collations(connection: sqlite3.Connection, index: str) -> Iterator[tuple[str, str]]:
    for name, collation in connection.execute("select name, coll from pragma_index_xinfo(?) where key", (index,)):
        yield without_case(name or ""), collation.upper()  # an expression has no name


def _not_unique(table: str, keys: list[str], place: str) -> str:
    return (
        f"table {table!r} of {place} has several rows of the same {', '.join(keys)}, by which rows are to be upserted: "
        "delete all but one of each, or choose other write.keys"
    )


class Existing:
    """The table of that name as it is now. ``sql`` is None when there is none. ``triggers``: it has some; what they
    insert themselves would follow what our statement says of conflicts."""

    def __init__(self, connection: sqlite3.Connection, table: str, place: str) -> None:
        self.table = table
        self.place = place
        self._connection = connection
        row = connection.execute(
            "select type, sql from sqlite_master where name = ? collate nocase and type in ('table', 'view')", (table,)
        ).fetchone()
        self.kind: str | None = row[0] if row else None
        self.sql: str | None = row[1] if row else None
        trigger = "select 1 from sqlite_master where type = 'trigger' and tbl_name = ? collate nocase"
        self.triggers = connection.execute(trigger, (table,)).fetchone() is not None
        self.types: dict[str, str] = {
            without_case(name): kind
            for name, kind in connection.execute("select name, type from pragma_table_info(?)", (table,))
        }
        if row:  # generated columns are not in table_info
            rows = connection.execute("select name, type from pragma_table_xinfo(?) where hidden in (2, 3)", (table,))
            self.generated = {without_case(name) for name, _ in rows}
        else:
            self.generated = set()

    def check(self, rows: pa.Table, keys: list[str], version: str | None) -> None:
        """Raise Failed (``invalid``: the rows) or ConflictError (the table) unless the table takes the rows and keeps
        them as they are. Raises sqlite3.Error."""
        index = "select 1 from sqlite_master where name = ? collate nocase and type = 'index'"
        if self.kind is None and self._connection.execute(index, (self.table,)).fetchone():
            raise ConflictError(f"{self.table!r} is the name of an index in {self.place}; choose another for the table")
        if self.kind == "view":
            raise ConflictError(f"{self.table!r} of {self.place} is a view; write to a table")
        if self.kind is not None:
            self._check_columns(rows.schema)
            if keys and not keys_unique(self._connection, self.table, keys):
                columns = ", ".join(map(quote, keys))
                named = " and ".join(f"{quote(key)} is not null" for key in keys)  # to SQLite no two nulls are the same
                twice = (
                    f"select 1 from {quote(self.table)} where {named} group by {columns} having count(*) > 1 limit 1"
                )
                if self._connection.execute(twice).fetchone():
                    raise ConflictError(_not_unique(self.table, keys, self.place))
        with closing(sqlite3.connect("", isolation_level=None)) as copy:
            if self.sql is not None and self.sql.lower().startswith("create virtual"):
                self._compare_virtual(copy, rows)
            else:
                self._rehearse(copy, rows, keys, version)

    def check_values(self, rows: pa.Table) -> None:
        """Raise Failed (``invalid``) for a value that its column would not keep as it is, whatever the others are."""
        columns = ", ".join(f"{quote(name)} {self.types.get(without_case(name), '')}" for name in rows.column_names)
        with closing(sqlite3.connect("", isolation_level=None)) as copy:
            copy.execute(f"create table {quote(self.table)} ({columns}, {_ROW} integer)")
            self._compare(copy, rows, [])

    def _check_columns(self, schema: pa.Schema) -> None:
        for field in schema:
            if without_case(field.name) in self.generated:
                raise ConflictError(
                    f"column {field.name!r} of table {self.table!r} in {self.place} is generated; leave it out"
                )
        missing = [field for field in schema if without_case(field.name) not in self.types]
        if missing:
            fix = "; ".join(
                f"alter table {quote(self.table)} add column {quote(field.name)} {sql_type(field)}" for field in missing
            )
            names = ", ".join(repr(field.name) for field in missing)
            raise ConflictError(f"table {self.table!r} of {self.place} has no column {names}; add it: {fix}")

    def _plain(self, schema: pa.Schema) -> bool:
        """The table is one of ours, and its columns have just the types that these rows are kept in."""
        kinds = self._connection.execute("select name, type from pragma_table_info(?)", (self.table,))
        columns = ", ".join(f"{quote(name)} {kind}" for name, kind in kinds)
        if self.sql is None or self.sql.partition("(")[2] != f"{columns})":
            return False
        if any(self.types[without_case(field.name)] != sql_type(field) for field in schema):
            return False
        others = self._connection.execute(
            f"select 1 from {_INDEXES} and name not like 'odibi%'",
            (self.table,),
        )
        return others.fetchone() is None

    def _rehearse(self, copy: sqlite3.Connection, rows: pa.Table, keys: list[str], version: str | None) -> None:
        copy.execute("pragma journal_mode = off")
        copy.execute("begin")
        insert = insert_statement(self.table, rows.column_names, keys, version)
        try:
            copy.execute(self.sql or create_statement(self.table, rows.schema))
            for (sql,) in self._connection.execute(f"select sql from {_INDEXES} and sql is not null", (self.table,)):
                copy.execute(sql)
            if keys:
                make_index(copy, self.table, keys, self.place)
            copy.execute(f"explain {insert}", [None] * len(rows.column_names))
        except _REFUSED as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise  # another program has locked it: no fault of the columns
            limit = copy.getlimit(sqlite3.SQLITE_LIMIT_COLUMN) if hasattr(copy, "getlimit") else 2000
            many = (
                f" ({len(rows.column_names)} columns, SQLite takes {limit})" if len(rows.column_names) > limit else ""
            )
            raise Failed(
                "invalid", f"table {self.table!r} of {self.place} cannot take these columns: {error}{many}"
            ) from error
        if self.kind is not None and not self._plain(rows.schema):
            copy.execute(f"alter table {quote(self.table)} add column {_ROW} integer")
            self._compare(copy, rows, keys)

    def _compare(self, copy: sqlite3.Connection, rows: pa.Table, keys: list[str]) -> None:
        names = rows.column_names
        insert = insert_statement(self.table, [*names, _ROW], [], strict=True)
        back = f"select {', '.join(map(quote, names))} from {quote(self.table)} where {_ROW} >= ? order by {_ROW}"
        first = 0
        for batch in batches(rows):
            numbered = ((*row, first + place) for place, row in enumerate(zip(*batch, strict=True)))
            try:
                copy.executemany(insert, numbered)
            except _REFUSED as error:
                (done,) = copy.execute(f"select count(*) from {quote(self.table)}").fetchone()
                row = rows.slice(done, 1)
                self._refuse(error, {name: as_sqlite(row.column(name))[0].as_py() for name in names}, done, keys)
            kept = list(zip(*copy.execute(back, (first,)), strict=True))
            for name, given, found in zip(names, batch, kept, strict=True):
                if tuple(given) != found:
                    self._changed(rows.schema.field(name), given, found, first)
            first += len(batch[0])

    def _compare_virtual(self, copy: sqlite3.Connection, rows: pa.Table) -> None:
        """The same of a table that a module of SQLite keeps, and which takes no further column: an rtree rounds its
        numbers. One that cannot be copied, since it is of other tables, is not looked at."""
        names = rows.column_names
        for batch in batches(rows):
            given = list(zip(*batch, strict=True))
            try:
                copy.execute(self.sql or "")
                copy.executemany(insert_statement(self.table, names, []), given)
                found = Counter(copy.execute(f"select {', '.join(map(quote, names))} from {quote(self.table)}"))
                copy.execute(f"drop table {quote(self.table)}")
            except _REFUSED:
                return
            if lost := Counter(given) - found:
                row = next(one for one in given if one in lost)
                shown = shorten(
                    ", ".join(f"{name} = {value!r}" for name, value in zip(names, row, strict=True)), MAX_VALUE
                )
                kept = shorten(", ".join(map(repr, next(iter(found - Counter(given)), ()))), MAX_VALUE)
                raise Failed(
                    "invalid",
                    f"table {self.table!r} of {self.place} is virtual, and would keep the row {shown} as {kept}: "
                    "write to a table of its own",
                )

    def _refuse(self, error: sqlite3.Error, row: dict[str, Any], number: int, keys: list[str]) -> None:
        if keys and UNIQUE in str(error) and blamed(str(error)) == set(map(without_case, keys)):
            values = shorten(", ".join(f"{key}={row[key]!r}" for key in keys), MAX_VALUE)
            message = (
                f"several rows of one batch have the key {values} (row {number + 1}), as table {self.table!r} of "
                f"{self.place} compares it ({error}): aggregate, or add a column to write.keys"
            )
            raise Failed("invalid", message, column=", ".join(keys), value=values) from error
        column = str(error).rpartition(".")[2]
        value = shorten(repr(row[column]), MAX_VALUE) if column in row else ""
        shown = f" ({column} = {value})" if value else ""
        remedy = f"; {TWICE}" if UNIQUE in str(error) else ""
        message = f"table {self.table!r} of {self.place} refuses row {number + 1}{shown}: {error}{remedy}"
        raise Failed("invalid", message, column=column if column in row else "", value=value) from error

    def _changed(self, field: pa.Field, given: list[Any], found: tuple[Any, ...], first: int) -> None:
        place = next(place for place, pair in enumerate(zip(given, found, strict=True)) if pair[0] != pair[1])
        value, kept = (shorten(repr(one), MAX_VALUE) for one in (given[place], found[place]))
        column = f"column {field.name!r} of table {self.table!r} in {self.place} is"
        declared = self.types[without_case(field.name)] or "without a type"
        message = (
            f"{column} declared {declared}: it would keep {value} (row {first + place + 1}, {type_name(field.type)}) "
            f"as {kept}. Declare it {sql_type(field)}, or cast it before the sink"
        )
        if given[place] is None:
            message = (
                f"{column} its INTEGER PRIMARY KEY, in which SQLite keeps no null: it would number row "
                f"{first + place + 1}. Fill the nulls before the sink, or leave out these rows, or the column"
            )
        raise Failed("invalid", message, column=field.name, value=value)


def hold(db: sqlite3.Connection, table: str, rows: pa.Table) -> str:
    """Bring rows into a temporary table, with the affinities of the columns of this one; its name."""
    names = ", ".join(map(quote, rows.column_names))
    db.execute(f"drop table if exists temp.{_HELD}")
    db.execute(f"create temp table {_HELD} as select {names} from {quote(table)} where 0")
    for columns in batches(rows):
        marks = ", ".join("?" * len(columns))
        db.executemany(f"insert into temp.{_HELD} values ({marks})", zip(*columns, strict=True))
    db.execute(f"create index temp.{_HELD}_keys on {_HELD} ({names})")
    return f"temp.{_HELD}"


def insert(
    db: sqlite3.Connection, table: str, place: str, rows: pa.Table, keys: list[str], version: str | None
) -> None:
    """Bring the rows into the table, which is made if there is none. Raises ConflictError where it refuses a row, or
    drops it, and sqlite3.Error."""
    existing = Existing(db, table, place)
    if existing.kind is None:
        db.execute(create_statement(table, rows.schema))
    names = rows.column_names
    statement = insert_statement(table, names, keys, version, strict=not existing.triggers)
    taken, older, going = 0, 0, Going(names)
    try:
        if keys:
            make_index(db, table, keys, place)
        if version is not None and existing.triggers:  # else nothing drops rows
            query = count_older(table, hold(db, table, rows), keys, version, " collate binary")
            (older,) = db.execute(query).fetchone()
        for columns in batches(rows):
            taken += db.executemany(statement, going.through(columns)).rowcount
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError) as error:
        remedy = f"; {TAKEN}" if UNIQUE in str(error) else ""
        if remedy and keys:
            remedy += ". Two rows cannot exchange such values in one iteration: SQLite looks at each row by itself"
        raise ConflictError(f"table {table!r} of {place} refuses {going.told(str(error))}: {error}{remedy}") from error
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error) and "foreign key mismatch" not in str(error):
            raise
        raise ConflictError(
            f"table {table!r} of {place} takes no rows: {error}. {LEADS_THERE}: make that table, with a "
            "unique index on the columns that are referred to, or drop the foreign key; then `odibictl iteration retry`"
        ) from error
    if taken != rows.num_rows - older and (version is None or existing.triggers):
        raise ConflictError(
            f"table {table!r} of {place} takes {taken} of {plural(rows.num_rows - older, 'row')}: a trigger, "
            "or an ON CONFLICT clause of its own, drops the others"
        )
