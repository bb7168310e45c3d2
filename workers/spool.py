"""The pool's care for its host's spool: what is there, and deleting what nobody references."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from odibi_actors.failpoints import failpoint

_PIPELINE = re.compile(r"[a-z][a-z0-9_]*")


def inventory(root: Path) -> list[tuple[str, int]]:
    """The (pipeline, iteration) folders under ``root``, in order."""
    found = []
    for pipeline in _folders(root):
        if _PIPELINE.fullmatch(pipeline):
            found += [(pipeline, int(name)) for name in _folders(root / pipeline) if name.isdecimal()]
    return sorted(found)


def delete(root: Path, iterations: Iterable[tuple[str, int]]) -> list[str]:
    """Delete these folders; returns what could not be deleted, and why. One that is gone already is no problem."""
    problems: list[str] = []
    for pipeline, iteration in iterations:
        if not _PIPELINE.fullmatch(pipeline) or iteration < 0:
            problems.append(f"{pipeline}/{iteration} is no folder of the spool")
            continue
        try:
            failpoint("spool.delete")
            shutil.rmtree(root / pipeline / str(iteration))
            failpoint("spool.deleted")
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(f"{pipeline}/{iteration}: {error}")
    return problems


def _folders(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
