"""``odibictl pipeline``: what runs, and what an operator may ask of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli import backfill, errors
from odibi_actors.cli.applied import warn_of_disk
from odibi_actors.cli.base import App, group, lists, pass_app, yes
from odibi_actors.cli.iteration import wait_and_tell
from odibi_actors.cli.names import PARAM, pipeline_argument
from odibi_actors.cli.output import Column, Row, ago, count, emit, fields, kept, span, table
from odibi_actors.cli.paging import limited, pages
from odibi_actors.cli.pauses import Pauses
from odibi_actors.cli.sink import original
from odibi_actors.errors import ConflictError
from odibi_actors.runtime.visible import named
from odibi_actors.units import plural

if TYPE_CHECKING:
    from rich.console import RenderableType

pipeline = group("pipeline", "Pipelines: list, show, trigger, backfill, pause, rewind.")


def last_commit(row: Row) -> str:
    """The newest committed iteration, as ``#12``."""
    return f"#{row['last_committed']}" if row.get("last_committed") else "-"


def state(row: Row) -> str:
    """The state, and that it is paused where it is failed or blocked besides."""
    from odibi_actors.client import state_of  # not at load time: it brings ZeroMQ along

    return state_of(row)


COLUMNS = (
    Column("PIPELINE", "pipeline", whole=True),
    Column("STATE", state),
    Column("TRIGGER", "trigger"),
    Column("COMMITTED", lambda row: count(row.get("committed")), right=True),
    Column("IN FLIGHT", lambda row: count(row.get("in_flight")), right=True),
    Column("OFFERED", lambda row: count(row.get("offered")), right=True),
    Column("LAST COMMIT", last_commit, right=True),
    Column("VERSION", "version", right=True),
    Column("DELIVERY", "delivery"),
)
NODES = (
    Column("NODE", "node", whole=True),
    Column("KIND", "kind"),
    Column("INPUTS", lambda row: ", ".join(row.get("inputs") or [])),
)
SOURCES = (
    Column("SOURCE", "source"),
    Column("OFFERED", lambda row: count(row.get("offered")), right=True),
    Column("PROBLEMS", lambda row: "; ".join(row.get("problems") or [])),
)
UNFINISHED = (
    Column("ITERATION", "iteration", right=True),
    Column("STATE", "state"),
    Column("LANE", "lane"),
    Column("WAITS FOR", lambda row: f"#{row['waits_for']}" if row.get("waits_for") else None),
    Column("NODES", lambda row: ", ".join(f"{node}: {state}" for node, state in (row.get("nodes") or {}).items())),
)


_REMEDY = "`odibictl iteration "
"""In the words of a failure that say themselves what is to be done; a second remedy would be another one."""


def problems(rows: Sequence[Row]) -> list[RenderableType]:
    """The problems of pipelines, each with what fixes it."""
    from rich.text import Text

    lines: list[RenderableType] = []
    for row in rows:
        name = row.get("pipeline")
        for problem in row.get("problems") or []:
            lines.append(Text.assemble(("! ", "bold red"), (f"{name}: ", "bold"), str(problem).replace("\n", "\n  ")))
        if row.get("state") == "removed":
            told = f"    {name} is no longer in odibi.yaml: `odibictl reset {name}` forgets it, and leaves its targets"
            lines.append(Text(told, style="dim"))
        if number := row.get("stuck"):
            fix = f"; once fixed: `odibictl iteration retry {name} {number}`"
            own = any(f"iteration {number} " in one and _REMEDY in one for one in row.get("problems") or [])
            lines.append(Text(f"    `odibictl iteration show {name} {number}`{'' if own else fix}", style="dim"))
        if letters := row.get("dead_letters"):
            said = f"{plural(letters, 'dead letter')}: `odibictl deadletter list {name}`"
            lines.append(Text.assemble(("! ", "bold yellow"), (f"{name}: ", "bold"), said))
    return lines


def rows(result: dict[str, Any]) -> list[RenderableType]:
    """The list of pipelines, problems below."""
    items = result.get("items", [])
    return [table(items, COLUMNS, "no pipelines"), *problems(items)]


def details(result: dict[str, Any]) -> list[RenderableType]:
    """One pipeline."""
    head = [(column.heading.lower(), column.cell(result)) for column in COLUMNS]
    if result.get("run"):
        head.append(("run", result["run"]))
    parts: list[RenderableType] = [fields(head), "", table(result.get("nodes", []), NODES, "no nodes")]
    if result.get("sources"):
        parts += ["", table(result["sources"], SOURCES)]
    if result.get("iterations"):
        parts += ["", table(result["iterations"], UNFINISHED)]
    return [*parts, *problems([result])]


@pipeline.command("list", examples=["odibictl pipeline list", "odibictl pipeline list -o name"])
@lists
@pass_app
def list_(app: App) -> None:
    """List pipelines: state, committed, in flight, offered backlog."""
    emit(app, app.client().pipelines, "pipeline", rows)


