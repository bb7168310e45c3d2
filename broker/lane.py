"""One lane of a pipeline: what its sources have offered, its runs, and what the next plan takes.

``live`` follows the sources; each backfill has a lane of its own, with its own order and its own ledger.
"""

from __future__ import annotations

from msgspec.structs import replace

from odibi_actors.checkpoint.records import Backfill, Plan, Run
from odibi_actors.config.model import BatchSpec, Consumption, NodeSpec
from odibi_actors.model import Position, Range, Trigger

FREE, BACK_OFF, MAX_BACK_OFF = 2, 1.0, 60.0
"""Plans in a row that a changed reference may void at no cost; then the next one waits, from so many seconds to so
many."""


class SourceState:
    """What one source node has offered beyond what is planned."""

    def __init__(self, node: NodeSpec, seq: int) -> None:
        self.node = node
        self.changed_at = 0.0
        self.seq = seq  # newest record that changed this source's ledger: an offer must reflect it
        self.pending: list[Position] = []
        self.ranges: dict[str, Range] = {}  # of what is pending, where it is read in order
        self.left = 0  # positions beyond what is planned, those included that the credit keeps back
        self.since = 0.0  # when the oldest pending position was first seen here (for linger)
        self.run = ""
        self.exhausted = False
        self.density = 0.0  # rows per byte of what was read last: how many rows a file will have is a guess
        self.looked = ""  # newest look (see commands) for which everything found is offered
        self.heard = False  # an offer of the present incarnation has come
        self.unread: list[str] = []  # folders that could not be listed
        self.paused = False  # what it offers is kept, and is not pending
        self._kept: tuple[list[Position], list[Range]] = ([], [])
        self.problems: list[str] = []

    @property
    def consumption(self) -> Consumption:
        """How its positions are taken."""
        return self.node.read.consumption or "set" if self.node.read is not None else "set"

    @property
    def ordered(self) -> bool:
        """Read in order, by ranges of partitions: the store keeps a place of each, and no ledger."""
        return self.consumption == "cursor"

    @property
    def pinned(self) -> bool:
        """Read whole for every iteration, pinned by digest, not consumed."""
        return self.consumption == "pinned"

    def known(self, schemas: dict[str, bytes]) -> bool:
        """Whether there is at least an empty table of it: something was read, or all of its columns are declared."""
        return self.node.name in schemas or (self.node.read is not None and self.node.read.typed)

    @property
    def pattern(self) -> str:
        """Which files it reads."""
        return self.node.read.pattern if self.node.read is not None else ""

    def rebind(self, node: NodeSpec) -> None:
        """The node is this one now. If it reads something else what it had said counts no more, and it is asked again
        for the run that plans; what is on its way of it is known by ``read_digest``."""
        changed, self.node = self.node.read != node.read, node
        if changed:
            self.forget_offer()
            self.left, self.density, self.looked, self.problems = 0, 0.0, "", []

    def forget_offer(self) -> None:
        """The source restarted: what its former incarnation offered no longer counts."""
        self.offer([], [])
        self.heard, self.exhausted, self.run, self.since = False, False, "", 0.0

    def offer(self, positions: list[Position], ranges: list[Range]) -> None:
        """This is what waits to be planned; ``ranges`` are those of the positions, where it is read in order."""
        if self.paused:
            self._kept = (list(positions), list(ranges))
            return
        self.pending = list(positions)
        self.ranges = {p.identity: one for p, one in zip(positions, ranges, strict=True)} if ranges else {}

    def pause(self, on: bool) -> None:
        """Keep what it offers, or let it be planned."""
        if on and not self.paused:
            kept = [self.ranges[p.identity] for p in self.pending] if self.ordered else []
            pending, self.pending, self.ranges = self.pending, [], {}
            self.paused, self._kept = True, (pending, kept)
        elif self.paused and not on:
            self.paused, (positions, ranges) = False, self._kept
            self._kept = ([], [])
            self.offer(positions, ranges)

    @property
    def waits(self) -> int:
        """Positions beyond what is planned, as far as they were told."""
        return max(self.left, len(self.pending), len(self._kept[0]))

    @property
    def done(self) -> bool:
        """The run that plans has nothing more to expect of it than what is pending."""
        return self.exhausted or self.paused


