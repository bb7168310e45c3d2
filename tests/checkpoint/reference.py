"""The records' meaning in plain Python, as their docstrings tell it: what the engine is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from odibi_actors.checkpoint import records as r
from odibi_actors.model import (
    LIVE,
    TERMINAL,
    TRIGGER,
    UNPREPARED,
    Failure,
    IterationState,
    OccurrenceState,
    Place,
    Position,
    RunState,
    StagedRef,
    next_state,
)


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


@dataclass
class Counter:
    last: int = 0
    last_committed: int = 0
    committed: int = 0
    commits: int = 0
    newest: int = 0


@dataclass
class Run:
    record: r.Run
    state: RunState = "active"
    ended: float = 0.0
    error: str = ""
    planned: int = 0
    cancelled: int = 0
    took: int = 0
    voided: int = 0
    aside: int = 0
    upto: int = 0
    taken: str = ""
    unread: str = ""
    given_back: set[tuple[str, str]] = field(default_factory=set)


@dataclass
class Schedule:
    record: r.Schedule
    started: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    last: str = ""
    last_run: str = ""


@dataclass
class Occurrence:
    """``record``: None for what was skipped at once."""

    pipeline: str
    schedule: str
    id: str
    record: r.Occurrence | None = None
    state: OccurrenceState = "waiting"
    run: str = ""
    reason: str = ""
    count: int = 1


@dataclass
class Backfill:
    record: r.Backfill
    state: str = "active"
    planned: int = 0
    committed: int = 0
    positions: int = 0


class Reference:
    def __init__(self) -> None:
        self.seq = 0
        self.versions: dict[str, r.Version] = {}
        self.schemas: dict[tuple[str, str], r.Schema] = {}
        self.settings: dict[tuple[str, str], r.Setting] = {}
        self.runs: dict[str, Run] = {}  # in the order of their start
        self.schedules: dict[tuple[str, str], Schedule] = {}
        self.occurrences: list[Occurrence] = []
        self.backfills: dict[tuple[str, str], Backfill] = {}
        self.alerts: dict[int, tuple[r.Alert, r.Alerted | None]] = {}
        self.counters: dict[str, Counter] = {}
        self.iterations: dict[tuple[str, int], Iteration] = {}
        self.ledger: dict[tuple[str, str, str, str, int], int] = {}
        self.letters: list[tuple[str, int, str, bool]] = []
        self.failures: dict[tuple[str, int], Failure] = {}

    def apply(self, record: r.AnyRecord) -> None:
        getattr(self, type(record).__name__.lower())(record)
        self.seq += 1

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

    def unpin(self, record: r.Unpin) -> None:
        self.schemas.pop((record.pipeline, record.node), None)

    def release(self, pipeline: str, iterations: list[int], node: str = "") -> None:
        """A pin belongs to the iteration that told it."""
        for key, pin in list(self.schemas.items()):
            if key[0] == pipeline and pin.iteration in iterations and node in ("", pin.node):
                del self.schemas[key]
                if pin.former:
                    opened = r.Schema(pipeline, pin.node, pin.former, pin.text, target=pin.target, open=True)
                    self.schemas[key] = opened

    # --- runs and what starts them

    def schedule(self, record: r.Schedule) -> None:
        former = self.schedules.get((record.pipeline, record.name))
        if former is None:
            self.schedules[record.pipeline, record.name] = Schedule(record)
        elif record.place < former.record.place:
            raise Bad
        else:
            former.record = record

    def onward(self, pipeline: str, schedule: str, place: Place | None) -> Schedule:
        found = self.schedules.get((pipeline, schedule))
        if found is None or found.record.gone or (place is not None and place <= found.record.place):
            raise Bad
        return found

    def noted(self, pipeline: str, schedule: str, name: str) -> Occurrence | None:
        """The one of that id, unless it was skipped."""
        found = (o for o in self.occurrences if (o.pipeline, o.schedule, o.id) == (pipeline, schedule, name))
        return next((o for o in found if o.state != "skipped"), None)

    def occurrence(self, record: r.Occurrence) -> None:
        schedule = self.onward(record.pipeline, record.schedule, record.place)
        keys = [(record.pipeline, TRIGGER, record.schedule, p.identity, p.generation) for p in record.positions]
        if self.noted(record.pipeline, record.schedule, record.id) is not None or self.taken(keys):
            raise Bad
        self.ledger.update(dict.fromkeys(keys, 0))
        if keys:
            self.counters.setdefault(record.pipeline, Counter())
        self.occurrences.append(Occurrence(record.pipeline, record.schedule, record.id, record))
        place = record.place or schedule.record.place
        seen = {**schedule.record.seen, **record.seen}
        schedule.record = msgspec.structs.replace(schedule.record, place=place, seen=seen)

    def skip(self, record: r.Skip) -> None:
        if record.count < 1:
            raise Bad
        if record.place is None:
            found = self.noted(record.pipeline, record.schedule, record.first)
            if found is None or found.state != "waiting":
                raise Bad
            schedule = self.schedules[record.pipeline, record.schedule]
        else:
            schedule = self.onward(record.pipeline, record.schedule, record.place)
            schedule.record = msgspec.structs.replace(schedule.record, place=record.place)
            found = Occurrence(record.pipeline, record.schedule, record.last)
            self.occurrences.append(found)
        found.state, found.reason, found.count = "skipped", record.reason, record.count
        kind = record.reason.split(":")[0]
        if len(schedule.skipped) >= 20:
            kind = kind if kind in schedule.skipped else "other"
        schedule.skipped[kind] = schedule.skipped.get(kind, 0) + record.count

    def run(self, record: r.Run) -> None:
        trigger = record.trigger
        found = None
        if trigger.schedule and trigger.kind != "backfill":
            found = self.noted(record.pipeline, trigger.schedule, trigger.occurrence)
            if found is None or found.state != "waiting":
                raise Bad
        took = [self.iterations.get((record.pipeline, number)) for number in record.took]
        if record.run in self.runs or any(one is None or one.state in TERMINAL for one in took):
            raise Bad
        self.runs[record.run] = Run(record, took=len(took))
        for one in took:
            assert one is not None
            former = self.runs.get(one.plan.taken)
            if former is not None and former.record.run != record.run:
                former.took -= 1
                former.voided += 1
            one.plan = msgspec.structs.replace(one.plan, taken=record.run)
        for run in filter(None, map(self.runs.get, record.over)):
            if run.record.pipeline == record.pipeline:
                run.taken = record.run
        if found is not None:
            found.state, found.run = "started", record.run
            schedule = self.schedules[record.pipeline, trigger.schedule]
            schedule.started += 1
            schedule.last, schedule.last_run = found.id, record.run

    def runend(self, record: r.RunEnd) -> None:
        run = self.runs.get(record.run)
        again = run is not None and run.state == "failed" and record.state == "cancelled"
        if run is None or (run.state != "active" and not again) or record.state == "active":
            raise Bad
        run.state, run.ended, run.error = record.state, record.at, record.error
        if record.state != "failed":
            run.given_back.clear()

    def runplanned(self, record: r.RunPlanned) -> None:
        run = self.runs.get(record.run)
        if run is None or run.state != "active":
            raise Bad
        run.upto, run.unread = record.upto, record.unread

    def runs_of(self, plan: r.Plan) -> list[Run]:
        """Those that answer for an iteration."""
        return [self.runs[name] for name in dict.fromkeys((plan.run, plan.taken)) if name in self.runs]

    def set_aside(self, plan: r.Plan, count: int) -> None:
        for run in self.runs_of(plan):
            run.aside += count

    def backfill(self, record: r.Backfill) -> None:
        key = (record.pipeline, record.lane)
        if key in self.backfills or record.lane in (LIVE, TRIGGER):
            raise Bad
        self.backfills[key] = Backfill(record)

    def backfillend(self, record: r.BackfillEnd) -> None:
        found = self.backfills.get((record.pipeline, record.lane))
        mine = [i for (p, _), i in self.iterations.items() if (p, i.plan.lane) == (record.pipeline, record.lane)]
        if found is None or found.state != "active" or any(i.state not in TERMINAL for i in mine):
            raise Bad
        found.state = record.state

    def alert(self, record: r.Alert) -> None:
        if record.id != self.seq + 1:
            raise Bad
        self.alerts[record.id] = (record, None)

    def alerted(self, record: r.Alerted) -> None:
        alert, told = self.alerts.get(record.id, (None, record))
        if alert is None or told is not None:
            raise Bad
        if not record.again:
            self.alerts[record.id] = (alert, record)

    def taken(self, keys: list[tuple[str, str, str, str, int]]) -> bool:
        return len(set(keys)) < len(keys) or any(key in self.ledger for key in keys)

    # --- iterations

    def setting(self, record: r.Setting) -> None:
        self.settings.pop((record.scope, record.name), None)
        if record.value:
            self.settings[record.scope, record.name] = record

    def plan(self, record: r.Plan) -> None:
        if record.iteration <= self.counters.get(record.pipeline, Counter()).last or record.lane == TRIGGER:
            raise Bad
        keys = [
            (record.pipeline, record.lane, source, p.identity, p.generation)
            for source in record.ledgered
            for p in record.positions.get(source, [])
        ]
        if self.taken(keys):
            raise Bad
        self.ledger.update(dict.fromkeys(keys, record.iteration))
        self.counters.setdefault(record.pipeline, Counter()).last = record.iteration
        self.iterations[record.pipeline, record.iteration] = Iteration(record)
        if record.run in self.runs:
            self.runs[record.run].planned += 1
        if record.taken in self.runs:
            self.runs[record.taken].took += 1
        for run in self.runs_of(record):
            run.given_back -= {(s, p.identity) for s in record.ledgered for p in record.positions.get(s, [])}
        if backfill := self.backfills.get((record.pipeline, record.lane)):
            backfill.planned += 1
            backfill.positions += sum(len(record.positions[one]) for one in record.counted())

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
                self.set_aside(iteration.plan, 1)
        self.release(record.pipeline, [record.iteration], record.node)

    def fail(self, record: r.Fail) -> None:
        self.move(self.at(record), "fail")

    def retry(self, record: r.Retry) -> None:
        self.move(self.at(record), "retry")
        self.at(record).blocked.clear()
        self.at(record).errors.clear()
        self.goes_on(self.at(record))

    def goes_on(self, iteration: Iteration) -> None:
        for run in self.runs_of(iteration.plan):
            if run.state == "failed":
                run.state, run.error, run.upto = "active", "", 0
                mine = [i.plan.iteration for i in self.iterations.values() if self.answers(run, i)]
                if run.record.lane == LIVE:
                    run.upto = max(mine, default=0)

    @staticmethod
    def answers(run: Run, iteration: Iteration) -> bool:
        """The iteration is unfinished, and the run's."""
        plan, name = iteration.plan, run.record.run
        return (
            plan.pipeline == run.record.pipeline and name in (plan.run, plan.taken) and iteration.state not in TERMINAL
        )

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
        counter.commits, counter.newest = counter.commits + 1, record.iteration
        if backfill := self.backfills.get((record.pipeline, self.at(record).plan.lane)):
            backfill.committed += 1

    def deadletter(self, record: r.DeadLetter) -> None:
        self.move(self.at(record), "dead_letter")
        self.release(record.pipeline, [record.iteration])
        self.letters.append((record.pipeline, record.iteration, record.failure.position, False))
        self.set_aside(self.at(record).plan, 1)

    def cancel(self, record: r.Cancel) -> None:
        if len(set(record.iterations)) < len(record.iterations):
            raise Bad
        found = [self.iterations.get((record.pipeline, number)) for number in record.iterations]
        if any(one is None or one.state not in UNPREPARED for one in found):
            raise Bad
        self.release(record.pipeline, record.iterations)
        for one in found:
            assert one is not None
            one.state = "cancelled"
            self.void(one.plan, record.reason)
            if backfill := self.backfills.get((record.pipeline, one.plan.lane)):
                backfill.positions -= sum(len(one.plan.positions[source]) for source in one.plan.counted())
            if one.plan.lane != LIVE:
                self.goes_on(one)
            for source in one.plan.ledgered:
                for p in one.plan.positions.get(source, []):
                    del self.ledger[record.pipeline, one.plan.lane, source, p.identity, p.generation]

    def void(self, plan: r.Plan, reason: str) -> None:
        """What its runs have lost."""
        again = plan.lane != LIVE or reason.startswith(r.PLANNED_AGAIN)
        runs = self.runs_of(plan)
        for run in runs:
            run.cancelled += run.record.run == plan.run
            run.took -= run.record.run != plan.run
            run.voided += not again
            if again:
                run.given_back.clear()
            elif run.state in ("active", "failed"):
                run.given_back |= {(s, p.identity) for s in plan.ledgered for p in plan.positions.get(s, [])}
        for run in [run for run in runs if run.state == "active"][: 1 if again else 0]:
            run.upto, run.unread = 0, ""

    def snapshot(self) -> list[r.AnyLoaded]:
        items: list[r.AnyLoaded] = [r.LoadedVersion(v) for _, v in sorted(self.versions.items())]
        items += [r.LoadedSchema(s) for _, s in sorted(self.schemas.items(), key=lambda kv: kv[0])]
        items += [r.LoadedSetting(s) for _, s in sorted(self.settings.items(), key=lambda kv: kv[0])]
        items += self.scheduler()
        for name, counter in sorted(self.counters.items()):
            sources = sorted({key[2] for key in self.ledger if key[:2] == (name, LIVE)})
            kept = sorted({n for p, n, _, revised in self.letters if p == name and not revised})
            letters = len(kept) + sum(p == name and bool(revised) for p, _, _, revised in self.letters)
            numbers = (counter.last, counter.last_committed, counter.committed)
            newest = self.iterations.get((name, counter.last_committed))
            stands = {node: part.at for node, part in (newest.sinks if newest else {}).items()}
            commits = (counter.commits, counter.newest, counter.last_committed)
            items.append(r.LoadedCounter(name, *numbers, sources, kept, letters, stands, *commits))
        items += [r.LoadedAlert(alert) for alert, told in self.alerts.values() if told is None]
        for _, one in sorted(self.iterations.items(), key=lambda kv: kv[0]):
            if one.state in TERMINAL:
                continue
            items.append(r.LoadedIteration(one.plan, one.state, one.sinks, blocked=list(one.blocked)))
            items += [r.LoadedAck(a) for _, a in sorted(one.acks.items())]
            items += [r.LoadedError(e) for _, e in sorted(one.errors.items())]
        return items

    def scheduler(self) -> Iterable[r.AnyLoaded]:
        for _, one in sorted(self.schedules.items(), key=lambda kv: kv[0]):
            yield r.LoadedSchedule(one.record, one.started, one.skipped, one.last, one.last_run)
        started = {o.run: o.record for o in self.occurrences if o.record is not None and o.state == "started"}
        for name, run in self.runs.items():
            if name in started and run.state == "active":
                yield r.LoadedOccurrence(started[name], name)
        for o in self.occurrences:
            if o.record is not None and o.state == "waiting":
                yield r.LoadedOccurrence(o.record)
        for _, b in sorted(self.backfills.items(), key=lambda kv: kv[0]):
            if b.state == "active":
                yield r.LoadedBackfill(b.record, b.planned, b.committed, b.positions)
        for pipeline in sorted({run.record.pipeline for run in self.runs.values()}):
            mine = [run for run in self.runs.values() if run.record.pipeline == pipeline]
            ended = sorted((run.ended, place) for place, run in enumerate(mine) if run.state != "active")
            newest = [place for _, place in ended[-r.RUNS_LOADED :]]
            for place, run in enumerate(mine):
                again = run.state == "failed" and any(self.answers(run, i) for i in self.iterations.values())
                if run.state == "active" or again or place in newest:
                    counts = (run.planned - run.cancelled, run.aside, run.took, run.voided)
                    record = msgspec.structs.replace(run.record, took=[], over=[])
                    back = sorted(run.given_back)
                    yield r.LoadedRun(
                        record, run.planned, run.state, run.error, *counts, back, run.upto, run.taken, run.unread
                    )
