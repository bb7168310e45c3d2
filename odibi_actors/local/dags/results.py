"""What an execution says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from odibi_actors.core.steps import NodeState


class ExecutionMode(StrEnum):
    """BATCH: everything runs; STREAM: round after round, going on where a former process ended; RESUME: what the
    newest checkpoint lacks."""

    BATCH = "batch"
    STREAM = "stream"
    RESUME = "resume"


@dataclass
class NodeExecutionResult:
    """How a node ended. ``duration_ms``: of its last try; ``attempts``: tries; ``thread_id``: of the last; ``cached``:
    its output was there already, so that it was not run."""

    node_name: str
    state: NodeState
    duration_ms: float
    attempts: int
    thread_id: int
    error: str | None = None
    cached: bool = False
