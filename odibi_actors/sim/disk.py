"""The checkpoint store's disk: slow, sometimes full; a write is there whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from odibi_actors.actor import Effect
from odibi_actors.checkpoint.driver import StoreDriver
from odibi_actors.checkpoint.effects import Read, SetEpoch, Write
from odibi_actors.messages import Claimed
from odibi_actors.sim.host import Feed, Host
from odibi_actors.sim.truth import check


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
        if self._host.full_until > self._host.world.now:
            # The engine raises and the process ends: it never tries the same write, or sync, again.
            self._host.world.tell("the store's disk is full")
            self._host.world.crash(self._name)
            return
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
