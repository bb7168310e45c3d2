"""Outputs of nodes for people: written to a file."""

from __future__ import annotations

import math
import os
import tempfile
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from odibi_actors.errors import ConfigError, ConflictError, OdibiError

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".parquet", ".csv", ".json", ".jsonl", ".arrow")


def check(file: Path) -> None:
    """Raises ConfigError for a suffix that is not known, ConflictError when the file is there."""
    if file.suffix not in SUFFIXES:
        raise ConfigError(f"--to {file}: the suffix says the format; it can be {', '.join(SUFFIXES)}")
    if file.exists():
        raise ConflictError(f"--to {file}: there is such a file; remove it, or name another")


def save(table: pa.Table, file: Path) -> None:
    """Write all rows, whole or not at all. Raises OdibiError naming what the format cannot carry."""
    import pyarrow as pa

    folder = file.parent
    try:
        handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=folder)
        os.close(handle)
    except OSError as error:
        raise OdibiError(f"--to {file}: {error.strerror}") from None
    try:
        _write(table, file.suffix, name)
        os.chmod(name, 0o666 & ~_umask())
        os.link(name, file)
    except FileExistsError:
        raise ConflictError(f"--to {file}: there is such a file; remove it, or name another") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise OdibiError(f"--to {file}: {error}") from None
    finally:
        os.unlink(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write(table: pa.Table, suffix: str, name: str) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    if suffix == ".parquet":
        pq.write_table(table, name)
    elif suffix == ".csv":
        pyarrow.csv.write_csv(table, name)
    elif suffix == ".arrow":
        with pa.OSFile(name, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        with open(name, "wb") as lines:
            for number, row in enumerate(table.to_pylist(), 1):
                plain = {column: _exact(value, column, number) for column, value in row.items()}
                lines.write(msgspec.json.encode(plain) + b"\n")


def _exact(value: Any, column: str, row: int) -> Any:
    """A value as JSON carries it; raises ValueError for one that it cannot."""
    if isinstance(value, dict):
        return {str(name): _exact(one, column, row) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(one, column, row) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"row {row}, column {column}: JSON has no {value}; write .parquet or .arrow")
    if isinstance(value, Decimal | timedelta):
        return str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if value is None or isinstance(value, bool | int | str | float):
        return value
    raise ValueError(f"row {row}, column {column}: JSON has no {type(value).__name__}; write .parquet or .arrow")
