"""Odibi Actors: data pipelines as actors that never lose or double a row."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from odibi_actors.version import __version__

if TYPE_CHECKING:
    from odibi_actors.client import Client
    from odibi_actors.local.pipelines.pipeline import Pipeline
    from odibi_actors.local.pipelines.single import recorded, run_node
    from odibi_actors.nodes.sinks.committed import committed_sql, read_committed


_HOMES = {
    "Client": "client",
    "Pipeline": "local.pipelines.pipeline",
    "committed_sql": "nodes.sinks.committed",
    "read_committed": "nodes.sinks.committed",
    "recorded": "local.pipelines.single",
    "run_node": "local.pipelines.single",
}

__all__ = ["Client", "Pipeline", "__version__", "committed_sql", "read_committed", "recorded", "run_node"]


def __getattr__(name: str) -> object:
    """Each on first use: no process pays for what it does not use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
