"""The bytes of a simulated file, in the format that its source reads."""

from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from odibi_actors.config.model import ReadSpec
from odibi_actors.sim.host import SimFile


def content(file: SimFile, read: ReadSpec) -> bytes:
    """All of them; where the file is malformed, what no reader of the format takes for one."""
    match read.format:
        case "csv":
            plain = file.content
        case "json":
            lines = [json.dumps({"id": row, "extra": row % 28 + 1}) for row in file.rows]
            plain = "".join(f"{line}\n" for line in ['{"id": 1,'] * file.malformed + lines).encode()
        case "parquet" | "arrow":
            whole = _columns(file, read.format == "parquet")
            plain = whole[: len(whole) // 2] if file.malformed else whole
    match read.options.get("compression"):
        case "gzip":
            return gzip.compress(plain, mtime=0)
        case "zstd":
            return bytes(pa.Codec("zstd").compress(plain, asbytes=True))
    return plain


def laid(path: Path, file: SimFile, read: ReadSpec) -> bytes:
    """Write the file, unless it is there as it is; its bytes."""
    found = content(file, read)
    if not path.exists() or path.read_bytes() != found:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(found)
    os.utime(path, ns=(file.mtime_ns, file.mtime_ns))
    return found


def _columns(file: SimFile, parquet: bool) -> bytes:
    """A file without rows tells no types."""
    kind = pa.int64() if file.rows else pa.null()
    columns = {"id": pa.array(file.rows, kind), "extra": pa.array([row % 28 + 1 for row in file.rows], kind)}
    table, out = pa.table(columns), io.BytesIO()
    if parquet:
        pq.write_table(table, out)
    else:
        with pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table)
    return out.getvalue()
