"""``odibictl deadletter``: what was given up, and why; taken up again, or given up for good."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli import errors
from odibi_actors.cli.applied import warn_of_disk
from odibi_actors.cli.base import App, group, lists, pass_app, yes
from odibi_actors.cli.names import ALL, complete_pipeline, letters, pipeline_argument
from odibi_actors.cli.output import Column, ago, emit, fields, size, table
from odibi_actors.cli.paging import limited, pages
from odibi_actors.cli.sink import overwriting
from odibi_actors.errors import OdibiError, UnreachableError
from odibi_actors.runtime.visible import named
from odibi_actors.units import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import RenderableType

    from odibi_actors.client import Client


deadletter = group("deadletter", "Dead letters: what was given up, and why; take it up again.")


def _position(row: Mapping[str, Any]) -> str:
    """What is to blame, or all that was set aside where nothing is known to be."""
    if blamed := row.get("position"):
        return str(blamed)
    more = int(row.get("files") or 1) - 1
    return f"{row.get('first') or ''}{f' and {more} more' if more else ''}"


COLUMNS = (
    Column("ID", "id", right=True, whole=True),
    Column("PIPELINE", "pipeline"),
    Column("ITERATION", "iteration", right=True),
    Column("NODE", "node", whole=True),
    Column("POSITION", _position, name=True),
    Column("FILES", "files", right=True),
    Column("KIND", "kind"),
    Column("WHEN", lambda row: ago(row.get("at")), right=True),
    Column("STATE", lambda row: f"replaying, #{row['replay']}" if row.get("state") == "replaying" else "open"),
    Column("WHY", "message", short=True),
)


@deadletter.command("list", examples=["odibictl deadletter list", "odibictl deadletter list delays -o json"])
@pipeline_argument(required=False)
@limited()
@lists
@pass_app
def list_(app: App, pipeline: str | None, limit: int | None) -> None:
    """List dead letters, of one pipeline or all.

    FILES counts those of its sources that were set aside with it, references left out, which every iteration reads.
    """
    client = app.client()
    emit(
        app,
        lambda: pages(lambda n, before: client.dead_letters(pipeline, n, before), limit),
        "id",
        lambda result: [table(result["items"], COLUMNS, "no dead letters"), *_remedies(result)],
    )


def _remedies(result: dict[str, Any]) -> list[RenderableType]:
    """What is to be done about those that are open, in the order in which they are listed."""
    from odibi_actors.kinds.letters import remedies  # not at load time: it brings msgspec along

    found: dict[str, list[dict[str, Any]]] = {}
    for row in result["items"]:
        found.setdefault(row["pipeline"], []).append(row)
    told = [f"{name} {which}: {text}" for name, rows in found.items() for which, text in remedies(rows).items()]
    return ["", *told] if told else []


FILES = (
    Column("SOURCE", "source"),
    Column("FILE", "identity", name=True),
    Column("SIZE", lambda row: size(row["size"]), right=True),
)


def _of(result: dict[str, Any], source: str) -> str:
    """The source of a file; of one that does not lie in the letter, and was only read with what does, that."""
    consumed = result.get("consumed")
    return source if consumed is None or source in consumed else f"{source} (reference)"


def details(result: dict[str, Any]) -> list[RenderableType]:
    """One dead letter."""
    names = ("id", "pipeline", "iteration", "node", "state", "kind", "message", "position", "line", "column", "value")
    files = [{"source": _of(result, source), **one} for source, some in result["positions"].items() for one in some]
    values = {name: result.get(name) or None for name in names}
    if (value := values["value"]) and (value != value.strip() or len(value.splitlines()) > 1):
        values["value"] = json.dumps(value, ensure_ascii=False)  # else nobody sees its blanks and line ends
    parts: list[RenderableType] = [fields(list(values.items()))]
    if result.get("traceback"):
        parts += ["", str(result["traceback"]).rstrip()]
    if result.get("remedy") and result["state"] == "open":
        parts += ["", result["remedy"]]
    return [*parts, "", table(files, FILES, "no files")]


@deadletter.command(examples=["odibictl deadletter show 3", "odibictl deadletter show 3 -o json"])
@click.argument("letter", metavar="ID", type=click.IntRange(1))
@lists
@pass_app
def show(app: App, letter: int) -> None:
    """Show one dead letter: why it was given up, and its files."""
    emit(app, lambda: app.client().dead_letter(letter), "id", details)


NAMED = 8
"""Files of a letter that are named."""

MANY = 20
"""Letters that a question names one by one; of more it has the number."""


LETTERS = click.argument("letters", metavar="ID...|all", nargs=-1, required=True, callback=letters)
OF = click.option("--pipeline", metavar="PIPELINE", shell_complete=complete_pipeline, help="Of `all`: only its own.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Only say what would happen.")


def _chosen(client: Client, letters: Sequence[int | str], pipeline: str | None) -> list[dict[str, Any]]:
    """The letters that are meant, by their ``id``; ``all``: the rows of those that are open."""
    if ALL not in letters:
        if pipeline is not None:
            raise click.UsageError("--pipeline goes with `all`: a letter has its own")
        return [{"id": one} for one in letters]
    found = pages(lambda n, before: client.dead_letters(pipeline, n, before), None)["items"]
    chosen = [row for row in found if row["state"] == "open"]
    if not chosen:
        errors.message(f"no dead letter{f' of {pipeline}' if pipeline else ''} is open")
    return chosen


def _each(
    letters: Sequence[int], call: Callable[[int, bool], dict[str, Any]], dry_run: bool = False
) -> list[dict[str, Any]]:
    """The rows of a verb for each letter once, in ascending order, as they arrived. Who calls it asks about all before
    the first one is touched; if one is refused meanwhile, the error says what was done by then."""
    wanted = sorted(dict.fromkeys(letters))
    rows: list[dict[str, Any]] = []
    for letter in wanted:
        try:
            rows.append(call(letter, dry_run))
        except OdibiError:
            if rows and not dry_run:
                done = ", ".join(str(row["letter"]) for row in rows)
                errors.message(f"done before the error: {done}; not done: {', '.join(map(str, wanted[len(rows) :]))}")
            raise
    return rows


@deadletter.command(
    examples=[
        "odibictl deadletter replay 3",
        "odibictl deadletter replay 2,4,5",
        "odibictl deadletter replay all --pipeline delays --yes",
    ]
)
@LETTERS
@OF
@yes
@DRY_RUN
@lists
@pass_app
def replay(app: App, letters: Sequence[int | str], pipeline: str | None, dry_run: bool) -> None:
    """Take dead letters up again, each in a new iteration.

    Several are taken up in ascending order, `all` once they are counted and you agree. Their files are read as they are
    now, so fix them first. A letter goes when its iteration commits; when that fails again, a new one takes its place.
    """
    client = app.client()
    chosen = _chosen(client, letters, pipeline)
    wanted = [row["id"] for row in chosen]
    if chosen and app.rested:
        runs = " and ".join(
            f"`odibictl run {name} --replay all`" for name in sorted({row["pipeline"] for row in chosen})
        )
        raise UnreachableError(f"{runs} takes them up; `odibictl up` starts a system")
    if ALL in letters:
        warn_of_disk(app, client, (row["pipeline"] for row in chosen))
        if wanted and not dry_run:
            app.confirm(f"Take up {plural(len(wanted), 'dead letter')} again?")
    rows = _each(wanted, client.replay, dry_run=True)
    if ALL not in letters:
        warn_of_disk(app, client, (row["pipeline"] for row in rows))
    if not dry_run:
        rows = _each(wanted, client.replay)
    else:  # each is asked about alone, as if it were the only one
        before: dict[str, int] = {}
        for row in rows:
            if not row.get("note"):
                row["iteration"] += before.get(row["pipeline"], 0)
                before[row["pipeline"]] = before.get(row["pipeline"], 0) + 1
    said = "would be" if dry_run else "is"
    emit(
        app,
        lambda: {"items": rows},
        "iteration",
        lambda result: [f"{row['letter']}: {said} iteration {row['iteration']} of {row['pipeline']}" for row in rows],
    )
    for note in overwriting(client, sorted({row["pipeline"] for row in rows})):
        errors.message(note)
    if not dry_run and len(rows) == 1:
        row = rows[0]
        errors.message(f"`odibictl iteration wait {row['pipeline']} {row['iteration']}` waits for its end")


@deadletter.command(
    examples=["odibictl deadletter discard 3", "odibictl deadletter discard all --pipeline delays --dry-run"]
)
@LETTERS
@OF
@yes
@DRY_RUN
@lists
@pass_app
def discard(app: App, letters: Sequence[int | str], pipeline: str | None, dry_run: bool) -> None:
    """Give dead letters up for good, with all of their files.

    A letter may hold good files beside the one at fault, if they were in an iteration that could not do without it:
    `--dry-run`, and the question, name them. They count as read: another one under the same name is not taken, and
    `status` tells of it.
    """
    client = app.client()
    wanted = [row["id"] for row in _chosen(client, letters, pipeline)]
    rows = _each(wanted, client.discard, dry_run=True)
    if not dry_run and rows:
        app.confirm(f"Give up {_named(rows)} for good (but for a rewind)?")
        rows = _each(wanted, client.discard)
    said = "would be discarded" if dry_run else "discarded"
    lines = [f"{row['letter']}: {said}: {_files(row)}" for row in rows]
    emit(app, lambda: {"items": rows}, "letter", lambda result: lines)


def _named(rows: Sequence[dict[str, Any]]) -> str:
    """The letters of a question, each with its files; of very many their number."""
    if len(rows) > MANY:
        files = sum(len(row["files"]) for row in rows)
        return f"{plural(len(rows), 'dead letter')}, with {plural(files, 'file')}"
    letters = "; ".join(f"{row['letter']} ({_files(row)})" for row in rows)
    return f"dead letter{'s' if len(rows) > 1 else ''} {letters}"


def _files(row: dict[str, Any]) -> str:
    """The files of a letter, that at fault first."""
    several = len({one["source"] for one in row["files"]}) > 1
    names = [named(one["identity"]) + f" of {one['source']}" * several for one in row["files"]]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}" if names else "no files"
