"""``odibictl sink``: where sinks publish, which schema they are held to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli import errors
from odibi_actors.cli.base import App, group, lists, pass_app, yes
from odibi_actors.cli.names import pipeline_argument
from odibi_actors.cli.output import Column, Row, emit, table
from odibi_actors.cli.source import changes
from odibi_actors.errors import ConflictError
from odibi_actors.units import plural

if TYPE_CHECKING:
    from odibi_actors.client import Client

sink = group("sink", "Where sinks publish, and which schema they are held to.")


def _schema(row: Row) -> str:
    pinned = row.get("columns") or []
    state = "open" if row.get("open") else "pinned" if pinned else row.get("teller", "not pinned")
    return f"{state}, {plural(len(pinned), 'column')}" if pinned else state


def overwriting(client: Client, pipelines: Sequence[str], sources: Collection[str] = ()) -> list[str]:
    """What rows that are read again do to newer ones, in sinks that cannot tell which is newer. ``sources``: of these
    alone, and so in sinks that get rows of one of them; () for all."""
    does = {"delete": "older keys would delete newer rows"}
    said = "older rows would replace newer ones of the same keys"
    return [
        f"{_name(row)}: {does.get(row['mode'], said)}, as the sink names no `write.version`"
        for row in _of(client, pipelines, sources)
        if row["older_over_newer"]
    ]


def twice(client: Client, pipelines: Sequence[str], sources: Collection[str] = ()) -> list[str]:
    """What becomes of rows that are read again, sink by sink, where they do not just replace themselves; ``sources`` as
    in ``overwriting``."""
    said = "it appends, so rows that it has published before will be there twice; take the former ones out yourself"
    appending = [f"{_name(row)}: {said}" for row in _of(client, pipelines, sources) if row["mode"] == "append"]
    return [*appending, *overwriting(client, pipelines, sources)]


def _of(client: Client, pipelines: Sequence[str], sources: Collection[str]) -> list[Row]:
    rows = [row for name in pipelines for row in client.sinks(name).get("items", [])]
    return [row for row in rows if not sources or not {*sources}.isdisjoint(row.get("sources", sources))]


def _name(row: Row) -> str:
    return f"{row.get('pipeline')}.{row.get('sink')}"


COLUMNS = (
    Column("SINK", _name, whole=True),
    Column("MODE", "mode"),
    Column("SCHEMA", _schema),
    Column("TARGET", "target"),
)


@sink.command("list", examples=["odibictl sink list", "odibictl sink list delays -o json"])
@pipeline_argument(required=False)
@lists
@pass_app
def list_(app: App, pipeline: str | None) -> None:
    """List sinks: mode, schema, target."""
    emit(
        app,
        lambda: app.client().sinks(pipeline),
        _name,
        lambda result: [table(result["items"], COLUMNS, "no sinks")],
    )


def _named(name: str) -> tuple[str, str]:
    from odibi_actors.nodes.sinks.targets import named

    return named(name)


def _owner(app: App, row: Row) -> str:
    """Whom the target says it belongs to, as seen from here."""
    from odibi_actors.kinds.registry import sink_of
    from odibi_actors.model import Target
    from odibi_actors.nodes.sinks.targets import understood

    at = Target(*row["at"])
    kind = sink_of(at.sink)
    try:
        with understood(at):
            found = kind.mark(at, app.doors.to(at))
    except (ConflictError, OSError) as error:
        return f"unknown: {error}"
    place = kind.place(at)
    if found is None:
        return "nobody" if place is None or place.exists() else "nobody: it is not there"
    other = found.elsewhere(app.home, place)
    return f"{found.owner} at {other}, of which this is a copy" if other else str(found.owner)


def original(app: App, at: Sequence[str]) -> str:
    """The data_dir of the original, to which the target belongs, as seen from here; "" when there is none."""
    from odibi_actors.kinds.registry import sink_of
    from odibi_actors.model import Target
    from odibi_actors.nodes.sinks.targets import looked_at

    target = Target(*at)
    kind = sink_of(target.sink)
    with suppress(ConflictError), looked_at(target):
        found = kind.mark(target, app.doors.to(target))
        return found.elsewhere(app.home, kind.place(target)) if found is not None else ""
    return ""


def _teller(row: Row) -> str:
    """What tells the schema of a sink that has none, as seen from here."""
    from odibi_actors.kinds.registry import sink_of
    from odibi_actors.model import Target

    nodes = [row["sink"], *(one.partition(".")[2] for one in row.get("former", ()))]
    at = Target(*row["at"])
    with suppress(OSError):
        if left := sink_of(at.sink).newest(at, nodes):
            return f"told by the newest part there, {left}"
    return "told by the next part"


def _holds(app: App, row: Row) -> dict[str, Any] | str:
    """What stands in a target that is overwritten, as seen from here: ``iteration`` (0: nothing) and ``rows``."""
    from odibi_actors.kinds.registry import sink_of
    from odibi_actors.model import Target
    from odibi_actors.nodes.sinks.targets import understood

    at = Target(*row["at"])
    try:
        with understood(at):
            iteration, rows = sink_of(at.sink).holds(at, app.doors.to(at))
    except (ConflictError, OSError) as error:
        return f"unknown: {error}"
    return {"iteration": iteration, "rows": rows}


def _standing(row: Row) -> str:
    holds = row["holds"]
    if isinstance(holds, str):
        return f"holds: {holds}"
    said = f"what iteration {holds['iteration']} published, {plural(holds['rows'], 'row')}"
    return f"holds: {said if holds['iteration'] else 'nothing'}"


def _details(row: Row) -> list[Any]:
    by = f"by iteration {row['pinned_by']}" if row.get("pinned_by") else ""
    lines: list[Any] = [f"{row['pipeline']}.{row['sink']}: {row['mode']} to {row['target']}", f"owner: {row['owner']}"]
    if row.get("former"):
        lines.append(f"taken over from: {', '.join(row['former'])}")
    if row.get("keys"):
        newest = f"; of two rows the greater {row['version']} stays" if row.get("version") else ""
        lines.append(f"keys: {', '.join(row['keys'])}{newest}")
    if row.get("partition_by"):
        lines.append(
            f"folders: {', '.join(row['partition_by'])}; `odibi_actors.read_committed` reads what is committed"
        )
    if "holds" in row:
        lines.append(_standing(row))
    if row.get("parts"):
        span = f"iterations {row['first']} to {row['last']}" if row["parts"] > 1 else f"iteration {row['last']}"
        lines.append(
            f"published: {plural(row['parts'], 'part')}, {plural(row['rows'], 'row')}, in {span} of the history"
        )
    else:
        lines.append("published: nothing in the history" + (" under this name" if row.get("former") else ""))
    if (before := row.get("before")) and before["parts"]:
        told = f"{plural(before['parts'], 'part')}, {plural(before['rows'], 'row')}"
        lines.append(f"published under former names: {told}, in the history")
    if row.get("joined"):
        lines.append(f"joined: files up to iteration {row['joined']}, below which it is not rewound")
    lines.append(f"schema: {_schema(row)} {by}".rstrip())
    return [*lines, *(f"  {column}" for column in row.get("columns") or []), *changes(row)]


@sink.command(examples=["odibictl sink show delays.lake", "odibictl sink show delays.lake -o json"])
@click.argument("name", metavar="PIPELINE.NODE")
@lists
@pass_app
def show(app: App, name: str) -> None:
    """Show one sink: target, owner, schema, parts."""
    pipeline, node = _named(name)

    def fetch() -> dict[str, Any]:
        row = app.client().sink(pipeline, node)
        row["teller"] = _teller(row)
        holds = {"holds": _holds(app, row)} if row["mode"] == "overwrite" else {}
        return row | {"owner": _owner(app, row)} | holds

    emit(app, fetch, "sink", _details)


@sink.command(examples=["odibictl sink adopt delays.lake --dry-run", "odibictl sink adopt delays.lake --from old.lake"])
@click.argument("names", metavar="PIPELINE.NODE...", nargs=-1, required=True)
@click.option("--from", "from_", metavar="PIPELINE.NODE", default="", help="Who published there (else: the owner).")
@click.option("--read-again", is_flag=True, help="Also if rows of the other pipeline are appended twice.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@yes
@lists
@pass_app
def adopt(app: App, names: tuple[str, ...], from_: str, read_again: bool, dry_run: bool) -> None:
    """Let renamed or moved sinks go on with their targets.

    What the other sink of this project has published there stays, and belongs to this one: added to, overwritten, taken
    back and reset as if it had been its own. odibi.yaml is applied with it, as by `odibictl apply` (while nothing runs,
    too). Refused while the other sink is in odibi.yaml with that target, or something of it is on its way, of targets
    of another store, and where a pipeline would append again what another one has read: it keeps its name.
    """
    from odibi_actors.cli.project import load

    if from_ and len(names) > 1:
        raise click.UsageError("--from names the former sink of one: give the others in commands of their own")
    project, client = load(app), app.client()
    result = client.sink_adopt(*names, from_=from_, dry_run=True, read_again=read_again, project=project)
    if not dry_run and not all(row["already"] for row in result["adopted"]):
        listed = "; ".join(f"{_name(row)} {row['target']} from {row['from']}" for row in result["adopted"])
        app.confirm(f"Apply odibi.yaml, and take over: {listed}?")
        result = client.sink_adopt(*names, from_=from_, read_again=read_again, project=project)
    emit(app, lambda: result, "sink", lambda done: [line for row in done["adopted"] for line in _adopted(row, dry_run)])


def _adopted(row: Row, dry_run: bool) -> list[str]:
    said = "has taken" if row["already"] else "would take" if dry_run else "takes"
    lines = [f"{_name(row)} {said} over {row['target']} from {row['from']}"]
    lines += [f"iteration {number} goes on" for number in row.get("goes_on", ())]
    if again := row.get("planned_again"):
        lines.append(f"planned again, under numbers above those in the target: {', '.join(map(str, again))}")
    return lines


@sink.command(examples=["odibictl sink compact delays.lake --dry-run", "odibictl sink compact delays.lake --size 64MB"])
@click.argument("name", metavar="PIPELINE.NODE")
@click.option("--size", metavar="SIZE", default="128MB", help="Files of so many bytes are big enough; default 128MB.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@yes
@lists
@pass_app
def compact(app: App, name: str, size: str, dry_run: bool) -> None:
    """Join small files of a sink into big ones.

    Those of iterations that are over, of one partition and schema; on this host, beside whatever runs. Who reads what
    is committed (`odibi_actors.read_committed`) sees it as one step; who lists the folder sees rows twice for a moment.
    What is joined is not taken back: a rewind below it is refused. Run it again if it was interrupted.
    """
    from odibi_actors.units import parse_size

    pipeline, node = _named(name)
    try:
        limit = parse_size(size)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--size") from None
    client = app.client()
    result = client.sink_compact(pipeline, node, limit, dry_run=True)
    if not dry_run and result["joined"]:
        app.confirm(f"Join {plural(result['joined'], 'file')} of {name}, and never rewind it below {result['upto']}?")
    if not dry_run:
        result = client.sink_compact(pipeline, node, limit)
    emit(app, lambda: result, "sink", lambda row: [_joins(row)])


def _joins(row: Row) -> str:
    if not row["joined"]:
        return f"{_name(row)}: there is nothing to be joined up to iteration {row['upto']}"
    said = "would become" if row["dry_run"] else "have become"
    files, into = plural(row["joined"], "file"), plural(row["into"], "file")
    upto = f"up to iteration {row['upto']}"
    return f"{_name(row)}: {files} of {row['bytes']:,} bytes {said} {into}; {row['kept']} stay; {upto}"


@sink.command(examples=["odibictl sink repin delays.lake", "odibictl sink repin delays.lake --dry-run"])
@click.argument("name", metavar="PIPELINE.NODE")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@lists
@pass_app
def repin(app: App, name: str, dry_run: bool) -> None:
    """Let the next part of a sink bring other columns.

    Or begin a target that is gone for good: what was in it is published again by a rewind only. What is published stays
    as it is; columns that stay keep their types. From the next part on its columns hold: rows with the former ones (of
    files that come later, of dead letters, of a retry) are refused, unless the sink evolves. A type changes only at
    another target, or after `odibictl reset PIPELINE --targets`.
    """
    pipeline, node = _named(name)
    said = "would tell" if dry_run else "tells"
    emit(
        app,
        lambda: app.client().sink_repin(pipeline, node, dry_run),
        "sink",
        lambda row: [f"{row['pipeline']}.{row['sink']}: the next part {said} its columns"],
    )
    errors.message(
        "the columns of that part hold from then on: rows with the former ones, of files that come later, dead letters "
        "or a retry, are refused (unless the sink says `on_schema_change: evolve`); what was in a target that is gone "
        f"is not published again by it: `odibictl pipeline rewind {pipeline} --to 0` does that"
    )
    if not dry_run:
        errors.message(
            f"an iteration that failed for it: `odibictl iteration retry {pipeline} N`; what was set aside for it: "
            f"`odibictl deadletter replay ID` (`odibictl deadletter list {pipeline}`), or, while nothing runs, "
            f"`odibictl run {pipeline} --replay all`"
        )
