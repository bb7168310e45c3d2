"""DAGs of Python steps, run in threads of this process on the engine's rules.

``plan`` is the engine's iteration for steps: which may run, under which key; ``work`` does one step, ``content`` tells
data apart, ``record`` is the checkpoint of a run, ``run`` one execution, ``executor`` what users see.
"""

from odibi_actors.local.dags.executor import DAGExecutor
from odibi_actors.local.dags.orchestrator import OrchestrationResult, Orchestrator
from odibi_actors.local.dags.results import ExecutionMode, NodeExecutionResult

__all__ = ["DAGExecutor", "ExecutionMode", "NodeExecutionResult", "OrchestrationResult", "Orchestrator"]
