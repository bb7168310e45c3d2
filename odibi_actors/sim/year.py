"""A year of schedules: broker, store and scheduler on virtual time, with crashes, downtimes and a clock that is set.

The production actors run dozens of schedules of every kind; runs find nothing to do, after seconds or hours (``Idle``
stands for the source). At 1 Hz of heartbeats a year would take hours: for this life alone ``_slow`` lengthens the
actors' intervals of liveness, all in one place, for as long as the life lasts. Nothing else of the actors is changed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec.structs import replace

import odibi_actors.broker.coordinator
import odibi_actors.broker.runs
import odibi_actors.checkpoint.actor
import odibi_actors.scheduler.actor
import odibi_actors.scheduler.agenda
from odibi_actors.actor import Effect, Send, Stop
from odibi_actors.broker.coordinator import Coordinator
from odibi_actors.checkpoint.actor import StoreActor
from odibi_actors.config.model import PipelineSpec
from odibi_actors.messages import (
    BROKER,
    SCHEDULER,
    SOURCE,
    STORE,
    Apply,
    Connected,
    Discover,
    Durable,
    Heartbeat,
    Hello,
    Message,
    Offer,
    Request,
    Shutdown,
    Sources,
    SourceSpec,
    Welcome,
    WhoAreYou,
)
from odibi_actors.scheduler.actor import SchedulerActor
from odibi_actors.sim.clock import CHANGES, Clock, SimSchedulerDriver
from odibi_actors.sim.disk import SimStoreDriver
from odibi_actors.sim.dues import Dues, Patience
from odibi_actors.sim.host import Host, NoDriver
from odibi_actors.sim.plans import make_schedules, random_schedule
from odibi_actors.sim.truth import Truth
from odibi_actors.sim.verdict import check
from odibi_actors.sim.world import Faults, World

HOUR, DAY = 3600.0, 86400.0
BEAT = 300.0
"""Seconds between two heartbeats of this life."""
RECOVERY = 2 * BEAT + 60.0
"""Seconds after a fault within which everybody knows everything again: a lost message is missed at a heartbeat."""
WORD = 2 * DAY
"""Seconds for which a word may be under way: the longest suspension, and the broker's slowest answer."""
CALM = 2 * DAY
"""Seconds without faults at the end."""
CLIENT = "client-year"

_SLOW: tuple[tuple[Any, str, float], ...] = (
    (odibi_actors.scheduler.actor, "HEARTBEAT", BEAT),
    (odibi_actors.checkpoint.actor, "HEARTBEAT", BEAT),
    (odibi_actors.checkpoint.actor, "IDLE", HOUR),
    (odibi_actors.broker.coordinator, "HOUSEKEEPING", BEAT),
    (odibi_actors.broker.runs, "DISCOVER_AGAIN", BEAT),
    (odibi_actors.scheduler.agenda, "REPEAT", 60.0),
)
"""What ``_slow`` lengthens: module, constant, seconds."""


@contextmanager
def _slow() -> Iterator[None]:
    """Lengthen the intervals of ``_SLOW`` for a while."""
    former = [getattr(module, name) for module, name, _ in _SLOW]
    for module, name, seconds in _SLOW:
        setattr(module, name, seconds)
    try:
        yield
    finally:
        for (module, name, _), seconds in zip(_SLOW, former, strict=True):
            setattr(module, name, seconds)