class RunInfo:
    """A run in progress: it plans, one run of a lane at a time, then its iterations are finished. What it counts is
    durable: the store counts the same, record by record, and a new broker goes on from there."""

    def __init__(self, record: Run, planned: int = 0, took: int = 0) -> None:
        self.run = record.run
        self.trigger = record.trigger
        self.at = record.at
        self.limit = record.limit  # iterations it may plan; 0: no limit
        self.planned = planned  # iterations, but for those that were cancelled
        self.took = took  # iterations that others, or nobody, planned and that it answers for, but for cancelled ones
        self.taken = ""  # the run that has taken it over, and answers for what it plans
        self.voided = 0  # iterations that an operator cancelled, or another run has taken up from it
        self.set_aside = 0  # dead letters its iterations have left: files, or an iteration as a whole
        self.left: dict[tuple[str, str], None] = {}  # what it had planned and a cancel gave back: ``Plan.taken_back``
        self.unread = ""  # folders that could not be listed for it, once it has planned all
        self.upto = 0  # once it has planned all: the newest iteration of then, which must be finished with the rest
        self.asked_at = 0.0
        self.asks = 0  # how often its sources were asked what there is

    def plans(self, plan: Plan) -> None:
        """What it takes is of it again, if it was given back."""
        if not self.left:
            return
        for source in plan.ledgered:
            for position in plan.positions.get(source, ()):
                self.left.pop((source, position.identity), None)
        for source, some in plan.ranges.items():
            for lost in [lost for of, lost in self.left if of == source]:
                left = lost
                for one in some:
                    left = left and one.leaves(left)
                if left != lost:
                    del self.left[source, lost]
                if left:
                    self.left[source, left] = None

    @property
    def full(self) -> bool:
        """It has planned all it may."""
        return bool(self.limit) and self.planned >= self.limit


class Lane:
    """Sources, runs and limits of one lane."""

    def __init__(self, name: str, start_seq: int) -> None:
        self.name = name
        self.start_seq = start_seq
        self.sources: dict[str, SourceState] = {}
        self._paused: dict[str, None] = {}  # sources, also those that are not there
        self.runs: dict[str, RunInfo] = {}  # active ones, in the order in which they plan; those that have are below
        self.finishing: dict[str, RunInfo] = {}  # active, and everything of theirs is planned
        self.voided = 0  # plans in a row whose reference had changed before it was read
        self.not_before = 0.0  # nothing is planned before this time

    @property
    def run(self) -> RunInfo | None:
        """The run that plans."""
        return next(iter(self.runs.values()), None)

    @property
    def active(self) -> list[str]:
        """All active runs."""
        return [*self.finishing, *self.runs]

    def bind(self, nodes: list[NodeSpec]) -> None:
        """Make ``sources`` those of these nodes that read, keeping what is known of those that stay."""
        former = self.sources
        self.sources = {}
        for node in nodes:
            if node.read is not None:
                state = self.sources[node.name] = former.get(node.name) or SourceState(node, self.start_seq)
                state.rebind(node)
                state.pause(node.name in self._paused and not state.pinned)

    def pause(self, source: str, on: bool) -> None:
        """Plan nothing new of a source, or go on with it."""
        if on:
            self._paused[source] = None
        else:
            self._paused.pop(source, None)
        if (state := self.sources.get(source)) is not None:
            state.pause(on and not state.pinned)

    @property
    def wanted(self) -> int:
        """Iterations of the run where nothing is consumed: one, or one for each occurrence that is backfilled."""
        run = self.run
        return run.limit if run is not None and run.limit and run.trigger.kind == "backfill" else 1

    @property
    def consuming(self) -> list[SourceState]:
        """Sources that give each position once."""
        return [s for s in self.sources.values() if not s.pinned]

    @property
    def offered(self) -> int:
        """Positions of consuming sources that wait to be planned."""
        return sum(len(s.pending) for s in self.consuming)

    def back_off(self, now: float) -> float:
        """One more plan was void before it was read: seconds until the next, 0 for the first ones, which are what a
        file that is replaced costs."""
        self.voided += 1
        wait = min(BACK_OFF * 2 ** (self.voided - FREE - 1), MAX_BACK_OFF) if self.voided > FREE else 0.0
        self.not_before = now + wait
        return wait

    def unanswered(self) -> str:
        """The source that has not told what there is for the run that plans, although it was asked again."""
        run = self.run
        silent = [] if run is None or run.asks < 2 else [n for n, s in self.sources.items() if s.run != run.run]
        return silent[0] if silent else ""

    def waiting_for(self, schemas: dict[str, bytes]) -> str:
        """Why nothing is planned although it could be; "" when nothing stands in the way."""
        for source in self.sources.values():
            name = source.node.name
            if source.pinned and not source.heard:
                return f"source {name}: has not reported yet"
            if source.pinned and not source.pending:
                return f"source {name}: no file matches yet"
            if not source.pinned and not source.pending and not source.known(schemas) and self.offered:
                if source.paused:
                    return f"source {name}: it is paused before its first file, which tells its schema"
                return f"source {name}: waiting for its first file to learn its schema"
        return ""

    def due(self, now: float, limits: BatchSpec, schemas: dict[str, bytes], on_demand: bool) -> float | None:
        """When the next iteration may be planned: a time (past: at once), or None when there is nothing to plan."""
        run = self.run
        if run is None and on_demand:
            return None
        if run is not None and (run.full or any(s.run != run.run for s in self.sources.values())):
            return None
        if self.waiting_for(schemas):
            return None
        consuming = self.consuming
        if not consuming:
            return now if run is not None and run.planned < self.wanted else None
        if not any(s.pending for s in consuming):
            return None
        if sum(len(s.pending) for s in consuming) >= limits.max_files:
            return now
        return min(s.since for s in consuming if s.pending) + limits.linger

    def ranges(self, positions: dict[str, list[Position]]) -> dict[str, list[Range]]:
        """Those of these positions, by source, of sources that are read in order."""
        ordered = [source for source in self.consuming if source.ordered]
        return {s.node.name: [s.ranges[p.identity] for p in positions[s.node.name]] for s in ordered}

    def take(self, limits: BatchSpec, schemas: dict[str, bytes]) -> dict[str, list[Position]]:
        """The positions of the next iteration, removed from what is pending; batch sources are pinned as they are.

        Sources take turns, one position each, until a limit of ``batch`` is reached (rows where a position tells them,
        else by estimate, from the rows per byte of earlier ones); the first is always taken, so that one larger than
        the limits is taken alone. A source whose schema is not known yet gives one in any case: without a schema there
        is not even an empty table to run on.
        """
        taken: dict[str, list[Position]] = {s.node.name: [] for s in self.sources.values()}
        files = size = 0
        rows = 0.0
        progress = True
        while progress:
            progress = False
            for source in self.consuming:
                done = taken[source.node.name]
                if len(done) >= len(source.pending):
                    continue
                position = source.pending[len(done)]
                must = not done and not source.known(schemas)
                sized = max(0, position.size)
                more = position.rows if position.rows >= 0 else sized * source.density
                full = size + sized > limits.max_bytes or rows + more > limits.max_rows
                over = files >= limits.max_files or full
                if files and over and not must:
                    continue
                done.append(position)
                files, size, rows, progress = files + 1, size + sized, rows + more, True
        for source in self.sources.values():
            if source.pinned:
                taken[source.node.name] = list(source.pending)
            else:
                count = len(taken[source.node.name])
                del source.pending[:count]
                source.left = max(0, source.left - count)
        return taken


