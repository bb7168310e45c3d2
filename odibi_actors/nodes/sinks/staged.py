"""Parts that become rows: staged as a synced Arrow file below ``<data_dir>/staged``, until their sink has brought them
into its target and told so."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from odibi_actors.batches import ipc
from odibi_actors.batches.files import digest_file, fsync_dir, make_dirs, new_file
from odibi_actors.errors import BatchError, ConflictError
from odibi_actors.failpoints import failpoint
from odibi_actors.kinds.sink import Site
from odibi_actors.model import Attempt, StagedRef
from odibi_actors.nodes.sinks.known import ATTEMPT

NOTHING: Mapping[bytes, str | bytes] = {}


def stage(
    site: Site, table: pa.Table, iteration: int, attempt: Attempt, metadata: Mapping[bytes, str | bytes] = NOTHING
) -> StagedRef:
    """Write the part of an iteration, with ``metadata`` for its sink. Raises OSError."""
    path = _folder(site) / str(iteration) / f"{site.owner.node}-{attempt}.arrow"
    make_dirs(path.parent, sync=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # of a dead process with our number
    with new_file(temporary, sync=True) as writer:
        ipc.write(table.replace_schema_metadata(dict(metadata)), writer)
    digest, size, rows = writer.digest, writer.size, table.num_rows
    try:
        failpoint("rows.stage")
        os.link(temporary, path)
        failpoint("rows.staged")
    except FileExistsError:
        if digest_file(path)[0] != digest:  # it stands, for the reasons that parts of folders have
            path = path.with_name(f"{site.owner.node}-{attempt}-{digest}.arrow")
            with suppress(FileExistsError):
                os.link(temporary, path)
    finally:
        temporary.unlink()
    fsync_dir(path.parent)
    return StagedRef(site.at, str(path), "", rows, size, digest, exclusive=site.at.connection, replaces=site.replaces)


def check(site: Site, part: StagedRef, iteration: int) -> Path:
    """Where a part is staged. Raises ConflictError unless it has the name that staging gives: a message cannot choose
    another file."""
    staged = Path(part.staged)
    named = re.fullmatch(rf"{re.escape(site.owner.node)}-{ATTEMPT}\.arrow", staged.name)
    if not named or staged.parent != _folder(site) / str(iteration):
        raise ConflictError(f"{staged} is not a part of iteration {iteration} of {site.owner}")
    return staged


def opened(part: StagedRef) -> pa.Table:
    """The rows of a part. Raises ConflictError when it is not as it was prepared."""
    path = Path(part.staged)
    try:
        digest, _ = digest_file(path)
        if digest != part.digest:
            raise ConflictError(f"the prepared part {path} has digest {digest}, not {part.digest}: it was damaged")
        return ipc.decode(pa.memory_map(str(path)), part.rows)
    except FileNotFoundError:
        raise ConflictError(f"the prepared part {path} is gone and was not published; put it back and retry") from None
    except BatchError as error:
        raise ConflictError(f"the prepared part {path}: {error}") from error


def sweep(site: Site, iteration: int, settled: int) -> None:
    """Delete what dead attempts staged for this iteration and for settled ones. Other lower numbers may be of another
    lane: their parts are still to be published. Raises OSError."""
    root, owner = _folder(site), site.owner
    nodes = [one.node for one in (owner, *site.former) if one.pipeline == owner.pipeline]
    numbers = [int(name) for name in os.listdir(root) if name.isdecimal()] if root.is_dir() else []
    for number in sorted(numbers):
        if number > settled and number != iteration:
            continue
        folder = root / str(number)
        for path in [path for node in nodes for path in folder.glob(f"{node}-*.arrow*")]:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: other sinks of that iteration have parts in it
            folder.rmdir()


def _folder(site: Site) -> Path:
    return site.staging / site.owner.pipeline
