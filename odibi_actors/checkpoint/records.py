"""The records of the log: all that the broker makes durable, and the snapshot a new broker loads.

Each record travels with its sequence number (see ``messages.AppendRecords``); the store applies only the next one.
Times are seconds since the Unix epoch, durations are seconds.
"""

from __future__ import annotations

import msgspec

from odibi_actors.config.model import PipelineSpec
from odibi_actors.model import Attempt, BatchRef, Failure, IterationState, Position, RunState, StagedRef


class Record(msgspec.Struct, frozen=True, tag=str.lower, tag_field="r"):
    """Base of all records."""


class Version(Record, frozen=True):
    """A pipeline's configuration takes effect. Unprepared iterations of the pipeline are re-bound to it."""

    pipeline: str
    version: int
    spec: PipelineSpec
    code_digest: str
    at: float


class Schema(Record, frozen=True):
    """A read node's schema is pinned: ``arrow`` is a serialised Arrow schema (IPC), ``text`` lists ``name: type``."""

    pipeline: str
    node: str
    arrow: bytes
    text: list[str]


class Run(Record, frozen=True):
    """A run starts: what an operator's trigger (later: an occurrence of a schedule) asked for."""

    run: str
    pipeline: str
    cause: str
    at: float


class RunEnd(Record, frozen=True):
    """A run has ended."""

    run: str
    pipeline: str
    state: RunState
    at: float


class Replay(msgspec.Struct, frozen=True):
    """The dead letter that an iteration takes up again: its id, the iteration it came from, and whether it holds the
    ``whole`` of that or one position."""

    letter: int
    iteration: int
    whole: bool


class Plan(Record, frozen=True):
    """PLAN(N): the input of iteration N, for good. The ledger's rows are written in the same transaction; a
    position of a
    ``ledgered`` source (all but ``batch``) that is planned already is an error of the broker and refused whole."""

    pipeline: str
    lane: str
    iteration: int
    version: int
    positions: dict[str, list[Position]]
    ledgered: list[str]
    at: float
    run: str = ""
    replay: Replay | None = None


class Ack(Record, frozen=True):
    """A node's acknowledgement: the node-level checkpoint. Exactly one of ``output`` (read, transform) and ``staged``
    (write) is set. It replaces an earlier ack of the same node. ``key`` digests config, code and inputs. ``state``:
    what a stateful node keeps for the next iteration, synced before this was said."""

    pipeline: str
    iteration: int
    node: str
    attempt: Attempt
    key: str
    started_at: float
    duration: float
    rows_in: int
    rows_out: int
    worker: str
    output: BatchRef | None = None
    staged: StagedRef | None = None
    state: BatchRef | None = None


class Error(Record, frozen=True):
    """A try of a node failed. ``used`` is the number of counted attempts so far."""

    pipeline: str
    iteration: int
    node: str
    attempt: Attempt
    failure: Failure
    used: int
    at: float


class Invalidate(Record, frozen=True):
    """The acks of these nodes no longer stand: an output was lost, or new config changed their keys."""

    pipeline: str
    iteration: int
    nodes: list[str]
    reason: str


class Revise(Record, frozen=True):
    """REVISE(N): these positions leave the plan and go to the dead letters; they stay consumed in the ledger."""

    pipeline: str
    iteration: int
    node: str
    identities: list[str]
    failure: Failure
    at: float


class Fail(Record, frozen=True):
    """The iteration is ``failed``: it holds its lane until it is retried or cancelled."""

    pipeline: str
    iteration: int
    node: str
    at: float


class Retry(Record, frozen=True):
    """An operator retries a failed or blocked iteration: counted attempts start at 0 again."""

    pipeline: str
    iteration: int
    at: float


class Prepare(Record, frozen=True):
    """PREPARE(N): once durable, N only rolls forward, with exactly these staged parts (sink node -> ref) and these
    states (stateful node -> ref)."""

    pipeline: str
    iteration: int
    sinks: dict[str, StagedRef]
    at: float
    states: dict[str, BatchRef] = {}


class Block(Record, frozen=True):
    """A sink of a prepared iteration cannot be published; it is kept and can be retried."""

    pipeline: str
    iteration: int
    node: str
    failure: Failure
    at: float


class Commit(Record, frozen=True):
    """COMMIT(N): every sink has published. Its states are the pipeline's now; of each node the newest ``keep`` stay.
    ``abandoned``: sinks that an operator gave up, which have nothing of this iteration."""

    pipeline: str
    iteration: int
    at: float
    keep: int = 1
    abandoned: list[str] = []


class DeadLetter(Record, frozen=True):
    """The iteration is given up: its positions are consumed, nothing of it is published, batch and error are kept."""

    pipeline: str
    iteration: int
    node: str
    failure: Failure
    at: float


