"""``odibictl init``, ``validate``, ``graph``, ``config``, ``apply``: the project file. Only ``apply`` needs a running
system."""

from __future__ import annotations

import importlib
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from odibi_actors.cli import errors
from odibi_actors.cli.applied import against_store, lines, preview, project_lines, settings, went_on
from odibi_actors.cli.base import App, Command, group, lists, output_option, pass_app
from odibi_actors.cli.names import pipeline_argument
from odibi_actors.cli.output import Column, Row, emit, table
from odibi_actors.errors import ConfigError, ConflictError, NotFoundError
from odibi_actors.runtime.visible import named, visible
from odibi_actors.units import plural

if TYPE_CHECKING:
    from odibi_actors.config.model import PipelineSpec, ProjectSpec


def load(app: App, *, sql: bool = True) -> ProjectSpec:
    """The project as it is on disk; ``sql``: that of its nodes is checked too. Raises ConfigError with all problems."""
    from odibi_actors.config import load_project

    root = app.root
    if not (root / "odibi.yaml").is_file():
        raise ConfigError(f"{root / 'odibi.yaml'}: no such file; go to a project, name it with --project DIR, "
                          "or make one with `odibictl init DIR`")  # fmt: skip
    return load_project(root, sql=sql)


def chosen(project: ProjectSpec, name: str | None) -> list[PipelineSpec]:
    """The pipeline of that name, or all. Raises NotFoundError."""
    if name is None:
        return list(project.pipelines)
    try:
        return [project.pipeline(name)]
    except KeyError:
        names = ", ".join(pipeline.name for pipeline in project.pipelines)
        raise NotFoundError(f"no pipeline {name!r} in odibi.yaml; there are: {names}") from None


FOUND = (
    Column("PIPELINE", "pipeline", whole=True),
    Column("PATTERN", "pattern"),
    Column("FILES", "files", right=True),
    Column("COLUMNS", lambda row: ", ".join(f"{one['name']} {one['type']}" for one in row["columns"])),
)


@click.command(
    cls=Command,
    examples=["odibictl init my_project", "cd my_project && odibictl up", "odibictl init sales --from /data/sales"],
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--from", "source", metavar="FOLDER", type=click.Path(path_type=Path),
              help="A project for the files of this folder: csv, JSON, parquet, Arrow.")  # fmt: skip
@lists
@pass_app
def init(app: App, folder: Path, source: Path | None) -> None:
    """Make a small working project in DIR.

    With --from it reads the files of FOLDER, which stay as they are: one pipeline for each kind of file (names that
    differ in digits only), with the types its rows have. Files whose first line looks like data are read as files
    without a header, and that is told. Told are, with what to write for them: dates such as 31.12.2024, 2024/12/31 and
    31-Dec-2024, what can only be groups of digits (1,234,567 or 1.234,50) and words such as NA, which stay text, and
    files that somebody is writing. What is not read is named, with why.
    """
    from odibi_actors.config import init_project
    from odibi_actors.config.patterns import shown

    if source is None:
        init_project(folder)
        errors.message(f"{folder}: ready; try `cd {shlex.quote(str(folder))} && odibictl validate && odibictl up`")
        return
    draft = importlib.import_module("odibi_actors.local.draft").init_from(folder, source)
    items = [
        {
            "pipeline": group.name,
            "pattern": shown(group.pattern),
            "format": group.format,
            "files": len(group.files),
            "columns": [{"name": name, "type": kind} for name, kind in group.columns],
            "notes": group.notes,
        }
        for group in draft.groups
    ]
    skipped = [one._asdict() for one in draft.skipped]
    emit(app, lambda: {"items": items, "skipped": skipped}, "pipeline", lambda result: [table(result["items"], FOUND)])
    for found in draft.groups:
        for note in found.notes:
            errors.message(f"note: {shown(found.pattern)}: {note}", style="yellow")
    for one in draft.skipped:
        errors.message(f"left out: {named(one.name)}: {one.reason}", style="yellow")
    here = shlex.quote(str(folder))
    errors.message(
        f"{folder / 'odibi.yaml'}: ready; look at it, then `cd {here} && odibictl try {items[0]['pipeline']}`"
    )


