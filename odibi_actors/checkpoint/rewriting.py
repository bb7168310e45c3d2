"""Upgrades of what is sealed: it is taken apart as plain lists and dicts, as former releases wrote it, since types of
ours may change again."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable
from typing import Any

import msgspec

from odibi_actors.checkpoint import schema
from odibi_actors.checkpoint.schema import seal, sealed
from odibi_actors.errors import StoreError

AT_ONCE = 1000
"""Rows whose payloads are in memory at a time."""


def rewrite(
    db: sqlite3.Connection,
    table: str,
    keys: str,
    column: str,
    change: Callable[[tuple[Any, ...], Any], bool],
    *,
    packed: bool = False,
) -> None:
    """Change the sealed values of a column (``packed``: compressed), those that ``change``, given the row's key and the
    value, says it has changed. Raises StoreError naming a value that is damaged or cannot be changed, sqlite3.Error."""
    where = " AND ".join(f"{key} = ?" for key in keys.split(", "))
    last: tuple[Any, ...] = ()
    while True:
        beyond = f" AND ({keys}) > ({', '.join('?' * len(last))})" if last else ""
        rows = db.execute(
            f"SELECT {keys}, {column} FROM {table} WHERE {column} IS NOT NULL{beyond} ORDER BY {keys} LIMIT ?",
            (*last, AT_ONCE),
        ).fetchall()
        if not rows:
            return
        for *key, blob in rows:
            what = f"{column} of {table} {' '.join(map(str, key))}"
            value = opened(blob, what, packed)
            try:
                changed = change(tuple(key), value)
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise StoreError(
                    f"the checkpoint database holds a {what} that cannot be upgraded: {error!r}"
                ) from error
            if changed:
                db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (_closed(value, packed), *key))
        last = tuple(rows[-1][:-1])


def opened(blob: bytes, what: str, packed: bool = False) -> Any:
    """A sealed value as plain lists and dicts. Raises StoreError."""
    data = sealed(blob, what)
    try:
        return msgspec.msgpack.decode(zlib.decompress(data) if packed else data)
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(f"the checkpoint database holds a {what} that cannot be read: {error}") from error


def _closed(value: Any, packed: bool) -> bytes:
    return schema.sealing(zlib.compress(msgspec.msgpack.encode(value))) if packed else seal(value)
