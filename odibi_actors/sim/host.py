"""The simulated host: files that arrive, a spool that may lose what was not synced, sinks, and the drivers of the
actors, which do on these what the real drivers do on disks and processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import xxhash

from odibi_actors.actor import DeleteSpool, Effect, StartWorker, StopWorker, ToWorker
from odibi_actors.checkpoint.driver import StoreDriver
from odibi_actors.checkpoint.effects import Read, SetEpoch, Write
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.messages import (
    Claimed,
    Message,
    NodeDone,
    NodeFailed,
    PublishDone,
    PublishTask,
    Started,
    Step,
    Task,
    WorkerExit,
    WorkerExited,
    WorkerReady,
    WorkerResult,
    WorkerTask,
)
from odibi_actors.model import STATE, BatchRef, Failure, FailureKind, StagedRef, node_key
from odibi_actors.sim.truth import Truth, check
from odibi_actors.sim.world import START, World
from odibi_actors.streaming.effects import Digest, Digested, FileEvent, Found, Scan, Scanned, Stat, Stated

POOL = "pool-0"
Feed = Iterable[tuple[str, Message]]


class Output(msgspec.Struct, frozen=True, array_like=True):
    """A node's output: which rows, and which execution of code that is not deterministic made it."""

    rows: list[int]
    salt: int


def digest_of(data: bytes) -> str:
    """What batches.* computes over the bytes as written."""
    return str(xxhash.xxh3_128(data).hexdigest())


class SimFile:
    """A file of the landing folder. ``rows`` are what a reader of the whole file gets."""

    def __init__(self, identity: str, rows: list[int], size: int, mtime_ns: int, inode: int, malformed: bool) -> None:
        self.identity, self.rows, self.size, self.mtime_ns, self.inode = identity, rows, size, mtime_ns, inode
        self.malformed = malformed
        self.whole = False

    @property
    def found(self) -> Found:
        """As stat sees it."""
        return Found(self.identity, self.size, self.mtime_ns, self.inode)


class Host:
    """Everything that survives a crash of any process."""

    def __init__(self, world: World, truth: Truth) -> None:
        self.world = world
        self.truth = truth
        self.engine = Engine(":memory:")
        self.folders: dict[str, dict[str, SimFile]] = {}
        self.spool: dict[str, bytes] = {}
        self.staged: dict[str, bytes] = {}
        self.visible: dict[tuple[str, int, str], bytes] = {}
        self.broken: dict[tuple[str, str], None] = {}  # (pipeline, sink) to which nothing can be published
        self.nondeterministic = False
        self.hang = self.die = 0.0
        self._pids = 1000

    def new_pid(self) -> int:
        """Process ids are not reused here."""
        self._pids += 1
        return self._pids

    def lose_unsynced(self, share: float) -> None:
        """A power cut: node outputs were not synced; some are gone, some are damaged."""
        for path in list(self.spool):
            if path.endswith(".state.arrow"):
                continue  # synced before anybody heard of it
            dice = self.world.rng.random()
            if dice < share / 2:
                del self.spool[path]
            elif dice < share:
                self.spool[path] += b"!"
        self.world.count("power cut")

    def keep(self, path: str, data: bytes, inline: bool) -> dict[str, Any]:
        """Keep a batch, inline or in the spool; returns the fields of its reference that say where."""
        if inline:
            return {"data": data}
        self.spool[path] = data
        return {"path": path}

    def content(self, ref: BatchRef) -> Output | None:
        """What a reference refers to; None when it is missing or damaged."""
        data = ref.data or self.spool.get(ref.path)
        if data is None or digest_of(data) != ref.digest:
            return None
        return msgspec.msgpack.decode(data, type=Output)

    def spool_folders(self) -> list[tuple[str, int]]:
        """What a pool finds when it starts."""
        folders = {(p.split("/")[0], int(p.split("/")[1])): None for p in self.spool}
        return list(folders)


# --- the store's disk -------------------------------------------------------------------------------------------------


