"""Tables as Arrow IPC files, which hold every type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

import pyarrow as pa


def check(table: pa.Table) -> None:
    """There is nothing that it does not hold."""


def write(schema: pa.Schema, batches: Iterable[pa.RecordBatch], out: BinaryIO) -> None:
    """A file (Feather version 2), batch by batch. Raises OSError."""
    with pa.ipc.new_file(pa.PythonFile(out, "w"), schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
