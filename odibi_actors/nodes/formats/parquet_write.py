"""Tables as parquet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 1024 * 1024
"""Of a row group: small batches are put together, as each group costs a reader."""


def write(schema: pa.Schema, batches: Iterable[pa.RecordBatch], out: BinaryIO) -> None:
    """A file, row group by row group. Raises OSError."""
    with pq.ParquetWriter(out, schema) as writer:
        held: list[pa.RecordBatch] = []
        for batch in batches:
            held.append(batch)
            if sum(one.num_rows for one in held) >= ROWS:
                writer.write_table(pa.Table.from_batches(held, schema), ROWS)
                held = []
        if held:
            writer.write_table(pa.Table.from_batches(held, schema), ROWS)
