"""The records' meaning in plain Python, as their docstrings tell it: what the engine is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from odibi_actors.checkpoint import records as r
from odibi_actors.model import TERMINAL, UNPREPARED, Failure, IterationState, Position, RunState, StagedRef, next_state


class Bad(Exception):
    """The record contradicts what is there."""


@dataclass
class Iteration:
    plan: r.Plan
    state: IterationState = "planned"
    sinks: dict[str, StagedRef] = field(default_factory=dict)
    blocked: dict[str, None] = field(default_factory=dict)
    acks: dict[str, r.Ack] = field(default_factory=dict)
    errors: dict[str, r.Error] = field(default_factory=dict)
    blocked: dict[str, None] = field(default_factory=dict)


@dataclass
class Counter:
    last: int = 0
    last_committed: int = 0
    committed: int = 0


class Reference:
    def __init__(self) -> None:
        self.versions: dict[str, r.Version] = {}
        self.schemas: dict[tuple[str, str], r.Schema] = {}
        self.settings: dict[tuple[str, str], r.Setting] = {}
        self.runs: dict[str, tuple[r.Run, RunState | None, int]] = {}
        self.counters: dict[str, Counter] = {}
        self.iterations: dict[tuple[str, int], Iteration] = {}
        self.ledger: dict[tuple[str, str, str, str, int], int] = {}
        self.letters: list[tuple[str, int, str, bool]] = []
        self.failures: dict[tuple[str, int], Failure] = {}

    def apply(self, record: r.AnyRecord) -> None:
        getattr(self, type(record).__name__.lower())(record)

    def at(self, record: r.AnyRecord) -> Iteration:
        try:
            return self.iterations[record.pipeline, record.iteration]  # type: ignore[union-attr]
        except KeyError:
            raise Bad from None

    def move(self, iteration: Iteration, event: str) -> None:
        try:
            iteration.state = next_state(iteration.state, event)
        except ValueError:
            raise Bad from None

    def version(self, record: r.Version) -> None:
        if record.pipeline in self.versions and record.version <= self.versions[record.pipeline].version:
            raise Bad
        self.versions[record.pipeline] = record
        self.counters.setdefault(record.pipeline, Counter())
        for (pipeline, _), iteration in self.iterations.items():
            if pipeline == record.pipeline and iteration.state in UNPREPARED:
                iteration.plan = msgspec.structs.replace(iteration.plan, version=record.version)

    def schema(self, record: r.Schema) -> None:
        self.schemas[record.pipeline, record.node] = record

    def run(self, record: r.Run) -> None:
        if record.run in self.runs:
            raise Bad
        self.runs[record.run] = (record, None, 0)

    def runend(self, record: r.RunEnd) -> None:
        run, state, planned = self.runs.get(record.run, (None, "done", 0))
        if run is None or state is not None:
            raise Bad
        self.runs[record.run] = (run, record.state, planned)

    def setting(self, record: r.Setting) -> None:
        self.settings.pop((record.scope, record.name), None)
        if record.value:
            self.settings[record.scope, record.name] = record

    def plan(self, record: r.Plan) -> None:
        if record.iteration <= self.counters.get(record.pipeline, Counter()).last:
            raise Bad
        keys = [
            (record.pipeline, record.lane, source, p.identity, p.generation)
            for source in record.ledgered
            for p in record.positions.get(source, [])
        ]
        if len(set(keys)) < len(keys) or any(key in self.ledger for key in keys):
            raise Bad
        self.ledger.update(dict.fromkeys(keys, record.iteration))
        self.counters.setdefault(record.pipeline, Counter()).last = record.iteration
        self.iterations[record.pipeline, record.iteration] = Iteration(record)
        if record.run in self.runs:
            run, state, planned = self.runs[record.run]
            self.runs[record.run] = (run, state, planned + 1)

    def ack(self, record: r.Ack) -> None:
        iteration = self.at(record)
        if iteration.state not in UNPREPARED:
            raise Bad
        if iteration.state == "planned":
            iteration.state = "running"
        iteration.acks[record.node] = record
        iteration.errors.pop(record.node, None)

    def error(self, record: r.Error) -> None:
        iteration = self.at(record)
        if iteration.state in TERMINAL:
            raise Bad
        if iteration.state == "planned":
            iteration.state = "running"
        iteration.errors[record.node] = record

    def invalidate(self, record: r.Invalidate) -> None:
        iteration = self.at(record)
        if iteration.state not in UNPREPARED:
            raise Bad
        for node in record.nodes:
            iteration.acks.pop(node, None)

    def revise(self, record: r.Revise) -> None:
        iteration = self.at(record)
        before = iteration.plan.positions.get(record.node, [])
        if iteration.state not in UNPREPARED or not {p.identity for p in before} >= set(record.identities):
            raise Bad
        left: list[Position] = [p for p in before if p.identity not in record.identities]
        positions = {**iteration.plan.positions, record.node: left}
        iteration.plan = msgspec.structs.replace(iteration.plan, positions=positions)
        for p in before:
            if p.identity in record.identities:
                self.letters.append((record.pipeline, record.iteration, p.identity, True))

    def fail(self, record: r.Fail) -> None:
        self.move(self.at(record), "fail")

    def retry(self, record: r.Retry) -> None:
        self.move(self.at(record), "retry")
        self.at(record).blocked.clear()
        self.at(record).errors.clear()
        self.at(record).blocked.clear()

    def prepare(self, record: r.Prepare) -> None:
        self.move(self.at(record), "prepare")
        self.at(record).sinks = record.sinks

    def block(self, record: r.Block) -> None:
        if self.at(record).state != "blocked":
            self.move(self.at(record), "block")
        self.at(record).blocked[record.node] = None

    def commit(self, record: r.Commit) -> None:
        self.move(self.at(record), "commit")
        counter = self.counters[record.pipeline]
        counter.committed += 1
        counter.last_committed = max(counter.last_committed, record.iteration)

    def deadletter(self, record: r.DeadLetter) -> None:
        self.move(self.at(record), "dead_letter")
        self.letters.append((record.pipeline, record.iteration, record.failure.position, False))

    def cancel(self, record: r.Cancel) -> None:
        if len(set(record.iterations)) < len(record.iterations):
            raise Bad
        found = [self.iterations.get((record.pipeline, number)) for number in record.iterations]
        if any(one is None or one.state not in UNPREPARED for one in found):
            raise Bad
        for one in found:
            assert one is not None
            one.state = "cancelled"
            for source in one.plan.ledgered:
                for p in one.plan.positions.get(source, []):
                    del self.ledger[record.pipeline, one.plan.lane, source, p.identity, p.generation]

    def snapshot(self) -> list[r.AnyLoaded]:
        items: list[r.AnyLoaded] = [r.LoadedVersion(v) for _, v in sorted(self.versions.items())]
        items += [r.LoadedSchema(s) for _, s in sorted(self.schemas.items(), key=lambda kv: kv[0])]
        items += [r.LoadedSetting(s) for _, s in sorted(self.settings.items(), key=lambda kv: kv[0])]
        items += [r.LoadedRun(run, planned) for _, (run, state, planned) in sorted(self.runs.items()) if state is None]
        for name, counter in sorted(self.counters.items()):
            sources = sorted({key[2] for key in self.ledger if key[0] == name})
            kept = sorted({n for p, n, _, revised in self.letters if p == name and not revised})
            letters = len(kept) + sum(p == name and bool(revised) for p, _, _, revised in self.letters)
            numbers = (counter.last, counter.last_committed, counter.committed)
            items.append(r.LoadedCounter(name, *numbers, sources, kept, letters))
        for _, one in sorted(self.iterations.items(), key=lambda kv: kv[0]):
            if one.state in TERMINAL:
                continue
            items.append(r.LoadedIteration(one.plan, one.state, one.sinks, blocked=list(one.blocked)))
            items += [r.LoadedAck(a) for _, a in sorted(one.acks.items())]
            items += [r.LoadedError(e) for _, e in sorted(one.errors.items())]
        return items
