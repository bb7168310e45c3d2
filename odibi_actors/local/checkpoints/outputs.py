"""What nodes returned, kept as Arrow files (Feather version 2) that give it back as it was, or refused by column.

The digest of a file stands in its name, since Arrow files have no checksum.
"""

from __future__ import annotations

import io
import json
import os
import threading
import typing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import xxhash

from odibi_actors.batches.files import HashingWriter, fsync_dir, make_dirs, new_file
from odibi_actors.errors import BatchError, StoreError

KIND: Final = b"odibi.kind"
VALUE: Final = "value"
SUFFIX: Final = ".arrow"


def save(folder: Path, node: str, data: Any) -> Path:
    """Keep what a node returned: a frame of pandas or polars, a table of pyarrow, or what JSON has. Raises TypeError
    for what would not come back as it is, by column, and OSError."""
    try:
        table = _table(data)
    except TypeError as error:
        raise TypeError(f"output of {node!r}: {error}") from error
    make_dirs(folder, sync=True)
    # Of the thread, too: an interrupted run may have left the same step at work.
    fresh = folder / f".{_name(node)}.{os.getpid()}.{threading.get_ident()}.tmp"
    fresh.unlink(missing_ok=True)
    with new_file(fresh, sync=True) as file:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        digest = file.digest
    path = folder / f"{_name(node)}.{digest}{SUFFIX}"
    former = [one for one in _of(folder, node) if one != path]
    os.replace(fresh, path)
    fsync_dir(folder)
    for one in former:
        one.unlink(missing_ok=True)
    return path


def load(folder: Path, node: str, digest: str = "") -> Any:
    """What ``save`` was given (with ``digest``: that of these bytes alone); None: nothing is kept. Raises StoreError
    naming a file that is damaged, OSError."""
    found = [one for one in _of(folder, node) if not digest or one.name.endswith(f".{digest}{SUFFIX}")]
    if not found:
        return None
    path = max(found, key=lambda one: one.stat().st_mtime_ns)
    data = path.read_bytes()
    if xxhash.xxh3_128_hexdigest(data) != path.name.removesuffix(SUFFIX).rpartition(".")[2]:
        raise StoreError(f"output {path} is damaged: its bytes are not those that were written")
    table = pa.ipc.open_file(data).read_all()
    kind = (table.schema.metadata or {}).get(KIND, b"").decode()
    metadata = {key: value for key, value in (table.schema.metadata or {}).items() if key != KIND}
    return _value(table.replace_schema_metadata(metadata or None), kind)


def digest_of(data: Any) -> str | None:
    """The digest that the file of ``save`` would have; None for what cannot be kept. (Whether a pandas frame would come
    back as it is costs a second conversion, and is not asked.)"""
    sink = HashingWriter(typing.cast("typing.BinaryIO", _Nowhere()))
    try:
        table = _table(data, exactly=False)
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    except (TypeError, pa.ArrowException):
        return None
    return sink.digest


class _Nowhere(io.RawIOBase):
    def write(self, data: Any) -> int:
        return len(data)


def _table(data: Any, exactly: bool = True) -> pa.Table:
    """In one chunk per column, as the bytes must not depend on how a frame was put together."""
    return _as_table(data, exactly).combine_chunks()


def _as_table(data: Any, exactly: bool) -> pa.Table:
    if isinstance(data, pd.DataFrame):
        return _tagged(_of_pandas(data, exactly), "pandas")
    if getattr(data, "shape", (0,))[1:] == (0,) and data.shape[0]:  # a table of pyarrow or polars
        raise TypeError("an Arrow file has no rows without columns")
    if isinstance(data, pa.Table):
        return _tagged(data, "pyarrow")
    if type(data).__module__.partition(".")[0] == "polars" and hasattr(data, "to_arrow"):
        from odibi_actors.batches.frames import from_polars

        try:
            return _tagged(from_polars(data), "polars")
        except BatchError as error:
            raise TypeError(str(error)) from error
    try:
        text = json.dumps(data, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{type(data).__name__} is no frame, no table, and not what JSON has: {error}") from error
    if json.loads(text) != data or isinstance(data, tuple):
        raise TypeError(f"{type(data).__name__}: JSON does not give it back as it is; give lists and keys of text")
    return _tagged(pa.table({VALUE: [text]}), "json")


def _of_pandas(frame: pd.DataFrame, exactly: bool) -> pa.Table:
    """Index and numpy's types included. ``exactly``: raise TypeError for what would come back changed."""
    alone = True if len(frame) and not len(frame.columns) else None  # an index alone must be a column to be kept
    try:
        table = pa.Table.from_pandas(frame, preserve_index=alone)
        if not exactly:
            return table
        back = table.to_pandas()
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise TypeError(f"{_without_form(frame)} has no Arrow form: {error}; make it one type, such as text") from error
    for place, name in enumerate(frame.columns):
        one, other = frame.iloc[:, place], back.iloc[:, place]
        if one.dtype != other.dtype or not _same(one, other):
            raise TypeError(f"column {name!r} ({one.dtype}) would come back changed; convert it to one type first")
    if not frame.index.equals(back.index) or frame.index.names != back.index.names:
        raise TypeError("the index would come back changed; use frame.reset_index()")
    return table


def _without_form(frame: pd.DataFrame) -> str:
    """Which column Arrow does not take."""
    for place, name in enumerate(frame.columns):
        try:
            pa.Array.from_pandas(frame.iloc[:, place])
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            return f"column {name!r}"
    return "the index, or a name of a column,"


def _same(one: pd.Series, other: pd.Series) -> bool:
    if one.dtype != object:
        return bool(one.reset_index(drop=True).equals(other.reset_index(drop=True)))
    pairs = zip(one.array, other.array, strict=True)
    return all(_equal(a, b) for a, b in pairs)


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    match one:
        case np.ndarray():
            if (one.dtype, one.shape) != (other.dtype, other.shape):
                return False
            if one.dtype == object:
                return all(map(_equal, one.flat, other.flat))
            return bool(one.tobytes() == other.tobytes())
        case list() | tuple():
            return len(one) == len(other) and all(map(_equal, one, other))
        case dict():
            return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    return bool(one == other or (one != one and other != other))  # noqa: PLR0124


def _value(table: pa.Table, kind: str) -> Any:
    match kind:
        case "pandas":
            return table.to_pandas()
        case "polars":
            from odibi_actors.batches.frames import to_polars

            return to_polars(table)
        case "json":
            return json.loads(table.column(VALUE)[0].as_py())
    return table


def _tagged(table: pa.Table, kind: str) -> pa.Table:
    return table.replace_schema_metadata({**(table.schema.metadata or {}), KIND: kind.encode()})


def _name(node: str) -> str:
    return quote(node, safe=" ")


def _of(folder: Path, node: str) -> list[Path]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    ends = len(".") + 32 + len(SUFFIX)
    return [folder / name for name in names if name.endswith(SUFFIX) and name[:-ends] == _name(node)]
