"""The local runtime: every actor in this process, in-memory queues, real clock and disk. One engine, not two.

It serves ``odibictl run``, notebooks and tests. Nodes run in this process one at a time, so a node that never returns
cannot be killed here: use ``odibictl up`` for that.
"""

from __future__ import annotations

import os
import random
import selectors
import socket
import sys
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from broker.coordinator import Coordinator
from odibi_actors.actor import Actor, DeleteSpool, Driver, Effect, Log, Send, StartWorker, Stop, ToWorker
from odibi_actors.checkpoint.actor import StoreActor
from odibi_actors.checkpoint.driver import StoreDriver
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.config.model import ProjectSpec
from odibi_actors.errors import OdibiError, RunFailedError
from odibi_actors.messages import (
    BROKER,
    LOCAL,
    SOURCE,
    STORE,
    Connected,
    Hello,
    Message,
    Reply,
    Request,
    Tick,
    WorkerReady,
    WorkerResult,
    WorkerTask,
)
from odibi_actors.streaming.actor import SourceActor
from odibi_actors.streaming.driver import SourceDriver
from workers.pool import PoolActor

CLIENT = "client-local"
POOL = "pool-0"


class LocalClock:
    """Seconds since the Unix epoch that never go backwards within this process."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        return self._offset + time.monotonic()


class LocalPoolDriver:
    """Workers that are this very process: a task is run when it is handed over."""

    def __init__(self, data_dir: Path, host: str, code_digest: str, clock: Callable[[], float]) -> None:
        from odibi_actors.nodes.executor import Executor

        self._data_dir = data_dir
        self._code_digest = code_digest
        self._make = lambda worker: Executor(data_dir, host, worker, code_digest, clock)
        self._executors: dict[str, Any] = {}

    def perform(self, effect: Effect, now: float) -> Iterable[tuple[str, Message]]:
        """Start a worker, run a task in it, or delete spool folders."""
        match effect:
            case StartWorker():
                self._executors[effect.worker] = self._make(effect.worker)
                yield effect.worker, WorkerReady(pid=os.getpid(), code_digest=self._code_digest)
            case ToWorker(message=WorkerTask(task=task)):
                results = []
                for message in self._executors[effect.worker].run(task):
                    if isinstance(message, Message):
                        yield effect.worker, message
                    else:
                        results.append(message)
                        if len(results) > 1:
                            yield effect.worker, WorkerResult(result=results.pop(0), last=False)
                yield effect.worker, WorkerResult(result=results[0], last=True)
            case DeleteSpool():
                from odibi_actors.batches.spool import Spool

                spool = Spool(self._data_dir / "spool")
                for pipeline, iteration in effect.iterations:
                    spool.delete(pipeline, iteration)

    def inputs(self) -> Mapping[Any, Callable[[], Iterable[tuple[str, Message]]]]:
        """Nothing to wait for: tasks are done when they are given."""
        return {}

    def close(self) -> None:
        """Nothing is kept."""


class LocalRuntime:
    """Runs actors that speak through queues until nobody has anything to do."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._actors: dict[str, tuple[Actor, Driver]] = {}
        self._queue: deque[tuple[str, str, Message]] = deque()
        self._touched: dict[str, None] = {}
        self.replies: dict[str, Reply] = {}
        self.stopped: dict[str, Stop] = {}

    def add(self, name: str, actor: Actor, driver: Driver) -> None:
        """Take an actor in and start it."""
        self._actors[name] = (actor, driver)
        self._carry_out(name, actor.start(self.clock()))
        if name != BROKER:
            self.feed(name, Connected())

    def feed(self, name: str, message: Message) -> None:
        """A message from the runtime itself."""
        self._queue.append((LOCAL, name, message))

    def send(self, sender: str, to: str, message: Message) -> None:
        """A message from outside the actors, as a client would send it."""
        self._queue.append((sender, to, message))

    def _carry_out(self, name: str, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to=to, message=message):
                    self._queue.append((name, to, message))
                case Stop():
                    self.stopped[name] = effect
                case Log(level="warning" | "error"):
                    print(f"{effect.level}: {effect.text}", file=sys.stderr)  # noqa: T201
                case Log():
                    pass
                case _:
                    _, driver = self._actors[name]
                    for sender, message in driver.perform(effect, self.clock()):
                        self._queue.append((sender, name, message))

    def step(self) -> None:
        """Handle everything that is queued, then let the actors flush, until nothing is left to do at this moment."""
        while self._queue or self._touched:
            while self._queue:
                sender, to, message = self._queue.popleft()
                if to == CLIENT:
                    if isinstance(message, Reply):
                        self.replies[message.id] = message
                    continue
                if to not in self._actors or to in self.stopped:
                    continue
                self._touched[to] = None
                self._carry_out(to, self._actors[to][0].handle(sender, message, self.clock()))
            touched, self._touched = self._touched, {}
            for name in touched:
                self._carry_out(name, self._actors[name][0].flush(self.clock()))

    def wait(self, limit: float) -> None:
        """Sleep until an actor's deadline, a driver's input, or ``limit`` seconds; then feed what has come."""
        now = self.clock()
        deadlines = {
            name: when
            for name, (actor, _) in self._actors.items()
            if name not in self.stopped and (when := actor.deadline()) is not None
        }
        timeout = max(0.0, min([limit, *(when - now for when in deadlines.values())]))
        with selectors.DefaultSelector() as selector:
            for name, (_, driver) in self._actors.items():
                for fd, read in driver.inputs().items():
                    selector.register(fd, selectors.EVENT_READ, (name, read))
            for key, _ in selector.select(timeout):
                name, read = key.data
                for sender, message in read():
                    self._queue.append((sender, name, message))
        now = self.clock()
        for name, when in deadlines.items():
            if when <= now:
                self.feed(name, Tick())

    def close(self) -> None:
        """Close every driver."""
        for _, driver in self._actors.values():
            driver.close()


