"""What must hold: a shadow of the log and of the sinks, with the invariants checked after every step.

The shadow is built from the records the store applied, not from what any actor believes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from odibi_actors.checkpoint import records as rec
from odibi_actors.model import LIVE, BatchRef
from odibi_actors.sim.alerts import Alerts
from odibi_actors.sim.backfills import Backfills
from odibi_actors.sim.dues import Dues
from odibi_actors.sim.eras import Policies
from odibi_actors.sim.log import records
from odibi_actors.sim.pins import Pins
from odibi_actors.sim.places import Entry, Place, Places
from odibi_actors.sim.planned import TERMINAL, Planned
from odibi_actors.sim.runs import Runs
from odibi_actors.sim.verdict import Violation, check
from odibi_actors.sim.versions import Versions

__all__ = ["TERMINAL", "Planned", "Truth", "Violation", "check", "story"]

MOVING = (rec.Revise, rec.DeadLetter, rec.Cancel, rec.Rewound, rec.Discard)
"""Records after which files are elsewhere; where every plan puts them the ledger's key says."""


def story(record: rec.AnyRecord) -> str:
    """A record in one line; what it is about as ``pipeline/iteration``."""
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    about = str(fields.pop("pipeline", ""))
    if "iteration" in fields:
        about += f"/{fields.pop('iteration')}"
    shown = (
        *("node", "attempt", "nodes", "used", "replay", "iterations", "to", "last", "letter", "abandoned"),
        *("run", "lane", "schedule", "name", "id", "place", "reason", "count", "state", "kind", "text", "value"),
    )
    rest = " ".join(f"{name}={fields[name]}" for name in shown if fields.get(name))
    return f"log: {type(record).__name__.upper()} {about} {rest}".rstrip()


