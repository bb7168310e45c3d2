"""``odibictl node``: the node-level checkpoints of an iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli.base import App, group, lists, pass_app
from odibi_actors.cli.names import pipeline_argument
from odibi_actors.cli.output import Column, Row, count, emit, size, span, table
from odibi_actors.errors import OdibiError

if TYPE_CHECKING:
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
@pipeline_argument()
@click.argument("number", metavar="N", type=click.IntRange(1))
@click.option("-w", "--watch", is_flag=True, help="Show again every second, until Ctrl-C.")
@lists
@pass_app
def list_(app: App, pipeline: str, number: int, watch: bool) -> None:
    """List nodes of iteration N: state, rows, time, worker."""
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
