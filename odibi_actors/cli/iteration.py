"""``odibictl iteration``: the micro-batches of a pipeline, from plan to commit."""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli import errors
from odibi_actors.cli.applied import warn_of_disk
from odibi_actors.cli.base import App, group, lists, pass_app, yes
from odibi_actors.cli.names import pipeline_argument
from odibi_actors.cli.node import COLUMNS as NODES
from odibi_actors.cli.node import overlay
from odibi_actors.cli.output import Column, Row, ago, count, emit, fields, kept, size, span, table
from odibi_actors.cli.paging import ends, limited, pages
from odibi_actors.cli.pauses import Pauses
from odibi_actors.errors import ConflictError
from odibi_actors.runtime.visible import named
from odibi_actors.units import plural

if TYPE_CHECKING:
    from rich.console import RenderableType

    from odibi_actors.client import Client

STATES = ("planned", "running", "prepared", "committed", "failed", "blocked", "dead_lettered", "cancelled", "rewound")
STUCK = ("failed", "blocked", "dead_lettered", "cancelled", "rewound")
"""States that no wait for another one should outlast: nothing but an operator leads out of them."""

WAITED = 5
"""Iterations that a wait for all of them names."""

iteration = group("iteration", "Micro-batches of a pipeline: list, wait, retry, cancel.")


def _took(row: Row) -> str:
    start, end = row.get("planned_at"), row.get("finished_at")
    return span(end - start) if start and end else "-"


def _positions(row: Row) -> object:
    """The number of positions: the list has a number, the details have them by node."""
    value = row.get("positions")
    if isinstance(value, dict):  # with its references, which are not counted
        return row.get("files", sum(len(part) for part in value.values()))
    return value


def _state(row: Row) -> object:
    """Its state; of one that a stuck one holds back, that it waits for that; of one that nobody works at, that."""
    if row.get("interrupted"):
        return "interrupted"
    return f"waits for {row['waits_for']}" if row.get("waits_for") else row.get("state")


COLUMNS = (
    Column("ITERATION", "iteration", right=True),
    Column("STATE", _state),
    Column("LANE", "lane"),
    Column("POSITIONS", _positions, right=True),
    Column("DEAD", lambda row: row.get("dead_letters") or None, right=True),
    Column("ROWS READ", lambda row: count(row.get("rows_read")), right=True),
    Column("PLANNED", lambda row: ago(row.get("planned_at")), right=True),
    Column("TOOK", _took, right=True),
    Column("VERSION", "version", right=True),
    Column("RUN", "run", name=True),
    Column("ERROR", "error", short=True),
)
POSITIONS = (
    Column("NODE", "node", whole=True),
    Column("POSITION", "identity", name=True),
    Column("SIZE", lambda row: size(row.get("size")), right=True),
)
SINKS = (
    Column("SINK", "node", whole=True),
    Column("TARGET", "target"),
    Column("ROWS", lambda row: count(row.get("rows")), right=True),
    Column("DIGEST", "digest"),
)
TWINS = (
    Column("NODE", "node", whole=True),
    Column("POSITION", "identity", name=True),
    Column("SAME BYTES AS", "same_as", name=True),
    Column("READ IN", lambda row: f"{row['iteration']}, set aside" if row.get("aside") else str(row["iteration"])),
)
REVISED = (
    Column("NODE", "node", whole=True),
    Column("DEAD-LETTERED POSITION", "identity", name=True),
    Column("WHY", "message"),
)


_TRY = ("node", "kind", "message", "traceback", "position", "line", "column", "value")
"""What two failed tries have in common when they failed in the same way."""


def _tries(errors: list[Row]) -> list[tuple[Row, int]]:
    """The newest of the tries that failed in the same way one after the other, and how many there were."""
    found: list[tuple[Row, int]] = []
    for error in errors:
        same = bool(found) and all(found[-1][0].get(key) == error.get(key) for key in _TRY)
        if same:
            found[-1] = (error, found[-1][1] + 1)
        else:
            found.append((error, 1))
    return found


