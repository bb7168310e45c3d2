"""The local runtime: one engine, in one process. Loaded when it is used: it brings pandas and pyarrow."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from odibi_actors.local.system import LocalSystem, RunSummary, run_pipeline

__all__ = ["LocalSystem", "RunSummary", "run_pipeline"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("odibi_actors.local.system"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
