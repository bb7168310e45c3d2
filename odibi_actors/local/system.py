"""A whole system in one process: what ``odibictl run``, notebooks and tests use."""

from __future__ import annotations

import os
import random
import socket
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from odibi_actors.broker import alerts
from odibi_actors.broker.coordinator import Coordinator
from odibi_actors.broker.views import pipeline_row
from odibi_actors.checkpoint import adopted
from odibi_actors.checkpoint.actor import StoreActor
from odibi_actors.checkpoint.driver import StoreDriver
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.config.doors import Doors
from odibi_actors.config.model import PipelineSpec, ProjectSpec
from odibi_actors.errors import ConflictError
from odibi_actors.local import replaying
from odibi_actors.local.asking import Asking
from odibi_actors.local.herald import Herald
from odibi_actors.local.interrupts import Interrupts
from odibi_actors.local.runtime import CLIENT, LocalClock, LocalPoolDriver, LocalRuntime, NullDriver, tell
from odibi_actors.local.waiting import Waiting
from odibi_actors.messages import BROKER, SCHEDULER, SOURCE, STORE, Hello, Tick
from odibi_actors.nodes.package import claimed
from odibi_actors.nodes.sinks.targets import check_targets, mark_of, taken_over
from odibi_actors.runtime import paths
from odibi_actors.runtime.place import Place
from odibi_actors.runtime.progress import Progress
from odibi_actors.runtime.visible import in_markdown
from odibi_actors.scheduler.driver import SchedulerDriver
from odibi_actors.streaming.actor import SourceActor
from odibi_actors.streaming.driver import SourceDriver
from odibi_actors.streaming.source import Source
from odibi_actors.units import plural
from odibi_actors.workers import spool
from odibi_actors.workers.pool import PoolActor

POOL = "pool-0"
PAGE = 1000
"""Iterations that are asked for at a time."""
TELL_WITHIN = 10.0
"""Seconds that the end of a run waits for alerts to be told."""
REPORT_EVERY = 1.0
"""Seconds between two lines of progress."""


class LocalSystem(Asking):
    """A whole system in this process: store, broker, source, pool. Use as a context manager; until it ends Ctrl-C and
    SIGTERM raise KeyboardInterrupt between two tasks, or in one, of which nothing counts then. ``pipeline``: the one
    it is for; "" for any. One that cannot be made (raises OdibiError: the store is damaged) leaves nothing open, and
    the name ``nodes`` as it was."""

    def __init__(self, project: ProjectSpec, *, manual: bool = True, pipeline: str = "") -> None:
        places = paths.prepare(Path(project.data_dir), sockets=False)
        self.clock = LocalClock()
        self.interrupts = Interrupts()
        self.runtime = LocalRuntime(self.clock, pipeline)
        self._held = ExitStack()
        self._held.enter_context(claimed(Path(project.root)))
        try:
            self._add_actors(project, places, manual)
        except BaseException:
            self._close()
            raise

    def _add_actors(self, project: ProjectSpec, places: paths.Layout, manual: bool) -> None:
        host, pid = socket.gethostname(), os.getpid()
        incarnation = uuid.uuid4().hex[:12]
        self.coordinator = Coordinator(project, incarnation, random.Random(), manual=manual)
        self.runtime.add(BROKER, self.coordinator, NullDriver())
        engine = Engine(places.database, root=Path(project.root))
        self.store_id, self.home, self.moved = engine.store_id, engine.home, engine.moved
        me = (incarnation, host, pid, engine.store_id)
        store = StoreActor(*me, engine.epoch, engine.last_seq, home=engine.home)
        self.runtime.add(STORE, store, StoreDriver(engine))
        self.passed_on = adopted.by_target(engine.adoptions())
        pool = PoolActor(POOL, incarnation, host, pid, 1, project.code_digest, spool.inventory(places.spool))
        self.source = SourceActor(incarnation, host, pid)
        self.runtime.add(SOURCE, self.source, SourceDriver())
        driver = LocalPoolDriver(
            places.data_dir,
            host,
            project.code_digest,
            self.clock,
            self.interrupts,
            Place(Path(project.root), places.data_dir),
        )
        self.runtime.add(POOL, pool, driver)
        if any(pipeline.alerts for pipeline in project.pipelines):
            herald = Herald(incarnation, host, pid, self.clock())
            self.runtime.add(SCHEDULER, herald, SchedulerDriver(Path(project.root)))
        hello = Hello(role="client", incarnation=incarnation, host=host, pid=pid)
        self.runtime.send(CLIENT, BROKER, hello)

    def __enter__(self) -> LocalSystem:
        self._held.enter_context(self.interrupts)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        with self._held:  # also when a driver cannot be closed
            self.runtime.close()

    def tell(self, pipeline: str) -> int:
        """Wait a little until everybody was told who is to be told something, what was held back about the pipeline in
        one summary; returns the alerts that are left. They are durable, and told by the next system."""
        flow, end = self.coordinator.flow, self.clock() + TELL_WITHIN
        if flow is not None:
            alerts.summarise(flow, self.clock(), at_once=pipeline)
            self.runtime.feed(BROKER, Tick())
            self.runtime.step()
        while flow is not None and flow.alerts.pending and not flow.alerts.untold(self.clock()):
            if self.clock() >= end:
                break
            self.runtime.step()
            self.interrupts.check()
            self.runtime.wait(0.1)
        self.runtime.step()
        return flow.alerts.pending if flow is not None else 0


