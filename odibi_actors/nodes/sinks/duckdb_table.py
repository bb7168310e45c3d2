"""Rows on their way into a table of DuckDB, which reads Arrow as it is: the type that it gives a column is the one that
a new table has. What Arrow has and DuckDB has not is brought to what holds the same values:

=======================================  =========================================================================
Arrow                                    DuckDB
=======================================  =========================================================================
halffloat                                FLOAT
duration                                 BIGINT, the count of its unit: an INTERVAL has no nanoseconds
timestamps with a zone                   TIMESTAMP WITH TIME ZONE: the instant, in microseconds, or nanoseconds
decimals of more than 38 digits, lists   refused
and structs of such, months and days
=======================================  =========================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.batches.normalise import without_case
from odibi_actors.config.arrow_types import type_name
from odibi_actors.errors import ConflictError
from odibi_actors.model import Target
from odibi_actors.nodes.failures import MAX_VALUE, Failed, shorten
from odibi_actors.nodes.sinks.duckdb_foreign import parentless, remedy
from odibi_actors.nodes.sinks.table_columns import (
    check_names,
    check_there,
    not_unique,
    on_conflict,
    other_type,
)
from odibi_actors.nodes.sinks.table_names import quote
from odibi_actors.units import plural

if TYPE_CHECKING:
    from odibi_actors.nodes.sinks.table_kind import TableKind

ROWS = "_odibi_rows"
"""The name by which a statement knows the rows."""
_COPY = "_odibi_copy"
_THERE_OR_HERE = (
    "another row, there or in this batch, has that value: change or leave out one of the two, or drop what makes the "
    "value unique"
)
_INDEX = "odibi_"
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
            "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL")  # fmt: skip
"""Types of which one may hold the values of another."""


def check(rows: pa.Table) -> None:
    """Raise Failed (``invalid``) when DuckDB cannot hold a column of the rows exactly, or tell it from another."""
    check_names(rows.schema, "DuckDB")
    for field in rows.schema:
        _check_type(field.name, field.type, inner=False)
    prepared(rows)


def _check_type(name: str, kind: pa.DataType, *, inner: bool) -> None:
    types = pa.types
    if types.is_nested(kind):
        if kind.num_fields == 0:
            raise Failed("invalid", f"column {name!r} is {type_name(kind)}, without a field", column=name)
        for place in range(kind.num_fields):
            _check_type(name, kind.field(place).type, inner=True)
        return
    changed = types.is_duration(kind) or types.is_float16(kind)  # not done within lists and structs
    if types.is_decimal256(kind) or types.is_interval(kind) or types.is_null(kind) or (inner and changed):
        fix = "cast it, or make it text (to_json() in SQL, json.dumps in Python)"
        raise Failed("invalid", f"column {name!r} is {type_name(kind)}, which DuckDB does not hold; {fix}", column=name)


def prepared(rows: pa.Table) -> pa.Table:
    """The rows as DuckDB takes them. Raises Failed (``invalid``)."""
    return pa.table([_column(field, rows.column(field.name)) for field in rows.schema], rows.column_names)


def _column(field: pa.Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind, types = field.type, pa.types
    if types.is_float16(kind):
        return column.cast(pa.float32())
    if types.is_duration(kind):
        return column.cast(pa.int64())
    if types.is_timestamp(kind) and kind.tz is not None and kind.unit in ("s", "ms"):
        try:
            return column.cast(pa.timestamp("us", kind.tz))
        except pa.ArrowInvalid as error:
            message = f"column {field.name!r} ({type_name(kind)}) holds an instant too far off for DuckDB: {error}"
            raise Failed("invalid", message, column=field.name) from error
    return column


def as_key(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with values that are equal where DuckDB compares them so."""
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    return pc.add(column, 0.0) if pa.types.is_floating(column.type) else column  # no -0.0


def declared(db: Any, table: str) -> dict[str, str]:
    """Type by column of a table, {} where there is none."""
    query = (
        "select column_name, data_type from duckdb_columns() where lower(table_name) = lower(?)"
        " and database_name = current_database() and schema_name = current_schema() order by column_index"
    )
    return dict(db.execute(query, (table,)).fetchall())


