"""What the finder of a log of events asks of its probe besides, and what that tells. None of it travels on the wire."""

from __future__ import annotations

from typing import Literal

import msgspec

from odibi_actors.model import Position
from odibi_actors.streaming.effects import Answered, Ask


class Put(msgspec.Struct, frozen=True, array_like=True):
    """One push: ``key`` ("" for none), and the bytes of an Arrow table; or one poll, in the format of its source, and
    its ``rows`` (-1: not known)."""

    key: str
    data: bytes
    rows: int = -1


class Append(Ask, frozen=True):
    """Take these into the log, in their order, unless more than ``limit`` bytes lie behind event ``taken``. Keys of the
    last ``window`` seconds are known again. Answered by Appended."""

    puts: list[Put]
    taken: int
    limit: int
    window: float


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What became of a push. ``stored``: it is durable, as event ``number``; ``known``: it was there, as that event;
    ``refused`` for good, and ``why``; ``full``: more than the limit waits to be read; ``failed``: the log could not be
    written, and ``why``: nothing of the push was kept."""

    state: Literal["stored", "known", "refused", "full", "failed"]
    number: int = 0
    rows: int = 0
    why: str = ""


class Appended(Answered, frozen=True):
    """One outcome for each push."""

    outcomes: list[Outcome]


class Survey(Ask, frozen=True):
    """What of the log does not have to be kept? Answered by Surveyed."""


class Surveyed(Answered, frozen=True):
    """``stale``: all up to that event is older, or more, than is kept, and some of it is there. ``floor``: up to where
    the log is deleted; ``last``: its newest event; ``since``: when the oldest above the floor was pushed; ``size``: the
    bytes above it; ``newest``: the newest key. ``problem``: why it cannot be read."""

    id: bytes = b""
    stale: int = 0
    floor: int = 0
    last: int = 0
    since: float | None = None
    size: int = 0
    newest: str = ""
    problem: str = ""


class Prune(Ask, frozen=True):
    """Delete a chunk of what is there up to event ``through``, but for what is ``held``, on behalf of the store
    ``owner``. Answered by Pruned."""

    through: int
    held: list[Position]
    owner: str


class Pruned(Answered, frozen=True):
    """So many events were deleted; ``more`` are to be. ``problem``: why none could be."""

    count: int = 0
    more: bool = False
    problem: str = ""