class RunSummary(msgspec.Struct, frozen=True):
    """What came of a run: ``state`` done, no_data, failed (also when something was set aside) or cancelled.
    ``rows_read``: also by iterations that failed or were given up; without those of reference data (sources of mode
    ``batch`` beside watched ones); ``failed``: iterations that failed or are blocked; ``dead_lettered``: iterations
    given up, and files set aside. What a former
    run left failed is tried again first, and counts.

    ``error``: why it is not done; ``untold``: as far as it was not printed while it ran; ``traceback`` of the first
    failed iteration's user code, "" if it has none; ``stuck``: the number of that iteration; ``alerts``: those that
    nobody could be told yet; ``replayed``: dead letters that were taken up; ``unread``: folders of its sources that
    could not be listed, which make it failed: nobody knows what is in them; ``waits``: why a run of which nothing came
    has left files where they are; ``remedy``: what is to be done about the letters that it has left."""

    run: str
    state: str
    iterations: int
    committed: int
    rows_read: int
    failed: int
    dead_lettered: int = 0
    error: str = ""
    untold: str = ""
    traceback: str = ""
    stuck: int = 0
    alerts: int = 0
    replayed: int = 0
    unread: list[str] = []
    waits: str = ""
    remedy: str = ""

    def _repr_markdown_(self) -> str:
        """For notebooks: what there is to be said of it, as a table."""
        always = ("run", "state", "iterations", "committed", "rows_read")
        told = {name: _cell(value) for name, value in msgspec.structs.asdict(self).items() if value or name in always}
        rows = [f"| {name} | {text} |" for name, text in told.items()]
        return "\n".join([rows[0], "|---|---|", *rows[1:]])


def _cell(value: object) -> str:
    """In a table of Markdown."""
    if isinstance(value, int):
        return f"{value:,}"
    return in_markdown("; ".join(value) if isinstance(value, list) else str(value))


def run_pipeline(
    project: ProjectSpec,
    pipeline: str,
    iterations: int | None = None,
    fresh: bool = False,
    progress: Callable[[str], None] | None = None,
    replay: Sequence[int] | None = None,
    params: Mapping[str, Any] | None = None,
) -> RunSummary:
    """Run one pipeline over the data that is there, in this process, then stop.

    ``fresh`` uses a temporary data directory: everything is read again. ``progress`` gets a line now and then, a
    ``Progress`` where it says how far the run has come. ``replay``: dead letters to take up again first, by id; none
    named: all that are open. ``params``: what nodes get as ``context.params``, SQL as ``getvariable``; what a former
    run left goes on with its own. Raises OdibiError: ConflictError when something runs on the data directory,
    ``fresh`` would publish to targets that have an owner, or a letter cannot be taken up, before anything has run.
    """
    spec = project.pipeline(pipeline)
    if fresh:
        _refuse_owned(spec, Doors(Path(project.root)))
        with tempfile.TemporaryDirectory(prefix="odibi-fresh-") as folder:
            return _run(
                msgspec.structs.replace(project, data_dir=folder), pipeline, iterations, progress, replay, params
            )
    places = paths.prepare(Path(project.data_dir), sockets=False)
    lock = paths.hold_lock(places.run / "broker.lock", wait=0.0)
    try:
        return _run(project, pipeline, iterations, progress, replay, params)
    finally:
        lock.release()


def _refuse_owned(spec: PipelineSpec, doors: Doors) -> None:
    """Temporary checkpoints know nothing of what was published: they never add to it."""
    targets = {one.name: one.write.target for one in spec.nodes if one.write is not None}
    owned = {name: at.name for name, at in targets.items() if mark_of(at, doors.to(at))}
    if owned:
        listed = "; ".join(f"{name}: {target}" for name, target in owned.items())
        raise ConflictError(
            f"--fresh publishes nothing to targets that have an owner ({listed}): `odibictl try {spec.name}` shows "
            "what would come out; or let variables such as ${OUT:-data/lake} name other targets"
        )


