"""``validate --deep``: what only importing the node functions can tell. ``apply`` and ``up`` warn of it: a process of
its own imports them (``python -m odibi_actors.cli.deep``), since they may do anything, and end or hang who does."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from odibi_actors.cli import errors
from odibi_actors.config.model import ProjectSpec
from odibi_actors.runtime.entry import findable

PATIENCE = 30.0
"""Seconds that all imports may take before nothing more is told of them: only the workers may take longer."""


def warnings(project: ProjectSpec) -> list[str]:
    """``problems``, found by another process; of one that ends or hangs it only what it said before."""
    names = _users(project)
    if not names:
        return []
    findable()
    command = [sys.executable, "-P", "-m", "odibi_actors.cli.deep", project.root, *names]
    given: dict[str, Any] = {"cwd": project.root, "stdin": subprocess.DEVNULL, "capture_output": True}
    try:
        done = subprocess.run(command, timeout=PATIENCE, check=False, **given)
        said = done.stdout
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
    found: dict[str, list[str]] = {}
    for line in said.decode(errors="replace").splitlines():
        name, problem = json.loads(line)
        found.setdefault(problem, []).extend(names[name])
    return _lines(found)


def warn(project: ProjectSpec) -> None:
    """Say what workers will fail at, before anything is sent to them."""
    for line in warnings(project):
        errors.message(f"warning: {line}", style="yellow")


def main() -> None:
    """The process that imports: a line of JSON for each function that cannot be had."""
    from odibi_actors.nodes.package import claim

    root, *names = sys.argv[1:]
    out = os.dup(1)
    os.dup2(2, 1)  # what the modules print is no result
    claim(Path(root))
    for name in names:
        if problem := _function(name, root):
            os.write(out, json.dumps([name, problem]).encode() + b"\n")
    os._exit(0)  # nothing that they have started holds it up


def _users(project: ProjectSpec) -> dict[str, list[str]]:
    """The project's functions, and the nodes that use each."""
    names: dict[str, list[str]] = {}
    for pipeline in project.pipelines:
        for node in pipeline.nodes:
            if node.transform is not None and node.transform.function is not None:
                names.setdefault(node.transform.function, []).append(f"{pipeline.name}.{node.name}")
    return names


def _lines(found: dict[str, list[str]]) -> list[str]:
    return [f"odibi.yaml: {', '.join(nodes)}: {problem}" for problem, nodes in found.items()]


def problems(project: ProjectSpec) -> list[str]:
    """What is wrong with the functions of the project's transforms, one line each."""
    from odibi_actors.nodes.package import claim, forget, release

    found: dict[str, list[str]] = {}  # what is wrong -> the nodes that it concerns
    own = claim(Path(project.root))
    try:
        for name, nodes in _users(project).items():
            if problem := _function(name, project.root):
                found.setdefault(problem, []).extend(nodes)
    finally:
        release(own)
        forget()  # "nodes" of the next project is another one
    return _lines(found)


def _function(name: str, root: str) -> str | None:
    """Whether it is there and takes its inputs was read from its source; here the module is run."""
    module, _, function = name.partition(":")
    try:
        return None if callable(getattr(importlib.import_module(module), function, None)) else f"{name} is no function"
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        return f"cannot import {module}{_place(error, root)}: {_missing(error)}"
    except BaseException as error:  # noqa: BLE001 - the user's module runs here and may raise anything, or exit
        said = error.msg if isinstance(error, SyntaxError) else error
        return f"cannot import {module}{_place(error, root)}: {type(error).__name__}: {said}"


def _place(error: BaseException, root: str) -> str:
    """Where in the project it went wrong, if anywhere: the last of its lines that ran, or could not be read."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    inside = [(Path(file), line) for file, line in places if Path(file).is_relative_to(root)]
    return f" ({inside[-1][0].relative_to(root)} line {inside[-1][1]})" if inside else ""


def _missing(error: ModuleNotFoundError) -> str:
    """Which module there is not, and what to do where it is a library's."""
    from odibi_actors.batches.frames import POLARS_HINT
    from odibi_actors.nodes.package import PACKAGE

    name = error.name or ""
    if name == "polars":
        return POLARS_HINT
    library = name and name.partition(".")[0] != PACKAGE
    return f"{error}" + (f"; install what has {name} where odibictl is installed" if library else "")


if __name__ == "__main__":
    main()
