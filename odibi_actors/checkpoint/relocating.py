"""A project that was moved, copied, or restored elsewhere: what its store has recorded of places there follows.

Paths are recorded absolute, and the store knows where it was when it recorded them (table ``home``). Opened elsewhere,
it rewrites those below the former folder of the project, or the former data_dir, once and in one transaction: whoever
asks it never sees a former one. Paths elsewhere stay: they are the same place for every copy (see ``sinks.owner``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.adopted import AdoptDecoder
from odibi_actors.checkpoint.schema import seal, unseal
from odibi_actors.checkpoint.snapshot import RewindDecoder, VersionDecoder
from odibi_actors.checkpoint.tables import AckDecoder, ScheduleDecoder, SchemaDecoder, SinksDecoder
from odibi_actors.config.model import ConnectionSpec, NodeSpec, PipelineSpec, ScheduleSpec
from odibi_actors.config.places import lies_in
from odibi_actors.errors import ConflictError
from odibi_actors.model import Home, StagedRef, Target
from odibi_actors.nodes.sinks.owner import Owner, stands
from odibi_actors.nodes.sinks.targets import looked_at, mark_of

Follow = Callable[[str], str]
"""A recorded path -> where it is now."""

_Row = tuple[str, tuple[Any, ...], str, Any]
"""Table, its key, the column, the value in it."""


def relocate(db: sqlite3.Connection, home: Home) -> Home | None:
    """Let what is recorded follow to ``home``; returns where it was, None if it was there already. Raises ConflictError
    (two projects share the data_dir, and their targets differ), StoreError, sqlite3.Error."""
    written = recorded(db)
    former = written or _inferred(db, home)
    if written == home:
        return None
    _refuse_shared(db, former, home)
    db.execute("BEGIN IMMEDIATE")
    try:
        if former != home:
            _rewrite(db, former, home)
        db.execute("DELETE FROM home")
        db.execute("INSERT INTO home VALUES (?, ?)", (home.data_dir, home.root))
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return former if former != home else None


def recorded(db: sqlite3.Connection) -> Home | None:
    """Where the store was when it was written last; None: it was not told yet. Raises sqlite3.Error."""
    found = db.execute("SELECT data_dir, root FROM home").fetchone()
    return Home(*found) if found is not None else None


def told(former: Home, home: Home, store_id: str) -> str:
    """What has happened to the project of this store, in words."""
    if former.root == home.root:
        return f"the data_dir was {former.data_dir}, and is {home.data_dir} now; recorded paths follow"
    if stands(former.data_dir, store_id):
        paths = f"its recorded paths are those in {home.root} from now on"
        return f"this project is a copy of the one in {former.root}; {paths}"
    return f"the project was in {former.root}, and is in {home.root} now; recorded paths follow"


def follower(former: Home, home: Home) -> Follow:
    """How paths below one home become those below the other."""
    pairs = sorted({(former.root, home.root), (former.data_dir, home.data_dir)}, key=lambda pair: -len(pair[0]))

    def follow(path: str) -> str:
        for old, new in pairs:
            if old and lies_in(path, old):
                return new.rstrip("/") + path[len(old.rstrip("/")) :]
        return path

    return follow


def _rewrite(db: sqlite3.Connection, former: Home, home: Home) -> None:
    follow = follower(former, home)
    for table, key, column, value in list(_followed(db, follow)):
        where = " AND ".join(f"{name} = ?" for name in _KEYS[table])
        db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (seal(value), *key))


_KEYS = {
    "versions": ("pipeline", "version"),
    "schemas": ("pipeline", "node"),
    "acks": ("pipeline", "iteration", "node"),
    "iterations": ("pipeline", "iteration"),
    "rewinds": ("pipeline",),
    "schedules": ("pipeline", "name"),
    "adoptions": ("seq",),
}


def _followed(db: sqlite3.Connection, follow: Follow) -> Iterator[_Row]:
    """The rows that hold a path that is another now, with it."""
    changes: tuple[tuple[str, str, msgspec.msgpack.Decoder[Any], Callable[[Any, Follow], Any]], ...] = (
        ("versions", "payload", VersionDecoder, lambda one, to: replace(one, spec=_pipeline(one.spec, to))),
        ("schemas", "payload", SchemaDecoder, _schema),
        ("acks", "payload", AckDecoder, _ack),
        ("iterations", "sinks", SinksDecoder, lambda parts, to: {node: _part(one, to) for node, one in parts.items()}),
        ("rewinds", "payload", RewindDecoder, _rewind),
        ("adoptions", "payload", AdoptDecoder, lambda one, to: replace(one, target=followed(one.target, to))),
        ("schedules", "payload", ScheduleDecoder, lambda one, to: replace(one, spec=_schedule(one.spec, to))),
    )
    for table, column, decoder, change in changes:
        keys = ", ".join(_KEYS[table])
        for *key, blob in db.execute(f"SELECT {keys}, {column} FROM {table} WHERE {column} IS NOT NULL"):
            value = unseal(blob, decoder, f"{column} of {table} {' '.join(map(str, key))}")
            moved = change(value, follow)
            if moved != value:
                yield table, tuple(key), column, moved


def _targets(db: sqlite3.Connection) -> Iterator[tuple[str, str, Target]]:
    """(pipeline, sink, target) of all that was published as far as it is known."""
    seen = set()
    for pipeline, node, blob in db.execute("SELECT pipeline, node, payload FROM schemas"):
        if target := unseal(blob, SchemaDecoder, f"the schema of {pipeline}.{node}").target:
            seen.add((pipeline, node, target))
            yield pipeline, node, target
    for pipeline, number, blob in db.execute(
        "SELECT pipeline, iteration, sinks FROM iterations WHERE sinks IS NOT NULL ORDER BY id DESC"
    ):
        for node, part in unseal(blob, SinksDecoder, f"the sinks of {pipeline} iteration {number}").items():
            if (pipeline, node, part.at) not in seen:
                seen.add((pipeline, node, part.at))
                yield pipeline, node, part.at


def _refuse_shared(db: sqlite3.Connection, former: Home, home: Home) -> None:
    """Raise ConflictError when the data_dir is that of another project, which stands where it was: its targets are not
    those of this one."""
    project = Path(former.root) / "odibi.yaml"
    if former.root == home.root or former.data_dir != home.data_dir or not project.exists():
        return
    follow = follower(former, home)
    for _, _, target in _targets(db):
        old, new = _path(target), _path(followed(target, follow))
        if old.exists() and old.resolve() != new.resolve():
            raise ConflictError(
                f"data_dir {home.data_dir} is that of the project in {former.root}, which has published to {old}: give "
                f"the one in {home.root} a data_dir of its own, or remove {project} if it takes its place"
            )


def _inferred(db: sqlite3.Connection, home: Home) -> Home:
    """Where a store of a former release was, which did not note it: where what it has published lay, as far as that is
    found in the project as it is now, marked as its own."""
    (store_id,) = db.execute("SELECT store_id FROM meta").fetchone()
    for pipeline, node, target in _targets(db):
        path = _path(target)
        if not path.is_absolute():
            continue  # it is not of this machine
        if lies_in(str(path), home.root):
            return home
        for depth in range(1, len(path.parts)):
            here = str(Path(home.root, *path.parts[depth:]))
            with suppress(ConflictError), looked_at(target):
                mark = mark_of(followed(target, lambda _, here=here: here))  # type: ignore[misc]
                if mark is not None and mark.owner == Owner(store_id, pipeline, node):
                    root = str(Path(*path.parts[:depth]))
                    return Home(follower(home, Home(root=root))(home.data_dir), root)
    return home


def _path(target: Target) -> Path:
    """The folder, or the database, of a recorded target."""
    return Path(target.connection or target.locator)


def followed(target: Target, follow: Follow) -> Target:
    """A target where it is now: what has a path is where that is: what is in a database is called there as it was."""
    if target.connection:
        return replace(target, connection=follow(target.connection))
    return replace(target, locator=follow(target.locator))


def _part(part: StagedRef, follow: Follow) -> StagedRef:
    return replace(
        part,
        at=followed(part.at, follow),
        staged=follow(part.staged),
        published=follow(part.published),
        exclusive=follow(part.exclusive),
    )


def _ack(ack: r.Ack, follow: Follow) -> r.Ack:
    return ack if ack.staged is None else replace(ack, staged=_part(ack.staged, follow))


def _schema(pin: r.Schema, follow: Follow) -> r.Schema:
    return pin if pin.target is None else replace(pin, target=followed(pin.target, follow))


def _rewind(rewind: r.Rewind, follow: Follow) -> r.Rewind:
    return replace(
        rewind, retractions=[replace(one, target=followed(one.target, follow)) for one in rewind.retractions]
    )


def _schedule(spec: ScheduleSpec, follow: Follow) -> ScheduleSpec:
    watch = spec.file_watch
    return spec if watch is None else replace(spec, file_watch=replace(watch, folder=follow(watch.folder)))


def _pipeline(spec: PipelineSpec, follow: Follow) -> PipelineSpec:
    def connection(one: ConnectionSpec) -> ConnectionSpec:
        return replace(one, path=follow(one.path))

    def node(one: NodeSpec) -> NodeSpec:
        if one.read is not None:
            return replace(one, read=replace(one.read, connection=connection(one.read.connection)))
        if one.write is not None:
            return replace(one, write=replace(one.write, connection=connection(one.write.connection)))
        return one

    schedules = [_schedule(one, follow) for one in spec.schedules]
    return replace(spec, nodes=list(map(node, spec.nodes)), schedules=schedules)
