"""The end of a simulated life, once more: its folders are restored from a backup, and no file is called another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from odibi_actors.messages import SOURCE
from odibi_actors.model import LIVE
from odibi_actors.sim.host import SimFile
from odibi_actors.sim.truth import check
from odibi_actors.streaming.actor import SourceActor

if TYPE_CHECKING:
    from odibi_actors.sim.scenario import Scenario

SECONDS = 40.0
"""Virtual time until the source has looked at all files and compared them."""


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
    life.world.run(life.world.now + SECONDS)
    actor = life.world.processes[SOURCE].actor
    check(isinstance(actor, SourceActor), "I5", "there is no source")
    assert isinstance(actor, SourceActor)
    for source in actor.sources.values():
        check(not source.changes.texts, "I6", f"{source.key}: {list(source.changes.texts.values())[:3]}")
    for (pipeline, name, _), file in read.items():
        for row in life.host.engine.ledger_rows(pipeline, LIVE, name, [file.identity]):
            same = row.state != "read" or row.position.inode == file.inode
            check(same, "I6", f"{pipeline}.{name}: {file.identity} is not known as it is: {row}")
