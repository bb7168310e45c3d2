"""``odibictl pipeline backfill`` and ``odibictl backfill``: what is past, once more, in a lane beside the live runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli import errors
from odibi_actors.cli.applied import warn_of_disk
from odibi_actors.cli.base import App, Command, group, lists, pass_app, yes
from odibi_actors.cli.moments import Moment, instant, local, spaced, utc, zone_of
from odibi_actors.cli.names import PARAM, complete_lane, complete_schedule, pipeline_argument
from odibi_actors.cli.output import Column, Row, ago, count, emit, fields, kept, lines, size, table
from odibi_actors.cli.paging import PAGE, limited
from odibi_actors.cli.pauses import Pauses
from odibi_actors.cli.sink import twice
from odibi_actors.units import plural

if TYPE_CHECKING:
    from rich.console import RenderableType

    from odibi_actors.client import Client

backfill = group("backfill", "Backfills: list, show, cancel, wait.")
PREVIEWED = 20
"""Occurrences that a preview names; the rest is counted."""


def _left(row: Row) -> str | None:
    """What is not planned yet; the sources may not have said."""
    left = row.get("left")
    return None if left is None else "?" if left < 0 else count(left)


COLUMNS = (
    Column("PIPELINE", "pipeline", whole=True),
    Column("LANE", "lane", whole=True),
    Column("STATE", "state"),
    Column("COMMITTED", lambda row: count(row.get("committed")), right=True),
    Column("PLANNED", lambda row: count(row.get("planned")), right=True),
    Column("IN FLIGHT", lambda row: count(row.get("in_flight")), right=True),
    Column("LEFT", _left, right=True),
    Column("AT ONCE", "concurrency", right=True),
    Column("BEGAN", lambda row: ago(row.get("at")), right=True),
    Column("ENDED", lambda row: ago(row["ended"]) if row.get("ended") else None, right=True),
)
FILES = (
    Column("SOURCE", "source", whole=True),
    Column("PATTERN", "pattern"),
    Column("FILES", lambda row: count(row.get("files")), right=True),
    Column("SIZE", lambda row: size(row.get("bytes")), right=True),
    Column("FIRST", "first", name=True),
    Column("LAST", "last", name=True),
    Column("NOT READ YET", lambda row: row.get("unread") or None, right=True),
    Column("SET ASIDE", lambda row: row.get("aside") or None, right=True),
)
ROWS = (
    Column("SOURCE", "source", whole=True),
    Column("ROWS", "pattern"),
    Column("OF", "table"),
    Column("SET ASIDE", lambda row: row.get("aside") or None, right=True),
)
OCCURRENCES = (
    Column("OCCURRENCE", lambda row: spaced(row["id"]), whole=True),
    Column("DUE (UTC)", lambda row: utc(row["due"])),
)


@click.command(
    "backfill",
    cls=Command,
    examples=[
        "odibictl pipeline backfill delays --files flights-2013-0[1-3]-*.csv --dry-run",
        "odibictl pipeline backfill delays --files flights=*.csv --concurrency 4 --yes --wait",
        "odibictl pipeline backfill orders --rows 2025-01-01..2025-02-01",
        "odibictl pipeline backfill report --schedule nightly --from 2013-01-01 --to 2013-02-01",
    ],
)
@pipeline_argument()
@click.option(
    "--files",
    multiple=True,
    metavar="[SOURCE=]PATTERN",
    help="Read these files again: below the source's folder, or as listed. Once for each source.",
)
@click.option(
    "--rows",
    multiple=True,
    metavar="[SOURCE=]FROM..TO",
    help="Read rows of a table again: from this watermark up to before the other; * for all. Once for each source.",
)
@click.option("--schedule", metavar="NAME", shell_complete=complete_schedule, help="Run for occurrences of this one.")
@click.option("--from", "start", type=Moment(), metavar="TIME", help="With --schedule: the first time due.")
@click.option("--to", "end", type=Moment(), metavar="TIME", help="With --schedule: due before this time.")
@click.option("--concurrency", type=click.IntRange(1), default=1, show_default=True, help="Iterations at once.")
@PARAM
@yes
@click.option("--dry-run", is_flag=True, help="Only show what it would read or run.")
@click.option("--wait", is_flag=True, help="Wait until it has ended; exit 5 if an iteration failed.")
@lists
@pass_app
def start(
    app: App,
    pipeline: str,
    files: Sequence[str],
    rows: Sequence[str],
    schedule: str | None,
    start: str | None,
    end: str | None,
    concurrency: int,
    params: dict[str, Any],
    dry_run: bool,
    wait: bool,
) -> None:
    """Read files or rows, or run occurrences, of the past once more.

    It gets a lane of its own beside the live runs: they go first, it waits for none of them, and can be cancelled.
    Either --files and --rows, of what was read before; or --schedule with --from and --to, one iteration for each
    time it was due in between. TIME is one of the schedule's zone unless it ends in Z or an offset.
    """
    files = [*files, *rows]
    _one_kind(files, schedule, start, end)
    client = app.client()
    wanted: dict[str, Any] = {"concurrency": concurrency, "params": params}
    if files:
        wanted["files"] = _sources(client, pipeline, files)
    else:
        wanted |= _range(client, pipeline, schedule or "", start or "", end or "")
    shown = client.backfill(pipeline, **wanted, dry_run=True)
    warn_of_disk(app, client, [pipeline])
    if dry_run:
        emit(app, lambda: shown, "pipeline", preview)
    elif not app.yes:
        errors.message(lines(*preview(shown)))
    for note in twice(client, [pipeline], wanted.get("files", ())):
        errors.message(note)
    if dry_run:
        return
    app.confirm(f"Begin this backfill of {pipeline}?")
    result = client.backfill(pipeline, **wanted)
    if not wait:
        emit(app, lambda: result, "lane", lambda row: [row["lane"]])
        errors.message(f"`odibictl backfill wait {result['lane']}` waits for its end")
        return
    errors.message(f"{pipeline}: {result['lane']} has begun; waiting until it ends")
    _wait(app, client, pipeline, result["lane"], result)


def _one_kind(files: Sequence[str], schedule: str | None, start: str | None, end: str | None) -> None:
    """Raise UsageError unless it is one kind of backfill, whole."""
    if bool(files) == bool(schedule):
        raise click.UsageError(
            "say what to read or run again: --files PATTERN or --rows FROM..TO, or --schedule NAME; one of the two"
        )
    if files and (start or end):
        raise click.UsageError("--from and --to go with --schedule; --files takes what its pattern matches")
    if schedule and not (start and end):
        raise click.UsageError(f"--schedule {schedule} needs --from TIME and --to TIME")


def _sources(client: Client, pipeline: str, files: Sequence[str]) -> dict[str, str]:
    """Source -> pattern, of the sources that take files once: what is pinned is read whole anyway. A pattern may
    hold a "=" itself (``day=*/x.parquet``): only a source's name counts before."""
    rows = client.pipeline(pipeline).get("sources", [])
    names = [row["source"] for row in rows if row["consumption"] != "pinned"]
    whole = [row["source"] for row in rows if row["consumption"] == "pinned"]
    if not names:
        raise click.UsageError(
            f"{pipeline} has no source that takes each file once (mode: file_watch); run occurrences again instead: "
            "--schedule NAME --from TIME --to TIME"
        )
    found: dict[str, str] = {}
    for text in files:
        source, sign, pattern = text.partition("=")
        if sign and source in whole:
            raise click.UsageError(
                f"{source} is read whole in every iteration (mode: batch); name files of {' or '.join(names)}"
            )
        if not sign or source not in names:
            if len(names) != 1:
                raise click.UsageError(
                    f"{pipeline} has {plural(len(names), 'source')} ({', '.join(names)}); write --files SOURCE={text}"
                )
            source, pattern = names[0], text
        if source in found:
            raise click.UsageError(f"two patterns for source {source}: {found[source]!r} and {pattern!r}; give one")
        found[source] = pattern
    return found


