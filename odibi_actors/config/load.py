"""``odibi.yaml`` -> :class:`ProjectSpec`, or every problem of it at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from odibi_actors.config.checks import Checker, Section
from odibi_actors.config.digest import Code
from odibi_actors.config.keys import PROJECT
from odibi_actors.config.kinds import BAD
from odibi_actors.config.model import (
    AlertSpec,
    BatchSpec,
    ConnectionSpec,
    NodeSpec,
    PipelineSpec,
    PollSpec,
    ProjectSpec,
    ReadSpec,
    RetainSpec,
    RetrySpec,
    TableSpec,
    TransformSpec,
    WorkerSpec,
    WriteSpec,
)
from odibi_actors.config.problems import Problems
from odibi_actors.config.schedules import schedule_spec
from odibi_actors.config.sql import check_sql
from odibi_actors.config.tree import MAX_FILE, Tree, parse, plain_data
from odibi_actors.config.variables import expand, read_env_file
from odibi_actors.kinds.registry import source_of
from odibi_actors.model import Accesses
from odibi_actors.nodes.lent import Function, digest_of

PROJECT_FILE = "odibi.yaml"


def load_project(path: Path, env: Mapping[str, str] | None = None, *, sql: bool = False) -> ProjectSpec:
    """Reads and checks a project.

    ``path`` is the project file or the folder that holds ``odibi.yaml``. Variables come from ``env`` (default: the
    process's environment), then from ``.env`` beside the file. ``sql``: also check the SQL of transforms, which loads
    DuckDB where there is any. Nothing of the user's code is imported. Raises ConfigError with all problems.
    """
    return _load(path, env, sql)[0]


def load_connections(path: Path, env: Mapping[str, str] | None = None) -> dict[str, ConnectionSpec]:
    """The connections of a project by name, those included that no node uses. As ``load_project``."""
    return _load(path, env)[1]


def load_accesses(path: Path, env: Mapping[str, str] | None = None) -> Accesses:
    """How to get in where the connections of a project lead, those included that no node uses. As ``load_project``."""
    return _load(path, env)[3]


def load_warnings(path: Path, env: Mapping[str, str] | None = None, pipeline: str = "") -> list[str]:
    """What is allowed and may surprise, each with its line and what to write; of one ``pipeline``, or of all. As
    ``load_project``."""
    return [said for name, said in _load(path, env)[2] if pipeline in ("", name)]


def load_text(
    text: str,
    root: Path,
    file: str,
    env: Mapping[str, str] | None = None,
    *,
    sql: bool = False,
    lent: Mapping[str, Function] | None = None,
) -> tuple[ProjectSpec, list[str]]:
    """A project whose file would hold ``text``, and its warnings. ``root``: its folder; ``file``: what problems name as
    the file; ``lent``: functions beside those of ``nodes/``, by reference. As ``load_project``."""
    root = Path(os.path.realpath(root))
    problems = Problems(file)
    variables = _variables(root, env, problems)
    tree = _parse(text.encode(), problems, variables)
    found = _loaded(tree, root, problems, sql, lent or {})
    return found[0], [said for _, said in found[2]]


def load_written(path: Path) -> dict[str, Any]:
    """What a project file says, as it is written: variables are not replaced, and nothing is checked but that it is
    YAML with a mapping. Raises ConfigError."""
    path = Path(os.path.abspath(path))
    problems = Problems(path.name)
    data = _bytes(path, problems)
    tree = None if data is None else _parse(data, problems, None)
    found = plain_data(tree, "", problems) if tree is not None else None
    if tree is not None and not isinstance(found, dict):
        problems.add("", "must be a mapping", suggestion="`odibictl init DIR` writes a working project")
    problems.raise_if_any()
    assert isinstance(found, dict)
    return found


def _load(
    path: Path, env: Mapping[str, str] | None, sql: bool = False
) -> tuple[ProjectSpec, dict[str, ConnectionSpec], list[tuple[str, str]], Accesses]:
    path = Path(os.path.abspath(path))
    if path.is_dir():
        path = path / PROJECT_FILE
    problems = Problems(path.name)
    root = Path(os.path.realpath(path.parent))  # by whatever link it is reached, it is one project
    variables = _variables(root, env, problems)
    data = _bytes(root / path.name, problems)
    tree = None if data is None else _parse(data, problems, variables)
    return _loaded(tree, root, problems, sql, {})


def _variables(root: Path, env: Mapping[str, str] | None, problems: Problems) -> dict[str, str]:
    return read_env_file(root / ".env", problems) | dict(os.environ if env is None else env)


def _loaded(
    tree: Tree | None, root: Path, problems: Problems, sql: bool, lent: Mapping[str, Function]
) -> tuple[ProjectSpec, dict[str, ConnectionSpec], list[tuple[str, str]], Accesses]:
    data: Any = PROJECT.check(tree, "", problems) if tree is not None else BAD
    checker = Checker(root, problems, lent)
    if data is not BAD:
        checker.project(data)
        if sql:
            check_sql(checker.nodes, checker.sql_files, problems)
    problems.raise_if_any()
    alerts = [AlertSpec(**section) for section in data.get("alerts", [])]
    code = Code(root, {reference: digest_of(function) for reference, function in lent.items()})
    project = ProjectSpec(
        name=data["project"],
        root=str(root),
        pipelines=[_pipeline(section, checker, alerts, code) for section in data["pipelines"]],
        workers=data.get("workers") or os.cpu_count() or 1,
        code_digest=code.digest,
        worker=WorkerSpec(**data.get("worker", {})),
        **_pick(data, "data_dir", "history", "history_size"),
    )
    return project, checker.connections, list(_warnings(project, data, problems)), checker.accesses


def _warnings(project: ProjectSpec, data: Section, problems: Problems) -> Iterator[tuple[str, str]]:
    """(pipeline, what is told) of sinks in which what is taken up again replaces what is newer, and those that hold the
    newest files only."""
    for place, (pipeline, spec) in enumerate(zip(data["pipelines"], project.pipelines, strict=True)):
        for number, node in enumerate(pipeline["nodes"]):
            at = f"pipelines[{place}].nodes[{number}].write"
            if node["name"] in spec.newest_only:
                yield (
                    spec.name,
                    f"{problems.file}:{problems.line(at)}: {at}: {node['name']} is overwritten by each batch of new "
                    "files, and holds the newest batch only; to hold more, read by `mode: batch`, or keep it in a node "
                    "with `state: true`",
                )
        if told := _older_over_newer(place, pipeline, spec, problems):
            yield spec.name, told


def _older_over_newer(place: int, pipeline: Section, spec: PipelineSpec, problems: Problems) -> str:
    """One text for all sinks of a pipeline in which what is taken up again replaces what is newer."""
    if spec.on_error != "dead_letter" or not spec.older_over_newer:
        return ""
    sinks = {node["name"]: (number, node["write"].get("mode")) for number, node in enumerate(pipeline["nodes"])
             if node["name"] in spec.older_over_newer}  # fmt: skip
    at = f"pipelines[{place}].nodes[{next(iter(sinks.values()))[0]}].write"
    backfill = "" if spec.stateful else " (or a backfill)"  # which a pipeline with state refuses
    does = " or ".join(dict.fromkeys("deletes" if mode == "delete" else "replaces" for _, mode in sinks.values()))
    return (
        f"{problems.file}:{problems.line(at)}: {at}: a dead letter that is taken up later{backfill} {does} newer rows "
        f"of the same keys; add `version: COLUMN` to the write of {', '.join(sinks)}, and the row with the greater one "
        "stays"
    )


def _bytes(path: Path, problems: Problems) -> bytes | None:
    try:
        if path.exists() and not path.is_file():
            problems.add("", "is not a file", str(path))
            return None
        with path.open("rb") as file:
            return file.read(MAX_FILE + 1)
    except FileNotFoundError:
        problems.add("", "there is no such file", str(path), "`odibictl init DIR` writes a working project")
    except OSError as error:
        problems.add("", f"cannot be read: {error.strerror}", str(path))
    return None


def _parse(data: bytes, problems: Problems, variables: Mapping[str, str] | None) -> Tree | None:
    """``variables``: None leaves them as they are written."""
    if len(data) > MAX_FILE:
        problems.add("", f"larger than {MAX_FILE} bytes", suggestion="move SQL to sql/*.sql")
        return None
    try:
        problems.text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.add_at(data[: error.start].count(b"\n") + 1, 1, "", "is not UTF-8", suggestion="save it as UTF-8")
        return None
    return parse(problems.text, problems, lambda value: (value, []) if variables is None else expand(value, variables))


def _pipeline(section: Section, checker: Checker, alerts: list[AlertSpec], code: Code) -> PipelineSpec:
    """``alerts`` are the project's: they come after the pipeline's own, and what is in both is said once."""
    own = [AlertSpec(**alert) for alert in section.get("alerts", [])]
    logs = ConnectionSpec("ticks", "local", os.path.join(checker.data_dir, "ticks"))
    nodes = [_node(node, section, checker.connections, logs) for node in section["nodes"]]
    return PipelineSpec(
        name=section["pipeline"],
        nodes=nodes,
        code=code.of(nodes),
        access=checker.accesses,
        batch=BatchSpec(**section.get("batch", {})),
        schedules=[schedule_spec(schedule) for schedule in section.get("schedules", [])],
        alerts=own + [alert for alert in alerts if alert not in own],
        **section.get("checkpoint", {}),
        **_pick(section, "trigger", "max_in_flight", "on_error", "description"),
    )


def _node(
    section: Section, pipeline: Section, connections: dict[str, ConnectionSpec], logs: ConnectionSpec
) -> NodeSpec:
    """``retry`` and ``timeout`` of the pipeline are defaults of its nodes, key by key. ``logs``: where those are that
    keep what is polled."""
    name = f"{pipeline['pipeline']}.{section['name']}"
    read, transform, write = section.get("read"), section.get("transform"), section.get("write")
    file = "" if transform is None else transform.get("sql_file", "")
    return NodeSpec(
        sql_file=file,
        read=None if read is None else _read_spec(read, connections, logs, name),
        transform=None if transform is None else TransformSpec(**_pick(transform, "function", "sql", "params")),
        write=None if write is None else WriteSpec(**_connected(write, connections)),
        retry=RetrySpec(**(pipeline.get("retry", {}) | section.get("retry", {}))),
        **_pick(pipeline, "timeout")
        | _pick(section, "name", "inputs", "timeout", "durable", "description", "state", "engine"),
    )


def _read_spec(section: Section, connections: dict[str, ConnectionSpec], logs: ConnectionSpec, name: str) -> ReadSpec:
    columns, schema = section.get("columns", []), section.get("schema", {})
    kept: Section = {"retain": RetainSpec(**section["retain"])} if "retain" in section else {}
    if "every" in section:
        section = {"format": "arrow"} | section | _polled(section, connections, logs, name)
        section = {key: value for key, value in section.items() if key in ReadSpec.__struct_fields__}
        connections = {logs.name: logs}
    elif "table" in section or "query" in section:
        of_table = TableSpec(
            table=section.pop("table", ""), query=section.pop("query", ""), **_taken(section, TableSpec)
        )
        section = {"format": "sql", "of_table": of_table} | section
    kind = source_of(section["mode"])
    typed = bool(schema) and (kind.declared or (bool(columns) and all(name in schema for name in columns)))
    return ReadSpec(**_connected(section, connections) | kept, consumption=kind.consumption, typed=typed)


def _polled(
    section: Section, connections: dict[str, ConnectionSpec], logs: ConnectionSpec, name: str
) -> dict[str, Any]:
    """What is polled, and the log of what was read."""
    keys = ("table", "query")
    of = {key: section.get(key, "") for key in keys}
    polled = PollSpec(
        section["every"],
        connections[section["connection"]] if "connection" in section else logs,
        "" if "function" in section else section.get("path", ""),
        TableSpec(**of, watermark_column="") if any(of.values()) else None,
        **_pick(section, "function", "params"),
    )
    return {"connection": logs.name, "path": name, "polled": polled}


def _taken(section: Section, model: type[msgspec.Struct]) -> Section:
    """Those keys of a section that are of ``model``, taken out of it."""
    return {key: section.pop(key) for key in model.__struct_fields__ if key in section}


def _connected(section: Section, connections: dict[str, ConnectionSpec]) -> Section:
    return section | {"connection": connections[section["connection"]]}


def _pick(section: Section, *keys: str) -> dict[str, Any]:
    return {key: section[key] for key in keys if key in section}
