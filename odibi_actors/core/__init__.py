"""DAGs of Python steps: ``Step``, ``DAGBuilder``, ``DAGExecutor`` and what belongs to them.

Each name is loaded when it is asked for: most bring pandas, which the system's own processes must not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from odibi_actors.core.contexts import EngineContext, create_engine_context
    from odibi_actors.core.dag import DAGBuilder, DAGNode
    from odibi_actors.core.events import EventEmitter
    from odibi_actors.core.steps import NodeState, Step
    from odibi_actors.core.tracking import Snapshot, StepExecution, Tracker
    from odibi_actors.local.dags import DAGExecutor, ExecutionMode, NodeExecutionResult, Orchestrator

_WHERE: Final = {
    "DAGBuilder": "odibi_actors.core.dag",
    "DAGExecutor": "odibi_actors.local.dags",
    "DAGNode": "odibi_actors.core.dag",
    "EngineContext": "odibi_actors.core.contexts",
    "EventEmitter": "odibi_actors.core.events",
    "ExecutionMode": "odibi_actors.local.dags",
    "NodeExecutionResult": "odibi_actors.local.dags",
    "NodeState": "odibi_actors.core.steps",
    "Orchestrator": "odibi_actors.local.dags",
    "Snapshot": "odibi_actors.core.tracking",
    "Step": "odibi_actors.core.steps",
    "StepExecution": "odibi_actors.core.tracking",
    "Tracker": "odibi_actors.core.tracking",
    "create_engine_context": "odibi_actors.core.contexts",
}
"""Name -> the module that has it."""

__all__ = [
    "DAGBuilder",
    "DAGExecutor",
    "DAGNode",
    "EngineContext",
    "EventEmitter",
    "ExecutionMode",
    "NodeExecutionResult",
    "NodeState",
    "Orchestrator",
    "Snapshot",
    "Step",
    "StepExecution",
    "Tracker",
    "create_engine_context",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
