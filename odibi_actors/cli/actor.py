"""``odibictl actor NAME``: one line of the Procfile, an actor under its supervisor."""

from __future__ import annotations

import importlib
import sys

import click

from odibi_actors.cli.base import App, Command, pass_app
from odibi_actors.runtime.procfile import MODULES


@click.command(
    cls=Command,
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
    examples=["odibictl actor broker", "odibictl actor worker --workers 4"],
)
@click.argument("name", type=click.Choice(list(MODULES)))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@pass_app
def actor(app: App, name: str, options: tuple[str, ...]) -> None:
    """Run one actor, restarted when it dies.

    This is what each line of a Procfile does; `odibictl up` and `honcho start` run all of them. SIGTERM drains and
    stops, a second one stops at once. `odibictl actor NAME --help` shows the options of that actor.
    """
    words = [*options] if app.project is None else ["--project", str(app.project), *options]
    sys.exit(importlib.import_module(f"{MODULES[name]}.__main__").main(words))
