"""Values shared by all actors: positions, batch references, failures, and the states of an iteration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import xxhash

from odibi_actors.runtime.visible import in_line, named
from odibi_actors.units import plural

LIVE = "live"
"""The lane of a pipeline that follows its sources; each backfill has a lane of its own."""

TRIGGER = "trigger"
"""The lane of the ledger in which the files are kept that have started a run, by the name of the schedule."""


class Attempt(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Identifies one try of one task: part of every task, staged name and spool name; never reused."""

    epoch: int
    counter: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.counter}"


MAX_PLACE = 32_768
"""Bytes of a place in a partition; the detail of a position may have two."""

MAX_DETAIL = 2 * MAX_PLACE + 4096
"""Bytes of the detail of a position."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """One piece of what a source gives, as an atom: a generation of a file, a range of a log.

    ``identity`` names it within its source; ``size`` in bytes and ``rows`` as far as they are known, else -1;
    ``generation`` (from 1) grows when it is read again on purpose; ``digest`` (xxh3-128, 32 hex digits) of its bytes
    where known, else "". ``detail`` says how to find it again and how to know that it is the same: only its kind of
    source reads it (of files: ``sources/file_position.py``); others compare it, and carry it.
    """

    identity: str
    size: int = -1
    rows: int = -1
    generation: int = 1
    digest: str = ""
    detail: Annotated[bytes, msgspec.Meta(max_length=MAX_DETAIL)] = b""

    def shown(self) -> dict[str, Any]:
        """As people and other programs see it: by the names of its fields, ``detail`` in hex digits."""
        return {**msgspec.structs.asdict(self), "detail": self.detail.hex()}

    @staticmethod
    def of(row: Mapping[str, Any]) -> Position:
        """The position that is ``shown`` so."""
        return Position(**{**row, "detail": bytes.fromhex(row["detail"])})


class Range(msgspec.Struct, frozen=True, array_like=True):
    """What a position of an ordered source reads: of one ``partition``, from ``lower`` on, up to before ``upper``. Both
    are bytes in whose order the partition is read; what they say only the source's kind knows."""

    partition: Annotated[str, msgspec.Meta(max_length=1000)]
    lower: Annotated[bytes, msgspec.Meta(max_length=MAX_PLACE)]
    upper: Annotated[bytes, msgspec.Meta(max_length=MAX_PLACE)]

    def given_back(self) -> str:
        """How a run remembers that a cancel took it from it."""
        return f"{self.partition}\0{self.lower.hex()}\0{self.upper.hex()}"

    def leaves(self, lost: str) -> str:
        """What of that is not planned again by this range, which may be cut otherwise: "" for nothing. The runs of
        former releases remember only where it begins, and have it again with that."""
        partition, lower, *upper = lost.split("\0")
        if partition != self.partition or not self.lower.hex() <= lower < self.upper.hex():
            return lost
        return f"{partition}\0{self.upper.hex()}\0{upper[0]}" if upper and upper[0] > self.upper.hex() else ""


class Reached(msgspec.Struct, frozen=True, array_like=True):
    """How far one partition was read: ``place``, before which all is taken; ``holes``: (lower, upper) behind it that
    are taken as well, since dead letters hold them, in order. Of what a backfill reads again: ``begin`` is where that
    begins, ``place`` where it ends, and ``holes`` are what it leaves out in between."""

    partition: str
    place: bytes
    holes: list[tuple[bytes, bytes]] = []
    begin: bytes = b""


