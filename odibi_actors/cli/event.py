"""``odibictl event``: push rows to a source of mode event."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from odibi_actors.cli import errors
from odibi_actors.cli.base import App, group, lists, pass_app
from odibi_actors.cli.output import emit
from odibi_actors.errors import ConfigError, NotFoundError
from odibi_actors.units import plural, size

MAX_FILE = 256_000_000
"""Bytes of a file that is pushed: it is read whole. Larger ones are for a source that reads files."""

event = group("event", "Push rows to a source of mode event.")


@event.command(
    examples=[
        "odibictl event push shop.clicks clicks.jsonl --key 2024-05-01",
        "odibictl event push shop.clicks clicks.csv",
        "echo '{\"id\": 1}' | odibictl event push shop.clicks -",
    ]
)
@click.argument("name", metavar="PIPELINE.NODE")
@click.argument("file", metavar="FILE|-")
@click.option("--key", metavar="KEY", help="Pushed again with the same key, the same rows are there once.")
@click.option("--format", "format_", metavar="FORMAT", help="Of the file; default: by its suffix, json for -.")
@lists
@pass_app
def push(app: App, name: str, file: str, key: str | None, format_: str | None) -> None:
    """Push the rows of a file, and return once they are durable.

    The file is read with the types of the source's `schema`, as a source would read it: a value that does not fit is
    named, with its line, and nothing of the file is pushed. Without --key a file that is pushed twice is there twice.
    """
    from odibi_actors.sources.events import from_file  # it brings pyarrow

    if key == "":
        raise click.BadParameter("it is empty: leave it out, or say one", param_hint="--key")
    known = from_file.format_named(format_ or ("json" if file == "-" else ""), file)
    data = _bytes(file)
    client = app.client()
    table = from_file.table_of(data, "stdin" if file == "-" else file, known, client.event_schema(name))

    def tell(why: str) -> None:
        errors.message(f"waiting for room: {why}")

    def done() -> dict[str, Any]:
        return {"source": name, **client.push(name, table, key, on_wait=tell)}

    emit(app, done, lambda row: str(row["source"]), lambda row: [_pushed(row)])


def _pushed(row: dict[str, Any]) -> str:
    there = f", {row['known']:,} of which there before" if row["known"] else ""
    return f"{row['source']}: {plural(row['rows'], 'row')} durable, in {plural(row['events'], 'event')}{there}"


def _bytes(file: str) -> bytes:
    """All of it. Raises OdibiError."""
    try:
        if file == "-":
            data = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise NotFoundError(f"{file}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise ConfigError(f"{file} is larger than {size(MAX_FILE)}; a source of mode file_watch reads such files")
    return data
