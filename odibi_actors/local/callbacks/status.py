"""What people see of the schedules of a manager."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from odibi_actors.config.model import ScheduleSpec
from odibi_actors.local.callbacks.arguments import Called
from odibi_actors.local.callbacks.effects import Shown
from odibi_actors.model import Place
from odibi_actors.scheduler.timetable import first
from odibi_actors.scheduler.zones import zone_named
from odibi_actors.units import format_duration


class ScheduleMode(StrEnum):
    """What a schedule follows. HYBRID: a manager that has schedules of several kinds."""

    CRON = "cron"
    INTERVAL = "interval"
    FILE_WATCH = "file_watch"
    HYBRID = "hybrid"


MODES: Final = {
    "cron": ScheduleMode.CRON,
    "every": ScheduleMode.INTERVAL,
    "file_watch": ScheduleMode.FILE_WATCH,
}


@dataclass
class Schedule:
    """A schedule as ``ScheduleManager.schedules`` shows it; changing it changes nothing.

    ``expression``: a cron expression, an interval as text, or the files. ``function`` is called with ``args`` and
    ``kwargs``, after the path of the file if it watches ``watch_path`` for ``file_pattern``. ``last_run``,
    ``next_run``: aware datetimes, or None. ``is_active``: no error has ended it. ``run_count``: runs begun.
    """

    name: str
    mode: ScheduleMode
    expression: str
    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    watch_path: str | None = None
    file_pattern: str = "*.*"
    last_run: datetime | None = None
    next_run: datetime | None = None
    is_active: bool = True
    run_count: int = 0


def status_of(shown: Shown, timezone: str, *, running: bool, problem: str) -> dict[str, Any]:
    """An entry of ``get_status``. ``timezone``: the manager's. ``running``: the manager is. ``problem``: why it has
    ended, or ""."""
    spec = shown.spec
    zone = zone_named(spec.timezone if spec.cron else timezone)

    def when(at: float | None) -> datetime | None:
        return datetime.fromtimestamp(at, UTC).astimezone(zone) if at else None

    return {
        "mode": MODES[spec.kind],
        "expression": _expression(spec),
        "timezone": spec.timezone if spec.cron else None,
        "is_active": not problem,
        "last_run": when(shown.last_run),
        "next_run": when(_next(shown, running)),
        "run_count": shown.runs,
        "error_count": shown.errors,
        "last_error": shown.last_error or None,
        "skipped": dict(shown.skipped),
        "running": len(shown.running),
        "running_since": when(min(shown.running, default=None)),
        "waiting": shown.waiting,
        "problem": problem or shown.problem or None,
    }


def schedule_of(name: str, called: Called, spec: ScheduleSpec, status: Mapping[str, Any]) -> Schedule:
    """``status``: what ``status_of`` tells of it."""
    watch = spec.file_watch
    return Schedule(
        name,
        status["mode"],
        status["expression"],
        called.function,
        called.args,
        called.kwargs,
        watch_path=watch.folder if watch is not None else None,
        file_pattern=watch.pattern if watch is not None else "*.*",
        last_run=status["last_run"],
        next_run=status["next_run"],
        is_active=status["is_active"],
        run_count=status["run_count"],
    )


def _next(shown: Shown, running: bool) -> float | None:
    """When it is due next; an interval that has not begun is due one interval from now."""
    spec, now = shown.spec, time.time()
    if not spec.timed:
        return None
    if spec.every and not spec.start:
        return now + spec.every
    one = first(spec, shown.place if running and shown.place.due else max(shown.place, Place(int(now))))
    return one.due if one is not None else None


def _expression(spec: ScheduleSpec) -> str:
    """When it is due, in one line."""
    if spec.cron:
        return spec.cron
    if spec.every:
        return f"every {format_duration(spec.every)}"
    assert spec.file_watch is not None
    return os.path.join(spec.file_watch.folder, spec.file_watch.pattern)
