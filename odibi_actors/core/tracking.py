"""What happened to each step: times, rows and schemas before and after, samples."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pandas as pd

from odibi_actors.batches.files import fsync_dir, make_dirs, new_file
from odibi_actors.core.dag import DAGBuilder
from odibi_actors.core.story import story_page
from odibi_actors.core.values import records, shown

log = logging.getLogger("odibi_actors.core")

SAMPLE: Final = 5
"""Rows of a snapshot."""
KEPT: Final = 10_000
"""Executions that a tracker keeps: a stream has no end."""


@dataclass
class Snapshot:
    """Data at a moment. ``timestamp``: ISO 8601; ``schema``: (column, type); ``sample_data``: the first rows, values as
    JSON has them, or as text."""

    name: str
    timestamp: str
    row_count: int
    schema: list[tuple[str, str]]
    sample_data: list[dict[str, Any]]
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        schema = [{"column": column, "type": kind} for column, kind in self.schema]
        return {**self.__dict__, "schema": schema, "metadata": dict(self.metadata)}


@dataclass
class StepExecution:
    """One try of a step. Times: ISO 8601; ``schema_diff``: ``added_columns``, ``removed_columns``, ``changed_types``;
    ``row_delta``: rows after less rows before; ``state``: pending, success, failed, retry (it was tried again)."""

    step_name: str
    layer: str
    start_time: str
    end_time: str | None = None
    duration_ms: float | None = None
    before_snapshot: Snapshot | None = None
    after_snapshot: Snapshot | None = None
    schema_diff: dict[str, Any] | None = None
    row_delta: int | None = None
    state: str = "pending"
    error_message: str | None = None
    iteration: int = 0
    checkpoint_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            **self.__dict__,
            "before_snapshot": self.before_snapshot.to_dict() if self.before_snapshot else None,
            "after_snapshot": self.after_snapshot.to_dict() if self.after_snapshot else None,
        }


class Tracker:
    """Keeps what happened to steps. Several threads may each have a step under way: ``snapshot`` and ``end_step`` mean
    the one that this thread began.

    ``log_dir``: where ``save`` writes, by default ``tracker_logs``. The newest ``keep`` executions stay; the counts of
    ``get_stats`` are those of all.
    """

    def __init__(self, log_dir: str | os.PathLike[str] | None = None, *, keep: int = KEPT) -> None:
        self.log_dir = Path(log_dir) if log_dir is not None else Path("tracker_logs")
        self.executions: list[StepExecution] = []
        self.pipeline_name = "unknown"
        self.pipeline_start_time: datetime | None = None
        self._pipeline_id = _run_id()
        self._keep = keep
        self._lock = threading.RLock()
        self._open: list[tuple[int, StepExecution, float]] = []  # thread, execution, when it began
        self._left_out = 0
        self._counts = {"total": 0, "success": 0, "failed": 0}
        self._total_ms = 0.0

    def start_pipeline(self, pipeline_name: str = "unknown") -> None:
        """A run begins; what was tracked before stays."""
        with self._lock:
            self.pipeline_name = pipeline_name
            self.pipeline_start_time = datetime.now(UTC)
            self._pipeline_id = _run_id()

    def start_step(
        self, step_name: str, layer: str, *, iteration: int = 0, checkpoint_id: str | None = None
    ) -> StepExecution:
        """A step begins in this thread."""
        execution = StepExecution(step_name, layer, _now(), iteration=iteration, checkpoint_id=checkpoint_id)
        with self._lock:
            self.executions.append(execution)
            self._open.append((threading.get_ident(), execution, time.perf_counter()))
            self._counts["total"] += 1
            if len(self.executions) > self._keep:
                if not self._left_out:
                    log.warning("the tracker keeps the newest %d executions; older ones are left out", self._keep)
                self._left_out += len(self.executions) - self._keep
                del self.executions[: -self._keep]
        return execution

    def end_step(self, step_name: str, state: str, error_message: str | None = None) -> None:
        """The step of that name that began in this thread, else in another one, has ended."""
        state = str(getattr(state, "value", state)).lower()
        with self._lock:
            found = self._under_way(step_name)
            if found is None:
                log.warning("step %s has ended, which had not begun: it is not tracked", step_name)
                return
            self._open.remove(found)
            _, execution, began = found
            execution.end_time = _now()
            execution.duration_ms = (time.perf_counter() - began) * 1000
            execution.state, execution.error_message = state, error_message
            self._total_ms += execution.duration_ms
            if state in self._counts:
                self._counts[state] += 1

    def snapshot(self, name: str, df: Any, context: Any) -> None:
        """What the step of this thread has now: before it, if ``name`` begins with "before", else after it. The sample
        is ``context.collect_sample(df, n=5)``; data that is no frame has its type and length alone."""
        with self._lock:
            found = self._under_way(None)
        if found is None:
            log.warning("snapshot %r: no step is under way in this thread; it is not kept", name)
            return
        taken, execution = _taken(name, df, context), found[1]
        if name.startswith("before"):
            execution.before_snapshot = taken
        else:
            execution.after_snapshot = taken
        if execution.before_snapshot is not None and execution.after_snapshot is not None:
            before, after = execution.before_snapshot, execution.after_snapshot
            execution.schema_diff = _difference(before, after)
            execution.row_delta = after.row_count - before.row_count

    def _under_way(self, step_name: str | None) -> tuple[int, StepExecution, float] | None:
        """The newest one of this thread; of another thread only where there is no doubt."""
        me = threading.get_ident()
        named = [one for one in self._open if step_name in (None, one[1].step_name)]
        mine = [one for one in named if one[0] == me]
        if mine:
            return mine[-1]
        return named[-1] if named and (step_name is not None or len(named) == 1) else None

    def get_stats(self) -> dict[str, Any]:
        """``total_steps``, ``total_duration_ms``, ``success_count``, ``failed_count``, ``success_rate`` (percent)."""
        with self._lock:
            total, good = self._counts["total"], self._counts["success"]
            return {
                "total_steps": total,
                "total_duration_ms": self._total_ms,
                "success_count": good,
                "failed_count": self._counts["failed"],
                "success_rate": 100 * good / total if total else 0.0,
            }

    def get_summary(self) -> str:
        """What happened as text, a line per step."""
        stats = self.get_stats()
        ended = f"{stats['success_count']} succeeded, {stats['failed_count']} failed"
        took = f"{stats['total_steps']} steps in {stats['total_duration_ms']:.1f} ms"
        lines = [f"Pipeline {self.pipeline_name}: {took}, {ended} ({stats['success_rate']:.1f} % success)"]
        if self._left_out:
            lines.append(f"  {self._left_out} older ones are left out")
        for one in list(self.executions):
            took = f"{one.duration_ms:.1f} ms" if one.duration_ms is not None else "running"
            delta = f"  {one.row_delta:+d} rows" if one.row_delta is not None else ""
            trouble = f"  {one.error_message}" if one.error_message else ""
            lines.append(f"  {one.state:<8} {one.step_name} ({one.layer})  {took}{delta}{trouble}")
        return "\n".join(lines)

    def export_lineage(self) -> dict[str, Any]:
        """``pipeline_id``, ``start_time``, ``steps`` (each as a dict), ``summary`` (``get_stats``), as JSON has it."""
        with self._lock:
            began = self.pipeline_start_time
            return {
                "pipeline_id": self._pipeline_id,
                "pipeline_name": self.pipeline_name,
                "start_time": began.isoformat() if began is not None else None,
                "steps": [one.to_dict() for one in self.executions],
                "left_out": self._left_out,
                "summary": self.get_stats(),
            }

    def save(self, filepath: str | os.PathLike[str] | None = None) -> str:
        """Write the lineage as JSON, by default ``run_TIME.json`` in ``log_dir``. Returns the path. Raises OSError."""
        path = Path(filepath) if filepath is not None else self.log_dir / f"{_run_id()}.json"
        text = json.dumps(self.export_lineage(), indent=2, ensure_ascii=False, allow_nan=False)
        return _write(path, text)

    def export_to_story(
        self,
        story_dir: str | os.PathLike[str] = "stories",
        explanations: Mapping[str, Any] | None = None,
        dag_builder: DAGBuilder | None = None,
    ) -> str:
        """Write what happened as one HTML page that needs nothing else. ``explanations``: step -> text for readers;
        ``dag_builder``: its DAG is shown. Returns the path. Raises OSError."""
        graph = dag_builder.visualize() if dag_builder is not None else ""
        page = story_page(self.export_lineage(), explanations or {}, graph)
        return _write(Path(story_dir) / f"story_{_run_id().removeprefix('run_')}.html", page)


def _taken(name: str, data: Any, context: Any) -> Snapshot:
    data = context.plain(data) if hasattr(context, "plain") else data
    if not hasattr(data, "columns"):
        size = len(data) if hasattr(data, "__len__") else 1
        return Snapshot(name, _now(), size, [("value", type(data).__name__)], [{"value": shown(data)}])
    sample = context.collect_sample(data, n=SAMPLE) if context is not None else data.head(SAMPLE)
    assert isinstance(sample, pd.DataFrame)
    columns = [str(column) for column in sample.columns]
    schema = [(column, str(kind)) for column, kind in zip(columns, sample.dtypes, strict=True)]
    rows = [dict(zip(columns, map(shown, row), strict=True)) for row in records(sample)]
    return Snapshot(name, _now(), int(data.shape[0]), schema, rows)


def _difference(before: Snapshot, after: Snapshot) -> dict[str, Any]:
    former, now = dict(before.schema), dict(after.schema)
    return {
        "added_columns": [column for column in now if column not in former],
        "removed_columns": [column for column in former if column not in now],
        "changed_types": [
            {"column": column, "before": kind, "after": now[column]}
            for column, kind in former.items()
            if column in now and now[column] != kind
        ],
    }


def _write(path: Path, text: str) -> str:
    """The whole file or none."""
    make_dirs(path.absolute().parent, sync=False)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    fresh.unlink(missing_ok=True)
    with new_file(fresh, sync=True) as file:
        file.write(text.encode())
    os.replace(fresh, path)
    fsync_dir(path.absolute().parent)
    return str(path)


def _now() -> str:
    return datetime.now(UTC).astimezone().isoformat()


def _run_id() -> str:
    return f"run_{datetime.now(UTC):%Y%m%d_%H%M%S_%f}"