class Idle:
    """A source actor whose folders are empty. It takes its time to say so: seconds, now and then hours."""

    def __init__(self, incarnation: str, rng: random.Random) -> None:
        self._incarnation, self._rng = incarnation, rng
        self._epoch = 0
        self._sources: list[SourceSpec] = []
        self._answers: dict[tuple[str, str], float] = {}  # (pipeline, run) -> when
        self._beat: float | None = None

    def start(self, now: float) -> list[Effect]:
        """Nothing before the link is up."""
        return []

    def handle(self, sender: str, message: Message, now: float) -> list[Effect]:
        """What a source has to know."""
        match message:
            case Connected() | WhoAreYou():
                self._beat = now + BEAT
                return [Send(BROKER, Hello("source", self._incarnation, "host", 1))]
            case Welcome(epoch=epoch):
                self._epoch = epoch
            case Sources(epoch=epoch, sources=sources) if epoch == self._epoch:
                self._sources = sources
            case Discover(epoch=epoch, pipeline=pipeline, run=run) if epoch == self._epoch:
                wait = self._rng.choice([0.1, 1.0, 1.0, 10.0, 60.0, 600.0])
                if self._rng.random() < 0.03:
                    wait = self._rng.uniform(0.0, 6 * HOUR)
                self._answers.setdefault((pipeline, run), now + wait)
            case Shutdown():
                return [Stop(0, "left")]
        return []

    def flush(self, now: float) -> list[Effect]:
        """Nothing is there."""
        effects: list[Effect] = []
        for pipeline, run in [one for one, when in self._answers.items() if when <= now]:
            del self._answers[pipeline, run]
            for spec in self._sources:
                if spec.pipeline == pipeline:
                    offer = Offer(self._epoch, self._incarnation, pipeline, spec.node.name, 2**62, [], run)
                    effects.append(Send(BROKER, offer))
        if self._beat is not None and now >= self._beat:
            self._beat = now + BEAT
            effects.append(Send(BROKER, Heartbeat(self._epoch)))
        return effects

    def deadline(self) -> float | None:
        """The next answer, or the heartbeat."""
        times = [*self._answers.values(), *([self._beat] if self._beat is not None else [])]
        return min(times, default=None)


class Accounts(msgspec.Struct, frozen=True):
    """What a year came to. ``events``: of the world; ``skipped``: by reason; ``counts``: faults by kind."""

    seed: int
    days: float
    schedules: int
    occurrences: int
    started: int
    runs: int
    skipped: dict[str, int]
    counts: dict[str, int]
    lost: int
    doubled: int
    events: int
    hash: str


