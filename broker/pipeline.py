"""One pipeline: its version, its sources' offers, its iterations in flight, and what the next plan takes."""

from __future__ import annotations

from collections.abc import Iterator

from broker.iteration import Iteration
from odibi_actors.checkpoint.records import Plan, Replay, Rewind
from odibi_actors.config.model import NodeSpec, PipelineSpec
from odibi_actors.model import LIVE, Attempt, BatchRef, Position

RUNS_REMEMBERED = 100
"""Ended runs whose result is kept for ``run.wait``; older ones are in the store."""


class SourceState:
    """What one source node has offered beyond what is planned."""

    def __init__(self, node: NodeSpec, seq: int) -> None:
        self.node = node
        self.changed_at = 0.0
        self.seq = seq  # newest record that changed this source's ledger: an offer must reflect it
        self.pending: list[Position] = []
        self.since = 0.0  # when the oldest pending position was first seen here (for linger)
        self.run = ""
        self.exhausted = False
        self.density = 0.0  # rows per byte of what was read last: how many rows a file will have is a guess
        self.looked = ""  # newest look (see commands) for which everything found is offered
        self.heard = False  # an offer of the present incarnation has come
        self.problems: list[str] = []

    @property
    def batch(self) -> bool:
        """Read whole for every iteration, pinned by digest, not consumed."""
        return self.node.read is not None and self.node.read.mode == "batch"

    def forget_offer(self) -> None:
        """The source restarted: what its former incarnation offered no longer counts."""
        self.pending, self.heard, self.exhausted, self.run, self.since = [], False, False, "", 0.0


class RunInfo:
    """A run in progress."""

    def __init__(self, run: str, planned: int = 0, limit: int = 0) -> None:
        self.run = run
        self.limit = limit  # iterations it may plan; 0: no limit
        self.planned = planned
        self.asked_at = 0.0

    @property
    def full(self) -> bool:
        """It has planned all it may."""
        return bool(self.limit) and self.planned >= self.limit


class Rewinding:
    """A rewind in progress: what is still to be taken back, and by which attempt. Keys are (node, folder)."""

    def __init__(self, record: Rewind) -> None:
        self.record = record
        self.left: dict[tuple[str, str], Attempt | None] = {(one.node, one.folder): None for one in record.retractions}
        self.retry_at = 0.0
        self.used = 0


