"""The loop of the background thread: the desk, the store, the scheduler and, where files are watched, the source."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from odibi_actors.checkpoint.actor import StoreActor
from odibi_actors.checkpoint.driver import StoreDriver
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.errors import OdibiError
from odibi_actors.local.callbacks.desk import Desk
from odibi_actors.local.callbacks.driver import DeskDriver
from odibi_actors.local.logged import LoggedRuntime
from odibi_actors.messages import BROKER, SCHEDULER, SOURCE, STORE
from odibi_actors.scheduler.actor import SchedulerActor
from odibi_actors.scheduler.driver import SchedulerDriver
from odibi_actors.streaming.actor import SourceActor
from odibi_actors.streaming.driver import SourceDriver

log = logging.getLogger("odibi_actors.scheduler")

HISTORY: Final = 7 * 86_400.0
"""Seconds for which ended runs are kept in a state_dir: some 600 bytes each."""
MEMORY_HISTORY: Final = 600.0
MEMORY_PRUNE: Final = 60.0
"""The same in memory, and the seconds between two looks for what is older."""
MEMORY_CHUNKS: Final = 20
"""Chunks of 1000 rows pruned at a time, a few ms each."""


class KeptStoreDriver(StoreDriver):
    """For an engine in memory: it outlives the loop."""

    def close(self) -> None:
        """Nothing: the manager keeps the engine for its next start."""


class Loop:
    """One start of a manager. ``run`` returns once the desk has stopped."""

    def __init__(
        self, clock: Callable[[], float], engine: Engine, desk: Desk, driver: DeskDriver, *, durable: bool
    ) -> None:
        self._clock, self._engine, self._desk, self._driver, self._durable = clock, engine, desk, driver, durable
        self._runtime = LoggedRuntime(clock, log)
        self._me = (desk.incarnation, socket.gethostname(), os.getpid())
        self._prune_at = 0.0

    def run(self) -> None:
        """Work until the desk stops. Raises OdibiError when an actor had to stop before."""
        engine, runtime = self._engine, self._runtime
        history = HISTORY if self._durable else MEMORY_HISTORY
        store = StoreActor(*self._me, engine.store_id, engine.epoch, engine.last_seq, history)
        runtime.add(BROKER, self._desk, self._driver)
        runtime.add(STORE, store, (StoreDriver if self._durable else KeptStoreDriver)(engine))
        runtime.step()  # the desk knows what is stored before anybody says Hello to it
        runtime.add(SCHEDULER, SchedulerActor(*self._me), SchedulerDriver(Path("/")))  # no alerts, so no commands
        watching = False
        while True:
            runtime.step()
            if runtime.stopped:
                self._stopped()
                return
            if not watching and self._desk.watches:
                watching = True
                runtime.add(SOURCE, SourceActor(*self._me), SourceDriver())
                continue
            runtime.wait(self._prune())

    def close(self) -> None:
        """Close every driver."""
        self._runtime.close()
        if self._durable:
            self._engine.close()

    def _stopped(self) -> None:
        for name, stop in self._runtime.stopped.items():
            if name != BROKER or stop.code:
                raise OdibiError(f"the {'desk' if name == BROKER else name} has stopped: {stop.reason}")

    def _prune(self) -> float:
        """Forget what is old. In memory that cannot wait for the store's own hour. Seconds until the next time."""
        now = self._clock()
        if not self._durable and now >= self._prune_at:
            self._prune_at = now + MEMORY_PRUNE
            for _ in range(MEMORY_CHUNKS):
                if not self._engine.prune(now, MEMORY_HISTORY, 20):
                    break
        return MEMORY_PRUNE
