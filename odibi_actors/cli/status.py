"""``odibictl status``: the system on one screen."""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli import versions
from odibi_actors.cli.applied import NOT_APPLIED, code_differs
from odibi_actors.cli.base import App, Command, lists, pass_app
from odibi_actors.cli.moments import clock, until, zone_of
from odibi_actors.cli.output import Column, Row, count, emit, span, table
from odibi_actors.cli.pipeline import last_commit, problems, state
from odibi_actors.cli.schedule import full_name
from odibi_actors.cli.schedule import problems as schedule_problems
from odibi_actors.errors import OdibiError
from odibi_actors.runtime.trouble import ACTORS, unheard
from odibi_actors.units import plural

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType
    from rich.text import Text

    from odibi_actors.client import Client

NEXT = 3
"""Schedules that are due next, as ``status`` lists them."""
SHOWN = 10
"""Problems of schedules that it lists; the rest is counted."""
LOOK_FOR = 2.0
"""Seconds it waits for what is known of schedules."""
LOOK_EVERY = 5.0
"""Seconds between two looks at schedules while it is watched, at least."""
PAUSE = 20
"""Times as long as a look took, before the next one: watching costs a twentieth of the broker's time at most."""

COLUMNS = (
    Column("PIPELINE", "pipeline", whole=True),
    Column("STATE", state),
    Column("COMMITTED", lambda row: count(row.get("committed")), right=True),
    Column("IN FLIGHT", lambda row: count(row.get("in_flight")), right=True),
    Column("OFFERED", lambda row: count(row.get("offered")), right=True),
    Column("LAST COMMIT", last_commit, right=True),
    Column("DELIVERY", "delivery"),
)


def render(
    result: dict[str, Any], now: float | None = None, notes: Sequence[Text] = (), data_dir: Path | None = None
) -> list[RenderableType]:
    """System line, pipelines, problems with what fixes them, then ``notes`` that are not empty. ``data_dir``: where its
    actors log, if on this host."""
    from rich.text import Text

    workers = result.get("workers") or []
    busy = sum(worker.get("state") == "busy" for worker in workers)
    started = result.get("started_at")
    system: list[str | tuple[str, str]] = [
        (str(result.get("project") or "odibi"), "bold"),
        f"   epoch {result.get('epoch')}",
        f"   up {span(max(0, int((time.time() if now is None else now) - started)))}" if started else "",
        f"   workers {len(workers)}" + (f" ({busy} busy)" if workers else ""),
        f"   records {count(result.get('durable') or 0)} durable, {count(result.get('pending') or 0)} pending",
    ]
    parts: list[RenderableType] = [Text.assemble(*system), ""]
    parts.append(
        table(result.get("pipelines") or [], COLUMNS, "no pipelines; `odibictl apply` sends those of odibi.yaml")
    )
    if result.get("schedules"):
        parts += ["", *_schedules(result["schedules"], rests=bool(result.get("at_rest")))]
    found = [
        *_missing(result, data_dir),
        *problems(result.get("pipelines") or []),
        *_unwell(result.get("schedules") or {}),
    ]
    found += untold(result)
    found += filter(None, notes)
    return [*parts, "", *found] if found else parts


def _schedules(found: Row, *, rests: bool) -> list[RenderableType]:
    """How many schedules there are, and what is due next. ``rests``: nothing runs that would start it."""
    from rich.text import Text

    waiting = f", {plural(found['waiting'], 'occurrence')} waiting" if found["waiting"] else ""
    paused = f", {count(found['paused'])} paused" if found["paused"] else ""
    skipped = f", {count(found['skipped'])} skipped: `odibictl schedule list`" if found["skipped"] else ""
    lines = [Text(f"{plural(found['total'], 'schedule')}{paused}{waiting}{skipped}")]
    for row in found["next"]:
        when = f"{clock(row['next'], zone_of(row['timezone']))}, {until(row['next'])}"
        nobody = " (nothing runs that would start it)" if rests else ""
        lines.append(Text(f"  next  {row['pipeline']}.{row['schedule']}  {when}{nobody}"))
    return [*lines]


def _unwell(found: Row) -> list[RenderableType]:
    """The problems of schedules, a line each."""
    from rich.text import Text

    lines: list[RenderableType] = list(schedule_problems(found.get("problems") or []))
    more = found.get("more_problems")
    return (
        [*lines, Text(f"! {plural(more, 'schedule')} more: `odibictl schedule list`", style="bold red")]
        if more
        else lines
    )


