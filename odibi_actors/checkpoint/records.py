"""The records of the log: all that the broker makes durable, and the snapshot a new broker loads.

Each record travels with its sequence number (see ``messages.AppendRecords``); the store applies only the next one.
Times are seconds since the Unix epoch, durations are seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from odibi_actors.config.model import AlertKind, PipelineSpec, ProjectSpec, ScheduleSpec
from odibi_actors.model import (
    Attempt,
    BatchRef,
    Failure,
    IterationState,
    Place,
    Position,
    PositionRead,
    Range,
    RunState,
    SchemaChange,
    StagedRef,
    Target,
    Trigger,
)


class Record(msgspec.Struct, frozen=True, tag=str.lower, tag_field="r"):
    """Base of all records."""


class Version(Record, frozen=True):
    """A pipeline's configuration takes effect. Unprepared iterations of the pipeline are re-bound to it."""

    pipeline: str
    version: int
    spec: PipelineSpec
    code_digest: str
    at: float


class Era(msgspec.Struct, frozen=True, array_like=True):
    """Since ``iteration``, told at ``at`` (seconds since the epoch), ``changes`` hold. ``before``: the schema until
    then, of ``columns`` columns; b"" where it stayed what it was."""

    iteration: int
    at: float
    changes: list[SchemaChange]
    before: bytes
    columns: int


MAX_ERAS = 100
"""Eras of one schema that are kept; older changes are part of what it was at first."""


class Schema(Record, frozen=True):
    """A node's schema is pinned: ``arrow`` is a serialised Arrow schema (IPC), ``text`` lists ``name: type``.
    ``iteration`` is the one that told the schema, without which the pin is void (0: no iteration takes it along). Of a
    sink also: ``target`` is what it writes to, never None; ``open``: an operator lets the next part bring other
    columns; ``former``: the pin that was open until then.
    Of a read node: ``notes`` of how each type came (declared, inferred and why), and ``left_out``, the columns that are
    not read. ``history``: how it came to be what it is, oldest first (``on_schema_change``)."""

    pipeline: str
    node: str
    arrow: bytes
    text: list[str]
    target: Target | None = None
    iteration: int = 0
    open: bool = False
    former: bytes = b""
    notes: list[str] = []
    left_out: list[str] = []
    history: list[Era] = []

    def as_of(self, to: int) -> Schema | None:
        """What it is once its pipeline is taken back to iteration ``to``; None: it goes."""
        return self.without(lambda era: era.iteration > to) if self.outlives(to) else None

    def without(self, void: Callable[[Era], bool]) -> Schema:
        """What it was before the first era that is void and changed it, and without those that did not."""
        kept: list[Era] = []
        for era in self.history:
            if not void(era):
                kept.append(era)
            elif era.before:
                text, notes = self.text[: era.columns], self.notes[: era.columns]
                return msgspec.structs.replace(self, arrow=era.before, text=text, notes=notes, history=kept)
        return self if len(kept) == len(self.history) else msgspec.structs.replace(self, history=kept)

    def reopened(self) -> Schema:
        """A sink's once the part that told it is void: open, as it was until then, without what came since."""
        return msgspec.structs.replace(self, arrow=self.former, former=b"", iteration=0, open=True, history=[])

    def outlives(self, to: int) -> bool:
        """It stays when its pipeline is taken back to iteration ``to``: it was told by then. A sink's that was opened,
        or of whose iteration nothing was published there, goes: what is left in the target tells it again."""
        return to > 0 and self.iteration <= to and (self.target is None or self.iteration > 0)


class Unpin(Record, frozen=True):
    """The schema of a source is not pinned any more: the next file read tells it again."""

    pipeline: str
    node: str


class Adopt(Record, frozen=True):
    """A target passes from one sink of this store, which publishes there no more, to another: its node was renamed, or
    moved to another pipeline. What was published stays under the former name. ``through``: the newest number of the
    former sink's pipeline, above which the owner publishes when that is another pipeline's; ``after``: the newest of
    its own until then. The schema of the former sink goes along."""

    pipeline: str
    node: str
    target: Target
    from_pipeline: str
    from_node: str
    through: int
    after: int
    at: float