def rehearse(
    kind: TableKind, db: Any, at: Target, rows: pa.Table, keys: list[str], version: str | None, replaces: bool = False
) -> None:
    """See ``TableKind.rehearse``: in a transaction that is undone, the rows are brought in as they will be."""
    table = at.locator
    relation = kind.relation(db, table)
    if relation == "view":
        raise ConflictError(f"{table!r} of {at.connection} is a view; write to a table")
    rows = prepared(rows)
    wanted = register(db, rows)
    if relation:
        _compare_types(db, at, rows.schema, wanted)
        if _plain(db, table, wanted, keys):
            return
    tried = partial(_try, kind, db, at, keys=keys, version=version, replaces=replaces and bool(relation))
    error = tried(rows, compared=bool(relation))
    if error is not None and not parentless(error):  # what it refers to may be on its way
        raise _refusal(tried, db, at, rows, keys, error) from error


def _try(
    kind: TableKind,
    db: Any,
    at: Target,
    rows: pa.Table,
    *,
    keys: list[str],
    version: str | None,
    replaces: bool,
    compared: bool = False,
) -> duckdb.Error | ConflictError | None:
    """Bring the rows in, in a transaction that is undone: why the table refuses them. ``compared``: raise Failed
    (``invalid``) for a value that it would change."""
    wanted = register(db, rows)
    db.execute("begin")
    try:
        if replaces:
            db.execute(f"delete from {quote(at.locator)}")
        if kind.relation(db, at.locator):
            names = ", ".join(map(quote, rows.column_names))
            db.execute(f"create temp table {_COPY} as select {names} from {quote(at.locator)} limit 0")
            db.execute(f"insert into temp.{_COPY} select {names} from {ROWS}")
        if compared:
            _compare(db, at, rows, wanted)
        insert(kind, db, at, rows, keys, version)
    except (duckdb.Error, ConflictError) as error:
        if isinstance(error, duckdb.IOException):
            raise
        return error
    finally:
        db.execute("rollback")
    return None


def _refusal(
    tried: Callable[[pa.Table], Exception | None],
    db: Any,
    at: Target,
    rows: pa.Table,
    keys: list[str],
    error: Exception,
) -> Failed:
    """What is told of rows that a table refuses: the first of them that it does not take behind those before it, by
    halves, and of this the column, as far as one alone is to blame."""
    if tried(rows.slice(0, 0)) is not None:  # not for the sake of a row
        said = str(error)
        return Failed("invalid", said if at.locator in said else f"table {at.locator!r} of {at.connection}: {said}")
    taken, refused = 0, rows.num_rows
    while refused - taken > 1:
        middle = (taken + refused) // 2
        why = tried(rows.slice(0, middle))
        taken, refused, error = (middle, refused, error) if why is None else (taken, middle, why)
    row = rows.slice(taken, 1)
    column = _to_blame(db, at, row, str(error))
    shown = [column] if column else rows.column_names
    value = ", ".join(f"{name} = {row.column(name)[0].as_py()!r}" for name in shown)
    cause = error.__cause__ or error
    todo = remedy(db, at.locator, rows.column_names, keys, cause, _THERE_OR_HERE)
    return Failed(
        "invalid",
        f"table {at.locator!r} of {at.connection} refuses row {refused} ({shorten(value, MAX_VALUE)}): {cause}{todo}",
        column=column,
        value=shorten(repr(row.column(column)[0].as_py()), MAX_VALUE) if column else "",
    )


def _to_blame(db: Any, at: Target, row: pa.Table, said: str) -> str:
    """The column whose value DuckDB does not bring to the type of the table, or names; "" when it is none alone."""
    if row.num_columns == 1:
        return str(row.column_names[0])
    register(db, row)
    types = {without_case(name): one for name, one in declared(db, at.locator).items()}
    for name in row.column_names:
        try:
            db.execute(f"select {quote(name)}::{types[without_case(name)]} from {ROWS}")
        except duckdb.Error:
            return str(name)
    named = [name for name in row.column_names if without_case(f"failed: {at.locator}.{name}") in without_case(said)]
    return str(max(named, key=len, default=""))


