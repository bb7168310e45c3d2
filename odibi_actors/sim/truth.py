"""What must hold: a shadow of the log and of the sinks, with the invariants checked after every step.

The shadow is built from the records the store applied, not from what any actor believes.
"""

from __future__ import annotations

from collections.abc import Callable

from odibi_actors.checkpoint import records as rec
from odibi_actors.model import BatchRef, Position, StagedRef

TERMINAL = ("committed", "dead_lettered", "cancelled")


class Violation(AssertionError):
    """An invariant does not hold."""


def check(holds: bool, invariant: str, what: str) -> None:
    """Raise Violation unless ``holds``."""
    if not holds:
        raise Violation(f"{invariant}: {what}")


class Planned:
    """An iteration as the log tells it."""

    def __init__(self, plan: rec.Plan) -> None:
        self.plan = plan
        self.positions: dict[str, list[Position]] = dict(plan.positions)
        self.state = "planned"
        self.acks: dict[str, rec.Ack] = {}
        self.sinks: dict[str, StagedRef] = {}
        self.states: dict[str, BatchRef] = {}


class Truth:
    """The log's shadow. ``apply`` is called with every batch of records the store has made durable."""

    def __init__(self) -> None:
        self.epoch = 0
        self.last_seq = 0
        self.promised = 0
        self.iterations: dict[tuple[str, int], Planned] = {}
        self.owner: dict[tuple[str, str, str], int] = {}  # (pipeline, source, identity) -> iteration
        self.dead: dict[tuple[str, str, str], None] = {}
        self.transitions: dict[str, int] = {}
        self.states: dict[tuple[str, str], tuple[int, BatchRef]] = {}  # (pipeline, node) -> newest committed
        self.totals: dict[tuple[str, str], list[int]] = {}  # what that state must hold
        self.rows_of: Callable[[Planned], list[int]] = lambda _planned: []
        self.state_of: Callable[[BatchRef], list[int] | None] = lambda _ref: None

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
        for record in records:
            self._one(record)
        self.last_seq += len(records)

    def _note(self, state: str, event: str) -> None:
        self.transitions[f"{state}/{event}"] = self.transitions.get(f"{state}/{event}", 0) + 1

    def _move(self, iteration: Planned, event: str, allowed: tuple[str, ...], to: str) -> None:
        name = f"{iteration.plan.pipeline}/{iteration.plan.iteration}"
        check(iteration.state in allowed, "I5", f"{name}: {event} while {iteration.state}")
        self._note(iteration.state, event)
        iteration.state = to

    def _one(self, record: rec.AnyRecord) -> None:
        match record:
            case rec.Plan():
                self._plan(record)
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
                self._states(record, iteration)
            case rec.Fail():
                iteration = self.iterations[record.pipeline, record.iteration]
                self._move(iteration, "fail", ("planned", "running"), "failed")
            case rec.Block():
                iteration = self.iterations[record.pipeline, record.iteration]
                self._move(iteration, "block", ("prepared", "blocked"), "blocked")
            case rec.Retry():
                iteration = self.iterations[record.pipeline, record.iteration]
                to = "prepared" if iteration.state == "blocked" else "running"
                self._move(iteration, "retry", ("failed", "blocked"), to)
            case rec.DeadLetter():
                iteration = self.iterations[record.pipeline, record.iteration]
                self._move(iteration, "dead_letter", ("planned", "running", "failed"), "dead_lettered")
            case rec.Cancel():
                for number in record.iterations:
                    iteration = self.iterations[record.pipeline, number]
                    self._move(iteration, "cancel", ("planned", "running", "failed"), "cancelled")
                    for source, positions in iteration.positions.items():
                        for position in positions:
                            self.owner.pop((record.pipeline, source, position.identity), None)

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
        newest = max((n for p, n in self.iterations if p == plan.pipeline), default=0)
        check(plan.iteration == newest + 1, "I1", f"{key} planned after {newest}")
        self.iterations[key] = Planned(plan)
        for source in plan.ledgered:
            for position in plan.positions.get(source, []):
                place = (plan.pipeline, source, position.identity)
                check(place not in self.owner, "I1", f"{place} planned in {self.owner.get(place)} and {plan.iteration}")
                self.owner[place] = plan.iteration

    def _revise(self, record: rec.Revise) -> None:
        iteration = self.iterations[record.pipeline, record.iteration]
        self._open(iteration, "revised")
        left = [p for p in iteration.positions[record.node] if p.identity not in record.identities]
        iteration.positions[record.node] = left
        iteration.acks.pop(record.node, None)
        for identity in record.identities:
            self.dead[record.pipeline, record.node, identity] = None

    def _prepare(self, record: rec.Prepare) -> None:
        iteration = self.iterations[record.pipeline, record.iteration]
        self._move(iteration, "prepare", ("planned", "running"), "prepared")
        iteration.sinks, iteration.states = record.sinks, record.states
        for (pipeline, number), other in self.iterations.items():
            if pipeline == record.pipeline and number < record.iteration:
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
        """A state is the serial application, in order, of the committed plans (I1), and there to stay (I2)."""
        for node, ref in iteration.states.items():
            key = (record.pipeline, node)
            former, _ = self.states.get(key, (0, ref))
            name = f"{record.pipeline}/{record.iteration}: state of {node}"
            check(former < record.iteration, "I1", f"{name} follows that of {former}")
            expected = self.totals.get(key, []) + self.rows_of(iteration)
            found = self.state_of(ref)
            check(found is not None, "I2", f"{name} is lost when it is committed")
            check(found == expected, "I1", f"{name} has {len(found or [])} rows, not those {len(expected)} in order")
            self.states[key], self.totals[key] = (record.iteration, ref), expected

    def check_states(self) -> None:
        """Every newest state is still there."""
        for (pipeline, node), (iteration, ref) in self.states.items():
            what = f"{pipeline}/{iteration}: state of {node} is gone"
            check(self.state_of(ref) == self.totals[pipeline, node], "I2", what)

    def published(self, pipeline: str, number: int, node: str, digest: str) -> None:
        """A part becomes visible: only a durably prepared one may, with the prepared bytes (I3, I4)."""
        iteration = self.iterations.get((pipeline, number))
        name = f"{pipeline}/{number}/{node}"
        check(iteration is not None, "I3", f"{name} is published without a plan")
        assert iteration is not None
        part = iteration.sinks.get(node)
        check(part is not None, "I3", f"{name} is published before PREPARE is durable")
        assert part is not None
        check(part.digest == digest, "I4", f"{name} is published with other bytes than prepared")