class NullDriver:
    """For actors without effects of their own."""

    def perform(self, effect: Effect, now: float) -> Iterable[tuple[str, Message]]:
        """There is nothing to do."""
        return []

    def inputs(self) -> Mapping[Any, Callable[[], Iterable[tuple[str, Message]]]]:
        """There is nothing to read."""
        return {}

    def close(self) -> None:
        """There is nothing to close."""


class LocalSystem:
    """A whole system in this process: store, broker, source, pool. Use as a context manager."""

    def __init__(self, project: ProjectSpec, *, manual: bool = True) -> None:
        data_dir = Path(project.data_dir)
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if project.root not in sys.path:
            sys.path.insert(0, project.root)
        self.clock = LocalClock()
        self.runtime = LocalRuntime(self.clock)
        host, pid = socket.gethostname(), os.getpid()
        incarnation = uuid.uuid4().hex[:12]
        engine = Engine(data_dir / "checkpoints.db")
        store = StoreActor(incarnation, host, pid, engine.store_id, engine.epoch, engine.last_seq)
        coordinator = Coordinator(project, incarnation, random.Random(), manual=manual)
        pool = PoolActor(POOL, incarnation, host, pid, 1, project.code_digest)
        self.runtime.add(BROKER, coordinator, NullDriver())
        self.runtime.add(STORE, store, StoreDriver(engine, self.clock))
        self.runtime.add(SOURCE, SourceActor(incarnation, host, pid), SourceDriver())
        self.runtime.add(POOL, pool, LocalPoolDriver(data_dir, host, project.code_digest, self.clock))
        hello = Hello(role="client", incarnation=incarnation, host=host, pid=pid)
        self.runtime.send(CLIENT, BROKER, hello)
        self._requests = 0

    def __enter__(self) -> LocalSystem:
        return self

    def __exit__(self, *_: object) -> None:
        self.runtime.close()

    def request(
        self,
        verb: str,
        params: dict[str, Any] | None = None,
        *,
        to: str = BROKER,
        timeout: float | None = None,
        each: Callable[[], None] | None = None,
    ) -> Any:
        """Ask as a client would and work until the answer is there. Raises OdibiError with the answer's exit code."""
        self._requests += 1
        id_ = f"r{self._requests}"
        self.runtime.send(CLIENT, to, Request(id=id_, verb=verb, params=params or {}))
        end = None if timeout is None else self.clock() + timeout
        while id_ not in self.runtime.replies:
            self.runtime.step()
            if id_ in self.runtime.replies:
                break
            for name, stop in self.runtime.stopped.items():
                error = OdibiError(f"{name} stopped: {stop.reason}")
                error.exit_code = stop.code or 1
                raise error
            if each is not None:
                each()
            if end is not None and self.clock() > end:
                raise OdibiError(f"{verb}: no answer within {timeout} s")
            self.runtime.wait(0.5)
        reply = self.runtime.replies.pop(id_)
        if reply.status:
            error = OdibiError(reply.error)
            error.exit_code = reply.status
            raise error
        return reply.result


