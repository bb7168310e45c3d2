"""One simulated life of a system, from a seed: faults for a while, then quiet, then everything must be there."""

from __future__ import annotations

import random
import traceback

import msgspec

from broker.coordinator import Coordinator
from odibi_actors.actor import Stop
from odibi_actors.checkpoint.actor import StoreActor
from odibi_actors.config.model import (
    BatchSpec,
    ConnectionSpec,
    NodeSpec,
    PipelineSpec,
    ProjectSpec,
    ReadSpec,
    RetrySpec,
    TransformSpec,
    WriteSpec,
)
from odibi_actors.messages import BROKER, SOURCE, STORE, Durable, Hello, Message, Request
from odibi_actors.model import BatchRef
from odibi_actors.sim.host import POOL, Host, Output, SimFile, SimPoolDriver, SimSourceDriver, SimStoreDriver
from odibi_actors.sim.truth import TERMINAL, Planned, Truth, check
from odibi_actors.sim.world import START, Faults, World
from odibi_actors.streaming.actor import SourceActor
from workers.pool import PoolActor

FAULT_SECONDS = 20.0
"""Virtual seconds in which everything may go wrong."""

QUIET_SECONDS = 300.0
"""Virtual seconds within which everything must be finished once faults have stopped (I5): node timeouts of 10 s,
retries, and silent peers given up after 10 s lie far below."""

CLIENT = "client-sim"


class Outcome(msgspec.Struct, frozen=True):
    """What a seed came to. ``seconds``: virtual; ``counts``: faults by kind; ``transitions``: taken, by state/event."""

    seed: int
    hash: str
    seconds: float
    events: int
    iterations: int
    files: int
    counts: dict[str, int]
    transitions: dict[str, int]


def make_project(rng: random.Random) -> ProjectSpec:
    """A project with one or two pipelines of a random shape: joins of two sources, branches, chains, several sinks."""
    pipelines = []
    for name in ["p", "q"][: rng.choice([1, 1, 2])]:
        retry = RetrySpec(max_attempts=rng.choice([1, 3, 5]), initial=0.2, max=1.0)
        sources = [f"read{i}" for i in range(rng.choice([1, 1, 2]))]
        nodes = [
            NodeSpec(
                name=source,
                read=ReadSpec(ConnectionSpec(source, "local", f"/{name}/{source}"), "csv", "file_watch", settle=0.5),
                retry=retry,
                timeout=10.0,
            )
            for source in sources
        ]
        transforms: list[str] = []
        for i in range(rng.randint(1, 4)):
            # The first joins every source, so that each row reaches each sink exactly once.
            inputs = list(sources) if i == 0 else [rng.choice(transforms)]
            function = TransformSpec(function="nodes.m:f") if rng.random() < 0.7 else TransformSpec(sql="select 1")
            state = function.function is not None and rng.random() < 0.3
            nodes.append(NodeSpec(f"t{i}", inputs, transform=function, retry=retry, timeout=10.0, state=state))
            transforms.append(f"t{i}")
        for i in range(rng.randint(1, 3)):
            write = WriteSpec(ConnectionSpec("out", "local", "/out"), path=f"{name}{i}", format="parquet")
            nodes.append(NodeSpec(f"s{i}", [rng.choice(transforms)], write=write, retry=retry, timeout=10.0))
        pipelines.append(
            PipelineSpec(
                name=name,
                nodes=nodes,
                max_in_flight=rng.choice([1, 2, 4]),
                batch=BatchSpec(max_files=rng.choice([1, 2, 4]), linger=rng.choice([0.0, 0.0, 0.3])),
                on_error=rng.choice(["halt", "dead_letter"]),
                keep_last=rng.choice([1, 2, 5]),
            )
        )
    return ProjectSpec("sim", "/", "/data", 2, pipelines, code_digest="code")