class Run(Record, frozen=True):
    """A run starts: what an operator's trigger, a backfill, or an occurrence of a schedule asked for. The occurrence
    was ``waiting`` until now (it is named by ``trigger``) and is ``started`` by this record. ``limit``: iterations it
    may plan (0: no limit). ``took``: iterations that were unfinished when it began, and that it finishes and answers
    for, instead of a run that had taken them up; ``over``: runs that planned those, or still plan: what they plan from
    now on is taken by this one as well."""

    run: str
    pipeline: str
    cause: str
    at: float
    trigger: Trigger = Trigger()
    lane: str = "live"
    limit: int = 0
    took: list[int] = []
    over: list[str] = []


class RunPlanned(Record, frozen=True):
    """Everything of an active run is planned; it ends once what was planned up to iteration ``upto``, its own or not,
    is finished. Void when what it has planned is to be planned again (CANCEL). ``unread``: folders of its sources that
    could not be listed, and why."""

    run: str
    pipeline: str
    upto: int
    at: float
    unread: str = ""


class RunEnd(Record, frozen=True):
    """A run has ended. ``error`` says why it failed. A failed run is active again by RETRY of an iteration of it, by
    ABANDON of its last blocked sink, or, of a backfill, by CANCEL; or it is ended once more, as cancelled."""

    run: str
    pipeline: str
    state: RunState
    at: float
    error: str = ""


class Schedule(Record, frozen=True, gc=False):
    """A schedule exists, with this spec; the record replaces the former one of its name. ``place`` is never before the
    former one. ``floor``: occurrences due up to then, while it was paused, are skipped (seconds since the epoch).
    ``seen``: of an ``after`` schedule, pipeline -> how many of its commits were followed. ``gone``: it was removed;
    its place is remembered, so that it never runs a time twice should it come back. ``generation`` grows whenever it
    begins again (it is back, or its timing was changed): from then on wall times may come again, and ids say which."""

    pipeline: str
    name: str
    spec: ScheduleSpec
    origin: Literal["yaml", "cli"]
    place: Place
    at: float
    paused: bool = False
    floor: float = 0.0
    seen: dict[str, int] = {}
    gone: bool = False
    generation: int = 0


class Occurrence(Record, frozen=True):
    """One due time, or one arrival, of a schedule: noted once, ``waiting`` from here on. ``place`` is the schedule's
    from here on (None: it follows no clock), ``seen`` likewise. ``positions``: the files that arrived; they enter the
    ledger (lane ``trigger``, source: the schedule) in the same transaction. ``expires``: when it is late (0: never)."""

    pipeline: str
    schedule: str
    id: str
    due: float
    at: float
    place: Place | None = None
    seen: dict[str, int] = {}
    positions: list[Position] = []
    expires: float = 0.0


class Skip(Record, frozen=True):
    """``count`` occurrences of a schedule do not run, for this reason; the first and the last of them are named. With
    ``place`` None they were ``waiting`` (``first``), else they were not noted before and the place moves there."""

    pipeline: str
    schedule: str
    first: str
    last: str
    due: float
    count: int
    reason: str
    at: float
    place: Place | None = None


class Backfill(Record, frozen=True):
    """A backfill begins: a lane of its own. ``files``: source node -> pattern of the files it reads again. Or
    ``occurrences`` ((id, due), ...) of ``schedule``, one iteration each. ``concurrency``: iterations in flight.
    ``through``: the newest iteration when it began; what the live lane took later, or not at all, is not read (-1: not
    told, by former releases)."""

    pipeline: str
    lane: str
    run: str
    at: float
    files: dict[str, str] = {}
    schedule: str = ""
    occurrences: list[tuple[str, float]] = []
    concurrency: int = 1
    params: dict[str, object] = {}
    through: int = -1


