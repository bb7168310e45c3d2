"""Tasks and projects for tests of the pool."""

from __future__ import annotations

from odibi_actors import messages as m
from odibi_actors.config.model import ConnectionSpec, NodeSpec, TransformSpec, WriteSpec
from odibi_actors.model import Attempt
from tests.targets import file_part

CODE = "c" * 32


def task(counter: int, *nodes: str, epoch: int = 1, code: str = CODE, timeout: float = 10.0) -> m.Task:
    """A chain of function nodes ``nodes`` (default: one, called ``a``)."""
    steps = [
        m.Step(NodeSpec(name, transform=TransformSpec(function=f"nodes.x:{name}"), timeout=timeout), static=f"s-{name}")
        for name in nodes or ("a",)
    ]
    return m.Task(Attempt(epoch, counter), "p", counter, steps, {}, [], code)


def publish(counter: int, *, epoch: int = 1, code: str = CODE) -> m.PublishTask:
    """A task to publish ``sink``."""
    connection = ConnectionSpec("lake", "local", "/lake")
    node = NodeSpec("sink", write=WriteSpec(connection, path="x", format="parquet"), timeout=10.0)
    part = file_part("/lake/x.staged", "/lake/x", 1, 1, "d")
    return m.PublishTask(Attempt(epoch, counter), "p", counter, node, part, "store", code)


def done(work: m.Task, node: str, *, last: bool = True, duration: float = 1.0) -> m.NodeDone:
    """``node`` of the task is done."""
    return m.NodeDone(work.attempt, work.pipeline, work.iteration, node, "k", 0.0, duration, 1, 1, "w", last=last)