class Scenario:
    """A world with a system in it."""

    def __init__(self, seed: int, story: bool = False) -> None:
        self.seed = seed
        self.world = World(seed)
        self.rng = self.world.rng
        if story:
            self.world.story = []
        self.truth = Truth()
        self.host = Host(self.world, self.truth)
        self.truth.rows_of = self._rows_of
        self.truth.state_of = self._state_of
        self.truth.visible = lambda pipeline: [number for name, number, _ in self.host.visible if name == pipeline]
        self.project = make_project(self.rng)
        self.delivered: dict[tuple[str, str, str], SimFile] = {}
        self._inode = 0
        self._row = 0
        self._requests = 0
        self._apply_next = True
        self.world.on_deliver = self._watch
        self.world.on_stop = self._stopped
        self.world.clients[CLIENT] = lambda _message: None
        rng = self.rng
        self.host.nondeterministic = rng.random() < 0.5
        self.host.die = rng.choice([0.0, 0.02, 0.08])
        self.host.hang = rng.choice([0.0, 0.0, 0.01])
        self.world.faults = Faults(
            duplicate=rng.choice([0.0, 0.01, 0.05]),
            slow=rng.choice([0.0, 0.002, 0.02]),
            crash_between_effects=rng.choice([0.0, 0.0002, 0.001]),
        )
        self._add_processes()

    def _add_processes(self) -> None:
        host, world = self.host, self.world

        def store(generation: int) -> tuple[StoreActor, SimStoreDriver]:
            engine = host.engine
            actor = StoreActor(f"s{generation}", "host", 1, engine.store_id, engine.epoch, engine.last_seq)
            return actor, SimStoreDriver(host, STORE, generation)

        def broker(generation: int) -> tuple[Coordinator, SimStoreDriver]:
            # The first start reads the project file; a restart after a crash goes on with what the store has.
            project, self._apply_next = (self.project if self._apply_next else None), False
            if host.engine.last_seq == 0:
                project = self.project
            actor = Coordinator(project, f"b{generation}", random.Random(self.rng.getrandbits(32)))
            return actor, SimStoreDriver(host, BROKER, generation)

        def source(generation: int) -> tuple[SourceActor, SimSourceDriver]:
            return SourceActor(f"f{generation}", "host", 1), SimSourceDriver(host, SOURCE, generation)

        def pool(generation: int) -> tuple[PoolActor, SimPoolDriver]:
            actor = PoolActor(POOL, f"w{generation}", "host", 1, 2, "code", host.spool_folders())
            return actor, SimPoolDriver(host, POOL, generation)

        world.add(BROKER, broker)
        world.add(STORE, store)
        world.add(SOURCE, source)
        world.add(POOL, pool)

    def _watch(self, sender: str, to: str, message: Message) -> None:
        if to == BROKER and sender == STORE and isinstance(message, Durable):
            self.truth.promise(message.through)

    def _stopped(self, name: str, stop: Stop) -> None:
        fenced = "fenced" in stop.reason or "epoch" in stop.reason
        asked = stop.code == 0
        check(fenced or asked, "I5", f"{name} stopped by itself: {stop.reason}")

    # --- what happens to it ---------------------------------------------------------------------------------------

    def _deliver_file(self, pipeline: PipelineSpec, node: NodeSpec, sound: bool = False) -> None:
        assert node.read is not None
        rng = self.rng
        self._inode += 1
        rows = list(range(self._row, self._row + rng.randint(1, 12)))
        self._row += len(rows)
        folder = node.read.connection.path
        identity = f"f{self._inode:04d}"
        # The first file of a source teaches the schema and must be good.
        first = not any(key[:2] == (pipeline.name, node.name) for key in self.delivered)
        malformed = not (first or sound) and pipeline.on_error == "dead_letter" and rng.random() < 0.1
        mtime = int(self.world.now * 1e9)
        file = SimFile(identity, rows, len(rows), mtime, self._inode, malformed)
        driver = self.world.processes[SOURCE].driver
        hint = driver.hint if isinstance(driver, SimSourceDriver) else lambda *_: None
        self.host.folders.setdefault(folder, {})[identity] = file
        self.delivered[pipeline.name, node.name, identity] = file
        if rng.random() < 0.2:
            # Written slowly: it grows, with an event each time, and is closed at the end.
            file.size = 0
            hint(folder, identity, "created")
            self._grow(file, folder, rng.randint(1, 4))
        else:
            file.whole = True
            hint(folder, identity, "moved")

    def _grow(self, file: SimFile, folder: str, steps: int) -> None:
        driver = self.world.processes[SOURCE].driver
        hint = driver.hint if isinstance(driver, SimSourceDriver) else lambda *_: None
        file.mtime_ns = int(self.world.now * 1e9)
        file.size += 1
        if steps == 0:
            file.whole = True
            hint(folder, file.identity, "closed")
        else:
            hint(folder, file.identity, "modified")
            self.world.after(self.rng.uniform(0.01, 0.3), self._grow, file, folder, steps - 1)

    def _ask(self, verb: str, **params: object) -> None:
        self._requests += 1
        request = Request(id=f"c{self._requests}", verb=verb, params=dict(params))
        self.world.count(f"operator {verb}")
        # Those who wait for an answer are known to the broker; one that has just restarted knows nobody.
        self.world.send(CLIENT, BROKER, Hello("client", "c", "host", 1))
        self.world.send(CLIENT, BROKER, request)

    def _fault(self, end: float) -> None:
        rng, world = self.rng, self.world
        dice = rng.random()
        pipeline = rng.choice(self.project.pipelines)
        if dice < 0.35:
            world.crash(rng.choice([BROKER, STORE, SOURCE, POOL]))
        elif dice < 0.45:
            driver = world.processes[POOL].driver
            if isinstance(driver, SimPoolDriver):
                driver.kill_one()
        elif dice < 0.60:
            world.partition(rng.choice([STORE, SOURCE, POOL]), rng.choice([0.1, 1.0, 4.0, 15.0]))
        elif dice < 0.66:
            for name in [BROKER, STORE, SOURCE, POOL]:
                world.crash(name)
            self.host.lose_unsynced(0.5)
        elif dice < 0.72:
            self._ask("pipeline.pause", pipeline=pipeline.name)
            world.after(rng.uniform(0.1, 3.0), self._ask_resume, pipeline.name)
        elif dice < 0.78:
            self._ask("worker.scale", workers=rng.choice([1, 2, 4]))
        elif dice < 0.86:
            newest = max((n for p, n in self.truth.iterations if p == pipeline.name), default=0)
            self._ask("iteration.cancel", pipeline=pipeline.name, iteration=max(1, newest - rng.randint(0, 2)))
        elif dice < 0.88:
            self._reconfigure()
        elif dice < 0.96:
            self._operate(pipeline)
        else:
            self._retry_failed()
        if world.now < end:
            world.after(rng.expovariate(1 / self._fault_gap), self._fault, end)

    def _operate(self, pipeline: PipelineSpec) -> None:
        """An operator mends things: dead letters, a sink that refuses, going back."""
        rng, world, name = self.rng, self.world, pipeline.name
        dice = rng.random()
        letters = [number for number, letter in self.truth.letters.items() if letter.state == "open"]
        if dice < 0.4 and letters:
            letter = rng.choice(letters)
            if rng.random() < 0.5:
                self._mend(self.truth.letters[letter].places)
            self._ask("deadletter.discard" if rng.random() < 0.2 else "deadletter.replay", letter=letter)
        elif dice < 0.7:
            sink = rng.choice([n.name for n in pipeline.nodes if n.write is not None])
            world.count("broken sink")
            self.host.broken[name, sink] = None
            world.after(rng.uniform(0.5, 8.0), self.host.broken.pop, (name, sink), None)
            world.after(rng.uniform(0.5, 8.0), self._abandon, name)
        else:
            newest = max((n for p, n in self.truth.iterations if p == name), default=0)
            self._ask("pipeline.drain", pipeline=name, wait=False)
            if rng.random() < 0.8:
                to = rng.choice([0, max(0, newest - 1), rng.randint(0, newest)])
                world.after(rng.uniform(0.1, 3.0), self._ask_rewind, name, to)
            world.after(rng.uniform(0.5, 6.0), self._ask_resume, name)

    def _mend(self, places: list[tuple[str, str, str]]) -> None:
        for pipeline, source, identity in places:
            file = self.delivered[pipeline, source, identity]
            if file.malformed:
                file.malformed, file.size, file.mtime_ns = False, file.size + 1, int(self.world.now * 1e9)
                self.world.count("mended file")

    def _abandon(self, pipeline: str) -> None:
        for (name, number), iteration in list(self.truth.iterations.items()):
            for sink in iteration.blocked if name == pipeline else ():
                self._ask("iteration.abandon", pipeline=pipeline, iteration=number, sink=sink)

    def _ask_rewind(self, pipeline: str, to: int) -> None:
        self._ask("pipeline.rewind", pipeline=pipeline, to=to)

    def _ask_resume(self, pipeline: str) -> None:
        self._ask("pipeline.resume", pipeline=pipeline)

    def _reconfigure(self) -> None:
        """A changed project file, taken in by a restart of the broker: a transform gets other parameters."""
        pipelines = []
        for pipeline in self.project.pipelines:
            nodes = [
                msgspec.structs.replace(
                    n, transform=msgspec.structs.replace(n.transform, params={"v": self.rng.randint(0, 9)})
                )
                if n.transform is not None and self.rng.random() < 0.3
                else n
                for n in pipeline.nodes
            ]
            pipelines.append(msgspec.structs.replace(pipeline, nodes=nodes))
        self.project = msgspec.structs.replace(self.project, pipelines=pipelines)
        self._apply_next = True
        self.world.count("reconfigure")
        self.world.crash(BROKER)

    def _retry_failed(self) -> None:
        for (pipeline, number), iteration in list(self.truth.iterations.items()):
            if iteration.state in ("failed", "blocked"):
                self._ask("iteration.retry", pipeline=pipeline, iteration=number)

    # --- a life ---------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Live it. Raises Violation when an invariant breaks."""
        rng, world = self.rng, self.world
        end = START + FAULT_SECONDS
        self._fault_gap = rng.choice([0.3, 1.0, 3.0])
        for _ in range(rng.randint(3, 30)):
            pipeline = rng.choice(self.project.pipelines)
            node = rng.choice([n for n in pipeline.nodes if n.read is not None])
            world.after(rng.uniform(0, FAULT_SECONDS), self._deliver_file, pipeline, node)
        for pipeline in self.project.pipelines:
            for node in pipeline.nodes:
                if node.read is not None:  # every source gets a file, so that every schema gets known
                    world.after(rng.uniform(0, 5), self._deliver_file, pipeline, node)
        world.after(rng.uniform(0, 2), self._fault, end)
        world.run(end)
        self._quieten()
        world.run(end + 36.0)
        quiet = end + QUIET_SECONDS
        while not self._finished():
            check(world.now < quiet, "I5", f"unfinished {QUIET_SECONDS:.0f} s after the last fault: {self._left()}")
            world.run(world.now + 1.0)
            if rng.random() < 0.2:
                self._retry_failed()
        self._check_end()
        return Outcome(
            seed=self.seed,
            hash=world.hash,
            seconds=world.now - START,
            events=world.events,
            iterations=len(self.truth.iterations),
            files=len(self.delivered),
            counts=world.counts,
            transitions=self.truth.transitions,
        )

    def _quieten(self) -> None:
        self.world.tell("faults stop")
        self.world.faults = Faults()
        self.host.die = self.host.hang = 0.0
        self.host.broken.clear()
        for pipeline in self.project.pipelines:
            self.world.after(30.0, self._ask_resume, pipeline.name)
            for node in pipeline.nodes:
                if node.read is not None:
                    # All files of a source may be dead letters by now: then nothing runs before one teaches its schema.
                    self.world.after(35.0, self._deliver_file, pipeline, node, True)
        self.world.after(31.0, self._ask_scale)

    def _ask_scale(self) -> None:
        self._ask("worker.scale", workers=2)

    def _left(self) -> str:
        states = [f"{p}/{n} {i.state}" for (p, n), i in self.truth.iterations.items() if i.state not in _TERMINAL]
        missing = [f"{key} unplanned" for key in self.delivered if key not in self.truth.owner]
        return "; ".join((states + missing)[:8])

    def _finished(self) -> bool:
        return all(i.state in _TERMINAL for i in self.truth.iterations.values()) and all(
            key in self.truth.owner for key in self.delivered
        )

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
        for pipeline in self.project.pipelines:
            sinks = [n.name for n in pipeline.nodes if n.write is not None]
            for number, iteration in ((n, i) for (p, n), i in self.truth.iterations.items() if p == pipeline.name):
                rows = self._rows_of(iteration)
                for sink in sinks:
                    data = self.host.visible.get((pipeline.name, number, sink))
                    name = f"{pipeline.name}/{number}/{sink}"
                    if sink in iteration.abandoned and data is None:
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


_TERMINAL = TERMINAL


def run_seed(seed: int, story: bool = False) -> tuple[Outcome | None, str, list[str]]:
    """Live one seed. Returns (outcome or None, violation or "", the story if one was asked for)."""
    scenario = Scenario(seed, story)
    try:
        return scenario.run(), "", scenario.world.story or []
    except AssertionError as violation:
        what = str(violation) or f"an assertion of the code: {traceback.format_exc(limit=-1)}"
        return None, what, scenario.world.story or []
    except Exception:  # noqa: BLE001 - whatever an actor raises would end its process: that is a find
        return None, f"raised: {traceback.format_exc(limit=-4)}", scenario.world.story or []