class Truth:
    """The log's shadow. ``apply`` is called with every batch of records the store has made durable."""

    def __init__(self, dues: Dues) -> None:
        self.dues = dues
        self.commits: dict[str, int] = {}  # pipeline -> how many there were, taken back since or not
        dues.commits = self.commits
        self.epoch = 0
        self.last_seq = 0
        self.promised = 0
        self.iterations: dict[tuple[str, int], Planned] = {}
        self.runs = Runs()
        self.dead: dict[tuple[str, str, str], None] = {}
        self.letters_gone = 0  # files that lay in letters when their pipeline was taken back to before these
        self.transitions: dict[str, int] = {}
        # (pipeline, node) -> committed iteration -> its state, and what that must hold; ascending
        self.states: dict[tuple[str, str], dict[int, tuple[BatchRef, list[int]]]] = {}
        self.backfills = Backfills(self._planned_by)
        self.alerts = Alerts(dues)
        self.places = Places()
        self.pins = Pins()
        self.paused: dict[tuple[str, str], None] = {}  # sources, by pipeline
        self.policies = Policies()
        self.versions = Versions()
        self.backfills.pattern_of = self.versions.pattern_of
        self.stateless: dict[
            tuple[str, str], list[int]
        ] = {}  # (pipeline, node) -> commits since its state that have none
        self.newest_commit: dict[str, Planned] = {}  # since the last rewind
        self.passed_over: dict[tuple[str, int], None] = {}  # numbers that are no iteration's: see ADOPT, ``forget``
        self.rewinds: dict[str, rec.Rewind] = {}
        self.rewound: dict[str, None] = {}  # requests that were followed
        self.applied: list[Callable[[], None]] = []  # who is to know that records were
        self.visible: Callable[[str], list[int]] = lambda _pipeline: []
        self.tell: Callable[[str], None] = lambda _line: None
        self.rows_of: Callable[[Planned], list[int]] = lambda _planned: []
        self.state_of: Callable[[BatchRef], list[int] | None] = lambda _ref: None

    def taken(self, place: Place) -> bool:
        """Whether the live lane has planned the file, or it became a dead letter there."""
        return place in self.places.owners(place[0], LIVE)

    def files_of(self, pipeline: str, number: int) -> frozenset[tuple[str, str]]:
        """The (source, file) that an iteration consumes."""
        one = self.iterations[pipeline, number]
        return frozenset(
            (name, file) for name in one.plan.consumed for p in one.positions.get(name, []) for file in records(p)
        )

    def promise(self, through: int) -> None:
        """The broker was told that everything up to ``through`` is durable (I2)."""
        self.promised = max(self.promised, through)
        check(through <= self.last_seq, "I2", f"durable through {through} was told, the disk has {self.last_seq}")

    def claim(self, epoch: int) -> None:
        """An epoch was claimed."""
        check(epoch > self.epoch, "I4", f"epoch {epoch} claimed after {self.epoch}")
        self.epoch = epoch

    def apply(self, epoch: int, first: int, records: list[rec.AnyRecord]) -> None:
        """Records that are on disk now."""
        check(epoch == self.epoch, "I4", f"a record of epoch {epoch} was applied in epoch {self.epoch}")
        check(first == self.last_seq + 1, "I2", f"record {first} was applied after {self.last_seq}")
        for seq, record in enumerate(records, first):
            self.tell(story(record))
            self.policies.apply(record, self.versions.newest, self.iterations)
            self.places.apply(record)
            self.pins.apply(record, self.iterations)
            self.versions.apply(record, self.iterations)
            self._one(record, seq)
        if any(isinstance(record, MOVING) for record in records):
            self.places.compare()
            self.pins.compare()
        self.last_seq += len(records)
        for told in self.applied:
            told()

    def _note(self, state: str, event: str) -> None:
        self.transitions[f"{state}/{event}"] = self.transitions.get(f"{state}/{event}", 0) + 1

    def _move(self, iteration: Planned, event: str, allowed: tuple[str, ...], to: str) -> None:
        name = f"{iteration.plan.pipeline}/{iteration.plan.iteration}"
        check(iteration.state in allowed, "I5", f"{name}: {event} while {iteration.state}")
        self._note(iteration.state, event)
        iteration.state = to

    def _planned_by(self, pipeline: str, lane: str) -> tuple[Mapping[Place, list[Entry]], list[Planned]]:
        mine = [i for i in self.iterations.values() if (i.plan.pipeline, i.plan.lane) == (pipeline, lane)]
        return self.places.owners(pipeline, lane), mine

    def _one(self, record: rec.AnyRecord, seq: int) -> None:
        match record:
            case rec.Plan():
                self._plan(record)
            case rec.Schedule():
                self.dues.schedule(record)
            case rec.Occurrence():
                self.dues.occurrence(record)
            case rec.Skip():
                self.dues.skip(record)
            case rec.Run():
                self.dues.run(record)
                mine = [i for (p, _), i in self.iterations.items() if p == record.pipeline and i.plan.lane == LIVE]
                self.runs.begin(record, [i for i in mine if not i.terminal])
            case rec.RunEnd():
                self.dues.run_end(record)
                self.runs.end(record)
                self.alerts.ended(record)
            case rec.Backfill():
                check(record.pipeline not in self.rewinds, "I1", f"{record.lane} begins during a rewind")
                self.backfills.begin(record, self.places.owners(record.pipeline, LIVE))
            case rec.BackfillEnd():
                self.backfills.end(record, self.places.owners(record.pipeline, LIVE))
            case rec.Alert():
                self.alerts.alert(record, seq)
            case rec.Alerted():
                self.alerts.told(record)
            case rec.Version():
                self.alerts.version(record)
            case rec.Setting() if record.name.startswith(rec.PAUSED):
                self._pause(record, record.name.removeprefix(rec.PAUSED))
            case rec.Setting():
                self.dues.setting(record)
                self.alerts.setting(record)
            case rec.Ack():
                iteration = self.iterations[record.pipeline, record.iteration]
                self._open(iteration, "acknowledged")
                iteration.acks[record.node] = record
                if iteration.state == "planned":
                    self._move(iteration, "dispatch", ("planned",), "running")
            case rec.Invalidate():
                iteration = self.iterations[record.pipeline, record.iteration]
                self._open(iteration, "invalidated")
                for node in record.nodes:
                    iteration.acks.pop(node, None)
            case rec.Revise():
                self._revise(record)
            case rec.Prepare():
                self._prepare(record)
            case rec.Commit():
                iteration = self.iterations[record.pipeline, record.iteration]
                self._move(iteration, "commit", ("prepared", "blocked"), "committed")
                self.newest_commit[record.pipeline] = iteration
                self.commits[record.pipeline] = self.commits.get(record.pipeline, 0) + 1
                self._states(record, iteration)
                check(
                    sorted(record.abandoned) == sorted(iteration.abandoned),
                    "I2",
                    f"{record} forgets {iteration.abandoned}",
                )
            case rec.Fail():
                iteration = self.iterations[record.pipeline, record.iteration]
                self._move(iteration, "fail", ("planned", "running"), "failed")
                self.alerts.failed(record.pipeline, record.iteration)
            case rec.Block():
                iteration = self.iterations[record.pipeline, record.iteration]
                if iteration.state == "prepared":
                    self.alerts.failed(record.pipeline, record.iteration)
                self._move(iteration, "block", ("prepared", "blocked"), "blocked")
                iteration.blocked[record.node] = iteration.refused[record.node] = None
            case rec.Retry():
                iteration = self.iterations[record.pipeline, record.iteration]
                to = "prepared" if iteration.state == "blocked" else "running"
                self._move(iteration, "retry", ("failed", "blocked"), to)
                iteration.blocked.clear()
                self._retried(iteration)
                self.alerts.retried(record.pipeline, record.iteration)
            case rec.DeadLetter():
                iteration = self.iterations[record.pipeline, record.iteration]
                self.runs.set_aside(record.pipeline, record.iteration)
                self.alerts.failed(record.pipeline, record.iteration, "dead_letter")
                self._move(iteration, "dead_letter", ("planned", "running", "failed"), "dead_lettered")
            case rec.Cancel():
                for number in record.iterations:
                    iteration = self.iterations[record.pipeline, number]
                    self._move(iteration, "cancel", ("planned", "running", "failed"), "cancelled")
                    iteration.again = record.reason.startswith(rec.PLANNED_AGAIN)
                    replay = iteration.plan.replay
                    opened = replay is not None and replay.letter in self.places.open(record.pipeline)
                    self.runs.cancelled(iteration, record.reason, opened)
                    if iteration.plan.lane != LIVE:
                        self._retried(iteration)
            case rec.Abandon():
                iteration = self.iterations[record.pipeline, record.iteration]
                check(iteration.state == "blocked", "I5", f"{record} while {iteration.state}")
                iteration.abandoned[record.node] = None
                iteration.blocked.pop(record.node, None)
                if not iteration.blocked:
                    self._move(iteration, "abandon", ("blocked",), "prepared")
                    self._retried(iteration)
            case rec.Adopt():
                if record.pipeline != record.from_pipeline:
                    for number in range(self._newest(record.pipeline) + 1, record.through + 1):
                        self.passed_over[record.pipeline, number] = None
            case rec.Rewind():
                unfinished = [n for (p, n), i in self.iterations.items() if p == record.pipeline and not i.terminal]
                check(not unfinished, "I1", f"{record.pipeline} is rewound while {unfinished} are unfinished")
                check(not self.backfills.open(record.pipeline), "I1", f"{record.pipeline} is rewound amid a backfill")
                check(record.pipeline not in self.rewinds, "I1", f"{record.pipeline} is rewound twice at once")
                self.rewinds[record.pipeline] = record
                self.letters_gone += sum(number > record.to for number in self.places.set_aside(record.pipeline))
                twice = record.request in self.rewound
                check(not twice, "I1", f"{record.pipeline} is rewound twice for one request: {record}")
                self.rewound[record.request or f"{record.pipeline} from {record.last}"] = None
            case rec.Rewound():
                self._rewound(record)

    def _retried(self, iteration: Planned) -> None:
        """Failed runs that answer for it are active again."""
        for run in self.runs.of(iteration.plan.pipeline, iteration.plan.iteration):
            self.dues.retried(iteration.plan.pipeline, run)

    def _rewound(self, record: rec.Rewound) -> None:
        begun = self.rewinds.pop(record.pipeline, None)
        self.newest_commit.pop(record.pipeline, None)
        check(begun is not None, "I1", f"{record.pipeline} was rewound without REWIND")
        assert begun is not None
        check((begun.to, begun.last) == (record.to, record.last), "I1", f"{record} ends {begun}")
        left = [n for n in self.visible(record.pipeline) if record.to < n <= record.last]
        check(not left, "I3", f"{record.pipeline}: parts of {left} are visible after the rewind to {record.to}")
        for (pipeline, number), iteration in self.iterations.items():
            within = pipeline == record.pipeline and record.to < number <= record.last
            if within and iteration.state not in ("cancelled", "rewound"):
                self._move(iteration, "rewind", ("committed", "dead_lettered"), "rewound")
        for (pipeline, node), states in self.states.items():
            for number in [n for n in states if pipeline == record.pipeline and n > record.to]:
                del states[number]
            missing = self.stateless.get((pipeline, node), [])
            missing[:] = [n for n in missing if states and (pipeline != record.pipeline or n <= record.to)]

    def forget(self, pipeline: str) -> None:
        """All that it has done; numbers go on from where they were."""
        for key in [key for key in self.iterations if key[0] == pipeline]:
            del self.iterations[key]
            self.passed_over[key] = None
        self.states = {key: some for key, some in self.states.items() if key[0] != pipeline}
        self.stateless = {key: some for key, some in self.stateless.items() if key[0] != pipeline}
        self.newest_commit.pop(pipeline, None)
        self.rewinds.pop(pipeline, None)
        for part in (self.places, self.pins, self.backfills, self.runs, self.dues):
            part.forget(pipeline)
        self.places.compare()
        self.pins.compare()

    def retracted(self, pipeline: str, after: int, last: int) -> None:
        """Parts are taken back: only for a REWIND that is durable, or was (a late attempt of it)."""
        record = self.rewinds.get(pipeline)
        if record is not None and (record.to, record.last) == (after, last):
            return
        live = [n for (p, n), i in self.iterations.items() if p == pipeline and after < n <= last and i.live]
        check(not live, "I4", f"{pipeline}: parts of {live} are taken back, and nobody rewinds to {after}")

    def _open(self, iteration: Planned, what: str) -> None:
        name = f"{iteration.plan.pipeline}/{iteration.plan.iteration}"
        check(
            iteration.state in ("planned", "running", "failed"),
            "I1",
            f"{name}: a node was {what} when {iteration.state}",
        )

    def _plan(self, plan: rec.Plan) -> None:
        key = (plan.pipeline, plan.iteration)
        check(key not in self.iterations, "I1", f"{key} planned twice")
        newest = self._newest(plan.pipeline)
        check(plan.iteration == newest + 1, "I1", f"{key} planned after {newest}")
        self.iterations[key] = Planned(plan)
        check(plan.pipeline not in self.rewinds, "I1", f"{key} planned during a rewind")
        if plan.lane == LIVE and plan.replay is None:
            held = [one for one in plan.consumed if (plan.pipeline, one) in self.paused and plan.positions.get(one)]
            check(not held, "I5", f"{key} is planned with positions of {held}, which are paused")
        if plan.lane != LIVE:
            check(self.backfills.is_open(plan.pipeline, plan.lane), "I1", f"{key} planned in {plan.lane}, not open")
            self.backfills.planned(plan)
        if plan.run:
            seen = self.dues.runs.get(plan.run)
            active = seen is not None and seen.state == "active"
            check(active, "I5", f"{key} planned for run {plan.run}, which is not active")
        self.runs.plan(self.iterations[key])

    def _pause(self, record: rec.Setting, source: str) -> None:
        self.paused.pop((record.scope, source), None)
        if record.value:
            self.paused[record.scope, source] = None

    def _newest(self, pipeline: str) -> int:
        """The newest number that is used, or passed over."""
        return max((n for p, n in (*self.iterations, *self.passed_over) if p == pipeline), default=0)

    def _revise(self, record: rec.Revise) -> None:
        iteration = self.iterations[record.pipeline, record.iteration]
        self._open(iteration, "revised")
        left = [p for p in iteration.positions[record.node] if p.identity not in record.identities]
        iteration.positions[record.node] = left
        iteration.acks.pop(record.node, None)
        self.runs.set_aside(record.pipeline, record.iteration, len(record.identities))
        for identity in record.identities:
            self.dead[record.pipeline, record.node, identity] = None

    def _prepare(self, record: rec.Prepare) -> None:
        iteration = self.iterations[record.pipeline, record.iteration]
        self._move(iteration, "prepare", ("planned", "running"), "prepared")
        iteration.sinks, iteration.states = record.sinks, record.states
        for (pipeline, number), other in self.iterations.items():
            same = pipeline == record.pipeline and other.plan.lane == iteration.plan.lane
            if same and number < record.iteration:
                check(
                    other.state in (*TERMINAL, "prepared", "blocked"),
                    "I1",
                    f"{pipeline}/{record.iteration} prepared while {number} is {other.state}",
                )
        for node, part in record.sinks.items():
            ack = iteration.acks.get(node)
            check(
                ack is not None and ack.staged == part,
                "I1",
                f"{record.pipeline}/{record.iteration}: sink {node} prepared with a part that is not its ack's",
            )

    def _states(self, record: rec.Commit, iteration: Planned) -> None:
        """A state is the serial application, in order, of the committed plans (I1), and there to stay (I2). One that
        was taken off and put back lacks nothing that was committed meanwhile."""
        for (pipeline, node), states in self.states.items():
            if pipeline == record.pipeline and states and node not in iteration.states and iteration.plan.lane == LIVE:
                self.stateless.setdefault((pipeline, node), []).append(record.iteration)
        for node, ref in iteration.states.items():
            states = self.states.setdefault((record.pipeline, node), {})
            former = next(reversed(states), 0)
            name = f"{record.pipeline}/{record.iteration}: state of {node}"
            check(former < record.iteration, "I1", f"{name} follows that of {former}")
            missing = self.stateless.get((record.pipeline, node), [])
            check(not missing, "I1", f"{name} goes on from {former}, and has not seen {missing}")
            expected = (states[former][1] if former else []) + self.rows_of(iteration)
            found = self.state_of(ref)
            check(found is not None, "I2", f"{name} is lost when it is committed")
            check(found == expected, "I1", f"{name} has {len(found or [])} rows, not those {len(expected)} in order")
            states[record.iteration] = (ref, expected)

    def check_states(self) -> None:
        """Every newest state is still there."""
        for (pipeline, node), states in self.states.items():
            for iteration in list(states)[-1:]:
                ref, expected = states[iteration]
                check(self.state_of(ref) == expected, "I2", f"{pipeline}/{iteration}: state of {node} is gone")

    def published(self, pipeline: str, number: int, node: str, digest: str) -> None:
        """A part becomes visible: only a durably prepared one may, with the prepared bytes (I3, I4)."""
        self.tell(f"disk: {pipeline}/{number} is published to {node}")
        iteration = self.iterations.get((pipeline, number))
        name = f"{pipeline}/{number}/{node}"
        check(iteration is not None, "I3", f"{name} is published without a plan")
        assert iteration is not None
        part = iteration.sinks.get(node)
        check(part is not None, "I3", f"{name} is published before PREPARE is durable")
        assert part is not None
        check(part.digest == digest, "I4", f"{name} is published with other bytes than prepared")