class Pipeline:
    """The run state of one pipeline (live lane)."""

    def __init__(self, spec: PipelineSpec, version: int, code_digest: str, start_seq: int) -> None:
        self.spec = spec
        self.version = version
        self.code_digest = code_digest
        self.start_seq = start_seq
        self.iterations: dict[int, Iteration] = {}  # not terminal, or terminal but not yet durably so; ascending
        self.last_iteration = 0
        self.last_committed = 0
        self.committed = 0
        self.paused = False
        self.draining = False
        self.removed = False
        self.manual = False  # whatever its trigger, it plans only within runs (``odibictl run``)
        self.dead_letters = 0  # iterations given up, and files set aside
        self.ledger: dict[str, None] = {}  # source nodes with planned positions
        self.schemas: dict[str, bytes] = {}
        self.run: RunInfo | None = None
        self.problem = ""
        self.ended_runs: dict[str, tuple[str, int]] = {}  # run -> (state, number of its RUN_END)
        self.rewind: Rewinding | None = None
        self.rewind_seq = 0  # record that began it: nothing is taken back before it is durable
        self.letters: dict[int, int] = {}  # dead letter -> iteration that took it up in this epoch; 0: discarded
        self.kept: dict[int, None] = {}  # dead-lettered iterations: their batches stay
        self.states: dict[str, dict[int, BatchRef]] = {}  # stateful node -> committed iteration -> state; ascending
        self.unkept: dict[int, int] = {}  # iteration whose states are not kept any more -> the COMMIT that said so
        self.sources: dict[str, SourceState] = {}
        self.bind_sources()

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.spec.name

    def bind_sources(self) -> None:
        """Make ``sources`` match the spec's read nodes, keeping what is known of those that stay."""
        former = self.sources
        self.sources = {}
        for node in self.spec.nodes:
            if node.read is None:
                continue
            state = former.get(node.name) or SourceState(node, self.start_seq)
            state.node = node
            self.sources[node.name] = state

    def unfinished(self) -> Iterator[Iteration]:
        """Iterations that are not terminal, ascending."""
        return (i for i in self.iterations.values() if not i.terminal)

    def stuck(self) -> Iteration | None:
        """The first iteration that waits for an operator."""
        return next((i for i in self.iterations.values() if i.state in ("failed", "blocked")), None)

    @property
    def in_flight(self) -> int:
        """Iterations that are not terminal."""
        return sum(1 for _ in self.unfinished())

    @property
    def offered(self) -> int:
        """Positions of consuming sources that wait to be planned."""
        return sum(len(s.pending) for s in self.sources.values() if not s.batch)

    def learn(self, iteration: Iteration, node: str, rows: int) -> None:
        """A read node has read its positions: remember how many rows its bytes hold."""
        size = sum(p.size for p in iteration.positions.get(node, []))
        if node in self.sources and size:
            self.sources[node].density = rows / size

    @property
    def on_demand(self) -> bool:
        """Iterations are planned only within runs."""
        return self.manual or self.spec.trigger != "data"

    @property
    def state(self) -> str:
        """The word shown in every view."""
        if self.removed:
            return "removed"
        states = {i.state: None for i in self.iterations.values()}
        for bad in ("blocked", "failed"):
            if bad in states:
                return bad
        if self.rewind is not None:
            return "rewinding"
        if self.draining:
            return "draining" if self.in_flight else "drained"
        return "paused" if self.paused else "active"

    @property
    def idle(self) -> bool:
        """Every source was heard, nothing is offered and nothing is unfinished."""
        heard = all(s.heard for s in self.sources.values()) or self.on_demand
        return heard and not self.offered and not self.in_flight and self.run is None

    def remember_run(self, run: str, state: str, seq: int) -> None:
        """Keep how the newest runs ended, for those who wait for one."""
        self.ended_runs[run] = state, seq
        while len(self.ended_runs) > RUNS_REMEMBERED:
            del self.ended_runs[next(iter(self.ended_runs))]

    def earlier(self, iteration: Iteration) -> Iterator[Iteration]:
        """The iterations before it in its lane that are not terminal. All, not just N-1: a dead letter is terminal
        at once, and must not let those behind it overtake those before it."""
        for other in self.iterations.values():
            if other.number >= iteration.number:
                return
            if other.lane == iteration.lane and not other.terminal:
                yield other

    # --- states ---------------------------------------------------------------------------------------------------

    @property
    def stateful(self) -> bool:
        """Some node keeps state."""
        return any(node.state for node in self.spec.nodes)

    def state_giver(self, iteration: Iteration, node: str) -> Iteration | None:
        """The nearest unfinished iteration before this one whose state the node is given; None: a committed one's."""
        for other in reversed(list(self.earlier(iteration))):
            run = other.nodes.get(node)
            if node in other.states or (not other.prepared and run is not None and run.spec.state):
                return other
        return None

    def state_before(self, iteration: Iteration, node: str) -> tuple[bool, BatchRef | None]:
        """The state a node of this iteration is given: that of the nearest iteration before it that has one and was not
        given up. (False, None) while that one is not made yet."""
        giver = self.state_giver(iteration, node)
        if giver is None:
            kept = self.states.get(node)
            return True, kept[next(reversed(kept))] if kept else None
        if giver.prepared:
            return True, giver.states[node]
        ack = giver.nodes[node].ack
        return ack is not None, ack.state if ack is not None else None

    def keeps(self, number: int) -> bool:
        """A state as of this iteration is kept."""
        return any(number in kept for kept in self.states.values())

    def keep_states(self, iteration: Iteration, seq: int) -> None:
        """The iteration is committed with record ``seq``: its states are the pipeline's; the oldest beyond
        ``keep_last`` go (the store does the same with that record)."""
        for node, state in iteration.states.items():
            kept = self.states.setdefault(node, {})
            kept[iteration.number] = state
            for number in list(kept)[: max(0, len(kept) - self.spec.keep_last)]:
                del kept[number]
                self.unkept[number] = seq

    def read_may_start(self, iteration: Iteration, node: NodeSpec) -> bool:
        """A source whose schema is not pinned is read by one iteration at a time, the first that has data for it, so
        that two iterations never infer two schemas."""
        if node.name in self.schemas:
            return True
        if not iteration.positions.get(node.name):
            return False
        for other in self.unfinished():
            if other is iteration:
                return True
            if other.positions.get(node.name) and other.state != "failed":
                return False
        return True

    # --- planning -------------------------------------------------------------------------------------------------

    def waiting_for(self) -> str:
        """Why nothing is planned although it could be; "" when nothing stands in the way."""
        for source in self.sources.values():
            name = source.node.name
            if source.batch and not source.heard:
                return f"source {name}: has not reported yet"
            if source.batch and not source.pending:
                return f"source {name}: no file matches yet"
            if not source.batch and not source.pending and name not in self.schemas and self.offered:
                return f"source {name}: waiting for its first file to learn its schema"
        return ""

    def due(self, now: float) -> float | None:
        """When the next iteration may be planned: a time (past: at once), or None when there is nothing to plan."""
        if self.rewind is not None or self.paused or self.draining or self.removed:
            return None
        if self.in_flight >= self.spec.max_in_flight:
            return None
        if self.on_demand and self.run is None:
            return None
        if self.run is not None and self.run.full:
            return None
        if self.run is not None and any(s.run != self.run.run for s in self.sources.values()):
            return None
        if self.waiting_for():
            return None
        consuming = [s for s in self.sources.values() if not s.batch]
        if not consuming:
            return now if self.run is not None and self.run.planned == 0 else None
        if not any(s.pending for s in consuming):
            return None
        if sum(len(s.pending) for s in consuming) >= self.spec.batch.max_files:
            return now
        return min(s.since for s in consuming if s.pending) + self.spec.batch.linger

    def take(self) -> dict[str, list[Position]]:
        """The positions of the next iteration, removed from what is pending; batch sources are pinned as they are.

        Sources take turns, one position each, until a limit of ``batch`` is reached (rows by estimate, from the rows
        per byte of earlier files); the first is always taken, so that one larger than the limits is taken alone. A
        source whose schema is not known yet gives one in any case: without a schema there is not even an empty table
        to run on.
        """
        limits = self.spec.batch
        taken: dict[str, list[Position]] = {s.node.name: [] for s in self.sources.values()}
        consuming = [s for s in self.sources.values() if not s.batch]
        files = size = 0
        rows = 0.0
        progress = True
        while progress:
            progress = False
            for source in consuming:
                done = taken[source.node.name]
                if len(done) >= len(source.pending):
                    continue
                position = source.pending[len(done)]
                must = not done and source.node.name not in self.schemas
                more = position.size * source.density
                full = size + position.size > limits.max_bytes or rows + more > limits.max_rows
                over = files >= limits.max_files or full
                if files and over and not must:
                    continue
                done.append(position)
                files, size, rows, progress = files + 1, size + position.size, rows + more, True
        for source in self.sources.values():
            if source.batch:
                taken[source.node.name] = list(source.pending)
            else:
                del source.pending[: len(taken[source.node.name])]
        return taken

    def plan(self, positions: dict[str, list[Position]], now: float, replay: Replay | None = None) -> Plan:
        """The PLAN record of the next iteration."""
        self.last_iteration += 1
        return Plan(
            pipeline=self.name,
            lane=LIVE,
            iteration=self.last_iteration,
            version=self.version,
            positions=positions,
            ledgered=[s.node.name for s in self.sources.values() if not s.batch],
            at=now,
            run=self.run.run if self.run is not None and replay is None else "",
            replay=replay,
        )

    def add(self, plan: Plan, order: int) -> Iteration:
        """Take a planned iteration into memory."""
        iteration = Iteration(
            self.spec,
            plan.iteration,
            lane=plan.lane,
            version=self.version,
            code_digest=self.code_digest,
            positions=dict(plan.positions),  # REVISE changes the iteration's, never the record's
            run=plan.run,
            order=order,
            replay=plan.replay,
            state_before=self.state_before,
        )
        self.iterations[plan.iteration] = iteration
        for name in plan.ledgered:
            if plan.positions.get(name):
                self.ledger[name] = None
        return iteration