def _range(client: Client, pipeline: str, schedule: str, start: str, end: str) -> dict[str, Any]:
    """Schedule and seconds since the epoch. NAME is one of this pipeline's, so it needs no prefix."""
    name = schedule if "." in schedule else f"{pipeline}.{schedule}"
    row = client.schedule(name)
    zone = zone_of(row.get("timezone"))
    wanted = {"schedule": row["schedule"], "start": instant(start, zone), "end": instant(end, zone)}
    if wanted["start"] >= wanted["end"]:
        raise click.UsageError(
            f"--from {local(wanted['start'], zone)} must be before --to {local(wanted['end'], zone)}"
        )
    return wanted


def preview(result: dict[str, Any]) -> list[RenderableType]:
    """What a backfill would read or run."""
    head: list[tuple[str, object]] = [("pipeline", result.get("pipeline"))]
    if result.get("occurrences"):
        head.append(("iterations", count(len(result["occurrences"]))))
    parts: list[RenderableType] = [fields(head), ""]
    if result.get("files"):
        of_files = [row for row in result["files"] if not row.get("table")]
        of_rows = [row for row in result["files"] if row.get("table")]
        parts += [table(of_files, FILES)] if of_files else []
        parts += [table(of_rows, ROWS)] if of_rows else []
        return parts
    occurrences = result.get("occurrences") or []
    parts.append(table(occurrences[:PREVIEWED], OCCURRENCES, "it was never due in that time: nothing to do"))
    if len(occurrences) > PREVIEWED:
        last = spaced(occurrences[-1]["id"])
        parts.append(f"... and {count(len(occurrences) - PREVIEWED)} more, up to {last}")
    return parts


