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
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from odibi_actors.errors import ConflictError
from odibi_actors.nodes.sinks import joined, manifest
from odibi_actors.nodes.sinks.forms import PARQUET, parts, schema_of
from odibi_actors.nodes.sinks.known import ATTEMPT
from odibi_actors.nodes.sinks.owner import Owner, folder_mark
from odibi_actors.units import plural

CURRENT = "current"
_KEY = b"odibi.current"
"""Metadata of the file: JSON of whose it is, and the iteration."""
_VERSION = re.compile(rf"_current-(?P<iteration>\d{{10,}})-(?P<node>.+)\.{ATTEMPT}(?P<link>\.link)?")


class Held(NamedTuple):
    """What ``current`` points to: whose it is, which iteration wrote it, how many rows it has, and the part: a file, or
    a manifest."""

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
        if manifest.is_manifest(part.name):
            listed = manifest.load(part)
            return Held(Owner(*listed.owner), listed.iteration, listed.rows, part)
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
    """The part in a version's folder. Raises FileNotFoundError, ValueError."""
    found = [path for _, path in parts(version) if path.name.startswith(f"{stem}.")]
    if len(found) != 1:
        raise ValueError(f"it holds {plural(len(found), 'part')} named {stem}")
    return found[0]


def is_of(folder: Path, owners: Collection[Owner]) -> bool:
    """What is published in the folder by overwriting is one of these sinks'. Raises OSError."""
    try:
        found = held(folder)
    except ConflictError:
        return False  # something of somebody else
    return found is not None and found.owner in owners


def check_folder(
    folder: Path,
    owner: Owner,
    overwrite: bool,
    former: Collection[Owner] = (),
    suffix: str = PARQUET,
    by: Sequence[str] = (),
) -> None:
    """Raise ConflictError unless a sink of this mode may publish to the folder, which may be a ``former`` owner's:
    parts that were appended and one that is overwritten are not mixed, nor are parts whose files end in different
    suffixes, or are partitioned ``by`` different columns. Raises OSError."""
    if not folder.is_dir():
        return
    _check_form(folder, owner, former, suffix, by)
    fresh = f"move them away, publish to another path, or `odibictl reset {owner.pipeline} --targets`"
    if overwrite:
        appended = sorted(path.name for _, path in parts(folder))
        appended += [joined.list_of(folder, one.node).name for one in joined.lists(folder)]
        if appended:
            more = f", and {len(appended) - 1} more" if len(appended) > 1 else ""
            raise ConflictError(
                f"{folder} holds parts that were appended ({appended[0]}{more}), which `mode: overwrite` does not "
                f"delete: {fresh}"
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


def _check_form(folder: Path, owner: Owner, former: Collection[Owner], suffix: str, by: Sequence[str]) -> None:
    """Readers take what ends in one suffix, below folders of the same columns: what is published otherwise would be out
    of their sight."""
    mark, owners = folder_mark(folder), (owner, *former)
    if mark is None or mark.owner not in owners or (mark.suffix == suffix and mark.partition_by == tuple(by)):
        return
    others = sorted(
        path.name
        for _, path in parts(folder, *(one.node for one in owners))
        if manifest.is_manifest(path.name) or by or not path.name.endswith(suffix)
    )
    others += [joined.list_of(folder, one.node).name for one in joined.lists(folder)]
    if not others:
        return
    said = f"parts that end in {mark.suffix} ({others[0]})", f"those that end in {suffix}"
    if mark.partition_by != tuple(by):
        said = f"parts {_partitioned(mark.partition_by)} ({others[0]})", f"those {_partitioned(by)}"
    raise ConflictError(
        f"{folder} holds {said[0]}, and readers of these would not see {said[1]}: publish to another path, or "
        f"`odibictl reset {owner.pipeline} --targets`"
    )


def _partitioned(by: Sequence[str]) -> str:
    return f"partitioned by {', '.join(by)}" if by else "that are not partitioned"


def versions(folder: Path, *nodes: str) -> Iterator[tuple[int, Path]]:
    """(iteration, path) of the folders and links that these nodes have made, staged or published, in no order. Raises
    OSError."""
    for name in os.listdir(folder):
        match = _VERSION.fullmatch(name)
        if match and match["node"] in nodes:
            yield int(match["iteration"]), folder / name