class Year:
    """A world with schedules in it, for ``days``."""

    def __init__(self, seed: int, days: float = 366.0, story: bool = False) -> None:
        self.seed, self.days = seed, days
        rng = random.Random(f"start {seed}")
        self.world = World(seed, 1_704_067_200.0 + rng.randrange(0, int(400 * DAY)))
        self.world.story = [] if story else None
        self.rng = self.world.rng
        self.clock = Clock(self.world)
        self.dues = Dues(self.clock, Patience(word=WORD, zones=3 * DAY, lag=45.0))
        self.truth = Truth(self.dues)
        self.truth.tell = self.world.tell
        self.host = Host(self.world, self.truth)
        self.world.on_deliver = self._watch
        self.world.on_stop = self._stopped
        self.world.on_kill = lambda _name: self.clock.trouble(RECOVERY)
        self.world.clients[CLIENT] = lambda _message: None
        self.world.faults = Faults(duplicate=0.01, slow=0.002, crash_between_effects=0.00003)
        self.project = make_schedules(self.rng, self.world.start)
        self.removed: list[PipelineSpec] = []
        self.apply_next = True
        self._requests = 0
        self._add_processes()

    def _add_processes(self) -> None:
        host, world = self.host, self.world

        def store(generation: int) -> tuple[StoreActor, SimStoreDriver]:
            engine = host.engine
            actor = StoreActor(f"s{generation}", "host", 1, engine.store_id, engine.epoch, engine.last_seq)
            return actor, SimStoreDriver(host, STORE, generation)

        def make_broker(generation: int) -> tuple[Coordinator, NoDriver]:
            project, self.apply_next = (self.project if self.apply_next else None), False
            if host.engine.last_seq == 0:
                project = self.project
            return Coordinator(project, f"b{generation}", random.Random(self.rng.getrandbits(32))), NoDriver()

        def scheduler(generation: int) -> tuple[SchedulerActor, SimSchedulerDriver]:
            driver = SimSchedulerDriver(world, self.clock, generation, lambda _id, _target: 0)
            return SchedulerActor(f"t{generation}", "host", 1, driver.open), driver

        def source(generation: int) -> tuple[Idle, NoDriver]:
            return Idle(f"f{generation}", random.Random(self.rng.getrandbits(32))), NoDriver()

        world.add(BROKER, make_broker)
        world.add(STORE, store)
        world.add(SCHEDULER, scheduler)
        world.add(SOURCE, source)

    def _watch(self, sender: str, to: str, message: Message) -> None:
        if to == BROKER and sender == STORE and isinstance(message, Durable):
            self.truth.promise(message.through)

    def _stopped(self, name: str, stop: Stop) -> None:
        fenced = "fenced" in stop.reason or "epoch" in stop.reason
        check(fenced or stop.code == 0, "I5", f"{name} stopped by itself: {stop.reason}")

    # --- what happens ---------------------------------------------------------------------------------------------

    def _ask(self, verb: str, **params: object) -> None:
        self._requests += 1
        self.world.count(f"operator {verb}")
        self.world.send(CLIENT, BROKER, Hello("client", "c", "host", 1))
        self.world.send(CLIENT, BROKER, Request(id=f"c{self._requests}", verb=verb, params=dict(params)))

    def _crash(self) -> None:
        self.world.crash(self.rng.choice([BROKER, BROKER, STORE, SCHEDULER, SCHEDULER, SOURCE]))

    def _down(self) -> None:
        """One of them, or all, stay away: seconds to days."""
        away = 10 ** self.rng.uniform(0.0, 5.3)
        names = [BROKER, STORE, SCHEDULER, SOURCE]
        if self.rng.random() < 0.7:
            names = [self.rng.choice(names)]
        self.world.count("down")
        self.clock.trouble(away + RECOVERY)
        for name in names:
            self.world.crash(name, away=away + self.rng.uniform(0.0, 1.0))

    def _jump(self) -> None:
        size = 10 ** self.rng.uniform(-3.0, 5.41)  # 1 ms to 3 days
        if self.rng.random() < 0.2:
            size = float(self.rng.choice([60, 3600, 7200, 86400]))
        self.clock.trouble(RECOVERY)
        self.clock.jump(size if self.rng.random() < 0.5 else -size)

    def _suspend(self) -> None:
        seconds = 10 ** self.rng.uniform(0.0, 5.0)
        self.world.count("suspend")
        self.clock.trouble(seconds + RECOVERY)
        for name in self.world.processes:
            self.world.freeze(name, seconds)

    def _stop(self) -> None:
        seconds = 10 ** self.rng.uniform(0.0, 3.5)
        self.clock.trouble(seconds + RECOVERY)
        self.world.freeze(self.rng.choice([BROKER, STORE, SCHEDULER, SOURCE]), seconds)

    def _partition(self) -> None:
        seconds = 10 ** self.rng.uniform(-1.0, 3.5)
        self.clock.trouble(seconds + RECOVERY)
        ways = self.rng.choice(["both", "in", "out"])
        self.world.partition(self.rng.choice([STORE, SCHEDULER, SOURCE]), seconds, ways)

    def _zones(self) -> None:
        self.clock.trouble(RECOVERY)
        self.clock.change_rules(self.rng.choice(list(CHANGES)))
        self.dues.rules_changed()

    def _pause(self) -> None:
        """Somebody pauses a schedule, or a whole pipeline, for minutes to days."""
        pipeline = self.rng.choice(self.project.pipelines)
        away = 10 ** self.rng.uniform(1.5, 5.3)
        if self.rng.random() < 0.3:
            self._ask(self.rng.choice(["pipeline.pause", "pipeline.drain"]), pipeline=pipeline.name)
            self.world.after(away, self._resume, pipeline.name)
        else:
            name = self.rng.choice(pipeline.schedules).name if pipeline.schedules else "none"
            self._ask("schedule.pause", pipeline=pipeline.name, schedule=name)
            self.world.after(away, self._resume, pipeline.name, name)

    def _resume(self, pipeline: str, schedule: str = "") -> None:
        if schedule:
            self._ask("schedule.resume", pipeline=pipeline, schedule=schedule)
        else:
            self._ask("pipeline.resume", pipeline=pipeline)

    def _added(self) -> None:
        """A schedule is added by hand, and removed some day."""
        pipeline = self.rng.choice(self.project.pipelines)
        spec = random_schedule(self.rng, f"by_hand{self.rng.randint(0, 3)}", self.clock.wall)
        self._ask("schedule.add", pipeline=pipeline.name, spec=msgspec.to_builtins(spec))
        away = 10 ** self.rng.uniform(3.0, 6.5)
        self.world.after(away, lambda: self._ask("schedule.remove", pipeline=pipeline.name, schedule=spec.name))

    def _apply(self) -> None:
        """Another odibi.yaml: schedules with other policies, other times, gone and back; so with a pipeline."""
        rng, pipelines = self.rng, list(self.project.pipelines)
        number = rng.randrange(len(pipelines))
        dice = rng.random()
        if dice < 0.1 and len(pipelines) > 5:
            self.removed.append(pipelines.pop(number))
        elif dice < 0.2 and self.removed:
            pipelines.append(self.removed.pop(0))
        else:
            schedules = list(pipelines[number].schedules)
            if schedules and rng.random() < 0.9:
                place = rng.randrange(len(schedules))
                other = random_schedule(rng, schedules[place].name, self.clock.wall)
                if rng.random() < 0.2:
                    del schedules[place]
                elif rng.random() < 0.5:
                    schedules[place] = other
                else:
                    same = schedules[place]
                    jitter = other.jitter if not same.every else 0.0
                    schedules[place] = replace(same, catch_up=other.catch_up, overlap=other.overlap, jitter=jitter)
            else:
                name = f"s{rng.randint(0, 5)}"
                if all(one.name != name for one in schedules):
                    schedules.append(random_schedule(rng, name, self.clock.wall))
            pipelines[number] = replace(pipelines[number], schedules=schedules)
        self.project = replace(self.project, pipelines=pipelines)
        self.world.count("apply")
        if rng.random() < 0.3:
            self.apply_next = True
            self.world.crash(BROKER)
        else:
            self.world.send(CLIENT, BROKER, Apply(id=f"a{rng.getrandbits(32)}", project=self.project))

    def _happen(self) -> None:
        kinds = {
            self._crash: 60, self._down: 4, self._jump: 5, self._suspend: 2, self._stop: 5, self._partition: 5,
            self._zones: 1, self._pause: 6, self._added: 2, self._apply: 6,
        }  # fmt: skip
        (kind,) = self.rng.choices(list(kinds), list(kinds.values()))
        self.world.tell(f"* {kind.__name__}")
        kind()

    # --- a life ---------------------------------------------------------------------------------------------------

    def run(self) -> Accounts:
        """Live it. Raises Violation when an invariant breaks."""
        with _slow():
            return self._run()

    def _run(self) -> Accounts:
        world, rng = self.world, self.rng
        world.run(world.start + HOUR)
        end = world.start + self.days * DAY - CALM
        while world.now < end:
            world.run(min(end, world.now + rng.expovariate(1 / (1.2 * HOUR))))
            self._happen()
        world.faults = Faults()
        world.tell("faults stop")
        world.run(world.now + CALM - HOUR)
        for pipeline in self.project.pipelines:
            self._resume(pipeline.name)
        world.run(world.now + HOUR)
        behind = self.dues.behind(60.0)
        check(not behind, "I1", f"{len(behind)} schedules are behind: {'; '.join(behind[:5])}")
        self._rest()
        return self._accounts()

    def _rest(self) -> None:
        """Nothing new comes; what waits must run, and what runs must end."""
        for known in list(self.dues.schedules.values()):
            self._ask("schedule.pause", pipeline=known.record.pipeline, schedule=known.record.name)
        until = self.world.now + 60 * DAY
        while left := [one for one in self.dues.unfinished() if one.split()[0] != "removed"]:
            left = self._reachable(left)
            if not left:
                break
            check(self.world.now < until, "I5", f"never finished: {'; '.join(left[:8])}")
            self.world.run(self.world.now + HOUR)
        self.dues.count()

    def _reachable(self, left: list[str]) -> list[str]:
        """Without what belongs to a pipeline that odibi.yaml no longer has: that waits for its return."""
        gone = [one.name for one in self.removed]
        return [one for one in left if one.removeprefix("run ").partition(".")[0] not in gone]

    def _accounts(self) -> Accounts:
        dues = self.dues
        skipped: dict[str, int] = {}
        for known in dues.schedules.values():
            for reason, count in known.skipped.items():
                skipped[reason] = skipped.get(reason, 0) + count
        started = sum(known.started for known in dues.schedules.values())
        waiting = sum(len(known.waiting) for known in dues.schedules.values())
        total = started + sum(skipped.values()) + waiting
        check(total == dues.covered, "I1", f"{total} are accounted for, the calendars have {dues.covered}")
        return Accounts(
            seed=self.seed,
            days=(self.world.now - self.world.start) / DAY,
            schedules=len(dues.schedules),
            occurrences=dues.covered,
            started=started,
            runs=len(dues.runs),
            skipped=dict(sorted(skipped.items())),
            counts=dict(sorted(self.world.counts.items())),
            lost=dues.lost,
            doubled=dues.doubled,
            events=self.world.events,
            hash=self.world.hash,
        )
