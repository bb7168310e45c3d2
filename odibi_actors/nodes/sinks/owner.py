"""To whom a target belongs: one (store id, pipeline, node), so that nobody overwrites what another one published.

A folder's owner is in ``_odibi_owner.json`` (readers of parquet folders skip names with a leading underscore), a
table's in its database (``table_marks``). A copy of a project has the same store id: so the mark also says where the
store lives that has published there last. Standard library only: ``validate`` asks as well.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from odibi_actors.config.places import lies_in
from odibi_actors.errors import ConflictError
from odibi_actors.failpoints import failpoint
from odibi_actors.model import NOWHERE, Home

OWNER_FILE = "_odibi_owner.json"
_MAX_BYTES = 16 * 1024


class RenamedError(ConflictError):
    """The target is that of another sink of the same store, which may be what this ``sink`` (``pipeline.node``) was
    called. ``found``: whose it is; ``former``: its pipeline, by which what it has read is known; ``together``: all
    sinks that are to take over at once, for they are applied at once.
    """

    def __init__(self, found: str, sink: str, former: str, together: Iterable[str] = ()) -> None:
        command, pipeline = f"odibictl sink adopt {' '.join(together) or sink}", sink.partition(".")[0]
        ways = f"if that is what {sink} was called, `{command}` lets it go on there"
        if pipeline != former:
            ways = (
                f"if {former} was renamed, call it {former} again, as what it has read is known by its name, and "
                f"{pipeline} would read that again; if the node was moved to {pipeline}, `{command}` lets it go on "
                "there"
            )
        super().__init__(f"{found}: {ways}; else publish elsewhere")
        self.found, self.sink, self.former = found, sink, former


class Owner(NamedTuple):
    """Who publishes to a target. ``store_id`` is that of the checkpoint store, new with each new data_dir."""

    store_id: str
    pipeline: str
    node: str

    def __str__(self) -> str:
        return f"node {self.node!r} of pipeline {self.pipeline!r} (store {self.store_id})"

    def check(self, other: Owner, target: str, take: str, empty: str) -> None:
        """Raise ConflictError, or RenamedError, unless ``other``, found at ``target``, is this owner. ``take``: how it
        is taken over; ``empty``: what is to be done before, for it to be begun from nothing."""
        if other == self:
            return
        if other.store_id == self.store_id:
            raise RenamedError(f"{target} belongs to {other}", f"{self.pipeline}.{self.node}", other.pipeline)
        what, back = "; its checkpoints are not these", "publish elsewhere"
        back = f"bring its .odibi back, or {back}" if other[1:] == self[1:] else back
        raise ConflictError(
            f"{target} belongs to {other}{what}: {back}; if it may be deleted, {empty} and {take}. The latter alone "
            f"lets {self.node!r} publish beside the rows that are there: all that it reads again is there twice, "
            "unless it upserts"
        )


class Mark(NamedTuple):
    """What stands at a target. ``home``: the data_dir of the store that has published there last; "" by former
    releases. ``suffix``: in what the files of a folder end; ``partition_by``: the columns that are folders."""

    owner: Owner
    home: str = ""
    suffix: str = ".parquet"
    partition_by: tuple[str, ...] = ()

    def elsewhere(self, home: Home, place: Path | None) -> str:
        """The data_dir of another copy of the owner's store, to which the target at ``place`` (None: not of this
        machine) belongs; "" when it is that of ``home``: that is in its project, or it was marked by it, or by a store
        that is not there any more."""
        if not home.data_dir or self.home in ("", home.data_dir):
            return ""
        inside = place is not None and lies_in(os.path.realpath(place), home.root)
        if inside and not lies_in(self.home, home.root):
            return ""  # it was copied, or moved, with the project
        return self.home if stands(self.home, self.owner.store_id) else ""

    def check(
        self,
        owner: Owner,
        home: Home,
        place: Path | None,
        target: str,
        take: tuple[str, str],
        former: Collection[Owner] = (),
    ) -> None:
        """Raise ConflictError unless the target, called ``target`` and lying at ``place``, is of this owner at this
        home, or of a ``former`` one, from which it has taken it over. ``take``: as ``Owner.check`` has it."""
        if self.owner not in former:
            owner.check(self.owner, target, *take)
        if other := self.elsewhere(home, place):
            raise ConflictError(
                f"{target} belongs to {owner} at {other}, of which {home.data_dir} is a copy, or the other way "
                "round: name another target in odibi.yaml, and give "
                "up what is prepared for this one (`odibictl iteration abandon`); or remove "
                f"{other} if this copy takes its place"
            )


def home_of(data_dir: Path, root: Path | None) -> Home:
    """The home of a store in this data_dir; nowhere, when the project's folder is not known."""
    return NOWHERE if root is None else Home(os.path.realpath(data_dir), os.path.realpath(root))


