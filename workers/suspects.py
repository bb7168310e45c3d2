"""Nodes that may have killed the warm parent, and with it every worker.

Who did it nobody can tell when it happens: several nodes may run, and somebody else may have sent the signal. So the
nodes that ran are not blamed at first, but run again one at a time, with nothing beside them. When the parent dies once
more, it was the one that ran.
"""

from __future__ import annotations

from odibi_actors import messages as m
from odibi_actors.workers.crew import Crew, Held

MOST = 1000  # remembered; more are forgotten, the oldest first

Key = tuple[str, int, str]


class Suspects:
    """By (pipeline, iteration, node)."""

    def __init__(self) -> None:
        self._keys: dict[Key, None] = {}

    def __contains__(self, held: Held) -> bool:
        """Whether the node it runs, or one it will run, is one of them."""
        return any((held.task.pipeline, held.task.iteration, node) in self._keys for node in held.left())

    def convicted(self, held: Held) -> bool:
        """Its parent has died while it ran: whether that is known to be its doing, since it ran alone. Publishing runs
        no code of the user."""
        if not isinstance(held.task, m.Task):
            return False
        key = (held.task.pipeline, held.task.iteration, held.node())
        if key in self._keys:
            return True
        self._keys[key] = None
        while len(self._keys) > MOST:
            del self._keys[next(iter(self._keys))]
        return False

    def clear(self, result: m.AnyResult) -> None:
        """The node has come to an end by itself."""
        if isinstance(result, m.NodeDone | m.NodeFailed):
            self._keys.pop((result.pipeline, result.iteration, result.node), None)

    def eligible(self, queue: list[Held], crew: Crew) -> list[Held]:
        """What may be given to workers now: with a suspect that waits, that alone, once nobody runs anything; while one
        runs, nothing."""
        if not self._keys:
            return queue
        if any(held in self for worker in crew for held in worker.tasks):
            return []
        first = next((held for held in queue if held in self), None)
        if first is None:
            return queue
        return [] if any(worker.tasks for worker in crew) else [first]
