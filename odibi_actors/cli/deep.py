"""``validate --deep``: what only DuckDB and Python themselves can tell. Both are imported here, when asked for."""

from __future__ import annotations

import importlib
import inspect
import sys

from odibi_actors.config.model import NodeSpec, ProjectSpec


def problems(project: ProjectSpec) -> list[str]:
    """What is wrong with the SQL and the functions of the project's transforms, one line each."""
    found = []
    sys.path.insert(0, project.root)
    try:
        for pipeline in project.pipelines:
            for node in pipeline.nodes:
                if node.transform is not None:
                    problem = _sql(node.transform.sql) if node.transform.sql else _function(node)
                    if problem:
                        found.append(f"odibi.yaml: {pipeline.name}.{node.name}: {problem}")
    finally:
        sys.path.remove(project.root)
    return found


def _sql(sql: str) -> str | None:
    import duckdb

    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        return f"SQL does not parse: {error}"
    if len(statements) != 1:
        return f"{len(statements)} SQL statements; a transform is exactly one"
    return None


def _function(node: NodeSpec) -> str | None:
    assert node.transform is not None
    module, _, name = (node.transform.function or "").partition(":")
    try:
        function = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # noqa: BLE001 - the user's module runs here and may raise anything
        return f"cannot import {module}: {type(error).__name__}: {error}"
    if not callable(function):
        return f"{module} has no function {name!r}"
    signature = inspect.signature(function)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        return None
    unknown = [param for param in node.transform.params if param not in signature.parameters]
    return f"{name}{signature} takes no parameter {', '.join(unknown)}; see params" if unknown else None
