"""The pool's driver: worker processes that run nodes over virtual time, die, and hang."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from odibi_actors.actor import DeleteSpool, Effect, Measure, StartWorker, StopWorker, ToWorker
from odibi_actors.messages import (
    LOCAL,
    Measured,
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
from odibi_actors.model import (
    LIVE,
    PIN,
    STATE,
    BatchRef,
    Failure,
    FailureKind,
    PositionRead,
    StagedRef,
    node_key,
    pin_digest,
)
from odibi_actors.sim import targets
from odibi_actors.sim.host import Feed, Host, Output, digest_of
from odibi_actors.sim.truth import check
from odibi_actors.sources.file_position import file_times

SHARED, LEFT = 200_000_000, 50_000_000
"""Bytes that a worker has in memory at first, and that a task of it leaves behind, one to three times."""


class SimPoolDriver:
    """Worker processes that run nodes over virtual time, die, and hang."""

    def __init__(self, host: Host, name: str, generation: int) -> None:
        self._host, self._name, self._generation = host, name, generation
        self._pids: dict[str, int] = {}
        self._frozen: dict[int, float] = {}  # pid -> until when it is stopped
        self._closed = False
        self._tasks: dict[int, int] = {}  # pid -> tasks it was given and has not ended
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
                self._tasks[pid] = self._tasks.get(pid, 0) + 1
                self._next(effect.worker, pid, self._run(task))
            case Measure():
                found = {name: self._memory.get(self._pids.get(name, 0), 0) for name in effect.workers}
                return [(LOCAL, Measured({name: size for name, size in found.items() if size}))]
            case ToWorker(message=WorkerExit()):
                pid = self._pids.get(effect.worker, 0)
                check(not self._tasks.get(pid), "I5", f"{effect.worker} is told to end while it has tasks")
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
        if isinstance(message, WorkerResult) and message.last:
            self._tasks[pid] -= 1
            self._memory[pid] = self._memory.get(pid, SHARED) + LEFT * (1 + pid % 3)
            message = msgspec.structs.replace(message, memory=self._memory[pid])
        self._from(worker, pid, message)
        self._next(worker, pid, steps)

    # --- what a worker does ---

    def _run(self, task: Task | PublishTask) -> Iterable[tuple[float, Message, str]]:
        rng = self._host.world.rng
        if isinstance(task, PublishTask):
            yield 0.0001, Started(task.attempt, task.node.name), ""
            yield rng.uniform(0.001, 0.02), WorkerResult(self._publish(task), last=True), ""
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
        files = [folder[position.identity] for position in step.positions if position.identity in folder]
        return next((file.poison for file in files if file.poison), "")

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
        if self._host.spool_full_until > self._host.world.now and node.write is None:
            return self._failed(task, node.name, "full")
        if self._poisoned(step) == "raises":
            return self._failed(task, node.name, "raised")
        files: list[PositionRead] = []
        shape = step.schema
        if node.read is not None:
            folder = self._host.folders[node.read.connection.path]
            for position in step.positions:
                file = folder.get(position.identity)
                times = file_times(position.detail)
                same = file is not None and (file.size, file.mtime_ns) == (position.size, times.mtime_ns)
                if file is None or not same or position.digest not in ("", file.digest):
                    return self._failed(task, node.name, "changed", position=position.identity)
                shape = shape or file.shape
                if file.malformed or file.shape not in (b"", shape):
                    return self._failed(task, node.name, "malformed", position=position.identity, line=2)
                check(file.whole, "I1", f"{position.identity} was read before it was whole")
                rows += file.rows
                times = times._replace(ctime_ns=file.ctime_ns)
                files.append(PositionRead(bytes.fromhex(file.digest), times.packed()))
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
        schema = shape if node.read is not None and not step.schema else b""
        if node.write is not None:
            # Iterations disagree about the schema of a sink, so that whether one is pinned makes a difference.
            schema = b"" if step.schema and not step.open else b"schema %d" % (task.iteration % 2)
            digests[PIN] = pin_digest(schema or step.schema)
        if node.read is not None and shape:
            digests[PIN] = pin_digest(shape)
            self._host.read_as[task.attempt, node.name] = shape
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
            schema=schema,
            state=state,
            files=files,
        )
        if node.write is not None:
            staged = f"part-{task.iteration:010d}-{node.name}.{task.attempt}.staged"
            if self._host.staged.get(f"{task.pipeline}/{staged}", data) != data:
                staged = f"{staged}-{digest}"  # another part of that attempt, from before an older store was put back
            self._host.staged[f"{task.pipeline}/{staged}"] = data
            target, replaces = f"part-{task.iteration:010d}", node.write.mode == "overwrite"
            at = node.write.target
            target = f"{at}/{task.attempt}/{target}" if replaces else f"{at}/{target}"
            part = StagedRef(
                at,
                f"{task.pipeline}/{staged}",
                target,
                len(rows),
                len(data),
                digest,
                exclusive=at.name,
                retracts=True,
                replaces=replaces,
            )
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
            check((place[0], place[2]) not in host.current, "I3", f"{place}: what was overwritten is taken back")
            host.truth.retracted(task.pipeline, task.after, task.iteration)
            for key in [k for k in host.visible if k[0] == place[0] and k[2] == place[2]]:
                if task.after < key[1] <= task.iteration and key[1] not in task.given_up:
                    del host.visible[key]
                    host.changes += 1
            lacks = host.missing.get((place[0], place[2]), [])
            lacks[:] = [key for key in lacks if not task.after < key[1] <= task.iteration]
            return PublishDone(task.attempt, *place, "w")
        if task.action == "discard":
            host.changes += host.staged.pop(task.part.staged, None) is not None
            lacks = host.missing.get((place[0], place[2]), [])
            lacks[:] = [key for key in lacks if key != place]
            if place in host.visible and digest_of(host.visible[place]) == task.part.digest:
                self._unpublish(place)
            return PublishDone(task.attempt, *place, "w")
        if (task.pipeline, task.node.name) in host.broken or targets.lacks(host, task) or targets.unknown(host, task):
            return self._failed(task, task.node.name, "conflict")
        data = host.staged.get(task.part.staged)
        if data is None:
            if place in host.visible and digest_of(host.visible[place]) == task.part.digest:
                return PublishDone(task.attempt, *place, "w")
            return self._failed(task, task.node.name, "conflict")
        if place in host.visible and host.visible[place] != data:
            return self._failed(task, task.node.name, "conflict")
        host.truth.published(*place, digest_of(data))
        del host.staged[task.part.staged]
        self._check_order(task)
        if place in host.visible:
            return PublishDone(task.attempt, *place, "w")
        targets.check_once(host, task)
        host.changes += 1
        host.visible[place] = data
        if task.part.replaces:
            self._overwrite(task)
        return PublishDone(task.attempt, *place, "w")

    def _unpublish(self, place: tuple[str, int, str]) -> None:
        """Somebody died after it was published, and before that was told; what was overwritten stays so."""
        if (place[0], place[2]) not in self._host.current:
            del self._host.visible[place]
            self._host.changes += 1
            self._host.world.count("published and given up")

    def _overwrite(self, task: PublishTask) -> None:
        """What the sink holds is replaced, never by what is older."""
        host, sink = self._host, (task.pipeline, task.node.name)
        name = f"{task.pipeline}/{task.iteration}/{task.node.name}"
        check(host.current.get(sink, 0) < task.iteration, "I1", f"{name} replaces {host.current.get(sink)}")
        check(task.lane == LIVE, "I1", f"{name} of {task.lane} replaces what is live")
        replay = host.truth.iterations[task.pipeline, task.iteration].plan.replay
        if replay is not None and not host.cumulative(*sink):
            later = [n for p, n, s in host.visible if (p, s) == sink and replay.iteration < n < task.iteration]
            check(not later and replay.whole, "I1", f"{name}, a replay of {replay.iteration}, replaces {later}")
        host.current[sink] = task.iteration
        host.world.count("overwritten")

    def _check_order(self, task: PublishTask) -> None:
        """A part is published after those before it in its lane. What it calls settled is so, durably: a sink deletes
        parts and markers up to there."""
        host, node = self._host, task.node.name
        for number in range(1, task.iteration):
            earlier = host.truth.iterations.get((task.pipeline, number))
            if number <= task.settled:
                settled = earlier is not None and earlier.terminal
                check(settled, "I2", f"{task.pipeline}: {number} is not settled when {task.iteration} is published")
            if earlier is not None and earlier.plan.lane != task.lane:
                continue
            skipped = earlier is not None and (
                earlier.state in ("cancelled", "dead_lettered", "rewound")
                or node in earlier.abandoned
                or (earlier.state in ("prepared", "blocked", "committed") and node not in earlier.sinks)
            )
            place = (task.pipeline, number, node)
            done = skipped or place in host.visible or place in host.missing.get((task.pipeline, node), [])
            check(done, "I1", f"{task.pipeline}/{task.iteration}/{node} is published before {number}")
