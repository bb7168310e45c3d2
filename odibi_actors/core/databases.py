"""Tables of databases as frames, and frames as tables of SQLite: each value comes back as it was, or is refused."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from typing import Any, Final

import pandas as pd

from odibi_actors.batches.files import make_dirs
from odibi_actors.core.values import as_json, column, records
from odibi_actors.errors import MissingExtraError

_SQLITE: Final = "sqlite:///"
_BOOLEAN: Final = "BOOLEAN"
"""SQLite has no booleans: what a column is declared tells them from 0 and 1."""
_DECLARED: Final = {bool: _BOOLEAN, int: "INTEGER", float: "REAL", str: "TEXT", bytes: "BLOB"}


def _query(table: str | None, query: str | None, name: str) -> str:
    if (table is None) == (query is None):
        raise ValueError(f"{name}: give either table= or query=")
    return query if query is not None else f"select * from {_quoted(str(table))}"


def sqlite(name: str, table: str | None = None, query: str | None = None) -> pd.DataFrame:
    """Columns of whole numbers among which some are missing are exact, see ``values.column``. With ``table`` columns
    that are declared BOOLEAN, and have nothing but 0 and 1, are booleans."""
    asked = _query(table, query, name)
    if not Path(name).is_file():
        raise FileNotFoundError(f"{name}: there is no such database")
    connection = sqlite3.connect(f"{Path(name).absolute().as_uri()}?mode=ro", uri=True)
    try:
        cursor = connection.execute(asked)
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchall()
        booleans = _booleans(connection, table) if table is not None else set()
    finally:
        connection.close()
    columns = []
    for place, one in enumerate(names):
        values = [row[place] for row in rows]
        if one in booleans and all(value in (0, 1, None) for value in values):
            values = [None if value is None else bool(value) for value in values]
        columns.append(column(values))
    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame()
    frame.columns = pd.Index(names)
    return frame


def _booleans(connection: sqlite3.Connection, table: str) -> set[str]:
    declared = connection.execute(f"pragma table_xinfo({_quoted(table)})")
    return {name for _, name, kind, *_ in declared if kind.upper() in (_BOOLEAN, "BOOL")}


def sql(name: str, connection_string: str = "", table: str | None = None, query: str | None = None) -> pd.DataFrame:
    """SQLite by itself, any other database by SQLAlchemy. Raises ValueError, MissingExtraError."""
    if not connection_string:
        raise ValueError(f"{name}: source_type 'sql' needs connection_string=")
    if connection_string.startswith(_SQLITE):
        return sqlite(connection_string.removeprefix(_SQLITE), table, query)
    asked = _query(table, query, name)
    try:
        from sqlalchemy import create_engine
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{name}: databases other than SQLite need SQLAlchemy: pip install sqlalchemy"
        ) from error
    engine = create_engine(connection_string)
    try:
        with engine.connect() as connection:
            frame: pd.DataFrame = pd.read_sql(asked, connection)
            return frame
    finally:
        engine.dispose()


def write(frame: pd.DataFrame, path: Path, table: str = "", mode: str = "replace") -> None:
    """In one transaction. Raises TypeError by column: a value that SQLite, or the table as it is declared, changes."""
    if not table or mode not in ("replace", "append"):
        raise ValueError(f"{path}: a database needs table=, and mode= 'replace' or 'append', not {table!r}, {mode!r}")
    names = [str(name) for name in frame.columns]
    if not names:
        raise TypeError(f"{path}: SQLite has no table without columns")
    if len({name.encode(errors="surrogatepass").lower() for name in names}) < len(names):  # it folds ASCII
        raise TypeError(f"{path}: SQLite has no two columns of one name: {', '.join(names)}")
    rows = [[_bound(name, value, path) for name, value in zip(names, row, strict=True)] for row in records(frame)]
    kinds = [{type(row[place]) for row in rows} - {type(None)} for place in range(len(names))]
    declared = [_declared(kind, frame.dtypes.iloc[place]) for place, kind in enumerate(kinds)]
    make_dirs(path.absolute().parent, sync=True)
    connection = sqlite3.connect(path, isolation_level=None, timeout=60.0)
    try:
        connection.execute("pragma synchronous = full")
        connection.execute("begin immediate")
        if mode == "replace":
            connection.execute(f"drop table if exists {_quoted(table)}")
        columns = ", ".join(f"{_quoted(name)} {kind}" for name, kind in zip(names, declared, strict=True))
        connection.execute(f"create table if not exists {_quoted(table)} ({columns})")
        booleans = {name.lower() for name in _booleans(connection, table)}
        for name, kind in zip(names, kinds, strict=True):
            mixed = bool in kind and len(kind) > 1
            if mixed or (kind and (kind == {bool}) != (name.lower() in booleans)):
                raise TypeError(
                    f"{path}: column {name!r}: SQLite has booleans as 0 and 1, in a column BOOLEAN of nothing else"
                )
        _insert(connection, table, names, rows, path)
        connection.execute("commit")
    finally:
        connection.close()


def _insert(connection: sqlite3.Connection, table: str, names: list[str], rows: list[list[Any]], path: Path) -> None:
    """By a table beside it, of the same affinities, which shows what SQLite makes of the values."""
    wanted = ", ".join(map(_quoted, names))
    taken = ", ".join(f"{_quoted(table)}.{_quoted(name)}" for name in names)
    connection.execute(f"create temp table _taken as select {taken} from main.{_quoted(table)} limit 0")
    connection.executemany(f"insert into temp._taken values ({', '.join('?' * len(names))})", rows)
    back = connection.execute("select * from temp._taken order by rowid")
    for row, found in zip(rows, back, strict=True):
        for name, value, one in zip(names, row, found, strict=True):
            if value != one:
                raise TypeError(f"{path}: column {name!r}: the table gives {value!r} back as {one!r}")
    connection.execute(f"insert into main.{_quoted(table)} ({wanted}) select * from temp._taken order by rowid")


def _declared(kinds: set[type], dtype: Any) -> str:
    """Nothing for values of several types, or of none that is known: SQLite then keeps each as it is."""
    if len(kinds) == 1:
        return _DECLARED[next(iter(kinds))]
    if kinds:
        return ""
    if pd.api.types.is_bool_dtype(dtype):
        return _BOOLEAN
    if pd.api.types.is_integer_dtype(dtype):
        return "INTEGER"
    if pd.api.types.is_float_dtype(dtype):
        return "REAL"
    return "" if pd.api.types.is_object_dtype(dtype) else "TEXT"


def _bound(name: str, value: Any, path: Path) -> Any:
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, float) and math.isinf(value):
        return float(value)
    try:
        found = as_json(value)
    except TypeError as error:
        raise TypeError(f"{path}: column {name!r}: SQLite has no {type(value).__name__}; make it text") from error
    if isinstance(found, list | dict):
        raise TypeError(f"{path}: column {name!r}: SQLite has no {type(value).__name__}; make it text")
    if isinstance(found, int) and not -(1 << 63) <= found < 1 << 63:
        raise TypeError(
            f"{path}: column {name!r}: SQLite has no whole number of more than 64 bits: {found}; make it text"
        )
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
