"""Files and databases as pandas frames, and frames as files: read as they are, written whole or not at all."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pandas as pd

from odibi_actors.batches.files import fsync_dir, make_dirs
from odibi_actors.core.values import EXACT, as_json, holds_data, numpy_frame, records, with_index
from odibi_actors.errors import MissingExtraError

SUFFIXES: Final = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".avro": "avro",
    ".db": "sqlite",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
}
_SQLITE: Final = "sqlite:///"
_READS_EXACTLY: Final = tuple(int(part) for part in pd.__version__.split(".")[:2]) >= (3, 1)
"""Whether pandas reads floats of csv exactly by itself; then it warns of being told to."""


def read(source: str | os.PathLike[str], source_type: str | None = None, **kw: Any) -> pd.DataFrame:
    """See ``PandasContext.read``."""
    name = os.fspath(source)
    kind = source_type or _kind(name)
    match kind:
        case "csv":
            return _csv(name, **kw)
        case "json" | "jsonl":
            return _read_json(Path(name), lines=kind == "jsonl", **kw)
        case "parquet":
            return pd.read_parquet(name, **kw)
        case "avro":
            return _avro(Path(name), **kw)
        case "sqlite":
            return _sqlite(name, **kw)
        case "sql":
            return _sql(name, **kw)
    raise ValueError(f"source_type: {kind!r} is none of {', '.join(dict.fromkeys(SUFFIXES.values()))}, sql")


def write(frame: pd.DataFrame, target: str | os.PathLike[str], target_type: str | None = None, **kw: Any) -> None:
    """See ``PandasContext.write``."""
    path = Path(target)
    match target_type or _kind(str(path)):
        case "csv":
            options = {"index": holds_data(frame.index), **kw}
            _whole(path, lambda fresh: frame.to_csv(fresh, **options))
        case "json" | "jsonl" as kind if kw:
            options = {"orient": "records", "lines": kind == "jsonl", **kw}
            _whole(path, lambda fresh: frame.to_json(fresh, **options))
        case "json" | "jsonl" as kind:
            text = _json(with_index(frame), lines=kind == "jsonl")
            _whole(path, lambda fresh: fresh.write_text(text, encoding="utf-8"))
        case "parquet":
            _whole(path, lambda fresh: frame.to_parquet(fresh, **kw))
        case "sqlite":
            _to_sqlite(with_index(frame), path, **kw)
        case kind:
            raise ValueError(f"{path}: {kind} is not written; there are: csv, json, jsonl, parquet, sqlite")


def _kind(name: str) -> str:
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{name}: no format has the suffix {suffix!r}; there are: {', '.join(SUFFIXES)}; or say source_type"
        )
    return SUFFIXES[suffix]


def _csv(name: str, header: Any = True, **kw: Any) -> pd.DataFrame:
    """``header``: True, the first line; False, none; or what pandas takes. Floats are those of the text, exactly."""
    if isinstance(header, bool):
        header = 0 if header else None
    exact = {} if "engine" in kw or _READS_EXACTLY else {"float_precision": "round_trip"}
    frame: pd.DataFrame = pd.read_csv(name, header=header, **{**exact, **kw})
    return frame


def _read_json(path: Path, lines: bool, **kw: Any) -> pd.DataFrame:
    """Values as JSON has them; with arguments for pandas' reader as that makes them."""
    if kw:
        frame: pd.DataFrame = pd.read_json(path, **{"lines": lines, **kw})
        return frame
    text = path.read_text(encoding="utf-8")
    try:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()] if lines else json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if isinstance(rows, dict):  # one row, or a list per column
        rows = rows if all(isinstance(value, list) for value in rows.values()) else [rows]
    if isinstance(rows, dict):
        return pd.DataFrame({name: _column(values) for name, values in rows.items()})
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path}: its rows are no objects; read it yourself, or give arguments for pandas' reader")
    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame({name: _column([row.get(name) for row in rows]) for name in names})


def _avro(path: Path) -> pd.DataFrame:
    from odibi_actors.nodes.formats import Malformed, avro
    from odibi_actors.nodes.formats.avro_format import FORMAT
    from odibi_actors.nodes.formats.columns import Wanted

    if missing := FORMAT.missing():
        raise MissingExtraError(missing)
    try:
        return numpy_frame(avro.parse(path.read_bytes(), {}, Wanted()).table)
    except Malformed as error:
        raise ValueError(f"{path}: {error}") from error


# --- databases --------------------------------------------------------------------------------------------------------


def _query(table: str | None, query: str | None, name: str) -> str:
    if (table is None) == (query is None):
        raise ValueError(f"{name}: give either table= or query=")
    return query if query is not None else f"select * from {_quoted(str(table))}"