def _plain(db: Any, table: str, wanted: dict[str, str], keys: list[str]) -> bool:
    """The table has just these columns, of these types, and no constraint but our own, so that it takes any row."""
    nested = any("[" in one or ("(" in one and "DECIMAL" not in one) for one in wanted.values())
    if nested or declared(db, table) != wanted:
        return False
    place = "lower(table_name) = lower(?) and database_name = current_database()"
    (constraints,) = db.execute(f"select count(*) from duckdb_constraints() where {place}", (table,)).fetchone()
    (others,) = db.execute(
        f"select count(*) from duckdb_indexes() where {place} and index_name not like '{_INDEX}%'", (table,)
    ).fetchone()
    return not constraints and not others and (not keys or _keys_unique(db, table, keys))


def register(db: Any, rows: pa.Table) -> dict[str, str]:
    """Let statements know the rows; of each column the type that DuckDB gives it."""
    db.register(ROWS, rows)
    try:
        return {row[0]: row[1] for row in db.execute(f"describe select * from {ROWS}").fetchall()}
    except duckdb.Error as error:
        raise Failed("invalid", f"DuckDB does not hold these columns: {error}") from error


def hold(db: Any, at: Target, rows: pa.Table) -> str:
    """See ``TableKind.hold``."""
    rows = prepared(rows)
    wanted = register(db, rows)
    _check_types(db, at, rows.schema, wanted)
    names = ", ".join(map(quote, rows.column_names))
    db.execute(f"create or replace temp table {_COPY} as select {names} from {quote(at.locator)} limit 0")
    try:
        db.execute(f"insert into temp.{_COPY} select {names} from {ROWS}")
    except duckdb.ConversionException as error:
        message = f"table {at.locator!r} of {at.connection} has no such values: {error}"
        raise Failed("invalid", message) from error
    _compare(db, at, rows, wanted)
    return f"temp.{_COPY}"


def _compare_types(db: Any, at: Target, schema: pa.Schema, wanted: dict[str, str]) -> None:
    there = {without_case(name): one for name, one in declared(db, at.locator).items()}
    names = {name: without_case(name) for name in wanted}
    check_there(
        at,
        wanted,
        {name for name, one in names.items() if one in there},
        {name for name, one in names.items() if one in there and _generated(db, at.locator, name)},
    )
    _check_types(db, at, schema, wanted)


def _check_types(db: Any, at: Target, schema: pa.Schema, wanted: dict[str, str]) -> None:
    """Raise Failed (``invalid``) for a column that the table keeps as something else."""
    there = {without_case(name): one for name, one in declared(db, at.locator).items()}
    for field in schema:
        kind, given = there[without_case(field.name)], wanted[field.name]
        numbers = all(one.partition("(")[0] in _NUMBERS for one in (kind, given))
        texts = given == "VARCHAR" and kind.startswith("ENUM")
        if kind != given and not numbers and not texts:
            raise other_type(at, field, kind, given)


def _generated(db: Any, table: str, column: str) -> bool:
    """Whether the table computes this column. Before DuckDB 2 no catalog says so; the planner always does."""
    try:
        db.execute(f"explain insert into {quote(table)} ({quote(column)}) select null")
    except duckdb.BinderException as error:
        return "into a generated column" in str(error)
    return False


def _compare(db: Any, at: Target, rows: pa.Table, wanted: dict[str, str]) -> None:
    """Raise Failed (``invalid``) for the first value that the types of the table would change."""
    there = {without_case(name): one for name, one in declared(db, at.locator).items()}
    for field in rows.schema:
        kind, declared_as = wanted[field.name], there[without_case(field.name)]
        if kind in (declared_as, "VARCHAR"):  # a text into an ENUM
            continue
        if pa.types.is_integer(field.type) and declared_as not in ("FLOAT", "DOUBLE"):  # as it is, or refused
            continue
        kept = db.execute(f"select {quote(field.name)} from temp.{_COPY} order by rowid").fetchall()
        _check_kept(at, field, rows.column(field.name).to_pylist(), [one for (one,) in kept])