class Backfilling:
    """A backfill in progress. ``since``: the number of its record, or of the last one before this epoch."""

    def __init__(self, record: Backfill, start_seq: int, since: int) -> None:
        self.record = record
        self.since = since
        self.lane = Lane(record.lane, start_seq)
        self.planned = 0
        self.committed = 0
        self.positions = 0  # planned ones

    def bind(self, nodes: list[NodeSpec]) -> None:
        """Its sources: the ones whose files are read again, with its own pattern, and all that are read whole."""
        chosen = []
        for node in nodes:
            pattern = self.record.files.get(node.name)
            if node.read is None or (not node.read.pinned and pattern is None):
                continue
            read = node.read if pattern is None else replace(node.read, pattern=pattern)
            chosen.append(replace(node, read=read))
        self.lane.bind(chosen)

    def count(self, positions: dict[str, list[Position]], iterations: int = 1) -> None:
        """One more iteration of it is planned; -1: one is void. References, which each reads again, are not counted,
        unless there is nothing else."""
        consumed = [source.node.name for source in self.lane.consuming if source.node.name in positions]
        self.planned += iterations
        self.positions += iterations * sum(len(positions[name]) for name in consumed or positions)

    def trigger(self) -> Trigger:
        """What sets off its next iteration: the next of its occurrences, if it has any."""
        record = self.record
        trigger = Trigger(kind="backfill", schedule=record.schedule, params=record.params)
        if record.occurrences and self.planned < len(record.occurrences):
            occurrence, due = record.occurrences[self.planned]
            return replace(trigger, occurrence=occurrence, due=due)
        return trigger

    @property
    def left(self) -> int:
        """Positions, or occurrences, that are not planned yet; -1 while that is not known."""
        if self.record.occurrences:
            return len(self.record.occurrences) - self.planned
        if not self.lane.runs:
            return 0  # everything is planned
        if not all(s.heard for s in self.lane.consuming):
            return -1
        return sum(s.left for s in self.lane.consuming)
