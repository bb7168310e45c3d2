"""When a worker makes way for a fresh one: what it has done, and what it has in memory."""

from __future__ import annotations

from odibi_actors.config.model import WorkerSpec
from odibi_actors.units import size
from odibi_actors.workers.crew import Worker

LEAST = 1_000_000_000
"""Bytes that a worker may have in memory wherever nothing is said: what it shares with its warm parent counts, and is
some 200 MB, so that a small host must not make every worker look large."""


class Limits:
    """``memory``: bytes that the host has for its workers. 0: there is no process that could be replaced."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._spec = WorkerSpec()

    def hear(self, spec: WorkerSpec) -> None:
        """What the project says."""
        self._spec = spec

    def spent(self, worker: Worker, workers: int) -> str:
        """Why a worker of so many, when it is idle, is not to be given another task; "" when it is."""
        most = self._spec.max_tasks
        if not self._memory:
            return ""
        if worker.leaving:
            return "an operator has drained it"
        if most is not None and worker.done >= most:
            return f"it has done {worker.done} tasks (worker.max_tasks)"
        if worker.memory > (limit := self._bound(workers)):
            source = "worker.max_memory" if self._spec.max_memory is not None else "its share of half the host's memory"
            return f"it has {size(worker.memory)} in memory after a task ({source}: {size(limit)})"
        return ""

    def room(self, worker: Worker, most: int) -> int:
        """How many tasks, of at most ``most``, it may hold."""
        if worker.leaving:
            return 0
        if not self._memory or self._spec.max_tasks is None:
            return most
        return min(most, self._spec.max_tasks - worker.done)

    def _bound(self, workers: int) -> int:
        if self._spec.max_memory is not None:
            return self._spec.max_memory
        return max(LEAST, self._memory // 2 // max(1, workers))
