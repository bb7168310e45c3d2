"""``odibictl reset``: a pipeline starts over, at rest. First the store forgets it, and notes what is to be deleted, in
one transaction; nothing of the pipeline is planned until that is gone. Killed anywhere, a reset has not begun, or the
next one ends it, and all other pipelines go on meanwhile."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import msgspec

from odibi_actors.checkpoint import adopted
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.relocating import followed, follower
from odibi_actors.checkpoint.typing_targets import target as former_target
from odibi_actors.config.doors import Doors
from odibi_actors.config.model import ProjectSpec
from odibi_actors.errors import ConflictError, NotFoundError
from odibi_actors.kinds.registry import sink_of
from odibi_actors.kinds.sink import kept_by
from odibi_actors.local.runtime import tell
from odibi_actors.model import NOWHERE, Home, Target
from odibi_actors.nodes.sinks.owner import Owner
from odibi_actors.nodes.sinks.targets import understood
from odibi_actors.runtime import paths

UNFINISHED = ("planned", "running", "failed", "prepared", "blocked")
"""States of iterations that are not over."""


class Published(msgspec.Struct, frozen=True):
    """What a node of the pipeline has published and owns: ``parts`` files of a folder, or rows of a table. ``append``:
    the next run would add to it. ``at``: what ``target`` names; None in an intention of a former release. ``stays``:
    why a table is not dropped, in words."""

    node: str
    target: str
    parts: int
    append: bool
    at: Target | None = None
    stays: str = ""

    @property
    def where(self) -> Target:
        return self.at or Target(*former_target(self.target))


class Plan(msgspec.Struct, frozen=True):
    """What a reset deletes. ``resumed``: an interrupted one is ended as it was begun. ``home``: where the store was
    then. ``others``: what stays, in words. ``given_up``: sink -> iterations of which it was abandoned. ``removed``: the
    pipeline is not in the project any more, and nothing lists it from then on. ``leave``: what cannot be deleted
    stays."""

    pipeline: str
    targets: bool
    iterations: dict[str, int] = {}
    files: int = 0
    letters: int = 0
    schemas: int = 0
    states: int = 0
    published: list[Published] = []
    resumed: bool = False
    home: Home = NOWHERE
    others: list[str] = []
    given_up: dict[str, list[int]] = {}
    removed: bool = False
    leave: bool = False


class Reset:
    """A reset of one pipeline; use ``opened``."""

    def __init__(self, engine: Engine, places: paths.Layout, project: ProjectSpec, pipeline: str) -> None:
        self._engine = engine
        self._places = places
        self._project = project
        self._pipeline = pipeline
        self._doors = Doors(Path(project.root))
        self._removed = all(spec.name != pipeline for spec in project.pipelines)
        self._others: dict[str, None] = {}
        self._gone: list[Target] = []  # targets that are deleted, or were by an interrupted reset
        self._needed_by: dict[Target, Sequence[str]] = {}
        self._passed_on = adopted.by_target(engine.adoptions())
        self._given_up: dict[str, list[int]] = {}  # sink -> iterations of which it was abandoned, as far as `history`

    def plan(self, targets: bool, *, leave: bool = False) -> Plan:
        """What would be deleted, in this order. ``leave``: of a reset that was interrupted, what cannot be
        deleted stays. Raises NotFoundError when the pipeline has done nothing, and ConflictError when rows that stay
        would be doubled, when a table is needed by what stays, and when a pipeline that is not in the project has
        something in flight."""
        self._others.clear()
        if begun := self._engine.reset_begun(self._pipeline):
            return self._rest(msgspec.json.decode(begun, type=Plan), leave)
        if leave:
            raise NotFoundError(f"no reset of {self._pipeline} was interrupted: there is none to end")
        known = self._known()
        named: dict[tuple[str, Target], None] = dict.fromkeys(known.pop("targets", ()))
        self._given_up = known.get("given_up", {})
        known["files"] = self._read_again(known.get("files", []))
        published = list(self._published(self._with_project(named)))
        if targets:
            published = in_order(published, self._needed_by)
            self._gone += [one.where for one in published]
        doubled = [one for one in published if one.append and one.parts]
        if doubled and not targets and not self._removed:
            listed = "; ".join(f"{one.node}: {one.parts} in {one.target}" for one in doubled)
            raise ConflictError(
                f"what {self._pipeline} has appended would be there twice after the next run ({listed}): add --targets "
                "to delete it, or move it away"
            )
        if self._removed and not targets:
            for one in published:
                again = f"; {self._pipeline} would add to it, if it came back" if one in doubled else ""
                self._others[f"{one.node}: {one.target} stays as it is{again}"] = None
        return Plan(
            self._pipeline,
            targets,
            published=published if targets else [],
            home=self._engine.home,
            others=list(self._others),
            removed=self._removed,
            **known,
        )

    def _known(self) -> dict[str, Any]:
        """What there is to forget. Raises NotFoundError, ConflictError."""
        found = self._engine.known(self._pipeline)
        if self._removed:
            if not self._engine.left_out(self._pipeline):
                there = ", ".join(spec.name for spec in self._project.pipelines)
                raise NotFoundError(
                    f"no pipeline {self._pipeline!r} in odibi.yaml, nor one of that name that was taken out of it and "
                    f"not forgotten; there are: {there}"
                )
            flying = {state: n for state, n in (found or {}).get("iterations", {}).items() if state in UNFINISHED}
            if flying:
                listed = ", ".join(f"{number:,} {state}" for state, number in flying.items())
                raise ConflictError(
                    f"{self._pipeline} is not in odibi.yaml, and has unfinished iterations ({listed}): put it back, "
                    f"and `odibictl run {self._pipeline}` ends them; or reset it while it is there"
                )
        elif found is None:
            raise NotFoundError(f"pipeline {self._pipeline} has done nothing: there is nothing to forget")
        return dict(found or {})

    def _rest(self, begun: Plan, leave: bool) -> Plan:
        """What is left of a reset that was interrupted."""
        self._given_up = begun.given_up
        follow = follower(begun.home, self._engine.home)
        rest: list[Published] = []
        for one in begun.published:
            at = followed(one.where, follow)
            self._gone.append(at)
            try:
                rest += self._published({(one.node, at): None})
            except (ConflictError, OSError) as error:
                self._refused(msgspec.structs.replace(one, at=at), error, leave)
        try:
            rest = in_order(rest, self._needed_by)
        except ConflictError as error:
            if not leave:
                raise ConflictError(f"{error}; {self._leave}") from None
        return msgspec.structs.replace(
            begun, published=rest, resumed=True, leave=leave, others=list(self._others), removed=self._removed
        )

    def _refused(self, one: Published, error: Exception, leave: bool) -> None:
        """A target cannot be deleted: it stays if it may and that doubles nothing. Raises ConflictError, OSError."""
        kind = ConflictError if isinstance(error, ConflictError) else OSError
        if one.parts and self._appends(one.where):
            raise kind(
                f"{error}; what {one.node} has appended to {one.where} would be there twice after the next run: delete "
                f"it yourself, or let {one.node} publish elsewhere, then {self._leave}"
            ) from None
        if not leave:
            raise kind(f"{error}; {self._leave}") from None
        self._gone.remove(one.where)
        self._others[f"{one.node}: {one.where} stays as it is, as it cannot be deleted: {error}"] = None

    @property
    def _leave(self) -> str:
        return f"`odibictl reset {self._pipeline} --leave` ends the reset without what cannot be deleted"

    def _appends(self, at: Target) -> bool:
        """Whether the pipeline, as the project has it now, adds to what is in the target."""
        specs = (spec for spec in self._project.pipelines if spec.name == self._pipeline)
        writes = (node.write for spec in specs for node in spec.nodes if node.write is not None)
        return any(write.mode == "append" and write.target == at for write in writes)

    def carry_out(self, plan: Plan) -> list[str]:
        """Do it; returns what stays, in words. Raises ConflictError, sqlite3.Error, OSError; what is left is done by
        the next try."""
        self._others.clear()
        if not plan.resumed:
            self._engine.forget(self._pipeline, time.time(), msgspec.json.encode(plan).decode())
        for target in plan.published:
            try:
                with understood(target.where, ConflictError):
                    self._delete(target)
            except (ConflictError, OSError) as error:
                self._refused(target, error, plan.leave)
        for folder in ("spool", "staged"):
            shutil.rmtree(self._places.data_dir / folder / self._pipeline, ignore_errors=True)
        self._engine.end_reset(self._pipeline, self._gone, hide=plan.removed)
        return list(self._others)

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

    def _with_project(self, named: dict[tuple[str, Target], None]) -> dict[tuple[str, Target], None]:
        """Targets that the store knows of, and those of the project's sinks."""
        writes = [
            (node.name, node.write.target)
            for spec in self._project.pipelines
            for node in (spec.nodes if spec.name == self._pipeline else [])
            if node.write is not None
        ]
        return {**named, **dict.fromkeys(writes)}

    def _published(self, named: dict[tuple[str, Target], None]) -> Iterator[Published]:
        """What there is in these targets, as far as they are this pipeline's."""
        appending = {
            node.write.target: node.write.mode == "append"
            for spec in self._project.pipelines
            for node in (spec.nodes if spec.name == self._pipeline else [])
            if node.write is not None
        }
        found_owners = [(self._owners(node, target), target) for node, target in named]
        for owner, target in dict.fromkeys((owners[0], target) for owners, target in found_owners if owners):
            kept = None
            with understood(target, ConflictError):
                if self._is_ours(owner, target):
                    kept = sink_of(target.sink).kept(target, *self._those(owner.node, target), self._doors.to(target))
            if kept is not None:
                append = appending.get(target, not kept.replaced)
                self._needed_by[target] = kept.needed_by
                yield Published(owner.node, target.name, kept.parts, append, target, kept.stays)

    def _owners(self, node: str, target: Target) -> list[Owner]:
        """The owner of what the node has published to, and those it was taken over from; none when that is another
        pipeline's now."""
        names = self._passed_on.get(target.name, [(self._pipeline, node)])
        return [Owner(self._engine.store_id, *one) for one in names] if names[0][0] == self._pipeline else []

    def _those(self, node: str, target: Target) -> tuple[list[Owner], list[Collection[int]]]:
        """Whose what is in the target is, and of each the iterations of which it was given up."""
        owners = self._owners(node, target) or [Owner(self._engine.store_id, self._pipeline, node)]
        return owners, [self._given_up.get(one.node, ()) if one.pipeline == self._pipeline else () for one in owners]

    def _is_ours(self, owner: Owner, target: Target) -> bool:
        """What the target is marked as is this node's, or that of one from which it was taken over; that of another
        copy of the store is told, and stays."""
        kind = sink_of(target.sink)
        mark = kind.mark(target, self._doors.to(target))
        if mark is None or mark.owner not in (owner, *self._owners(owner.node, target)):
            return False
        if other := mark.elsewhere(self._engine.home, kind.place(target)):
            self._others[f"{owner.node}: {target} belongs to {other}, of which this is a copy, and stays"] = None
            return False
        return True

    def _delete(self, published: Published) -> None:
        """Delete what the node has published there, then its ownership. Done already is done."""
        target = published.where
        if self._is_ours(Owner(self._engine.store_id, self._pipeline, published.node), target):
            sink_of(target.sink).delete(target, *self._those(published.node, target), self._doors.to(target))


def in_order(published: Sequence[Published], needed_by: Mapping[Target, Sequence[str]]) -> list[Published]:
    """Tables before files, as only a database may refuse; and each table after those that refer to it. Raises
    ConflictError for one that is needed by what stays, or by one that cannot go before it."""
    going = {_folded(one.where): one for one in published if not one.stays}
    graph: dict[Target, list[Target]] = {}
    for at, one in going.items():
        graph[at] = []
        for name in needed_by.get(one.where, ()):
            other = _folded(Target(at.sink, one.where.connection, name))
            if other not in going:
                raise ConflictError(kept_by(one.where, name))
            graph[at].append(other)
    try:
        order = [going[at] for at in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        first, second = error.args[1][:2]
        raise ConflictError(kept_by(going[second].where, first.locator)) from None
    return sorted(
        [*order, *(one for one in published if one.stays)], key=lambda one: sink_of(one.where.sink).unit == "file"
    )


def _folded(at: Target) -> Target:
    return sink_of(at.sink).folded(at)


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
        engine = Engine(places.database, root=Path(project.root))
        if engine.moved:
            tell(engine.moved)
        try:
            yield Reset(engine, places, project, pipeline)
        finally:
            engine.checkpoint()
            engine.close()
    finally:
        lock.release()