@click.command(cls=Command, examples=["odibictl validate", "odibictl validate --deep --project examples/flights"])
@click.option("--deep", is_flag=True, help="Also import the node functions (runs the modules under nodes/).")
@output_option("table", "json", "yaml")
@pass_app
def validate(app: App, deep: bool) -> None:
    """Check odibi.yaml and print all problems at once (exit 2).

    Each problem has its place, what stands there, and what to write instead: SQL included, with the tables and
    functions it uses. Warned of is what contradicts what was read and published so far (as `odibictl apply --dry-run`
    says). Nothing needs to run, and no code of the project is run without --deep.
    """
    try:
        project = load(app)
    except ConfigError as error:
        if app.output != "table":
            problems = [asdict(problem) for problem in error.problems] or [{"message": str(error)}]
            emit(app, lambda: {"ok": False, "problems": problems}, "ok", lambda _: [])
        raise
    if deep:
        from odibi_actors.cli import deep as checks

        found = checks.problems(project)
        if found:
            raise ConfigError("\n".join(found))
    from odibi_actors.config.load import load_warnings

    warnings = load_warnings(app.root)
    try:
        warnings += against_store(app, project)
    except (ConfigError, ConflictError) as refused:
        warnings.append(f"`odibictl apply` refuses it: {refused}")
    for line in warnings:
        errors.message(f"warning: {line}", style="yellow")
    pipelines = [{"pipeline": one.name, "nodes": len(one.nodes)} for one in project.pipelines]
    nodes = sum(len(one.nodes) for one in project.pipelines)
    result = {"ok": True, "project": project.name, "pipelines": pipelines, "warnings": warnings}
    emit(
        app, lambda: result, "project", lambda _: [f"ok: {plural(len(pipelines), 'pipeline')}, {plural(nodes, 'node')}"]
    )


@click.command(cls=Command, examples=["odibictl graph", "odibictl graph delays -o mermaid > delays.mmd"])
@pipeline_argument(required=False)
@output_option("text", "mermaid", "json")
@pass_app
def graph(app: App, pipeline: str | None) -> None:
    """Draw the DAG of one pipeline, or of all."""
    from odibi_actors.config import graph as graphs

    pipelines = chosen(load(app, sql=False), pipeline)
    if app.output == "json":
        emit(app, lambda: {"items": [graphs.as_data(one) for one in pipelines]}, "pipeline", lambda _: [])
    elif app.output == "mermaid":
        click.echo(visible(graphs.render_mermaid(pipelines)), nl=False)
    else:
        click.echo(visible("\n".join(graphs.render_text(one) for one in pipelines)), nl=False)


config = group("config", "The project file's schema.")


@config.command(examples=["odibictl config schema > .odibi/odibi.schema.json"])
def schema() -> None:
    """Print the JSON schema of odibi.yaml, for editors."""
    import json

    from odibi_actors.config import config_schema

    click.echo(json.dumps(config_schema(), indent=2))


def _yes_no(row: Row) -> str:
    return "yes" if row.get("changed") else "no"


APPLIED = (
    Column("PIPELINE", "pipeline", whole=True),
    Column("VERSION", "version", right=True),
    Column("CHANGED", _yes_no),
    Column("WHY", lambda row: ", ".join(row.get("why") or ())),
)


@click.command(cls=Command, examples=["odibictl apply", "odibictl apply --dry-run"])
@click.option("--dry-run", is_flag=True, help="Validate, and list what would change, run again, and stay.")
@lists
@pass_app
def apply(app: App, dry_run: bool) -> None:
    """Make a changed odibi.yaml and nodes/ take effect.

    They become the newest version of each pipeline. Unprepared iterations are bound to it and keep every result
    that it does not change; one that had failed goes on by itself if the node that failed is gone or another one now.
    An invalid file changes nothing (exit 2). A module of nodes/ that cannot be imported is warned of first.
    """
    from odibi_actors.cli import deep
    from odibi_actors.nodes.sinks.owner import home_of
    from odibi_actors.nodes.sinks.targets import check_targets, refused

    project = load(app)
    client = app.client()
    if store := client.status().get("store_id"):
        targets = (project.pipelines, str(store), home_of(Path(project.data_dir), Path(project.root)))
        if refused(*targets):
            check_targets(*targets, client.passed_on())  # some may have passed on
    deep.warn(project)
    if not dry_run:
        result = client.apply(project)
        emit(app, lambda: result, "pipeline", lambda result: [table(result["items"], APPLIED)])
        _advise(result["items"])
        for line in went_on(result["items"]):
            errors.message(line)
        return
    _advise(client.apply(project, dry_run=True)["items"])  # what refuses an apply refuses this
    emit(
        app,
        lambda: {"items": preview(client, project), "project": settings(client, project)},
        "pipeline",
        lambda result: [
            "\n".join([*project_lines(result["project"]), *(line for item in result["items"] for line in lines(item))])
        ],
    )


def _advise(items: list[Row]) -> None:
    for item in items:
        for line in item.get("advice") or ():
            errors.message(line, style="yellow")
