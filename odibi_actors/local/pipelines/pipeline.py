"""``Pipeline``: one pipeline, built in code."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from odibi_actors.config.graph import render_mermaid, render_text
from odibi_actors.config.load import load_text
from odibi_actors.config.problems import Problems
from odibi_actors.config.tree import parse, plain_data
from odibi_actors.errors import ConfigError, RunFailedError
from odibi_actors.local.pipelines.document import differing, name_of, plain, render, written
from odibi_actors.model import ALL_DONE
from odibi_actors.nodes.lent import Function, lending
from odibi_actors.nodes.package import PACKAGE
from odibi_actors.nodes.transform import CONTEXT, STATE

if TYPE_CHECKING:
    from odibi_actors.config.model import PipelineSpec, ProjectSpec
    from odibi_actors.local.pipelines.deploying import Deployed
    from odibi_actors.local.pipelines.preview import Preview
    from odibi_actors.local.system import RunSummary

F = TypeVar("F", bound=Callable[..., Any])

NODE_KEYS = ("retry", "timeout", "durable", "description")
_LITERALS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$", re.DOTALL)
"""Texts and quoted names of SQL."""
SHOWN_AS = "to_yaml()"
"""What problems name as their file: lines and columns are those of that text."""


class Pipeline:
    """One pipeline, built in code: the same keys, checks and messages as in ``odibi.yaml``, which ``to_yaml`` prints.

    ``name``: unique in the project. ``project``: the folder that relative paths, ``nodes/``, ``.env`` and checkpoints
    are in; what its ``odibi.yaml`` says, if it has one, holds here too (connections, ``data_dir``, alerts), but for its
    pipelines. ``settings``: keys of a pipeline as in ``odibi.yaml`` (``trigger``, ``on_error``, ``schedules`` ...).

    Values are what YAML has (text, numbers, booleans, None, lists, mappings), and timedeltas, paths and Arrow types,
    which become their text; ``${VAR}`` in a text means the variable, as in the file. Raises ConfigError for anything
    else, and for an ``odibi.yaml`` that cannot be read.
    """

    def __init__(self, name: str, project: str | Path = ".", **settings: Any) -> None:
        self.name = name
        self.root = Path(project).resolve()
        self._settings = plain(settings, name)
        self._connections: dict[str, Any] = {}
        self._nodes: dict[str, dict[str, Any]] = {}
        self._functions: dict[str, Function] = {}

    # --- building -----------------------------------------------------------------------------------------------------

    def connection(self, name: str, type: str, **keys: Any) -> str:
        """Say where data lives, as under ``connections`` of ``odibi.yaml``; returns the name."""
        self._connections[name] = plain({"type": type, **keys}, f"connection {name}")
        return name

    def read(self, name: str, connection: str = "", **keys: Any) -> str:
        """Add a source; returns its name. ``keys``: those of ``read`` (``format``, ``mode``, ``pattern``, ``schema``
        ...), and ``retry``, ``timeout``, ``durable``, ``description`` of the node. ``mode`` is ``file_watch`` where
        nothing is said. A ``function`` that is polled (``mode: interval``) is one of the project's ``nodes/``."""
        node, keys = self._split(keys)
        if "function" in keys and not isinstance(keys["function"], str):
            keys["function"] = self._of_project(keys["function"])
        read = {**({"connection": connection} if connection else {}), "mode": "file_watch", **keys}
        return self._add(name, {"read": read}, node)

    @overload
    def node(self, function: F, /) -> F: ...

    @overload
    def node(
        self,
        function: None = None,
        /,
        *,
        name: str = "",
        inputs: Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
        state: bool = False,
        **keys: Any,
    ) -> Callable[[F], F]: ...

    def node(
        self,
        function: F | None = None,
        /,
        *,
        name: str = "",
        inputs: Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
        state: bool = False,
        **keys: Any,
    ) -> F | Callable[[F], F]:
        """Add a transform: a decorator, with or without arguments, that leaves the function as it is.

        ``name``: that of the function, if nothing is said; ``inputs``: its parameters that are names of nodes added
        before. Tables come as the parameters are annotated: ``pandas.DataFrame`` (also without), ``pyarrow.Table``,
        ``polars.DataFrame``, and with ``engine="spark"`` Spark's ``DataFrame``. ``state``: it is given ``state`` and
        returns ``(output, state)``. ``keys``: ``retry``, ``timeout``, ``durable``, ``engine``,
        ``description`` (by default the docstring's first line). A function that is not in the project's ``nodes/`` runs
        in this process only: see ``deploy``.
        """

        def add(one: F) -> F:
            reference = self._reference(one)
            section: dict[str, Any] = {"function": reference, **({"params": dict(params)} if params else {})}
            takes = self._inputs(one, set(params or ()), state) if inputs is None else list(inputs)
            about = inspect.getdoc(one)
            more = {"description": about.splitlines()[0]} if about else {}
            node, other = self._split({**more, **keys, **({"state": True} if state else {})}, "state", "engine")
            called = name or one.__name__
            self._refuse(called, other)
            if _interactive(one) and self._nodes.get(called, {}).get("transform", {}).get("function") == reference:
                del self._nodes[called]  # its cell was run again
            self._add(called, {"inputs": takes, "transform": section}, node)
            return one

        return add if function is None else add(function)

    def sql(self, name: str, sql: str, inputs: Sequence[str] | None = None, **keys: Any) -> str:
        """Add a transform that is one SELECT of DuckDB over its inputs; returns its name. ``inputs``: the tables that
        it names, if nothing is said. ``keys``: as for ``node``; with ``engine="spark"`` it is Spark's SQL."""
        node, other = self._split(keys, "engine")
        self._refuse(name, other)
        text = _dedented(sql)
        return self._add(
            name, {"inputs": _tables(text) if inputs is None else list(inputs), "transform": {"sql": text}}, node
        )

    def write(self, name: str, input: str | Callable[..., Any], connection: str, **keys: Any) -> str:
        """Add a sink of what ``input`` (a node's name, or its function) puts out; returns its name. ``keys``: those of
        ``write`` (``path``, ``format``, ``table``, ``mode``, ``keys`` ...), and those of the node as for ``read``."""
        node, keys = self._split(keys)
        source = input if isinstance(input, str) else self._named(input)
        return self._add(name, {"inputs": [source], "write": {"connection": connection, **keys}}, node)

    # --- what it is ---------------------------------------------------------------------------------------------------

    def to_yaml(self) -> str:
        """The ``odibi.yaml`` of a project that has this pipeline only. Raises ConfigError."""
        data = self.document()
        text = render(data)
        problems = Problems(SHOWN_AS)
        tree = parse(text, problems, lambda value: (value, []))
        problems.raise_if_any()
        other = differing(data, plain_data(tree, "", problems) if tree is not None else None)
        if other is not None:
            raise ConfigError(f"{self.name}: {other}: this text cannot be said in YAML exactly; write it otherwise")
        return text

    def document(self) -> dict[str, Any]:
        """The same as plain data: the project's own keys and connections, and this pipeline."""
        base = written(self.root) or {"project": name_of(self.root)}
        connections = {**(base.get("connections") or {}), **self._connections}
        rest = {key: value for key, value in base.items() if key not in ("connections", "pipelines")}
        return {**rest, "connections": connections, "pipelines": [self.section()]}

    def section(self) -> dict[str, Any]:
        """What stands under ``pipelines``."""
        return {"pipeline": self.name, **self._settings, "nodes": [*self._nodes.values()]}

    def spec(self) -> ProjectSpec:
        """The project with this pipeline only, checked. Raises ConfigError with every problem at once; lines are those
        of ``to_yaml``."""
        return self._load()[0]

    def check(self) -> list[str]:
        """Check everything that can be checked before data is there, as ``odibictl validate`` does; returns warnings:
        what is allowed and may surprise. Raises ConfigError."""
        return self._load()[1]

    def graph(self) -> str:
        """The DAG as a Mermaid flowchart."""
        return render_mermaid([self._own(self.spec())])

    @property
    def connections(self) -> dict[str, Any]:
        """Those said here, by name."""
        return dict(self._connections)

    @property
    def functions(self) -> dict[str, Function]:
        """Functions of nodes that are not in the project's ``nodes/``, by their references."""
        return dict(self._functions)

    def __str__(self) -> str:
        try:
            return render_text(self._own(self.spec()))
        except ConfigError as error:  # who looks at what is not ready wants to see what it lacks
            return f"{self!r} is not sound yet:\n{error}"

    def __repr__(self) -> str:
        return f"Pipeline({self.name!r}, nodes={[*self._nodes]})"

    def _repr_markdown_(self) -> str:
        try:
            return f"```mermaid\n{self.graph()}```"
        except ConfigError:
            return f"```text\n{self}\n```"

    # --- running ------------------------------------------------------------------------------------------------------

    def run(
        self,
        params: Mapping[str, Any] | None = None,
        *,
        iterations: int | None = None,
        replay: Sequence[int] | None = None,
        fresh: bool = False,
        check: bool = True,
        progress: Callable[[str], None] | Literal["shown"] | None = "shown",
    ) -> RunSummary:
        """Run it over the data there is, in this process, as ``odibictl run`` does: it goes on from the project's
        checkpoints and adds to them.

        ``params``: what the run is started with; ``iterations``: stop after so many; ``replay``: take these dead
        letters up first ([]: all); ``fresh``: with checkpoints of its own, which go with the run. ``progress`` is
        called with each line of progress; "shown": on stderr, in a notebook in one line of the cell; None: nowhere.
        Notices and warnings stand on stderr in any case. Raises ConfigError, ConflictError (a system runs on the
        project: trigger it there) and, with ``check``, RunFailedError when something failed or was set aside.
        """
        from odibi_actors.local.pipelines.telling import telling
        from odibi_actors.local.system import run_pipeline

        project = self.spec()
        progress = telling() if progress == "shown" else progress
        with lending(self._functions):
            summary = run_pipeline(project, self.name, iterations, fresh, progress, replay, params)
        if check and summary.state not in ALL_DONE:
            raise RunFailedError(_failure(self.name, summary))
        return summary

    def preview(
        self,
        sample: int = 1000,
        *,
        node: str | None = None,
        files: str | None = None,
        head: int = 5,
        params: Mapping[str, Any] | None = None,
    ) -> Preview:
        """What a sample becomes in each node, as ``odibictl try`` tells it: nothing is published or remembered, so that
        it works beside a running system. ``sample``: rows of each watched source; ``node``: this one and what it needs
        alone; ``files``: a pattern for the files of watched sources; ``head``: rows of each node that are shown.

        What fails is in the result (``ok``, ``nodes``). Raises ConfigError (``sample`` below 1 or ``head`` below
        0 as well), NotFoundError: there is nothing to read.
        """
        from odibi_actors.local.pipelines.preview import preview

        return preview(self, sample, node, files, head, params)

    def deploy(self, *, replace: bool = False) -> Deployed:
        """Put it into the project's ``odibi.yaml``, all else of which stays as it is, and ``apply`` that where a system
        runs. Without such a file one is written. ``replace``: another pipeline of that name may go.

        Raises ConfigError: it is not sound, or functions of it are not in the project's ``nodes/``; ConflictError: the
        file has another pipeline, or another connection, of a name that is used here.
        """
        from odibi_actors.local.pipelines.deploying import deploy

        return deploy(self, replace=replace)

    # --- within -------------------------------------------------------------------------------------------------------

    def _load(self) -> tuple[ProjectSpec, list[str]]:
        if not self._nodes:
            raise ConfigError(f"{self.name} has no nodes; add some: read, node, sql, write")
        return load_text(self.to_yaml(), self.root, SHOWN_AS, sql=True, lent=self._functions)

    def _own(self, project: ProjectSpec) -> PipelineSpec:
        return project.pipeline(self.name)

    def _add(self, name: str, section: Mapping[str, Any], node: Mapping[str, Any]) -> str:
        if name in self._nodes:
            raise ConfigError(f"{self.name} has a node {name} already; give this one another name")
        self._nodes[name] = plain({"name": name, **node, **section}, f"{self.name}.{name}")
        return name

    def _split(self, keys: Mapping[str, Any], *more: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The keys of the node, and all others."""
        own = {key: value for key, value in keys.items() if key in (*NODE_KEYS, *more)}
        return own, {key: value for key, value in keys.items() if key not in own}

    def _refuse(self, name: str, other: Mapping[str, Any]) -> None:
        if other:
            raise TypeError(f"{self.name}.{name}: unknown key {next(iter(other))!r}; there are: {', '.join(NODE_KEYS)}")

    def _reference(self, function: Callable[..., Any]) -> str:
        name = getattr(function, "__name__", "")
        if not name.isidentifier() or inspect.unwrap(function).__name__ == "<lambda>":
            raise ConfigError(f"{self.name}: {name or function!r} has no name of its own; write it as a def")
        reference = f"{function.__module__}:{name}"
        if function.__module__.partition(".")[0] == PACKAGE:
            return reference
        if _interactive(function):
            self._functions[reference] = function
        elif self._functions.setdefault(reference, function) is not function:
            raise ConfigError(f"{self.name} has a function {reference} already; give this one another name")
        return reference

    def _of_project(self, function: Callable[..., Any]) -> str:
        if function.__module__.partition(".")[0] != PACKAGE:
            raise ConfigError(
                f"{self.name}: {function.__module__}:{function.__name__} is polled in a process of its own, which has "
                f"only the project's {PACKAGE}/; move it to {PACKAGE}/{self.name}.py"
            )
        return f"{function.__module__}:{function.__name__}"

    def _inputs(self, function: Callable[..., Any], params: set[str], state: bool) -> list[str]:
        own = {CONTEXT, *params, *([STATE] if state else [])}
        return [name for name in inspect.signature(function).parameters if name in self._nodes and name not in own]

    def _named(self, function: Callable[..., Any]) -> str:
        """The node that calls it."""
        reference = f"{function.__module__}:{getattr(function, '__name__', '')}"
        nodes = [name for name, node in self._nodes.items() if node.get("transform", {}).get("function") == reference]
        if len(nodes) != 1:
            found = f"nodes {', '.join(nodes)} call it" if nodes else "no node calls it"
            raise ConfigError(f"{self.name}: input {reference}: {found}; give the name of the node")
        return nodes[0]


def _dedented(sql: str) -> str:
    """The query without the indentation of the Python code around it; unchanged where a literal holds line ends, whose
    blanks are its own."""
    if any("\n" in literal[0] for literal in _LITERALS.finditer(sql)):
        return sql
    first, _, rest = sql.strip("\n").rstrip().partition("\n")
    return f"{first.lstrip(' ')}\n{textwrap.dedent(rest)}\n" if rest else first.strip(" ")


def _interactive(function: Callable[..., Any]) -> bool:
    """It was typed into a notebook or a terminal, where one of that name takes the place of the former."""
    return getattr(sys.modules.get(function.__module__), "__file__", None) is None


def _tables(sql: str) -> list[str]:
    from odibi_actors.nodes.sql_check import SqlChecker

    checker = SqlChecker()
    try:
        return checker.tables(sql)
    finally:
        checker.close()


def _failure(name: str, summary: RunSummary) -> str:
    """What is not done, and where to look."""
    parts = [f"{name}: run {summary.run}: {summary.state}"]
    if summary.error or summary.unread:
        parts.append("; ".join([summary.error, *summary.unread]).strip("; "))
    if summary.dead_lettered:
        again = re.sub(r"`odibictl run \w+ --replay ([^`]*)`", r"`run(replay=[\1])`", summary.remedy)
        parts.append(f"`odibictl deadletter list {name}` lists what was set aside: {again}")
    if summary.traceback:
        parts.append("\n" + summary.traceback.rstrip())
    return ": ".join(parts[:2]) + "".join(f"; {part}" if not part.startswith("\n") else part for part in parts[2:])
