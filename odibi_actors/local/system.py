"""A whole system in one process: what ``odibictl run``, notebooks and tests use."""

from __future__ import annotations

import os
import random
import socket
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from odibi_actors.broker.coordinator import Coordinator
from odibi_actors.broker.views import pipeline_row
from odibi_actors.checkpoint.actor import StoreActor
from odibi_actors.checkpoint.driver import StoreDriver
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.config.model import PipelineSpec, ProjectSpec
from odibi_actors.errors import ConflictError, OdibiError
from odibi_actors.local.runtime import CLIENT, LocalClock, LocalPoolDriver, LocalRuntime, NullDriver
from odibi_actors.local.waiting import Waiting
from odibi_actors.messages import BROKER, SOURCE, STORE, Hello, Request
from odibi_actors.model import LIVE
from odibi_actors.nodes.package import claim
from odibi_actors.nodes.sinks.owner import target_name, target_owner
from odibi_actors.runtime import paths
from odibi_actors.streaming.actor import SourceActor
from odibi_actors.streaming.driver import SourceDriver
from odibi_actors.workers import spool
from odibi_actors.workers.pool import PoolActor

POOL = "pool-0"
REPORT_EVERY = 1.0
"""Seconds between two lines of progress."""


class LocalSystem:
    """A whole system in this process: store, broker, source, pool. Use as a context manager."""

    def __init__(self, project: ProjectSpec, *, manual: bool = True) -> None:
        places = paths.prepare(Path(project.data_dir))
        claim(Path(project.root))
        self.clock = LocalClock()
        self.runtime = LocalRuntime(self.clock)
        host, pid = socket.gethostname(), os.getpid()
        incarnation = uuid.uuid4().hex[:12]
        engine = Engine(places.database)
        store = StoreActor(incarnation, host, pid, engine.store_id, engine.epoch, engine.last_seq)
        self.coordinator = Coordinator(project, incarnation, random.Random(), manual=manual)
        pool = PoolActor(POOL, incarnation, host, pid, 1, project.code_digest, spool.inventory(places.spool))
        self.runtime.add(BROKER, self.coordinator, NullDriver())
        self.runtime.add(STORE, store, StoreDriver(engine))
        self.source = SourceActor(incarnation, host, pid)
        self.runtime.add(SOURCE, self.source, SourceDriver())
        self.runtime.add(POOL, pool, LocalPoolDriver(places.data_dir, host, project.code_digest, self.clock))
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
    """What came of a run. ``rows``: rows that were read, without those of reference data (sources of mode ``batch``
    beside watched ones); ``failed``: iterations that failed or are blocked; ``dead_lettered``: iterations given up, and
    files set aside. What a former run left failed is tried again first, and counts.

    ``error``: why iterations failed; ``untold``: as far as it was not printed while they ran; ``traceback`` of the
    first failed iteration's user code, "" if it has none."""

    run: str
    state: str
    iterations: int
    committed: int
    rows: int
    failed: int
    dead_lettered: int = 0
    error: str = ""
    untold: str = ""
    traceback: str = ""


def run_pipeline(
    project: ProjectSpec,
    pipeline: str,
    iterations: int | None = None,
    fresh: bool = False,
    progress: Callable[[str], None] | None = None,
) -> RunSummary:
    """Run one pipeline over the data that is there, in this process, then stop.

    ``fresh`` uses a temporary data directory: everything is read again. ``progress`` gets a line now and then. Raises
    OdibiError: ConflictError when something runs on the data directory, or ``fresh`` would publish to targets that have
    an owner.
    """
    spec = project.pipeline(pipeline)
    if fresh:
        _refuse_owned(spec)
        with tempfile.TemporaryDirectory(prefix="odibi-fresh-") as folder:
            return _run(msgspec.structs.replace(project, data_dir=folder), pipeline, iterations, progress)
    places = paths.prepare(Path(project.data_dir))
    lock = paths.hold_lock(places.run / "broker.lock", wait=0.0)
    try:
        return _run(project, pipeline, iterations, progress)
    finally:
        lock.release()


def _refuse_owned(spec: PipelineSpec) -> None:
    """Temporary checkpoints know nothing of what was published: they never add to it."""
    owned = {node.name: target_name(node.write) for node in spec.nodes if node.write and target_owner(node.write)}
    if owned:
        listed = "; ".join(f"{name}: {target}" for name, target in owned.items())
        raise ConflictError(
            f"--fresh publishes nothing to targets that have an owner ({listed}): `odibictl try {spec.name}` shows "
            "what would come out; or let variables such as ${OUT:-data/lake} name other targets"
        )


def _run(
    project: ProjectSpec, pipeline: str, iterations: int | None, progress: Callable[[str], None] | None
) -> RunSummary:
    with LocalSystem(project) as system:
        shown = system.request("pipeline.show", {"pipeline": pipeline})
        retried = {row["iteration"]: None for row in shown["iterations"] if row["state"] in ("failed", "blocked")}
        report = _reporter(system, pipeline, progress)
        runs = [row["run"] for row in shown["runs"] if row["lane"] == LIVE]
        for former in runs if not retried else ():  # a system that was killed has left it: it goes on, and counts
            system.request("run.wait", {"run": former}, each=report)
        wanted = {"pipeline": pipeline, "iterations": iterations or 0, "retry": True}
        run = system.request("pipeline.trigger", wanted)["run"]
        ended = system.request("run.wait", {"run": run}, each=report)
        listed = system.request("iteration.list", {"pipeline": pipeline, "limit": 1000}, to=STORE)["items"]
        mine = [item for item in listed if item["run"] in (run, *runs) or item["iteration"] in retried]
        failed = [item for item in mine if item["state"] in ("failed", "blocked")]
        numbers = {item["iteration"]: None for item in mine}
        errors = [str(item["error"]) for item in failed if item["error"]]
        told = "\n".join(system.runtime.told)
        letters = system.request("deadletter.list", {"pipeline": pipeline}, to=STORE)["items"]
        return RunSummary(
            run=run,
            state="done" if mine and ended["state"] == "no_data" else ended["state"],
            iterations=len(mine),
            committed=sum(item["state"] == "committed" for item in mine),
            rows=sum(item["rows"] or 0 for item in mine),
            failed=len(failed),
            dead_lettered=sum(letter["iteration"] in numbers for letter in letters),
            error="; ".join(errors),
            untold="; ".join(error for error in errors if error not in told),
            traceback=_traceback(system, pipeline, failed[-1]["iteration"]) if failed else "",
        )


def _traceback(system: LocalSystem, pipeline: str, iteration: int) -> str:
    shown = system.request("iteration.show", {"pipeline": pipeline, "iteration": iteration}, to=STORE)
    found = [str(error["traceback"]) for error in shown["errors"] if error["traceback"]]
    return found[-1] if found else ""


def _reporter(system: LocalSystem, pipeline: str, progress: Callable[[str], None] | None) -> Callable[[], None]:
    said_at = system.clock()
    waiting = Waiting(pipeline)

    def report() -> None:
        nonlocal said_at
        flow = system.coordinator.flow
        if progress is None or flow is None:
            return
        for line in waiting.lines(system.source.sources.values(), system.clock()):
            progress(line)
        if system.clock() - said_at < REPORT_EVERY:
            return
        said_at = system.clock()
        row = pipeline_row(flow.pipelines[pipeline])
        waits = row["offered"] + waiting.files
        progress(f"{pipeline}: {row['committed']} committed, {row['in_flight']} in flight, {waits} files wait")

    return report
