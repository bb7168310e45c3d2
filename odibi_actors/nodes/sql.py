"""Transform nodes that are DuckDB SQL over their inputs.

Opening a DuckDB takes 25 ms, a small query 1 ms: a worker keeps one connection. It is a closed room: one thread (sums
of doubles differ from run to run otherwise), no file, no network, no extension, and nothing but one SELECT per node,
so that nothing stays behind for the next. What a run was started with is there as variables: ``getvariable('name')``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import duckdb
import msgspec
import pyarrow as pa

from odibi_actors.batches.narrow import for_duckdb
from odibi_actors.batches.normalise import check_names, normalise
from odibi_actors.errors import BatchError
from odibi_actors.nodes import sql_types
from odibi_actors.nodes.failures import Failed

SETTINGS = {
    "threads": "1",
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "temp_directory": "",
}
"""The closed room."""
CANDIDATES = 3
"""Functions named of those that DuckDB would know instead."""
_CANDIDATES = re.compile(r"(Candidate functions:\n)((?:\t[^\n]+\n)+)")
_HERE = "sql"
"""How messages begin of SQL that stands in the project file."""
_LINE = re.compile(r"^LINE (\d+):", re.MULTILINE)


class Variables(NamedTuple):
    """What a query may know of its run, as ``getvariable('name')``: each of ``params`` by its name (texts, numbers,
    booleans and null as they are, all else as JSON text), ``occurrence`` (VARCHAR) and ``scheduled_at`` (TIMESTAMPTZ),
    which are null without one. A param of one of these two names is hidden."""

    params: Mapping[str, Any] = {}
    occurrence: str = ""
    scheduled_at: datetime | None = None


NONE = Variables()


class SqlRunner:
    """One worker's DuckDB, opened at the first query (never before a fork)."""

    def __init__(self) -> None:
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._variables = ""  # those that are set, as text; they are set only when others are wanted
        self._names: list[str] = []

    def run(self, sql: str, inputs: Mapping[str, pa.Table], variables: Variables = NONE, file: str = "") -> pa.Table:
        """The rows of one SELECT over tables named as the inputs, with normal types (see ``sql_types``).
        ``file``: where it was written, for messages.

        Raises Failed: ``invalid`` (SQL that can never run, columns without a proper name or of a type that is not
        carried exactly, params that cannot be variables) or ``raised`` (these rows).
        """
        try:
            return self._run(sql, inputs, variables)
        except Failed as error:
            found = error.failure
            if not file or not found.message.startswith(_HERE):
                raise
            raise Failed(
                found.kind, file + found.message.removeprefix(_HERE), line=found.line, column=found.column
            ) from error

    def _run(self, sql: str, inputs: Mapping[str, pa.Table], variables: Variables) -> pa.Table:
        connection = self._connect()
        self._set(connection, variables)
        for name, table in {name: _readable(name, table) for name, table in inputs.items()}.items():
            connection.register(name, table)
        query = sql
        try:
            query = _select(connection, sql)
            relation = connection.sql(query)
            check_names(relation.columns)
            sql_types.check_types(relation.columns, relation.types)
            return normalise(sql_types.narrow(relation.to_arrow_table(), relation.types))
        except duckdb.Error as error:
            raise _sql_failure(_placed(connection, query, error), _head(sql, query)) from error
        except BatchError as error:
            hint = "" if error.column else "; name columns with 'as'"
            raise Failed("invalid", f"sql: {error}{hint}", column=error.column) from error
        finally:
            for name in inputs:
                connection.unregister(name)

    def refusal(self, sql: str, inputs: Mapping[str, pa.Table], variables: Variables = NONE) -> str:
        """What the query is refused with as it is planned, before any row is looked at; "" when it is not."""
        connection, query = self._connect(), sql
        try:
            self._set(connection, variables)
            for name, table in inputs.items():
                connection.register(name, _readable(name, table))
            query = _select(connection, sql)
            connection.sql(query)
        except duckdb.Error as error:
            return _of_text(str(error), _head(sql, query))
        except Failed as error:
            return str(error)
        finally:
            for name in inputs:
                connection.unregister(name)
        return ""

    def interrupt(self) -> None:
        """Stop the query that runs; it raises. From another thread."""
        if self._connection is not None:
            self._connection.interrupt()

    def close(self) -> None:
        """Close the database, if it was opened."""
        if self._connection is not None:
            self._connection.close()
            self._connection, self._variables, self._names = None, "", []

    def _set(self, connection: duckdb.DuckDBPyConnection, variables: Variables) -> None:
        """Make these variables those of the connection, and no others."""
        wanted = repr(variables)
        if wanted == self._variables:
            return
        name, self._variables = "", ""
        try:
            while self._names:
                connection.execute(f"reset variable {quote(self._names.pop())}")
            for name, value in variables.params.items():
                connection.execute(f"set variable {quote(name)} = ?", [_value(value)])
                self._names.append(name)
        except (duckdb.Error, TypeError, ValueError) as error:
            message = f"sql: the run's parameter {name!r} cannot be a variable of the query: {error}"
            raise Failed("invalid", message) from error
        connection.execute("set variable occurrence = cast(? as varchar)", [variables.occurrence or None])
        connection.execute("set variable scheduled_at = cast(? as timestamptz)", [variables.scheduled_at])
        self._variables = wanted

    def _connect(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            self._connection = duckdb.connect(":memory:", config=dict(SETTINGS))
            self._connection.execute("set timezone = 'UTC'")
            self._connection.execute("set lock_configuration = true")
        return self._connection


def _select(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The one SELECT of a text, without what stands before it: comments, blanks, a byte order mark."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise Failed("invalid", "sql: write exactly one SELECT statement (WITH is fine); nothing else is run")
    return str(statements[0].query)


def _head(sql: str, query: str) -> int:
    """Lines of a text before its query, which ends where the text does."""
    return sql[: len(sql) - len(query)].count("\n")


def _of_text(message: str, head: int) -> str:
    """A message about a query with the line of the text that holds it, behind so many others."""
    return _LINE.sub(lambda found: f"LINE {int(found[1]) + head}:", message, count=1)


def quote(name: str) -> str:
    """A SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _value(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else msgspec.json.encode(value).decode()


def _readable(name: str, table: pa.Table) -> pa.Table:
    if not table.column_names:
        raise Failed("invalid", f"sql: input {name!r} is a table without columns")
    try:
        return for_duckdb(table)
    except BatchError as error:
        raise Failed("invalid", f"sql: input {name!r}: {error}", column=error.column) from error


def _few(found: re.Match[str]) -> str:
    """The first of the functions that DuckDB would know instead: it lists all, of ``+`` more than fifty."""
    names = found[2].splitlines()
    more = f"\n\t... and {len(names) - CANDIDATES} more" if len(names) > CANDIDATES else ""
    return found[1] + "\n".join(names[:CANDIDATES]) + more + "\n"


def _placed(connection: duckdb.DuckDBPyConnection, query: str, error: duckdb.Error) -> duckdb.Error:
    """The same error with the place in the query. DuckDB tells that of what it cannot bind only where a statement is
    executed, which is refused at the same place, before any row is looked at."""
    if not isinstance(error, duckdb.BinderException | duckdb.CatalogException) or _LINE.search(str(error)):
        return error
    try:
        connection.execute(query)
    except duckdb.Error as placed:
        return placed if type(placed) is type(error) else error
    return error


def _sql_failure(error: duckdb.Error, head: int) -> Failed:
    text = _of_text(str(error), head)
    found = _LINE.search(text)
    line = int(found[1]) if found else 0
    text = _CANDIDATES.sub(_few, text)
    where = f"{_HERE} line {line}" if line else _HERE
    never = isinstance(error, duckdb.ProgrammingError | duckdb.PermissionException | duckdb.NotSupportedError)
    return Failed("invalid" if never else "raised", f"{where}: {text}", line=line)
