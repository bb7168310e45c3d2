"""``mode: overwrite`` in a folder: ``current``, a link to the folder that holds the file of the newest iteration.

Each iteration has a folder and a file name of its own, which never change; publishing is one ``rename`` of a link that
points there over ``current``. So whoever lists ``current/*.parquet`` finds one file, the old or the new one, and
whoever opens it twice never has bytes of both: engines do that, and a file replaced under one name gave them mixtures.
The folder before is kept until the next publication, for readers that have followed the link.

The file says in its metadata whose it is and which iteration wrote it, so nothing of somebody else is ever replaced,
and no newer one by an older.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from odibi_actors.errors import ConflictError
from odibi_actors.nodes.sinks.forms import PARQUET, PART, schema_of
from odibi_actors.nodes.sinks.known import ATTEMPT
from odibi_actors.nodes.sinks.owner import Owner, folder_mark
from odibi_actors.units import plural

CURRENT = "current"
_KEY = b"odibi.current"
"""Metadata of the file: JSON of whose it is, and the iteration."""
_VERSION = re.compile(rf"_current-(?P<iteration>\d{{10,}})-(?P<node>.+)\.{ATTEMPT}(?P<link>\.link)?")


class Held(NamedTuple):
    """What ``current`` points to: whose it is, which iteration wrote it, how many rows it has, and the file."""

    owner: Owner
    iteration: int
    rows: int
    part: Path


def marked(owner: Owner, iteration: int, rows: int) -> dict[bytes, bytes]:
    """The metadata of a file that is to become the current one, or of the schema beside it."""
    return {_KEY: json.dumps({**owner._asdict(), "iteration": iteration, "rows": rows}).encode()}


def held(folder: Path) -> Held | None:
    """What is published in a folder that is overwritten; None when nothing is. Raises ConflictError when it is no
    sink's, and OSError."""
    import pyarrow as pa  # not above: whoever asks for the owners of targets needs none of it, most times
    import pyarrow.parquet as pq

    path = folder / CURRENT
    if not os.path.lexists(path):
        return None
    try:
        match = _VERSION.fullmatch(os.readlink(path) if path.is_symlink() else "")
        if match is None or match["link"]:
            raise ValueError("it is not a link to a version")
        part = _part(path.resolve(), f"part-{match['iteration']}-{match['node']}")
        said = json.loads((schema_of(part).metadata or {})[_KEY])
        owner = Owner(str(said["store_id"]), str(said["pipeline"]), str(said["node"]))
        rows = said["rows"] if "rows" in said else pq.read_metadata(part).num_rows  # former releases did not say it
        return Held(owner, int(said["iteration"]), int(rows), part)
    except (ConflictError, FileNotFoundError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise ConflictError(
            f"{path} is not what a sink has published ({error}), and is not overwritten: move it away, or publish to "
            "another path"
        ) from error


def _part(version: Path, stem: str) -> Path:
    """The file in a version's folder. Raises FileNotFoundError, ValueError."""
    names = [name for name in os.listdir(version) if name.startswith(f"{stem}.") and PART.fullmatch(name)]
    if len(names) != 1:
        raise ValueError(f"it holds {plural(len(names), 'part')} named {stem}")
    return version / names[0]


def is_of(folder: Path, owners: Collection[Owner]) -> bool:
    """What is published in the folder by overwriting is one of these sinks'. Raises OSError."""
    try:
        found = held(folder)
    except ConflictError:
        return False  # something of somebody else
    return found is not None and found.owner in owners


def check_folder(
    folder: Path, owner: Owner, overwrite: bool, former: Collection[Owner] = (), suffix: str = PARQUET
) -> None:
    """Raise ConflictError unless a sink of this mode may publish to the folder, which may be a ``former`` owner's:
    parts that were appended and one that is overwritten are not mixed, nor are parts that end in different suffixes.
    Raises OSError."""
    if not folder.is_dir():
        return
    _check_suffix(folder, owner, former, suffix, overwrite)
    fresh = f"move them away, publish to another path, or `odibictl reset {owner.pipeline} --targets`"
    if overwrite:
        parts = sorted(name for name in os.listdir(folder) if PART.fullmatch(name))
        if parts:
            more = f", and {len(parts) - 1} more" if len(parts) > 1 else ""
            raise ConflictError(
                f"{folder} holds parts that were appended ({parts[0]}{more}), which `mode: overwrite` does not delete: "
                f"{fresh}"
            )
        if (found := held(folder)) is not None and found.owner not in (owner, *former):
            raise ConflictError(
                f"{folder / CURRENT} is of {found.owner}, and is not overwritten: move it away, or publish to another "
                "path"
            )
    elif os.path.lexists(folder / CURRENT) and is_of(folder, (owner, *former)):
        raise ConflictError(
            f"{folder / CURRENT} is what this sink has published with `mode: overwrite`, and stays as it is when parts "
            f"are appended: {fresh.replace('them', 'it')}"
        )


def _check_suffix(folder: Path, owner: Owner, former: Collection[Owner], suffix: str, overwrite: bool) -> None:
    """Readers take what ends in one suffix: what is published in another one would be out of their sight."""
    mark = folder_mark(folder)
    if mark is None or mark.suffix == suffix or mark.owner not in (owner, *former):
        return
    nodes = [one.node for one in (owner, *former)]
    parts = [match for match in map(PART.fullmatch, sorted(os.listdir(folder))) if match and match["node"] in nodes]
    parts = [match for match in parts if match["suffix"] != suffix]
    if parts:
        raise ConflictError(
            f"{folder} holds parts that end in {parts[0]['suffix']} ({parts[0][0]}), and readers of these would not "
            f"see those that end in {suffix}: publish to another path, or `odibictl reset {owner.pipeline} --targets`"
        )


def versions(folder: Path, *nodes: str) -> Iterator[tuple[int, Path]]:
    """(iteration, path) of the folders and links that these nodes have made, staged or published, in no order. Raises
    OSError."""
    for name in os.listdir(folder):
        match = _VERSION.fullmatch(name)
        if match and match["node"] in nodes:
            yield int(match["iteration"]), folder / name
