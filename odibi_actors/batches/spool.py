"""The spool: node outputs as files, written once and memory-mapped by whoever reads them on this host.

They are caches with a digest: not synced unless asked, since a missing or damaged one is computed again.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pyarrow as pa

from odibi_actors.batches import ipc
from odibi_actors.batches.files import (
    HashingWriter,
    delete_outputs,
    digest_bytes,
    digest_file,
    fsync_dir,
    make_dirs,
    new_file,
)
from odibi_actors.errors import BatchError
from odibi_actors.failpoints import failpoint
from odibi_actors.model import Attempt, BatchRef

_REF = re.compile(r"[a-z][a-z0-9_]*/[0-9]+/[a-z][a-z0-9_]*-[0-9]+-[0-9]+(\.state)?\.arrow")
"""What a path of ours looks like. Nothing else is opened, so a reference cannot leave the spool."""


class Spool:
    """The outputs under ``root`` (``<data_dir>/spool``) of ``host``."""

    def __init__(self, root: Path, host: str = "") -> None:
        self.root = root
        self.host = host

    def write(
        self,
        table: pa.Table,
        pipeline: str,
        iteration: int,
        node: str,
        attempt: Attempt,
        *,
        durable: bool = False,
        state: bool = False,
    ) -> BatchRef:
        """Keep a table: inline up to ``INLINE_MAX`` bytes, else as a file; ``durable`` syncs it. ``state``: it is not
        the node's output but what the node keeps, and always durable.

        Raises BatchError (over the limits) and OSError.
        """
        ipc.check_limits(table.num_rows, table.nbytes)
        table = ipc.compact(table)
        data = ipc.encode(table) if table.nbytes <= ipc.INLINE_MAX else b""
        if data and len(data) <= ipc.INLINE_MAX:
            digest = digest_bytes(data)
            return BatchRef(rows=table.num_rows, size=len(data), digest=digest, data=data, host=self.host)
        durable = durable or state
        relative = f"{pipeline}/{iteration}/{node}-{attempt}{'.state' if state else ''}.arrow"
        if not _REF.fullmatch(relative):
            raise BatchError(f"{relative!r} is not a path of the spool")
        writer = self._write_file(table, self.root / relative, durable)
        return BatchRef(
            rows=table.num_rows, size=writer.size, digest=writer.digest, path=relative, data=b"", host=self.host
        )

    def _write_file(self, table: pa.Table, path: Path, durable: bool) -> HashingWriter:
        make_dirs(path.parent, sync=durable)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)  # of a dead process with our number
        with new_file(temporary, sync=durable) as writer:
            ipc.write(table, writer)
            ipc.check_limits(table.num_rows, writer.size)
        failpoint("spool.rename")
        os.rename(temporary, path)
        failpoint("spool.renamed")
        if durable:
            fsync_dir(path.parent)
        return writer

    def read(self, ref: BatchRef, *, verify: bool = False) -> pa.Table:
        """The table behind a reference, zero copy. ``verify`` compares the digest of all its bytes first.

        Raises BatchError: missing, cut short, damaged, over the limits; OSError when the disk cannot be read.
        """
        ipc.check_limits(ref.rows, ref.size)
        if not ref.path:
            if len(ref.data) != ref.size or digest_bytes(ref.data) != ref.digest:
                raise BatchError("an inline batch does not match its digest")
            return ipc.decode(ref.data, ref.rows)
        path = self._locate(ref)
        if verify and digest_file(path)[0] != ref.digest:
            raise BatchError(f"spool file {ref.path} is damaged: its digest is not {ref.digest}")
        return ipc.decode(pa.memory_map(str(path)), ref.rows)

    def delete(self, pipeline: str, iteration: int) -> None:
        """Delete the outputs of one iteration. Raises OSError and ValueError."""
        delete_outputs(self.root, pipeline, iteration)

    def _locate(self, ref: BatchRef) -> Path:
        path = self.root / ref.path
        if not _REF.fullmatch(ref.path):
            raise BatchError(f"{ref.path!r} is not a path of the spool")
        try:
            size = path.stat(follow_symlinks=False).st_size
        except (FileNotFoundError, NotADirectoryError):
            raise BatchError(f"spool file {ref.path} is missing") from None
        if path.is_symlink() or not path.is_file():
            raise BatchError(f"spool file {ref.path} is not a regular file")
        if size != ref.size:
            raise BatchError(f"spool file {ref.path} has {size} bytes, not {ref.size}")
        return path
