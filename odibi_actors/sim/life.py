"""A world with a system in it, and what operators can ask of it. What happens to it, and what must hold at the end, are
others' (``happenings``, ``scenario``)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from odibi_actors.actor import Stop
from odibi_actors.broker.coordinator import Coordinator
from odibi_actors.checkpoint.actor import StoreActor
from odibi_actors.config.model import PipelineSpec, ProjectSpec, WorkerSpec
from odibi_actors.kinds.registry import source_of
from odibi_actors.kinds.source import Source
from odibi_actors.messages import (
    BROKER,
    SCHEDULER,
    SOURCE,
    STORE,
    Adopt,
    Apply,
    Durable,
    Hello,
    Message,
    Push,
    Reply,
    Request,
    Results,
)
from odibi_actors.model import BatchRef
from odibi_actors.scheduler.actor import SchedulerActor
from odibi_actors.sim import columns, feeding
from odibi_actors.sim.changes import changed
from odibi_actors.sim.clock import Clock, SimSchedulerDriver
from odibi_actors.sim.discovery import SimSourceDriver
from odibi_actors.sim.disk import SimStoreDriver
from odibi_actors.sim.dues import Dues, Patience
from odibi_actors.sim.host import Host
from odibi_actors.sim.landing import Landing
from odibi_actors.sim.log import MODE, Log, records
from odibi_actors.sim.project import (
    all_csv,
    cumulative,
    is_real,
    make_project,
    with_logs,
    with_real_sinks,
    with_real_sources,
    with_sinks_in_another_order,
)
from odibi_actors.sim.truth import Planned, Truth, check
from odibi_actors.sim.work import Work
from odibi_actors.sim.workers import SimPoolDriver, check_blame
from odibi_actors.sim.world import Faults, World
from odibi_actors.streaming.actor import SourceActor
from odibi_actors.workers.pool import PoolActor

if TYPE_CHECKING:
    from odibi_actors.sim.pushes import Producers

CLIENT = "client-sim"
DRAWN = ("sinks", "databases", "partitions", "deletions", "formats")
"""What is drawn for real files and sinks, each by dice of its own."""
BY_HAND = "rows by hand"
"""The verb that fills tables from which rows are deleted."""

LOG = Log()

HOST_MEMORY = 8_000_000_000
"""Bytes that a host has for its workers, in lives in which they make way for fresh ones."""

BEGINNINGS = (
    *(1_710_036_000, 1_710_054_000, 1_711_846_800, 1_712_415_600, 1_728_142_200, 1_729_990_800, 1_730_613_600),
    *(1_700_000_000, 1_709_164_800),
)
"""When lives begin: about changes of summer time (Casablanca, New York, Berlin, Lord Howe), and at other times."""


class Life:
    """A system, in which there is something for these ``verbs`` to do. ``did``: every verb that was done, and the id of
    its request; ``answers``: request -> its status."""

    def __init__(self, seed: int, story: bool = False, verbs: tuple[str, ...] = ()) -> None:
        begin = random.Random(f"begin {seed}")
        self.world = World(seed, begin.choice(BEGINNINGS) - begin.uniform(0.0, 20.0))
        self.rng = self.world.rng
        if story:
            self.world.story = []
        self.clock = Clock(self.world)
        self.clock.trouble(float("inf"))  # nothing is on time in such a life
        self.dues = Dues(self.clock, Patience(word=60.0, zones=60.0, lag=float("inf")))
        self.truth = Truth(self.dues)
        self.host = Host(self.world, self.truth)
        real = is_real(seed) or "compact" in verbs or BY_HAND in verbs
        self.work = _real_work(self.host, seed) if real else Work(self.host)
        self.host.together = random.Random(f"one database {seed}").random() < 0.25
        self.landing = Landing(seed, self.world, self.host, self.truth)
        self._observe()
        self.limits = random.Random(f"limits of workers {seed}")  # apart, so that other lives stay as they are
        self.recycles = self.limits.random() < 0.5
        self.project = replace(make_project(self.rng, self.world.now), worker=self._worker_limits())
        if self.host.together:
            self.project = with_sinks_in_another_order(self.project)
        if not self.host.real:
            self.project = with_logs(self.project, random.Random(f"logs {seed}"))
            self.landing.changing = columns.changes(seed, verbs)
        if self.landing.changing:
            self.project = columns.changing(self.project, random.Random(f"policies {seed}"))
        if self.host.real:
            of = {what: random.Random(f"{what} {seed}") for what in DRAWN}
            dice = of["sinks"], of["databases"], of["partitions"], of["deletions"]
            self.project = with_real_sinks(self.project, *dice, all_delete=BY_HAND in verbs)
            self.project = with_real_sources(self.project, of["formats"])
            self.fill(random.Random(f"stock {seed}"))
            # Each format has rules of its own about columns of other types; what is told here are those of csv.
            self.landing.odd = self.landing.odd and all_csv(self.project)
        self.pools = [f"pool-{number}" for number in range(self.rng.choice([1, 2]))]
        self.actors = [BROKER, STORE, SOURCE, SCHEDULER, *self.pools]
        self.did: list[tuple[str, str]] = []
        self.answers: dict[str, int] = {}
        self.heard: list[Callable[[Reply], None]] = []  # who is to know of answers
        self._requests = 0
        self.apply_next = True
        self.producers: Producers | None = None
        self.world.on_deliver = self._watch
        self.world.on_stop = self._stopped
        self.world.clients[CLIENT] = self._answered
        if not self.host.real:
            feeding.feed(self, seed, verbs)

    def _observe(self) -> None:
        """What the checkers look at."""
        truth, host = self.truth, self.host
        truth.rows_of = self.rows_of
        truth.state_of = self._state_of
        truth.visible = lambda pipeline: [
            number
            for name, number, sink in host.visible
            if name == pipeline and not host.visible[name, number, sink].stays
        ]
        truth.tell = self.world.tell
        truth.versions.told = self._in_force
        truth.places.ask = host.positions
        truth.pins.ask = host.pins
        truth.policies.wrong = self.landing.other_columns
        truth.pins.read_as = lambda attempt, node: host.read_as.get((attempt, node), b"")
        truth.pins.kept_of = lambda attempt, node: host.kept_of.get((attempt, node), [])
        host.cumulative = lambda pipeline, sink: cumulative(self.project.pipeline(pipeline), sink)

    def _in_force(self, spec: PipelineSpec) -> None:
        """The project file has what was accepted."""
        pipelines = [spec if one.name == spec.name else one for one in self.project.pipelines]
        self.project = replace(self.project, pipelines=pipelines)

    def misbehave(self) -> None:
        """From now on the world is as bad as this life has it."""
        rng = self.rng
        if self.host.outside is not None:
            self.host.outside.harm = True
        self.host.nondeterministic = rng.random() < 0.5
        self.host.die = rng.choice([0.0, 0.02, 0.08])
        self.host.hang = rng.choice([0.0, 0.0, 0.01])
        self.world.faults = Faults(
            duplicate=rng.choice([0.0, 0.01, 0.05]),
            slow=rng.choice([0.0, 0.002, 0.02]),
            crash_between_effects=rng.choice([0.0, 0.0002, 0.001]),
        )

    def fill(self, rng: random.Random, names: Sequence[str] = ()) -> bool:
        """Somebody puts rows into the tables from which rows are deleted, of these pipelines, or all; False: there are
        none."""
        writes = [
            node.write
            for one in self.project.pipelines
            for node in one.nodes
            if node.write is not None and node.write.mode == "delete" and one.name in (names or [one.name])
        ]
        for write in writes:
            self.work.fill(write.target, self.landing.some_rows(rng))
        return bool(writes)

    def behave(self) -> None:
        """Faults stop."""
        self.world.tell("faults stop")
        self.world.faults = Faults()
        self.host.die = self.host.hang = 0.0
        self.host.broken.clear()
        if self.host.outside is not None:
            self.host.outside.calm()
        self.landing.cure()

    def close(self) -> None:
        """It has ended."""
        self.work.close()
        if self.host.outside is not None:
            self.host.outside.close()

    def start(self) -> None:
        """All processes start."""
        host, world = self.host, self.world

        def store(generation: int) -> tuple[StoreActor, SimStoreDriver]:
            engine = host.engine
            actor = StoreActor(f"s{generation}", "host", 1, engine.store_id, engine.epoch, engine.last_seq)
            return actor, SimStoreDriver(host, STORE, generation)

        def broker(generation: int) -> tuple[Coordinator, SimStoreDriver]:
            # The first start reads the project file; a restart after a crash goes on with what the store has.
            project, self.apply_next = (self.project if self.apply_next else None), False
            if host.engine.last_seq == 0:
                project = self.project
            actor = Coordinator(project, f"b{generation}", random.Random(self.rng.getrandbits(32)))
            return actor, SimStoreDriver(host, BROKER, generation)

        def source(generation: int) -> tuple[SourceActor, SimSourceDriver]:
            return SourceActor(f"f{generation}", "host", 1, kind), SimSourceDriver(host, SOURCE, generation)

        def kind(mode: str) -> Source:
            return LOG if mode == MODE else source_of(mode)

        def pool(name: str, generation: int) -> tuple[PoolActor, SimPoolDriver]:
            memory = HOST_MEMORY if self.recycles else 0
            actor = PoolActor(name, f"w{generation}", "host", 1, 2, "code", host.spool_folders(), memory)
            return actor, SimPoolDriver(host, self.work, name, generation)

        def scheduler(generation: int) -> tuple[SchedulerActor, SimSchedulerDriver]:
            driver = SimSchedulerDriver(world, self.clock, generation, self.truth.alerts.tell)
            return SchedulerActor(f"t{generation}", "host", 1, driver.open), driver

        world.add(BROKER, broker)
        world.add(STORE, store)
        world.add(SOURCE, source)
        world.add(SCHEDULER, scheduler)
        for name in self.pools:
            world.add(name, partial(pool, name))

    def _watch(self, sender: str, to: str, message: Message) -> None:
        if to == BROKER and sender == STORE and isinstance(message, Durable):
            self.truth.promise(message.through)
        if to == BROKER and isinstance(message, Results):
            check_blame(self.host, message.results)
        if to == SOURCE and self.producers is not None and isinstance(message, Push):
            self.producers.arrived(message)

    def _stopped(self, name: str, stop: Stop) -> None:
        fenced = "fenced" in stop.reason or "epoch" in stop.reason
        asked = stop.code == 0
        check(fenced or asked, "I5", f"{name} stopped by itself: {stop.reason}")

    # --- what operators ask for -----------------------------------------------------------------------------------

    def ask(self, verb: str, **params: object) -> str:
        """An operator asks the broker for something; the request's id."""
        return self.ask_dict(verb, params)

    def ask_dict(self, verb: str, params: dict[str, object]) -> str:
        """``ask``, for keys that are no names."""
        self.world.count(f"operator {verb}")
        return self._send(lambda request: Request(id=request, verb=verb, params=dict(params)))

    def ask_later(self, delay: float, verb: str, **params: object) -> str:
        """The same in ``delay`` virtual seconds."""
        self.world.count(f"operator {verb}")
        message = Request(id=self.number(), verb=verb, params=dict(params))
        self.world.after(delay, self.tell_broker, message)
        return message.id

    def apply(self, project: ProjectSpec, adopt: Sequence[Adopt] = ()) -> str:
        """``odibictl apply``, or ``sink adopt``; the request's id."""
        self.world.count("operator apply")
        return self._send(lambda request: Apply(id=request, project=project, adopt=[*adopt]))

    def apply_pipeline(self, spec: PipelineSpec, adopt: Sequence[Adopt] = ()) -> str:
        """Likewise with one pipeline that is another; the project file has it once it is accepted."""
        return self.apply_pipelines([spec], adopt)

    def apply_pipelines(self, specs: Sequence[PipelineSpec], adopt: Sequence[Adopt] = ()) -> str:
        """Likewise with several."""
        other = {spec.name: spec for spec in specs}
        pipelines = [other.get(one.name, one) for one in self.project.pipelines]
        return self.apply(replace(self.project, pipelines=pipelines), adopt)

    def by_hand(self) -> str:
        """Something that nobody is asked for, and that is done at once: an id that is answered as accepted."""
        request = self.number()
        self.answers[request] = 0
        return request

    def number(self) -> str:
        """The id of a request."""
        self._requests += 1
        return f"c{self._requests}"

    def _send(self, make: Callable[[str], Message]) -> str:
        request = self.number()
        self.tell_broker(make(request))
        return request

    def tell_broker(self, message: Message) -> None:
        """A client says this."""
        self.tell(BROKER, message)

    def tell(self, to: str, message: Message) -> None:
        """A client says this to an actor."""
        # Those who wait for an answer are known to the broker; one that has just restarted knows nobody.
        self.world.send(CLIENT, BROKER, Hello("client", "c", "host", 1))
        self.world.send(CLIENT, to, message)

    def _answered(self, message: Message) -> None:
        if isinstance(message, Reply):
            self.answers[message.id] = message.status
            for heard in self.heard:
                heard(message)

    def resume(self, pipeline: str) -> None:
        """``pipeline resume``."""
        self.ask("pipeline.resume", pipeline=pipeline)

    def resume_source(self, pipeline: str, source: str) -> None:
        """``source resume``, until that is so."""
        if (pipeline, source) in self.truth.paused:
            self.ask("source.resume", pipeline=pipeline, source=source)
            self.world.after(3.0, self.resume_source, pipeline, source)

    def resume_schedule(self, pipeline: str, schedule: str) -> None:
        """``schedule resume``."""
        self.ask("schedule.resume", pipeline=pipeline, schedule=schedule)

    def reconfigure(self, rng: random.Random) -> None:
        """The project file changes."""
        self.project = replace(changed(self.project, rng), worker=self._worker_limits())
        self.world.count("reconfigure")
        for pipeline in self.project.pipelines:
            for node in pipeline.nodes:
                if node.read is not None and self.landing.odd and self.landing.shapes.random() < 0.3:
                    self.ask("source.unpin", pipeline=pipeline.name, source=node.name)

    def teach(self, pipeline: PipelineSpec) -> None:
        """As long as a source has no schema nothing runs: somebody delivers good files until one was read."""
        for node in pipeline.nodes:
            if node.read is not None and not self.truth.pins.known(pipeline.name, node.name):
                self.landing.deliver(pipeline, node, self.rng, sound=True)

    def retry_failed(self) -> None:
        """An operator retries whatever is stuck, mostly with its files fixed where that halts all."""
        for (pipeline, number), iteration in list(self.truth.iterations.items()):
            if iteration.state in ("failed", "blocked"):
                spec = self.project.pipeline(pipeline)
                reads = [node.read for node in spec.nodes if node.read is not None]
                whole = any(read.pinned for read in reads)
                halts = spec.on_error == "halt" or any(read.on_schema_change for read in reads)
                if (halts or whole) and self.landing.halting.random() < 0.8:
                    for source, some in iteration.positions.items():
                        self.landing.fix([(pipeline, source, name) for p in some for name in records(p)], whole)
                self.ask("iteration.retry", pipeline=pipeline, iteration=number)

    # --- what is known of it --------------------------------------------------------------------------------------

    @property
    def unplanned(self) -> list[tuple[str, str, str]]:
        """Files that are to be consumed, and are not in any plan."""
        whole = {(p.name, n.name): None for p in self.project.pipelines for n in p.nodes if n.read and n.read.pinned}
        return [key for key in self.landing.delivered if key[:2] not in whole and not self.truth.taken(key)]

    def newest(self, pipeline: str) -> int:
        """Number of the newest iteration; 0: none."""
        return max((n for p, n in self.truth.iterations if p == pipeline), default=0)

    def rows_of(self, iteration: Planned) -> list[int]:
        """The rows an iteration is to take in, sorted."""
        return sorted(
            row
            for source, positions in iteration.positions.items()
            for position in positions
            for row in self.landing.rows(iteration.plan.pipeline, source, position)
        )

    def _state_of(self, ref: BatchRef) -> list[int] | None:
        content = self.host.content(ref)
        return None if content is None else content.rows

    def _worker_limits(self) -> WorkerSpec:
        if not self.recycles:
            return WorkerSpec()
        return WorkerSpec(self.limits.choice([None, 1, 3, 20]), self.limits.choice([None, 150_000_000, 600_000_000]))


def _real_work(host: Host, seed: int) -> Work:
    from odibi_actors.sim.real_work import RealWork  # not above: the other lives need none of Arrow

    return RealWork(host, seed)
