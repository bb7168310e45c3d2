"""What stands at the targets of a project, asked before anything is planned."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

from odibi_actors.config.model import PipelineSpec, WriteSpec
from odibi_actors.errors import ConflictError
from odibi_actors.nodes.sinks import current
from odibi_actors.nodes.sinks.owner import Owner, take_folder, take_table, target_name, target_owner


def refused(pipelines: Iterable[PipelineSpec], store_id: str) -> list[str]:
    """One line for each target that belongs to somebody else than the sink that would publish there, or holds what its
    mode does not go with. A target that cannot be looked at is not told here: whoever publishes will say why."""
    lines = []
    for pipeline in pipelines:
        for node in pipeline.nodes:
            if node.write is None:
                continue
            with suppress(sqlite3.Error, OSError):
                try:
                    check_target(node.write, Owner(store_id, pipeline.name, node.name))
                except ConflictError as error:
                    lines.append(f"{pipeline.name}.{node.name}: {error}")
    return lines


def check_targets(pipelines: Iterable[PipelineSpec], store_id: str) -> None:
    """Raise ConflictError, with one line for each, when sinks of these pipelines cannot publish to their targets."""
    if lines := refused(pipelines, store_id):
        raise ConflictError("\n".join(lines))


def check_target(write: WriteSpec, owner: Owner) -> None:
    """Raise ConflictError when the target is another's, or holds what the sink's mode does not go with; only looked at.
    Raises sqlite3.Error, OSError."""
    local = write.connection.type != "sqlite"
    place, table = Path(write.connection.path), write.table or ""
    take = take_folder(place / (write.path or ".")) if local else take_table(table)
    found = target_owner(write)
    owner.check(found or owner, target_name(write) if local else f"table {table!r} of {place}", *take)
    check_mode(write, owner)


def check_mode(write: WriteSpec, owner: Owner) -> None:
    """Raise ConflictError when the target holds what the sink's mode does not go with. Raises sqlite3.Error,
    OSError."""
    place, overwrite = Path(write.connection.path), write.mode == "overwrite"
    if write.connection.type != "sqlite":
        current.check_folder(place / (write.path or "."), owner, overwrite)
    elif overwrite and place.exists():
        from odibi_actors.nodes.sinks import sqlite_overwrite  # not above: most commands need none of Arrow

        with closing(sqlite3.connect(f"{place.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            sqlite_overwrite.check_rows(connection, write.table or "", owner, str(place))
