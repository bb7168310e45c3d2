"""``odibictl alert``: what was told to what, and what could not be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from odibi_actors.cli.base import App, group, lists, pass_app
from odibi_actors.cli.moments import utc
from odibi_actors.cli.names import pipeline_argument
from odibi_actors.cli.output import Column, Row, ago, emit, kept, table
from odibi_actors.cli.paging import limited, pages
from odibi_actors.units import plural

if TYPE_CHECKING:
    from rich.console import RenderableType

alert = group("alert", "Alerts: failures, lateness, recoveries that were told.")


def _told(row: Row) -> str:
    error = row.get("error")
    if not row.get("told_at"):
        return f"not yet: {error}" if error else "not yet"
    return f"failed: {error}" if error else ago(row["told_at"])


COLUMNS = (
    Column("ID", "id", right=True),
    Column("KIND", "kind"),
    Column("PIPELINE", lambda row: f"{row['pipeline']}.{row['schedule']}" if row.get("schedule") else row["pipeline"]),
    Column("WHEN", lambda row: ago(row.get("at")), right=True),
    Column("TARGETS", lambda row: ", ".join(row.get("targets") or []) or None),
    Column("TOLD", _told),
    Column("HELD BACK", lambda row: row.get("held_back") or None, right=True),
    Column("WHAT", "text"),
)


@alert.command("list", examples=["odibictl alert list", "odibictl alert list report -n 100 -o json"])
@pipeline_argument(required=False)
@limited()
@click.option("-w", "--watch", is_flag=True, help="Show again every second, until Ctrl-C.")
@lists
@pass_app
def list_(app: App, pipeline: str | None, limit: int | None, watch: bool) -> None:
    """List alerts, newest first: what happened, who was told.

    TARGETS are those that are told, of a webhook without what could be a secret. TOLD says when all of them were, or
    why not: `not yet` is tried again, for a day (the last error, once three tries have failed); `failed` was given up.
    HELD BACK counts those of the same kind before it that were not told, because the last one was shortly before
    (`throttle`). What is held back now stands below, with the time at which a summary of it is told. Who is told
    stands under `alerts` in odibi.yaml.
    """
    client = app.client()
    emit(
        app,
        lambda: pages(lambda n, before: client.alerts(pipeline, n, before), limit),
        "id",
        lambda result: [table(result["items"], COLUMNS, kept("no alerts", result)), *_held(result.get("held") or [])],
        watch,
    )


def _held(rows: Sequence[Row]) -> list[RenderableType]:
    """What is held back, a line for each pipeline and kind: of several targets what the first one waits for."""
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        found.setdefault((row["pipeline"], row["kind"]), row)
    return [
        f"{name}: {plural(row['count'], f'more {kind} alert')} held back, told in one at {utc(row['due'])}; "
        f"newest: {row['text']}"
        for (name, kind), row in found.items()
    ]
