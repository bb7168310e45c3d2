"""A DAG of steps as an iteration of the engine: the same node states, keys and rules of what stands. No I/O, no clock.

What lies in ``data_map`` is a node that is acknowledged from the start. A node that a former run has finished is
acknowledged with its key: it stands as long as that is the key of its present inputs, and is not built upon before that
is certain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from odibi_actors.broker.iteration import NEVER, Iteration
from odibi_actors.checkpoint.records import Ack
from odibi_actors.config.model import CodeSpec, NodeSpec, PipelineSpec, RetrySpec, TransformSpec
from odibi_actors.core.dag import DAGNode
from odibi_actors.model import Attempt, BatchRef

GIVEN: Final = "\0"
"""Before the key of what lies in ``data_map``: no step has such a name."""


class Plan:
    """``steps``: those that are to run, each behind those it depends on; ``given``: key -> digest of what they are
    given; ``code``: step -> digest of its function or file; ``retry``: when a step is tried again."""

    def __init__(
        self,
        steps: Mapping[str, DAGNode],
        given: Mapping[str, str],
        code: Mapping[str, str],
        retry: RetrySpec,
    ) -> None:
        makers = {key: name for name, node in steps.items() for key in node.step.outputs.values() if key not in given}
        nodes = [NodeSpec(f"{GIVEN}{key}", transform=TransformSpec(function=key)) for key in given]
        for name, node in steps.items():
            before = dict.fromkeys(makers.get(key, f"{GIVEN}{key}") for key in node.step.inputs.values())
            nodes.append(NodeSpec(name, list(before), transform=_meaning(node), retry=retry))
        spec = PipelineSpec("dag", nodes, code=CodeSpec(nodes=dict(code)))
        self._steps = list(steps)
        self._iteration = Iteration(spec, 1, lane="live", version=1, positions={}, ranges={}, run="", taken="", order=0)
        self._sure: dict[str, None] = {}
        self._doubtful: dict[str, None] = {}  # restored, and not certain
        for key, digest in given.items():
            self._acknowledge(f"{GIVEN}{key}", digest, None)

    def restore(self, name: str, key: str, digest: str) -> None:
        """A former run has finished this node, under that key."""
        self._acknowledge(name, digest, key)
        self._doubtful[name] = None

    def void(self) -> list[str]:
        """Nodes of a former run that no longer stand, as their inputs, function or file are others now."""
        certain = self._certain()
        self._doubtful = {name: None for name in self._doubtful if name not in certain}
        return self._iteration.void_stale() if self._doubtful else []

    def ready(self) -> list[str]:
        """Nodes that may run now, each of which is to be started."""
        certain = self._certain()
        found = []
        for name in self._steps:
            run = self._iteration.nodes[name]
            if all(one in certain for one in run.spec.inputs):
                self._iteration.wake(name)
                if run.state == "ready":
                    found.append(name)
        return found

    def key(self, name: str) -> str:
        """Of a node that is ready: what its output depends on."""
        found = self._iteration.key_of(name)
        assert found is not None  # its inputs are acknowledged
        return found

    def start(self, name: str) -> int:
        """It runs. Returns the number of the try, from 1."""
        run = self._iteration.nodes[name]
        run.state = "running"
        return run.used + 1

    def last_try(self, name: str) -> bool:
        """Whether it is not tried again, should it fail now."""
        run = self._iteration.nodes[name]
        return run.used + 1 >= run.spec.retry.max_attempts

    def done(self, name: str, digest: str) -> None:
        """It has its output."""
        self._acknowledge(name, digest, None)

    def failed(self, name: str, now: float, *, final: bool) -> float | None:
        """It has failed. Returns the seconds until the next try, None if there is none (``final``: none helps)."""
        run = self._iteration.nodes[name]
        run.used += 1
        run.state, run.retry_at, run.failed = "retrying", NEVER, "raised"
        if final or run.used >= run.spec.retry.max_attempts:
            return None
        pause = run.spec.retry.pause(run.used)
        run.retry_at = now + pause
        return pause

    def wake_retries(self, now: float) -> None:
        """Those whose pause is over are ready again."""
        for name in self._steps:
            run = self._iteration.nodes[name]
            if run.state == "retrying" and run.retry_at <= now:
                run.state = "ready"

    @property
    def next_retry(self) -> float | None:
        """When the next pause is over."""
        runs = [self._iteration.nodes[name] for name in self._steps]
        return min((run.retry_at for run in runs if run.state == "retrying" and run.retry_at < NEVER), default=None)

    def running(self) -> list[str]:
        """Nodes of which a try is under way."""
        return [name for name in self._steps if self._iteration.nodes[name].state == "running"]

    def finished(self) -> list[str]:
        """Nodes that have their output, of the present inputs."""
        certain = self._certain()
        return [name for name in self._steps if name in certain]

    def gave_up(self) -> list[str]:
        """Nodes that have failed for good."""
        return [name for name in self._steps if self._iteration.nodes[name].gave_up]

    def _certain(self) -> dict[str, None]:
        """Nodes whose acknowledgement will stand, as those of their inputs do; they stay so."""
        for name, run in self._iteration.nodes.items():
            if name in self._sure or run.state != "acked" or run.ack is None:
                continue
            inputs = all(one in self._sure for one in run.spec.inputs)
            if inputs and self._iteration.holds(name, run.ack.key):
                self._sure[name] = None
        return self._sure

    def _acknowledge(self, name: str, digest: str, key: str | None) -> None:
        run = self._iteration.nodes[name]
        run.ack = Ack(
            "dag", 1, name, Attempt(0, run.used + 1), self.key(name) if key is None else key, 0.0, 0.0, 0, 0, "",
            output=BatchRef(0, 0, digest),
        )  # fmt: skip
        run.state = "acked"


def _meaning(node: DAGNode) -> TransformSpec:
    """All of a step that its output depends on."""
    step = node.step
    said = (step.layer, step.type, step.engine, step.value, sorted(step.params.items()), step.inputs, step.outputs)
    return TransformSpec(sql=repr(said))
