"""``odibictl doctor``: is this installation, this project, this machine fit to run?"""

from __future__ import annotations

import click

from odibi_actors.cli.base import App, Command, output_option, pass_app
from odibi_actors.cli.output import Column, emit, table

COLUMNS = (
    Column("", "state"),
    Column("CHECK", "check"),
    Column("FOUND", "found"),
    Column("FIX", lambda row: row["fix"] or " "),
)


@click.command(cls=Command, examples=["odibictl doctor", "odibictl doctor -o json --project examples/flights"])
@output_option("table", "json", "jsonl", "yaml")
@pass_app
def doctor(app: App) -> None:
    """Check the installation, the project and the system.

    Python, packages, disk, config, Procfile, kernel limits, clock and, if it runs, the broker and its peers.
    Each line is ok, warn or fail and says how to fix it. Exit 1 when one fails. It works with nothing running.
    """
    from odibi_actors.cli import checks

    found = checks.run(app)
    rows = [{"state": one.state, "check": one.name, "found": one.found, "fix": one.fix} for one in found]
    emit(app, lambda: {"items": rows}, "check", lambda result: [table(result["items"], COLUMNS)])
    if any(one.state == "fail" for one in found):
        raise click.exceptions.Exit(1)
