"""What is on disk against what was applied: an edit takes effect with ``odibictl apply`` only, which is forgotten."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odibi_actors.cli import errors
from odibi_actors.errors import ConfigError, ConflictError, OdibiError

if TYPE_CHECKING:
    from odibi_actors.cli.base import App
    from odibi_actors.client import Client
    from odibi_actors.config.model import PipelineSpec, ProjectSpec

NAMED = 8
"""Differences that are named."""
_RUNS = "the applied version is what runs"
NOT_APPLIED = "nodes/ was changed since the last apply, and the applied code is what runs: `odibictl apply`"


def code_differs(app: App, client: Client, pipeline: str) -> bool:
    """Is the code below this project's ``nodes/`` another one than what ``pipeline`` runs? False when that cannot be
    told, as for a system that an address names: the folder we are in need not be its project."""
    from odibi_actors.config import code_digest

    if app.endpoint or (app.project is None and os.environ.get("ODIBI_ENDPOINT")):
        return False
    try:
        if not (app.root / "odibi.yaml").is_file():
            return False
        applied = client.pipeline(pipeline).get("code_digest")
        return bool(applied) and applied != code_digest(app.root)
    except (OdibiError, OSError):
        return False


def warn_of_disk(app: App, client: Client, pipelines: Iterable[str]) -> None:
    """Say of each of these pipelines what of it is another on disk than what was applied, which is what runs. Nothing
    where that cannot be told, as for a system that an address names."""
    if app.endpoint or (app.project is None and os.environ.get("ODIBI_ENDPOINT")):
        return
    if not (app.root / "odibi.yaml").is_file():
        return
    from odibi_actors.config import load_project

    try:
        project = load_project(app.root)
    except (ConfigError, OSError):
        errors.message(f"warning: {_RUNS}; what is on disk cannot be applied: `odibictl validate`", style="yellow")
        return
    specs = {spec.name: spec for spec in project.pipelines}
    for name in dict.fromkeys(pipelines):
        if name not in specs:
            says = "odibi.yaml does not have it: `odibictl apply` takes it out"
        elif told := _on_disk(client, specs[name]):
            says = f"on disk differs: {told}; `odibictl apply` first, if that is to run"
        else:
            continue
        errors.message(f"warning: {name}: {_RUNS}, and {says}", style="yellow")


def _on_disk(client: Client, spec: PipelineSpec) -> str:
    """What differs, by name; "" for nothing, or when it cannot be told."""
    try:
        item = _preview(client, spec, client.pipeline(spec.name))
    except OdibiError:
        return ""
    if not item["changed"] or item["action"] != "change":
        return ""
    files = {node.name: node.sql_file for node in spec.nodes if node.sql_file}
    told = [*item.get("code", ()), *(f"+ {one}" for one in item.get("added", ()))]
    told += [f"- {one}" for one in item.get("removed", ())]
    for node, keys in item.get("keys", {}).items():
        held = [files[node]] if node in files and "transform.sql" in keys else []
        rest = [key for key in keys if key != "transform.sql" or not held]
        told += held + ([f"{node or 'the pipeline'}: {', '.join(rest)}"] if rest else [])
    more = f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return ", ".join(told[:NAMED]) + more if told else "its configuration"


def of_store(app: App, project: ProjectSpec) -> Client | None:
    """Who tells what this project's store holds, whether anything runs or not; None where there is none, and where an
    address names a system: the project here need not be its."""
    if app.endpoint or (app.project is None and os.environ.get("ODIBI_ENDPOINT")):
        return None
    if not (Path(project.data_dir) / "checkpoints.db").exists():
        return None
    try:
        client = app.client()
    except OdibiError:
        return None
    client.on_rest = None  # what is told is of the project
    return client


def against_store(app: App, project: ProjectSpec) -> list[str]:
    """What of the project contradicts what was read and published so far, each with what to do about it; nothing where
    that cannot be asked. Raises ConfigError, ConflictError when an ``apply`` would be refused."""
    client = of_store(app, project)
    if client is None:
        return []
    try:
        rows = client.apply(project, dry_run=True)["items"]
    except (ConfigError, ConflictError):
        raise
    except OdibiError:
        return []
    return [line for row in rows for line in row.get("advice", ())]


def preview(client: Client, project: ProjectSpec) -> list[dict[str, Any]]:
    """What ``apply`` would do to each pipeline, of ``project`` or running."""
    running = {row["pipeline"]: row for row in client.pipelines()["items"]}
    items = [_preview(client, spec, running.get(spec.name)) for spec in project.pipelines]
    named = {spec.name for spec in project.pipelines}
    return items + [
        {
            "pipeline": name,
            "running_version": row.get("version"),
            "changed": False,
            "action": "not in odibi.yaml",
            "in_flight": row.get("in_flight"),
            "resetting": row.get("state") == "resetting",
        }
        for name, row in running.items()
        if name not in named
    ]


def settings(client: Client, project: ProjectSpec) -> list[dict[str, str]]:
    """What ``apply`` would change of the project itself: ``{"key", "running", "new"}``, "" where there is none."""
    from odibi_actors.checkpoint.records import project_settings

    running = client.status().get("settings")
    if running is None:  # a broker of an earlier release does not tell
        return []
    return [
        {"key": key, "running": running.get(key, ""), "new": new}
        for key, new in project_settings(project).items()
        if running.get(key, "") != new
    ]


def project_lines(changed: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """The same for people."""
    for one in changed:
        yield f"the project: {one['key']}: {one['running'] or 'not set'} -> {one['new'] or 'not set'}"


def _preview(client: Client, spec: PipelineSpec, row: Mapping[str, Any] | None) -> dict[str, Any]:
    version = None if row is None else row.get("version")
    item = {"pipeline": spec.name, "running_version": version, "in_flight": row.get("in_flight") if row else None}
    if version is None:
        return {**item, "changed": True, "action": "new"}
    from odibi_actors.checkpoint.queries import spec_digest
    from odibi_actors.config.parts import difference

    try:
        found = client.version(spec.name, version)
    except OdibiError:
        return {**item, "changed": None, "action": "unknown"}
    changed = found.get("spec_digest") != spec_digest(spec)
    if not changed or "parts" not in found:  # a store of an earlier release does not tell them
        return {**item, "changed": changed, "action": "change" if changed else "none"}
    differs = difference(found["parts"], spec)
    return {
        **item,
        "changed": True,
        "action": "change",
        "added": differs.added,
        "removed": differs.removed,
        "keys": differs.keys,
        "code": differs.code,
        "again": differs.again,
        "kept": differs.kept,
    }


def went_on(items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The iterations that an ``apply`` has set going again."""
    for item in items:
        for number in item.get("goes_on") or ():
            yield f"{item['pipeline']} {number}: had failed, and goes on: what failed of it is gone or another node now"


