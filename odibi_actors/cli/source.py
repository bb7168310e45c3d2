"""``odibictl source``: what was discovered, and why a file was taken or not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli.base import App, group, lists, pass_app
from odibi_actors.cli.output import Column, ago, count, emit, fields, size, table
from odibi_actors.streaming.patterns import utf8
from odibi_actors.units import format_instant, plural

if TYPE_CHECKING:
    from rich.console import RenderableType

LIVE = "live"
"""The lane of those that follow their folder; others are of backfills, and of schedules that wait for files."""

source = group("source", "What sources have discovered, and why a file was not taken.")

COLUMNS = (
    Column("PIPELINE", "pipeline"),
    Column("SOURCE", "source"),
    Column("LANE", "lane"),
    Column("MODE", "mode"),
    Column("PATTERN", "pattern"),
    Column("KNOWN", lambda row: count(row.get("known")), right=True),
    Column("PENDING", lambda row: count(row.get("pending")), right=True),
    Column("WAITING", lambda row: count(row.get("waiting")), right=True),
    Column("PATH", "path"),
    Column("PROBLEMS", lambda row: "; ".join(row.get("problems") or [])),
)
WHY = (
    Column("PIPELINE", "pipeline"),
    Column("SOURCE", "source"),
    Column("LANE", "lane"),
    Column("FILE", "identity", name=True),
    Column("STATE", "state"),
    Column("REASON", "reason"),
)

TYPES = (
    Column("COLUMN", "column", whole=True),
    Column("TYPE", "type", whole=True),
    Column("ORIGIN", "origin"),
)
HISTORY = (
    Column("SINCE", "iteration", right=True),
    Column("AT", lambda row: format_instant(row["at"])),
    Column("COLUMN", "column", whole=True),
    Column("CHANGE", "change"),
    Column("TYPE", "type", whole=True),
)
PLACES = (Column("PARTITION", "file", name=True, whole=True), Column("READ", "at"))
FILES = (Column("STATE", "state"), Column("FILE", "file", name=True), Column("REASON", "reason"))


def _name(row: Mapping[str, Any]) -> str:
    """PIPELINE.SOURCE, with the lane unless that is ``live``."""
    lane = row.get("lane") or LIVE
    return f"{row.get('pipeline')}.{row.get('source')}" + (f".{lane}" if lane != LIVE else "")


@source.command("list", examples=["odibictl source list", "odibictl source list -o json"])
@lists
@pass_app
def list_(app: App) -> None:
    """List sources: positions known, pending, not yet ready.

    KNOWN counts each file once, however often it was read. A source that is read whole (mode: batch) has nothing
    PENDING: every iteration reads all of it. At rest nobody looks into the folders: PENDING and WAITING, and KNOWN of
    such a source, are not known then.
    """
    emit(
        app,
        app.client().sources,
        _name,
        lambda result: [table(result["items"], COLUMNS, "no sources")],
    )


@source.command(examples=["odibictl source show delays.flights", "odibictl source show delays.flights -o json"])
@click.argument("name", metavar="PIPELINE.SOURCE")
@lists
@pass_app
def show(app: App, name: str) -> None:
    """Show the types of a source's columns, and where each comes from.

    The types hold for all of its files, as long as what told them stands (`odibictl source unpin`). ORIGIN is
    `declared` (`read.schema`) or `inferred` from the first batch, with the reason where most of a column looks like
    numbers, dates or times, but is text, since a type would lose something of it. Where columns have changed
    (`on_schema_change`), what changed is listed, with the iteration since which it is so; JSON has it under `history`.
    """
    pipeline, node = _named(name)
    emit(app, lambda: app.client().schema(pipeline, node), _name, _shown)


def _named(name: str) -> tuple[str, str]:
    pipeline, dot, node = name.partition(".")
    if not dot or not node:
        raise click.BadParameter(f"{name!r} is not PIPELINE.SOURCE; `odibictl source list` shows both")
    return pipeline, node


def _shown(row: Mapping[str, Any]) -> list[Any]:
    head = [("pipeline", row.get("pipeline")), ("source", row.get("source")), ("pinned by", row.get("iteration"))]
    if row.get("left_out"):
        head.append(("not read", ", ".join(name or "(a column without a name)" for name in row["left_out"])))
    if row.get("deleted"):
        gone = (
            f"what iterations up to {row['deleted']} have read is deleted from its log (`retain`), and not read again"
        )
        head.append(("log", gone))
    shown = [fields(head), table(row.get("columns") or [], TYPES, "no columns")]
    return [*shown, *changes(row)]


def changes(row: Mapping[str, Any]) -> list[Any]:
    """How a schema has changed by itself, for people; nothing where it has not."""
    return ["", table(row["history"], HISTORY)] if row.get("history") else []


@source.command(examples=["odibictl source unpin delays.flights", "odibictl source unpin delays.flights --dry-run"])
@click.argument("name", metavar="PIPELINE.SOURCE")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@lists
@pass_app
def unpin(app: App, name: str, dry_run: bool) -> None:
    """Let what is read next of a source tell its columns and types.

    For when files are delivered in another form from now on, or the first one was wrong and is committed. What was read
    stays as it is; what is in flight is read again. Types in `read.schema` hold all the same, and so do the columns of
    sinks: see `odibictl sink repin`.
    """
    pipeline, node = _named(name)
    said = "would tell" if dry_run else "tells"
    emit(app, lambda: app.client().unpin(pipeline, node, dry_run), _name, lambda row: [_unpinned(row, said)])


@source.command(examples=["odibictl source pause delays.flights"])
@click.argument("name", metavar="PIPELINE.SOURCE")
@lists
@pass_app
def pause(app: App, name: str) -> None:
    """Plan nothing new of a source, until `odibictl source resume`.

    It goes on looking, and takes what is pushed: what is there is read when it is resumed. Other sources of the
    pipeline go on; what is in flight is finished. A run, and a restart, leave it paused; `odibictl status` says so. A
    backfill, and a replay of a dead letter, read it all the same. A source with `mode: batch` is part of every
    iteration, and is not paused by itself.
    """
    pipeline, node = _named(name)
    emit(app, lambda: app.client().pause_source(pipeline, node), _name, lambda row: [_paused(row)])


@source.command(examples=["odibictl source resume delays.flights"])
@click.argument("name", metavar="PIPELINE.SOURCE")
@lists
@pass_app
def resume(app: App, name: str) -> None:
    """Go on with a paused source, and with what came meanwhile."""
    pipeline, node = _named(name)
    emit(app, lambda: app.client().resume_source(pipeline, node), _name, lambda row: [_paused(row)])


def _paused(row: Mapping[str, Any]) -> str:
    count = row.get("offered")
    waits = "" if count is None else f", with {plural(count, 'position')} to be planned"
    if not row.get("paused"):
        return f"{_name(row)}: goes on{waits}"
    return f"{_name(row)}: paused{waits}; go on with `odibictl source resume {_name(row)}`"


def _unpinned(row: Mapping[str, Any], said: str) -> str:
    by = f", which iteration {row['iteration']} told" if row.get("iteration") else ""
    return f"{_name(row)}: what is read next {said} its columns, instead of these {row['columns']}{by}"


@source.command(examples=["odibictl source files delays.flights", "odibictl source files delays.flights -o json"])
@click.argument("name", metavar="PIPELINE.SOURCE")
@click.option("--lane", default=LIVE, show_default=True, help="live, or that of a backfill.")
@lists
@pass_app
def files(app: App, name: str, lane: str) -> None:
    """List files that are ready, wait, have changed, or are skipped.

    Of a source that is read in order (files that grow, tables, events) also how far each partition was read.
    """
    pipeline, _, wanted = name.partition(".")
    if not wanted:
        raise click.UsageError(f"{name!r} names no source: give PIPELINE.SOURCE, as `odibictl source list` has them")
    emit(app, lambda: app.client().source(pipeline, wanted, lane), _name, _listed)


def _listed(row: Mapping[str, Any]) -> list[RenderableType]:
    told: list[RenderableType] = [table([row], COLUMNS)]
    if log := row.get("log"):
        told.append(fields([("log", _log(log))]))
    for kind in ("pending", "waiting", "changed", "skipped"):
        found = [{**file, "state": kind} for file in (row.get("files") or {}).get(kind, ())]
        more = (row.get("more") or {}).get(kind, 0)
        if more:
            found.append({"state": kind, "file": f"... and {more} more", "reason": ""})
        if found:
            told.append(table(found, FILES))
    if places := [{"file": name, "at": at} for name, at in (row.get("at") or {}).items() if at]:
        told.append(table(places, PLACES))  # of a source that is read in order: how far
    none = not any((row.get("files") or {}).values())
    return [*told, "", "no file is ready, waits, has changed, or is skipped"] if none else told


def _log(log: Mapping[str, Any]) -> str:
    """How a log of events is: what is kept of it."""
    kept = f"events {log['floor'] + 1:,} to {log['last']:,}" if log["last"] > log["floor"] else "no event"
    since = f", since {ago(log['since'])}" if log.get("since") else ""
    gone = f"; up to {log['floor']:,} deleted (`retain`)" if log["floor"] else ""
    return f"{kept} kept, {size(log['size'])}{since}{gone}" + (f"; {log['waits']}" if log["waits"] else "")


@source.command(examples=["odibictl source why data/landing/flights-2013-01-01.csv"])
@click.argument("file")
@lists
@pass_app
def why(app: App, file: str) -> None:
    """Say why FILE was taken, waits, or is ignored.

    FILE is a path from here, an absolute one, or one below a source's folder. Sources that have it are listed; if none
    has, all of them, each with the reason. JSON has all of them anyway.
    """
    if not utf8(file):
        raise click.BadParameter(f"{file!r} is not UTF-8, and no source takes such a file; rename it")
    if os.path.lexists(file):
        file = os.path.abspath(file)
    empty = f"no source looks where {file} is; see `odibictl source list`"
    emit(app, lambda: _asked(app, file), _name, lambda result: [table(having(result["items"]), WHY, empty)])


def _asked(app: App, file: str) -> dict[str, Any]:
    """Raises ConfigError when it is a source that is named, and no file."""
    from odibi_actors.errors import ConfigError

    found = app.client().why(file)
    if file in {f"{row['pipeline']}.{row['source']}" for row in having(found["items"])} and not _has(found["items"]):
        raise ConfigError(f"{file} is a source: `odibictl source files {file}` lists its files")
    return found


def _has(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in items if row["state"] not in ("ignored", "not_found")]


def having(items: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The sources that have the file; all of them, if none has."""
    return _has(items) or items
