"""The pool's driver: worker processes that run nodes over virtual time, die, and hang."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

import msgspec

from odibi_actors.actor import DeleteSpool, Effect, Measure, StartWorker, StopWorker, ToWorker
from odibi_actors.messages import (
    LOCAL,
    AnyResult,
    Measured,
    Message,
    NodeDone,
    NodeFailed,
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
from odibi_actors.model import (
    PIN,
    STATE,
    Attempt,
    BatchRef,
    Failure,
    PositionRead,
    SchemaChange,
    node_key,
    pin_digest,
)
from odibi_actors.sim import columns, log
from odibi_actors.sim.columns import SHAPE
from odibi_actors.sim.host import Feed, Host, Output, digest_of
from odibi_actors.sim.truth import check
from odibi_actors.sim.work import Killed, Work, failed

SHARED, LEFT = 200_000_000, 50_000_000
"""Bytes that a worker has in memory at first, and that a task of it leaves behind, one to three times."""


def check_blame(host: Host, results: Sequence[AnyResult]) -> None:
    """Of a worker's death that node is told that ran."""
    for result in results:
        if isinstance(result, NodeFailed) and result.failure.kind in ("died", "timeout"):
            node, ran = f"{result.pipeline}/{result.iteration}/{result.node}", host.died.get(result.attempt)
            check(ran == result.node, "I5", f"{node} is blamed for the death of a worker that ran {ran or 'nothing'}")
            host.world.count(f"blamed: {result.failure.kind}")


