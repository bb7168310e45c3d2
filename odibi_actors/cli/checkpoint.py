"""``odibictl checkpoint``: the store that holds the truth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from odibi_actors.cli.base import App, group, lists, pass_app
from odibi_actors.cli.output import count, emit, fields

checkpoint = group("checkpoint", "The checkpoint store.")


def _flat(result: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """Fields of a result and of the tables in it, numbers made readable."""
    for key, value in result.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield key, count(value) if isinstance(value, int) else value


@checkpoint.command(examples=["odibictl checkpoint stats", "odibictl checkpoint stats -o json"])
@lists
@pass_app
def stats(app: App) -> None:
    """Show figures of the store: records, size, time per sync."""
    emit(
        app,
        app.client().checkpoint_stats,
        "store_id",
        lambda result: [fields(list(_flat(result)))],
    )