@pipeline.command(examples=["odibictl pipeline show delays", "odibictl pipeline show delays -o json"])
@pipeline_argument()
@lists
@pass_app
def show(app: App, pipeline: str) -> None:
    """Show one pipeline: nodes, sources, unfinished iterations."""
    emit(app, lambda: app.client().pipeline(pipeline), "pipeline", details)


@pipeline.command(
    examples=[
        "odibictl pipeline trigger report",
        "odibictl pipeline trigger report --param day=2013-01-01 --param full=true",
        "odibictl pipeline trigger report --wait --timeout 10m",
    ]
)
@pipeline_argument()
@PARAM
@click.option("--wait", is_flag=True, help="Wait until the run has ended; exit 5 unless all of it was done.")
@lists
@pass_app
def trigger(app: App, pipeline: str, params: dict[str, Any], wait: bool) -> None:
    """Start a run over everything discovered by now; print its id.

    Its nodes get the parameters as `context.params`. A pipeline that follows its data has no runs: its sources look
    for data at once, and --wait waits as `iteration wait` does.
    """
    client = app.client()
    warn_of_disk(app, client, [pipeline])
    started = client.trigger(pipeline, params)
    if started.get("note"):
        errors.message(f"{pipeline}: {started['note']}")
    if wait and not started["run"]:
        wait_and_tell(app, pipeline)
        return
    if not wait:
        emit(app, lambda: started, "run", lambda result: [result["run"]] if result["run"] else [])
        return
    errors.message(f"run {named(started['run'])} of {pipeline} started; waiting until it ends")
    Pauses(client, pipeline).watch()
    result = {**started, **client.wait_run(started["run"], app.timeout)}
    emit(app, lambda: result, "run", lambda row: [fields([("run", row["run"]), ("state", row.get("state"))])])
    from odibi_actors.model import ALL_DONE  # not at load time: it brings msgspec along

    if result.get("state") not in ALL_DONE:
        why = result.get("error") or f"see `odibictl pipeline runs {pipeline}`"
        errors.message(f"error: run {named(started['run'])}: {result.get('state')}: {why}", style="red")
        raise click.exceptions.Exit(5)


LIVE = "live"
"""The lane of a pipeline that follows its sources."""
RUN_STATES = ("active", "done", "no_data", "failed", "cancelled")


def _cause(row: Row) -> object:
    """What started it; of a backfill, its lane."""
    return row.get("lane") if row.get("lane") not in (None, "", LIVE) else row.get("cause")


RUNS = (
    Column("RUN", "run", whole=True, name=True),
    Column("STATE", "state"),
    Column("CAUSE", _cause),
    Column("STARTED", lambda row: ago(row.get("at")), right=True),
    Column("TOOK", lambda row: None if row.get("took") is None else span(row["took"]), right=True),
    Column("ITERATIONS", lambda row: count((row.get("planned") or 0) + (row.get("taken_up") or 0)), right=True),
    Column("ERROR", "error", short=True),
)


@pipeline.command(examples=["odibictl pipeline runs report", "odibictl pipeline runs report --state failed -o name"])
@pipeline_argument()
@click.option("--state", type=click.Choice(RUN_STATES), help="Only those in this state.")
@limited()
@click.option("-w", "--watch", is_flag=True, help="Show again every second, until Ctrl-C.")
@lists
@pass_app
def runs(app: App, pipeline: str, state: str | None, limit: int | None, watch: bool) -> None:
    """List the runs of a pipeline, newest first.

    A run is what a trigger, `odibictl run`, an occurrence of a schedule or a backfill has started; one that found
    nothing to do is `no_data`. ITERATIONS counts those that it planned and those that it took up: dead letters it was
    to replay, and what was unfinished when it began. The id of a scheduled run names schedule and occurrence.
    """
    client = app.client()
    emit(
        app,
        lambda: pages(lambda n, before: client.runs(pipeline, state, n, before), limit),
        "run",
        lambda result: [table(result["items"], RUNS, kept(_no_runs(pipeline, state), result))],
        watch,
    )


def _no_runs(pipeline: str, state: str | None) -> str:
    if state is not None:
        return f"{pipeline} has no runs that are {state}"
    return (
        f"{pipeline} has no runs; what `trigger: data` plans by itself belongs to none: `odibictl iteration list "
        f"{pipeline}`"
    )


pipeline.add_command(backfill.start)


@pipeline.command(examples=["odibictl pipeline pause delays"])
@pipeline_argument()
@pass_app
def pause(app: App, pipeline: str) -> None:
    """Plan and dispatch nothing more until resumed; survives restarts."""
    state = app.client().pause(pipeline).get("state", "paused")
    besides = f" ({state} besides)" if state in ("failed", "blocked") else ""
    errors.message(f"{pipeline}: paused{besides}; go on with `odibictl pipeline resume {pipeline}`")


@pipeline.command(examples=["odibictl pipeline resume delays"])
@pipeline_argument()
@pass_app
def resume(app: App, pipeline: str) -> None:
    """Go on after a pause or a drain."""
    errors.message(f"{pipeline}: {app.client().resume(pipeline).get('state', 'active')}")