def _which(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> tuple[str | None, str]:
    """(pipeline if it was named, lane). LANE is ``backfill-3``, or just ``3``; it alone says which one is meant."""
    if len(words) > 2:
        raise click.UsageError(f"one LANE, or PIPELINE LANE, not {' '.join(words)!r}", ctx)
    lane = words[-1]
    return (words[0] if len(words) == 2 else None), f"backfill-{lane}" if lane.isdigit() else lane


WHICH = click.argument(
    "which", metavar="[PIPELINE] LANE", nargs=-1, required=True, callback=_which, shell_complete=complete_lane
)


def _found(client: Client, which: tuple[str | None, str]) -> tuple[str, str]:
    """(pipeline, lane). Raises NotFoundError."""
    pipeline, lane = which
    return pipeline or client.find_backfill(lane), lane


@backfill.command(
    "list",
    examples=["odibictl backfill list", "odibictl backfill list delays --watch", "odibictl backfill list -o json"],
)
@pipeline_argument(required=False)
@limited(10, 0, "So many that have ended.")
@click.option("-w", "--watch", is_flag=True, help="Show again every second, until Ctrl-C.")
@lists
@pass_app
def list_(app: App, pipeline: str | None, limit: int | None, watch: bool) -> None:
    """List backfills: lane, state, progress.

    Those that go on first, then the newest that have ended. LEFT counts the files or occurrences that are not planned
    yet.
    """
    client = app.client()

    def fetch() -> dict[str, Any]:
        ended = client.ended_backfills(pipeline, PAGE)
        going = client.backfills(pipeline)["items"]
        lanes = {row["lane"] for row in going}
        past = [row for row in ended if row["lane"] not in lanes]
        items = [*going, *past[:limit]]
        if items or past:
            return {
                "items": items,
                **({"total": len(going) + len(past)} if len(items) < len(going) + len(past) else {}),
            }
        from odibi_actors.messages import STORE  # not for those who only want help

        asked = client.request("run.list", {"pipeline": pipeline, "limit": 1, "backfills": True}, STORE)
        return {"items": items, **{name: asked[name] for name in ("pruned_before",) if name in asked}}

    emit(
        app,
        fetch,
        "lane",
        lambda result: [table(result["items"], COLUMNS, kept("no backfills", result)), *_stuck(result["items"])],
        watch,
    )


def _stuck(rows: Sequence[Row]) -> list[RenderableType]:
    """What holds a backfill up, and what fixes it."""
    from rich.text import Text

    return [
        Text.assemble(("! ", "bold red"), (f"{row['pipeline']} {row['lane']}: ", "bold"), _fix(row))
        for row in rows
        if row.get("failed")
    ]


def _fix(row: Row) -> str:
    name, number = row["pipeline"], row.get("failed")
    if not number:
        return f"it has failed: `odibictl iteration list {name} --state failed`"
    return (
        f"iteration {number} failed and holds it up: `odibictl iteration show {name} {number}` says why; "
        f"`odibictl iteration retry {name} {number}` tries it again, `odibictl backfill cancel {row['lane']}` ends it"
    )


def details(row: dict[str, Any]) -> list[RenderableType]:
    """One backfill."""
    head = [(column.heading.lower(), column.cell(row)) for column in COLUMNS]
    return [fields([*head, ("run", row.get("run")), ("positions", count(row.get("positions")))]), *_stuck([row])]


@backfill.command(examples=["odibictl backfill show backfill-3", "odibictl backfill show delays 3 -o json"])
@WHICH
@lists
@pass_app
def show(app: App, which: tuple[str | None, str]) -> None:
    """Show one backfill: progress, and what holds it up."""
    client = app.client()
    pipeline, lane = _found(client, which)
    emit(app, lambda: client.show_backfill(pipeline, lane), "lane", details)


@backfill.command(examples=["odibictl backfill cancel backfill-3", "odibictl backfill cancel delays 3 --yes"])
@WHICH
@yes
@click.option("--dry-run", is_flag=True, help="Only show what would be cancelled.")
@lists
@pass_app
def cancel(app: App, which: tuple[str | None, str], dry_run: bool) -> None:
    """Void what is not prepared of a backfill, and end it.

    What it has committed stays. Live runs are not touched.
    """
    client = app.client()
    pipeline, lane = _found(client, which)
    row = client.show_backfill(pipeline, lane)
    if dry_run:
        emit(app, lambda: row, "lane", details)
        return
    from odibi_actors.client_verbs import check_open

    check_open(row)
    app.confirm(f"Cancel {lane} of {pipeline} ({progress(row)})?")
    result = client.cancel_backfill(pipeline, lane)
    emit(app, lambda: result, "lane", lambda row: [f"{pipeline} {lane}: {row.get('state') or 'cancelled'}"])


@backfill.command(examples=["odibictl backfill wait backfill-3 --timeout 1h", "odibictl backfill wait delays 3"])
@WHICH
@lists
@pass_app
def wait(app: App, which: tuple[str | None, str]) -> None:
    """Wait until a backfill has ended, with its progress.

    Exit 5 as soon as an iteration of it has failed, or when it was cancelled, 124 after --timeout.
    """
    client = app.client()
    _wait(app, client, *_found(client, which), {})


class _Progress:
    """A line on stderr that tells how far a backfill is: written over on a terminal, else again when it changes."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, row: Row) -> None:
        line = f"{row['pipeline']} {row['lane']}: {progress(row)}"
        if line == self._said:
            return
        self._said = line
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{line}", nl=False, err=True)
        else:
            errors.message(line)

    def end(self) -> None:
        """Leave the line."""
        if self._said and sys.stderr.isatty():
            click.echo("", err=True)


def progress(row: Row) -> str:
    """``3 of 5 iterations committed, 2 in flight, 40 left``; of one that has ended as far as its run tells."""
    planned = plural(row.get("planned") or 0, "iteration")
    if row.get("committed") is None:
        return planned
    nothing = "nothing planned" if row.get("ended") else "nothing planned yet"
    parts = [f"{count(row['committed'])} of {planned} committed" if row.get("planned") else nothing]
    if row.get("in_flight"):
        parts.append(f"{count(row['in_flight'])} in flight")
    left = row.get("left")
    if left is not None and left >= 0:
        parts.append(f"{count(left)} left")
    return ", ".join([*parts, "paused"] if row.get("state") == "paused" else parts)


def _wait(app: App, client: Client, pipeline: str, lane: str, begun: dict[str, Any]) -> None:
    """Wait, print how it ended, exit 5 if it failed."""
    shown, pauses = _Progress(), Pauses(client, pipeline)
    pauses.watch()

    def see(row: Row) -> None:
        shown(row)
        pauses.take({"paused": row.get("state") == "paused"})

    try:
        row = client.wait_backfill(pipeline, lane, app.timeout, see)
    finally:
        shown.end()
    result = {**begun, **row}
    emit(app, lambda: result, "lane", lambda row: [f"{pipeline} {lane}: {row['state']}, {progress(row)}"])
    from odibi_actors.model import ALL_DONE  # not at load time: it brings msgspec along

    if row["state"] not in ALL_DONE:
        why = _fix(row) if row["state"] == "failed" else "cancelled: what it had not committed is not done"
        errors.message(f"error: {pipeline} {lane}: {why}", style="red")
        raise click.exceptions.Exit(5)