class SimStoreDriver:
    """A disk that takes its time; a crash before a write completes leaves it done or undone, never torn: that is what
    a transaction promises, and what the real engine is tested for with SIGKILL."""

    def __init__(self, host: Host, name: str, generation: int) -> None:
        self._host = host
        self._inner = StoreDriver(host.engine)
        self._name, self._generation = name, generation
        self._busy: Effect | None = None
        self._closed = False

    def perform(self, effect: Effect, now: float) -> Feed:
        """Reads at once, writes after a while."""
        if isinstance(effect, Read):
            return self._inner.perform(effect, now)
        world = self._host.world
        self._busy = effect
        delay = world.rng.uniform(0.0003, 0.003) if world.rng.random() < 0.95 else world.rng.uniform(0.01, 0.5)
        world.after(delay, self._complete, effect)
        return []

    def _complete(self, effect: Effect) -> None:
        if self._closed:
            return
        self._busy = None
        for sender, message in self._do(effect):
            self._host.world.arrive(self._name, self._generation, sender, message)

    def _do(self, effect: Effect) -> Feed:
        engine, truth = self._host.engine, self._host.truth
        before = engine.last_seq
        answers = list(self._inner.perform(effect, self._host.world.now))
        if isinstance(effect, Write) and engine.last_seq > before:
            skip = before + 1 - effect.first
            applied = list(effect.records)[skip : skip + engine.last_seq - before]
            truth.apply(effect.epoch, before + 1, applied)
        if isinstance(effect, SetEpoch) and engine.epoch > truth.epoch:
            truth.claim(engine.epoch)
            check(any(isinstance(getattr(m, "answer", None), Claimed) for _, m in answers), "I4", "claim not answered")
        return answers

    def inputs(self) -> Mapping[Any, Callable[[], Feed]]:
        """Nothing."""
        return {}

    def close(self) -> None:
        """The process is killed: what it was writing is on disk, or not."""
        self._closed = True
        if self._busy is not None and self._host.world.rng.random() < 0.5:
            self._do(self._busy)


# --- discovery --------------------------------------------------------------------------------------------------------


class SimSourceDriver:
    """Scans and stats the simulated folders; hints get lost."""

    def __init__(self, host: Host, name: str, generation: int) -> None:
        self._host, self._name, self._generation = host, name, generation
        self._watched: dict[str, str] = {}  # source id -> folder
        self._closed = False

    def perform(self, effect: Effect, now: float) -> Feed:
        """Answers come after a while."""
        world = self._host.world
        match effect:
            case Scan():
                self._watched[effect.source] = effect.base
                world.after(world.rng.uniform(0.001, 0.05), self._scan, effect)
            case Stat():
                world.after(world.rng.uniform(0.0001, 0.005), self._stat, effect)
            case Digest():
                for found in effect.files:
                    self._feed(Digested(effect.source, found, digest_of(found.identity.encode())))
        return []

    def _feed(self, message: Message) -> None:
        if not self._closed:
            self._host.world.arrive(self._name, self._generation, "", message)

    def _scan(self, effect: Scan) -> None:
        files = [f.found for f in self._host.folders.get(effect.base, {}).values()]
        self._feed(Scanned(effect.source, effect.number, files, done=True, watched=True))

    def _stat(self, effect: Stat) -> None:
        folder = self._host.folders.get(effect.base, {})
        files = [folder[i].found for i in effect.identities if i in folder]
        gone = [i for i in effect.identities if i not in folder]
        self._feed(Stated(effect.source, effect.number, files, gone))

    def hint(self, folder: str, identity: str, kind: str) -> None:
        """A file event, unless it gets lost."""
        for source, base in self._watched.items():
            if base == folder and self._host.world.rng.random() < 0.8:
                self._feed(FileEvent(source, identity, kind))  # type: ignore[arg-type]

    def inputs(self) -> Mapping[Any, Callable[[], Feed]]:
        """Nothing."""
        return {}

    def close(self) -> None:
        """The process is killed."""
        self._closed = True


# --- workers ----------------------------------------------------------------------------------------------------------