def _check_kept(at: Target, field: pa.Field, given: list[Any], kept: list[Any]) -> None:
    """Numbers of Python are compared as what they are, whatever their types: DuckDB would bring both to one type first,
    which rounds the one as it has rounded the other."""
    for row, (value, found) in enumerate(zip(given, kept, strict=True), 1):
        if not _same(value, found):
            shown, as_kept = (shorten(str(one), MAX_VALUE) for one in (value, found))
            raise Failed(
                "invalid",
                f"column {field.name!r} of table {at.locator!r} in {at.connection} would keep {shown} (row "
                f"{row}, {type_name(field.type)}) as {as_kept}: change its type, or cast it before the sink",
                column=field.name,
                value=shown,
            )


def _same(value: Any, kept: Any) -> bool:
    if value is None or kept is None:
        return value is kept
    if isinstance(value, float) and math.isnan(value):
        return math.isnan(kept)
    if isinstance(value, float) and value == 0:  # there are two
        return kept == 0 and math.copysign(1, kept) == math.copysign(1, value)
    return bool(value == kept)


def _keys_unique(db: Any, table: str, keys: list[str]) -> bool:
    """Whether an upsert by these keys can use a unique index, or constraint: DuckDB itself says so."""
    columns = ", ".join(map(quote, keys))
    probe = f"explain insert into {{0}} ({columns}) select {columns} from {{0}} on conflict ({columns}) do nothing"
    with db.beside() as other:
        try:
            other.execute(probe.format(quote(table)))
        except duckdb.CatalogException:
            return False  # it was made in this transaction
        except duckdb.BinderException as error:
            if "conflict target" not in str(error):
                raise
            return False
    return True


def insert(kind: TableKind, db: Any, at: Target, rows: pa.Table, keys: list[str], version: str | None) -> None:
    """See ``TableKind.insert``."""
    table = quote(at.locator)
    rows = prepared(rows)
    types = register(db, rows)
    if not kind.relation(db, at.locator):
        db.execute(f"create table {table} ({', '.join(f'{quote(name)} {one}' for name, one in types.items())})")
    if keys and not _keys_unique(db, at.locator, keys):
        _make_index(db, at, keys)
    names = ", ".join(map(quote, rows.column_names))
    conflict = on_conflict(at.locator, rows.column_names, keys, version)
    try:
        taken = db.execute(f"insert into {table} ({names}) select {names} from {ROWS}{conflict}").fetchone()[0]
    except (duckdb.ConstraintException, duckdb.ConversionException) as error:
        todo = remedy(db, at.locator, rows.column_names, keys, error)
        raise ConflictError(f"table {at.locator!r} of {at.connection} refuses the rows: {error}{todo}") from error
    if taken != rows.num_rows and version is None and len(keys) < rows.num_columns:
        raise ConflictError(
            f"table {at.locator!r} of {at.connection} takes {taken} of {plural(rows.num_rows, 'row')}; nothing is kept"
        )


def collated(db: Any, table: str, keys: Sequence[str]) -> str:
    """See ``TableKind.collated``. No catalog tells of collations; the planner combines no two of them."""
    kinds = {without_case(name): kind for name, kind in declared(db, table).items()}
    with db.beside() as other:
        for key in keys:
            if kinds[without_case(key)] != "VARCHAR":
                continue
            try:
                other.execute(f"explain select ({quote(key)} collate C) = {quote(key)} from {quote(table)}")
            except duckdb.CatalogException:
                return ""  # it was made in this transaction, by us
            except duckdb.BinderException as error:
                if "collation" not in str(error):
                    raise
                return key
    return ""


def drop_index(db: Any, table: str) -> None:
    """The unique index that upserts have made, and make again: DuckDB adds no column to a table that has one."""
    place = "lower(table_name) = lower(?) and database_name = current_database() and schema_name = current_schema()"
    mine = f"select index_name from duckdb_indexes() where {place} and starts_with(index_name, '{_INDEX}')"
    for (name,) in db.execute(mine, (table,)).fetchall():
        db.execute(f"drop index {quote(name)}")


def _make_index(db: Any, at: Target, keys: list[str]) -> None:
    import xxhash

    digest = xxhash.xxh3_64_hexdigest("\0".join([at.locator, *keys]).lower().encode())
    columns = ", ".join(map(quote, keys))
    try:
        db.execute(f"create unique index {quote(f'{_INDEX}{at.locator}_{digest}')} on {quote(at.locator)} ({columns})")
    except duckdb.ConstraintException as error:
        raise not_unique(at, keys) from error