class BackfillEnd(Record, frozen=True):
    """A backfill has ended: everything of it is terminal."""

    pipeline: str
    lane: str
    state: Literal["done", "no_data", "cancelled"]
    at: float


class Alert(Record, frozen=True):
    """Somebody is to be told. ``id`` is the number of this record. Until ALERTED it is told again. ``targets``: whom,
    as people see them; told is whoever wants it by then."""

    id: int
    kind: AlertKind
    pipeline: str
    text: str
    at: float
    schedule: str = ""
    run: str = ""
    occurrence: str = ""
    held_back: int = 0
    targets: list[str] = []


class Alerted(Record, frozen=True):
    """Everybody was told, or ``error`` says why somebody was not, after the last try; ``again``: it is tried again, and
    ``error`` is that of the tries up to now."""

    id: int
    at: float
    error: str = ""
    again: bool = False


class Replay(msgspec.Struct, frozen=True):
    """The dead letter that an iteration takes up again: its id, the iteration it came from, and whether it holds the
    ``whole`` of that or one position. ``keeps``: it is open again whenever this iteration is void, for it has files of
    a source that is read whole by now, which this one does not take, or none at all."""

    letter: int
    iteration: int
    whole: bool
    keeps: bool = False


class Plan(Record, frozen=True):
    """PLAN(N): the input of iteration N, for good. The ledger's rows are written in the same transaction; a
    position of a
    ``ledgered`` source (all but ``batch``) that is planned already is an error of the broker and refused whole.
    ``ranges``: of sources that are read in order, in place of the ledger, what each of their positions reads; the
    places of their partitions move in the same transaction, and one that does not begin there is refused. Those of a
    ``replay`` are taken already, by the letter: no place moves.
    ``run`` has planned it; ``taken``: the run that answers for it besides, or instead (see ``Run.took``)."""

    pipeline: str
    lane: str
    iteration: int
    version: int
    positions: dict[str, list[Position]]
    ledgered: list[str]
    at: float
    run: str = ""
    replay: Replay | None = None
    trigger: Trigger = Trigger()
    taken: str = ""
    ranges: dict[str, list[Range]] = {}

    @property
    def consumed(self) -> list[str]:
        """The sources of which it takes something that nobody else may take: all but references."""
        return [*self.ledgered, *self.ranges]

    def taken_back(self) -> list[tuple[str, str]]:
        """What its run has lost when it is void: (source, file, or range)."""
        files = [(source, p.identity) for source in self.ledgered for p in self.positions.get(source, ())]
        return files + [(source, one.given_back()) for source, some in self.ranges.items() for one in some]

    def counted(self) -> list[str]:
        """The sources whose positions and rows are those of the iteration. References are not, which every iteration
        reads again, unless there is nothing else."""
        return [source for source in self.positions if source in self.consumed] or list(self.positions)


class Ack(Record, frozen=True):
    """A node's acknowledgement: the node-level checkpoint. Exactly one of ``output`` (read, transform) and ``staged``
    (write) is set. It replaces an earlier ack of the same node. ``key`` digests config, code and inputs. ``state``:
    what a stateful node keeps for the next iteration, synced before this was said. ``memory``, ``memory_before``: as in
    ``NodeDone`` (0: not known). ``files``: what a read node has read of each of its positions, in their order; the
    ledger keeps it."""

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
    memory: int = 0
    memory_before: int = 0
    files: list[PositionRead] = []


class Same(Record, frozen=True):
    """These files of the ledger have other times, or another inode, than when they were read, and the same bytes: from
    now on they are known as they are. What the ledger holds with another digest stays as it is."""

    pipeline: str
    lane: str
    source: str
    positions: list[Position]


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
    """Where parts are taken back: what this sink node published to. ``given_up``: iterations of which the
    sink was abandoned; a file of such a name there is somebody else's."""

    node: str
    target: Target
    given_up: list[int] = []


class Left(msgspec.Struct, frozen=True):
    """What a rewind leaves: how many iterations are committed, which is the newest, how many dead letters are open."""

    committed: int
    last_committed: int
    letters: int


