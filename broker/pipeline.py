"""One pipeline: its version, its lanes, its iterations in flight, and the next plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from odibi_actors.broker.iteration import Iteration
from odibi_actors.broker.lane import Backfilling, Lane, RunInfo, SourceState
from odibi_actors.broker.pinned import Pins
from odibi_actors.checkpoint.records import Plan, Replay, Rewind
from odibi_actors.config.model import NodeSpec, PipelineSpec
from odibi_actors.model import LIVE, Attempt, BatchRef, Position, Range, Target, Trigger
from odibi_actors.runtime.visible import named

RUNS_REMEMBERED = 100
"""Ended runs whose result is kept for ``run.wait``; older ones are in the store."""


class Ended(NamedTuple):
    """How a run ended: ``state``, the number of its RUN_END, and why it is not done. ``info``: of one that failed, what
    it goes on with when it is active again."""

    state: str = ""
    seq: int = 0
    error: str = ""
    info: RunInfo | None = None


class Rewinding:
    """A rewind in progress: what is still to be taken back, and by which attempt. Keys are (node, target)."""

    def __init__(self, record: Rewind) -> None:
        self.record = record
        self.left: dict[tuple[str, Target], Attempt | None] = {
            (one.node, one.target): None for one in record.retractions
        }
        self.retry_at = 0.0
        self.used = 0


class Pipeline:
    """The run state of one pipeline."""

    def __init__(self, spec: PipelineSpec, version: int, code_digest: str, start_seq: int) -> None:
        self.spec = spec
        self.version = version
        self.code_digest = code_digest  # what workers have to have for its tasks
        self.start_seq = start_seq
        self.iterations: dict[int, Iteration] = {}  # not terminal, or terminal but not yet durably so; ascending
        self.last_iteration = 0
        self.last_committed = 0
        self.stands: dict[str, tuple[Target, int]] = {}  # sink -> where, and the newest that is there
        self.accounted = 0  # up to this number nothing in a target is unknown: see checkpoint/snapshot.py
        self.committed = 0
        self.commits = 0  # all there ever were, taken back since or not
        self.newest_commit = 0  # the iteration of the last one, which need not be the highest: lanes do not wait
        self.paused = False
        self.draining = False
        self.removed = False
        self.resetting = False  # a reset of it was interrupted: what it has published may not be deleted yet
        self.forgotten = False  # it was reset since it was removed: nobody lists it
        self.at_rest = False
        """Looked at while nothing runs: there are no sources that could report."""
        self.manual = False  # whatever its trigger, it plans only within runs (``odibictl run``)
        self.dead_letters = 0  # iterations given up, and files set aside
        self.ledger: dict[str, None] = {}  # source nodes with planned positions
        self.pins = Pins()
        self.problem = ""
        self.failing = False  # somebody was to be told of a failure, and nobody yet that it is over
        self.ended_runs: dict[str, Ended] = {}  # newest last
        self.rewind: Rewinding | None = None
        self.compacted: dict[str, int] = {}  # sink -> iteration up to which its files are joined
        self.pruned: dict[str, int] = {}  # source -> iteration up to which what it read may be deleted
        self.rewound: list[str] = []  # requests of the last ones that have come to their end
        self.written = start_seq  # the newest record about it
        self.rewind_seq = (
            0  # record that began it, or ended it: nothing is taken back, or deleted, before it is durable
        )
        self.letters: dict[int, int] = {}  # dead letter -> iteration that took it up in this epoch; 0: discarded
        self.kept: dict[int, None] = {}  # dead-lettered iterations: their batches stay
        self.states: dict[str, dict[int, BatchRef]] = {}  # stateful node -> committed iteration -> state; ascending
        self.gone_on: dict[int, int] = {}  # iteration that had failed -> version with which it went on, in this epoch
        self.at_fault: dict[int, str] = {}  # those of them that had failed of a file -> its source
        self.unkept: dict[int, int] = {}  # iteration whose states are not kept any more -> the COMMIT that said so
        self.live = Lane(LIVE, start_seq)
        self.backfills: dict[str, Backfilling] = {}
        self.bind_sources()

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.spec.name

    @property
    def sources(self) -> dict[str, SourceState]:
        """The sources of the live lane."""
        return self.live.sources

    @property
    def run(self) -> RunInfo | None:
        """The run of the live lane that plans now."""
        return self.live.run

    def bind_sources(self) -> None:
        """Make the lanes' sources match the spec's read nodes, keeping what is known of those that stay."""
        self.live.bind(self.spec.nodes)
        for backfill in self.backfills.values():
            backfill.bind(self.spec.nodes)

    @property
    def lanes(self) -> list[Lane]:
        """The live lane first."""
        return [self.live, *(backfill.lane for backfill in self.backfills.values())]

    def lane(self, name: str) -> Lane | None:
        """The lane of that name."""
        if name == LIVE:
            return self.live
        backfill = self.backfills.get(name)
        return backfill.lane if backfill is not None else None

    def unfinished(self, lane: str = "") -> Iterator[Iteration]:
        """Iterations that are not terminal, of one lane or all, ascending."""
        return (i for i in self.iterations.values() if not i.terminal and lane in ("", i.lane))

    def settled(self, durable: int) -> int:
        """The newest iteration up to which all are terminal for good, in every lane: one whose end is not durable yet
        may run again after a crash, and wants what it has staged."""
        for iteration in self.iterations.values():
            if not iteration.terminal or iteration.state_seq > durable:
                return iteration.number - 1
        return self.last_iteration

    def coming(self, node: str, target: Target) -> list[tuple[int, str]]:
        """(iteration, digest) of the parts that a sink may have in this target, and that are not committed. One that is
        staged counts before it is prepared: it may have been published already, where an older store was put back.
        Those of other tables of its database count as well: marks do not say in which table it was."""
        parts = ((i.number, i.part(node)) for i in self.unfinished())
        beside = replace(target, locator="") if target.connection else target
        found = ((number, part) for number, part in parts if part is not None)
        return [(number, part.digest) for number, part in found if beside in (part.at, replace(part.at, locator=""))]

    def stuck(self, lane: str = LIVE) -> Iteration | None:
        """The first iteration of a lane that waits for an operator."""
        held = (i for i in self.iterations.values() if i.lane == lane and i.state in ("failed", "blocked"))
        return next(held, None)

    @property
    def in_flight(self) -> int:
        """Iterations that are not terminal."""
        return sum(1 for _ in self.unfinished())

    @property
    def offered(self) -> int:
        """Positions of consuming sources that wait to be planned in the live lane."""
        return self.live.offered

    @property
    def busy(self) -> str:
        """Why a run that an occurrence asks for would not be the only one; "" when it would."""
        stuck = self.stuck()
        if stuck is not None:
            return f"iteration {stuck.number} is {stuck.state} and holds its lane"
        return f"run {named(self.live.active[0])} in progress" if self.live.active else ""

    def learn(self, iteration: Iteration, node: str, rows: int) -> None:
        """A read node has read its positions: remember how many rows its bytes hold."""
        size = sum(max(0, p.size) for p in iteration.positions.get(node, []))
        if node in self.sources and size:
            self.sources[node].density = rows / size
        lane = self.lane(iteration.lane)
        if lane is not None and node in lane.sources and lane.sources[node].pinned:
            lane.voided, lane.not_before = 0, 0.0  # it could be read

    @property
    def off(self) -> bool:
        """Nothing is planned in it until the project, or a reset, is put in order."""
        return self.removed or self.resetting

    @property
    def on_demand(self) -> bool:
        """Iterations are planned only within runs."""
        return self.manual or self.spec.trigger != "data"

    @property
    def state(self) -> str:
        """The word shown in every view."""
        if self.resetting:
            return "resetting"
        if self.removed:
            return "removed"
        states = {i.state: None for i in self.iterations.values() if i.lane == LIVE}
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
        return heard and not self.offered and not self.in_flight and not self.live.active

    def remember_run(self, run: str, ended: Ended) -> None:
        """Keep how the newest runs ended, for those who wait for one."""
        self.ended_runs.pop(run, None)
        self.ended_runs[run] = ended
        if len(self.ended_runs) > RUNS_REMEMBERED:
            held = {run: None for i in self.unfinished() for run in (i.run, i.taken)}  # may be active again
            runs = self.ended_runs.items()
            old = next((one for one, ended in runs if ended.state != "failed" or one not in held), "")
            self.ended_runs.pop(old, None)

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
        return self.spec.stateful

    @property
    def overwriting(self) -> list[str]:
        """Sinks whose every part replaces the one before."""
        return self.spec.overwriting

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
        that two iterations never infer two schemas. One that has read it, and could tell none, holds up nobody."""
        if node.name in self.pins.sources:
            return True
        typed = node.read is not None and node.read.typed
        if not iteration.positions.get(node.name) and not typed:
            return False
        for other in self.unfinished():
            if other is iteration:
                return True
            if other.prepared or other.state == "failed" or not (other.positions.get(node.name) or typed):
                continue
            if node.name in other.nodes and other.nodes[node.name].ack is None:
                return False
        return True

    # --- planning -------------------------------------------------------------------------------------------------

    def waiting_for(self) -> str:
        """Why nothing is planned in the live lane although it could be; "" when nothing stands in the way."""
        return "" if self.at_rest else self.live.waiting_for(self.pins.sources)

    def due(self, lane: Lane, now: float) -> float | None:
        """When the next iteration of a lane may be planned: a time (past: at once), or None."""
        backfill = self.backfills.get(lane.name)
        if lane.run is None and (backfill is not None or self.on_demand):
            return None
        if self.rewind is not None or self.paused or self.draining or self.off:
            return None
        limit = backfill.record.concurrency if backfill is not None else self.spec.max_in_flight
        if sum(1 for _ in self.unfinished(lane.name)) >= limit:
            return None
        due = lane.due(now, self.spec.batch, self.pins.sources, self.on_demand or backfill is not None)
        return None if due is None else max(due, lane.not_before)

    def plan(
        self,
        lane: Lane,
        positions: dict[str, list[Position]],
        now: float,
        replay: Replay | None = None,
        trigger: Trigger | None = None,
        taken: str = "",
        ranges: dict[str, list[Range]] | None = None,
    ) -> Plan:
        """The PLAN record of the next iteration, which is of this lane. ``trigger``: of what a ``replay`` takes up;
        ``taken``: the run that has it replayed; ``ranges``: of its positions, else those that were offered."""
        self.last_iteration += 1
        run = lane.run if replay is None else None
        backfill = self.backfills.get(lane.name)
        if trigger is None:
            trigger = backfill.trigger() if backfill is not None else run.trigger if run is not None else Trigger()
        return Plan(
            pipeline=self.name,
            lane=lane.name,
            iteration=self.last_iteration,
            version=self.version,
            positions=positions,
            ledgered=[s.node.name for s in lane.consuming if not s.ordered],
            at=now,
            run=run.run if run is not None else "",
            replay=replay,
            trigger=trigger,
            taken=run.taken if run is not None else taken,
            ranges=lane.ranges(positions) if ranges is None else ranges,
        )

    def add(self, plan: Plan, order: int) -> Iteration:
        """Take a planned iteration into memory."""
        iteration = Iteration(
            self.spec,
            plan.iteration,
            lane=plan.lane,
            version=self.version,
            positions=dict(plan.positions),  # REVISE changes the iteration's, never the record's
            ranges={
                source: {p.identity: one for p, one in zip(plan.positions[source], some, strict=True)}
                for source, some in plan.ranges.items()
            },
            run=plan.run,
            taken=plan.taken,
            order=order,
            planned_at=plan.at,
            replay=plan.replay,
            trigger=plan.trigger,
            state_before=self.state_before,
            pinned=self.pins.digest,
        )
        self.iterations[plan.iteration] = iteration
        for name in plan.consumed if plan.lane == LIVE else ():
            if plan.positions.get(name):
                self.ledger[name] = None
        return iteration