def _sqlite(name: str, table: str | None = None, query: str | None = None) -> pd.DataFrame:
    """Columns of whole numbers among which some are missing are exact, see ``values.numpy_frame``."""
    asked = _query(table, query, name)
    if not Path(name).is_file():
        raise FileNotFoundError(f"{name}: there is no such database")
    connection = sqlite3.connect(f"{Path(name).absolute().as_uri()}?mode=ro", uri=True)
    try:
        cursor = connection.execute(asked)
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchall()
    finally:
        connection.close()
    columns = [_column([row[place] for row in rows]) for place in range(len(names))]
    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame()
    frame.columns = pd.Index(names)
    return frame


def _column(values: list[Any]) -> pd.Series:
    numbers = [value for value in values if isinstance(value, int)]
    if len(numbers) < len(values) and numbers and max(map(abs, numbers)) > EXACT:
        whole = all(value is None or isinstance(value, int) for value in values)
        return pd.Series(values, dtype="Int64" if whole else object)
    return pd.Series(values, dtype=object if not values else None)


def _sql(name: str, connection_string: str = "", table: str | None = None, query: str | None = None) -> pd.DataFrame:
    if not connection_string:
        raise ValueError(f"{name}: source_type 'sql' needs connection_string=")
    if connection_string.startswith(_SQLITE):
        return _sqlite(connection_string.removeprefix(_SQLITE), table, query)
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


def _to_sqlite(frame: pd.DataFrame, path: Path, table: str = "", mode: str = "replace") -> None:
    """In one transaction."""
    if not table or mode not in ("replace", "append"):
        raise ValueError(f"{path}: a database needs table=, and mode= 'replace' or 'append', not {table!r}, {mode!r}")
    make_dirs(path.absolute().parent, sync=True)
    names = [str(name) for name in frame.columns]
    columns = ", ".join(f"{_quoted(name)} {_declared(kind)}" for name, kind in zip(names, frame.dtypes, strict=True))
    rows = [[_bound(name, value, path) for name, value in zip(names, row, strict=True)] for row in records(frame)]
    connection = sqlite3.connect(path, isolation_level=None, timeout=60.0)
    try:
        connection.execute("pragma synchronous = full")
        connection.execute("begin immediate")
        if mode == "replace":
            connection.execute(f"drop table if exists {_quoted(table)}")
        connection.execute(f"create table if not exists {_quoted(table)} ({columns})")
        places = ", ".join("?" * len(names))
        wanted = ", ".join(map(_quoted, names))
        connection.executemany(f"insert into {_quoted(table)} ({wanted}) values ({places})", rows)
        connection.execute("commit")
    finally:
        connection.close()


def _declared(kind: Any) -> str:
    if pd.api.types.is_integer_dtype(kind) or pd.api.types.is_bool_dtype(kind):
        return "INTEGER"
    return "REAL" if pd.api.types.is_float_dtype(kind) else "TEXT"


def _bound(name: str, value: Any, path: Path) -> Any:
    if isinstance(value, bytes):
        return value
    try:
        found = as_json(value)
    except TypeError as error:
        raise TypeError(f"{path}: column {name!r}: SQLite has no {type(value).__name__}; make it text") from error
    if isinstance(found, list | dict):
        raise TypeError(f"{path}: column {name!r}: SQLite has no {type(value).__name__}; make it text")
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# --- files ------------------------------------------------------------------------------------------------------------


def _json(frame: pd.DataFrame, *, lines: bool) -> str:
    """Records. Raises TypeError by column: a value that JSON does not give back, a name that two columns have."""
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise TypeError(f"JSON has no two columns of one name: {', '.join(names)}")
    texts = []
    for row in records(frame):
        found = {}
        for name, value in zip(names, row, strict=True):
            try:
                found[name] = as_json(value)
            except TypeError as error:
                raise TypeError(f"column {name!r}: {error}; make it text, or a number") from error
        texts.append(json.dumps(found, ensure_ascii=False, allow_nan=False))
    if lines:
        return "".join(f"{text}\n" for text in texts)
    return "[" + ",\n ".join(texts) + "]\n"


def _whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Have a file written beside its place, sync it, and put it there."""
    folder = path.absolute().parent
    make_dirs(folder, sync=True)
    # The suffix stays the last: pandas compresses by it.
    fresh = folder / f".{os.getpid()}.{threading.get_ident()}.{path.name}"
    try:
        write(fresh)
        with open(fresh, "rb") as file:
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    fsync_dir(folder)