class Rewind(Record, frozen=True):
    """The pipeline goes back to iteration ``to``: those after it, up to ``last``, are taken back from these places.
    From here on it only rolls forward, to REWOUND. ``request``: who asked for it; asked again, nothing more is done."""

    pipeline: str
    to: int
    last: int
    retractions: list[Retraction]
    at: float
    left: Left
    request: str = ""


class Rewound(Record, frozen=True):
    """All is taken back: iterations after ``to`` up to ``last`` are void, and their positions are released."""

    pipeline: str
    to: int
    last: int
    at: float


PLANNED_AGAIN = "planned again: "
"""How the reason of a CANCEL begins after which the same input is planned under another number by itself."""


class Cancel(Record, frozen=True):
    """A suffix of unprepared iterations is void and its positions are released from the ledger. ``reason``: "" where an
    operator cancelled them, else PLANNED_AGAIN and why."""

    pipeline: str
    iterations: list[int]
    at: float
    reason: str = ""


PROJECT, WORKERS, ALERTS, TOLD = "project.", "workers.", "alerts.", "told."
"""Scopes of settings that belong to no pipeline, which the dot keeps apart: the project's ``name``, ``history``,
``history_size`` and limits of workers, the number of workers an operator wants per host, and the alerts that are held
back, and when targets were told last."""

HISTORY, HISTORY_SIZE = "history", "history_size"
"""Settings of the project: seconds for which finished iterations are listed, and bytes that they may take."""


CODE = "code"
"""Setting of the project: the digest of ``nodes/`` that workers have to have. Versions tell what a pipeline needs of
it, and stay as they are when something else is changed."""


ORDER = "order"
"""Setting of the project: its pipelines in the order of the project file, separated by commas."""

REWOUND = "rewound"
"""Setting of a pipeline: the requests of its last rewinds that have come to their end, oldest first, with blanks
between."""
COMPACTED = "compacted"
"""Setting of a pipeline: JSON of its sinks whose files are joined -> up to which iteration."""
PRUNED = "pruned"
"""Setting of a pipeline: JSON of its sources of whose logs something is deleted -> up to which iteration it was read.
"""
RESETTING = "resetting"
"""Setting of a pipeline: a reset of it has begun, and not ended; JSON of what it deletes (``local.reset.Plan``)."""
FORGOTTEN = "forgotten"
"""Setting of a pipeline that is not in the project any more: it was reset since, and nobody lists it."""
FAILING = "failing"
"""Setting of a pipeline: it has failed, and nobody was told yet that it works again."""

MAX_TASKS, MAX_MEMORY = "worker.max_tasks", "worker.max_memory"
"""Settings of the project: when a worker makes way for a fresh one."""


def project_settings(project: ProjectSpec) -> dict[str, str]:
    """What the settings of a project are by its configuration; "" where it says nothing."""
    worker = {MAX_TASKS: project.worker.max_tasks, MAX_MEMORY: project.worker.max_memory}
    return {
        "name": project.name,
        HISTORY: str(project.history),
        HISTORY_SIZE: str(project.history_size),
        **{name: "" if limit is None else str(limit) for name, limit in worker.items()},
    }


PAUSED = "paused "
"""Before the name of a source: the setting of its pipeline that nothing new is planned of it."""


class Setting(Record, frozen=True):
    """An operator's durable wish: ``paused`` / ``draining`` of a pipeline, ``workers`` of a host. "" deletes it."""

    scope: str
    name: str
    value: str


RUNS_LOADED = 100
"""Ended runs of each pipeline that a new broker is told of, for those who ask or wait for one."""

AnyRecord = (
    Version
    | Schema
    | Unpin
    | Adopt
    | Run
    | RunPlanned
    | RunEnd
    | Plan
    | Ack
    | Same
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
    | Schedule
    | Occurrence
    | Skip
    | Backfill
    | BackfillEnd
    | Alert
    | Alerted
)