def _error(row: Row, times: int) -> list[RenderableType]:
    """Failed attempts, so many in the same way: where, what, and the traceback as it was."""
    from rich.text import Text

    message = str(row.get("message") or "")
    placed = bool(row.get("position")) and message.startswith(named(row["position"]))
    where = [named(row["position"])] if row.get("position") and not placed else []
    where += [f"{word} {row[word]}" for word in ("line", "column") if row.get(word) and not placed]
    where += [f"value {row['value']!r}"] if row.get("value") and not (placed and row["value"] in message) else []
    said = [ago(row.get("at"))]
    said += [f"attempt {row['used']}"] if row.get("used") else []  # not all count: a lost input, a locked target
    said += [f"the last of {times} that failed like this"] if times > 1 else []
    head = f"{row.get('node')}: {row.get('kind')} ({', '.join(said)})"
    lines: list[RenderableType] = ["", Text(head, style="bold red")]
    if where:
        lines.append(Text("  " + ", ".join(where)))
    lines.append(Text(indent(message, "  ")))
    if row.get("traceback"):
        lines.append(Text(indent(str(row["traceback"]).rstrip(), "  "), style="dim"))
    return lines


def details(result: dict[str, Any]) -> list[RenderableType]:
    """One iteration."""
    tries = _tries(result.get("errors") or [])
    below = {error.get("message"): f"{error.get('kind')}, see below" for error, _ in tries}
    nodes = [{**node, "error": below.get(node.get("error"), node.get("error"))} for node in result.get("nodes") or ()]
    error = str(result.get("error") or "")
    if error in below:
        result = {**result, "error": f"at {_node_of(tries, error)}, see below"}
    head = [(column.heading.lower(), column.cell(result)) for column in COLUMNS]
    head.insert(0, ("pipeline", str(result.get("pipeline"))))
    if again := result.get("planned_as"):
        head.append(("planned again as", ", ".join(map(str, again))))
    if result.get("interrupted"):
        head.append(("goes on with", "the next `odibictl run` or `up`; nothing is lost"))
    by_node = result.get("positions")
    positions = (
        [{"node": node, **position} for node, part in by_node.items() for position in part]
        if isinstance(by_node, dict)
        else []
    )
    sinks = [{"node": node, **sink} for node, sink in (result.get("sinks") or {}).items()]
    parts: list[RenderableType] = [fields(head), "", table(nodes, NODES, "no node is done")]
    lists = ((positions, POSITIONS), (result.get("twins"), TWINS), (sinks, SINKS), (result.get("revised"), REVISED))
    for rows, columns in lists:
        if rows:
            parts += ["", table(rows, columns)]
    for node, more in (result.get("more") or {}).items():
        shown = len(result["positions"][node])
        parts.append(ends(shown, shown + more, f"the other positions of {node} are not listed"))
    for failed, times in tries:
        parts += _error(failed, times)
    return parts


def _node_of(tries: list[tuple[Row, int]], message: str) -> object:
    """The node that has failed so."""
    return next(error.get("node") for error, _ in tries if error.get("message") == message)


@iteration.command(
    "list",
    examples=[
        "odibictl iteration list delays",
        "odibictl iteration list delays --state failed -o name",
        "odibictl iteration list delays --watch",
    ],
)
@pipeline_argument()
@limited()
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("-w", "--watch", is_flag=True, help="Show again every second, until Ctrl-C.")
@lists
@pass_app
def list_(app: App, pipeline: str, limit: int | None, state: str | None, watch: bool) -> None:
    """List the iterations of a pipeline, newest first."""
    client = app.client()
    emit(
        app,
        lambda: pages(lambda n, before: client.iterations(pipeline, n, state, before), limit),
        "iteration",
        lambda result: [table(result["items"], COLUMNS, kept(f"{pipeline} has no such iterations", result))],
        watch,
    )


