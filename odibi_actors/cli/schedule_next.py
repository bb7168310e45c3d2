"""``odibictl schedule next``: when a schedule is due, and what daylight saving does to it. Needs no running system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli import errors
from odibi_actors.cli.base import App, Command, lists, pass_app
from odibi_actors.cli.moments import Moment, full, instant, utc, zone_of
from odibi_actors.cli.names import complete_schedule, written
from odibi_actors.cli.output import Column, Row, emit, span, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from odibi_actors.config.model import ScheduleSpec

LONGEST = 10_000
"""Occurrences at once: more are for a program that asks from the last one on."""


@click.command(
    "next",
    cls=Command,
    examples=[
        "odibictl schedule next hourly",
        "odibictl schedule next report.hourly -n 20 --from 2026-03-08",
        "odibictl schedule next --cron @daily --timezone Europe/Berlin",
    ],
)
@click.argument("name", required=False, metavar="[NAME]", shell_complete=complete_schedule)
@click.option("--cron", metavar="EXPR", help="This expression instead of a schedule.")
@click.option("--timezone", metavar="ZONE", help="Time zone of --cron (UTC).")
@click.option("--dst", type=click.Choice(("vixie", "literal", "utc")), help="Daylight saving rule of --cron (vixie).")
@click.option(
    "-n", "--number", type=click.IntRange(1, LONGEST), default=10, show_default=True, help="So many occurrences."
)
@click.option(
    "--from",
    "start",
    type=Moment(),
    default="now",
    show_default=True,
    metavar="TIME",
    help="From this time on, as 2026-03-08T02:00 (in the schedule's time zone) or 2026-03-08T07:00Z.",
)
@lists
@pass_app
def next_(
    app: App, name: str | None, cron: str | None, timezone: str | None, dst: str | None, number: int, start: str
) -> None:
    """Say when a schedule is due, and what daylight saving does.

    The schedule is read from odibi.yaml, else asked of the running system. Neither is needed with --cron.
    """
    if (name is None) == (cron is None):
        raise click.UsageError("name a schedule, or give --cron EXPR: one of the two")
    if cron is None and (timezone or dst):
        raise click.UsageError("--timezone and --dst go with --cron; a schedule has its own")
    title, spec, paused = _of(app, name) if name else ("", _expression(app, cron or "", timezone, dst), False)
    if not spec.timed:
        said = f"follows {', '.join(spec.after)}" if spec.after else "waits for files"
        errors.message(f"{title} {said}, not the clock: nobody knows when it is due")
    elif paused:
        errors.message(f"{title} is paused: what comes due is skipped until `odibictl schedule resume {title}`")
    elif spec.jitter:
        errors.message(f"each starts up to {span(spec.jitter)} later (jitter)")
    if spec.timed and spec.exclude:
        errors.message(f"left out: {', '.join(spec.exclude)} (exclude)")
    pipeline, _, schedule = title.partition(".")
    result: dict[str, Any] = {"pipeline": pipeline, "schedule": schedule} if title else {"cron": spec.cron}
    result |= {"timezone": spec.timezone, "items": _rows(spec, start, number) if spec.timed else []}
    emit(app, lambda: result, "occurrence", _render if spec.timed else lambda _result: [])


def _rows(spec: ScheduleSpec, start: str, number: int) -> list[Row]:
    from odibi_actors.cli.daylight import upcoming  # not at load time: it brings msgspec along

    return list(upcoming(spec, instant(start, zone_of(spec.timezone)), number))


def _render(result: dict[str, Any]) -> list[RenderableType]:
    zone = zone_of(result["timezone"])
    columns = (
        Column("UTC", lambda row: utc(row["due"]), whole=True),
        Column("LOCAL", lambda row: full(row["due"], zone), whole=True),
        Column("NOTE", "note"),
    )
    return [table(result["items"], columns, "never due again")]


def _expression(app: App, cron: str, timezone: str | None, dst: str | None) -> ScheduleSpec:
    """A schedule of that expression, checked as one of odibi.yaml is."""
    from odibi_actors.config.schedules import read_schedule

    values = {"name": "expression", "cron": cron, "timezone": timezone, "dst": dst}
    return read_schedule({key: value for key, value in values.items() if value}, app.root, {}, [])


def _of(app: App, name: str) -> tuple[str, ScheduleSpec, bool]:
    """(full name, spec, paused) of a schedule of odibi.yaml, else of the running system. Raises NotFoundError."""
    from odibi_actors.cli.project import load
    from odibi_actors.client_verbs import one_of
    from odibi_actors.errors import NotFoundError, UnreachableError

    missing = NotFoundError(f"no schedule {name!r}: there is no odibi.yaml here; name the project with --project DIR")
    if (app.root / "odibi.yaml").is_file():
        specs = {(pipeline, spec.name): spec for pipeline, spec in written(load(app, sql=False))}
        try:
            found = one_of(name, list(specs))
            return ".".join(found), specs[found], specs[found].paused
        except NotFoundError as error:
            missing = error
    try:
        return _asked(app, name)
    except UnreachableError:
        raise missing from None


def _asked(app: App, name: str) -> tuple[str, ScheduleSpec, bool]:
    """The same, of the running system."""
    import msgspec

    from odibi_actors.config.model import ScheduleSpec

    row = app.client().schedule(name)
    spec = msgspec.convert(row["spec"], ScheduleSpec)
    return f"{row['pipeline']}.{row['schedule']}", spec, row.get("state") == "paused"
