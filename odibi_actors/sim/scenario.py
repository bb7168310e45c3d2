"""One simulated life of a system, from a seed: faults for a while, then quiet, then everything must be there."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable
from functools import partial

import msgspec
from msgspec.structs import replace

from odibi_actors.actor import Stop
from odibi_actors.broker.coordinator import Coordinator
from odibi_actors.checkpoint.actor import StoreActor
from odibi_actors.config.model import NodeSpec, PipelineSpec, WorkerSpec
from odibi_actors.messages import BROKER, SCHEDULER, SOURCE, STORE, Durable, Hello, Message, Reply, Request
from odibi_actors.model import LIVE, BatchRef
from odibi_actors.scheduler.actor import SchedulerActor
from odibi_actors.sim import copies, pairs
from odibi_actors.sim.clock import Clock, SimSchedulerDriver
from odibi_actors.sim.discovery import SimSourceDriver
from odibi_actors.sim.disk import SimStoreDriver
from odibi_actors.sim.dues import Dues, Patience
from odibi_actors.sim.ending import Ending
from odibi_actors.sim.faults import KINDS, backfills, draw
from odibi_actors.sim.host import SHAPE, Host, Output, SimFile
from odibi_actors.sim.project import make_project
from odibi_actors.sim.truth import Planned, Truth, check
from odibi_actors.sim.workers import SimPoolDriver
from odibi_actors.sim.world import Faults, World
from odibi_actors.streaming.actor import SourceActor
from odibi_actors.workers.pool import PoolActor

FAULT_SECONDS = 20.0
"""Virtual seconds in which everything may go wrong."""

QUIET_SECONDS = 300.0
"""Virtual seconds within which everything must be finished once faults have stopped (I5): node timeouts of 10 s,
retries, and silent peers given up after 10 s lie far below."""

CALM = 16.0
"""Virtual seconds after the last fault when operators tidy up: the longest partition is over by then."""

CLIENT = "client-sim"

HOST_MEMORY = 8_000_000_000
"""Bytes that a host has for its workers, in lives in which they make way for fresh ones."""

BEGINNINGS = (
    *(1_710_036_000, 1_710_054_000, 1_711_846_800, 1_712_415_600, 1_728_142_200, 1_729_990_800, 1_730_613_600),
    *(1_700_000_000, 1_709_164_800),
)
"""When lives begin: about changes of summer time (Casablanca, New York, Berlin, Lord Howe), and at other times."""


class Outcome(msgspec.Struct, frozen=True):
    """What a seed came to. ``seconds``: virtual; ``counts``: faults by kind; ``transitions``: taken, by state/event.
    ``occurrences``: what became of them, of backfills, and which alerts there were. ``lived``: how often the pair of
    verbs of the life, by how it was answered."""

    seed: int
    hash: str
    seconds: float
    events: int
    iterations: int
    files: int
    counts: dict[str, int]
    transitions: dict[str, int]
    occurrences: dict[str, int]
    lived: dict[str, int] = {}


class Scenario:
    """A world with a system in it."""

    def __init__(
        self,
        seed: int,
        story: bool = False,
        without: frozenset[int] = frozenset(),
        pair: pairs.Pair | None = None,
    ) -> None:
        self.seed, self.pair = seed, pair
        self.lived: list[pairs.Lived] = []
        self.answers: dict[str, int] = {}  # request -> the status of its answer
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
        self.truth.rows_of = self._rows_of
        self.truth.state_of = self._state_of
        self.truth.visible = lambda pipeline: [
            number
            for name, number, sink in self.host.visible
            if name == pipeline and (name, sink) not in self.host.current  # what was overwritten last stays
        ]
        self.truth.tell = self.world.tell
        self.limits = random.Random(f"limits of workers {seed}")  # apart, so that other lives stay as they are
        self.recycles = self.limits.random() < 0.5
        self.halting = random.Random(f"malformed files that halt {seed}")
        self.shapes = random.Random(f"columns of files {seed}")
        self.odd = self.shapes.random() < 0.5
        self.project = replace(make_project(self.rng, self.world.now), worker=self._worker_limits())
        self.truth.places.ask = self.host.positions
        self.truth.pins.ask = self.host.pins
        self.truth.pins.read_as = lambda attempt, node: self.host.read_as.get((attempt, node), b"")
        self.host.cumulative = self._cumulative
        self.pools = [f"pool-{number}" for number in range(self.rng.choice([1, 2]))]
        self.actors = [BROKER, STORE, SOURCE, SCHEDULER, *self.pools]
        events = draw(self.rng, FAULT_SECONDS)
        if any(one.after for pipeline in self.project.pipelines for one in pipeline.schedules):
            events += backfills(seed, FAULT_SECONDS)
        if pair is not None:
            events += pairs.plan(seed, pair, FAULT_SECONDS)
        events.sort(key=lambda event: event.at)
        self.plan = [event for place, event in enumerate(events) if place not in without]
        self.delivered: dict[tuple[str, str, str], SimFile] = {}
        self.fixed: set[str] = set()  # files that were written again
        self._inode = 0
        self._row = 0
        self._requests = 0
        self.apply_next = True
        self.world.on_deliver = self._watch
        self.world.on_stop = self._stopped
        self.world.clients[CLIENT] = self._answered
        rng = self.rng
        self.host.nondeterministic = rng.random() < 0.5
        self.host.die = rng.choice([0.0, 0.02, 0.08])
        self.host.hang = rng.choice([0.0, 0.0, 0.01])
        self.world.faults = Faults(
            duplicate=rng.choice([0.0, 0.01, 0.05]),
            slow=rng.choice([0.0, 0.002, 0.02]),
            crash_between_effects=rng.choice([0.0, 0.0002, 0.001]),
        )
        self.ending = Ending(self)
        self._add_processes()

    def _add_processes(self) -> None:
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
            return SourceActor(f"f{generation}", "host", 1), SimSourceDriver(host, SOURCE, generation)

        def pool(name: str, generation: int) -> tuple[PoolActor, SimPoolDriver]:
            memory = HOST_MEMORY if self.recycles else 0
            actor = PoolActor(name, f"w{generation}", "host", 1, 2, "code", host.spool_folders(), memory)
            return actor, SimPoolDriver(host, name, generation)

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

    def _stopped(self, name: str, stop: Stop) -> None:
        fenced = "fenced" in stop.reason or "epoch" in stop.reason
        asked = stop.code == 0
        check(fenced or asked, "I5", f"{name} stopped by itself: {stop.reason}")

    # --- what happens to it ---------------------------------------------------------------------------------------

    def deliver_file(self, pipeline: PipelineSpec, node: NodeSpec, rng: random.Random, sound: bool = False) -> SimFile:
        """A file arrives, which is returned; ``sound``: a good one."""
        assert node.read is not None
        self._inode += 1
        rows = list(range(self._row, self._row + rng.randint(1, 12)))
        self._row += len(rows)
        folder = node.read.connection.path
        identity = f"f{self._inode:04d}"
        # The first file of a source teaches the schema and must be good.
        sound = sound or node.read.mode == "batch"
        first = not any(key[:2] == (pipeline.name, node.name) for key in self.delivered)
        malformed = not (first or sound) and pipeline.on_error == "dead_letter" and rng.random() < 0.1
        if pipeline.on_error == "halt" and node.read.mode != "batch" and not (first or sound):
            malformed = self.halting.random() < 0.03
        mtime = int(self.world.now * 1e9)
        file = SimFile(identity, rows, len(rows), mtime, self._inode, malformed)
        if node.read.mode != "batch":
            file.shape = self.truth.pins.known(pipeline.name, node.name) if sound else self._odd_shape(file)
            file.shape = file.shape or SHAPE * bool(rows)
        driver = self.world.processes[SOURCE].driver
        hint = driver.hint if isinstance(driver, SimSourceDriver) else lambda *_: None
        self.host.folders.setdefault(folder, {})[identity] = file
        self.delivered[pipeline.name, node.name, identity] = file
        if rng.random() < 0.2 and node.read.mode != "batch":
            # Written slowly: it grows, with an event each time, and is closed at the end.
            file.size = 0
            hint(folder, identity, "created")
            self._grow(file, folder, rng.randint(1, 4), rng)
        else:
            file.whole = True
            hint(folder, identity, "moved")
        return file

    def _odd_shape(self, file: SimFile) -> bytes:
        """Some files have other columns, or headers alone: then they have no rows."""
        if not self.odd or self.shapes.random() < 0.7:
            return SHAPE
        if self.shapes.random() < 0.3:
            file.rows.clear()
            return b""
        return b"other"

    def _grow(self, file: SimFile, folder: str, steps: int, rng: random.Random) -> None:
        driver = self.world.processes[SOURCE].driver
        hint = driver.hint if isinstance(driver, SimSourceDriver) else lambda *_: None
        file.mtime_ns = int(self.world.now * 1e9)
        file.size += 1
        if steps == 0:
            file.whole = True
            hint(folder, file.identity, "closed")
        else:
            hint(folder, file.identity, "modified")
            self.world.after(rng.uniform(0.01, 0.3), self._grow, file, folder, steps - 1, rng)

    def deliver_hot(self, pipeline: PipelineSpec) -> None:
        """A file arrives where a schedule looks for one."""
        self._inode += 1
        folder, identity = f"/hot/{pipeline.name}", f"f{self._inode:04d}"
        file = SimFile(identity, [], 1, int(self.world.now * 1e9), self._inode, malformed=False)
        file.whole = True
        self.host.folders.setdefault(folder, {})[identity] = file
        driver = self.world.processes[SOURCE].driver
        if isinstance(driver, SimSourceDriver):
            driver.hint(folder, identity, "moved")

    def ask(self, verb: str, **params: object) -> str:
        """An operator asks the broker for something; the request's id."""
        self.world.count(f"operator {verb}")
        return self.send(lambda request: Request(id=request, verb=verb, params=dict(params)))

    def ask_later(self, delay: float, verb: str, **params: object) -> str:
        """The same in ``delay`` virtual seconds."""
        self._requests += 1
        request = f"c{self._requests}"
        self.world.after(delay, self._send, Request(id=request, verb=verb, params=dict(params)))
        return request

    def send(self, make: Callable[[str], Message]) -> str:
        """An operator sends a request that is made with an id; that id."""
        self._requests += 1
        request = f"c{self._requests}"
        self._send(make(request))
        return request

    def _send(self, message: Message) -> None:
        # Those who wait for an answer are known to the broker; one that has just restarted knows nobody.
        self.world.send(CLIENT, BROKER, Hello("client", "c", "host", 1))
        self.world.send(CLIENT, BROKER, message)

    def _answered(self, message: Message) -> None:
        if isinstance(message, Reply):
            self.answers[message.id] = message.status

    def resume(self, pipeline: str) -> None:
        """``pipeline resume``."""
        self.ask("pipeline.resume", pipeline=pipeline)

    @property
    def unplanned(self) -> list[tuple[str, str, str]]:
        """Files that are to be consumed, and are not in any plan."""
        whole = [p.name for p in self.project.pipelines if any(n.read and n.read.mode == "batch" for n in p.nodes)]
        return [key for key in self.delivered if not self.truth.taken(key) and key[0] not in whole]

    def ask_dict(self, verb: str, params: dict[str, object]) -> None:
        """``ask``, later."""
        self.ask(verb, **params)

    def resume_schedule(self, pipeline: str, schedule: str) -> None:
        """``schedule resume``."""
        self.ask("schedule.resume", pipeline=pipeline, schedule=schedule)

    def rewind(self, pipeline: str, to: int) -> None:
        """``pipeline rewind --to``."""
        self.ask("pipeline.rewind", pipeline=pipeline, to=to)

    def newest(self, pipeline: str) -> int:
        """Number of the newest iteration; 0: none."""
        return max((n for p, n in self.truth.iterations if p == pipeline), default=0)

    def fix(self, places: list[tuple[str, str, str]]) -> None:
        """Somebody writes a sound file in place of a malformed one."""
        for place in places:
            file = self.delivered[place]
            file.poison = ""
            known = self.truth.pins.known(*place[:2]) or SHAPE
            if file.malformed or (file.shape not in (b"", known) and not self._read(place)):
                file.malformed, file.size, file.mtime_ns = False, file.size + 1, int(self.world.now * 1e9)
                file.shape = known
                self.fixed.add(file.identity)
                self.world.count("fixed file")

    def _read(self, place: tuple[str, str, str]) -> bool:
        """Whether what the file holds is committed: nobody writes it again."""
        entries = self.truth.places.owners(place[0], LIVE).get(place)
        if not entries:
            return False
        return self.truth.iterations[place[0], entries[-1].iteration].state == "committed"

    def _worker_limits(self) -> WorkerSpec:
        if not self.recycles:
            return WorkerSpec()
        return WorkerSpec(self.limits.choice([None, 1, 3, 20]), self.limits.choice([None, 150_000_000, 600_000_000]))

    def reconfigure(self, rng: random.Random) -> None:
        """The project file changes: transforms get other parameters, what is in flight another limit, and sources read
        the same files in another way, or, of references, by another pattern."""
        pipelines = []
        for pipeline in self.project.pipelines:
            nodes = [
                replace(n, transform=replace(n.transform, params={"v": rng.randint(0, 9)}))
                if n.transform is not None and rng.random() < 0.3
                else n
                for n in pipeline.nodes
            ]
            pipelines.append(replace(pipeline, nodes=nodes, max_in_flight=rng.choice([1, 2, 4])))
        pipelines = [replace(one, nodes=[_read_otherwise(n, rng) for n in one.nodes]) for one in pipelines]
        self.project = replace(self.project, pipelines=pipelines, worker=self._worker_limits())
        self.world.count("reconfigure")
        for pipeline in pipelines:
            for node in pipeline.nodes:
                if node.read is not None and self.odd and self.shapes.random() < 0.3:
                    self.ask("source.unpin", pipeline=pipeline.name, source=node.name)

    def retry_failed(self) -> None:
        """An operator retries whatever is stuck, mostly with its files fixed where that halts all."""
        for (pipeline, number), iteration in list(self.truth.iterations.items()):
            if iteration.state in ("failed", "blocked"):
                if self.project.pipeline(pipeline).on_error == "halt" and self.halting.random() < 0.8:
                    sources = iteration.positions.items()
                    self.fix([(pipeline, source, p.identity) for source, some in sources for p in some])
                self.ask("iteration.retry", pipeline=pipeline, iteration=number)

    # --- a life ---------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Live it. Raises Violation when an invariant breaks."""
        rng, world = self.rng, self.world
        end = world.start + FAULT_SECONDS
        for pipeline in self.project.pipelines:
            for node in pipeline.nodes:
                if node.read is not None:  # every source gets a file, so that every schema gets known
                    world.after(rng.uniform(0, 5), self.deliver_file, pipeline, node, rng)
        for event in self.plan:
            world.after(event.at, self._happen, event)
        world.run(end)
        self._quieten()
        world.run(end + CALM + 3.0)
        quiet = end + QUIET_SECONDS
        while not self.ending.finished():
            if world.now >= quiet:
                check(False, "I5", f"unfinished {QUIET_SECONDS:.0f} s after the last fault: {self.ending.left()}")
            world.run(world.now + 1.0)
            self.ending.help()
            if rng.random() < 0.2:
                self.retry_failed()
                for pipeline in self.project.pipelines:
                    self.resume(pipeline.name)
                    self._teach(pipeline)
        self._check_end()
        copies.restore(self)
        copies.move(self)
        return Outcome(
            seed=self.seed,
            hash=world.hash,
            seconds=world.now - world.start,
            events=world.events,
            iterations=len(self.truth.iterations),
            files=len(self.delivered),
            counts=world.counts,
            transitions=self.truth.transitions,
            occurrences=self.dues.tally() | self.truth.backfills.tally() | self.truth.alerts.tally(),
            lived=pairs.tally(self),
        )

    def _happen(self, event: pairs.Event) -> None:
        self.world.tell(f"* {event.kind}")
        KINDS[event.kind][1](self, random.Random(event.dice))

    def _quieten(self) -> None:
        self.world.tell("faults stop")
        self.world.faults = Faults()
        self.host.die = self.host.hang = 0.0
        self.host.broken.clear()
        for file in self.delivered.values():
            file.poison = ""
        for pipeline in self.project.pipelines:
            self.world.after(CALM, self.resume, pipeline.name)
            for node in pipeline.nodes:
                if node.read is not None:
                    # All files of a source may be dead letters by now: then nothing runs before one teaches its schema.
                    self.world.after(CALM + 2.0, self.deliver_file, pipeline, node, self.rng, True)
        self.world.after(CALM + 1.0, lambda: self.ask("worker.scale", workers=2))

    def _teach(self, pipeline: PipelineSpec) -> None:
        """As long as a source has no schema nothing runs: somebody delivers good files until one was read."""
        for node in pipeline.nodes:
            if node.read is not None and not self.truth.pins.known(pipeline.name, node.name):
                self.deliver_file(pipeline, node, self.rng, sound=True)

    def _rows_of(self, iteration: Planned) -> list[int]:
        """The rows an iteration is to take in, sorted."""
        return sorted(
            row
            for source, positions in iteration.positions.items()
            for position in positions
            for row in self.delivered[iteration.plan.pipeline, source, position.identity].rows
        )

    def _state_of(self, ref: BatchRef) -> list[int] | None:
        content = self.host.content(ref)
        return None if content is None else content.rows

    def _check_end(self) -> None:
        """Nothing lost, nothing doubled: every row of every file is in each sink once, or in the dead letters (I1)."""
        self.truth.check_states()
        self.truth.places.compare()
        self.dues.count()
        for pipeline in self.project.pipelines:
            sinks = [n.name for n in pipeline.nodes if n.write is not None]
            for number, iteration in ((n, i) for (p, n), i in self.truth.iterations.items() if p == pipeline.name):
                rows = self._rows_of(iteration)
                for sink in sinks:
                    data = self.host.visible.get((pipeline.name, number, sink))
                    name = f"{pipeline.name}/{number}/{sink}"
                    if sink in iteration.abandoned and data is None:
                        continue
                    if iteration.state == "rewound" and (pipeline.name, sink) in self.host.current:
                        continue
                    if iteration.state != "committed":
                        check(data is None, "I3", f"{name} is visible although {iteration.state}")
                        continue
                    check(data is not None, "I1", f"{name} is committed and not visible")
                    assert data is not None
                    part = msgspec.msgpack.decode(data, type=Output)
                    check(part.rows == rows, "I1", f"{name} has {len(part.rows)} rows, planned were {len(rows)}")
                if iteration.state == "committed":
                    self._check_same_execution(pipeline, iteration.sinks, number)
        for (name, sink), held in self.host.current.items():
            newest = max(number for p, number, s in self.host.visible if (p, s) == (name, sink))
            check(held == newest, "I1", f"{name}/{sink} holds what {held} published, not {newest}")

    def _cumulative(self, pipeline: str, sink: str) -> bool:
        """The sink holds more than its newest batch: it is behind a node with state, or behind references alone."""
        nodes = {node.name: node for node in self.project.pipeline(pipeline).nodes}
        wanted, batches = [sink], False
        while wanted:
            node = nodes[wanted.pop()]
            batches = batches or (node.read is not None and node.read.mode != "batch")
            wanted += [] if node.state else node.inputs
        return not batches

    def _check_same_execution(self, pipeline: PipelineSpec, sinks: object, number: int) -> None:
        """Sinks of one node publish one execution of it (code may be non-deterministic)."""
        by_input: dict[str, int] = {}
        for node in pipeline.nodes:
            if node.write is None or (pipeline.name, number, node.name) not in self.host.visible:
                continue  # an abandoned sink
            part = msgspec.msgpack.decode(self.host.visible[pipeline.name, number, node.name], type=Output)
            salt = by_input.setdefault(node.inputs[0], part.salt)
            check(
                salt == part.salt, "I1", f"{pipeline.name}/{number}: two executions of {node.inputs[0]} are published"
            )


def _read_otherwise(node: NodeSpec, rng: random.Random) -> NodeSpec:
    if node.read is None or rng.random() < 0.5:
        return node
    pattern = rng.choice(["*", "f*"]) if node.read.mode == "batch" else node.read.pattern
    return replace(node, read=replace(node.read, settle=rng.choice([0.5, 0.6, 0.7]), pattern=pattern))


def run_seed(
    seed: int,
    story: bool = False,
    without: frozenset[int] = frozenset(),
    pair: pairs.Pair | None = None,
) -> tuple[Outcome | None, str, list[str]]:
    """Live one seed, ``without`` some events of its plan, or with a ``pair`` of verbs. Returns (outcome or None,
    violation or "", the story if one was asked for)."""
    scenario = Scenario(seed, story, without, pair)
    try:
        return scenario.run(), "", scenario.world.story or []
    except AssertionError as violation:
        what = str(violation) or f"an assertion of the code: {traceback.format_exc(limit=-1)}"
        return None, what, scenario.world.story or []
    except Exception:  # noqa: BLE001 - whatever an actor raises would end its process: that is a find
        return None, f"raised: {traceback.format_exc(limit=-4)}", scenario.world.story or []