class Abandon(Record, frozen=True):
    """An operator gives up a blocked sink for one iteration: nothing of it is published there."""

    pipeline: str
    iteration: int
    node: str
    at: float


class Discard(Record, frozen=True):
    """An operator gives up a dead letter for good; its positions stay consumed."""

    pipeline: str
    letter: int
    at: float


class Retraction(msgspec.Struct, frozen=True):
    """Where parts are taken back: the folder that this sink node published to."""

    node: str
    folder: str


class Left(msgspec.Struct, frozen=True):
    """What a rewind leaves: how many iterations are committed, which is the newest, how many dead letters are open."""

    committed: int
    last_committed: int
    letters: int


class Rewind(Record, frozen=True):
    """The pipeline goes back to iteration ``to``: those after it, up to ``last``, are taken back from these places.
    From here on it only rolls forward, to REWOUND."""

    pipeline: str
    to: int
    last: int
    retractions: list[Retraction]
    at: float
    left: Left


class Rewound(Record, frozen=True):
    """All is taken back: iterations after ``to`` up to ``last`` are void, and their positions are released."""

    pipeline: str
    to: int
    last: int
    at: float


class Cancel(Record, frozen=True):
    """A suffix of unprepared iterations is void and its positions are released from the ledger."""

    pipeline: str
    iterations: list[int]
    at: float


PROJECT, WORKERS = "project.", "workers."
"""Scopes of settings that belong to no pipeline, which the dot keeps apart: the project's ``name`` and ``history``, and
the number of workers an operator wants per host."""

HISTORY = "history"
"""Setting of the project: seconds for which finished iterations are listed."""


class Setting(Record, frozen=True):
    """An operator's durable wish: ``paused`` / ``draining`` of a pipeline, ``workers`` of a host. "" deletes it."""

    scope: str
    name: str
    value: str


AnyRecord = (
    Version
    | Schema
    | Run
    | RunEnd
    | Plan
    | Ack
    | Error
    | Invalidate
    | Revise
    | Fail
    | Retry
    | Prepare
    | Block
    | Commit
    | DeadLetter
    | Abandon
    | Discard
    | Rewind
    | Rewound
    | Cancel
    | Setting
)


class Loaded(msgspec.Struct, frozen=True, tag=str.lower, tag_field="l"):
    """Base of the items of a snapshot, sent in this order: versions, schemas, settings, runs, counters, states,
    rewinds, iterations in order of number (each followed by its acks and errors)."""


class LoadedVersion(Loaded, frozen=True):
    """The newest version of a pipeline."""

    record: Version


class LoadedSchema(Loaded, frozen=True):
    """A pinned schema."""

    record: Schema


class LoadedSetting(Loaded, frozen=True):
    """A setting that is in force."""

    record: Setting


class LoadedRun(Loaded, frozen=True):
    """A run that is still active; ``planned`` counts its iterations, finished ones included."""

    record: Run
    planned: int = 0


class LoadedCounter(Loaded, frozen=True):
    """Highest iteration number ever planned for the pipeline, and the newest committed one (0: none). ``ledger`` lists
    the source nodes with planned positions, so that a source that has consumed data cannot be removed unnoticed;
    ``kept`` the dead-lettered iterations, whose batches stay; ``dead_letters`` counts them and the files set aside."""

    pipeline: str
    last_iteration: int
    last_committed: int
    committed: int
    ledger: list[str]
    kept: list[int] = []
    dead_letters: int = 0


class LoadedState(Loaded, frozen=True):
    """What a stateful node has kept as of a committed iteration."""

    pipeline: str
    node: str
    iteration: int
    state: BatchRef


class LoadedIteration(Loaded, frozen=True):
    """An iteration that is not terminal. ``plan.positions`` reflects REVISE; ``plan.version`` reflects re-binding.
    ``blocked``, ``abandoned``: sinks."""

    plan: Plan
    state: IterationState
    sinks: dict[str, StagedRef] = {}
    states: dict[str, BatchRef] = {}
    blocked: list[str] = []
    abandoned: list[str] = []


class LoadedRewind(Loaded, frozen=True):
    """A rewind that has not come to its end."""

    record: Rewind


class LoadedAck(Loaded, frozen=True):
    """An acknowledgement that stands."""

    record: Ack


class LoadedError(Loaded, frozen=True):
    """The newest failed try of a node, unless it was acknowledged or retried since."""

    record: Error


AnyLoaded = (
    LoadedVersion
    | LoadedSchema
    | LoadedSetting
    | LoadedRun
    | LoadedCounter
    | LoadedState
    | LoadedRewind
    | LoadedIteration
    | LoadedAck
    | LoadedError
)
