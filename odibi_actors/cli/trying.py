"""``odibictl try``: see what a pipeline makes of a sample, without publishing anything."""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli import cells, errors
from odibi_actors.cli.applied import of_store
from odibi_actors.cli.base import App, Command, lists, pass_app
from odibi_actors.cli.names import PARAM, pipeline_argument
from odibi_actors.cli.output import Column, count, emit, span, table
from odibi_actors.cli.project import chosen, load
from odibi_actors.cli.run import log_nodes
from odibi_actors.runtime.visible import named
from odibi_actors.units import plural

if TYPE_CHECKING:
    from rich.console import RenderableType

    from odibi_actors.local.trying import TriedNode

NODES = (
    Column("NODE", "node", whole=True),
    Column("KIND", "kind"),
    Column("STATE", "state"),
    Column("ROWS", lambda row: count(row["rows"]), right=True),
    Column("TOOK", lambda row: span(row["duration"]), right=True),
    Column("NOTE", "note"),
)


@click.command(
    "try",
    cls=Command,
    examples=[
        "odibictl try delays",
        "odibictl try delays --node clean --sample 20",
        "odibictl try delays --param full=true",
        "odibictl try delays --files 'flights-2013-01-*.csv' -o json",
    ],
)
@pipeline_argument()
@click.option("--sample", metavar="N", type=click.IntRange(1), default=1000, show_default=True,
              help="Rows to take of each watched source.")  # fmt: skip
@click.option("--node", metavar="NODE", help="Only this node and what it needs.")
@click.option("--files", metavar="GLOB", help="Only these files of watched sources, below the source's folder.")
@click.option("--head", metavar="N", type=click.IntRange(0), default=5, show_default=True,
              help="Rows of each node to show.")  # fmt: skip
@PARAM
@lists
@pass_app
def try_(
    app: App, pipeline: str, sample: int, node: str | None, files: str | None, head: int, params: dict[str, Any]
) -> None:
    """Run a pipeline on a sample and show what came out of each node.

    Files are read whether or not they were read before, with the types that are pinned; nothing is published or
    remembered, so it works beside a running system. Sources of mode batch are read whole. A sink is tried on an empty
    copy of its table. Your functions do run, with whatever else they do. They get the parameters as `context.params`,
    SQL as `getvariable('KEY')`. With `on_error: dead_letter`, files that cannot be read are named, and the others go
    on. A source that has nothing yet gives an empty table, as in a run, if its columns are declared or were read
    before. Any other is absent, and what needs it is skipped: exit 3, with what is missing. Exit 5 when a file or a
    node failed, a folder or file could not be read, or a sink would refuse its rows.
    """
    project = load(app)
    chosen(project, pipeline)
    trial_of: Any = importlib.import_module("odibi_actors.local.trying").Trial
    client = of_store(app, project)
    sources = [node.name for node in project.pipeline(pipeline).nodes if node.read is not None]
    held: Any = importlib.import_module("odibi_actors.local.held_to")
    pins, discarded = held.pins(client, pipeline, sources), held.discarded(client, pipeline, sources)
    repinned = held.repinned(client, pipeline)
    trial = trial_of(project, pipeline, sample, files, head, params, pins, discarded, repinned)
    with contextlib.redirect_stdout(sys.stderr), log_nodes():  # nodes may print; stdout carries the result
        tried: list[TriedNode] = list(trial.run(node))
    for one in tried:
        if one.doubt:
            errors.message(f"warning: {one.node}: {one.doubt}", style="yellow")
        for file, why in one.aside:
            errors.message(f"error: {one.node}: {why}; `run` would make a dead letter of {named(file)}", style="red")
    what = f"a sample, at most {sample:,} rows of a source" if trial.sampled else "all there is"
    items = [_row(one) for one in tried]
    result = {"pipeline": pipeline, "sample": trial.sampled, "items": items}
    emit(app, lambda: result, "node", lambda result: [table(result["items"], NODES), *_heads(tried)])
    for one in tried:
        if one.failure is not None:
            if one.failure.traceback:
                errors.message(one.failure.traceback.rstrip("\n"))
            errors.message(f"error: {one.node}: {one.failure.message}", style="red")
        if one.unread or one.state == "absent":
            errors.message(f"error: {one.node}: {one.unread or one.note}", style="red")
    errors.message(f"{pipeline}: {what}; nothing was published")
    if any(one.failure is not None or one.aside or one.unread for one in tried):
        raise click.exceptions.Exit(5)
    if any(one.state == "absent" for one in tried):
        raise click.exceptions.Exit(3)


def _row(tried: TriedNode) -> dict[str, Any]:
    return {
        "node": tried.node,
        "kind": tried.kind,
        "state": tried.state,
        "rows": tried.rows,
        "duration": tried.duration,
        "note": tried.note,
        "columns": [{"name": name, "type": kind} for name, kind in tried.columns],
        "head": tried.head,
        "aside": [{"file": file, "error": why} for file, why in tried.aside],
        "error": tried.failure.message if tried.failure is not None else None,
    }


def _heads(tried: list[TriedNode]) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for one in tried:
        if one.columns and one.head:
            what = f"{one.node}: {cells.heading(len(one.head), one.rows or 0)}"
            parts += ["", what, cells.rows(one.head, one.columns)]
        elif one.columns:
            shown = ", ".join(f"{name} {kind}" for name, kind in one.columns)
            parts += ["", f"{one.node}: {plural(one.rows or 0, 'row')} of {shown}"]
    return parts
