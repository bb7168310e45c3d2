"""The sources. ``StreamManager`` gives what they find to Python programs, in batches.

It is loaded when it is asked for: it brings a whole system together (``odibi_actors/local``), and pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from odibi_actors.local.streams import StreamConfig, StreamManager, StreamMode, StreamSource

__all__ = ["StreamConfig", "StreamManager", "StreamMode", "StreamSource"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("odibi_actors.local.streams"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
