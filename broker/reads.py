"""What the result of a read node tells beside its output: types that were inferred, and the files as they were read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from odibi_actors.broker.iteration import Iteration
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import NodeSpec
from odibi_actors.config.remedies import schema
from odibi_actors.messages import NodeDone, SameBytes
from odibi_actors.model import PositionRead
from odibi_actors.units import naming, plural

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow

DIGEST = 32
"""Hex digits of the digest of a file."""

SHOWN = 30
"""Columns that one line names: a file may have thousands."""


def files(iteration: Iteration, node: NodeSpec, done: NodeDone) -> list[PositionRead]:
    """What the ledger is to keep of the files that were read. A worker of the version before tells nothing, and the
    ledger holds neither those of a reference, which are pinned by digest, nor what is read in order."""
    if node.read is None or node.read.consumption != "set":
        return []
    return done.files if len(done.files) == len(iteration.positions.get(done.node, [])) else []


def same(flow: Flow, message: SameBytes) -> None:
    """The source knows files again that were read: the ledger is to know them as they are now."""
    pipeline = flow.pipelines.get(message.pipeline)
    lane = pipeline.lane(message.lane) if pipeline is not None else None
    if lane is None and pipeline is not None and message.lane.startswith("backfill-"):
        lane = pipeline.live  # the backfill that has read them has ended
    source = lane.sources.get(message.source) if lane is not None else None
    positions = [position for position in message.positions if len(position.digest) == DIGEST]
    if source is not None and source.consumption == "set" and positions:
        record = rec.Same(pipeline=message.pipeline, lane=message.lane, source=message.source, positions=positions)
        flow.write(record, message.pipeline)


def touched(name: str, done: NodeDone) -> str:
    """The line that tells of files with another ctime than when they were planned. Nobody can say whether such a one
    holds what it held, for it was not read before: it is read as it is, once. "" when there is none."""
    if not done.touched:
        return ""
    return (
        f"{name} {done.node}: {plural(len(done.touched), 'file')} had another ctime than when planned, read as now: "
        f"{naming(done.touched)} (linked, given other permissions, or written again with the former times)"
    )


def without_values(done: NodeDone) -> str:
    """The line that tells, once, which columns of a sink are pinned as text for want of a value."""
    columns = done.schema_notes
    more = f", and {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
    return (
        f"{done.pipeline}.{done.node}: no row has a value yet in {', '.join(columns[:SHOWN])}{more}: pinned as text, "
        f"and the target is made so; if that is not meant, say {schema('write', columns[0], 'TYPE')}, then "
        f"`odibictl reset {done.pipeline} --targets`"
    )


def pinned(done: NodeDone, rows: bool = False) -> str:
    """The line that tells, once, which types were inferred from the first batch of a source, and which columns it
    does not read; "" when all is as ``read.schema`` says. ``rows``: those of a table, which has no files."""
    notes = [*done.schema_notes, *[""] * len(done.schema_text)]  # a worker of the version before sends none
    said, columns = [], []
    for text, note in zip(done.schema_text, notes, strict=False):
        why = note.removeprefix("declared").removeprefix("inferred").lstrip(":; ")
        if not note.startswith("declared"):
            columns.append(f"{text} ({why})" if why else text)
        elif why:
            said.append(f"{text} ({why})")
    if columns:
        more = f", and {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
        said.append(
            f"types inferred from the first batch (iteration {done.iteration}), which later "
            f"{'rows' if rows else 'files'} have to fit: "
            f"{', '.join(columns[:SHOWN])}{more}; to choose others, declare them in read.schema"
        )
    left_out = [name or "(a column without a name)" for name in done.left_out[:SHOWN]]
    if left_out:
        said.append(f"not read: {', '.join(left_out)}")
    name = f"{done.pipeline}.{done.node}"
    return f"{name}: {'; '.join(said)} (`odibictl source show {name}`)" if said else ""
