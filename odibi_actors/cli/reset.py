"""``odibictl reset``: a pipeline starts over."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli import errors
from odibi_actors.cli.base import App, Command, lists, pass_app, yes
from odibi_actors.cli.names import pipeline_argument
from odibi_actors.cli.output import Column, Row, count, emit, fields, table
from odibi_actors.cli.output import lines as as_text
from odibi_actors.cli.project import load
from odibi_actors.units import plural

if TYPE_CHECKING:
    from rich.console import RenderableType


def _deleted(row: Row) -> str:
    """Files of a folder, or rows of a table."""
    from odibi_actors.kinds.registry import sink_of  # not at load time: it brings msgspec along

    unit = sink_of(row["sink"]).unit
    if row["stays"]:
        return str(row["stays"])
    return plural(row["parts"], unit) + (", and the table" if unit == "row" else "")


TARGETS = (
    Column("SINK", "node", whole=True),
    Column("TARGET", "target"),
    Column("DELETED", _deleted),
)


@click.command(
    cls=Command,
    examples=["odibictl reset delays --dry-run", "odibictl reset delays --targets", "odibictl reset delays --yes"],
)
@pipeline_argument()
@click.option("--targets", is_flag=True, help="Also delete what the pipeline has published, and owns.")
@click.option("--leave", is_flag=True, help="End an interrupted reset; what cannot be deleted stays.")
@yes
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@lists
@pass_app
def reset(app: App, pipeline: str, targets: bool, leave: bool, dry_run: bool) -> None:
    """Forget all that a pipeline has done: it reads its files again.

    Iterations, the list of files read, dead letters, pinned schemas and states go. Schedules, versions and settings
    stay, and iterations are numbered on. With --targets its files are deleted and its tables dropped; without,
    rows of an upsert and what is overwritten stay until they are replaced, and parts or rows that were appended refuse
    it, as they would be there twice. One that is no longer in odibi.yaml, and has nothing in flight, is forgotten
    whole: no list shows it, and without --targets all it has published stays. Needs a system at rest (`odibictl down`).

    While a reset is interrupted (killed, or refused by a target) nothing of this pipeline runs; the next reset ends it,
    and --leave ends it without the targets that cannot be deleted.
    """
    if targets and leave:
        raise click.UsageError("--leave deletes no more targets, --targets deletes them; choose one")
    project = load(app, sql=False)
    with importlib.import_module("odibi_actors.local.reset").opened(project, pipeline) as work:
        plan = work.plan(targets, leave=leave)
        for line in plan.others:
            errors.message(line)
        result = {"pipeline": pipeline, "targets": plan.targets, **_counts(plan)}
        if not dry_run:
            if not app.yes:
                click.echo(as_text(*_preview(result)), err=True)
            app.confirm(f"Forget all this of {pipeline}?" if not plan.resumed else "End the interrupted reset?")
            for line in work.carry_out(plan):
                errors.message(line)
    result["done"] = not dry_run
    emit(app, lambda: result, "pipeline", _preview)


def _counts(plan: Any) -> dict[str, Any]:
    names = ("iterations", "files", "letters", "schemas", "states")
    published = [
        {"node": one.node, "target": one.target, "sink": one.where.sink, "parts": one.parts, "stays": one.stays}
        for one in plan.published
    ]
    return {**{name: getattr(plan, name) for name in names}, "published": published}


def _preview(result: dict[str, Any]) -> list[RenderableType]:
    states = ", ".join(f"{number:,} {state}" for state, number in result["iterations"].items()) or "none"
    pairs = [
        ("pipeline", result["pipeline"]),
        ("iterations forgotten", states),
        ("files read again", count(result["files"])),
        ("dead letters", count(result["letters"])),
        ("pinned schemas", count(result["schemas"])),
        ("states of nodes", count(result["states"])),
    ]
    empty = "nothing published is deleted" if not result["targets"] else "nothing was published"
    return [fields(pairs), "", table(result["published"], TARGETS, empty)]
