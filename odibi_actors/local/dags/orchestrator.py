"""``Orchestrator``: steps to results in one call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from odibi_actors.core.contexts import EngineContext
from odibi_actors.core.dag import DAGBuilder
from odibi_actors.core.events import EventEmitter
from odibi_actors.core.steps import Step
from odibi_actors.core.tracking import Tracker
from odibi_actors.local.dags.executor import DAGExecutor


@dataclass
class OrchestrationResult:
    """``data_map``: all outputs, by key."""

    data_map: dict[str, Any]
    tracker: Tracker
    dag_builder: DAGBuilder
    dag_executor: DAGExecutor

    def get_execution_stats(self) -> dict[str, Any]:
        """As ``Tracker.get_stats``, and ``cache_hits``, ``cache_hit_rate``, ``parallel_execution``."""
        stats = self.dag_executor.get_stats()
        return {
            **self.tracker.get_stats(),
            "cache_hits": stats["cache_hits"],
            "cache_hit_rate": stats["cache_hit_rate"],
            "parallel_execution": self.dag_executor.max_workers > 1,
        }


class Orchestrator:
    """Builds the DAG of steps and executes it. ``parallel=False``: a step at a time. See ``DAGExecutor``."""

    def __init__(
        self,
        steps: Iterable[Step],
        context: EngineContext,
        tracker: Tracker | None = None,
        events: EventEmitter | None = None,
        parallel: bool = True,
        max_workers: int = 4,
        use_cache: bool = True,
        max_retries: int = 2,
        retry_delay: float = 1.0,
    ) -> None:
        self.steps = list(steps)
        self._builder = DAGBuilder(self.steps)
        self._executor: DAGExecutor | None = None
        self._context, self._tracker, self._events = context, tracker or Tracker(), events or EventEmitter()
        self._workers = max_workers if parallel else 1
        self._use_cache, self._max_retries, self._retry_delay = use_cache, max_retries, retry_delay

    def run(self) -> OrchestrationResult:
        """Execute all steps. Raises ValueError for steps that are no DAG, RuntimeError naming steps that failed."""
        if self._executor is None:
            self._executor = DAGExecutor(
                self._builder.build(), self._context, self._tracker, self._events, self._workers, self._max_retries,
                self._retry_delay, self._use_cache,
            )  # fmt: skip
        data_map = self._executor.execute()
        return OrchestrationResult(data_map, self._tracker, self._builder, self._executor)