class PositionRead(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a worker has read of a planned position: the xxh3-128 of its bytes (16 bytes), the position's detail as of
    that time, and its rows (-1: not told)."""

    digest: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    detail: Annotated[bytes, msgspec.Meta(max_length=MAX_DETAIL)]
    rows: int = -1


class Place(msgspec.Struct, frozen=True, array_like=True, order=True, gc=False):
    """How far a schedule has come: every occurrence due at or before ``due`` (whole seconds since the epoch) whose wall
    time is at or before ``wall`` (naive ISO text; "~" is after all) was started or skipped. Places only grow."""

    due: int
    wall: str = "~"


class Trigger(msgspec.Struct, frozen=True):
    """What set a run off, handed down to the nodes. ``occurrence``: its id within the schedule; ``due`` in seconds
    since the epoch (0: none); ``params`` are an operator's, or the schedule's; ``files``: those that arrived."""

    kind: Literal["", "manual", "schedule", "backfill"] = ""
    schedule: str = ""
    occurrence: str = ""
    due: float = 0.0
    params: dict[str, Any] = {}
    files: list[str] = []


class BatchRef(msgspec.Struct, frozen=True):
    """A node's output: an Arrow IPC file (format with footer), either inline or in the spool.

    ``path`` is relative to ``<data_dir>/spool`` and "" when inline, in which case ``data`` holds the bytes.
    ``digest`` is the xxh3-128 of the bytes as written (32 hex digits); ``host`` is where the spool is.
    """

    rows: int
    size: int
    digest: str
    path: str = ""
    data: bytes = b""
    host: str = ""


class Target(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Where a sink publishes. ``sink``: its kind; ``connection``: what it publishes in, as far as a place in there
    needs it (the path of a database; "" for folders, whose paths say all); ``locator``: the place, as this kind writes
    it (an absolute folder, a table). Nobody but the kind asks what is in these texts."""

    sink: str
    connection: str
    locator: str

    @property
    def name(self) -> str:
        """What it is called in messages and answers: one name for one target, which nobody takes apart."""
        return f"{self.connection}#{self.locator}" if self.connection else self.locator

    def __str__(self) -> str:
        return self.name


Accesses = dict[str, dict[str, str]]
"""How to get in where the connections of a project lead, by ``kinds.connection.name_of``: references, no secrets."""


class StagedRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """A sink's staged part: synced, attempt-unique, not visible under the published name.

    ``staged``: the file in which it is, absolute; ``published``: the file that it becomes, "" if it becomes rows of a
    table. ``digest`` covers the staged bytes. ``exclusive``: what no two publications may touch at once, such as a
    database. ``retracts``: what is published can be taken back. ``replaces``: it takes the place of all that the sink
    has published before (``write.mode: overwrite``). ``void``: nothing is to be seen of it, as it has no rows and types
    that nobody told.
    """

    at: Target
    staged: str
    published: str
    rows: int
    size: int
    digest: str
    exclusive: str = ""
    retracts: bool = False
    replaces: bool = False
    void: bool = False


class Home(msgspec.Struct, frozen=True, array_like=True):
    """Where a store lives: its ``data_dir`` and the ``root`` folder of its project, absolute, links followed ("": not
    known). A copy of a store has its id, and another home."""

    data_dir: str = ""
    root: str = ""


NOWHERE = Home()

FailureKind = Literal[
    "raised",  # user code raised: counts, retried
    "timeout",  # killed at its deadline: counts, retried
    "died",  # the worker died while running this node: counts, retried
    "io",  # an OSError of the environment (permission, a failing disk): counts, retried
    "full",  # no room on a disk: waited for under `up`, does not count; in `run` it counts and is retried as io is
    "malformed",  # bytes of a position cannot be read as planned: not retried, follows on_error
    "changed",  # a planned file no longer matches: not retried, follows on_error
    "missing",  # a file that a sink has committed is not there: not retried, follows on_error
    "invalid",  # output or config is wrong in a way no retry fixes (duplicate keys, schema): not retried
    "code",  # the function cannot be loaded, a module or library is missing: not retried, halts whatever on_error
    "input_lost",  # an input's output is missing or damaged: the producer is run again; does not count
    "code_mismatch",  # the worker has other code than the plan's version: does not count
    "state_lost",  # the state as of a prepared or committed iteration is missing or damaged: nothing can make it again
    "busy",  # the target is locked, does not answer, or does not let us in: tried until it does; does not count
    "conflict",  # publish: another owner or another digest stands there: not retried, iteration blocked
]
COUNTED: frozenset[str] = frozenset({"raised", "timeout", "died", "io", "full"})


def sentences(*texts: str) -> str:
    """Messages behind each other, each but the last with one full stop; empty ones left out. What comes behind one of
    several lines, such as an error of SQL that ends with a mark below its place, has a line of its own."""
    *first, last = [text for text in texts if text] or [""]
    return "".join([*(f"{text}\n" if "\n" in text else f"{text.removesuffix('.')}. " for text in first), last])


class Failure(msgspec.Struct, frozen=True):
    """Why a node failed, as kept durably and shown to the user. ``position`` is the identity of the file at fault;
    ``lost`` names the input node whose output was lost (kind ``input_lost``). ``line`` is 1-based. ``others``: further
    files of the batch that cannot be read; ``more``: how many there are besides, each to be told in its turn.
    ``remedy``: what is to be done about it as long as the iteration is failed. ``schema``: the columns of a file are
    not those of the files before it, or a value is not of the type of its column."""

    kind: FailureKind
    message: str
    traceback: str = ""
    position: str = ""
    line: int = 0
    column: str = ""
    value: str = ""
    lost: str = ""
    others: list[Failure] = []
    more: int = 0
    remedy: str = ""
    schema: bool = False

    @property
    def text(self) -> str:
        """The message, with what is to be done."""
        return sentences(self.message, self.remedy)

    def alone(self) -> Failure:
        """Without the others."""
        return msgspec.structs.replace(self, others=[], more=0)

    @property
    def also(self) -> str:
        """What is told of the others, in a sentence; "" when there are none."""
        if not self.others:
            return ""
        count = len(self.others) + self.more
        names = "; ".join(map(_brief, self.others))
        more = f"; and {self.more} more" if self.more else ""
        return f"{plural(count, 'more file')} of this batch cannot be read: {names}{more}"


_BRIEF, _VALUE = 160, 40
"""Characters of what is told of a file beside another one, and of the value in it."""


def _brief(failure: Failure) -> str:
    """Which value at which place, or what is wrong: the remedy is that of the first one, most times."""
    text = failure.message
    if failure.value and failure.column:
        line = f" line {failure.line}" if failure.line else ""
        text = f"{named(failure.position)}{line}, column {in_line(failure.column)} ({failure.value[:_VALUE]!r})"
    return text if len(text) <= _BRIEF else f"{text[: _BRIEF - 3]}..."


IterationState = Literal[
    "planned", "running", "failed", "prepared", "blocked", "committed", "dead_lettered", "cancelled", "rewound"
]
TERMINAL: frozenset[str] = frozenset({"committed", "dead_lettered", "cancelled", "rewound"})
UNPREPARED: frozenset[str] = frozenset({"planned", "running", "failed"})

TRANSITIONS: dict[IterationState, dict[str, IterationState]] = {
    "planned": {
        "dispatch": "running",
        "dead_letter": "dead_lettered",
        "cancel": "cancelled",
        "fail": "failed",
    },
    "running": {
        "prepare": "prepared",
        "fail": "failed",
        "dead_letter": "dead_lettered",
        "cancel": "cancelled",
    },
    "failed": {"retry": "running", "cancel": "cancelled", "dead_letter": "dead_lettered"},
    "prepared": {"commit": "committed", "block": "blocked"},
    "blocked": {"retry": "prepared", "abandon": "prepared", "commit": "committed"},
    "committed": {"rewind": "rewound"},
    "dead_lettered": {"rewind": "rewound"},
    "cancelled": {},
    "rewound": {},
}
"""State -> event -> next state. Events are caused by the broker alone, from acknowledgements and operators'
requests."""

RunState = Literal["active", "done", "failed", "no_data", "cancelled"]
"""``active`` until every iteration is terminal; a ``failed`` run is active again once what failed is retried."""

ALL_DONE = ("done", "no_data")
"""How a run has ended of which nothing is left to do: whoever waits for it exits with 0, and with 5 otherwise."""

OccurrenceState = Literal["waiting", "started", "skipped"]
"""``waiting``: noted, and held back by a run in progress; ``started``: it has a run, whose state tells the rest."""


def next_state(state: IterationState, event: str) -> IterationState:
    """The state after ``event``; raises ValueError when the table has no such transition."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise ValueError(f"an iteration that is {state} cannot {event}") from None


class SchemaChange(msgspec.Struct, frozen=True, array_like=True):
    """A ``column`` of a source or sink is not what it was: ``new``, or ``missing``; or what goes into ``RESCUED``:
    it is new (``rescued``), or has values that its type does not hold (``misfit``). ``type``: that of a new one, or
    that which does not hold the values; ``twin``: in words, which of the others its name may have been meant for, or
    where the first of the values stands."""

    column: str
    change: Literal["new", "missing", "rescued", "misfit"]
    type: str = ""
    twin: str = ""

    @property
    def text(self) -> str:
        """In words."""
        if self.change == "new":
            return f"column {self.column!r} ({self.type}) is new{self.twin}, and taken in: null in all rows before"
        if self.change == "rescued":
            return f"column {self.column!r} is new{self.twin}, and goes into {RESCUED!r}"
        if self.change == "misfit":
            what = f"values of column {self.column!r} that are not {self.type} go into {RESCUED!r}"
            return f"{what}, and are null here{self.twin}"
        return f"column {self.column!r} is missing, and null from here on"


RESCUED = "_rescued"
"""The column of a source with ``on_schema_change: rescue`` that keeps what did not fit, as JSON."""


STATE = "=state"
"""Stands among the inputs of a stateful node for its state as of the iteration before; no node is named so."""


PIN = "=schema"
"""Stands among the inputs of a source or sink for the schema it is held to; no node is named so."""


def pin_digest(arrow: bytes) -> str:
    """Digest of a serialised Arrow schema (32 hex digits); "" when there is none."""
    return str(xxhash.xxh3_128_hexdigest(arrow)) if arrow else ""


def node_key(static: str, inputs: Mapping[str, str]) -> str:
    """The key of a node's output: digest of its static part (config, code, positions) and its inputs' digests.

    The digests, not the keys, of the inputs: code may be non-deterministic, and when a lost output is made again
    with other bytes, whoever consumed the former ones must run again, so that no two sinks publish two executions.
    ``inputs`` maps input node to ``BatchRef.digest``. Returns 32 hex digits (xxh3-128).
    """
    digest = xxhash.xxh3_128(static.encode())
    for name in sorted(inputs):
        digest.update(f"\0{name}={inputs[name]}".encode())
    return str(digest.hexdigest())
