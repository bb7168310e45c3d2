"""Every message on the wire: who sends it, who receives it, what it promises.

Addresses: ``broker``, ``store``, ``source``, ``scheduler``, ``pool-<slot>`` and ``client-<random>``; a worker is
known to its own
pool only. ``incarnation`` is new for each process start. ``epoch`` is the broker's claim, ``seq`` numbers its
records.
Times are seconds since the Unix epoch. All hot messages carry lists.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from odibi_actors.checkpoint.records import AnyLoaded, AnyRecord
from odibi_actors.config.model import AlertKind, AlertSpec, BatchSpec, NodeSpec, ProjectSpec, ScheduleSpec, WorkerSpec
from odibi_actors.model import (
    LIVE,
    NOWHERE,
    Accesses,
    Attempt,
    BatchRef,
    Failure,
    Home,
    Place,
    Position,
    PositionRead,
    Range,
    Reached,
    SchemaChange,
    StagedRef,
    Trigger,
)
from odibi_actors.version import __version__

BROKER, STORE, SOURCE, SCHEDULER = "broker", "store", "source", "scheduler"
LOCAL = ""
"""Sender of messages that the actor's own runtime feeds it (``Connected``, ``Tick``, results of effects)."""
HEARTBEAT = 1.0
"""Seconds between two Heartbeats of a peer."""
PROTOCOL = 5
"""Version of these messages and of the records in them. It grows with each change that an actor of the release before
would read wrongly, or not at all. What every release can read: who a Hello comes from, Refused, Bye, Shutdown, and what
is said to and by clients, but for Apply."""
ONE_VERSION = "`odibictl down`, then `odibictl up`, so that all run one version"
"""What to do about actors of several versions."""


