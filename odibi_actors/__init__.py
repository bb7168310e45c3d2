"""Odibi Actors: data pipelines as actors that never lose or double a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from odibi_actors.version import __version__

if TYPE_CHECKING:
    from odibi_actors.client import Client
    from odibi_actors.nodes.sinks.committed import committed_sql, read_committed


__all__ = ["Client", "__version__", "committed_sql", "read_committed"]


def __getattr__(name: str) -> object:
    """Each on first use: no process pays for what it does not use."""
    if name == "Client":
        from odibi_actors.client import Client

        return Client
    if name in ("committed_sql", "read_committed"):
        from odibi_actors.nodes.sinks import committed

        return getattr(committed, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
