"""Small makers of specs, positions and tasks for the tests of nodes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import msgspec
import xxhash

from odibi_actors.config.model import ConnectionSpec, NodeSpec, ReadSpec, TransformSpec, WriteSpec
from odibi_actors.messages import NodeDone, NodeFailed, PublishDone, PublishTask, Started, Step, Task
from odibi_actors.model import Attempt, BatchRef, Position
from odibi_actors.nodes.executor import Executor
from odibi_actors.sources.file_position import file_position

STORE = "store-1"


def read_spec(folder: Path, format: str = "csv", **more: Any) -> ReadSpec:
    return ReadSpec(ConnectionSpec("landing", "local", str(folder)), format, "file_watch", **more)


def position(folder: Path, name: str, data: bytes | None = None, digest: bool = False) -> Position:
    path = folder / name
    if data is not None:
        path.write_bytes(data)
    stat = os.lstat(path)
    known = xxhash.xxh3_128_hexdigest(path.read_bytes()) if digest else ""
    return file_position(name, stat.st_size, stat.st_mtime_ns, stat.st_ino, digest=known)


def parquet_node(folder: Path, name: str = "lake", inputs: tuple[str, ...] = ("clean",)) -> NodeSpec:
    connection = ConnectionSpec("lake", "local", str(folder))
    return NodeSpec(name, list(inputs), write=WriteSpec(connection, path="flights", format="parquet"))


def sqlite_node(
    database: Path, keys: tuple[str, ...] = (), name: str = "mart", table: str = "delays", version: str | None = None
) -> NodeSpec:
    connection = ConnectionSpec("mart", "sqlite", str(database))
    mode: Literal["append", "upsert"] = "upsert" if keys else "append"
    write = WriteSpec(connection, mode=mode, table=table, keys=list(keys), version=version)
    return NodeSpec(name, ["clean"], write=write)


def overwriting(node: NodeSpec) -> NodeSpec:
    """The same sink with ``mode: overwrite``."""
    assert node.write is not None
    return msgspec.structs.replace(node, write=msgspec.structs.replace(node.write, mode="overwrite", keys=[]))


def sql_node(name: str, inputs: list[str], sql: str) -> NodeSpec:
    return NodeSpec(name, inputs, transform=TransformSpec(sql=sql))


def function_node(name: str, inputs: list[str], function: str, **params: Any) -> NodeSpec:
    return NodeSpec(name, inputs, transform=TransformSpec(function=function, params=params))


def task(
    *steps: Step | NodeSpec,
    inputs: dict[str, BatchRef] | None = None,
    counter: int = 1,
    iteration: int = 1,
    code: str = "code",
    verify: tuple[str, ...] = (),
    store_id: str = STORE,
    **more: Any,
) -> Task:
    return Task(
        attempt=Attempt(1, counter),
        pipeline="delays",
        iteration=iteration,
        steps=[step if isinstance(step, Step) else Step(step, f"static-{step.name}") for step in steps],
        inputs=inputs or {},
        verify=list(verify),
        code_digest=code,
        store_id=store_id,
        **more,
    )


def publish_task(node: NodeSpec, done: NodeDone, store_id: str = STORE, settled: int = 0) -> PublishTask:
    assert done.staged is not None
    return PublishTask(Attempt(1, 99), "delays", done.iteration, node, done.staged, store_id, "code", settled=settled)


def outcomes(executor: Executor, work: Task | PublishTask) -> list[NodeDone | NodeFailed | PublishDone]:
    """Results of a task, each of which is preceded by its Started."""
    found = list(executor.run(work))
    results = [one for one in found if not isinstance(one, Started)]
    started = [one.node for one in found if isinstance(one, Started)]
    assert started == [one.node for one in results]
    return results


def done(executor: Executor, work: Task) -> NodeDone:
    """The last result of a task that goes well."""
    results = outcomes(executor, work)
    for one in results:
        assert isinstance(one, NodeDone), one
    last = results[-1]
    assert isinstance(last, NodeDone)
    return last


def failed(executor: Executor, work: Task | PublishTask) -> NodeFailed:
    """The failure of a task that does not."""
    last = outcomes(executor, work)[-1]
    assert isinstance(last, NodeFailed), last
    return last
