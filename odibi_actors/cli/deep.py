"""``validate --deep``: what only DuckDB and Python themselves can tell. Both are imported here, when asked for."""

from __future__ import annotations

import difflib
import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any

from odibi_actors.config.model import ProjectSpec


def problems(project: ProjectSpec) -> list[str]:
    """What is wrong with the SQL and the functions of the project's transforms, one line each."""
    found = []
    sys.path.insert(0, project.root)
    try:
        for pipeline in project.pipelines:
            for node in pipeline.nodes:
                if node.transform is not None:
                    problem = (
                        _sql(node.transform.sql, node.inputs)
                        if node.transform.sql
                        else _function(node.transform.function or "")
                    )
                    if problem:
                        found.append(f"odibi.yaml: {pipeline.name}.{node.name}: {problem}")
    finally:
        sys.path.remove(project.root)
    return found


def _sql(sql: str, inputs: Sequence[str]) -> str | None:
    import duckdb

    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        return f"SQL does not parse: {error}"
    if len(statements) != 1:
        return f"{len(statements)} SQL statements; a transform is exactly one"
    return _tables(sql, inputs)


def _tables(sql: str, inputs: Sequence[str]) -> str | None:
    """Whether the query reads anything that is not among the node's inputs. From its syntax tree, since DuckDB's own
    ``get_table_names`` binds, and so refuses every USING. What has no such tree (PIVOT) is left to the run."""
    import duckdb

    with duckdb.connect(":memory:") as connection:
        found = connection.execute("select json_serialize_sql(?::varchar)", [sql]).fetchone()
    names: dict[str, None] = {}
    own: set[str] = set(inputs)
    left: list[Any] = [json.loads(found[0]) if found else {}]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            if part.get("type") == "BASE_TABLE" and not part.get("schema_name"):
                names[str(part["table_name"])] = None
            if isinstance(defined := part.get("cte_map"), dict):
                own.update(str(one["key"]) for one in defined.get("map") or [])
            left += part.values()
        elif isinstance(part, list):
            left += part
    known = {name.lower() for name in own}
    for name in sorted(names):
        if name.lower() not in known:
            near = difflib.get_close_matches(name, inputs, 1)
            hint = f"did you mean {near[0]}?" if near else f"its inputs are {', '.join(inputs) or 'none'}"
            return f"SQL reads {name!r}, which is not among the inputs; {hint}"
    return None


def _function(name: str) -> str | None:
    """Whether it is there and takes its inputs was read from its source; here the module is run."""
    module, _, function = name.partition(":")
    before = set(sys.modules)
    try:
        return None if callable(getattr(importlib.import_module(module), function, None)) else f"{name} is no function"
    except Exception as error:  # noqa: BLE001 - the user's module runs here and may raise anything
        return f"cannot import {module}: {type(error).__name__}: {error}"
    finally:
        top = module.partition(".")[0]
        for loaded in sorted(set(sys.modules) - before):  # "nodes" of the next project is another one
            if loaded.partition(".")[0] == top:
                del sys.modules[loaded]
