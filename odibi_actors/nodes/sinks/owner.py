"""To whom a target belongs: one (store id, pipeline, node), so that nobody overwrites what another one published.

A folder's owner is in ``_odibi_owner.json`` (readers of parquet folders skip names with a leading underscore), a
table's in ``_odibi_owners`` of its database. Standard library only: ``validate`` asks as well.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from odibi_actors.config.model import WriteSpec
from odibi_actors.errors import ConflictError

OWNER_FILE = "_odibi_owner.json"
OWNER_TABLE = "_odibi_owners"
_MAX_BYTES = 4096


class Owner(NamedTuple):
    """Who publishes to a target. ``store_id`` is that of the checkpoint store, new with each new data_dir."""

    store_id: str
    pipeline: str
    node: str

    def __str__(self) -> str:
        return f"node {self.node!r} of pipeline {self.pipeline!r} (store {self.store_id})"

    def check(self, other: Owner, target: str, take: str, empty: str) -> None:
        """Raise ConflictError unless ``other``, found at ``target``, is this owner. ``take``: how it is taken over;
        ``empty``: what is to be done before, for it to be begun from nothing."""
        if other == self:
            return
        what, back = "", "publish elsewhere"
        if other.store_id != self.store_id:
            what = "; its checkpoints are not these"
            back = f"bring its .odibi back, or {back}" if other[1:] == self[1:] else back
        raise ConflictError(
            f"{target} belongs to {other}{what}: {back}; if it may be deleted, {empty} and {take}. The latter alone "
            f"lets {self.node!r} publish beside the rows that are there: all that it reads again is there twice, "
            "unless it upserts"
        )


def folder_owner(folder: Path) -> Owner | None:
    """The owner of a folder; None when nobody owns it. Raises ConflictError when its file cannot be read."""
    path = folder / OWNER_FILE
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no regular file")  # a pipe would keep us waiting for ever
        with open(path, "rb") as file:
            content = json.loads(file.read(_MAX_BYTES))
        return Owner(str(content["store_id"]), str(content["pipeline"]), str(content["node"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConflictError(
            f"{path} is not an owner file ({error}); delete it if {folder} may be taken over"
        ) from error


def claim_folder(folder: Path, owner: Owner) -> None:
    """Own an existing folder from here on, durably. Raises ConflictError when it is another's, and OSError."""
    path = folder / OWNER_FILE
    found = folder_owner(folder)
    if found is None:
        temporary = folder / f"{OWNER_FILE}.{os.getpid()}.staged"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(owner._asdict(), file)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # the one step that two claimants cannot both take
        except FileExistsError:
            found = folder_owner(folder)
        finally:
            temporary.unlink()
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    owner.check(found or owner, str(folder), *take_folder(folder))


def missed(target: str, owner: Owner) -> ConflictError:
    """What the owner has published is not where it was: nothing is put in its place."""
    return ConflictError(
        f"{target} is not there, but node {owner.node!r} of pipeline {owner.pipeline!r} has published to it: is a file "
        "system not mounted, or was it moved? Bring it back, then `odibictl iteration retry`. If it is gone for good, "
        f"`odibictl sink repin {owner.pipeline}.{owner.node}` begins another one"
    )


def table_owner(connection: sqlite3.Connection, table: str) -> Owner | None:
    """The owner of a table; None when nobody owns it. Raises sqlite3.Error."""
    known = connection.execute("select 1 from sqlite_master where name = ?", (OWNER_TABLE,)).fetchone()
    if known is None:
        return None
    row = connection.execute(
        f"select store_id, pipeline, node from {OWNER_TABLE} where table_name = ? collate nocase", (table,)
    ).fetchone()
    return None if row is None else Owner(*row)


def check_table(connection: sqlite3.Connection, table: str, owner: Owner, place: str) -> bool:
    """Whether the table is the owner's already; False when nobody owns it. Raises ConflictError, sqlite3.Error."""
    found = table_owner(connection, table)
    owner.check(found or owner, f"table {table!r} of {place}", *take_table(table))
    return found is not None


def target_name(write: WriteSpec) -> str:
    """How a target is called in messages: its folder, or ``database#table``."""
    place = Path(write.connection.path)
    return f"{place}#{write.table}" if write.connection.type == "sqlite" else str(place / (write.path or "."))


def target_owner(write: WriteSpec) -> Owner | None:
    """Who owns the target, None when nobody does; only looked at. Raises ConflictError, sqlite3.Error, OSError."""
    place = Path(write.connection.path)
    if write.connection.type != "sqlite":
        return folder_owner(place / (write.path or "."))
    if not place.exists():
        return None
    with closing(sqlite3.connect(f"{place.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return table_owner(connection, write.table or "")


def take_folder(folder: Path) -> tuple[str, str]:
    """What an operator does to let somebody else have a folder, and to have it empty."""
    return f"delete {folder / OWNER_FILE}", "move what else is in it away"


def take_table(table: str) -> tuple[str, str]:
    """What an operator does to let somebody else have a table, and to have it empty."""
    name, text = table.replace('"', '""'), table.replace("'", "''")
    return f"`delete from {OWNER_TABLE} where table_name = '{text}'`", f'`drop table "{name}"`'