class SimPoolDriver:
    """Worker processes that run nodes over virtual time, die, and hang."""

    def __init__(self, host: Host, work: Work, name: str, generation: int) -> None:
        self._host, self._work, self._name, self._generation = host, work, name, generation
        self._pids: dict[str, int] = {}
        self._frozen: dict[int, float] = {}  # pid -> until when it is stopped
        self._closed = False
        self._left: dict[int, list[tuple[Attempt, str]]] = {}  # pid -> nodes whose results it has not written
        self._memory: dict[int, int] = {}  # pid -> bytes: each task leaves some behind

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
                pid = self._pids.get(effect.worker, 0)
                nodes = [task.node] if isinstance(task, PublishTask) else [step.node for step in task.steps]
                self._left.setdefault(pid, []).extend((task.attempt, node.name) for node in nodes)
                self._next(effect.worker, pid, self._run(task))
            case Measure():
                found = {name: self._memory.get(self._pids.get(name, 0), 0) for name in effect.workers}
                return [(LOCAL, Measured({name: size for name, size in found.items() if size}))]
            case ToWorker(message=WorkerExit()):
                pid = self._pids.get(effect.worker, 0)
                check(not self._left.get(pid), "I5", f"{effect.worker} is told to end while it has tasks")
                world.count("worker told to end")
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

    def kill_one(self, rng: random.Random) -> None:
        """SIGKILL of some worker."""
        if self._pids and not self._closed:
            worker = rng.choice(list(self._pids))
            self._host.world.count("crash worker")
            self._die(worker, self._pids[worker], -9)

    def freeze_one(self, rng: random.Random, seconds: float) -> None:
        """SIGSTOP of some worker, and SIGCONT later."""
        if self._pids and not self._closed:
            worker = rng.choice(list(self._pids))
            self._host.world.count("stop worker")
            self._frozen[self._pids[worker]] = self._host.world.now + seconds

    def _alive(self, worker: str, pid: int) -> bool:
        return not self._closed and pid != 0 and self._pids.get(worker) == pid

    def _from(self, worker: str, pid: int, message: Message) -> None:
        if self._alive(worker, pid):
            self._host.world.arrive(self._name, self._generation, worker, message)

    def _die(self, worker: str, pid: int, status: int) -> None:
        if self._alive(worker, pid):
            del self._pids[worker]
            for attempt, node in self._left.pop(pid, [])[:1]:
                self._host.died[attempt] = node
            self._host.world.arrive(self._name, self._generation, "", WorkerExited(worker, pid, status))

    def _next(self, worker: str, pid: int, steps: Any) -> None:
        """Let a task's generator go on: it yields (delay, message, what its files do to the worker)."""
        if not self._alive(worker, pid):
            return
        world = self._host.world
        if self._frozen.get(pid, 0.0) > world.now:
            world.after(self._frozen[pid] - world.now, self._next, worker, pid, steps)
            return
        try:
            delay, message, poison = next(steps)
        except StopIteration:
            return
        except Killed as killed:
            world.count(f"crash worker at {killed}")
            self._die(worker, pid, -9)
            return
        if isinstance(message, Started):
            if poison == "kills":
                world.after(delay, self._die, worker, pid, -9)
            elif world.rng.random() < self._host.die:
                world.count("crash worker at work")
                world.after(delay, self._die, worker, pid, -9)
            elif world.rng.random() < self._host.hang:
                world.count("hang")
                world.after(delay, self._from, worker, pid, message)
                return
        world.after(delay, self._deliver, worker, pid, message, steps)

    def _deliver(self, worker: str, pid: int, message: Message, steps: Any) -> None:
        if isinstance(message, WorkerResult) and self._alive(worker, pid):
            message = self._written(pid, message)
        self._from(worker, pid, message)
        self._next(worker, pid, steps)

    def _written(self, pid: int, message: WorkerResult) -> WorkerResult:
        """From now on its worker is at the next node, or done with the task."""
        left = self._left[pid]
        if not message.last:
            self._left[pid] = left[1:]
            return message
        self._left[pid] = [one for one in left if one[0] != message.result.attempt]
        self._memory[pid] = self._memory.get(pid, SHARED) + LEFT * (1 + pid % 3)
        return msgspec.structs.replace(message, memory=self._memory[pid])

    # --- what a worker does ---

    def _run(self, task: Task | PublishTask) -> Iterable[tuple[float, Message, str]]:
        rng = self._host.world.rng
        if isinstance(task, PublishTask):
            self._host.tried.add((task.pipeline, task.iteration, task.node.name, task.attempt.epoch))
            yield 0.0001, Started(task.attempt, task.node.name), ""
            yield rng.uniform(0.001, 0.02), WorkerResult(self._work.publish(task), last=True), ""
            return
        outputs: dict[str, tuple[str, Output]] = {}
        for step in task.steps:
            yield 0.0001, Started(task.attempt, step.node.name), self._poisoned(step)
            wait = rng.uniform(0.001, 0.05) if rng.random() < 0.95 else rng.uniform(0.5, 3.0)
            yield wait, Started(task.attempt, step.node.name), ""
            result = self._step(task, step, outputs, step is task.steps[-1])
            last = isinstance(result, NodeFailed) or step is task.steps[-1]
            yield 0.0001, WorkerResult(result, last=last), ""
            if last:
                return

    def _poisoned(self, step: Step) -> str:
        """What the node's files do to whoever reads them."""
        if step.node.read is None:
            return ""
        folder = self._host.folders[step.node.read.connection.path]
        names = [name for position in step.positions for name in log.records(position)]
        files = [folder[name] for name in names if name in folder]
        return next((file.poison for file in files if file.poison), "")

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
                    return failed(self._host, task, node.name, Failure("input_lost", "input_lost", lost=name))
                check(digest_of(data) == ref.digest, "I6", f"{task.pipeline}/{task.iteration}: damaged {name} was used")
                outputs[name] = (ref.digest, msgspec.msgpack.decode(data, type=Output))
            digests[name], output = outputs[name]
            rows += output.rows
            salt += output.salt
        if self._host.spool_full_until > self._host.world.now and node.write is None:
            return failed(self._host, task, node.name, Failure("full", "full"))
        if self._poisoned(step) == "raises":
            return failed(self._host, task, node.name, Failure("raised", "raised"))
        files: list[PositionRead] = []
        shape = b""
        if node.read is not None:
            reading = self._work.read(task, step)
            if isinstance(reading, NodeFailed):
                return reading
            rows, shape, files = reading
        if node.transform is not None:
            self._work.transform(task, step, {name: outputs[name][1] for name in node.inputs})
        if node.transform is not None and self._host.nondeterministic:
            salt += self._host.world.rng.getrandbits(32)
        state = None
        if node.state:
            former = Output([], 0)
            if step.state is not None:
                found = self._host.content(step.state)
                if found is None:
                    return failed(self._host, task, node.name, Failure("input_lost", "input_lost", lost=STATE))
                former = found
            digests[STATE] = step.state.digest if step.state is not None else ""
            state = self._keep(task, f"{node.name}-{task.attempt}.state", Output(former.rows + sorted(rows), salt))
        if node.read is not None and shape not in (b"", SHAPE) and columns.columns_of(shape):
            salt += crc32(shape)  # rows of other columns are other bytes
        output, part = Output(sorted(rows), salt), None
        schema = shape if node.read is not None and shape != step.schema else b""
        if node.write is not None:
            staged = self._work.stage(task, step, output)
            if isinstance(staged, NodeFailed):
                return staged
            part, schema = staged
            if columns.evolves(node):
                self._host.read_as[task.attempt, node.name] = schema or step.schema
            if pin := pin_digest(schema or step.schema):
                digests[PIN] = pin
        if node.read is not None and shape:
            digests[PIN] = pin_digest(shape)
            self._host.read_as[task.attempt, node.name] = shape
        changes = self._changes(step, task.iteration)
        if columns.rescues(node):
            self._host.kept_of[task.attempt, node.name] = [one.column for one in changes]
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
            schema=schema,
            schema_text=columns.text_of(schema) if columns.says(node) else [],
            changes=changes,
            state=state,
            files=files,
        )
        if part is not None:
            return msgspec.structs.replace(done, staged=part)
        outputs[node.name] = (digest_of(msgspec.msgpack.encode(output)), output)
        return msgspec.structs.replace(done, output=self._keep(task, f"{node.name}-{task.attempt}", output))

    def _changes(self, step: Step, iteration: int) -> list[SchemaChange]:
        """How the columns of what was read, or staged, are others than the pinned ones."""
        node, rescues = step.node, columns.rescues(step.node)
        if not (columns.evolves(node) and step.schema and not step.open) and not rescues:
            return []
        if node.read is None:
            return columns.taken(step.schema, [columns.of_part(iteration)]).changes
        folder = self._host.folders[node.read.connection.path]
        there = [folder[one.identity].shape for one in step.positions if one.identity in folder]
        return (columns.kept if rescues else columns.taken)(step.schema, there).changes

    def _keep(self, task: Task, name: str, output: Output) -> BatchRef:
        data = msgspec.msgpack.encode(output)
        path = f"{task.pipeline}/{task.iteration}/{name}.arrow"
        where = self._host.keep(path, data, inline=len(data) < 24)
        return BatchRef(rows=len(output.rows), size=len(data), digest=digest_of(data), host="host", **where)