class Message(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """Base of all messages; the tag is the class name."""


# --- every peer <-> broker: joining and leaving -------------------------------------------------------------------


class Connected(Message, frozen=True):
    """runtime -> its actor: the link to the broker is up (again). The actor answers with its Hello."""


class Tick(Message, frozen=True):
    """runtime -> its actor: the actor's ``deadline()`` has come."""


class Terminate(Message, frozen=True):
    """runtime -> its actor: SIGTERM, drain and stop. ``now`` (second signal): stop at once."""

    at_once: bool = False


class Hello(Message, frozen=True):
    """source, scheduler, client -> broker: who I am. Sent when connected and whenever asked. ``version``: of the
    package that the process runs; ``protocol``: its PROTOCOL. The broker refuses all but clients where that is not its
    own."""

    role: Literal["source", "scheduler", "client"]
    incarnation: str
    host: str
    pid: int
    version: str = __version__
    protocol: int = PROTOCOL


class StoreHello(Message, frozen=True):
    """store -> broker: what is durable. The broker claims its epoch, or resends what the store misses. ``version``,
    ``protocol``: as in Hello. ``home``: where the store lives."""

    incarnation: str
    host: str
    pid: int
    store_id: str
    epoch: int
    last_seq: int
    version: str = __version__
    protocol: int = PROTOCOL
    home: Home = NOWHERE


class PoolHello(Message, frozen=True):
    """pool -> broker: its workers, and all attempts it holds, so that a new broker can keep or drop each of them.
    ``finished`` are results the broker has not confirmed with Forget. ``spool`` lists (pipeline, iteration)
    folders. ``draining``: it is about to leave and takes no more tasks (``capacity`` is 0). ``problems``: why workers
    are missing, or some modules of ``nodes/``, in words. ``version``, ``protocol``: as in Hello."""

    incarnation: str
    host: str
    pid: int
    capacity: int
    code_digest: str
    epoch: int
    workers: list[WorkerInfo]
    held: list[HeldTask]
    finished: list[NodeDone]
    spool: list[tuple[str, int]]
    draining: bool = False
    problems: list[str] = []
    version: str = __version__
    protocol: int = PROTOCOL


class WhoAreYou(Message, frozen=True):
    """broker -> peer: I do not know you (I restarted); say Hello again."""


class Welcome(Message, frozen=True):
    """broker -> peer: you are known. ``start_seq``: what the store held when this epoch was claimed; anything an
    older epoch told beyond it did not happen. Peers refuse an epoch lower than the highest they saw. ``version``,
    ``protocol``: the broker's."""

    epoch: int
    start_seq: int
    store_id: str
    version: str = __version__
    protocol: int = PROTOCOL


class Refused(Message, frozen=True):
    """broker -> peer: you cannot join, for this reason (another host, another version). ``final``: and it is no use to
    ask again over this connection; the peer tells it once, and waits for another broker."""

    reason: str
    final: bool = False


class Heartbeat(Message, frozen=True):
    """source, scheduler, pool -> broker, every HEARTBEAT seconds. ``held``: attempts a pool holds, unfinished or
    unconfirmed:
    a task the broker has sent that is not among them after a grace is sent again (same attempt). ``version``: of the
    schedules a scheduler knows; what is newer is sent again. ``wall``: what its wall clock shows (seconds since the
    epoch; 0: not told), which no other actor looks at. ``problems``: as in PoolHello."""

    epoch: int
    held: list[Attempt] = []
    workers: list[WorkerInfo] = []
    version: int = 0
    wall: float = 0.0
    problems: list[str] = []


class Bye(Message, frozen=True):
    """peer -> broker: I leave; everything I had to say was said."""


class ByeAck(Message, frozen=True):
    """broker -> peer: heard; close the socket."""


class Shutdown(Message, frozen=True):
    """broker -> every peer: the system stops (``odibictl down``): drain and exit with code 0."""


# --- broker <-> store ---------------------------------------------------------------------------------------------


class Claim(Message, frozen=True):
    """broker -> store: compare-and-set of the epoch from ``expected`` to ``expected + 1``."""

    expected: int
    claimant: str


class Claimed(Message, frozen=True):
    """store -> broker: durable. A repeated Claim of the same claimant gets the same answer."""

    epoch: int
    last_seq: int
    claimant: str


class ClaimRefused(Message, frozen=True):
    """store -> broker: the epoch is another one by now."""

    epoch: int
    claimant: str


class Load(Message, frozen=True):
    """broker -> store: send the snapshot's next page; ``cursor`` is "" at first."""

    epoch: int
    cursor: str = ""


class LoadedPage(Message, frozen=True):
    """store -> broker: items of the snapshot; ``cursor`` is "" after the last page; ``asked`` echoes Load's
    cursor."""

    epoch: int
    items: list[AnyLoaded]
    cursor: str
    asked: str


class AppendRecords(Message, frozen=True):
    """broker -> store: records numbered ``first``, ``first + 1``, ... to be made durable in this order."""

    epoch: int
    first: int
    records: list[AnyRecord]


class Durable(Message, frozen=True):
    """store -> broker: every record up to ``through`` is synced to disk."""

    epoch: int
    through: int


class ResendFrom(Message, frozen=True):
    """store -> broker: there is a gap; send again from ``seq``."""

    epoch: int
    seq: int


class Fenced(Message, frozen=True):
    """store -> broker: your epoch is over (``epoch`` rules); nothing of yours was applied. That broker stops."""

    epoch: int


class RecordRefused(Message, frozen=True):
    """store -> broker: record ``seq`` contradicts what is stored (a position planned twice): a bug. The broker
    stops."""

    epoch: int
    seq: int
    reason: str


# --- broker <-> source, source <-> store --------------------------------------------------------------------------


class SourceSpec(msgspec.Struct, frozen=True):
    """A read node to discover for, in one lane: ``live``, a backfill's, or ``trigger`` (then the node stands for a
    schedule that waits for files, and bears its name). ``credit`` bounds the positions of one offer. ``idle``: nothing
    is wanted until a Discover (pipelines that run on demand). ``through``: of a backfill, only files that the live lane
    had taken by that iteration, known to a store that has record ``since``; -1: any. ``limits``: what one iteration may
    take: a source that is read in order cuts its ranges so that each of them fits. ``access``: how to get to what its
    connection leads to; ``root``: the project's folder; ``code``: of a function that is polled, see ``CodeSpec``."""

    pipeline: str
    node: NodeSpec
    credit: int
    lane: str = LIVE
    idle: bool = False
    through: int = -1
    since: int = 0
    limits: BatchSpec = BatchSpec()
    access: dict[str, str] = {}
    root: str = ""
    code: str = ""


class Sources(Message, frozen=True):
    """broker -> source: the complete list to discover for; replaces the former one. Sent after Welcome and at changes.
    ``number`` grows with each change within an epoch: a list that comes late replaces no newer one."""

    epoch: int
    sources: list[SourceSpec]
    number: int = 0


class Discover(Message, frozen=True):
    """broker -> source: look now, in full, and offer what is there at this moment as ``run`` (for all sources of
    the pipeline in that lane)."""

    epoch: int
    pipeline: str
    run: str
    lane: str = LIVE


class Offer(Message, frozen=True):
    """source -> broker: the first ``credit`` positions beyond what is planned, in the order they should be taken;
    replaces
    the former offer of this source. ``seq``: the source reflects every record on its ledger up to it; an offer that
    missed one is dropped. ``exhausted``: nothing of the run is left beyond these. For ``batch`` sources the
    positions are the complete present set, each with digest. ``left``: positions beyond what is planned, the offered
    ones and those that exceed the credit (of a run: of that run). ``read``: digest of the ``ReadSpec`` that it is by,
    "" if that cannot change. ``unread``: folders that could not be listed, and why: nobody knows what is in them.
    ``ranges``: of a source that is read in order, what each position reads; of each partition in its order."""

    epoch: int
    incarnation: str
    pipeline: str
    source: str
    seq: int
    positions: list[Position]
    run: str = ""
    exhausted: bool = True
    lane: str = LIVE
    left: int = 0
    read: str = ""
    unread: list[str] = []
    ranges: list[Range] = []


class Planned(Message, frozen=True):
    """broker -> source: these positions of the source are in the plan with record ``seq``; offer what is beyond
    them. ``previous``: the record before it that changed this source's ledger (or the epoch's ``start_seq``), by which
    the source sees that it missed one; -1: not told. ``ranges``: as in Offer; none where a dead letter is taken up,
    which moves no place."""

    epoch: int
    pipeline: str
    source: str
    seq: int
    iteration: int
    positions: list[Position]
    previous: int = -1
    lane: str = LIVE
    ranges: list[Range] = []


class Released(Message, frozen=True):
    """broker -> source: record ``seq`` (a cancel) released positions; read the ledger again, from the store."""

    epoch: int
    pipeline: str
    source: str
    seq: int
    lane: str = LIVE


class LedgerQuery(Message, frozen=True):
    """source -> store: a page of the ledger of one source, in order of identity, after ``cursor``. ``through``: only
    what the lane had taken by that iteration and not set aside; -1: all that is planned."""

    pipeline: str
    source: str
    lane: str
    cursor: str = ""
    limit: int = 5000
    through: int = -1


class LedgerPage(Message, frozen=True):
    """store -> source: ``positions`` with identity > ``asked``; ``cursor`` "" after the last page. ``seq``:
    durable through. ``through``: as it was asked for."""

    pipeline: str
    source: str
    lane: str
    asked: str
    positions: list[Position]
    cursor: str
    seq: int
    through: int = -1


class PlacesQuery(Message, frozen=True):
    """source -> store: how far the partitions of an ordered source were read, those after ``cursor`` in their order.
    ``through``: of a backfill, what the lane had taken by that iteration and not set aside; -1: as of now."""

    pipeline: str
    source: str
    lane: str
    cursor: str = ""
    limit: int = 1000
    through: int = -1


class PlacesPage(Message, frozen=True):
    """store -> source: partitions > ``asked``; ``cursor`` "" after the last page. ``seq``: durable through.
    ``through``: as it was asked for."""

    pipeline: str
    source: str
    lane: str
    asked: str
    items: list[Reached]
    cursor: str
    seq: int
    through: int = -1


class LedgerLook(Message, frozen=True):
    """source -> store: what the ledger holds of these files, at most ``LOOKED_UP``; answered by LedgerRows with the
    same ``number``."""

    pipeline: str
    source: str
    lane: str
    number: int
    identities: list[str]


LOOKED_UP = 500
"""Files that one LedgerLook may ask for."""


class LedgerRow(msgspec.Struct, frozen=True, array_like=True):
    """The newest generation of a planned file, and the iteration that took it. ``digest`` and ``ctime_ns`` are those of
    what was read, once it was. ``state``: ``read``; ``unread``: its iteration has not come to that; ``letter``: it was
    set aside as a dead letter; ``discarded``: and that was given up. ``failed``: that iteration has failed. ``lane``:
    that of the iteration, a backfill's where that has read it as something else since. ``committed``: it is."""

    position: Position
    iteration: int
    state: Literal["read", "unread", "letter", "discarded"]
    failed: bool = False
    lane: str = LIVE
    committed: bool = False


class LedgerRows(Message, frozen=True):
    """store -> source: what it asked for; of files that are not planned there is no row. ``seq``: durable through."""

    pipeline: str
    source: str
    lane: str
    number: int
    rows: list[LedgerRow]
    seq: int


class SameBytes(Message, frozen=True):
    """source -> broker: these files were read, and have other times, another inode since (they were copied, or
    touched); their bytes are those that were read. ``digest`` is set in each."""

    epoch: int
    pipeline: str
    source: str
    positions: list[Position]
    lane: str = LIVE


class SourceProblem(Message, frozen=True):
    """source -> broker: what a person should know about a source (a file changed after it was read, a missing
    folder);
    shown in ``status``. An empty ``problems`` clears it."""

    pipeline: str
    source: str
    problems: list[str]
    lane: str = LIVE


# --- broker <-> pool ----------------------------------------------------------------------------------------------


class WorkerInfo(msgspec.Struct, frozen=True):
    """One worker process. ``doing`` is "" when idle, else "pipeline/iteration/node"; ``since`` when that state
    began; ``memory``: bytes of it that are in memory, what it shares with others included (0: not known)."""

    worker: str
    pid: int
    state: Literal["starting", "idle", "busy", "stopping"]
    doing: str = ""
    since: float = 0.0
    done: int = 0
    memory: int = 0


class Step(msgspec.Struct, frozen=True):
    """One node of a task. ``positions`` are for read nodes; ``schema``, for read nodes and sinks, is the pinned Arrow
    schema, b"" before the first batch. ``open``: the sink may take other columns than it did. ``published``: something
    of it stands in its target. ``static`` is the part of the node's key known before its inputs are (see
    ``model.node_key``). ``state``: what a stateful node has kept as of the iteration before (None: nothing yet); its
    digest is always checked. ``former``: sinks (pipeline, node) from which it has taken over its target."""

    node: NodeSpec
    static: str
    positions: list[Position] = []
    schema: bytes = b""
    state: BatchRef | None = None
    open: bool = False
    published: bool = False
    former: list[tuple[str, str]] = []


class HeldTask(msgspec.Struct, frozen=True):
    """A task a pool holds unfinished: what is left of it as (node, static key). ``publish``: it is a PublishTask."""

    attempt: Attempt
    pipeline: str
    iteration: int
    steps: list[tuple[str, str]]
    running: bool
    publish: bool = False


class Task(msgspec.Struct, frozen=True, tag="task", tag_field="t"):
    """A ready linear chain of nodes. ``inputs``: outputs of earlier nodes by name. ``verify``: names of inputs
    whose digest must be checked before use (they come from an earlier epoch). ``attempt_no`` (1-based) is shown to user
    code. ``typeless``: sources of which no row was read yet, so that the types of their columns are a guess. ``home``,
    ``access``: as in PublishTask."""

    attempt: Attempt
    pipeline: str
    iteration: int
    steps: list[Step]
    inputs: dict[str, BatchRef]
    verify: list[str]
    code_digest: str
    attempt_no: int = 1
    store_id: str = ""
    run: str = ""
    trigger: Trigger = Trigger()
    lane: str = LIVE
    typeless: list[str] = []
    home: Home = NOWHERE
    access: Accesses = {}


class PublishTask(msgspec.Struct, frozen=True, tag="publish", tag_field="t"):
    """Publish one prepared part of one sink: idempotent, keyed by (store id, pipeline, node, iteration).

    ``action`` ``discard``: delete the staged part instead, its sink was given up. ``retract``: take back what the sink
    published to ``part.at`` in iterations after ``after`` up to ``iteration``. ``settled``: every
    iteration up to this number is terminal, in whatever lane: what dead attempts of theirs have left can go.
    ``published``: something of the sink stands in its target already. ``before``: the newest iteration of which that
    is known, 0 for none: where it is missing, an older copy of the target has been put in its place. ``home``: where
    the store lives; a target of another copy of it is not touched. ``given_up``: of those that are retracted, the
    iterations of which the sink published nothing. ``former``: sinks (pipeline, node) from which it has taken over its
    target; of what is retracted, all that have owned the folder, its owner first. ``spared``: (after, up to; 0: no end)
    numbers that are not retracted. ``upto``: what stands in the target under a number up to it is accounted for, and
    above it only what is ``coming``, the (iteration, digest) of what is prepared for it: anything else was published by
    a newer store, of which ours is an older copy; -1: not to be asked. ``access``: how to get to the project's targets
    now, whatever it was when the part was prepared."""

    attempt: Attempt
    pipeline: str
    iteration: int
    node: NodeSpec
    part: StagedRef
    store_id: str
    code_digest: str
    action: Literal["publish", "discard", "retract"] = "publish"
    after: int = 0
    lane: str = LIVE
    settled: int = 0
    published: bool = False
    before: int = 0
    home: Home = NOWHERE
    given_up: list[int] = []
    former: list[tuple[str, str]] = []
    spared: list[tuple[int, int]] = []
    upto: int = -1
    coming: list[tuple[int, str]] = []
    access: Accesses = {}


AnyTask = Task | PublishTask


class Tasks(Message, frozen=True):
    """broker -> pool: run these; at most the pool's credit (PREFETCH x capacity) is outstanding."""

    epoch: int
    tasks: list[AnyTask]


class Drop(Message, frozen=True):
    """broker -> pool: these attempts are no longer wanted: forget them if queued, kill the worker that runs one."""

    epoch: int
    attempts: list[Attempt]


class NodeDone(msgspec.Struct, frozen=True, tag="done", tag_field="t"):
    """A node is done: its output is written (a sink's part: staged and synced). ``schema`` and ``schema_text``
    (``name: type``): the schema a read node or a sink found when none was pinned. ``schema_notes``: of a read node how
    each type came, of a sink the columns that are text for want of a value. Of a read node also ``left_out`` (columns
    that are not read). ``last``: the task has no further node.
    ``state``: what a stateful node keeps, synced. ``memory``: the most its process had in memory while it ran, and
    ``memory_before`` what it had when it began, in bytes (0: the kernel does not tell). Of a read node also ``files``:
    what was read of each of its positions, in their order; ``touched``: those that had another ctime than the planned
    one, and nothing else; ``remarks``: what else is to be told of how they were read. ``changes``: how the columns of
    these files, or of the part of a sink, are others than the pinned ones; ``schema`` has them then."""

    attempt: Attempt
    pipeline: str
    iteration: int
    node: str
    key: str
    started_at: float
    duration: float
    rows_in: int
    rows_out: int
    worker: str
    output: BatchRef | None = None
    staged: StagedRef | None = None
    schema: bytes = b""
    schema_text: list[str] = []
    last: bool = True
    state: BatchRef | None = None
    schema_notes: list[str] = []
    left_out: list[str] = []
    memory: int = 0
    memory_before: int = 0
    files: list[PositionRead] = []
    touched: list[str] = []
    remarks: list[str] = []
    changes: list[SchemaChange] = []


class NodeFailed(msgspec.Struct, frozen=True, tag="failed", tag_field="t"):
    """A node of the task failed; the nodes after it in the chain were not begun."""

    attempt: Attempt
    pipeline: str
    iteration: int
    node: str
    failure: Failure
    started_at: float
    duration: float
    worker: str


class PublishDone(msgspec.Struct, frozen=True, tag="published", tag_field="t"):
    """The part is visible, whole, exactly once. ``remark``: what people are told of it, or ""."""

    attempt: Attempt
    pipeline: str
    iteration: int
    node: str
    worker: str
    duration: float = 0.0
    remark: str = ""


class Returned(msgspec.Struct, frozen=True, tag="returned", tag_field="t"):
    """The task (or what is left of it) was not run and can go elsewhere: its worker died before it began, drain,
    scale-in."""

    attempt: Attempt
    reason: str


AnyResult = NodeDone | NodeFailed | PublishDone | Returned


class Results(Message, frozen=True):
    """pool -> broker: what came of tasks. Each is repeated until its attempt (and node) is confirmed by Forget."""

    epoch: int
    results: list[AnyResult]


class Forget(Message, frozen=True):
    """broker -> pool: the results of these (attempt, node) are durable or no longer wanted; need not be kept.
    ``node`` is "" for Returned."""

    epoch: int
    confirmed: list[tuple[Attempt, str]]


class Release(Message, frozen=True):
    """broker -> pool: delete the spool folders of these (pipeline, iteration): nobody references them any more."""

    epoch: int
    iterations: list[tuple[str, int]]


class Scale(Message, frozen=True):
    """broker -> pool: have ``workers`` worker processes; surplus ones finish their task first."""

    epoch: int
    workers: int


class WorkerLimits(Message, frozen=True):
    """broker -> pool, after Welcome and at changes: ``worker:`` of the project (see ``WorkerSpec``)."""

    epoch: int
    limits: WorkerSpec


class KillWorker(Message, frozen=True):
    """broker -> pool: SIGKILL this worker (operator's request); it is replaced."""

    worker: str


class DrainWorker(Message, frozen=True):
    """broker -> pool: this worker finishes what it was given, and makes way for a fresh one (operator's request)."""

    worker: str


# --- pool <-> worker ----------------------------------------------------------------------------------------------


class WorkerReady(Message, frozen=True):
    """worker -> pool: forked, connected, idle."""

    pid: int
    code_digest: str


class WorkerTask(Message, frozen=True):
    """pool -> worker: run this task."""

    task: AnyTask


class Started(Message, frozen=True):
    """executor -> its worker: this node of the task begins now. It goes no further: a pool knows that a worker begins a
    task when it gets it, and a node when the one before it is done."""

    attempt: Attempt
    node: str


class WorkerResult(Message, frozen=True):
    """worker -> pool: a result, sent as soon as it is there; ``last``: the worker is idle again, with ``memory`` bytes
    in memory (0: not known)."""

    result: AnyResult
    last: bool
    memory: int = 0


class WorkerExit(Message, frozen=True):
    """pool -> worker: finish and exit."""


class WorkerExited(Message, frozen=True):
    """runtime -> pool: the process of this worker is gone. ``status``: exit code, or minus the signal. ``blamed``:
    false if it died with its parent. ``orphaned``: the parent died by itself, or by what one of the nodes did.
    ``because``: for what the runtime killed it, or ""."""

    worker: str
    pid: int
    status: int
    blamed: bool = True
    orphaned: bool = False
    because: str = ""


class Measured(Message, frozen=True):
    """runtime -> pool, after Measure: what each worker has in memory, in bytes; those that are gone are left out."""

    memory: dict[str, int]


class Warming(Message, frozen=True):
    """runtime -> pool: the warm parent begins to import ``importing`` (a file of ``nodes/``, or a library); "": it has
    come to an end, with these ``problems``, each in words."""

    importing: str
    problems: list[str] = []


# --- broker <-> scheduler -----------------------------------------------------------------------------------------


class ScheduleEntry(msgspec.Struct, frozen=True, gc=False):
    """A schedule that follows the clock, and how far it has come. Occurrences due at or before ``floor`` (it was
    paused) are skipped. ``off``: it is paused, removed, or its pipeline is: nothing is wanted of it."""

    pipeline: str
    spec: ScheduleSpec
    place: Place
    floor: float = 0.0
    off: bool = False


class Schedules(Message, frozen=True):
    """broker -> scheduler: entries that are new or changed since version ``since`` (of this epoch; 0: from the
    beginning), as of ``version``. Only one that goes on from what the scheduler has counts; its Heartbeat tells the
    broker what that is."""

    epoch: int
    since: int
    version: int
    items: list[ScheduleEntry]


class Judged(msgspec.Struct, frozen=True, gc=False):
    """What becomes of an occurrence: with ``reason`` "" it is to run, else it, and those before it that it stands for
    (``count``; ``first`` is the oldest one's id), are skipped for this reason. ``id``, ``due``: of the newest one;
    ``place``: the schedule's once this is noted."""

    id: str
    due: float
    place: Place
    reason: str = ""
    count: int = 1
    first: str = ""


class Dues(msgspec.Struct, frozen=True):
    """What one schedule has come to: ``judged`` in order, beginning right after ``after``."""

    pipeline: str
    schedule: str
    after: Place
    judged: list[Judged]


class Due(Message, frozen=True):
    """scheduler -> broker: occurrences whose time has come. Those of a schedule whose place is no longer ``after`` are
    not taken. Repeated until Noted. ``wall``: what the wall clock shows (seconds since the epoch)."""

    epoch: int
    wall: float
    items: list[Dues]


class NotedPlace(msgspec.Struct, frozen=True, array_like=True):
    """How far a schedule has come."""

    pipeline: str
    schedule: str
    place: Place


class Noted(Message, frozen=True):
    """broker -> scheduler: these schedules have come so far; what was told of them up to there is in the log."""

    epoch: int
    items: list[NotedPlace]


class ClockSet(Message, frozen=True):
    """runtime -> scheduler: the wall clock is ``offset`` seconds ahead of the runtime's ``now``, which never goes
    backwards. ``jumped``: that is not what was told before, by more than clocks drift."""

    offset: float
    jumped: bool = False


class ZonesChanged(Message, frozen=True):
    """runtime -> scheduler: the time zone data of this machine has changed."""


class Notice(Message, frozen=True):
    """broker -> scheduler: tell these targets (``AlertSpec.on`` was looked at). Repeated until Noticed. ``id`` is the
    alert's; ``after``: that of the one before of the same pipeline, unless that is done; it may have been lost on the
    way, and this one waits for it."""

    epoch: int
    id: int
    kind: AlertKind
    pipeline: str
    text: str
    at: float
    targets: list[AlertSpec]
    schedule: str = ""
    run: str = ""
    occurrence: str = ""
    held_back: int = 0
    project: str = ""
    after: int = 0


class Noticed(Message, frozen=True):
    """scheduler -> broker: the targets of this notice were told, or ``error`` says which was not, and why. ``again``:
    0 when that is final, else the seconds until the next try."""

    epoch: int
    id: int
    error: str = ""
    again: float = 0.0


class Told(Message, frozen=True):
    """runtime -> scheduler: a notice was delivered to target number ``target`` of it, or why not."""

    id: int
    target: int
    error: str = ""


# --- clients ------------------------------------------------------------------------------------------------------


class Request(Message, frozen=True):
    """client -> broker, store or source: one verb of the CLI, for example ``iteration.list`` with {"pipeline":
    ...}. ``epoch``: that of the broker, where it asks the store for itself; one that is over is told so instead."""

    id: str
    verb: str
    params: dict[str, Any] = {}
    epoch: int = 0


class Push(Message, frozen=True):
    """client -> source: rows for a source of mode event, as the bytes of an Arrow table; answered by a Reply to ``id``
    once they are durable. ``key``, and ``part`` of what is pushed under it: the same again is known ("": never)."""

    id: str
    pipeline: str
    source: str
    data: bytes
    key: str = ""
    part: int = 0


class Reply(Message, frozen=True):
    """-> client: ``status`` is the exit code of the design (0 done, 3 not found, 4 conflict, ...); ``error`` says
    why not 0."""

    id: str
    status: int
    result: Any = None
    error: str = ""


class Adopt(msgspec.Struct, frozen=True):
    """Let a sink of the project have its target, which is another sink's of this store. ``marked``: the target itself
    says so."""

    pipeline: str
    node: str
    from_pipeline: str
    from_node: str
    marked: bool = False


class Apply(Message, frozen=True):
    """client -> broker: make this project's configuration the newest version of each of its pipelines, and let sinks
    ``adopt`` their targets. Refused where ``protocol`` is not the broker's. ``dry_run``: only say what would change, or
    why it is refused."""

    id: str
    project: ProjectSpec
    protocol: int = PROTOCOL
    adopt: list[Adopt] = []
    dry_run: bool = False


AnyMessage = (
    Connected
    | Tick
    | Terminate
    | Hello
    | StoreHello
    | PoolHello
    | WhoAreYou
    | Welcome
    | Refused
    | Heartbeat
    | Bye
    | ByeAck
    | Shutdown
    | Claim
    | Claimed
    | ClaimRefused
    | Load
    | LoadedPage
    | AppendRecords
    | Durable
    | ResendFrom
    | Fenced
    | RecordRefused
    | Sources
    | Discover
    | Offer
    | Planned
    | Released
    | LedgerQuery
    | LedgerPage
    | PlacesQuery
    | PlacesPage
    | LedgerLook
    | LedgerRows
    | SameBytes
    | SourceProblem
    | Tasks
    | Drop
    | Results
    | Forget
    | Release
    | Scale
    | WorkerLimits
    | KillWorker
    | DrainWorker
    | WorkerReady
    | WorkerTask
    | Started
    | WorkerResult
    | WorkerExit
    | WorkerExited
    | Schedules
    | Due
    | Noted
    | ClockSet
    | ZonesChanged
    | Notice
    | Noticed
    | Told
    | Measured
    | Warming
    | Request
    | Reply
    | Apply
    | Push
)
"""What the decoder accepts. Local ones are refused from the network by the transport."""

LOCAL_ONLY = (Connected, Tick, Terminate, WorkerExited, Measured, Warming, ClockSet, ZonesChanged, Told)
