"""One execution of a DAG: nodes in threads, what they come to in the thread that called.

The order is that of the engine: a node's output is kept, then it is acknowledged (the checkpoint is saved, once for all
that have ended meanwhile), then others hear of it and its dependents start.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Final

from odibi_actors.core.contexts import EngineContext
from odibi_actors.core.dag import DAGNode
from odibi_actors.core.events import EventEmitter
from odibi_actors.core.steps import NodeState
from odibi_actors.core.tracking import Tracker
from odibi_actors.errors import MissingExtraError, NodeError
from odibi_actors.local.checkpoints.outputs import digest_of
from odibi_actors.local.dags import content
from odibi_actors.local.dags.plan import Plan
from odibi_actors.local.dags.record import Record
from odibi_actors.local.dags.results import NodeExecutionResult
from odibi_actors.local.dags.work import StepError, perform
from odibi_actors.local.threads import Threads
from odibi_actors.nodes.failures import Failed

log = logging.getLogger("odibi_actors.core")

HOPELESS = (StepError, MissingExtraError)
"""What trying again does not help."""
NEVER: Final = ("invalid", "code")
"""Kinds of failures of SQL and of tables that are so as well."""


@dataclass
class Tools:
    """What a run works with. ``find``: (node, key) -> outputs that are there already, or None; ``put`` keeps them.
    ``digests``: whether somebody asks for the digests of outputs that are kept nowhere."""

    context: EngineContext
    tracker: Tracker
    events: EventEmitter
    max_workers: int
    find: Callable[[str, str], dict[str, Any] | None]
    put: Callable[[str, str, dict[str, Any]], None]
    digests: bool = True


@dataclass
class Ended:
    """A try of a node is over. ``digests``: by key of its outputs; ``error``: what it raised."""

    name: str
    key: str
    attempt: int
    outputs: dict[str, Any]
    duration_ms: float
    thread_id: int
    cached: bool = False
    digests: dict[str, str | None] = field(default_factory=dict)
    error: BaseException | None = None


class Run:
    """``data_map`` gets the outputs as nodes finish; ``record`` is None where no checkpoint is kept."""

    def __init__(
        self,
        steps: Mapping[str, DAGNode],
        plan: Plan,
        tools: Tools,
        data_map: dict[str, Any],
        record: Record | None,
        iteration: int,
    ) -> None:
        self._steps, self._plan, self._tools, self._data = steps, plan, tools, data_map
        self._record, self._iteration = record, iteration
        self.results: list[NodeExecutionResult] = []
        self.errors: dict[str, BaseException] = {}
        self.made: dict[str, Any] = {}
        self._ended: SimpleQueue[Ended] = SimpleQueue()
        self._over = False  # an exception has ended it: what a step makes from then on is not kept

    def go(self) -> None:
        """Run what is to run. Raises RuntimeError naming the nodes that failed, with the first cause; OSError when the
        checkpoint cannot be saved."""
        threads = Threads(self._tools.max_workers, "step")
        try:
            self._loop(threads)
        except BaseException:
            self._over = True
            threads.close(wait=False)
            self._tell_left()
            raise
        threads.close()
        if self.errors:
            raise self._failure()

    def _loop(self, threads: Threads) -> None:
        """Until nothing runs, and nothing is to be tried again."""
        running = 0
        while True:
            self._plan.wake_retries(time.monotonic())
            for name in self._plan.ready()[: self._tools.max_workers - running]:
                self._start(threads, name)
                running += 1
            retry = self._plan.next_retry
            if not running and retry is None:
                return
            ended = self._next(None if retry is None else max(0.0, retry - time.monotonic()))
            running -= len(ended)
            self._take(ended)

    def _tell_left(self) -> None:
        """An exception ends the run: a thread cannot be ended."""
        over = {one.name for one in self._next(0.0)}
        if left := [name for name in self._plan.running() if name not in over]:
            plural, their = ("go", "they return") if len(left) > 1 else ("goes", "it returns")
            log.warning("%s %s on until %s, and what it makes is not kept", ", ".join(left), plural, their)

    def _next(self, timeout: float | None) -> list[Ended]:
        """All tries that are over, once there is one; none after so many seconds."""
        found: list[Ended] = []
        with contextlib.suppress(Empty):
            found.append(self._ended.get(timeout=timeout))
            while True:
                found.append(self._ended.get_nowait())
        return found

    # --- in threads ---------------------------------------------------------------------------------------------------

    def _start(self, threads: Threads, name: str) -> None:
        node, key = self._steps[name], self._plan.key(name)
        attempt, last = self._plan.start(name), self._plan.last_try(name)
        inputs = {logical: self._data[key_] for logical, key_ in node.step.inputs.items()}
        there = self._tools.find(name, key)
        if attempt == 1:
            self._tools.events.emit("step_start", step=node.step)
        threads.submit(lambda: self._ended.put(self._try(name, key, attempt, last, inputs, there)))

    def _try(
        self, name: str, key: str, attempt: int, last: bool, inputs: Mapping[str, Any], there: dict[str, Any] | None
    ) -> Ended:
        step, tracker, context = self._steps[name].step, self._tools.tracker, self._tools.context
        checkpoint = self._record.checkpoint.checkpoint_id if self._record is not None else None
        execution = tracker.start_step(name, step.layer)
        if execution is not None:
            execution.iteration, execution.checkpoint_id = self._iteration, checkpoint
        began = time.perf_counter()
        ended = Ended(name, key, attempt, there or {}, 0.0, threading.get_ident(), cached=there is not None)
        try:
            for value in list(inputs.values())[:1]:
                tracker.snapshot("before", value, context)
            if there is None:
                ended.outputs = perform(step, inputs, context)
            for value in list(ended.outputs.values())[:1]:
                tracker.snapshot("after", value, context)
            ended.digests = self._kept(name, ended.outputs) if not self._over else {}
        except BaseException as error:  # noqa: BLE001 - user code: whatever it raises is the node's failure
            ended.error = error
        ended.duration_ms = (time.perf_counter() - began) * 1000
        final = last or _hopeless(ended.error)
        state = NodeState.SUCCESS if ended.error is None else NodeState.FAILED if final else NodeState.RETRY
        tracker.end_step(name, state.value, _told(ended.error) if ended.error is not None else None)
        return ended

    def _kept(self, name: str, outputs: Mapping[str, Any]) -> dict[str, str | None]:
        plain = {key: self._tools.context.plain(value) for key, value in outputs.items()}
        if self._record is not None:
            return self._record.keep(name, plain)
        return {key: digest_of(value) if self._tools.digests else None for key, value in plain.items()}

    # --- in the thread that called ------------------------------------------------------------------------------------

    def _take(self, ended: list[Ended]) -> None:
        """Tries are over: they are acknowledged together, then told one by one."""
        results = {id(one): self._result(one) for one in ended}
        done = [one for one in ended if one.error is None]
        for one in done:
            digests = {key: digest or content.unknown() for key, digest in one.digests.items()}
            self._plan.done(one.name, content.together(digests))
        void = self._plan.void() if done else []
        over = [(one, result) for one in ended if (result := results[id(one)]) is not None]
        if self._record is not None and over:
            self._record.reopen(void)
            for one, result in over:
                self._record.ended(result, one.key, one.digests)
            self._record.save()
        for name in void:
            log.info("%s runs again: its inputs are not those of the checkpoint", name)
            for key in self._steps[name].step.outputs.values():
                self._data.pop(key, None)
        for one, result in over:
            self._tell(one, result)

    def _result(self, ended: Ended) -> NodeExecutionResult | None:
        """What a node has come to; None: it is tried again."""
        if ended.error is None:
            return NodeExecutionResult(
                ended.name, NodeState.SUCCESS, ended.duration_ms, ended.attempt, ended.thread_id, cached=ended.cached
            )
        pause = self._plan.failed(ended.name, time.monotonic(), final=_hopeless(ended.error))
        if pause is not None:
            log.warning("%s: try %d: %s; the next in %.1f s", ended.name, ended.attempt, _told(ended.error), pause)
            return None
        self.errors[ended.name] = ended.error
        return NodeExecutionResult(
            ended.name, NodeState.FAILED, ended.duration_ms, ended.attempt, ended.thread_id, error=_told(ended.error)
        )

    def _tell(self, ended: Ended, result: NodeExecutionResult) -> None:
        """Others hear of it."""
        step = self._steps[ended.name].step
        self.results.append(result)
        if ended.error is not None:
            self._tools.events.emit("step_error", step=step, error=ended.error)
            return
        self.made.update(ended.outputs)
        self._data.update(ended.outputs)
        if all(ended.digests.values()):
            self._tools.put(ended.name, ended.key, ended.outputs)
        self._tools.events.emit("step_complete", step=step, duration_ms=ended.duration_ms)

    def _failure(self) -> RuntimeError:
        failed = "; ".join(f"{name}: {_told(error)}" for name, error in self.errors.items())
        done = {*self._plan.finished(), *self.errors}
        waiting = [name for name in self._steps if name not in done]
        rest = f"; not run: {', '.join(waiting)}" if waiting else ""
        error = RuntimeError(f"{len(self.errors)} of {len(self._steps)} steps failed: {failed}{rest}")
        error.__cause__ = next(iter(self.errors.values()))
        return error


def _hopeless(error: BaseException | None) -> bool:
    """Whether trying again does not help."""
    return isinstance(error, HOPELESS) or (isinstance(error, Failed) and error.failure.kind in NEVER)


def _told(error: BaseException) -> str:
    if isinstance(error, NodeError):  # what people read, as it is
        return str(error)
    return f"{type(error).__name__}: {error}"
