"""``validate --deep``: what only importing the node functions can tell."""

from __future__ import annotations

import importlib
from pathlib import Path

from odibi_actors.config.model import ProjectSpec


def problems(project: ProjectSpec) -> list[str]:
    """What is wrong with the functions of the project's transforms, one line each."""
    from odibi_actors.nodes.package import claim, forget, release

    found = []
    own = claim(Path(project.root))
    try:
        for pipeline in project.pipelines:
            for node in pipeline.nodes:
                if node.transform is not None and node.transform.function is not None:
                    problem = _function(node.transform.function)
                    if problem:
                        found.append(f"odibi.yaml: {pipeline.name}.{node.name}: {problem}")
    finally:
        release(own)
        forget()  # "nodes" of the next project is another one
    return found


def _function(name: str) -> str | None:
    """Whether it is there and takes its inputs was read from its source; here the module is run."""
    module, _, function = name.partition(":")
    try:
        return None if callable(getattr(importlib.import_module(module), function, None)) else f"{name} is no function"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the user's module runs here and may raise anything, or exit
        return f"cannot import {module}: {type(error).__name__}: {error}"
