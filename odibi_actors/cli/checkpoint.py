"""``odibictl checkpoint``: the store that holds the truth."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import click

from odibi_actors.cli import errors, locks
from odibi_actors.cli.base import App, group, lists, output_option, pass_app, yes
from odibi_actors.cli.output import Column, ago, count, emit, fields, size, span, table
from odibi_actors.errors import NotFoundError
from odibi_actors.units import plural

if TYPE_CHECKING:
    from rich.console import RenderableType

PROBLEMS = (Column("PROBLEM", "what"), Column("FIX", "fix"))

checkpoint = group("checkpoint", "The checkpoint store.")
checkpoint.aliases = {
    "list": "iteration list PIPELINE",
    "show": "node list PIPELINE N",
    "prune": "checkpoint stats (`history` in odibi.yaml says what is kept)",
}


TABLES = (
    Column("TABLE", "table"),
    Column("ROWS", lambda row: count(row["rows"]), right=True),
    Column("SIZE", lambda row: size(row["bytes"]), right=True),
    Column("COUNTS", lambda row: "history" if row["counts"] else "-"),
)


def _pruned(row: dict[str, Any] | None) -> str | None:
    if row is None:
        return None
    through = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["through"]))
    what = plural(row["iterations"], "iteration") if row["iterations"] else "runs and alerts"
    return f"{what} that ended by {through}; last {ago(row['at'])}"


def _figures(result: dict[str, Any]) -> list[RenderableType]:
    """Figures of the store, its tables, its history."""
    history, tables = result.get("history"), result.get("tables")
    plain = {key: value for key, value in result.items() if not isinstance(value, dict)} | (result.get("counts") or {})
    parts: list[RenderableType] = [fields([(k, count(v) if isinstance(v, int) else v) for k, v in plain.items()])]
    if tables:
        parts += ["", table([{"table": name, **row} for name, row in sorted(tables.items())], TABLES)]
    if history:
        rows = [
            ("history", span(history["history"])),
            ("history_size", f"{size(history['history_size'])}, of which {size(history['history_bytes'])} are taken"),
            ("oldest kept", ago(history["oldest"]) if history["oldest"] else None),
            ("pruned by history", _pruned(history["pruned_by_history"])),
            ("pruned by history_size", _pruned(history["pruned_by_history_size"])),
        ]
        parts += ["", fields(rows)]
    if logs := result.get("logs"):
        gone = [(name, f"read up to iteration {upto}: deleted from its log (`retain`)") for name, upto in logs.items()]
        parts += ["", fields(gone)]
    return parts


@checkpoint.command(examples=["odibictl checkpoint stats", "odibictl checkpoint stats -o json"])
@lists
@pass_app
def stats(app: App) -> None:
    """Show figures of the store: bytes by table, history, what went."""
    emit(
        app,
        app.client().checkpoint_stats,
        "store_id",
        _figures,
    )


@checkpoint.command(examples=["odibictl checkpoint verify", "odibictl checkpoint verify -o json"])
@output_option("table", "json", "jsonl", "yaml")
@pass_app
def verify(app: App) -> None:
    """Compare the store and its files with their digests.

    Each page and row of the database, its log, outputs and staged parts of what is under way, states, and what sinks
    have published. Works on a running system, and on one that is stopped. Exit 1 when there is a problem.
    """
    from odibi_actors.cli import verify as verification

    data_dir = app.data_dir
    if locks.holder(data_dir / "run" / "store.lock") is not None:
        report = verification.running(app.client().checkpoint_verify, data_dir / "spool", app.doors)
    elif (data_dir / "checkpoints.db").exists() or (data_dir / "checkpoints.db-seals").exists():
        report = verification.stopped(data_dir, app.root)
    else:
        raise NotFoundError(f"there is no checkpoint store in {data_dir}")
    empty = "no problem was found"
    emit(app, lambda: {"items": report.problems}, "what", lambda result: [table(result["items"], PROBLEMS, empty)])
    errors.message(
        f"{plural(report.pages, 'page')}, {plural(report.rows, 'row')}, {plural(report.files, 'file')} were looked at"
        + (f": {plural(len(report.problems), 'problem')}" if report.problems else "")
    )
    if report.problems:
        raise click.exceptions.Exit(1)


@checkpoint.command(examples=["odibictl checkpoint reseal", "odibictl checkpoint reseal --yes"])
@yes
@pass_app
def reseal(app: App) -> None:
    """Trust the store as it is, and make its seals again.

    For a database that was opened with another program, or whose seals alone are damaged or lost. SQLite checks what
    it can; nothing can tell whether a value has changed. A restored backup is better. Nothing may run.
    """
    from odibi_actors.checkpoint import opening

    path = app.data_dir / "checkpoints.db"
    if not path.exists():
        raise NotFoundError(f"there is no {path}")
    held = opening.lock(app.data_dir)  # before the question: nothing may run meanwhile, either
    try:
        app.confirm(f"Trust {path} as it is?")
        opening.reseal(path)
    finally:
        os.close(held)
    errors.message(f"{path} has new seals; the former ones are kept as checkpoints.db-seals.old")
