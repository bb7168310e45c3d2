"""The checkpoint store. ``CheckpointManager`` keeps the checkpoints of scripts.

It is loaded when it is asked for: it brings pandas and pyarrow, which the store's own processes must not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from odibi_actors.local.checkpoints import Checkpoint, CheckpointManager, CheckpointMode, NodeCheckpoint

__all__ = ["Checkpoint", "CheckpointManager", "CheckpointMode", "NodeCheckpoint"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("odibi_actors.local.checkpoints"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
