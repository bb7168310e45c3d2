"""From what users say of a source to what the engine reads: a ``ReadSpec``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from odibi_actors.config.arrow_types import UnknownTypeError, arrow_type
from odibi_actors.config.model import ConnectionSpec, ReadSpec, TableSpec
from odibi_actors.kinds.format import check_options
from odibi_actors.kinds.registry import dialects, format_of, formats, source_of
from odibi_actors.local.streams.config import StreamConfig, StreamMode

SOURCE: Final = "source"
"""The node of a stream, in its store."""
MODES: Final = {StreamMode.INTERVAL: "batch"}
"""Modes whose kind of source has another name: what an interval reads is all there is, whenever it does."""
_SAME: Final = {
    "sep": "delimiter",
    "quotechar": "quote_char",
    "escapechar": "escape_char",
    "skiprows": "skip_rows",
    "na_values": "null_values",
    "decimal": "decimal_point",
    "names": "column_names",
    "skip_blank_lines": "ignore_empty_lines",
}
"""Options of pandas' readers that have another name here."""
_VOID: Final = ("low_memory", "memory_map", "engine", "lines")
"""Options of pandas' readers that change no value."""
_TYPES: Final = {
    **{name.capitalize(): name for name in ("int64", "int32", "int16", "int8")},
    **{f"UInt{bits}": f"uint{bits}" for bits in (64, 32, 16, 8)},
    **{f"datetime64[{unit}]": f"timestamp[{unit}]" for unit in ("s", "ms", "us", "ns")},
    **dict.fromkeys(("str", "object", "category", "string[pyarrow]", "string[python]"), "string"),
    **dict.fromkeys(("float", "float64", "Float64"), "double"),
    **dict.fromkeys(("float32", "Float32"), "float"),
    "int": "int64",
    "boolean": "bool",
    "datetime": "timestamp[us]",
}
"""What pandas, numpy and Python call a type, by Arrow's name."""
_TABLE: Final = ("table", "query", "keys", "lag")
_OWN: Final = ("schema", "columns", "ignore", "optional", "settle")
"""Keys of ``read`` in a project that may stand among the options."""


def read_spec(config: StreamConfig, state: Path) -> ReadSpec:
    """``state``: the folder in which a log of events is kept. Raises ValueError that names what is wrong."""
    mode = StreamMode(config.mode)
    options = dict(config.read_options)
    if config.format in dialects():
        return _checked(_table(config, options))
    if mode is StreamMode.EVENT:
        connection = ConnectionSpec(SOURCE, "local", str(state))
        own, rest = _own(options)
        if rest:
            raise ValueError(f"read_options: mode event reads no files, and takes no {', '.join(rest)}")
        return ReadSpec(connection, "arrow", mode.value, path="events", consumption="cursor", **own)
    if config.format not in formats():
        known = ", ".join([*formats(), *dialects()])
        raise ValueError(f"format: {config.format!r} is not installed; there are: {known}")
    folder, pattern = _where(config)
    own, rest = _own(_translated(options, config.format))
    name = MODES.get(mode, mode.value)
    if problems := check_options(format_of(config.format), rest):
        raise ValueError(f"read_options: {'; '.join(problems)}")
    return _checked(
        ReadSpec(
            ConnectionSpec(SOURCE, "local", str(folder)), config.format, name, pattern=pattern, options=rest,
            consumption=source_of(name).consumption, **own,
        )
    )  # fmt: skip


def _checked(read: ReadSpec) -> ReadSpec:
    """What the kind of source says of it, in a project file's words."""
    section: dict[str, Any] = {"mode": read.mode, "schema": read.schema}
    if read.of_table is None:
        section |= {"format": read.format, "options": read.options}
    else:
        table = read.of_table
        section |= {key: value for key in ("table", "query", "watermark_column") if (value := getattr(table, key))}
    for key, problem, remedy in source_of(read.mode).check(section):
        raise ValueError(f"{'watermark_column' if key == 'mode' else key}: {problem}; {remedy}")
    return read


def _where(config: StreamConfig) -> tuple[Path, str]:
    """The folder, and the pattern of the files in it."""
    path = Path(os.path.abspath(config.source_path))
    if path.is_dir() or (not path.is_file() and (config.mode == StreamMode.FILE_WATCH or not path.suffix)):
        return path, config.file_pattern
    return path.parent, "".join(f"[{one}]" if one in "*?[" else one for one in path.name)


def _table(config: StreamConfig, options: dict[str, Any]) -> ReadSpec:
    if config.mode != StreamMode.INCREMENTAL:
        raise ValueError(f"mode: tables of {config.format} are read by incremental, not {config.mode}")
    if config.format not in ("sqlite", "duckdb"):
        raise ValueError(
            f"format: {config.format} has to be got into: read it by a project, where its connection is said"
        )
    table = TableSpec(
        options.pop("table", ""), options.pop("query", ""), config.watermark_column or "", options.pop("keys", []),
        str(options.pop("lag", "")),
    )  # fmt: skip
    own, rest = _own(options)
    if rest:
        raise ValueError(f"read_options: of a table there are {', '.join([*_TABLE, *_OWN])}, not {', '.join(rest)}")
    if not table.table and not table.query:
        raise ValueError("read_options: say table= or query=")
    path = os.path.abspath(config.source_path)
    connection = ConnectionSpec(SOURCE, config.format, path)
    return ReadSpec(connection, "sql", "incremental", of_table=table, consumption="cursor", **own)


def _own(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    own = {key: value for key, value in options.items() if key in _OWN}
    if "schema" in own:
        own["schema"] = {str(name): _type(name, kind) for name, kind in own["schema"].items()}
    return own, {key: value for key, value in options.items() if key not in _OWN}


def _translated(options: Mapping[str, Any], format_: str) -> dict[str, Any]:
    """Options of pandas' readers, as far as they are known, as the engine has them. Raises ValueError."""
    found = {
        _SAME.get(key, key) if format_ == "csv" else key: value for key, value in options.items() if key not in _VOID
    }
    if "dtype" in found:
        types = found.pop("dtype")
        if not isinstance(types, Mapping):
            raise ValueError("read_options: dtype: say it column by column, {name: type}")
        found["schema"] = {**types, **found.get("schema", {})}
    if isinstance(parsed := found.pop("parse_dates", []), list):
        found["schema"] = {**dict.fromkeys(parsed, "timestamp[us]"), **found.get("schema", {})}
    else:
        raise ValueError("read_options: parse_dates: name the columns; times are known as such without it, too")
    if "usecols" in found:
        found["columns"] = list(found.pop("usecols"))
    header = found.pop("header", "infer")
    if header not in (0, "infer") and not (header is None and "column_names" in found):
        raise ValueError("read_options: header: without a first line that names the columns say names=[...]")
    if isinstance(found.get("null_values"), str):
        found["null_values"] = [found["null_values"]]
    if not found["schema"]:
        del found["schema"]
    return found


def _type(column: Any, kind: Any) -> str:
    """A type as Arrow writes it: of pandas, numpy or Python."""
    name = kind if isinstance(kind, str) else str(getattr(kind, "name", getattr(kind, "__name__", kind)))
    try:
        return arrow_type(_TYPES.get(name, name))
    except UnknownTypeError as error:
        raise ValueError(f"read_options: the type of {column!r}: {name!r}: {error}; {error.suggestion}") from None