def stands(data_dir: str, store_id: str) -> bool:
    """There is a store of this id in a data_dir, or one that is not to be looked at."""
    path = Path(data_dir) / "checkpoints.db"
    try:
        os.stat(path)
        # The id never changes, so a file that is being written can be read as one that is not.
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            return bool(db.execute("SELECT store_id = ? FROM meta", (store_id,)).fetchone()[0])
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, sqlite3.Error, TypeError):
        return True


def folder_owner(folder: Path) -> Owner | None:
    """The owner of a folder; None when nobody owns it. Raises ConflictError when its file cannot be read."""
    found = folder_mark(folder)
    return found.owner if found is not None else None


def folder_mark(folder: Path) -> Mark | None:
    """The mark of a folder; None when nobody owns it. Raises ConflictError when its file cannot be read."""
    path = folder / OWNER_FILE
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no regular file")  # a pipe would keep us waiting for ever
        with open(path, "rb") as file:
            content = json.loads(file.read(_MAX_BYTES))
        owner = Owner(str(content["store_id"]), str(content["pipeline"]), str(content["node"]))
        by = tuple(map(str, content.get("partition_by", ())))
        return Mark(owner, str(content.get("home", "")), str(content.get("suffix", ".parquet")), by)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConflictError(
            f"{path} is not an owner file ({error}); delete it if {folder} may be taken over"
        ) from error


def check_folder_owner(folder: Path, owner: Owner, home: Home, former: Collection[Owner] = ()) -> Mark | None:
    """The mark of a folder that is this owner's, or of a ``former`` one, or nobody's (None). Raises ConflictError when
    it is another's."""
    found = folder_mark(folder)
    if found is not None:
        found.check(owner, home, folder, str(folder), take_folder(folder), former)
    return found


def claim_folder(
    folder: Path,
    owner: Owner,
    home: Home = NOWHERE,
    former: Collection[Owner] = (),
    suffix: str = "",
    by: Sequence[str] | None = None,
) -> None:
    """Own an existing folder from here on, durably, for files that end in ``suffix``, partitioned ``by`` columns ("",
    None: as before). Raises ConflictError when it is another's than a ``former`` owner's, and OSError."""
    found = check_folder_owner(folder, owner, home, former)
    known = found or Mark(owner)
    by = known.partition_by if by is None else tuple(by)
    mine = Mark(owner, home.data_dir or known.home, suffix or known.suffix, by)
    if found == mine:
        return
    path, temporary = folder / OWNER_FILE, folder / f"{OWNER_FILE}.{os.getpid()}.staged"
    with open(temporary, "w", encoding="utf-8") as file:
        said = {**owner._asdict(), "home": mine.home, "suffix": mine.suffix, "partition_by": mine.partition_by}
        json.dump({name: value for name, value in said.items() if value not in ("", ".parquet", ())}, file)
        file.flush()
        os.fsync(file.fileno())
    try:
        if found is not None:  # the project was moved, or the folder has passed on
            failpoint("owner.replace")
            os.replace(temporary, path)
            failpoint("owner.replaced")
        else:
            os.link(temporary, path)  # the one step that two claimants cannot both take
    except FileExistsError:
        check_folder_owner(folder, owner, home, former)
    finally:
        temporary.unlink(missing_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def missed(target: str, owner: Owner) -> ConflictError:
    """What the owner has published is not where it was: nothing is put in its place."""
    return ConflictError(
        f"{target} is not there, but node {owner.node!r} of pipeline {owner.pipeline!r} has published to it: is a file "
        "system not mounted, or was it moved? Bring it back, then `odibictl iteration retry`. If it is gone for good, "
        f"`odibictl sink repin {owner.pipeline}.{owner.node}` begins another one"
    )


def take_folder(folder: Path) -> tuple[str, str]:
    """What an operator does to let somebody else have a folder, and to have it empty."""
    return f"delete {folder / OWNER_FILE}", "move what else is in it away"
