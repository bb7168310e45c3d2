"""The scheduler: when pipelines run. ``ScheduleManager`` puts Python functions on the same scheduler.

It is loaded when it is asked for: it brings a whole system together (``odibi_actors/local``), which the scheduler's
own modules must not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from odibi_actors.local.callbacks import Schedule, ScheduleManager, ScheduleMode

__all__ = ["Schedule", "ScheduleManager", "ScheduleMode"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("odibi_actors.local.callbacks"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
