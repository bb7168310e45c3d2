"""Files and databases as pandas frames, and frames as files: read as they are, written whole or not at all."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pandas as pd

from odibi_actors.batches.files import fsync_dir, make_dirs
from odibi_actors.core import databases, texts
from odibi_actors.core.values import holds_data, is_text, numpy_frame, records, with_index
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


def read(source: str | os.PathLike[str], source_type: str | None = None, **kw: Any) -> pd.DataFrame:
    """See ``PandasContext.read``."""
    name = os.fspath(source)
    try:
        return _read(name, source_type or format_of(name), kw)
    except (ValueError, sqlite3.Error) as error:
        if name in str(error):
            raise
        kind = ValueError if isinstance(error, ValueError) else type(error)
        raise kind(f"{name}: {error}") from error


def _read(name: str, kind: str, kw: dict[str, Any]) -> pd.DataFrame:
    match kind:
        case "csv":
            return texts.csv(name, **kw)
        case "json" | "jsonl":
            return texts.read_json(Path(name), lines=kind == "jsonl", **kw)
        case "parquet":
            return pd.read_parquet(name, **kw)
        case "avro":
            return _avro(Path(name), **kw)
        case "sqlite":
            return databases.sqlite(name, **kw)
        case "sql":
            return databases.sql(name, **kw)
    raise ValueError(f"source_type: {kind!r} is none of {', '.join(dict.fromkeys(SUFFIXES.values()))}, sql")


def write(frame: pd.DataFrame, target: str | os.PathLike[str], target_type: str | None = None, **kw: Any) -> None:
    """See ``PandasContext.write``."""
    path = Path(target)
    try:
        _write(frame, path, target_type or format_of(str(path)), kw)
    except sqlite3.Error as error:
        raise type(error)(f"{path}: {error}") from error
    except UnicodeEncodeError as error:
        raise TypeError(f"{path}: {_half_a_character(frame)}") from error


def _write(frame: pd.DataFrame, path: Path, kind: str, kw: dict[str, Any]) -> None:
    match kind:
        case "csv" if frame.shape[1] == 0 and not holds_data(frame.index):
            raise TypeError(f"{path}: csv has no rows without columns")
        case "csv":
            options = {"index": holds_data(frame.index), **kw}
            whole(path, lambda fresh: frame.to_csv(fresh, **options))
        case "json" | "jsonl" if kw:
            options = {"orient": "records", "lines": kind == "jsonl", **kw}
            whole(path, lambda fresh: frame.to_json(fresh, **options))
        case "json" | "jsonl":
            text = texts.json_text(with_index(frame), lines=kind == "jsonl")
            whole(path, lambda fresh: fresh.write_text(text, encoding="utf-8"))
        case "parquet":
            whole(path, lambda fresh: frame.to_parquet(fresh, **kw))
        case "sqlite":
            databases.write(with_index(frame), path, **kw)
        case _:
            raise ValueError(f"{path}: {kind} is not written; there are: csv, json, jsonl, parquet, sqlite")


def format_of(name: str) -> str:
    """The format of a file, by its suffix. Raises ValueError."""
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{name}: no format has the suffix {suffix!r}; there are: {', '.join(SUFFIXES)}; or say source_type"
        )
    return SUFFIXES[suffix]


def _half_a_character(frame: pd.DataFrame) -> str:
    """Which text of the frame is none in UTF-8."""
    whole = with_index(frame)
    for row, values in enumerate(records(whole)):
        for name, value in zip(whole.columns, values, strict=True):
            if not is_text(value):
                return f"column {str(name)!r}: row {row} has a lone surrogate, half a character, which UTF-8 has not"
    return "a name of a column has a lone surrogate, half a character, which UTF-8 has not"


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


def whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Have a file written beside its place, sync it, and put it there. Raises OSError."""
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
