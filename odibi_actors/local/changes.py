"""What an operator changes while nothing runs: the verbs that only write to the store.

They are done by the broker that ``up`` runs, in this process, on the same store, under the same locks. No node runs and
nothing is read or published: whatever follows from a change is done by the next ``run`` or ``up``.
"""

from __future__ import annotations

import os
import random
import socket
import uuid
from pathlib import Path
from typing import Any

from odibi_actors.broker.coordinator import Coordinator
from odibi_actors.checkpoint.actor import StoreActor
from odibi_actors.checkpoint.driver import StoreDriver
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.local.asking import Asking
from odibi_actors.local.interrupts import Interrupts
from odibi_actors.local.runtime import CLIENT, LocalClock, LocalRuntime, NullDriver, tell
from odibi_actors.messages import BROKER, STORE, Hello
from odibi_actors.runtime import paths

CHANGES = frozenset(
    {
        "pipeline.pause",
        "pipeline.resume",
        "iteration.cancel",
        "iteration.abandon",
        "sink.repin",
        "sink.compact",
        "source.unpin",
        "source.pause",
        "source.resume",
        "deadletter.discard",
        "backfill.cancel",
        "schedule.add",
        "schedule.remove",
        "schedule.pause",
        "schedule.resume",
    }
)
"""Verbs that are done once they are written."""

START = "start one with `odibictl up`"
_ALSO = "; `odibictl up` starts a system"
_APPLIED = "`odibictl run` and `odibictl up` apply odibi.yaml when they start"


def instead(verb: str, params: dict[str, Any], pipeline: str = "") -> str:
    """What to do instead of a verb that needs a running system. ``pipeline``: that of the dead letter."""
    name = params.get("pipeline") or pipeline
    match verb:
        case "apply":
            return _APPLIED
        case "pipeline.trigger":
            return f"`odibictl run {name}` runs it in one process{_ALSO}"
        case "iteration.retry":
            return f"`odibictl run {name}` tries it again{_ALSO}"
        case "iteration.wait":
            return f"nothing changes before `odibictl run {name}` or `odibictl up`"
        case "deadletter.replay":
            return f"`odibictl run {name} --replay {params.get('letter')}` takes it up again{_ALSO}"
    return START


class Changes(Asking):
    """A store and a broker in this process, without anybody who works. Use as a context manager. Raises ConflictError
    when something runs on the data_dir."""

    def __init__(self, data_dir: Path, root: Path) -> None:
        self.clock = LocalClock()
        self.interrupts = Interrupts()
        self.runtime = LocalRuntime(self.clock)
        self._places = paths.prepare(data_dir, sockets=False)
        self._root = root

    def __enter__(self) -> Changes:
        self._lock = paths.hold_lock(self._places.run / "broker.lock", wait=0.0)
        try:
            engine = Engine(self._places.database, root=self._root)
            incarnation, host, pid = uuid.uuid4().hex[:12], socket.gethostname(), os.getpid()
            if engine.moved:
                tell(engine.moved)
            me = (incarnation, host, pid, engine.store_id)
            store = StoreActor(*me, engine.epoch, engine.last_seq, home=engine.home)
            self.runtime.add(BROKER, Coordinator(None, incarnation, random.Random(), manual=True), NullDriver())
            self.runtime.add(STORE, store, StoreDriver(engine))
            self.runtime.send(CLIENT, BROKER, Hello(role="client", incarnation=incarnation, host=host, pid=pid))
            self.interrupts.__enter__()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.runtime.close()
        self.interrupts.__exit__()
        self._lock.release()
