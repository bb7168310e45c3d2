"""What the store's actor asks of its driver, and what comes back. Neither travels between processes."""

from __future__ import annotations

from collections.abc import Sequence

from odibi_actors.actor import Effect
from odibi_actors.checkpoint.records import AnyRecord
from odibi_actors.messages import Claimed, ClaimRefused, LedgerLook, LedgerQuery, Load, Message, PlacesQuery, Request

# --- effects: Write, SetEpoch, Checkpoint and Prune are asked one at a time; each is answered by one message ----------


class Write(Effect, frozen=True):
    """Make these records durable in one transaction; answered by Written."""

    epoch: int
    first: int
    records: Sequence[AnyRecord]


class SetEpoch(Effect, frozen=True):
    """Compare-and-set the epoch, durably; answered by EpochSet."""

    to: str
    expected: int
    claimant: str


class Checkpoint(Effect, frozen=True):
    """Copy the log into the database file; answered by Maintained."""


class Prune(Effect, frozen=True):
    """Delete a chunk of history older than ``history`` seconds or beyond its size; answered by Maintained."""

    history: float
    keep_last: int


class Read(Effect, frozen=True):
    """Answer a query as of now; answered by Answered."""

    to: str
    query: Load | LedgerQuery | LedgerLook | PlacesQuery | Request


# --- their results ----------------------------------------------------------------------------------------------------


class Written(Message, frozen=True):
    """Durable through ``through``. If ``refused`` is not "", record ``through + 1`` was refused for that reason, and
    nothing after it was applied. ``wal_full``: a Checkpoint is due although the store is busy. ``notes``: what people
    are to be told of these records."""

    epoch: int
    through: int
    wal_full: bool = False
    refused: str = ""
    notes: Sequence[str] = ()


class EpochSet(Message, frozen=True):
    """The answer to a claim by ``to``; a success is durable."""

    to: str
    answer: Claimed | ClaimRefused


class Maintained(Message, frozen=True):
    """Checkpoint or Prune is done. ``more``: there is another chunk; else ``again``: seconds until history is to be
    looked at again (0: that was a Checkpoint). ``changed``: a Checkpoint is due when idle, ``wal_full``: at once."""

    more: bool = False
    again: float = 0.0
    changed: bool = False
    wal_full: bool = False


class Answered(Message, frozen=True):
    """The answer for ``to``."""

    to: str
    message: Message


class Broken(Message, frozen=True):
    """The disk failed or the database is damaged: nothing may be tried again in this process."""

    reason: str
