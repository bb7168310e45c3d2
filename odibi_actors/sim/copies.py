"""The end of a simulated life, once more: its folders are restored from a backup, and no file is called another; its
project is moved, and what its store has recorded follows, no more and no less."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import msgspec

from odibi_actors.checkpoint import relocating, snapshot
from odibi_actors.messages import SOURCE
from odibi_actors.model import LIVE, Home
from odibi_actors.sim import changes
from odibi_actors.sim.host import SimFile
from odibi_actors.sim.life import Life
from odibi_actors.sim.truth import check
from odibi_actors.sources.file_position import file_times
from odibi_actors.streaming.actor import SourceActor
from odibi_actors.streaming.changes import MAX_PAUSE
from odibi_actors.streaming.source import Source

SECONDS = 40.0
"""Virtual time until the source has looked at all files and compared them."""

STEP = 5.0
"""Virtual seconds after which somebody looks whether it has."""


def restore(life: Life) -> None:
    """Files that were read get other inodes and ctimes, and keep their bytes: nothing is told of them, and the ledger
    knows them as they are. Raises Violation."""
    read: dict[tuple[str, str, str], SimFile] = {}
    watched = {one.name: {node.name for node in changes.watched(one)} for one in life.project.pipelines}
    for iteration in life.truth.iterations.values():
        plan = iteration.plan
        if iteration.state == "committed" and plan.lane == LIVE:
            for name in sorted({*plan.ledgered} & watched[plan.pipeline]):
                for position in iteration.positions.get(name, []):
                    read[plan.pipeline, name, position.identity] = life.landing.delivered[
                        plan.pipeline, name, position.identity
                    ]
    for file in read.values():
        file.inode, file.ctime_ns = file.inode + 1_000_000, int(life.world.now * 1e9)
    life.world.tell("folders are restored")
    # A source that was stopped while it compared takes that for the time it took, and pauses for a multiple of it.
    stopped = "stop source" in life.world.counts or "suspend" in life.world.counts
    latest = life.world.now + SECONDS + (MAX_PAUSE if stopped else 0.0)
    life.world.run(life.world.now + STEP)
    while (unknown := _unknown(life, read)) and life.world.now < latest:
        life.world.run(life.world.now + STEP)
    actor = life.world.processes[SOURCE].actor
    check(isinstance(actor, SourceActor), "I5", "there is no source")
    assert isinstance(actor, SourceActor)
    for source in (one for one in actor.sources.values() if isinstance(one, Source)):
        # What operators wrote again is told, and rightly.
        known = life.landing.fixed.intersection(source.changes.texts)
        check(known == set(source.changes.texts), "I6", f"{source.key}: {list(source.changes.texts.values())[:3]}")
    check(not unknown, "I6", unknown)


HERE, THERE = Home("/state", "/out"), Home("/state", "/there/and back")
"""Where the store of a life is, whose targets are all below ``/out``, and where it is moved to."""


def move(life: Life) -> None:
    """What is recorded of targets is of the new folder, the rest as it was, and all is as it was once it is moved back.
    Raises Violation."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        life.host.engine._db.backup(db)
        db.execute("INSERT INTO home VALUES (?, ?)", (HERE.data_dir, HERE.root))
        before, rows = _loaded(db), _rows(db)
        relocating.relocate(db, THERE)
        after = _loaded(db)
        check(after.replace(THERE.root, HERE.root) == before, "I6", "a broker does not know the project that was moved")
        check(f'"{HERE.root}/' not in after, "I6", f"something is still recorded of {HERE.root}")
        relocating.relocate(db, HERE)
        check(_rows(db) == rows, "I6", "a project that was moved and came back is another one")


def _loaded(db: sqlite3.Connection) -> str:
    """What a broker would load, as text."""
    found, cursor = "", ""
    while True:
        items, cursor = snapshot.load(db, cursor)
        found += msgspec.json.encode(items).decode()
        if not cursor:
            return found


def _rows(db: sqlite3.Connection) -> list[tuple[object, ...]]:
    """All rows of all tables."""
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    return [row for name in names for row in db.execute(f"SELECT * FROM {name}")]


def _unknown(life: Life, read: dict[tuple[str, str, str], SimFile]) -> str:
    """A file that the ledger does not know as it is; "" when there is none."""
    for (pipeline, name, _), file in read.items():
        for row in life.host.engine.ledger_rows(pipeline, LIVE, name, [file.identity]):
            if row.state != "read" or file.identity in life.landing.fixed:
                continue
            if file_times(row.position.detail).inode != file.inode:
                return f"{pipeline}.{name}: {file.identity} is not known as it is: {row}"
    return ""