class Schedules:
    """What ``status`` tells of schedules. There may be very many, so that listing them takes long: it is asked for only
    where a pipeline follows a schedule, and with ``--watch`` again only after a pause that such an answer is worth."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._found: dict[str, Any] | None = None
        self._again_at = 0.0

    def add_to(self, result: dict[str, Any]) -> dict[str, Any]:
        """The status with ``schedules``, if there are any."""
        pipelines = result.get("pipelines") or []
        if not any(row.get("trigger") == "schedule" for row in pipelines):
            return result
        now = time.monotonic()
        if now >= self._again_at:
            self._found = self._look()
            self._again_at = time.monotonic() + max(LOOK_EVERY, PAUSE * (time.monotonic() - now))
        return {**result, "schedules": self._found} if self._found else result

    def _look(self) -> dict[str, Any] | None:
        try:
            listed = self._client.schedules(timeout=LOOK_FOR)
        except OdibiError:  # the rest of the status is worth more than waiting
            return None
        rows = listed["items"]
        if not rows:
            return None
        wrong = [row for row in rows if row.get("problem")]
        return {
            "total": len(rows) + (listed.get("more") or 0),
            "paused": sum(row.get("state") == "paused" for row in rows),
            "waiting": sum(row.get("waiting") or 0 for row in rows),
            "skipped": sum(row.get("skipped") or 0 for row in rows),
            "next": self._next({full_name(row): row for row in rows if row.get("state") == "active"}),
            "problems": [{key: row[key] for key in ("pipeline", "schedule", "problem")} for row in wrong[:SHOWN]],
            "more_problems": max(0, len(wrong) - SHOWN),
        }

    def _next(self, active: dict[str, Row]) -> list[Row]:
        """Those that are due first."""
        if not any(row.get("kind") in ("cron", "every") for row in active.values()):
            return []
        try:
            timed = self._client.next_times(timeout=LOOK_FOR)["items"]
        except OdibiError:  # that the scheduler is away is told elsewhere
            return []
        coming = [row for row in timed if row.get("next") and full_name(row) in active]
        return [
            {
                "pipeline": row["pipeline"],
                "schedule": row["schedule"],
                "next": row["next"],
                "timezone": active[full_name(row)].get("timezone"),
            }
            for row in heapq.nsmallest(NEXT, coming, key=lambda row: (row["next"], full_name(row)))
        ]


def untold(result: dict[str, Any]) -> list[RenderableType]:
    """Alerts that somebody could not be told."""
    from rich.text import Text

    rows = (result.get("alerts") or {}).get("untold") or []
    lines: list[RenderableType] = []
    for how in dict.fromkeys(row["state"] for row in rows):
        mine = [row for row in rows if row["state"] == how]
        said = f"{plural(len(mine), 'alert')} could not be told, {how}: {mine[-1]['error']}; `odibictl alert list`"
        lines.append(Text.assemble(("! ", "bold yellow"), said))
    return lines


def _missing(result: dict[str, Any], data_dir: Path | None) -> list[RenderableType]:
    """Actors that should be connected and are not, or do not answer; workers that are not there."""
    from rich.text import Text

    if result.get("at_rest"):
        return []
    roles = {peer.get("role") for peer in result.get("peers") or []}
    missing = [said for _, said in unheard(result, data_dir)]
    missing += [f"{one.found}: {one.fix}" for one in versions.told(result, ACTORS)]
    pools = result.get("pools") or []
    missing += [f"{pool['pool']}: {problem}" for pool in pools for problem in pool["problems"]]
    if "pool" in roles and not result.get("workers"):
        if not any(pool["wanted"] for pool in pools):
            missing.append("there are no workers, so nothing runs: `odibictl worker scale N`")
        elif not any(pool["problems"] for pool in pools):
            missing.append("there is no worker at this moment, so nothing runs: see `odibictl logs worker`")
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
    """Show the system: pipelines, schedules, workers, problems."""
    client = app.client()
    notes: list[Text] = []

    def view(result: dict[str, Any]) -> list[RenderableType]:
        if not notes:  # nodes/ is read once, not each second of a --watch
            notes.append(_not_applied(app, client, result))
        return render(result, notes=notes, data_dir=client.home())

    schedules = Schedules(client)
    emit(app, lambda: schedules.add_to(client.status()), "project", view, watch)
