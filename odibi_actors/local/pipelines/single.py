"""One node by itself, and what nodes were given: for unit tests and notebooks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from odibi_actors.batches import frames
from odibi_actors.batches.normalise import normalise
from odibi_actors.config.load import load_project
from odibi_actors.config.problems import did_you_mean
from odibi_actors.errors import BatchError, ConfigError, NotFoundError
from odibi_actors.local.pipelines.pipeline import Pipeline
from odibi_actors.nodes import outputs
from odibi_actors.nodes.annotations import sort_of
from odibi_actors.nodes.executor import node_logger
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.lent import lending
from odibi_actors.nodes.package import claimed
from odibi_actors.nodes.spark.runner import SparkRunner
from odibi_actors.nodes.sql import SqlRunner, Variables
from odibi_actors.nodes.transform import Context, run_function, run_stateful

if TYPE_CHECKING:
    from odibi_actors.config.model import NodeSpec, ProjectSpec

Rows = Any
"""A ``pandas.DataFrame``, ``pyarrow.Table``, ``polars.DataFrame``, or a list of mappings."""


def run_node(
    pipeline: Pipeline | str,
    node: str,
    inputs: Mapping[str, Rows] | None = None,
    *,
    project: str | Path = ".",
    params: Mapping[str, Any] | None = None,
    state: Rows | None = None,
    scheduled_at: datetime | None = None,
) -> Any:
    """What a transform makes of these inputs, as the next node would be given it: a ``pyarrow.Table`` (of a node with
    ``state: true`` a tuple of two: the output, and what it keeps).

    ``pipeline``: one built in code, or the name of one in the ``odibi.yaml`` of ``project``. ``inputs``: each of its
    inputs by name, a frame, table or list of mappings. ``params`` and ``scheduled_at``: those of the run; ``state``:
    what the node had kept. Nothing is read, written or kept. What the function raises is raised; other than that
    ConfigError (the project, the names of inputs), NotFoundError (no such node) and NodeError (SQL, a result that is
    no table or cannot be carried).
    """
    found, name, lent = _project(pipeline, project)
    spec = _transform(found, name, node)
    tables = _tables(spec, dict(inputs or {}))
    kept = None if state is None else _table("state", state)
    given = dict(params or {})
    transform = spec.transform
    assert transform is not None
    spark = SparkRunner()
    if transform.function is None:
        with closing(spark if spec.engine == "spark" else SqlRunner()) as runner:
            return runner.run(transform.sql or "", tables, Variables(given, "", scheduled_at), spec.sql_file)
    logger = node_logger(name, 1, node)
    context = Context(name, 1, node, 1, None, logger, params=copy.deepcopy(given), scheduled_at=scheduled_at)
    try:
        with claimed(Path(found.root)), lending(lent), closing(spark), spark.given(spec.engine) as frame:
            if spec.state:
                return run_stateful(transform.function, transform.params, tables, context, kept, frame)
            return run_function(transform.function, transform.params, tables, context, frame)
    except Failed as error:
        if error.failure.kind == "raised" and error.__cause__ is not None:
            raise error.__cause__ from None
        raise


def recorded(pipeline: Pipeline | str, iteration: int, node: str, *, project: str | Path = ".") -> dict[str, pa.Table]:
    """What a node was given in an iteration, by the names of its inputs: ``run_node(p, node, recorded(p, 7, node))``
    does it again. Read from the checkpoints, of a running system or at rest, and compared with their digests. Outputs
    of more than 8 KiB go when their iteration is committed; those of failed ones are there.

    Raises NotFoundError (no such iteration or node, outputs that are no longer kept), OdibiError (damaged).
    """
    from odibi_actors.client import Client

    found, name, _ = _project(pipeline, project)
    spec = _transform(found, name, node)
    with Client(project=found.root) as client:
        shown = {one: client.node(name, iteration, one) for one in spec.inputs}
    return {one: outputs.read(Path(found.data_dir), answer) for one, answer in shown.items()}


def _project(
    pipeline: Pipeline | str, project: str | Path
) -> tuple[ProjectSpec, str, Mapping[str, Callable[..., object]]]:
    if isinstance(pipeline, Pipeline):
        return pipeline.spec(), pipeline.name, pipeline.functions
    return load_project(Path(project)), pipeline, {}


def _transform(project: ProjectSpec, pipeline: str, node: str) -> NodeSpec:
    try:
        known = project.pipeline(pipeline)
    except KeyError:
        names = [one.name for one in project.pipelines]
        raise NotFoundError(f"no pipeline {pipeline!r}: {did_you_mean(pipeline, names, 'pipelines')}") from None
    transforms = [one.name for one in known.nodes if one.transform is not None]
    if node not in transforms:
        what = "reads or writes, and is no transform" if node in [one.name for one in known.nodes] else "is no node"
        raise NotFoundError(f"{node!r} {what} of {pipeline}: {did_you_mean(node, transforms, 'transforms')}")
    return known.node(node)


def _tables(spec: NodeSpec, inputs: dict[str, Rows]) -> dict[str, pa.Table]:
    """The inputs in the order of the node."""
    for name in inputs:
        if name not in spec.inputs:
            raise ConfigError(f"{spec.name} has no input {name!r}: {did_you_mean(name, spec.inputs, 'its inputs')}")
    missing = [name for name in spec.inputs if name not in inputs]
    if missing:
        raise ConfigError(f"{spec.name} needs its input {missing[0]!r} too: inputs={{{missing[0]!r}: ...}}")
    return {name: _table(name, inputs[name]) for name in spec.inputs}


def _table(name: str, rows: Rows) -> pa.Table:
    try:
        if isinstance(rows, pa.Table):
            return normalise(rows)
        if isinstance(rows, list):
            return frames.from_rows(rows)
        sort = sort_of(type(rows))
        if sort:
            return frames.from_pandas(rows) if sort == "pandas" else frames.from_polars(rows)
    except (BatchError, pa.ArrowException, TypeError, AttributeError) as error:
        raise ConfigError(f"input {name!r}: {error}") from error
    raise ConfigError(f"input {name!r} is a {type(rows).__name__}; give a frame, an Arrow table or a list of mappings")
