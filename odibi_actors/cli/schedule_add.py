"""``odibictl schedule add``: a schedule for a running pipeline, checked as one of odibi.yaml is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli import errors
from odibi_actors.cli.base import App, Command, lists, pass_app
from odibi_actors.cli.names import PARAM, complete_pipeline, pipeline_argument
from odibi_actors.cli.output import Row, emit

if TYPE_CHECKING:
    from odibi_actors.config.model import ScheduleSpec

KINDS = ("cron", "every", "after", "after_any", "file_watch")
CATCH_UP = ("window", "policy", "max", "grace")

OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--cron", metavar="EXPR", help="When: 5 fields, or 6 with seconds first, or @daily and the like."),
    click.option("--every", metavar="DURATION", help="When: at this interval, from --start or the epoch on."),
    click.option("--after", multiple=True, metavar="PIPELINE", shell_complete=complete_pipeline,
                 help="When: each time this pipeline has committed; repeated: all of them."),
    click.option("--after-any", multiple=True, metavar="PIPELINE", shell_complete=complete_pipeline,
                 help="When: each time one of these pipelines has committed. May be repeated."),
    click.option("--file-watch", metavar="[CONNECTION:]PATH", help="When: files arrive; PATH ends with their pattern."),
    click.option("--per", type=click.Choice(("file", "set")), help="With --file-watch: a run for each, or for all."),
    click.option("--timezone", metavar="ZONE", help="Time zone of --cron, --exclude, --start and --end (UTC)."),
    click.option("--dst", type=click.Choice(("vixie", "literal", "utc")), help="Daylight saving rule (vixie)."),
    click.option("--overlap", type=click.Choice(("skip", "buffer_one", "buffer_all", "allow", "cancel")),
                 help="What becomes of an occurrence while a run is going on (by the kind of schedule)."),
    click.option("--catch-up", "policy", type=click.Choice(("latest", "all", "none")),
                 help="Which of those run that came due while nothing could start them (latest)."),
    click.option("--window", metavar="DURATION", help="With --catch-up: older ones are skipped (1h)."),
    click.option("--max", type=click.IntRange(1), help="With --catch-up all: at most so many (100)."),
    click.option("--grace", metavar="DURATION", help="So much later still counts as on time (1m)."),
    click.option("--jitter", metavar="DURATION", help="Later by up to this much, always the same for an occurrence."),
    click.option("--start", metavar="TIME", help="Not before."),
    click.option("--end", metavar="TIME", help="Not from then on."),
    click.option("--exclude", multiple=True, metavar="DATE", help="Not on this day. May be repeated."),
    click.option("--deadline", metavar="DURATION", help="Late, and an alert, when its run has not ended by then."),
    click.option("--paused", is_flag=True, help="Begin paused."),
    click.option("--description", metavar="TEXT", help="What it is for."),
)  # fmt: skip


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    for one in reversed(OPTIONS):
        function = one(function)
    return function


@click.command(
    "add",
    cls=Command,
    examples=[
        "odibictl schedule add report nightly --cron @daily --timezone America/New_York",
        "odibictl schedule add report often --every 5m --overlap buffer_one --dry-run",
        "odibictl schedule add report follow --after delays --param full=false",
        "odibictl schedule add report arrivals --file-watch landing:flights-*.csv",
    ],
)
@pipeline_argument()
@click.argument("name")
@_options
@PARAM
@click.option("--replace", is_flag=True, help="Change the one of that name, if it was added so.")
@click.option("--dry-run", is_flag=True, help="Only check it, and say when it would be due.")
@lists
@pass_app
def add(
    app: App, /, pipeline: str, name: str, params: dict[str, Any], replace: bool, dry_run: bool, **options: Any
) -> None:
    """Add a schedule to a running pipeline.

    It is kept with the checkpoints and survives restarts; it is no part of odibi.yaml. Adding exactly the same again
    changes nothing; another one of that name is refused (exit 4) without --replace. One whose timing is changed begins
    again; otherwise it goes on where it was.
    """
    values = as_written(name, options, params)
    client = app.client()
    spec = client.read_schedule(pipeline, values)
    if dry_run:
        result = _preview(pipeline, spec)
        emit(app, lambda: result, _name, lambda row: [f"{_name(row)}: would be added", *_due(row)])
        return
    row = client.add_schedule(pipeline, spec, replace=replace)
    emit(app, lambda: row, _name, lambda row: [f"{_name(row)}: {row.get('state', 'active')}"])
    if spec.timed and not spec.paused:
        errors.message(f"`odibictl schedule next {_name(row)}` says when it is due")


def _name(row: Row) -> str:
    return f"{row['pipeline']}.{row['schedule']}"


def _preview(pipeline: str, spec: ScheduleSpec) -> dict[str, Any]:
    """The schedule as it would be, and when it would be due."""
    import time

    import msgspec

    from odibi_actors.cli.daylight import upcoming

    coming = [*upcoming(spec, time.time(), 3)] if spec.timed else []
    return {
        "pipeline": pipeline,
        "schedule": spec.name,
        "kind": spec.kind,
        "spec": msgspec.to_builtins(spec),
        "next": [one["due"] for one in coming],
        "occurrences": coming,
    }


def _due(row: Row) -> Sequence[str]:
    return [f"  due {one['utc']}  {one['local']}  {one['note']}".rstrip() for one in row["occurrences"]]


def as_written(name: str, options: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """The options as they would stand in odibi.yaml. Raises click.UsageError for what could not stand there."""
    given = {key: value for key, value in options.items() if value not in (None, (), False)}
    kinds = [kind for kind in KINDS if kind in given]
    if len(kinds) != 1:
        flags = ", ".join(f"--{kind.replace('_', '-')}" for kind in KINDS)
        found = ", not " + " and ".join(f"--{kind.replace('_', '-')}" for kind in kinds) if kinds else ""
        raise click.UsageError(f"say when it is due with exactly one of {flags}{found}")
    values: dict[str, Any] = {"name": name, **given}
    if "after_any" in given:
        values["after"] = {"any": list(values.pop("after_any"))}
    elif "after" in given:
        values["after"] = list(given["after"])
    if "exclude" in given:
        values["exclude"] = list(given["exclude"])
    per = values.pop("per", None)
    if "file_watch" in given:
        values["file_watch"] = _watch(given["file_watch"]) | ({"per": per} if per else {})
    elif per:
        raise click.UsageError("--per goes with --file-watch")
    catch_up = {key: values.pop(key) for key in CATCH_UP if key in values}
    return values | ({"catch_up": catch_up} if catch_up else {}) | ({"params": params} if params else {})


def _watch(text: str) -> dict[str, str]:
    """``landing:in/a-*.csv`` -> connection ``landing``, path ``in``, pattern ``a-*.csv``: folders up to the first that
    holds a wildcard are the path. Without a connection it is a path of the project."""
    connection, _, path = text.rpartition(":")
    *folders, pattern = path.split("/")
    if not pattern or not (connection or folders):
        raise click.UsageError(f"--file-watch {text!r}: write for example 'landing:orders-*.csv' (a connection and a "
                               "pattern), or 'data/landing/orders-*.csv' (a path of the project)")  # fmt: skip
    wild = next((at for at, folder in enumerate(folders) if set(folder) & set("*?[{")), len(folders))
    watch = {"pattern": "/".join([*folders[wild:], pattern])}
    found = {"connection": connection, "path": "/".join(folders[:wild]) or ("" if connection else ".")}
    return watch | {key: value for key, value in found.items() if value}
