"""``odibictl node``: the node-level checkpoints of an iteration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli import cells, errors
from odibi_actors.cli.base import App, group, lists, pass_app
from odibi_actors.cli.names import pipeline_argument
from odibi_actors.cli.output import Column, Row, count, emit, fields, size, span, table
from odibi_actors.config.arrow_types import type_name
from odibi_actors.errors import OdibiError
from odibi_actors.units import plural

if TYPE_CHECKING:
    from rich.console import RenderableType

    from odibi_actors.client import Client

node = group("node", "Nodes of an iteration: acknowledged, running, failed.")


def _tries(row: Row) -> int | None:
    """How often it was run, as far as that counts: the try that was acknowledged is not a used-up one."""
    used = int(row.get("used") or 0)
    return used + 1 if row.get("state") == "acked" else used or None


def overlay(client: Client, pipeline: str, number: int, rows: list[dict[str, Any]]) -> None:
    """Give nodes without a checkpoint the state that the broker knows while their iteration is in flight: ``waiting``,
    ``ready``, ``running``, ``retrying``. One whose last try failed is ``running`` while it is tried again."""
    if all(row.get("state") == "acked" for row in rows):
        return
    try:
        unfinished = client.pipeline(pipeline).get("iterations") or []
    except OdibiError:  # a pipeline of the past, or no broker that could tell: what the store knows will do
        return
    states = next((one.get("nodes") or {} for one in unfinished if one.get("iteration") == number), {})
    for row in rows:
        state = states.get(row.get("node"))
        if state and (row.get("state") == "none" or (row.get("state") == "error" and state == "running")):
            row["state"] = state


COLUMNS = (
    Column("NODE", "node", whole=True),
    Column("STATE", "state"),
    Column("TRIES", _tries, right=True),
    Column("ROWS IN", lambda row: count(row.get("rows_in")), right=True),
    Column("ROWS OUT", lambda row: count(row.get("rows_out")), right=True),
    Column("SIZE", lambda row: size(row.get("size")), right=True),
    Column("TOOK", lambda row: span(row.get("duration")), right=True),
    Column("MEMORY", lambda row: size(row.get("memory")), right=True),
    Column("WHERE", lambda row: "not kept" if row.get("kept") is False else row.get("where")),
    Column("WORKER", "worker"),
    Column("ERROR", "error", short=True),
)


@node.command(
    "list",
    examples=[
        "odibictl node list delays 12",
        "odibictl node list delays 12 -o json",
        "odibictl node list delays 12 -w",
    ],
)
@pipeline_argument()
@click.argument("number", metavar="N", type=click.IntRange(1))
@click.option("-w", "--watch", is_flag=True, help="Show again every second, until Ctrl-C.")
@lists
@pass_app
def list_(app: App, pipeline: str, number: int, watch: bool) -> None:
    """List nodes of iteration N: state, rows, time, memory, worker.

    MEMORY is the most its worker's process had in memory while it ran; what the worker had kept before is in it
    (`node show`).
    """
    client = app.client()

    def fetch() -> dict[str, Any]:
        result = client.nodes(pipeline, number)
        overlay(client, pipeline, number, result["items"])
        return result

    emit(
        app,
        fetch,
        "node",
        lambda result: [table(result["items"], COLUMNS, "no node has been run yet")],
        watch,
    )


FACTS = ("pipeline", "iteration", "node", "state", "attempt", "rows_in", "rows_out", "where", "worker", "error")


def _details(result: Row) -> list[RenderableType]:
    """One node: its acknowledgement, its output, its tracebacks."""
    output = result.get("output") or {}
    rows: list[tuple[str, object]] = [(name.replace("_", " "), result.get(name)) for name in FACTS]
    if "-" in str(result.get("attempt") or ""):
        epoch, _, number = str(result["attempt"]).partition("-")
        rows[FACTS.index("attempt")] = ("attempt", f"{result['attempt']} (task {number} of epoch {epoch})")
    rows[2:2] = [("iteration state", result.get("iteration_state"))]
    rows += [
        ("took", span(result.get("duration"))),
        ("memory", _memory(result)),
        ("size", size(result.get("size"))),
        ("state kept", size(result["state_size"]) if result.get("state_size") else None),
        ("at", output.get("path") or None),
        ("kept", result.get("kept")),
    ]
    parts: list[RenderableType] = [fields(rows)]
    names = result.get("columns") or []
    if names and result.get("head"):
        parts += ["", cells.heading(len(result["head"]), output["rows"])]
        parts += [cells.rows(result["head"], [(one["name"], one["type"]) for one in names])]
    elif names:
        parts += ["", f"{plural(output['rows'], 'row')} of " + ", ".join(f"{x['name']} {x['type']}" for x in names)]
    for error in result.get("errors") or []:
        parts += ["", f"try {error['attempt'] or '-'}: {error['message']}", str(error.get("traceback") or "").rstrip()]
    return parts


def _memory(result: Row) -> str | None:
    """The most its worker had in memory, which may be of tasks before it."""
    if not result.get("memory"):
        return None
    return f"at most {size(result['memory'])}, {size(result.get('memory_before'))} when it began"


@node.command(
    examples=[
        "odibictl node show delays 12 clean",
        "odibictl node show delays 12 clean --head 20",
        "odibictl node show delays 12 clean --to clean.parquet",
    ],
)
@pipeline_argument()
@click.argument("number", metavar="N", type=click.IntRange(1))
@click.argument("name", metavar="NODE")
@click.option("--head", metavar="ROWS", type=click.IntRange(0), help="Show the first rows of its output too.")
@click.option(
    "--to",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write its output to a new .parquet, .csv, .json or .jsonl (a line per row), or .arrow file.",
)
@lists
@pass_app
def show(app: App, pipeline: str, number: int, name: str, head: int | None, to: Path | None) -> None:
    """Show a node of iteration N: timing, output, tracebacks.

    The output is read where it is kept: in the store or the spool, of a sink its part. It is compared with its digest
    first. Exit 3 when its rows are asked for and are not kept any more, or stand in a table.
    """
    from odibi_actors.batches.shown import head as rows_shown
    from odibi_actors.cli.outputs import check, save
    from odibi_actors.nodes import outputs

    if to is not None:
        check(to)
    client = app.client()
    result = client.node(pipeline, number, name)
    overlay(client, pipeline, number, [result])
    found = None
    try:
        if head is not None or to is not None or (result.get("output") or {}).get("where") == "inline":
            found = outputs.read(app.data_dir, result)
        result["kept"] = outputs.there(app.data_dir, result)
    except OdibiError as error:
        if head is not None or to is not None:
            raise
        result["kept"] = f"no: {error}"
    if result.get("output"):
        result["output"].pop("data", None)
    if found is not None:
        result["kept"] = "yes"
        result["columns"] = [{"name": field.name, "type": type_name(field.type)} for field in found.schema]
        if head is not None:
            result["head"] = rows_shown(found, head)
        if to is not None:
            save(found, to)
            errors.message(f"{plural(found.num_rows, 'row')} written to {to}")
    emit(app, lambda: result, "node", _details)
