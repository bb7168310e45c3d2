"""The workers of a pool and the tasks they hold: plain bookkeeping, no decisions about the broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from odibi_actors import messages as m
from odibi_actors.model import Attempt

BACKOFF, BACKOFF_MAX = 0.1, 30.0  # seconds before the next start when workers die while starting, doubling

State = Literal["starting", "idle", "busy", "stopping"]


class Held:
    """A task the pool holds, and how far it is."""

    def __init__(self, task: m.AnyTask, now: float) -> None:
        self.task = task
        self.taken_at = now
        self.began_at: float | None = None
        self.dropped = False
        self._left = [step.node.name for step in task.steps] if isinstance(task, m.Task) else [task.node.name]

    @property
    def attempt(self) -> Attempt:
        """The task's."""
        return self.task.attempt

    @property
    def code(self) -> str:
        """The code digest it needs; "" when any will do (publishing runs no code of the user)."""
        return self.task.code_digest if isinstance(self.task, m.Task) else ""

    def left(self) -> list[str]:
        """Nodes without a result."""
        return self._left

    def node(self) -> str:
        """The node that runs, or would be next."""
        return self._left[0] if self._left else ""

    def begin(self, now: float) -> float:
        """Its worker runs the next node now; returns when that must be done. No message says so: a worker has nothing
        else to do, so it begins a task when it gets it, and a node when the one before it is done."""
        self.began_at = now
        return now + self.timeout()

    def timeout(self) -> float:
        """Seconds the next node may run."""
        nodes = [self.task.node] if isinstance(self.task, m.PublishTask) else [step.node for step in self.task.steps]
        return next((node.timeout for node in nodes if node.name == self.node()), 0.0)

    def end(self, node: str) -> None:
        """A node is done."""
        self.began_at = None
        if node in self._left:
            self._left.remove(node)

    def describe(self, running: bool) -> m.HeldTask:
        """For PoolHello."""
        task = self.task
        publish = isinstance(task, m.PublishTask)
        steps = [] if publish else [(s.node.name, s.static) for s in task.steps if s.node.name in self._left]  # type: ignore[union-attr]
        if isinstance(task, m.PublishTask):
            steps = [(task.node.name, "")]
        return m.HeldTask(task.attempt, task.pipeline, task.iteration, steps, running, publish)


class Worker:
    """One worker process. The first of ``tasks`` runs, the others wait in its queue.

    ``deadline``: when its pool loses patience. ``doom``: why it was told to stop or killed, "" if it was not.
    """

    def __init__(self, name: str, now: float, deadline: float) -> None:
        self.name = name
        self.pid = 0
        self.state: State = "starting"
        self.since = now
        self.deadline: float | None = deadline
        self.code_digest = ""
        self.tasks: list[Held] = []
        self.memory = 0  # bytes it had in memory when it was last looked at; 0: not known
        self.quick = True  # all its tasks are short, so that others may wait behind them
        self.done = 0
        self.doom = ""
        self.leaving = False  # once it is idle it makes way for a fresh one, as an operator asked
        self.doomed = ""  # the node it was killed for
        self.killed = False

    def expect(self, deadline: float) -> None:
        """Patience until then; a killed worker is waited for without end, the kernel decides."""
        if not self.killed:
            self.deadline = deadline

    def give(self, held: Held, short: bool, now: float) -> None:
        """It holds one more."""
        self.quick = short and (self.quick or not self.tasks)
        self.tasks.append(held)
        if self.state == "idle":
            self.state, self.since, self.deadline = "busy", now, held.begin(now)

    def rest(self, now: float) -> None:
        """Its first task is finished: on with the next, or idle."""
        self.done += 1
        if self.state == "busy":
            self.since = now
            self.state, self.deadline = ("busy", self.tasks[0].begin(now)) if self.tasks else ("idle", None)

    def info(self) -> m.WorkerInfo:
        """For heartbeats."""
        doing = ""
        if self.tasks:
            task = self.tasks[0].task
            doing = f"{task.pipeline}/{task.iteration}/{self.tasks[0].node()}"
        return m.WorkerInfo(self.name, self.pid, self.state, doing, self.since, self.done, self.memory)


