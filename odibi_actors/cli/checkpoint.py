"""``odibictl checkpoint``: the store that holds the truth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import click

from odibi_actors.cli import errors, locks
from odibi_actors.cli.base import App, group, lists, output_option, pass_app, yes
from odibi_actors.cli.output import Column, count, emit, fields, plural, table
from odibi_actors.errors import NotFoundError

PROBLEMS = (Column("PROBLEM", "what"), Column("MEND", "mend"))

checkpoint = group("checkpoint", "The checkpoint store.")


def _flat(result: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """Fields of a result and of the tables in it, numbers made readable."""
    for key, value in result.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield key, count(value) if isinstance(value, int) else value


@checkpoint.command(examples=["odibictl checkpoint stats", "odibictl checkpoint stats -o json"])
@lists
@pass_app
def stats(app: App) -> None:
    """Show figures of the store: records, size, time per sync."""
    emit(
        app,
        app.client().checkpoint_stats,
        "store_id",
        lambda result: [fields(list(_flat(result)))],
    )


@checkpoint.command(examples=["odibictl checkpoint verify", "odibictl checkpoint verify -o json"])
@output_option("table", "json", "jsonl", "yaml")
@pass_app
def verify(app: App) -> None:
    """Compare the store and its files with their digests.

    Each page and row of the database, its log, outputs and staged parts of what is under way, states, and parquet parts
    that are committed. Works on a running system, and on one that is stopped. Exit 1 when there is a problem.
    """
    from odibi_actors.cli import verify as verification

    data_dir = app.data_dir
    if locks.holder(data_dir / "run" / "store.lock") is not None:
        report = verification.running(app.client().checkpoint_verify, data_dir / "spool")
    elif (data_dir / "checkpoints.db").exists() or (data_dir / "checkpoints.db-seals").exists():
        report = verification.stopped(data_dir)
    else:
        raise NotFoundError(f"there is no checkpoint store in {data_dir}")
    emit(app, lambda: {"items": report.problems}, "what", lambda result: [table(result["items"], PROBLEMS)])
    errors.message(
        f"{count(report.pages)} pages, {count(report.rows)} rows, {count(report.files)} files: "
        + (plural(len(report.problems), "problem") if report.problems else "no problem")
    )
    if report.problems:
        raise click.exceptions.Exit(1)


@checkpoint.command(examples=["odibictl checkpoint reseal", "odibictl checkpoint reseal --yes"])
@yes
@pass_app
def reseal(app: App) -> None:
    """Trust the store as it is, and make its seals anew.

    For a database that was opened with another program, or whose seals alone are damaged or lost. SQLite checks what
    it can; nothing can tell whether a value has changed. A restored backup is better. Nothing may run.
    """
    from odibi_actors.checkpoint import opening

    path = app.data_dir / "checkpoints.db"
    if not path.exists():
        raise NotFoundError(f"there is no {path}")
    app.confirm(f"Trust {path} as it is?")
    held = opening.lock(app.data_dir)
    try:
        opening.reseal(path)
    finally:
        os.close(held)
    errors.message(f"{path} has new seals; the former ones are kept as checkpoints.db-seals.old")
