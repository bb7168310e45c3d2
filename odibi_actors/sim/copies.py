"""The end of a simulated life, once more: its folders are restored from a backup, and no file is called another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from odibi_actors.messages import SOURCE
from odibi_actors.model import LIVE
from odibi_actors.sim.host import SimFile
from odibi_actors.sim.truth import check
from odibi_actors.streaming.actor import SourceActor
from odibi_actors.streaming.changes import MAX_PAUSE

if TYPE_CHECKING:
    from odibi_actors.sim.scenario import Scenario

SECONDS = 40.0
"""Virtual time until the source has looked at all files and compared them."""

STEP = 5.0
"""Virtual seconds after which somebody looks whether it has."""


def restore(life: Scenario) -> None:
    """Files that were read get other inodes and ctimes, and keep their bytes: nothing is told of them, and the ledger
    knows them as they are. Raises Violation."""
    read: dict[tuple[str, str, str], SimFile] = {}
    for iteration in life.truth.iterations.values():
        plan = iteration.plan
        if iteration.state == "committed" and plan.lane == LIVE:
            for name in plan.ledgered:
                for position in iteration.positions.get(name, []):
                    read[plan.pipeline, name, position.identity] = life.delivered[
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
    for source in actor.sources.values():
        # What operators wrote again is told, and rightly.
        known = life.fixed.intersection(source.changes.texts)
        check(known == set(source.changes.texts), "I6", f"{source.key}: {list(source.changes.texts.values())[:3]}")
    check(not unknown, "I6", unknown)


def _unknown(life: Scenario, read: dict[tuple[str, str, str], SimFile]) -> str:
    """A file that the ledger does not know as it is; "" when there is none."""
    for (pipeline, name, _), file in read.items():
        for row in life.host.engine.ledger_rows(pipeline, LIVE, name, [file.identity]):
            if row.state == "read" and row.position.inode != file.inode and file.identity not in life.fixed:
                return f"{pipeline}.{name}: {file.identity} is not known as it is: {row}"
    return ""