def lines(item: Mapping[str, Any]) -> Iterator[str]:
    """One pipeline's preview for people."""
    name, flying = item["pipeline"], item["in_flight"] or 0
    if item["action"] == "new":
        yield f"{name}: new"
    elif item["action"] == "none":
        yield f"{name}: nothing changes (version {item['running_version']})"
    elif item["action"] == "unknown":
        yield f"{name}: version {item['running_version']} runs, and cannot be compared"
    elif item["action"] == "not in odibi.yaml":
        yield f"{name}: not in odibi.yaml: nothing of it is planned or run until it is put back ({flying} in flight)"
        if not flying and not item.get("resetting"):
            yield f"  `odibictl reset {name}` forgets it, and leaves its targets"
    else:
        yield f"{name}: changes (version {item['running_version']} runs)"
        yield from _changes(item)
        if "again" in item and flying:
            yield f"  {flying} in flight: those not prepared yet run again {', '.join(item['again']) or 'nothing'}"
            yield f"  and keep the results of {', '.join(item['kept']) or 'no node'}"
        elif "again" in item:
            yield "  nothing is in flight: it holds from the next iteration on"


def _changes(item: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"  + {name}" for name in item.get("added", ()))
    yield from (f"  - {name} (refused if it is a source that has read something)" for name in item.get("removed", ()))
    for node, keys in item.get("keys", {}).items():
        yield f"  ~ {node or 'the pipeline'}: {', '.join(keys)}"
    yield from (f"  ~ {file}" for file in item.get("code", ()))
