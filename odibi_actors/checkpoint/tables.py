"""What the handlers of all records share: the connection, how a record is refused, and the stored forms."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.model import BatchRef, Failure, Position, StagedRef, Trigger

AckDecoder = msgspec.msgpack.Decoder(r.Ack)
SinksDecoder = msgspec.msgpack.Decoder(dict[str, StagedRef])
SchemaDecoder = msgspec.msgpack.Decoder(r.Schema)
PlanDecoder = msgspec.msgpack.Decoder(r.Plan)
ErrorDecoder = msgspec.msgpack.Decoder(r.Error)
StatesDecoder = msgspec.msgpack.Decoder(dict[str, BatchRef])
FailuresDecoder = msgspec.msgpack.Decoder(dict[str, tuple[Failure, float]])
"""Node -> what it failed with, and when: of a blocked or dead-lettered iteration."""
ScheduleDecoder = msgspec.msgpack.Decoder(r.Schedule)
OccurrenceDecoder = msgspec.msgpack.Decoder(r.Occurrence)
BackfillDecoder = msgspec.msgpack.Decoder(r.Backfill)
AlertDecoder = msgspec.msgpack.Decoder(r.Alert)
TriggerDecoder = msgspec.msgpack.Decoder(Trigger)


class Letter(msgspec.Struct, frozen=True, array_like=True):
    """The payload of a dead letter. ``positions``: what was set aside, by source; ``elsewhere``: (iteration, source,
    identity) of what went to a letter of its own in a replay that is void otherwise. It is back when that iteration is
    taken back. ``trigger``: what had set the iteration off, as a replay is told. ``consumed``: the sources of which it
    holds what nobody else takes; of others, references, it only says what was read. None: a former release has not
    said which. ``discarded``: what was given up for good with it; it lies in no letter any more."""

    failure: Failure
    positions: dict[str, list[Position]]
    elsewhere: list[tuple[int, str, str]] = []
    trigger: Trigger = Trigger()
    consumed: list[str] | None = None
    discarded: dict[str, list[Position]] = {}

    def read(self) -> dict[str, list[Position]]:
        """The positions that lie in it, and the references that it was read with."""
        gone = {(source, identity) for _, source, identity in self.elsewhere}
        return {
            source: [p for p in positions if (source, p.identity) not in gone]
            for source, positions in self.positions.items()
        }

    def held(self) -> dict[str, list[Position]]:
        """The positions that lie in it."""
        known = self.consumed
        return {source: some for source, some in self.read().items() if known is None or source in known}

    def sources(self) -> list[str]:
        """Those of which something lies in it."""
        return [source for source, some in self.held().items() if some]


LetterDecoder = msgspec.msgpack.Decoder(Letter)

STANDING = "NOT (state = 'replayed' AND replay = 0)"
"""Of dead letters: all but those that are only kept as a record of what was discarded, with their iteration."""


OPEN = "state NOT IN ('committed', 'dead_lettered', 'cancelled', 'rewound')"
"""Of iterations; as the partial index says it, word for word: SQLite proves no more than that."""


class Contradiction(Exception):
    """A record contradicts what is stored; ``index`` is its place in the batch, known to the one who runs it."""

    index = 0


POSITION = "identity, size, rows, generation, digest, detail"
"""The columns of the ledger that make a position."""


def position(row: tuple[Any, ...]) -> Position:
    """A position from its ledger columns (see ``POSITION``)."""
    identity, size, rows, generation, digest, detail = row
    return Position(identity, size, rows, generation, digest if isinstance(digest, str) else digest.hex(), detail)


def trigger(blob: bytes | None, run: str) -> Trigger:
    """What set the run off, from its column."""
    return Trigger() if blob is None else unseal(blob, TriggerDecoder, f"the trigger of run {run}")


class Tables:
    """A connection that is inside a transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._execute = db.execute
        self._executemany = db.executemany
        self.weight = 0
        """Estimated bytes of pages made dirty, for the size cap of the log."""
