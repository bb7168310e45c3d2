"""``validate --deep``: what only importing the node functions can tell."""

from __future__ import annotations

import importlib
import sys

from odibi_actors.config.model import ProjectSpec


def problems(project: ProjectSpec) -> list[str]:
    """What is wrong with the functions of the project's transforms, one line each."""
    found = []
    sys.path.insert(0, project.root)
    try:
        for pipeline in project.pipelines:
            for node in pipeline.nodes:
                if node.transform is not None and node.transform.function is not None:
                    problem = _function(node.transform.function)
                    if problem:
                        found.append(f"odibi.yaml: {pipeline.name}.{node.name}: {problem}")
    finally:
        sys.path.remove(project.root)
    return found


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