class SimPoolDriver:
    """Worker processes that run nodes over virtual time, die, and hang."""

    def __init__(self, host: Host, name: str, generation: int) -> None:
        self._host, self._name, self._generation = host, name, generation
        self._pids: dict[str, int] = {}
        self._closed = False

    def perform(self, effect: Effect, now: float) -> Feed:
        """Start, kill, or give work."""
        world = self._host.world
        match effect:
            case StartWorker():
                self._pids[effect.worker] = self._host.new_pid()
                ready = WorkerReady(pid=self._pids[effect.worker], code_digest="code")
                world.after(world.rng.uniform(0.005, 0.05), self._from, effect.worker, self._pids[effect.worker], ready)
            case StopWorker():
                world.after(0.0005, self._die, effect.worker, self._pids.get(effect.worker, 0), -9)
            case ToWorker(message=WorkerTask(task=task)):
                self._next(effect.worker, self._pids.get(effect.worker, 0), self._run(task))
            case ToWorker(message=WorkerExit()):
                world.after(0.0005, self._die, effect.worker, self._pids.get(effect.worker, 0), 0)
            case DeleteSpool():
                for pipeline, number in effect.iterations:
                    for path in [p for p in self._host.spool if p.startswith(f"{pipeline}/{number}/")]:
                        del self._host.spool[path]
        return []

    def inputs(self) -> Mapping[Any, Callable[[], Feed]]:
        """Nothing."""
        return {}

    def close(self) -> None:
        """The pool is killed, and every worker with it."""
        self._closed = True

    def kill_one(self) -> None:
        """SIGKILL of some worker."""
        if self._pids and not self._closed:
            worker = self._host.world.rng.choice(list(self._pids))
            self._host.world.count("crash worker")
            self._die(worker, self._pids[worker], -9)

    def _alive(self, worker: str, pid: int) -> bool:
        return not self._closed and pid != 0 and self._pids.get(worker) == pid

    def _from(self, worker: str, pid: int, message: Message) -> None:
        if self._alive(worker, pid):
            self._host.world.arrive(self._name, self._generation, worker, message)

    def _die(self, worker: str, pid: int, status: int) -> None:
        if self._alive(worker, pid):
            del self._pids[worker]
            self._host.world.arrive(self._name, self._generation, "", WorkerExited(worker, pid, status))

    def _next(self, worker: str, pid: int, steps: Any) -> None:
        """Let a task's generator go on: it yields (delay, message)."""
        if not self._alive(worker, pid):
            return
        world = self._host.world
        try:
            delay, message = next(steps)
        except StopIteration:
            return
        if isinstance(message, Started):
            if world.rng.random() < self._host.die:
                world.count("crash worker at work")
                world.after(delay, self._die, worker, pid, -9)
            elif world.rng.random() < self._host.hang:
                world.count("hang")
                world.after(delay, self._from, worker, pid, message)
                return
        world.after(delay, self._deliver, worker, pid, message, steps)

    def _deliver(self, worker: str, pid: int, message: Message, steps: Any) -> None:
        self._from(worker, pid, message)
        self._next(worker, pid, steps)

    # --- what a worker does ---

    def _run(self, task: Task | PublishTask) -> Iterable[tuple[float, Message]]:
        rng = self._host.world.rng
        if isinstance(task, PublishTask):
            yield 0.0001, Started(task.attempt, task.node.name)
            yield rng.uniform(0.001, 0.02), WorkerResult(self._publish(task), last=True)
            return
        outputs: dict[str, tuple[str, Output]] = {}
        for step in task.steps:
            yield 0.0001, Started(task.attempt, step.node.name)
            wait = rng.uniform(0.001, 0.05) if rng.random() < 0.95 else rng.uniform(0.5, 3.0)
            yield wait, Started(task.attempt, step.node.name)
            result = self._step(task, step, outputs, step is task.steps[-1])
            last = isinstance(result, NodeFailed) or step is task.steps[-1]
            yield 0.0001, WorkerResult(result, last=last)
            if last:
                return

    def _failed(self, task: Task | PublishTask, node: str, kind: FailureKind, **more: Any) -> NodeFailed:
        failure = Failure(kind, kind, **more)
        return NodeFailed(task.attempt, task.pipeline, task.iteration, node, failure, self._host.world.now, 0.01, "w")

    def _step(
        self, task: Task, step: Step, outputs: dict[str, tuple[str, Output]], last: bool
    ) -> NodeDone | NodeFailed:
        node = step.node
        digests: dict[str, str] = {}
        rows: list[int] = []
        salt = 0
        for name in node.inputs:
            if name not in outputs:
                ref = task.inputs[name]
                data = ref.data or self._host.spool.get(ref.path)
                if data is None or (name in task.verify and digest_of(data) != ref.digest):
                    return self._failed(task, node.name, "input_lost", lost=name)
                check(digest_of(data) == ref.digest, "I6", f"{task.pipeline}/{task.iteration}: damaged {name} was used")
                outputs[name] = (ref.digest, msgspec.msgpack.decode(data, type=Output))
            digests[name], output = outputs[name]
            rows += output.rows
            salt += output.salt
        if node.read is not None:
            folder = self._host.folders[node.read.connection.path]
            for position in step.positions:
                file = folder.get(position.identity)
                if file is None or (file.size, file.mtime_ns) != (position.size, position.mtime_ns):
                    return self._failed(task, node.name, "changed", position=position.identity)
                if file.malformed:
                    return self._failed(task, node.name, "malformed", position=position.identity, line=2)
                check(file.whole, "I1", f"{position.identity} was read before it was whole")
                rows += file.rows
        if node.transform is not None and self._host.nondeterministic:
            salt += self._host.world.rng.getrandbits(32)
        state = None
        if node.state:
            former = Output([], 0)
            if step.state is not None:
                found = self._host.content(step.state)
                if found is None:
                    return self._failed(task, node.name, "input_lost", lost=STATE)
                former = found
            digests[STATE] = step.state.digest if step.state is not None else ""
            state = self._keep(task, f"{node.name}-{task.attempt}.state", Output(former.rows + sorted(rows), salt))
        output = Output(sorted(rows), salt)
        data = msgspec.msgpack.encode(output)
        digest = digest_of(data)
        done = NodeDone(
            attempt=task.attempt,
            pipeline=task.pipeline,
            iteration=task.iteration,
            node=node.name,
            key=node_key(step.static, digests),
            started_at=self._host.world.now,
            duration=0.01,
            rows_in=len(rows),
            rows_out=len(rows),
            worker="w",
            last=last,
            schema=b"schema" if node.read is not None and not step.schema else b"",
            state=state,
        )
        if node.write is not None:
            staged = f"part-{task.iteration:010d}-{node.name}.{task.attempt}.staged"
            self._host.staged[f"{task.pipeline}/{staged}"] = data
            part = StagedRef(f"{task.pipeline}/{staged}", f"part-{task.iteration:010d}", len(rows), len(data), digest)
            return msgspec.structs.replace(done, staged=part)
        outputs[node.name] = (digest, output)
        return msgspec.structs.replace(done, output=self._keep(task, f"{node.name}-{task.attempt}", output))

    def _keep(self, task: Task, name: str, output: Output) -> BatchRef:
        data = msgspec.msgpack.encode(output)
        path = f"{task.pipeline}/{task.iteration}/{name}.arrow"
        where = self._host.keep(path, data, inline=len(data) < 24)
        return BatchRef(rows=len(output.rows), size=len(data), digest=digest_of(data), host="host", **where)

    def _publish(self, task: PublishTask) -> PublishDone | NodeFailed:
        host = self._host
        place = (task.pipeline, task.iteration, task.node.name)
        if task.action == "retract":
            host.truth.retracted(task.pipeline, task.after, task.iteration)
            for key in [k for k in host.visible if k[0] == place[0] and k[2] == place[2]]:
                if task.after < key[1] <= task.iteration:
                    del host.visible[key]
            return PublishDone(task.attempt, *place, "w")
        if task.action == "discard":
            host.staged.pop(task.part.staged, None)
            return PublishDone(task.attempt, *place, "w")
        if (task.pipeline, task.node.name) in host.broken:
            return self._failed(task, task.node.name, "conflict")
        data = host.staged.pop(task.part.staged, None)
        if data is None:
            if place in host.visible and digest_of(host.visible[place]) == task.part.digest:
                return PublishDone(task.attempt, *place, "w")
            return self._failed(task, task.node.name, "conflict")
        host.truth.published(*place, digest_of(data))
        if place in host.visible and host.visible[place] != data:
            return self._failed(task, task.node.name, "conflict")
        for number in range(1, task.iteration):
            earlier = host.truth.iterations.get((task.pipeline, number))
            skipped = earlier is not None and (
                earlier.state in ("cancelled", "dead_lettered", "rewound") or task.node.name in earlier.abandoned
            )
            done = skipped or (task.pipeline, number, task.node.name) in host.visible
            check(done, "I1", f"{place} is published before {number}")
        host.visible[place] = data
        return PublishDone(task.attempt, *place, "w")


__all__ = ["POOL", "START", "Host", "SimFile", "SimPoolDriver", "SimSourceDriver", "SimStoreDriver"]
