"""``odibictl status``: the system on one screen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli.applied import NOT_APPLIED, code_differs
from odibi_actors.cli.base import App, Command, lists, pass_app
from odibi_actors.cli.output import Column, count, emit, span, table
from odibi_actors.cli.pipeline import last_commit, problems, state

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from odibi_actors.client import Client

ACTORS = {"store": "checkpoint", "source": "source", "scheduler": "scheduler", "pool": "worker"}
"""Role of a peer the system needs -> its line in the Procfile."""

COLUMNS = (
    Column("PIPELINE", "pipeline", whole=True),
    Column("STATE", state),
    Column("COMMITTED", lambda row: count(row.get("committed")), right=True),
    Column("IN FLIGHT", lambda row: count(row.get("in_flight")), right=True),
    Column("OFFERED", lambda row: count(row.get("offered")), right=True),
    Column("LAST COMMIT", last_commit, right=True),
    Column("DELIVERY", "delivery"),
)


def render(result: dict[str, Any], now: float | None = None, notes: Sequence[Text] = ()) -> list[RenderableType]:
    """System line, pipelines, problems with what mends them, then ``notes`` that are not empty."""
    from rich.text import Text

    workers = result.get("workers") or []
    busy = sum(worker.get("state") == "busy" for worker in workers)
    started = result.get("started_at")
    system: list[str | tuple[str, str]] = [
        (str(result.get("project") or "odibi"), "bold"),
        f"   epoch {result.get('epoch')}",
        f"   up {span(int((time.time() if now is None else now) - started))}" if started else "",
        f"   workers {len(workers)}" + (f" ({busy} busy)" if workers else ""),
        f"   records {count(result.get('durable') or 0)} durable, {count(result.get('pending') or 0)} pending",
    ]
    parts: list[RenderableType] = [Text.assemble(*system), ""]
    parts.append(
        table(result.get("pipelines") or [], COLUMNS, "no pipelines; `odibictl apply` sends those of odibi.yaml")
    )
    found = [*_missing(result), *problems(result.get("pipelines") or []), *filter(None, notes)]
    return [*parts, "", *found] if found else parts


def _missing(result: dict[str, Any]) -> list[RenderableType]:
    """Actors that should be connected and are not; workers that are not there."""
    from rich.text import Text

    roles = {peer.get("role") for peer in result.get("peers") or []}
    missing = [
        f"the {line} actor is not connected; its supervisor restarts it: see `odibictl logs {line}`"
        for role, line in ACTORS.items()
        if role not in roles
    ]
    if "pool" in roles and not result.get("workers"):
        missing.append("there are no workers, so nothing runs: `odibictl worker scale N`")
    return [Text.assemble(("! ", "bold red"), text) for text in missing]


def _not_applied(app: App, client: Client, result: dict[str, Any]) -> Text:
    """That nodes/ was edited and not applied; empty when it was not. Every pipeline that is not removed has the digest
    of the last apply, so the first one tells."""
    from rich.text import Text

    name = next((row["pipeline"] for row in result.get("pipelines") or [] if row.get("state") != "removed"), None)
    if name is None or not code_differs(app, client, name):
        return Text("")
    return Text.assemble(("! ", "bold yellow"), NOT_APPLIED)


@click.command(
    cls=Command,
    examples=["odibictl status", "odibictl status --watch", "odibictl status -o json | jq '.pipelines[].state'"],
)
@click.option("-w", "--watch", is_flag=True, help="Show again every second, until Ctrl-C.")
@lists
@pass_app
def status(app: App, watch: bool) -> None:
    """Show the system: pipelines, backlog, workers, problems."""
    client = app.client()
    notes: list[Text] = []

    def view(result: dict[str, Any]) -> list[RenderableType]:
        if not notes:  # nodes/ is read once, not each second of a --watch
            notes.append(_not_applied(app, client, result))
        return render(result, notes=notes)

    emit(app, client.status, "project", view, watch)
