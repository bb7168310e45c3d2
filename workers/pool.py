"""The worker pool as a pure state machine: which worker runs which task, and what came of it.

Two rules: a task the broker gave is held until its last result is confirmed (Forget), and a worker's death is
answered at once: the node it ran is reported failed, what it had not begun is returned.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

from odibi_actors import messages as m
from odibi_actors.actor import DeleteSpool, Effect, Log, Measure, Send, StartWorker, Stop, StopWorker, ToWorker
from odibi_actors.model import LIVE, Attempt, Failure
from odibi_actors.units import size
from odibi_actors.workers.crew import Crew, Held, Worker
from odibi_actors.workers.limits import Limits
from odibi_actors.workers.outbox import Outbox
from odibi_actors.workers.suspects import Suspects
from odibi_actors.workers.warmth import Warmth

HELLO_AGAIN = 2.0  # seconds without Welcome before saying Hello again
STOP_GRACE = 5.0  # seconds for an idle worker to exit when told to; then it is killed
START_TIMEOUT = 60.0  # seconds for a worker to come up, the warm parent's imports included
CONFIRM_WAIT = 3.0  # seconds a drained pool waits for its last results to be confirmed
BYE_WAIT = 1.0  # seconds it then waits for ByeAck
QUEUE_MAX = 64  # tasks per worker that wait here; beyond the broker's credit something is wrong
SHORT = 0.005  # seconds: nodes below this last took are short, and worth queueing at a worker
PREFETCH = 16  # tasks a worker holds at most, when all of them are short
FRESH_PAUSE = 2.0  # seconds between fresh parents, so that code nobody has does not become a hot loop
FINISHED_IN_HELLO = 1000  # NodeDone listed in PoolHello; with inline outputs this stays far below a frame's limit
SPOOL_IN_HELLO = 50_000
SEEN_MAX = 20_000  # finished attempts remembered, so that a repeated Tasks does not run one again
WORKERS_MAX = 256

_ENDS = {
    "": "a worker is gone",
    "timeout": "a worker was killed: its node ran longer than its timeout",
    "start": "a worker was killed: it did not come up",
    "operator": "a worker was killed, as an operator asked",
    "drop": "a worker was killed: nobody wants any more what it ran",
    "code": "a worker with other code than nodes/ now has was replaced",
    "scale": "a surplus worker has ended",
}
"""Why a worker was told to end, or was killed -> what the log says of its end; only "" is an accident."""

_SIGNALS = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}
_SENT = frozenset({1, 2, 9, 15})


class PoolActor:
    """See ``actor.Actor``. ``capacity``: worker processes to keep; ``code_digest``: of ``nodes/`` at start;
    ``spool``: the (pipeline, iteration) folders found on disk; ``memory``: bytes that the host has for workers, 0 where
    they are no processes of their own, which nothing could replace."""

    def __init__(
        self,
        name: str,
        incarnation: str,
        host: str,
        pid: int,
        capacity: int,
        code_digest: str,
        spool: Sequence[tuple[str, int]] = (),
        memory: int = 0,
    ) -> None:
        self.name, self.incarnation, self.host, self.pid = name, incarnation, host, pid
        self.capacity, self.code_digest = capacity, code_digest
        self.epoch = 0
        self.joined = False
        self.queue: list[Held] = []
        self.crew = Crew(name)
        self.outbox = Outbox()
        self.warmth = Warmth()
        self.suspects = Suspects()
        self.limits = Limits(memory)
        self.spool: dict[tuple[str, int], None] = dict.fromkeys(spool)
        self.seen: OrderedDict[Attempt, None] = OrderedDict()
        self.last: OrderedDict[tuple[str, str], float] = OrderedDict()  # (pipeline, node) -> seconds it last took
        self.beat_at = 0.0
        self.hello_at: float | None = None
        self.fresh_at = float("-inf")  # when the newest warm parent was asked for
        self.fresh_for: str | None = None  # the worker that will tell what code it has
        self.read_at = float("-inf")  # when the newest one that has read nodes/ was asked for
        self.drain_since: float | None = None
        self.bye_at: float | None = None
        self.drained_at: float | None = None

    # --- the actor's four methods --------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        self.beat_at = now + m.HEARTBEAT
        return self._staff(now)

    def handle(self, sender: str, message: m.Message, now: float) -> list[Effect]:
        if sender == m.BROKER:
            return self._from_broker(message, now)
        if sender == m.LOCAL:
            return self._from_runtime(message, now)
        worker = self.crew.get(sender)
        return [] if worker is None else self._from_worker(worker, message, now)

    def flush(self, now: float) -> list[Effect]:
        effects = self._staff(now) + self._assign(now)
        if self.joined:
            results = self.outbox.due(now)
            if results:
                effects.append(Send(m.BROKER, m.Results(self.epoch, results)))
        return effects + self._leave(now)

    def deadline(self) -> float | None:
        times = [self.beat_at]
        times += [t for t in (self.hello_at, self.bye_at, self.drained_at, self.warmth.deadline()) if t is not None]
        if self.joined:
            times += self.outbox.deadlines()
        times += self.crew.deadlines(self.capacity if self.drain_since is None else 0)
        if self._stale() is not None:
            times.append(self.fresh_at + FRESH_PAUSE)
        return min(times)

    # --- messages ------------------------------------------------------------------------------------------------

    def _from_runtime(self, message: m.Message, now: float) -> list[Effect]:
        match message:
            case m.Connected():
                return self._hello(now)
            case m.Tick():
                return self._tick(now)
            case m.Terminate(at_once=True):
                return [*(StopWorker(w.name) for w in self.crew), Stop(0, "told twice to stop: stopped at once")]
            case m.Terminate():
                return self._drain(now)
            case m.Measured():
                for name, size in message.memory.items():
                    if (measured := self.crew.get(name)) is not None:
                        measured.memory = size
            case m.Warming():
                self.warmth.hear(message, now)
                for starting in self.crew:
                    if starting.state == "starting":
                        starting.expect(now + START_TIMEOUT)
            case m.WorkerExited():
                worker = self.crew.get(message.worker)
                return [] if worker is None else self._exited(worker, message, now)
        return []

    def _from_broker(self, message: m.Message, now: float) -> list[Effect]:
        match message:
            case m.Welcome():
                return self._welcome(message, now)
            case m.WhoAreYou():
                return self._hello(now)
            case m.Refused(final=True):
                self.joined, self.hello_at = False, None
                return [Log("error", "the broker refuses this pool", {"reason": message.reason})]
            case m.Refused():
                self.joined, self.hello_at = False, now + HELLO_AGAIN
                return [Log("error", "the broker refuses this pool; asking again", {"reason": message.reason})]
            case m.Shutdown():
                return self._drain(now)
            case m.ByeAck() if self.drain_since is not None and self.bye_at is not None:
                return [Stop(0, "drained")]
            case m.KillWorker():
                return self._kill(message.worker, "operator")
            case m.DrainWorker():
                if (worker := self.crew.get(message.worker)) is not None:
                    worker.leaving = True
                return []
        epoch = getattr(message, "epoch", None)
        if epoch is None or epoch < self.epoch:
            return []  # an older broker has no say any more
        self.epoch = epoch
        match message:
            case m.Tasks():
                for task in message.tasks:
                    self._take(task, now)
            case m.Drop():
                return [e for attempt in message.attempts for e in self._drop(attempt)]
            case m.Forget():
                for attempt, node in message.confirmed:
                    self.outbox.confirm(attempt, node)
            case m.Release():
                for key in message.iterations:
                    self.spool.pop(key, None)
                return [DeleteSpool(message.iterations)]
            case m.Scale():
                return self._scale(max(0, min(message.workers, WORKERS_MAX)))
            case m.WorkerLimits():
                self.limits.hear(message.limits)
        return []

    def _from_worker(self, worker: Worker, message: m.Message, now: float) -> list[Effect]:
        match message:
            case m.WorkerReady() if worker.state == "starting":
                self.crew.ready(worker, message.pid, message.code_digest, now)
                if worker.name == self.fresh_for:
                    self.fresh_for, self.code_digest, self.read_at = None, message.code_digest, self.fresh_at
                    self._refuse_other_code(now)
            case m.WorkerResult():
                return self._result(worker, message, now)
        return []

    # --- joining and leaving --------------------------------------------------------------------------------------

    def _hello(self, now: float) -> list[Effect]:
        self.joined, self.hello_at = False, now + HELLO_AGAIN
        if self.drain_since is not None and self.bye_at is not None:
            return []
        finished = self.outbox.done(FINISHED_IN_HELLO)
        self.outbox.hello(now)
        held = [held.describe(worker is not None) for worker, held in self._held()]
        hello = m.PoolHello(
            self.incarnation,
            self.host,
            self.pid,
            self.capacity if self.drain_since is None else 0,
            self.code_digest,
            self.epoch,
            self.crew.infos(),
            held,
            finished,
            list(self.spool)[-SPOOL_IN_HELLO:],
            draining=self.drain_since is not None,
            problems=self.warmth.problems(now),
        )
        return [Send(m.BROKER, hello)]

    def _welcome(self, message: m.Welcome, now: float) -> list[Effect]:
        if message.epoch < self.epoch:
            return []
        self.epoch, self.joined, self.hello_at = message.epoch, True, None
        self.beat_at = now + m.HEARTBEAT
        return [Log("info", "joined", {"epoch": self.epoch})]

    def _tick(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if self.hello_at is not None and self.hello_at <= now:
            effects += self._hello(now)
        if self.beat_at <= now:
            self.beat_at = now + m.HEARTBEAT
            if self.joined:
                held: OrderedDict[Attempt, None] = OrderedDict((h.attempt, None) for _, h in self._held())
                held.update(self.outbox.attempts())
                beat = m.Heartbeat(self.epoch, list(held), self.crew.infos(), problems=self.warmth.problems(now))
                effects.append(Send(m.BROKER, beat))
            if up := [worker.name for worker in self.crew if worker.pid]:
                effects.append(Measure(up))
        effects += self.warmth.tick(now)
        for worker in self.crew.overdue(now):
            effects += self._overdue(worker)
        return effects

    def _drain(self, now: float) -> list[Effect]:
        if self.drain_since is not None:
            return []
        self.drain_since = now
        for held in self.queue:
            self._return(held, "the pool is draining", now)
        self.queue.clear()
        effects: list[Effect] = [Log("info", "draining", {"running": len(self._held())})]
        return effects + (self._hello(now) if self.joined else [])  # a capacity of 0 keeps further tasks away

    def _leave(self, now: float) -> list[Effect]:
        """The end of a drain: last results confirmed, Bye, ByeAck; each for a bounded time, since a broker that is
        gone loses nothing: what it did not hear is run again."""
        if self.drain_since is None or self._held():
            return []
        if self.bye_at is not None:
            return [Stop(0, "drained; the broker did not answer")] if self.bye_at <= now else []
        if self.drained_at is None:
            self.drained_at = now + CONFIRM_WAIT
        if len(self.outbox) and now < self.drained_at:
            return []
        self.bye_at, self.drained_at = now + BYE_WAIT, None
        return [Send(m.BROKER, m.Bye())]

    # --- tasks ----------------------------------------------------------------------------------------------------

    def _held(self) -> list[tuple[Worker | None, Held]]:
        """Every unfinished task, with the worker that runs it (None for those that only wait)."""
        at_workers = [(worker if i == 0 else None, held) for worker in self.crew for i, held in enumerate(worker.tasks)]
        return at_workers + [(None, held) for held in self.queue]

    def _take(self, task: m.AnyTask, now: float) -> None:
        attempt = task.attempt
        if attempt in self.seen:
            return
        self._remember(attempt)
        held = Held(task, now)
        if self.drain_since is not None:
            self._return(held, "the pool is draining", now)
        elif len(self.queue) >= QUEUE_MAX * max(1, self.capacity):
            self._return(held, f"the pool holds {len(self.queue)} tasks already", now)
        else:
            self.queue.append(held)

    def _remember(self, attempt: Attempt) -> None:
        self.seen[attempt] = None
        while len(self.seen) > SEEN_MAX:
            self.seen.popitem(last=False)

    def _drop(self, attempt: Attempt) -> list[Effect]:
        self._remember(attempt)
        self.outbox.drop(attempt)
        self.queue = [held for held in self.queue if held.attempt != attempt]
        for worker in self.crew:
            for i, held in enumerate(worker.tasks):
                if held.attempt == attempt:
                    held.dropped = True
                    return self._kill(worker.name, "drop") if i == 0 else []
        return []

    def _assign(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        waiting: list[Held] = []
        # Publications first: they end iterations, and only that makes room for new ones. Backfills after what is live.
        eligible = self.suspects.eligible(self.queue, self.crew)
        for held in sorted(self.queue, key=lambda held: (isinstance(held.task, m.Task), held.task.lane != LIVE)):
            if eligible is not self.queue and held not in eligible:
                waiting.append(held)
                continue
            short = self._short(held)
            worker = self.crew.free(held, short, lambda one: self.limits.room(one, PREFETCH))
            if worker is None:
                waiting.append(held)
                continue
            worker.give(held, short, now)
            effects.append(ToWorker(worker.name, m.WorkerTask(held.task)))
        self.queue = waiting
        return effects

    def _short(self, held: Held) -> bool:
        took = (self.last.get((held.task.pipeline, node), SHORT) for node in held.left())
        return isinstance(held.task, m.Task) and sum(took) < SHORT

    def _result(self, worker: Worker, message: m.WorkerResult, now: float) -> list[Effect]:
        result = message.result
        if not worker.tasks or worker.tasks[0].attempt != result.attempt:
            return []  # not what this worker was given
        held = worker.tasks[0]
        effects: list[Effect] = []
        mismatch = isinstance(result, m.NodeFailed) and result.failure.kind == "code_mismatch"
        if mismatch and not held.dropped and now >= self.fresh_at + FRESH_PAUSE:
            self._return(held, "the worker had other code than the task", now)
            effects += [*self._kill(worker.name, "code"), self._hire(now, fresh=True)]
        elif not held.dropped:
            self._keep(result, now)
        if isinstance(result, m.NodeDone | m.PublishDone):
            held.end(result.node)
        if isinstance(result, m.NodeDone) and (module := _module(held.task, result.node)):
            self.warmth.loaded(module)
        if not message.last:
            worker.expect(held.begin(now))
            return effects
        worker.tasks.pop(0)
        worker.rest(now)
        worker.memory = message.memory or worker.memory
        return effects

    def _keep(self, result: m.AnyResult, now: float) -> None:
        self.outbox.put(result, now)
        self.suspects.clear(result)
        if not isinstance(result, m.NodeDone):
            return
        if result.output is not None and result.output.path:
            self.spool[(result.pipeline, result.iteration)] = None
        node = (result.pipeline, result.node)
        self.last[node] = result.duration
        self.last.move_to_end(node)
        while len(self.last) > SEEN_MAX:
            self.last.popitem(last=False)

    def _return(self, held: Held, reason: str, now: float) -> None:
        if not held.dropped:
            self.outbox.put(m.Returned(held.attempt, reason), now)

    # --- workers --------------------------------------------------------------------------------------------------

    def _staff(self, now: float) -> list[Effect]:
        """As many workers as wanted, with the code the waiting tasks want."""
        effects: list[Effect] = []
        wanted = self.capacity if self.drain_since is None else 0
        for worker in self.crew.surplus(wanted):
            effects += self._dismiss(worker, "scale", now)
        for worker in self.crew:
            if worker.state == "idle" and (why := self.limits.spent(worker, wanted)):
                fields = {"worker": worker.name, "pid": worker.pid, "why": why}
                effects += [Log("info", "a worker is recycled", fields), *self._dismiss(worker, "recycle", now)]
        self._refuse_other_code(now)
        stale = self._stale()
        if stale is not None and now >= self.fresh_at + FRESH_PAUSE:
            if self.crew.working() >= wanted:
                effects += self._kill(stale.name, "code")
            effects.append(self._hire(now, fresh=True))
        for worker in self.crew.outdated(self.code_digest, self.queue) if wanted else []:
            effects += self._dismiss(worker, "code", now)
        while self.crew.working() < wanted and self.crew.may_start(now):
            effects.append(self._hire(now, fresh=False))
        return effects

    def _hire(self, now: float, fresh: bool) -> Effect:
        worker = self.crew.hire(now, now + START_TIMEOUT)
        if fresh:
            self.fresh_at, self.fresh_for = now, worker.name
        return StartWorker(worker.name, fresh)

    def _dismiss(self, worker: Worker, why: str, now: float) -> list[Effect]:
        if worker.state == "starting":
            return self._kill(worker.name, why)
        worker.state, worker.since, worker.deadline, worker.doom = "stopping", now, now + STOP_GRACE, why
        return [ToWorker(worker.name, m.WorkerExit())]

    def _scale(self, workers: int) -> list[Effect]:
        former, self.capacity = self.capacity, workers
        return [] if workers == former else [Log("info", "scaling", {"workers": workers, "former": former})]

    def _stale(self) -> Worker | None:
        """An idle worker to replace by one from a fresh parent, because a task waits for code no worker has."""
        if self.fresh_for is not None or self.drain_since is not None:
            return None
        for held in self.queue:
            if not self.crew.has_code(held):
                return self.crew.idle()
        return None

    def _refuse_other_code(self, now: float) -> None:
        """A fresh parent has read ``nodes/``: tasks from before it that want still other code cannot run, or not any
        more, once the last worker that had it is gone."""
        waiting: list[Held] = []
        for held in self.queue:
            if self.crew.has_code(held) or held.taken_at > self.read_at:
                waiting.append(held)
                continue
            text = "nodes/ was changed since the last apply: run odibictl apply"
            detail = f" (the task wants code {held.code[:12]}, nodes/ is {self.code_digest[:12]})"
            self._fail(held, Failure("code_mismatch", text + detail), "", now)
        self.queue = waiting

    def _kill(self, name: str, why: str) -> list[Effect]:
        worker = self.crew.get(name)
        if worker is None or worker.killed:
            return []
        worker.killed, worker.state, worker.deadline, worker.doom = True, "stopping", None, why
        worker.doomed = worker.tasks[0].node() if worker.tasks else ""
        return [StopWorker(name)]

    def _overdue(self, worker: Worker) -> list[Effect]:
        if worker.tasks and worker.doom == "":
            return self._kill(worker.name, "timeout")
        if worker.state == "starting":
            text = "a worker did not come up; what its parent imports hangs"
            fields = {"worker": worker.name, "seconds": START_TIMEOUT, "importing": self.warmth.importing}
            effects: list[Effect] = [Log("error", text, fields)]
            return effects + self._kill(worker.name, "start")
        fields = {"worker": worker.name, "pid": worker.pid, "seconds": STOP_GRACE}
        said = Log("warning", "a worker did not end when it was told to, and is killed", fields)
        return [said, *self._kill(worker.name, worker.doom)]

    def _exited(self, worker: Worker, message: m.WorkerExited, now: float) -> list[Effect]:
        self.crew.gone(worker, now)
        if self.fresh_for == worker.name:
            self.fresh_for = None
        for i, held in enumerate(worker.tasks):
            if i > 0 or held.dropped:
                self._return(held, f"its worker {worker.name} was gone before it began", now)
                continue
            failure = self._verdict(worker, message, held)
            if failure is None:
                reason = f"its worker {worker.name} was stopped ({worker.doom or 'its parent died'})"
                self._return(held, reason, now)
            else:
                self._fail(held, failure, worker.name, now)
        if worker.doom == "recycle" or (worker.doom == "scale" and self.drain_since is not None):
            return []  # it was told before
        fields: dict[str, object] = {"worker": worker.name, "pid": message.pid}
        if not worker.doom:
            fields["how"] = _how(message.status) if message.blamed else "ended" if message.pid else "never began"
            fields["why"] = message.because or _why(message.status) if message.blamed else "with its parent"
        level: Literal["warning", "info"] = "warning" if worker.doom in ("", "timeout", "start") else "info"
        return [Log(level, _ENDS[worker.doom], fields)]

    def _verdict(self, worker: Worker, message: m.WorkerExited, held: Held) -> Failure | None:
        """What the running node is to be blamed for; None when it was not its doing."""
        node = held.node()
        if worker.doom == "timeout" and worker.doomed != node:
            return None  # it had gone on to the next node when it was killed
        if worker.doom == "timeout":
            limit = f"{held.timeout():g}s"
            return Failure("timeout", f"node {node} ran longer than its timeout of {limit} and was killed")
        if worker.doom:
            return None
        if not message.blamed:
            if not message.orphaned or not self.suspects.convicted(held):
                return None
            return Failure("died", f"node {node} ended the process its worker {worker.name} was forked from, twice")
        how = _how(message.status)
        text = f"worker {worker.name} (pid {message.pid}) died while running node {node}: {how}"
        if message.because:
            text += f"; {message.because}"
        elif message.status == -9:
            text += "; if nobody killed it, the kernel did for want of memory (see dmesg): take smaller batches"
            if worker.memory:
                text += f"; when it was last looked at it had {size(worker.memory)} in memory"
        return Failure("died", text)

    def _fail(self, held: Held, failure: Failure, worker: str, now: float) -> None:
        task = held.task
        began = held.began_at if held.began_at is not None else now
        self.outbox.put(
            m.NodeFailed(
                task.attempt, task.pipeline, task.iteration, held.node(), failure, began, max(0.0, now - began), worker
            ),
            now,
        )


def _how(status: int) -> str:
    if status < 0:
        return f"killed by {_SIGNALS.get(-status, f'signal {-status}')}"
    return f"exited with code {status}"


def _why(status: int) -> str:
    """A process does not send itself these: an operator does, or the kernel for want of memory."""
    return "from outside" if -status in _SENT else "by itself"


def _module(task: m.Task | m.PublishTask, node: str) -> str:
    """The module of the function that a step of the task calls; "" where it calls none."""
    for step in task.steps if isinstance(task, m.Task) else ():
        transform = step.node.transform
        if step.node.name == node and transform is not None and transform.function is not None:
            return transform.function.partition(":")[0]
    return ""