class Loaded(msgspec.Struct, frozen=True, tag=str.lower, tag_field="l"):
    """Base of the items of a snapshot, sent in this order: versions, schemas, settings, schedules, occurrences,
    backfills, runs, counters, states, rewinds, alerts, adoptions, iterations in order of number (each followed by its
    acks and errors)."""


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
    """A run that is still active, one that failed and has unfinished iterations, and of each pipeline the newest
    RUNS_LOADED that have ended. ``planned`` counts its iterations, finished ones included; ``kept`` those of them that
    were not cancelled; ``took`` those it has taken that were not; ``voided`` those of both that an operator cancelled,
    or another run has taken up from it; ``set_aside`` the dead letters that they have left; ``given_back`` the files
    (source, identity), or ranges, that a cancel took from it and that it has not planned again. ``upto``, ``unread``:
    as in RUNPLANNED, 0 while it plans; ``taken``: the run that has taken it over."""

    record: Run
    planned: int = 0
    state: RunState = "active"
    error: str = ""
    kept: int = 0
    set_aside: int = 0
    took: int = 0
    voided: int = 0
    given_back: list[tuple[str, str]] = []
    upto: int = 0
    taken: str = ""
    unread: str = ""


class LoadedSchedule(Loaded, frozen=True, gc=False):
    """A schedule as of its newest SCHEDULE, OCCURRENCE and SKIP (``record.place``, ``record.seen``), and how often it
    has started a run, and skipped (reason -> occurrences). Removed ones too. ``last``, ``last_run``: id and run of the
    newest occurrence that was started."""

    record: Schedule
    started: int = 0
    skipped: dict[str, int] = {}
    last: str = ""
    last_run: str = ""


class LoadedOccurrence(Loaded, frozen=True):
    """An occurrence that is waiting, or whose run is active (``run``)."""

    record: Occurrence
    run: str = ""


class LoadedBackfill(Loaded, frozen=True):
    """A backfill that has not ended; ``planned``, ``committed``: its iterations; ``positions``: planned ones."""

    record: Backfill
    planned: int = 0
    committed: int = 0
    positions: int = 0


class LoadedAlert(Loaded, frozen=True):
    """An alert that nobody was told yet."""

    record: Alert


class LoadedCounter(Loaded, frozen=True):
    """Highest iteration number ever planned for the pipeline, and the highest committed one (0: none). ``commits``
    counts every commit there was, taken back since or not; ``newest``: the iteration of the last one. ``ledger`` lists
    the source nodes with planned positions, so that a source that has consumed data cannot be removed unnoticed;
    ``kept`` the dead-lettered iterations, whose batches stay; ``dead_letters`` counts them and the files set aside;
    ``stands``: sink -> the place to which the newest committed iteration has published. ``accounted``: the newest
    number that was committed, or taken back or forgotten since: what is in a target under a higher one, and is not
    prepared, a newer store than this one has published."""

    pipeline: str
    last_iteration: int
    last_committed: int
    committed: int
    ledger: list[str]
    kept: list[int] = []
    dead_letters: int = 0
    stands: dict[str, Target] = {}
    commits: int = 0
    newest: int = 0
    accounted: int = 0


class LoadedState(Loaded, frozen=True):
    """What a stateful node has kept as of a committed iteration."""

    pipeline: str
    node: str
    iteration: int
    state: BatchRef


class LoadedIteration(Loaded, frozen=True):
    """An iteration that is not terminal. ``plan.positions`` reflects REVISE, ``plan.version`` re-binding,
    ``plan.taken`` the newest run that took it.
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


class LoadedAdopt(Loaded, frozen=True):
    """A target that has passed from one sink to another; oldest first."""

    record: Adopt


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
    | LoadedSchedule
    | LoadedOccurrence
    | LoadedBackfill
    | LoadedRun
    | LoadedCounter
    | LoadedState
    | LoadedRewind
    | LoadedAlert
    | LoadedAdopt
    | LoadedIteration
    | LoadedAck
    | LoadedError
)
