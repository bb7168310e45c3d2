"""What stands at the targets of a project, asked before anything is planned."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from odibi_actors.config.model import PipelineSpec, WriteSpec
from odibi_actors.config.places import lies_in
from odibi_actors.errors import ConflictError, NotFoundError
from odibi_actors.model import Home
from odibi_actors.nodes.sinks import current
from odibi_actors.nodes.sinks.owner import Owner, take_folder, take_table, target_mark, target_name

Names = Mapping[str, Sequence[Sequence[str]]]
"""Target -> the (pipeline, node) of all who have owned it, its owner first, if it has passed on."""
_NOBODY: Names = {}


def named(text: str) -> tuple[str, str]:
    """(pipeline, node) of ``PIPELINE.NODE``. Raises NotFoundError."""
    pipeline, dot, node = text.partition(".")
    if not dot or not node:
        raise NotFoundError(f"{text!r} names no sink; write PIPELINE.NODE, see `odibictl sink list`")
    return pipeline, node


def refused(pipelines: Iterable[PipelineSpec], store_id: str, home: Home, names: Names = _NOBODY) -> list[str]:
    """One line for each target that belongs to somebody else than the sink that would publish there, or holds what its
    mode does not go with. A target that cannot be looked at is not told here: whoever publishes will say why."""
    lines = []
    for name, write, owner in _sinks(pipelines, store_id):
        with suppress(sqlite3.Error, OSError):
            try:
                check_target(write, owner, home, _former(names, write, owner))
            except ConflictError as error:
                lines.append(f"{name}: {error}")
    return lines


def taken_over(pipelines: Iterable[PipelineSpec], store_id: str, home: Home, names: Names = _NOBODY) -> list[str]:
    """One line for each target outside of the project that was this store's at another place, where it is no more: the
    project was moved, and goes on there. Of targets that ``refused`` says nothing of."""
    lines = []
    for name, write, owner in _sinks(pipelines, store_id):
        with suppress(sqlite3.Error, OSError, ConflictError):
            found = target_mark(write)
            place = os.path.realpath(write.connection.path)
            owners = (owner, *_former(names, write, owner))
            if found is None or found.owner not in owners or found.home in ("", home.data_dir):
                continue
            if lies_in(place, home.root):
                continue
            lines.append(
                f"{name}: {target_name(write)} was published from {found.home}, where its checkpoints are no more; it "
                f"goes on from {home.data_dir}"
            )
    return lines


def _sinks(pipelines: Iterable[PipelineSpec], store_id: str) -> Iterator[tuple[str, WriteSpec, Owner]]:
    for pipeline in pipelines:
        for node in pipeline.nodes:
            if node.write is not None:
                yield f"{pipeline.name}.{node.name}", node.write, Owner(store_id, pipeline.name, node.name)


def _former(names: Names, write: WriteSpec, owner: Owner) -> list[Owner]:
    """From whom the sink has taken its target over."""
    known = [tuple(one) for one in names.get(write.target, ())]
    return [Owner(owner.store_id, *one) for one in known[1:]] if known and known[0] == owner[1:] else []


def check_targets(pipelines: Iterable[PipelineSpec], store_id: str, home: Home, names: Names = _NOBODY) -> None:
    """Raise ConflictError, with one line for each, when sinks of these pipelines cannot publish to their targets."""
    if lines := refused(pipelines, store_id, home, names):
        raise ConflictError("\n".join(lines))


def check_target(write: WriteSpec, owner: Owner, home: Home, former: Collection[Owner] = ()) -> None:
    """Raise ConflictError when the target is another's than a ``former`` owner's, or holds what the sink's mode does
    not go with; only looked at. Raises sqlite3.Error, OSError."""
    local = write.connection.type != "sqlite"
    place, table = Path(write.connection.path), write.table or ""
    if local:
        place = place / (write.path or ".")
    found = target_mark(write)
    if found is not None:
        called, take = (str(place), take_folder(place)) if local else (f"table {table!r} of {place}", take_table(table))
        found.check(owner, home, place, called, take, former)
    check_mode(write, owner, former)


def check_mode(write: WriteSpec, owner: Owner, former: Collection[Owner] = ()) -> None:
    """Raise ConflictError when the target holds what the sink's mode does not go with. Raises sqlite3.Error,
    OSError."""
    place, overwrite = Path(write.connection.path), write.mode == "overwrite"
    if write.connection.type != "sqlite":
        current.check_folder(place / (write.path or "."), owner, overwrite, former)
    elif overwrite and place.exists():
        from odibi_actors.nodes.sinks import sqlite_overwrite  # not above: most commands need none of Arrow

        with closing(sqlite3.connect(f"{place.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            sqlite_overwrite.check_rows(connection, write.table or "", owner, str(place), former)