class Crew:
    """All workers of a pool by name, in the order they were started. Names are never used twice by one pool."""

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self._workers: dict[str, Worker] = {}
        self._count = 0
        self._failures = 0
        self._start_after = float("-inf")

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._workers.values()))

    def get(self, name: str) -> Worker | None:
        """The worker of that name, unless it is gone."""
        return self._workers.get(name)

    def infos(self) -> list[m.WorkerInfo]:
        """One per worker."""
        return [worker.info() for worker in self]

    def working(self) -> int:
        """Workers that are not on their way out."""
        return sum(1 for worker in self if worker.state != "stopping")

    def hire(self, now: float, deadline: float) -> Worker:
        """A new worker, to be up by ``deadline``."""
        self._count += 1
        worker = Worker(f"{self._pool}-{self._count}", now, deadline)
        self._workers[worker.name] = worker
        return worker

    def ready(self, worker: Worker, pid: int, code_digest: str, now: float) -> None:
        """It came up."""
        worker.pid, worker.code_digest = pid, code_digest
        worker.state, worker.since, worker.deadline = "idle", now, None
        self._failures, self._start_after = 0, float("-inf")

    def gone(self, worker: Worker, now: float) -> None:
        """Its process is dead. One that dies while starting delays the next start."""
        del self._workers[worker.name]
        if worker.state == "starting" or worker.doom == "start":
            self._start_after = now + min(BACKOFF * 2**self._failures, BACKOFF_MAX)
            self._failures = min(self._failures + 1, 10)

    def may_start(self, now: float) -> bool:
        """Whether the backoff is over."""
        return now >= self._start_after

    def surplus(self, wanted: int) -> list[Worker]:
        """Workers to dismiss now: starting ones first, then idle ones; busy ones finish before their turn comes."""
        spare = self.working() - wanted
        if spare <= 0:
            return []
        free = [w for w in self if w.state == "starting"] + [w for w in self if w.state == "idle"]
        return free[:spare]

    def outdated(self, code: str, waiting: Sequence[Held]) -> list[Worker]:
        """Idle workers with other code, as many as tasks wait for ``code``, which the newest parent has."""
        wanting = sum(1 for held in waiting if held.code == code)
        old = [w for w in self if w.state == "idle" and w.code_digest != code]
        return old[:wanting] if any(w.code_digest == code for w in self) else []

    def idle(self) -> Worker | None:
        """Any idle worker."""
        return next((worker for worker in self if worker.state == "idle"), None)

    def has_code(self, held: Held) -> bool:
        """Whether some worker has, or may turn out to have, the code this task needs."""
        return not held.code or any(
            w.state == "starting" or w.code_digest == held.code for w in self if w.state != "stopping"
        )

    def free(self, held: Held, short: bool, room: Callable[[Worker], int]) -> Worker | None:
        """The worker with the fewest tasks that can run this one: an idle one, or, when this task and all before it are
        short, one with less than it has ``room`` for."""
        best: Worker | None = None
        for worker in self._workers.values():
            if worker.state not in ("idle", "busy") or len(worker.tasks) >= room(worker):
                continue
            if worker.tasks and not (short and worker.quick):
                continue
            if held.code and worker.code_digest != held.code:
                continue
            if best is None or len(worker.tasks) < len(best.tasks):
                best = worker
        return best

    def overdue(self, now: float) -> list[Worker]:
        """Workers their pool has lost patience with."""
        return [worker for worker in self if worker.deadline is not None and worker.deadline <= now]

    def deadlines(self, wanted: int) -> list[float]:
        """When the pool must look at them next."""
        times = [worker.deadline for worker in self if worker.deadline is not None]
        if self.working() < wanted:
            times.append(self._start_after)
        return times
