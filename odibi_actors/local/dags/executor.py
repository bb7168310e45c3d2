"""``DAGExecutor``: what users see of the execution of a DAG."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from odibi_actors.config.model import RetrySpec
from odibi_actors.core.contexts import EngineContext
from odibi_actors.core.dag import DAGBuilder, DAGNode
from odibi_actors.core.events import EventEmitter
from odibi_actors.core.tracking import Tracker
from odibi_actors.core.values import lent
from odibi_actors.local.checkpoints import asked
from odibi_actors.local.checkpoints.document import Checkpoint
from odibi_actors.local.checkpoints.manager import CheckpointManager
from odibi_actors.local.dags import content
from odibi_actors.local.dags.given import Given, given_now
from odibi_actors.local.dags.plan import Plan
from odibi_actors.local.dags.record import Record
from odibi_actors.local.dags.results import ExecutionMode, NodeExecutionResult
from odibi_actors.local.dags.run import Run, Tools
from odibi_actors.local.streams import opened

log = logging.getLogger("odibi_actors.core")

DataCallback = Callable[[dict[str, Any]], Any]


class Cache(Protocol):
    """Keeps outputs (key of ``data_map`` -> data) under texts; any thread may call."""

    def get(self, key: str) -> dict[str, Any] | None:
        """What was put there, or None."""

    def put(self, key: str, value: dict[str, Any]) -> Any:
        """Keep it."""


class DAGExecutor:
    """Runs a DAG of steps in threads of this process; docs/python-dags.md says what holds.

    ``max_workers``: nodes at a time. ``max_retries``: tries after the first one, ``retry_delay`` seconds later, then
    twice that, and so on, up to a minute. ``use_cache``: a transform whose inputs, by content, are those of its last
    run is not run again; ``cache_manager`` keeps that beyond this executor. ``checkpoint_manager``: where each node
    that finishes is noted, and what RESUME and STREAM go on from. ``skip_nodes``: nodes that need not run, as far as
    their outputs are there; in mode RESUME None means all that are finished. ``dag_name``: under which checkpoints are
    kept, by default ``dag_ITERATION``, or what ``load_latest`` was asked for before.
    """

    def __init__(
        self,
        dag: Mapping[str, DAGNode] | DAGBuilder,
        context: EngineContext,
        tracker: Tracker | None = None,
        events: EventEmitter | None = None,
        max_workers: int = 4,
        max_retries: int = 2,
        retry_delay: float = 1.0,
        use_cache: bool = True,
        cache_manager: Cache | None = None,
        checkpoint_manager: CheckpointManager | None = None,
        mode: ExecutionMode | str = ExecutionMode.BATCH,
        skip_nodes: Iterable[str] | None = None,
        *,
        dag_name: str | None = None,
    ) -> None:
        for name, value, least in (("max_workers", max_workers, 1), ("max_retries", max_retries, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}: {value!r} is not a number from {least} on")
        if retry_delay < 0:
            raise ValueError(f"retry_delay: {retry_delay!r} is less than 0 seconds")
        self.dag = dict(dag.build() if isinstance(dag, DAGBuilder) else dag)
        self.context, self.tracker, self.events = context, tracker or Tracker(), events or EventEmitter()
        self.max_workers, self.max_retries, self.retry_delay = max_workers, max_retries, retry_delay
        self.use_cache, self.cache = use_cache, cache_manager
        self.mode = ExecutionMode(mode)
        self.skip_nodes = set(skip_nodes or ())
        self._skip_all = skip_nodes is None
        self.data_map: dict[str, Any] = {}
        self._named = dag_name is not None
        self.checkpoint_manager, self._dag_name = _kept_where(checkpoint_manager, dag_name)
        self._given = Given(self.dag)
        self._own: dict[str, tuple[str, dict[str, Any]]] = {}  # node -> key and outputs of its last run
        self._results: list[NodeExecutionResult] = []
        self._record: Record | None = None
        self._former = self._latest()
        self._iteration = self._begins_at()
        self._trail: deque[str] = deque()  # checkpoints of a stream that has no name
        self._busy = threading.Lock()  # while an execution is under way
        self._lock = threading.Lock()
        self._stop: threading.Event | None = None  # of the run_continuous under way

    # --- one execution ------------------------------------------------------------------------------------------------

    def execute(self) -> dict[str, Any]:
        """Run the DAG; returns ``data_map``, which has all outputs. What lies in ``data_map`` under a key that a step
        makes stands instead of that step; steps that need a key whose value is None are not run. Raises RuntimeError
        that names the steps that failed, with the first cause, after all others have run that do not need them."""
        self._once()
        return self.data_map

    def _once(self) -> bool:
        """Whether there was something to run."""
        if not self._busy.acquire(blocking=False):
            raise RuntimeError("execute runs already; an executor does one execution at a time")
        try:
            return self._now()
        finally:
            self._busy.release()

    def _now(self) -> bool:
        put = self._given.put(self.data_map)
        steps, given = given_now(self.dag, self.data_map, put)
        self._results = []
        if not steps:
            log.info("there is no new data: no step runs")
            return False
        self.events.emit("pipeline_start", steps=[node.step for node in steps.values()])
        self.tracker.start_pipeline(self._dag_name or "dag")
        files = {name: content.of_file(node.step) for name, node in steps.items() if node.step.reads}
        try:
            self._execute(self._without_skipped(steps), given)
        except BaseException as error:
            opened.failed(put.values())
            self.events.emit("pipeline_error", error=error)
            raise
        self._given.done(put, files)
        opened.processed(put.values())
        self.events.emit("pipeline_complete", data_map=self.data_map)
        return True

    def _execute(self, steps: dict[str, DAGNode], given: Mapping[str, Any]) -> None:
        digests = self.use_cache or self.checkpoint_manager is not None
        code = {name: content.of_code(node.step) for name, node in steps.items()}
        known = {
            key: content.digest(self.context.plain(value)) if digests else content.unknown()
            for key, value in given.items()
        }
        # Jitter keeps many hosts apart; here is one.
        retry = RetrySpec(self.max_retries + 1, "exponential", self.retry_delay, max(60.0, self.retry_delay), 0.0)
        plan = Plan(steps, known, code, retry)
        restored = self._restore(steps, plan)
        record = self._record = self._begin([name for name in steps if name not in restored])
        tools = Tools(self.context, self.tracker, self.events, self.max_workers, self._find, self._put, digests)
        run = Run(steps, plan, tools, self.data_map, record, self._iteration)
        self._results = run.results
        try:
            run.go()
        finally:
            self._given.made({key: value for outputs in restored.values() for key, value in outputs.items()} | run.made)
            self._given.made(self._lasting(steps, run.made))
            self._former = record if self.mode is not ExecutionMode.BATCH else None
        if record is not None:
            record.close()

    def _lasting(self, steps: Mapping[str, DAGNode], made: Mapping[str, Any]) -> dict[str, Any]:
        """What steps have made, again where the session is gone that it was of; ``data_map`` has it."""
        found = {}
        for node in steps.values():
            for key in node.step.outputs.values():
                if key in made and self.data_map.get(key) is made[key]:
                    value = self.context.of(node.step.engine).settled(made[key])
                    if value is not made[key]:
                        found[key] = self.data_map[key] = value
        return found

    def _begin(self, left: list[str]) -> Record | None:
        """The checkpoint of this run: that of the former one, if that has not come to its end."""
        if self.checkpoint_manager is None:
            return None
        if self._former is not None and not self._former.complete:
            self._former.begin_again(left, self._iteration)
            return self._former
        return self._new_record(self.checkpoint_manager, left)

    def _new_record(self, manager: CheckpointManager, left: Iterable[str]) -> Record:
        mode, number = self.mode.value, self._iteration
        return Record.begin(manager, self._dag_name, left, mode, number, named=self._named)

    # --- what a former run has left -----------------------------------------------------------------------------------

    def _latest(self) -> Record | None:
        """The newest checkpoint, if this executor is to go on from one."""
        manager = self.checkpoint_manager
        if self.mode is ExecutionMode.BATCH and not self.skip_nodes:
            return None
        if manager is None:
            if self.mode is ExecutionMode.RESUME:
                log.warning("there is nothing to resume from: the executor has no checkpoint_manager")
            return None
        latest = manager.load_latest(self._dag_name) if self._dag_name else manager.latest_unnamed("dag")
        asked.take(manager)  # that was no question of the user's
        found = Record(manager, latest) if latest is not None else None
        return None if found is not None and found.complete and self.mode is ExecutionMode.BATCH else found

    def _begins_at(self) -> int:
        if self._former is None or self.mode is ExecutionMode.BATCH:
            return 0
        if not self._former.complete:
            return self._former.checkpoint.iteration
        return self._former.checkpoint.iteration + 1 if self.mode is ExecutionMode.STREAM else 0

    def _without_skipped(self, steps: dict[str, DAGNode]) -> dict[str, DAGNode]:
        """Without those of ``skip_nodes`` of which nothing is kept and nothing needed."""
        if self._former is not None:
            return steps
        left = dict(steps)
        for name in [name for name in reversed(steps) if name in self.skip_nodes]:
            makes = set(steps[name].step.outputs.values())
            if any(makes & set(node.step.inputs.values()) for node in left.values()):
                log.warning("%s is in skip_nodes, but what it makes is needed and kept nowhere: it runs", name)
            else:
                log.info("%s is skipped", name)
                del left[name]
        return left

    def _restore(self, steps: Mapping[str, DAGNode], plan: Plan) -> dict[str, dict[str, Any]]:
        """Give the plan, and ``data_map``, what a former run has finished. Returns node -> its outputs."""
        former = self._former
        if former is None:
            return {}
        if former.complete:
            log.info("checkpoint %s is complete: there is nothing to resume", former.checkpoint.checkpoint_id)
            return {}
        everything = self.mode is not ExecutionMode.BATCH and self._skip_all
        found: dict[str, dict[str, Any]] = {}
        for name, (key, digests) in former.finished().items():
            if name in steps and (everything or name in self.skip_nodes):
                outputs = former.restore(name)
                if outputs is not None:
                    own = self.context.of(steps[name].step.engine)
                    outputs = {key: own.settled(value) for key, value in outputs.items()}
                    plan.restore(name, key, content.together(digests))
                    found[name] = outputs
        for name in plan.void():
            log.info("%s runs again: its inputs, function or file are not those of the checkpoint", name)
            found.pop(name, None)
        for outputs in found.values():
            self.data_map.update(outputs)
        if found:
            log.info("restored from checkpoint %s: %s", former.checkpoint.checkpoint_id, ", ".join(found))
        return found

    # --- cache --------------------------------------------------------------------------------------------------------

    def _find(self, name: str, key: str) -> dict[str, Any] | None:
        step = self.dag[name].step
        if not self.use_cache or step.reads or step.writes or not step.inputs:
            return None
        if self.cache is not None:
            return self.cache.get(key)
        known, outputs = self._own.get(name, ("", {}))
        return {one: lent(value) for one, value in outputs.items()} if known == key else None

    def _put(self, name: str, key: str, outputs: dict[str, Any]) -> None:
        if not self.use_cache:
            return
        if self.cache is not None:
            self.cache.put(key, outputs)
        else:
            self._own[name] = (key, {one: lent(value) for one, value in outputs.items()})

    # --- round after round --------------------------------------------------------------------------------------------

    def run_continuous(
        self,
        data_callback: DataCallback | None = None,
        max_iterations: int | None = None,
        sleep_seconds: float = 5.0,
        checkpoint_interval: int = 1,
    ) -> None:
        """Execute round after round, ``sleep_seconds`` apart, at most ``max_iterations`` rounds, until
        ``stop_continuous``. ``data_callback(data_map)`` is called before each: a round in which it has put no new data
        there runs nothing. Of the checkpoints of finished rounds each ``checkpoint_interval``-th stays, and the newest.
        Raises what a round or the callback raises; called again, it goes on with the round that failed."""
        if not isinstance(checkpoint_interval, int) or checkpoint_interval < 1:
            raise ValueError(f"checkpoint_interval: {checkpoint_interval!r} is not a number from 1 on")
        with self._lock:
            if self._stop is not None:
                raise RuntimeError("run_continuous runs already; stop_continuous() ends it")
            stop = self._stop = threading.Event()
        rounds = 0
        try:
            while not stop.is_set() and (max_iterations is None or rounds < max_iterations):
                if rounds and stop.wait(sleep_seconds):
                    break
                rounds += 1
                if data_callback is not None:
                    data_callback(self.data_map)
                    if not self._given.news(self.data_map):
                        continue
                self._round(checkpoint_interval)
        finally:
            with self._lock:
                self._stop = None

    def _round(self, checkpoint_interval: int) -> None:
        before = self._record
        if not self._once():
            return
        self._iteration += 1
        if self._record is None or before is None or before is self._record:
            return
        former, manager = before.checkpoint, before.manager
        if (former.iteration + 1) % checkpoint_interval:
            manager.delete(former.checkpoint_id)
        elif not self._dag_name:  # each round has another name, so the manager keeps them all
            self._trail.append(former.checkpoint_id)
            while len(self._trail) >= manager.keep_last_n:
                manager.delete(self._trail.popleft())

    def stop_continuous(self) -> bool:
        """End ``run_continuous`` after the round that runs; from any thread. Whether one runs."""
        with self._lock:
            if self._stop is not None:
                self._stop.set()
            return self._stop is not None

    # --- what people see ----------------------------------------------------------------------------------------------

    def get_results(self) -> list[NodeExecutionResult]:
        """How the nodes of the last execution ended, in that order. Nodes that were restored are not among them."""
        return list(self._results)

    def get_stats(self) -> dict[str, Any]:
        """Of the last execution: ``total_nodes``, ``completed`` (restored ones included), ``failed``,
        ``total_duration_ms``, ``cache_hits``, ``cache_hit_rate`` (0 to 1), ``total_attempts``, ``avg_attempts``;
        ``mode``, ``iteration``: rounds that were finished."""
        results = self._results
        failed = [one for one in results if one.error is not None]
        hits = sum(one.cached for one in results)
        attempts = sum(one.attempts for one in results)
        done = {one.node_name for one in results} - {one.node_name for one in failed}
        if self._record is not None:
            done |= {
                name for name in self._record.manager.get_resume_point(self._record.checkpoint) if name in self.dag
            }
        return {
            "total_nodes": len(self.dag),
            "completed": len(done),
            "failed": len(failed),
            "total_duration_ms": sum(one.duration_ms for one in results),
            "cache_hits": hits,
            "cache_hit_rate": hits / len(results) if results else 0,
            "total_attempts": attempts,
            "avg_attempts": attempts / len(results) if results else 0,
            "mode": self.mode.value,
            "iteration": self._iteration,
        }

    def _create_checkpoint(self) -> Checkpoint | None:
        """Save how far the last execution has come, which is done anyway; for code that asks for it. None, told by a
        warning, without a ``checkpoint_manager``."""
        if self.checkpoint_manager is None:
            log.warning("no checkpoint is saved: the executor has no checkpoint_manager")
            return None
        record = self._record or self._new_record(self.checkpoint_manager, self.dag)
        self.checkpoint_manager.save(record.checkpoint)
        return record.checkpoint


def _kept_where(manager: CheckpointManager | None, name: str | None) -> tuple[CheckpointManager | None, str]:
    """The manager and the name of an executor ("" for none). One that was told no name takes what ``load_latest`` was
    asked for before in this thread, and that manager, if it was told none either."""
    if name is not None or (question := asked.take(manager)) is None:
        return manager, name or ""
    manager, name = question
    if asked.NUMBERED.fullmatch(name):
        return manager, ""
    log.info("checkpoints are kept as %r in %s, as load_latest was asked for", name, manager.checkpoint_dir)
    return manager, name
