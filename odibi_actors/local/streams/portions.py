"""What is read of a stream at once, and the batches that it is given in."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from odibi_actors.batches.frames import to_polars
from odibi_actors.checkpoint import records as rec
from odibi_actors.core.values import numpy_frame
from odibi_actors.kinds.source import ReadResult
from odibi_actors.local.streams.desk import STREAM
from odibi_actors.local.streams.reading import SOURCE
from odibi_actors.model import Attempt, BatchRef, Failure, Position, Range

ENGINES = ("pandas", "polars", "arrow", "spark")


@dataclass
class Batch:
    """Rows that somebody is processing. ``failed``: somebody has not managed to; ``error_before``: the uncaught
    exception that the interpreter remembered when they were given; ``left``: the loop that had them has ended."""

    data: Any
    rows: int
    error_before: object
    failed: bool = False
    left: bool = False


@dataclass
class Current:
    """An iteration whose rows are being given: ``table`` has all of them, ``done`` are processed."""

    iteration: int
    table: pa.Table
    done: int = 0
    epoch: int = 0
    counter: int = field(default=0)

    @property
    def left(self) -> int:
        """Rows that are not processed."""
        return int(self.table.num_rows) - self.done

    def rows(self, count: int) -> pa.Table:
        """The next ones, at most so many."""
        return self.table.slice(self.done, count)

    def progress(self, keep: int = 1) -> list[rec.AnyRecord]:
        """What says that so many rows are processed."""
        self.counter += 1
        found: list[rec.AnyRecord] = [_ack(self.iteration, Attempt(self.epoch, self.counter), self.table, self.done)]
        if not self.left:
            now = time.time()
            found += [rec.Prepare(STREAM, self.iteration, {}, now), rec.Commit(STREAM, self.iteration, now, keep)]
        return found


def planned(
    current: Current, positions: list[Position], ranges: list[Range], read: ReadResult | None, *, consumed: bool
) -> list[rec.AnyRecord]:
    """What says that this iteration reads these positions; ``read``: what that gave."""
    ledgered = [SOURCE] if consumed and not ranges else []
    of = {SOURCE: ranges} if ranges else {}
    found: list[rec.AnyRecord] = [
        rec.Plan(STREAM, "live", current.iteration, 1, {SOURCE: positions}, ledgered, time.time(), ranges=of)
    ]
    if read is None:
        return found
    if read.schema:
        found.append(
            rec.Schema(STREAM, SOURCE, read.schema, read.schema_text, notes=read.notes, left_out=read.left_out)
        )
    ack = _ack(current.iteration, Attempt(current.epoch, 0), current.table, 0)
    # Of ranges no bytes are remembered: their places have a fingerprint.
    files = read.files if len(read.files) == len(positions) else []
    found.append(rec.Ack(**{**_fields(ack), "files": files}))
    return found


def given_up(iteration: int, failure: Failure) -> list[rec.AnyRecord]:
    """What says that nothing more of an iteration is read."""
    return [rec.DeadLetter(STREAM, iteration, SOURCE, failure, time.time())]


def _ack(iteration: int, attempt: Attempt, table: pa.Table, done: int) -> rec.Ack:
    now, rows = time.time(), table.num_rows
    return rec.Ack(STREAM, iteration, SOURCE, attempt, "", now, 0.0, rows, done, "", output=BatchRef(rows, 0, ""))


def _fields(record: rec.Ack) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def as_engine(table: pa.Table, engine: str) -> Any:
    """Rows as a frame of that engine. Raises MissingExtraError, ValueError, BatchError."""
    match engine:
        case "pandas":
            return numpy_frame(table)
        case "polars":
            return to_polars(table)
        case "arrow":
            return table
        case "spark":
            from odibi_actors.nodes.spark.runner import lasting

            return lasting(table)
    raise ValueError(f"engine: {engine!r} is none of {', '.join(ENGINES)}")
