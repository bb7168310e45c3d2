"""``odibictl node``: the node-level checkpoints of an iteration."""

from __future__ import annotations

import click

from odibi_actors.cli.base import App, group, lists, pass_app
from odibi_actors.cli.output import Column, count, emit, size, span, table

node = group("node", "Nodes of an iteration: acknowledged, running, failed.")

COLUMNS = (
    Column("NODE", "node"),
    Column("STATE", "state"),
    Column("ATTEMPT", "attempt"),
    Column("USED", "used", right=True),
    Column("ROWS IN", lambda row: count(row.get("rows_in")), right=True),
    Column("ROWS OUT", lambda row: count(row.get("rows_out")), right=True),
    Column("SIZE", lambda row: size(row.get("size")), right=True),
    Column("TOOK", lambda row: span(row.get("duration")), right=True),
    Column("WHERE", "where"),
    Column("WORKER", "worker"),
    Column("ERROR", "error"),
)


@node.command(
    "list",
    examples=[
        "odibictl node list delays 12",
        "odibictl node list delays 12 -o json",
        "odibictl node list delays 12 -w",
    ],
)
@click.argument("pipeline")
@click.argument("number", metavar="N", type=click.IntRange(1))
@click.option("-w", "--watch", is_flag=True, help="Show again every second, until Ctrl-C.")
@lists
@pass_app
def list_(app: App, pipeline: str, number: int, watch: bool) -> None:
    """List nodes of iteration N: state, rows, time, worker."""
    client = app.client()
    emit(
        app,
        lambda: client.nodes(pipeline, number),
        "node",
        lambda result: [table(result["items"], COLUMNS, "no node has been run yet")],
        watch,
    )