@pipeline.command(examples=["odibictl pipeline drain delays --timeout 5m", "odibictl pipeline drain delays --no-wait"])
@pipeline_argument()
@click.option("--no-wait", is_flag=True, help="Return at once, while iterations are still being finished.")
@pass_app
def drain(app: App, pipeline: str, no_wait: bool) -> None:
    """Finish what is planned and take no more; a pause ends by it.

    Waits until that is done. Exit 5 when it cannot be done, and why: an iteration, of a backfill as well, failed or is
    blocked, or somebody paused or resumed the pipeline meanwhile.
    """
    result = app.client().drain(pipeline, not no_wait, app.timeout)
    go_on = f"go on with `odibictl pipeline resume {pipeline}`"
    if no_wait:
        errors.message(f"{pipeline}: {result.get('state')}; {go_on}")
        return
    if held := result.get("held"):
        errors.message(f"error: {pipeline} cannot drain: {held}; see `odibictl pipeline show {pipeline}`")
        raise click.exceptions.Exit(5)
    errors.message(f"{pipeline}: {result.get('state')}; {go_on}")


RETRACTIONS = (
    Column("SINK", "node", whole=True),
    Column("PUBLISHED TO", "folder"),
    Column("PARTS", lambda row: count(row.get("parts")), right=True),
    Column("WHAT HAPPENS", "action"),
)


def preview(result: dict[str, Any]) -> list[RenderableType]:
    """What a rewind would take back."""
    states = ", ".join(f"{number} {state}" for state, number in result["states"].items()) or "none"
    head = [
        ("back to", result["to"] or "the beginning"),
        ("iterations taken back", states),
        ("files read again", count(result["files"])),
    ]
    if names := result.get("without_state"):
        head.append(("begin without a state", ", ".join(names)))
    head += besides(result)
    return [fields(head), "", table(result["retractions"], RETRACTIONS, "nothing was published")]


def besides(result: dict[str, Any]) -> list[tuple[str, str]]:
    """What a rewind does beside taking back what was published: to dead letters, and to types that were learnt."""
    letters = result.get("letters", {})
    named = [
        ("dead letters open again", letters.get("open_again")),
        ("dead letters that go, their files are read again", letters.get("gone")),
    ]
    found = [(says, _numbers(some)) for says, some in named if some and some["count"]]
    if nodes := result.get("unpinned"):
        found.append(("learn columns and types again", ", ".join(nodes)))
    return found


def _numbers(some: dict[str, Any]) -> str:
    more = some["count"] - len(some["ids"])
    return ", ".join(map(str, some["ids"])) + (f" and {count(more)} more" if more else "")


def _goes_on(pipeline: str, result: dict[str, Any]) -> str:
    """What has its files planned again."""
    return (
        f"`odibictl run {pipeline}`, or `up`, goes on"
        if result.get("resumed")
        else f"`odibictl pipeline resume {pipeline}`"
    )


@pipeline.command(
    examples=["odibictl pipeline rewind delays --to 12 --dry-run", "odibictl pipeline rewind delays --to 0 --yes"]
)
@pipeline_argument()
@click.option(
    "--to", required=True, type=click.IntRange(0), metavar="N", help="The last iteration that stays; 0: none."
)
@yes
@click.option("--dry-run", is_flag=True, help="Only show what would be taken back.")
@lists
@pass_app
def rewind(app: App, pipeline: str, to: int, dry_run: bool) -> None:
    """Take a drained pipeline, or any at rest, back to iteration N.

    What later iterations appended to files is deleted; rows of an upsert, and what is overwritten, stay until they are
    replaced; rows that were deleted by key stay so; rows that were appended to a table cannot be taken back, and refuse
    it. Their input is planned again, under new numbers, after `odibictl pipeline resume`.
    """
    client = app.client()
    shown = client.rewind(pipeline, to, dry_run=True, timeout=app.timeout)
    for row in shown["retractions"]:
        if owner := original(app, row["at"]):
            row["action"] = f"stays: it belongs to {owner}, of which this is a copy"
    if dry_run:
        emit(app, lambda: shown, "pipeline", preview)
        if shown.get("refused"):
            errors.message(f"not as it is now: {shown['refused']}")
        return
    if shown.get("refused"):  # nobody is asked what cannot be done
        raise ConflictError(shown["refused"])
    number = sum(shown["states"].get(state, 0) for state in ("committed", "dead_lettered"))
    app.confirm(f"Take back {plural(number, 'iteration')} of {pipeline}, to {to or 'the beginning'}?")
    result = client.rewind(pipeline, to, timeout=app.timeout)
    names = shown.get("without_state") if to else None
    without = [f"begins without a state, as it had none then: {', '.join(names)}"] if names else []
    emit(
        app,
        lambda: result,
        "pipeline",
        lambda row: [
            f"{pipeline}: taken back to {to}; {_goes_on(pipeline, result)}",
            *(f"{says}: {some}" for says, some in besides(row)),
            *without,
        ],
    )
