"""``odibictl deadletter``: what was given up, and why."""

from __future__ import annotations

import click

from odibi_actors.cli.base import App, group, lists, pass_app
from odibi_actors.cli.output import Column, ago, emit, table

deadletter = group("deadletter", "Dead letters: what was given up, and why.")

COLUMNS = (
    Column("PIPELINE", "pipeline"),
    Column("ITERATION", "iteration", right=True),
    Column("NODE", "node", whole=True),
    Column("POSITION", "position"),
    Column("KIND", "kind"),
    Column("WHEN", lambda row: ago(row.get("at")), right=True),
    Column("WHY", "message"),
)


@deadletter.command("list", examples=["odibictl deadletter list", "odibictl deadletter list delays -o json"])
@click.argument("pipeline", required=False)
@lists
@pass_app
def list_(app: App, pipeline: str | None) -> None:
    """List dead letters, of one pipeline or all."""
    emit(
        app,
        lambda: app.client().dead_letters(pipeline),
        lambda row: "/".join(str(row[key]) for key in ("pipeline", "iteration", "node") if row.get(key)),
        lambda result: [table(result["items"], COLUMNS, "no dead letters")],
    )
