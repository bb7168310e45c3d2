"""``odibictl reset``: a pipeline starts over, at rest. An intention is durable before anything is deleted, and keeps
the store closed until all is done: killed anywhere, a reset has not begun, or the next one ends it."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from odibi_actors.batches.files import fsync_dir, new_file
from odibi_actors.checkpoint import adopted
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.relocating import follower
from odibi_actors.config.model import ProjectSpec
from odibi_actors.errors import ConflictError, NotFoundError
from odibi_actors.local.runtime import tell
from odibi_actors.model import NOWHERE, Home, split_target
from odibi_actors.nodes.sinks.current import CURRENT, is_of, versions
from odibi_actors.nodes.sinks.owner import OWNER_FILE, OWNER_TABLE, Mark, Owner, folder_mark, table_mark, target_name
from odibi_actors.nodes.sinks.sqlite_overwrite import forget
from odibi_actors.nodes.sinks.sqlite_table import quote
from odibi_actors.runtime import paths


class Target(msgspec.Struct, frozen=True):
    """What a node of the pipeline has published and owns: ``parts`` files of a folder, or the rows of a table
    (``database#table``). ``append``: the next run would add to it."""

    node: str
    target: str
    parts: int
    append: bool


class Plan(msgspec.Struct, frozen=True):
    """What a reset deletes. ``resumed``: an interrupted one is ended as it was begun. ``home``: where the store was
    then. ``others``: what stays, as it is another copy's, in words."""

    pipeline: str
    targets: bool
    iterations: dict[str, int] = {}
    files: int = 0
    letters: int = 0
    schemas: int = 0
    states: int = 0
    published: list[Target] = []
    resumed: bool = False
    home: Home = NOWHERE
    others: list[str] = []


class Reset:
    """A reset of one pipeline; use ``opened``."""

    def __init__(self, engine: Engine, places: paths.Layout, project: ProjectSpec, pipeline: str) -> None:
        self._engine = engine
        self._places = places
        self._project = project
        self._pipeline = pipeline
        self._intention = places.data_dir / f"reset-{pipeline}.json"
        self._others: dict[str, None] = {}
        self._gone: list[str] = []  # targets that are deleted, or were by an interrupted reset
        self._passed_on = adopted.by_target(engine.adoptions())
        self._given_up: dict[str, list[int]] = {}  # sink -> iterations of which it was abandoned, as far as `history`

    def plan(self, targets: bool) -> Plan:
        """What would be deleted. Raises NotFoundError when the pipeline has done nothing, and ConflictError when rows
        that stay would be doubled."""
        begun = None
        if self._intention.exists():
            begun = msgspec.json.decode(self._intention.read_bytes(), type=Plan)
            targets = begun.targets
        found = self._engine.known(self._pipeline)
        if found is None and begun is None:
            raise NotFoundError(f"pipeline {self._pipeline} has done nothing: there is nothing to forget")
        known = dict(found or {})
        named = [tuple(one) for one in known.pop("targets", [])]
        self._given_up = known.pop("given_up", {})
        known["files"] = self._read_again(known.get("files", []))
        if begun is not None:
            follow = follower(begun.home, self._engine.home)
            named += [(one.node, follow(one.target)) for one in begun.published]
            self._gone = [follow(one.target) for one in begun.published]
        self._others.clear()
        published = list(self._published(dict.fromkeys(named)))
        self._gone += [one.target for one in published] if targets else []
        doubled = [one for one in published if one.append and one.parts]
        if doubled and not targets:
            listed = "; ".join(f"{one.node}: {one.parts} in {one.target}" for one in doubled)
            raise ConflictError(
                f"what {self._pipeline} has appended would be there twice after the next run ({listed}): add --targets "
                "to delete it, or move it away"
            )
        return Plan(
            self._pipeline,
            targets,
            published=published if targets else [],
            resumed=begun is not None,
            home=self._engine.home,
            others=list(self._others),
            **known,
        )

    def carry_out(self, plan: Plan) -> None:
        """Do it. Raises ConflictError, sqlite3.Error, OSError; what is left is done by the next try."""
        if not plan.resumed:
            temporary = self._intention.with_suffix(".tmp")
            temporary.unlink(missing_ok=True)
            with new_file(temporary, sync=True) as writer:
                writer.write(msgspec.json.encode(plan))
            temporary.rename(self._intention)
            fsync_dir(self._places.data_dir)
        for target in plan.published:
            self._delete(target)
        self._engine.forget(self._pipeline, time.time(), self._gone)
        for folder in ("spool", "staged"):
            shutil.rmtree(self._places.data_dir / folder / self._pipeline, ignore_errors=True)
        self._intention.unlink()
        fsync_dir(self._places.data_dir)

    def _read_again(self, planned: list[tuple[str, str]]) -> int:
        """How many of the (source, identity) that were planned are there to be read again: each path once, however
        often, by whichever source or backfill it was read."""
        folders = {
            node.name: node.read.connection.path
            for spec in self._project.pipelines
            for node in (spec.nodes if spec.name == self._pipeline else [])
            if node.read is not None
        }
        paths = {os.path.join(folders[source], identity) for source, identity in planned if source in folders}
        return sum(os.path.isfile(path) for path in paths)

    # --- targets --------------------------------------------------------------------------------------------------

    def _published(self, named: dict[tuple[str, ...], None]) -> Iterator[Target]:
        """Targets of the project's sinks, and those that the store knows of, as far as they are this pipeline's."""
        appending = {}
        for spec in self._project.pipelines:
            for node in spec.nodes if spec.name == self._pipeline else []:
                if node.write is not None:
                    named.setdefault((node.name, target_name(node.write)))
                    appending[target_name(node.write)] = node.write.mode == "append"
        found_owners = [(self._owners(node, target), target) for node, target in named]
        for owner, target in dict.fromkeys((owners[0], target) for owners, target in found_owners if owners):
            owners, node_name = self._owners(owner.node, target), owner.node
            place, table = split_target(target)
            if not table:
                if self._is_ours(folder_mark(Path(target)), owner, Path(target), target):
                    found = self._parts(Path(target), owners)
                    parts = [one for one in found if one.suffix == ".parquet" or one.name == CURRENT]
                    replaced = all(one.name == CURRENT for one in parts) and not appending.get(target, False)
                    yield Target(node_name, target, len(parts), append=not replaced)
                continue
            if Path(place).exists():
                with closing(sqlite3.connect(f"{Path(place).as_uri()}?mode=ro", uri=True)) as db:
                    if self._is_ours(table_mark(db, table), owner, Path(place), target):
                        rows = 0
                        if db.execute("select 1 from sqlite_master where name = ? collate nocase", (table,)).fetchone():
                            (rows,) = db.execute(f"select count(*) from {quote(table)}").fetchone()
                        yield Target(node_name, target, rows, appending.get(target, True))

    def _owners(self, node: str, target: str) -> list[Owner]:
        """The owner of what the node has published to, and those it was taken over from; none when that is another
        pipeline's now."""
        names = self._passed_on.get(target, [(self._pipeline, node)])
        return [Owner(self._engine.store_id, *one) for one in names] if names[0][0] == self._pipeline else []

    def _parts(self, folder: Path, owners: Sequence[Owner]) -> list[Path]:
        """See ``_parts``; of those who had the folder before as well."""
        found = []
        for owner in owners:
            given_up = self._given_up.get(owner.node, ()) if owner.pipeline == self._pipeline else ()
            found += _parts(folder, owner, given_up, owners)
        return list(dict.fromkeys(found))

    def _is_ours(self, mark: Mark | None, owner: Owner, place: Path, target: str) -> bool:
        """What the mark at ``place`` says is this node's, or that of one from which it was taken over; that of another
        copy of the store is told, and stays."""
        if mark is None or mark.owner not in (owner, *self._owners(owner.node, target)):
            return False
        if other := mark.elsewhere(self._engine.home, place):
            self._others[f"{owner.node}: {target} belongs to {other}, of which this is a copy, and stays"] = None
            return False
        return True

    def _delete(self, target: Target) -> None:
        """Delete what the node has published there, then its ownership. Done already is done."""
        owner = Owner(self._engine.store_id, self._pipeline, target.node)
        place, table = split_target(target.target)
        if not table:
            folder = Path(target.target)
            if self._is_ours(folder_mark(folder), owner, folder, target.target):
                for part in self._parts(folder, self._owners(target.node, target.target) or [owner]):
                    if part.is_dir() and not part.is_symlink():
                        shutil.rmtree(part)
                    else:
                        part.unlink(missing_ok=True)
                fsync_dir(folder)
                (folder / OWNER_FILE).unlink()
                fsync_dir(folder)
            return
        with closing(sqlite3.connect(place, timeout=30.0, isolation_level=None)) as db:
            db.execute("pragma synchronous = extra")
            if not self._is_ours(table_mark(db, table), owner, Path(place), target.target):
                return
            db.execute("begin immediate")
            db.execute(f"drop table if exists {quote(table)}")
            for one in self._owners(target.node, target.target):
                db.execute("delete from _odibi_commits where store_id = ? and pipeline = ? and sink = ?", tuple(one))
            db.execute(f"delete from {OWNER_TABLE} where table_name = ? collate nocase", (table,))
            forget(db, table)
            db.execute("commit")


def _parts(folder: Path, owner: Owner, given_up: Collection[int], owners: Collection[Owner]) -> list[Path]:
    """Published and staged parts of a node, newest first: what is left of an interrupted reset is a prefix. A file with
    the name of an iteration whose sink was ``given_up`` is somebody else's."""
    pattern = re.compile(rf"_?part-(\d{{10,}})-{re.escape(owner.node)}\.(parquet|.*\.staged)")
    named = [(one, match) for one in folder.iterdir() if (match := pattern.fullmatch(one.name))]
    ours = [one for one, match in named if match[2] != "parquet" or int(match[1]) not in given_up]
    parts = sorted(ours, reverse=True)
    published = [folder / CURRENT] if is_of(folder, owners) else []  # the link before what it points to
    return [*parts, *published, *(path for _, path in versions(folder, owner.node))]


@contextmanager
def opened(project: ProjectSpec, pipeline: str) -> Iterator[Reset]:
    """A reset of a pipeline of a project at rest. Raises ConflictError while a system runs on its data_dir, and
    NotFoundError when nothing ever did."""
    places = paths.prepare(Path(project.data_dir))
    if not places.database.exists():
        raise NotFoundError(f"pipeline {pipeline} has done nothing: there is nothing to forget")
    try:
        lock = paths.hold_lock(places.run / "broker.lock", wait=0.0)
    except ConflictError as error:
        raise ConflictError(f"a reset needs a system at rest: `odibictl down` first ({error})") from None
    try:
        engine = Engine(places.database, resetting=pipeline, root=Path(project.root))
        if engine.moved:
            tell(engine.moved)
        try:
            yield Reset(engine, places, project, pipeline)
        finally:
            engine.checkpoint()
            engine.close()
    finally:
        lock.release()
