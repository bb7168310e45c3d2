"""``pipeline rewind`` while nothing runs: taken back in this process, by the same actors and under the same locks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from odibi_actors.config import load_project
from odibi_actors.errors import ConflictError
from odibi_actors.local.changes import Changes
from odibi_actors.local.system import LocalSystem
from odibi_actors.runtime import paths
from odibi_actors.units import plural


def rewind(data_dir: Path, root: Path, params: dict[str, Any]) -> dict[str, Any]:
    """Do, or with ``dry_run`` show, what the verb with these ``params`` does, to a pipeline of which nothing is in
    flight. It need not be drained: it is paused meanwhile, and goes on afterwards if it did before (``resumed``).
    Raises ConflictError, and what the broker raises."""
    name = params["pipeline"]
    named = {"pipeline": name}
    with Changes(data_dir, root) as store:
        row = store.request("pipeline.show", dict(named))
        shown: dict[str, Any] = store.request("pipeline.rewind", {**params, "dry_run": True})
        refused = _in_flight(row)
        shown.pop("refused", None)
        if params.get("dry_run"):
            return shown | ({"refused": refused} if refused else {})
        if refused:
            raise ConflictError(refused)
        held = row["paused"] or row["state"] in ("draining", "drained")
        if not held:
            store.request("pipeline.pause", dict(named))
    done: dict[str, Any] = _take_back(data_dir, root, params)
    if not held:
        with Changes(data_dir, root) as store:
            done |= {"state": store.request("pipeline.resume", dict(named))["state"]}
    return done | {"resumed": not held}


def _in_flight(row: dict[str, Any]) -> str:
    """What keeps a pipeline from being rewound, and the two ways out while nothing runs; "" for nothing."""
    numbers = [one["iteration"] for one in row["iterations"]]
    if not numbers:
        return ""
    name = row["pipeline"]
    return (
        f"pipeline {name} has {plural(len(numbers), 'iteration')} in flight: `odibictl run {name}` finishes what can "
        f"be, `odibictl iteration cancel {name} {min(numbers)}` voids them; then rewind again"
    )


def _take_back(data_dir: Path, root: Path, params: dict[str, Any]) -> dict[str, Any]:
    project = msgspec.structs.replace(load_project(root), data_dir=str(data_dir))
    lock = paths.hold_lock(data_dir / "run" / "broker.lock", wait=0.0)
    try:
        with LocalSystem(project, pipeline=params["pipeline"]) as system:
            found: dict[str, Any] = system.request("pipeline.rewind", dict(params))
            return found
    finally:
        lock.release()
