"""A pipeline of the shop is built in code, and deployed: ``python -m tests.shop.coded`` in the project's folder, with
what is to stand in the project file on its standard input; prints {"changed", "applied"}, or {"refused"}.

A process of its own, as an author's program is: the project's ``nodes`` are imported.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from odibi_actors import Pipeline
from odibi_actors.errors import ConflictError


def build(section: dict[str, Any]) -> Pipeline:
    """The pipeline that says what the section of a project file says."""
    settings = {key: value for key, value in section.items() if key not in ("pipeline", "nodes")}
    pipeline = Pipeline(section["pipeline"], **settings)
    for node in section["nodes"]:
        _add(pipeline, **node)
    return pipeline


def _add(pipeline: Pipeline, name: str, inputs: list[str] | None = None, **node: Any) -> None:
    if "read" in node:
        pipeline.read(name, **node["read"])
    elif "write" in node:
        pipeline.write(name, (inputs or [""])[0], **node["write"])
    elif "sql" in node["transform"]:
        pipeline.sql(name, node["transform"]["sql"], inputs)
    else:
        transform = node.pop("transform")
        module, _, function = transform["function"].partition(":")
        add = pipeline.node(name=name, inputs=inputs, params=transform.get("params"), **node)
        add(getattr(importlib.import_module(module), function))


def main() -> None:
    """See above."""
    try:
        done = build(json.load(sys.stdin)).deploy(replace=True)
    except ConflictError as refused:
        print(json.dumps({"refused": str(refused)}))
        return
    print(json.dumps({"changed": done.changed, "applied": done.applied}))


if __name__ == "__main__":
    main()
