"""``sink compact`` as it is asked for: what the broker allows, what the store knows, then the files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from odibi_actors.errors import ConflictError
from odibi_actors.kinds.registry import sink_of
from odibi_actors.messages import STORE
from odibi_actors.model import Home, Target
from odibi_actors.nodes.sinks import compacting, joined
from odibi_actors.nodes.sinks.owner import Owner, folder_mark, take_folder

SIZE = 128_000_000
"""Bytes of a file from which on it is not joined with others."""

Ask = Callable[..., Any]


def compact(ask: Ask, home: Home, pipeline: str, sink: str, size: int, dry_run: bool) -> dict[str, Any]:
    """Join the files of a sink. ``ask(verb, params, to)`` asks the broker, or the store. Raises NotFoundError,
    ConflictError, OSError."""
    named = {"pipeline": pipeline, "sink": sink}
    row: dict[str, Any] = ask("sink.compact", {**named, "dry_run": True})
    at, folder = Target(*row["at"]), Path(row["at"][2])
    if sink_of(at.sink).unit != "file":
        raise ConflictError(f"{pipeline}.{sink} publishes no files that are joined")
    if not folder.is_dir():
        raise ConflictError(f"{folder} is not there: nothing was published, or it is on another host")
    with joined.alone(folder):
        owner, mark = Owner(row["store_id"], pipeline, sink), folder_mark(folder)
        if mark is None:
            raise ConflictError(f"{folder} belongs to nobody: nothing was published there")
        mark.check(owner, home, folder, str(folder), take_folder(folder))
        planned = compacting.plan(folder, sink, row["upto"], size, _known(ask, named))
        if planned.packs and not dry_run:
            ask("sink.compact", {**named, "to": planned.upto, "dry_run": False})
            # From here on nothing of it is taken back; until here it may have been.
            planned = compacting.plan(folder, sink, planned.upto, size, _known(ask, named))
            compacting.compact(folder, sink, planned)
        elif not dry_run:
            compacting.tidy(folder, sink)
    size_joined = sum(file.bytes for pack in planned.packs for file in pack)
    shown = {name: row[name] for name in ("pipeline", "sink", "target")} | {"upto": planned.upto, "dry_run": dry_run}
    return shown | {
        "joined": planned.joins,
        "into": len(planned.packs),
        "bytes": size_joined,
        "kept": len(planned.kept),
    }


def _known(ask: Ask, named: dict[str, str]) -> compacting.Known:
    digests: dict[int, str] = {}
    first, after = 0, 0
    while True:
        found = ask("sink.parts", {**named, "after": after}, STORE)
        digests |= dict(found["items"])
        first, after = found["first"], found["next"]
        if not after:
            return compacting.Known(first, digests)