def _run(
    project: ProjectSpec,
    pipeline: str,
    iterations: int | None,
    progress: Callable[[str], None] | None,
    replay: Sequence[int] | None,
    params: Mapping[str, Any] | None,
) -> RunSummary:
    with LocalSystem(project, pipeline=pipeline) as system:
        targets = ([project.pipeline(pipeline)], system.store_id, system.home, system.passed_on)
        if system.moved:
            tell(system.moved)
        check_targets(*targets, beside=[one for one in project.pipelines if one.name != pipeline])
        for line in taken_over(*targets):
            tell(line)
        report = _reporter(system, pipeline, progress)
        letters = [] if replay is None else replaying.chosen(system, pipeline, replay, report)
        wanted = {"pipeline": pipeline, "iterations": iterations or 0, "retry": True, "take": True, "letters": letters}
        started = system.request("pipeline.trigger", wanted | {"params": dict(params or {})}, each=report)
        run, taken = started["run"], started["replayed"]
        if progress is not None:
            for one in taken:
                progress(f"dead letter {one['letter']} is taken up by {pipeline} {one['iteration']}")
        end = system.request("run.wait", {"run": run}, each=report)
        if progress is not None and end["state"] == "no_data":
            for line in _empty(system, pipeline):
                progress(line)
        untold = system.tell(pipeline)
        mine = _iterations(system, pipeline, run)
        failed = [item for item in mine if item["state"] in ("failed", "blocked")]
        errors = [str(item["error"]) for item in failed if item["error"]]
        unread = _unread(system, pipeline)
        told = "\n".join(system.runtime.told)
        return RunSummary(
            run=run,
            state=end["state"],
            iterations=len(mine),
            committed=sum(item["state"] == "committed" for item in mine),
            rows_read=sum(item["rows_read"] or 0 for item in mine),
            failed=len(failed),
            dead_lettered=sum(item["dead_letters"] for item in mine),
            error="; ".join(errors) or end["error"],
            untold="; ".join(error for error in [*errors, *unread] if error not in told),
            traceback=_traceback(system, pipeline, failed[-1]["iteration"]) if failed else "",
            stuck=failed[-1]["iteration"] if failed else 0,
            alerts=untold,
            replayed=len(taken),
            unread=unread,
            waits=_waits(system, pipeline) if end["state"] == "no_data" else "",
            remedy=replaying.remedy(system, pipeline, {item["iteration"] for item in mine if item["dead_letters"]}),
        )


def _waits(system: LocalSystem, pipeline: str) -> str:
    """Why a run of which nothing came has left files where they are; "" when there are none."""
    flow = system.coordinator.flow
    row = flow.pipelines[pipeline] if flow is not None else None
    files = pipeline_row(row)["offered"] if row is not None else 0
    return f"{row.problem}; {plural(files, 'file waits', 'files wait')} for it" if row and row.problem and files else ""


def _empty(system: LocalSystem, pipeline: str) -> list[str]:
    """Sources that have never read anything, and in whose folders there is nothing to read."""
    sources = [source for source in system.source.sources.values() if source.spec.pipeline == pipeline]
    return [
        f"{one.key}: no file to read in {one.folder} yet" for one in sources if isinstance(one, Source) and one.empty
    ]


def _unread(system: LocalSystem, pipeline: str) -> list[str]:
    sources = [source for source in system.source.sources.values() if source.spec.pipeline == pipeline]
    return [f"{source.key}: {text}" for source in sources for text in source.unread]


def _iterations(system: LocalSystem, pipeline: str, run: str) -> list[dict[str, Any]]:
    """What the run has planned, and what it has taken up: newest first, page by page."""
    wanted = system.request("run.show", {"run": run}, to=STORE)
    left = wanted["planned"] + wanted["taken_up"]
    found: list[dict[str, Any]] = []
    below: int | None = None
    while len(found) < left:
        asked = {"pipeline": pipeline, "limit": PAGE, "before": below}
        page = system.request("iteration.list", asked, to=STORE)["items"]
        found += [item for item in page if run in (item["run"], item["taken"])]
        if len(page) < PAGE:
            break
        below = page[-1]["iteration"]
    return found


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
        # Offered is what the broker has by now; there may be more.
        left = max(row["offered"], waiting.ready) + waiting.files
        waiting_files = plural(left, "file waits", "files wait")
        progress(Progress(f"{pipeline}: {row['committed']} committed, {row['in_flight']} in flight, {waiting_files}"))

    return report
