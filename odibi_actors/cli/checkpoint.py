"""``odibictl checkpoint``: the store that holds the truth."""

from __future__ import annotations

from odibi_actors.cli.base import App, group, lists, pass_app
from odibi_actors.cli.output import count, emit, fields

checkpoint = group("checkpoint", "The checkpoint store.")


@checkpoint.command(examples=["odibictl checkpoint stats", "odibictl checkpoint stats -o json"])
@lists
@pass_app
def stats(app: App) -> None:
    """Show figures of the store: records, size, time per sync."""
    emit(
        app,
        app.client().checkpoint_stats,
        "store_id",
        lambda result: [
            fields([(key, count(value) if isinstance(value, int) else value) for key, value in result.items()])
        ],
    )
