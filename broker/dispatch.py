"""Where tasks run: the pools, their credit, and which attempts are out. Decides placement, never what to run."""

from __future__ import annotations

from collections import deque

from odibi_actors.actor import Effect, Send
from odibi_actors.messages import AnyTask, Drop, Forget, PoolHello, Release, Tasks, WorkerInfo
from odibi_actors.model import Attempt

RESEND_AFTER = 2.0
"""Seconds a pool has to list a task among what it holds before the task is sent again (a message was lost)."""

LOST_AFTER = 10.0
"""Seconds of silence after which a pool's tasks go elsewhere. A pool never runs user code, so it is never this busy."""

CREDIT_PER_WORKER = 16
"""Tasks a pool holds per worker: hides the round trip, and more travel in one message (4 ran 2.9-3.8 times faster than
1, 16 up to twice as fast as 4 where a DAG fans out; see docs/benchmarks.md)."""

FORGET_EVERY = 0.05
"""Seconds between two Forgets to a pool: nobody waits for them, and each would wake it."""


class Outstanding:
    """A task that is out. ``task`` is None for one a former broker sent; it cannot be sent again, only run again."""

    __slots__ = ("sent_at", "task")

    def __init__(self, task: AnyTask | None, sent_at: float) -> None:
        self.task = task
        self.sent_at = sent_at


class Pool:
    """One worker pool, as the broker knows it."""

    def __init__(self, name: str, hello: PoolHello, now: float) -> None:
        self.name = name
        self.incarnation = hello.incarnation
        self.host = hello.host
        self.pid = hello.pid
        self.capacity = hello.capacity
        self.code_digest = hello.code_digest
        self.workers: list[WorkerInfo] = hello.workers
        self.draining = hello.draining
        self.problems = hello.problems
        self.seen = now
        self.outstanding: dict[Attempt, Outstanding] = {}

    @property
    def credit(self) -> int:
        """How many more tasks it may be sent."""
        return self.capacity * CREDIT_PER_WORKER - len(self.outstanding)


class Dispatcher:
    """The pools and all that is out at them."""

    def __init__(self) -> None:
        self.pools: dict[str, Pool] = {}
        self._outbox: dict[str, list[AnyTask]] = {}
        self._drops: dict[str, list[Attempt]] = {}
        self._forget: dict[str, list[tuple[Attempt, str]]] = {}
        self._unconfirmed: deque[tuple[int, str, Attempt, str]] = deque()
        self._release: list[tuple[str, int]] = []
        self._forgot_at = 0.0

    def place(self) -> Pool | None:
        """The pool with the most credit per worker, or None when nobody can take a task."""
        best = None
        for pool in self.pools.values():
            if pool.credit > 0 and (best is None or pool.credit * best.capacity > best.credit * pool.capacity):
                best = pool
        return best

    def give(self, pool: Pool, task: AnyTask, now: float) -> None:
        """Send a task with the next flush."""
        pool.outstanding[task.attempt] = Outstanding(task, now)
        self._outbox.setdefault(pool.name, []).append(task)

    def adopt(self, pool: Pool, attempt: Attempt, now: float) -> None:
        """An attempt of an earlier epoch goes on at this pool."""
        pool.outstanding[attempt] = Outstanding(None, now)

    def done(self, attempt: Attempt) -> None:
        """The task has come to its end, wherever it was."""
        for pool in self.pools.values():
            pool.outstanding.pop(attempt, None)

    def drop(self, attempt: Attempt) -> None:
        """The attempt is not wanted any more."""
        for pool in self.pools.values():
            if pool.outstanding.pop(attempt, None) is not None:
                self._drops.setdefault(pool.name, []).append(attempt)

    def drop_at(self, pool: Pool, attempt: Attempt) -> None:
        """The pool holds an attempt nobody waits for."""
        self._drops.setdefault(pool.name, []).append(attempt)

    def remove(self, name: str) -> list[Attempt]:
        """The pool is gone; returns what was out there."""
        pool = self.pools.pop(name, None)
        for box in (self._outbox, self._drops, self._forget):
            box.pop(name, None)
        return list(pool.outstanding) if pool is not None else []

    def confirm(self, pool: str, attempt: Attempt, node: str, seq: int) -> None:
        """The pool may forget this result once record ``seq`` is durable (0: at once)."""
        if seq:
            self._unconfirmed.append((seq, pool, attempt, node))
        else:
            self._forget.setdefault(pool, []).append((attempt, node))

    def release(self, pipeline: str, iteration: int) -> None:
        """Nobody references the iteration's outputs any more."""
        self._release.append((pipeline, iteration))

    def heard(self, pool: Pool, held: list[Attempt], now: float) -> list[Attempt]:
        """Compare a heartbeat with what is out: sends again what the pool never got. Returns attempts that are lost."""
        holds = dict.fromkeys(held)
        lost = []
        for attempt, out in pool.outstanding.items():
            if attempt in holds or now - out.sent_at < RESEND_AFTER:
                continue
            if out.task is None:
                lost.append(attempt)
            else:
                out.sent_at = now
                self._outbox.setdefault(pool.name, []).append(out.task)
        awaiting = self._awaiting(pool.name)
        for attempt in held:
            if attempt not in pool.outstanding and attempt not in awaiting:
                self._drops.setdefault(pool.name, []).append(attempt)
        for attempt in lost:
            pool.outstanding.pop(attempt)
        return lost

    def _awaiting(self, pool: str) -> dict[Attempt, None]:
        """Attempts with a result that is taken but not durable yet: the pool rightly still holds them."""
        return {attempt: None for _, name, attempt, _ in self._unconfirmed if name == pool}

    def silent(self, now: float) -> list[str]:
        """Pools that were not heard for too long."""
        return [name for name, pool in self.pools.items() if now - pool.seen > LOST_AFTER]

    @property
    def forget_due(self) -> float | None:
        """When the confirmations at hand are to be sent."""
        return self._forgot_at + FORGET_EVERY if self._forget else None

    def flush(self, epoch: int, durable: int, now: float) -> list[Effect]:
        """Everything that waits to be sent, joined into lists."""
        while self._unconfirmed and self._unconfirmed[0][0] <= durable:
            _, pool_name, attempt, node = self._unconfirmed.popleft()
            if pool_name in self.pools:
                self._forget.setdefault(pool_name, []).append((attempt, node))
        effects: list[Effect] = []
        for name, attempts in self._drops.items():
            effects.append(Send(name, Drop(epoch=epoch, attempts=attempts)))
        for name, tasks in self._outbox.items():
            # A task may have been dropped since it was put here.
            out = self.pools[name].outstanding
            wanted = [task for task in tasks if task.attempt in out]
            if wanted:
                effects.append(Send(name, Tasks(epoch=epoch, tasks=wanted)))
        if self.forget_due is not None and self.forget_due <= now:
            for name, confirmed in self._forget.items():
                effects.append(Send(name, Forget(epoch=epoch, confirmed=confirmed)))
            self._forget, self._forgot_at = {}, now
        if self._release and self.pools:
            # Pools of one host share the spool: one of them is enough.
            hosts: dict[str, str] = {}
            for pool in self.pools.values():
                hosts.setdefault(pool.host, pool.name)
            for name in hosts.values():
                effects.append(Send(name, Release(epoch=epoch, iterations=self._release)))
            self._release = []
        self._drops, self._outbox = {}, {}
        return effects
