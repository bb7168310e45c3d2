"""``validate --deep``: what only importing the node functions can tell."""

from __future__ import annotations

import importlib
from pathlib import Path

from odibi_actors.config.model import ProjectSpec


def problems(project: ProjectSpec) -> list[str]:
    """What is wrong with the functions of the project's transforms, one line each."""
    from odibi_actors.nodes.package import claim, forget, release

    found: dict[str, list[str]] = {}  # what is wrong -> the nodes that it concerns
    own = claim(Path(project.root))
    try:
        for pipeline in project.pipelines:
            for node in pipeline.nodes:
                if node.transform is not None and node.transform.function is not None:
                    problem = _function(node.transform.function)
                    if problem:
                        found.setdefault(problem, []).append(f"{pipeline.name}.{node.name}")
    finally:
        release(own)
        forget()  # "nodes" of the next project is another one
    return [f"odibi.yaml: {', '.join(nodes)}: {problem}" for problem, nodes in found.items()]


def _function(name: str) -> str | None:
    """Whether it is there and takes its inputs was read from its source; here the module is run."""
    module, _, function = name.partition(":")
    try:
        return None if callable(getattr(importlib.import_module(module), function, None)) else f"{name} is no function"
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        return f"cannot import {module}: {_missing(error)}"
    except BaseException as error:  # noqa: BLE001 - the user's module runs here and may raise anything, or exit
        return f"cannot import {module}: {type(error).__name__}: {error}"


def _missing(error: ModuleNotFoundError) -> str:
    """Which module there is not, and what to do where it is a library's."""
    from odibi_actors.batches.frames import POLARS_HINT
    from odibi_actors.nodes.package import PACKAGE

    name = error.name or ""
    if name == "polars":
        return POLARS_HINT
    library = name and name.partition(".")[0] != PACKAGE
    return f"{error}" + (f"; install what has {name} where odibictl is installed" if library else "")