class RunSummary(msgspec.Struct, frozen=True):
    """What came of a run. ``rows``: rows that went into sinks; ``failed``: iterations that failed or are blocked."""

    run: str
    state: str
    iterations: int
    committed: int
    rows: int
    failed: int
    error: str = ""


def run_pipeline(
    project: ProjectSpec,
    pipeline: str,
    iterations: int | None = None,
    fresh: bool = False,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> RunSummary:
    """Run one pipeline over the data that is there, in this process, then stop.

    ``fresh`` uses a temporary data directory: everything is read again, and targets that have an owner are refused.
    ``progress`` gets the pipeline's row (see docs/cli.md) as it changes. Raises OdibiError.
    """
    from odibi_actors.runtime.paths import hold_system

    project.pipeline(pipeline)
    if fresh:
        with tempfile.TemporaryDirectory(prefix="odibi-fresh-") as folder:
            return _run(msgspec.structs.replace(project, data_dir=folder), pipeline, iterations, progress)
    with hold_system(Path(project.data_dir)):
        return _run(project, pipeline, iterations, progress)


def _run(
    project: ProjectSpec,
    pipeline: str,
    iterations: int | None,
    progress: Callable[[dict[str, Any]], None] | None,
) -> RunSummary:
    with LocalSystem(project) as system:
        run = system.request("pipeline.trigger", {"pipeline": pipeline, "iterations": iterations or 0})["run"]
        before = system.request("pipeline.show", {"pipeline": pipeline})
        committed_before = before["committed"] if not before["in_flight"] else before["committed"]
        ended = system.request("run.wait", {"run": run}, each=_reporter(system, pipeline, progress))
        row = system.request("pipeline.show", {"pipeline": pipeline})
        listed = system.request("iteration.list", {"pipeline": pipeline, "limit": 10_000}, to=STORE)["items"]
        mine = [item for item in listed if item["run"] == run]
        failed = [item for item in mine if item["state"] in ("failed", "blocked")]
        summary = RunSummary(
            run=run,
            state=ended["state"],
            iterations=len(mine),
            committed=row["committed"] - committed_before,
            rows=sum(item["rows"] or 0 for item in mine),
            failed=len(failed),
            error="; ".join(str(item["error"]) for item in failed if item["error"]),
        )
        try:
            system.request("shutdown", timeout=5)
        except OdibiError:
            pass
        return summary


def _reporter(
    system: LocalSystem, pipeline: str, progress: Callable[[dict[str, Any]], None] | None
) -> Callable[[], None]:
    def report() -> None:
        flow = system.coordinator_flow
        if progress is not None and flow is not None and pipeline in flow.pipelines:
            from broker.views import pipeline_row

            progress(pipeline_row(flow.pipelines[pipeline]))

    return report


__all__ = ["LocalRuntime", "LocalSystem", "RunFailedError", "RunSummary", "run_pipeline"]
