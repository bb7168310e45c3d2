"""``odibictl schedule``: when pipelines run, what has come of it, and why an occurrence did not run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli import errors
from odibi_actors.cli.base import App, group, lists, pass_app, yes
from odibi_actors.cli.moments import clock, spaced, until, utc, wall, zone_of
from odibi_actors.cli.names import NAME, params_text, pipeline_argument
from odibi_actors.cli.output import Column, Row, ago, count, emit, fields, span, table
from odibi_actors.cli.paging import limited, pages
from odibi_actors.cli.schedule_add import add
from odibi_actors.cli.schedule_next import next_
from odibi_actors.cli.schedule_skips import reasons, summary
from odibi_actors.units import plural

if TYPE_CHECKING:
    from rich.console import RenderableType

    from odibi_actors.client import Client

schedule = group("schedule", "Schedules: when pipelines run, what was skipped and why.")
SCHEDULER_TIMEOUT = 2.0
"""Seconds that a list waits for the scheduler: without it everything but the next due time is known."""
RECENT = 10
"""Occurrences that ``show`` lists, and skips."""


def full_name(row: Row) -> str:
    """``pipeline.schedule``, as every command takes it."""
    return f"{row['pipeline']}.{row['schedule']}"


def _next(row: Row) -> str | None:
    at = row.get("next")
    if row.get("state") != "active" or not at:
        return None
    return f"{clock(at, zone_of(row.get('timezone')))}, {until(at)}"


def _last(row: Row) -> str | None:
    if not row.get("last"):
        return None
    return f"{wall(str(row['last']), zone_of(row.get('timezone')))}: {row.get('last_state') or 'started'}"


def waiting(row: Row) -> str | None:
    """What is still to run, in `list` and `show`: occurrences that wait, and what arrived and is none yet."""
    held, arrived = row.get("waiting") or 0, row.get("arrived") or 0
    if not arrived:
        return count(held) if held else None
    return f"{count(held + arrived)}, {count(arrived)} of them arrived"


COLUMNS = (
    Column("SCHEDULE", full_name, whole=True),
    Column("WHEN", "when"),
    Column("STATE", "state"),
    Column("NEXT", _next, whole=True),
    Column("LAST", _last),
    Column("WAITING", waiting, right=True),
    Column("SKIPPED", summary),
)


def problems(rows: Sequence[Row]) -> list[RenderableType]:
    """What is wrong with schedules, a line each."""
    from rich.text import Text

    return [
        Text.assemble(("! ", "bold red"), (f"{full_name(row)}: ", "bold"), str(row["problem"]).replace("\n", "\n  "))
        for row in rows
        if row.get("problem")
    ]


def merge(client: Client, rows: Sequence[Row], pipeline: str | None, told: set[str]) -> list[dict[str, Any]]:
    """The rows with ``next`` and ``late`` of the scheduler; None for all where it does not answer, of which the user is
    told once (``told``)."""
    from odibi_actors.errors import OdibiError

    if not any(row["kind"] in ("cron", "every") for row in rows):
        return [{**row, "next": None, "late": None} for row in rows]
    try:
        timed = client.next_times(pipeline, SCHEDULER_TIMEOUT)["items"]
    except OdibiError as error:
        timed = []
        if "next" not in told:
            told.add("next")
            errors.message(f"warning: the next due times are not known: {error}", style="yellow")
    known = {(row["pipeline"], row["schedule"]): row for row in timed}
    merged = []
    for row in rows:
        found = known.get((row["pipeline"], row["schedule"]), {})
        merged.append({**row, "next": found.get("next"), "late": found.get("late")})
    return merged


@schedule.command(
    "list",
    examples=[
        "odibictl schedule list",
        "odibictl schedule list report --watch",
        "odibictl schedule list -o json | jq '.items[] | select(.skipped > 0)'",
    ],
)
@pipeline_argument(required=False)
@click.option("-w", "--watch", is_flag=True, help="Show again every second, until Ctrl-C.")
@lists
@pass_app
def list_(app: App, pipeline: str | None, watch: bool) -> None:
    """List schedules: next and last occurrence, skips.

    Times are those of the schedule's time zone. SKIPPED counts every occurrence that did not run, with the reason of
    most of them; `odibictl schedule show NAME` has them all.
    """
    client = app.client()
    told: set[str] = set()

    def fetch() -> dict[str, Any]:
        listed = client.schedules(pipeline)
        return {**listed, "items": merge(client, listed["items"], pipeline, told)}

    emit(app, fetch, full_name, lambda result: rows(result, app.root), watch)


def rows(result: dict[str, Any], root: Path) -> list[RenderableType]:
    """The list of schedules, problems below."""
    items = [{**row, "when": _near(row["when"], root)} for row in result["items"]]
    empty = "no schedules; `odibictl schedule add` makes one, or `schedules` of a pipeline in odibi.yaml"
    return [table(items, COLUMNS, empty), *problems(items)]


def _near(when: str, root: Path) -> str:
    """Paths of the project without its folder."""
    return when.replace(f"{root}/", "")


def _occurrence(row: Row) -> str:
    name = spaced(row["occurrence"])
    return name if (row.get("count") or 1) <= 1 else f"{spaced(row.get('first') or '?')} to {name}"


OCCURRENCES = (
    Column("OCCURRENCE", _occurrence, whole=True, name=True),
    Column("STATE", lambda row: row.get("run_state") or row.get("state")),
    Column("COUNT", lambda row: count(row.get("count") or 1), right=True),
    Column("NOTED", lambda row: ago(row.get("at")), right=True),
    Column("RUN, OR WHY NOT", lambda row: row.get("reason") or row.get("run")),
)
WAITS = (
    Column("WAITING", lambda row: spaced(row["id"])),
    Column("DUE", lambda row: ago(row.get("due") or row.get("at")), right=True),
)


@schedule.command(examples=["odibictl schedule show hourly", "odibictl schedule show report.hourly -o json"])
@NAME
@lists
@pass_app
def show(app: App, name: str) -> None:
    """Show one schedule: what it does, and each skip's reason.

    NAME is the schedule's, or PIPELINE.NAME where several pipelines have one of that name.
    """
    client = app.client()
    row = client.schedule(name)
    [row] = merge(client, [row], row["pipeline"], set())
    row["occurrences"] = _recent(client, row, None)
    row["skips"] = _recent(client, row, "skipped") if row["skipped"] else []
    emit(app, lambda: row, full_name, lambda row: details({**row, "when": _near(row["when"], app.root)}))


def _recent(client: Client, row: Row, state: str | None) -> list[Row]:
    """The newest occurrences. A schedule that the store has not been told of yet has none."""
    from odibi_actors.errors import NotFoundError

    try:
        return list(client.occurrences(row["pipeline"], row["schedule"], state, RECENT)["items"])
    except NotFoundError:
        return []


def details(row: dict[str, Any]) -> list[RenderableType]:
    """One schedule."""
    from rich.text import Text

    zone = zone_of(row.get("timezone"))
    spec = row.get("spec") or {}
    coming = f"{_next(row)} ({utc(row['next'])})" if _next(row) else None
    came = f"{_last(row)} (run {row['last_run']})" if row.get("last_run") else _last(row)
    head: list[tuple[str, object]] = [
        ("schedule", full_name(row)),
        ("description", row.get("description")),
        ("when", f"{row['when']} ({row['timezone']})" if row["kind"] == "cron" else row["when"]),
        ("state", row["state"]),
        ("next", coming),
        ("last", came),
        ("started", count(row.get("started"))),
        ("skipped", count(row.get("skipped"))),
        ("waiting", waiting(row) or 0),
        ("overlap", f"{row['overlap']}: {OVERLAP[row['overlap']]}"),
        ("catch_up", _catch_up(spec.get("catch_up") or {}) if row["kind"] in ("cron", "every") else None),
        ("jitter", span(spec["jitter"]) if spec.get("jitter") else None),
        ("start", clock(spec["start"], zone) if spec.get("start") else None),
        ("end", clock(spec["end"], zone) if spec.get("end") else None),
        ("exclude", ", ".join(spec.get("exclude") or [])),
        ("deadline", f"{span(int(spec['deadline']))} after it is due" if spec.get("deadline") else None),
        ("params", params_text(spec.get("params") or {})),
        ("lag", f"{span(row['late'])} from due to noticed" if row.get("late") else None),
        ("from", "odibi.yaml" if row.get("origin") == "yaml" else "odibictl schedule add"),
    ]
    always = ("schedule", "state", "next", "last", "started", "skipped", "waiting")
    parts: list[RenderableType] = [fields([(k, v) for k, v in head if k in always or v])]
    if row.get("skipped"):
        parts += ["", reasons(row)]
    if row.get("waits"):
        parts += ["", table(row["waits"], WAITS)]
    parts += ["", table(row["occurrences"], OCCURRENCES, none_kept(row))]
    listed = [(one["occurrence"], one["at"]) for one in row["occurrences"]]
    older = [one for one in row["skips"] if (one["occurrence"], one["at"]) not in listed]
    if older:
        parts += ["", Text("before that were skipped", style="bold"), table(older, OCCURRENCES)]
    return [*parts, *problems([row])]


def none_kept(row: Row) -> str:
    """Why no occurrence is listed: none has come due, or all are pruned."""
    if not row.get("started") and not row.get("skipped"):
        return "nothing has come due yet"
    were = f"{count(row.get('started'))} started and {count(row.get('skipped'))} skipped"
    return f"none is kept of {were}: they are pruned (see history and history_size in odibi.yaml)"


OVERLAP = {
    "skip": "what comes due during a run is skipped",
    "buffer_one": "one that comes due during a run waits, more are skipped",
    "buffer_all": "those that come due during a run wait",
    "allow": "several runs at once",
    "cancel": "what comes due cancels the run in progress",
}
"""What each policy does, as ``show`` tells it."""


def _catch_up(spec: Row) -> str:
    """Of late occurrences, which run."""
    policy, window = spec.get("policy", "latest"), span(int(spec.get("window", 0)))
    which = {"latest": "the latest runs", "all": f"all run, at most {spec.get('max')}", "none": "none runs"}[policy]
    return f"{policy}: of those missed within {window} {which}; up to {span(int(spec.get('grace', 0)))} late is on time"


schedule.add_command(add)


@schedule.command(examples=["odibictl schedule remove nightly", "odibictl schedule remove report.nightly --yes"])
@NAME
@yes
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@lists
@pass_app
def remove(app: App, name: str, dry_run: bool) -> None:
    """Remove a schedule that was added with `schedule add`.

    What it started goes on; what waits is skipped. One of odibi.yaml is removed there, then `odibictl apply`.
    """
    client = app.client()
    row = client.schedule(name)
    title = full_name(row)
    if row["origin"] == "yaml":
        from odibi_actors.errors import ConflictError

        raise ConflictError(f"{title} is in odibi.yaml; delete it there, then `odibictl apply`")
    if not dry_run:
        waits = (
            f" ({plural(row['waiting'], 'occurrence waits', 'occurrences wait')} and will be skipped)"
            if row["waiting"]
            else ""
        )
        app.confirm(f"Remove schedule {title}{waits}?")
        row = client.remove_schedule(title)
    said = "would be removed" if dry_run else "removed"
    emit(app, lambda: row, full_name, lambda row: [f"{title}: {said}"])


@schedule.command(examples=["odibictl schedule pause nightly"])
@NAME
@lists
@pass_app
def pause(app: App, name: str) -> None:
    """Start nothing until resumed; survives restarts.

    What comes due meanwhile is skipped, and counted with the reason "paused".
    """
    row = app.client().pause_schedule(name)
    title = full_name(row)
    emit(app, lambda: row, full_name, lambda row: [f"{title}: paused; go on with `odibictl schedule resume {title}`"])


@schedule.command(examples=["odibictl schedule resume nightly"])
@NAME
@lists
@pass_app
def resume(app: App, name: str) -> None:
    """Go on with what comes due from now on."""
    row = app.client().resume_schedule(name)
    title = full_name(row)
    said = "active" if row.get("state") == "active" else str(row.get("state"))
    if row.get("kind") in ("cron", "every"):
        said += f"; `odibictl schedule next {title}` says when"
    emit(app, lambda: row, full_name, lambda row: [f"{title}: {said}"])


schedule.add_command(next_)


@schedule.command(
    examples=[
        "odibictl schedule history hourly",
        "odibictl schedule history report.hourly --state skipped --limit 100",
    ]
)
@NAME
@click.option("--state", type=click.Choice(("waiting", "started", "skipped")), help="Only those in this state.")
@limited()
@click.option("-w", "--watch", is_flag=True, help="Show again every second, until Ctrl-C.")
@lists
@pass_app
def history(app: App, name: str, state: str | None, limit: int | None, watch: bool) -> None:
    """List the occurrences of a schedule, newest first.

    Each has the run it started, or the reason why it did not run. A row may stand for several that were skipped for
    one reason.
    """
    client = app.client()
    pipeline, one = client.find_schedule(name)
    title = f"{pipeline}.{one}"
    empty = f"{title} has no such occurrences" if state else f"{title}: {none_kept(client.schedule(title))}"
    emit(
        app,
        lambda: pages(lambda n, before: client.occurrences(pipeline, one, state, n, before), limit),
        "occurrence",
        lambda result: [table(result["items"], OCCURRENCES, empty)],
        watch,
    )