@iteration.command(examples=["odibictl iteration show delays 12", "odibictl iteration show delays 12 -o json"])
@pipeline_argument()
@click.argument("number", metavar="N", type=click.IntRange(1))
@lists
@pass_app
def show(app: App, pipeline: str, number: int) -> None:
    """Show one iteration: positions, nodes, sinks, errors."""
    client = app.client()
    result = client.iteration(pipeline, number)
    overlay(client, pipeline, number, result.get("nodes") or [])
    emit(app, lambda: result, "iteration", details)


def _states(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    wanted = tuple(part.strip() for part in value.split(",") if part.strip())
    unknown = [state for state in wanted if state not in STATES]
    if unknown or not wanted:
        raise click.BadParameter(f"{value!r}: choose among {', '.join(STATES)}, separated by commas", ctx, param)
    return wanted


@iteration.command(
    examples=[
        "odibictl iteration wait delays --timeout 5m        # until there is nothing left to do",
        "odibictl iteration wait delays 12 --for committed,failed",
    ]
)
@pipeline_argument()
@click.argument("number", metavar="[N]", type=click.IntRange(1), required=False)
@click.option("--for", "states", default="committed", show_default=True, callback=_states, metavar="STATES",
              help="States to wait for, separated by commas.")  # fmt: skip
@lists
@pass_app
def wait(app: App, pipeline: str, number: int | None, states: tuple[str, ...]) -> None:
    """Wait until an iteration, or the whole pipeline, is done.

    Until iteration N is in one of STATES; without N, until nothing is offered and no iteration is unfinished.

    Exit 5 when it ended in another state (failed, blocked, dead_lettered, cancelled), or files of it were set aside;
    without N, when that is so of any iteration that ended since the call, or of the last one if none did. 124 after
    --timeout. An iteration that was planned again under another number, as a file had changed, is followed there; the
    answer says which.
    """
    wait_and_tell(app, pipeline, number, states)


def wait_and_tell(app: App, pipeline: str, number: int | None = None, states: tuple[str, ...] = ("committed",)) -> None:
    """Wait, print how it ended, and exit with 5 unless that is what was asked for."""
    client = app.client()
    pauses = Pauses(client, pipeline)
    row = pauses.look()
    if number is None and not app.rested:  # else nobody works at it, which the wait says
        errors.message(_waited_for(row or client.pipeline(pipeline)))
    client.on_wait = pauses.look
    result = client.wait(pipeline, number, [*states, *(state for state in STUCK if state not in states)], app.timeout)
    result = {"pipeline": pipeline, "iteration": number, **result}
    state = str(result.get("state", ""))
    emit(app, lambda: result, "iteration", lambda row: [_sentence(row)])
    aside = bool(result.get("files")) and state == "committed"
    if aside or (state in STUCK and state not in states):
        one = f"odibictl iteration show {pipeline} {result['iteration']}"
        see = f"odibictl deadletter list {pipeline}" if aside or state == "dead_lettered" else one
        errors.message(f"error: not all is committed; see `{see}`", style="red")
        raise click.exceptions.Exit(5)


def _waited_for(row: Row) -> str:
    """What a wait without a number waits for, as of now."""
    name, numbers = row.get("pipeline"), [str(one["iteration"]) for one in row.get("iterations") or ()]
    if numbers:
        named = ", ".join(numbers[:WAITED]) + (f" and {len(numbers) - WAITED} more" if len(numbers) > WAITED else "")
        said = f"iteration{'s' if len(numbers) > 1 else ''} {named}"
    else:
        said = "what comes of what is there"
    offered = row.get("offered") or 0
    if not numbers and not offered:
        told = "; what is told is the end of the last iteration" if row.get("last_iteration", 1) else ""
        return f"{name}: nothing is in flight{told}"
    return f"{name}: waiting for {said}" + (f", and {plural(offered, 'file')} not planned yet" if offered else "")


def _sentence(row: Row) -> str:
    """``p 4: committed, 1 file set aside``."""
    if not row.get("iteration"):
        return f"{row['pipeline']}: {row.get('state') or 'nothing has run yet, and nothing is left to do'}"
    files = row.get("files")
    said = str(row.get("state"))
    if files:  # those of an iteration that was set aside as a whole are not among them
        said += (
            f", {plural(files, 'file')} set aside"
            if said != "dead_lettered"
            else f", {files} more {'file' if files == 1 else 'files'} set aside"
        )
    others = {state: number for state, number in (row.get("ended") or {}).items() if state != row["state"]}
    more = ", ".join(f"{number} {state}" for state, number in others.items())
    told = f"{row['pipeline']} {row['iteration']}: {said}" + (f" (besides {more})" if more else "")
    if not row.get("planned_again"):
        return told
    now = ", ".join(map(str, row["as"]))
    return f"{told} ({row['planned_again']} was planned again" + (f" as {now})" if now else "; its files are gone)")


@iteration.command(examples=["odibictl iteration retry delays 12"])
@pipeline_argument()
@click.argument("number", metavar="N", type=click.IntRange(1))
@pass_app
def retry(app: App, pipeline: str, number: int) -> None:
    """Run a failed iteration, or publish a blocked one, again.

    Nodes that are acknowledged are not run again; attempts count from 0. Where a file could not be read (malformed,
    changed, gone), or was written again after it was read, the iteration and those behind it are planned again under
    new numbers, with the files as they are now: fixed where they lie, replaced, or taken away. Of several that have
    failed each wants its own retry.
    """
    client = app.client()
    warn_of_disk(app, client, [pipeline])
    result = client.retry(pipeline, number)
    for line in _retried(pipeline, number, result):
        errors.message(line)


def _open_again(letter: int) -> str:
    return f"dead letter {letter} is open again: `odibictl deadletter show {letter}` says what to do about it"


def _retried(pipeline: str, number: int, result: Row) -> list[str]:
    """What a retry has set off."""
    if result.get("version"):
        return [f"{pipeline} {number}: {result['state']}: it has gone on by itself with version {result['version']}"]
    if not result.get("planned_again"):
        lines = [f"{pipeline} {number}: retrying; `odibictl iteration wait {pipeline} {number}` waits for its end"]
        if result.get("stuck"):
            lines.append(f"{pipeline} {result['stuck']} is stuck too, and wants its own retry")
        return lines
    behind = len(result["planned_again"]) - 1
    also = f", with {plural(behind, 'iteration')} behind it" if behind else ""
    under = f"a number above {result['above']}" if "above" in result else "a new number"
    lines = [
        f"{pipeline} {number}: planned again as its files are now, under {under}{also}; a file that is gone is not in "
        f"it; `odibictl iteration wait {pipeline}` waits for the end"
    ]
    for letter in result.get("letters") or ():
        lines.append(
            f"dead letter {letter} is open again: `odibictl deadletter show {letter}` says what to do about it"
        )
    return lines


@iteration.command(examples=["odibictl iteration cancel delays 12", "odibictl iteration cancel delays 12 --yes"])
@pipeline_argument()
@click.argument("number", metavar="N", type=click.IntRange(1))
@yes
@click.option("--dry-run", is_flag=True, help="Only say which iterations would be cancelled.")
@lists
@pass_app
def cancel(app: App, pipeline: str, number: int, dry_run: bool) -> None:
    """Void iteration N and all later ones that are not prepared.

    Their positions are released and will be planned again, under new numbers, at once or by the next run: nothing is
    lost, and nothing is left out. To look first, `odibictl pipeline pause`; to leave a file out take it away, or set it
    aside (`on_error: dead_letter`) and discard the dead letter.
    """
    client = app.client()
    shown = client.pipeline(pipeline)
    voided = _cancellable(client, shown, pipeline, number)
    if dry_run:
        emit(app, lambda: {"items": voided}, "iteration", lambda result: [table(result["items"], UNPREPARED)])
        return
    later = [str(row["iteration"]) for row in voided if row["iteration"] != number]
    app.confirm(f"Cancel iteration {number} of {pipeline}" + (f", and with it {', '.join(later)}?" if later else "?"))
    result = {"pipeline": pipeline, "iteration": number, **client.cancel(pipeline, number)}
    emit(app, lambda: result, "iteration", lambda row: [f"{pipeline} {number}: cancelled"])
    for line in _cancelled(shown, result):
        errors.message(line)


@iteration.command(
    examples=[
        "odibictl iteration abandon delays 12 --sink mart_delays --dry-run",
        "odibictl iteration abandon delays 12 --sink mart_delays --yes",
    ]
)
@pipeline_argument()
@click.argument("number", metavar="N", type=click.IntRange(1))
@click.option("--sink", required=True, help="The blocked sink (a write node).")
@yes
@click.option("--leave", is_flag=True, help="It was given up, and cannot be thrown away: leave there what there is.")
@click.option("--dry-run", is_flag=True, help="Only say whether it can be abandoned.")
@lists
@pass_app
def abandon(app: App, pipeline: str, number: int, sink: str, leave: bool, dry_run: bool) -> None:
    """Give up a blocked sink of iteration N.

    Nothing of N is published there; its other sinks are not touched, and later iterations go on. Cannot be undone: what
    N would have published there is missing for good. What it may have published before somebody died is thrown away;
    where that fails the iteration is blocked until it can be, or until `--leave` says that it stays.
    """
    client = app.client()
    result = client.abandon(pipeline, number, sink, dry_run=True, leave=leave)
    if not dry_run:
        stays = ", and leave there what it has published" if leave else ""
        app.confirm(f"Give up what iteration {number} of {pipeline} would publish to {sink}{stays}, for good?")
        result = client.abandon(pipeline, number, sink, leave=leave)
    said = "can be abandoned" if dry_run else "abandoned"
    emit(app, lambda: result, "iteration", lambda row: [f"{pipeline} {number}: sink {sink} {said}"])


def _cancelled(shown: Row, result: Row) -> list[str]:
    """What becomes of the files."""
    letters = result.get("letters") or ()
    lines = [
        f"dead letter {one} is open again: `odibictl deadletter show {one}` says what to do about it" for one in letters
    ]
    if len(letters) < len(result["cancelled"]):
        lines.append(
            f"files are not left out by this: they are planned again {_planned_again(shown)}. To leave one out take it "
            "away, or set it aside (`on_error: dead_letter`) and discard its letter (`odibictl deadletter discard ID`)"
        )
    return lines


def _planned_again(shown: Row) -> str:
    """When the files of what was cancelled are planned, by the pipeline's row."""
    name = shown.get("pipeline")
    if shown.get("paused") or shown.get("state") in ("draining", "drained"):
        return f"after `odibictl pipeline resume {name}`"
    if shown.get("trigger", "data") != "data":
        return "by the next run"
    return f"as soon as the pipeline goes on (which `odibictl pipeline pause {name}` prevents)"


UNPREPARED = (Column("ITERATION", "iteration", right=True), Column("STATE", "state"))


def _cancellable(client: Client, shown: Row, pipeline: str, number: int) -> list[dict[str, Any]]:
    """What a cancel would void. Raises ConflictError when the broker would refuse it, so that nobody is asked first."""
    from odibi_actors.model import TERMINAL  # msgspec, which --help does not pay for
    from odibi_actors.model import UNPREPARED as CANCELLABLE

    unfinished = {row["iteration"]: row for row in shown.get("iterations", [])}
    row = unfinished.get(number) or client.iteration(pipeline, number)
    if number not in unfinished and row.get("state") in TERMINAL:
        raise ConflictError(f"iteration {number} of {pipeline} is {row['state']}: there is nothing to cancel")
    behind = [one for one in unfinished.values() if one["iteration"] >= number and one.get("lane") == row.get("lane")]
    for one in behind:
        if one["state"] not in CANCELLABLE:
            raise ConflictError(
                f"iteration {one['iteration']} of {pipeline} is {one['state']}: it only rolls forward now"
            )
    return [{"iteration": one["iteration"], "state": one["state"]} for one in behind]
