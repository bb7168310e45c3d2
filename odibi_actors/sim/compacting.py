"""``odibictl sink compact`` in lives whose sinks are real: the broker writes down up to where, then whoever asked joins
the files, beside whatever is published; he may be killed at each step, and does it again later, or not.

Where rewinds go from then on the broker says; what readers find is compared with the model, as ever.
"""

from __future__ import annotations

import random
from pathlib import Path

from odibi_actors.config.model import PipelineSpec
from odibi_actors.failpoints import watching
from odibi_actors.messages import Reply
from odibi_actors.model import Target
from odibi_actors.nodes.sinks import compacting, joined
from odibi_actors.sim import changes
from odibi_actors.sim.life import Life
from odibi_actors.sim.verdict import check
from odibi_actors.sim.work import Killed

SIZES = (2_000, 128_000_000, 128_000_000)
"""Bytes of a file from which on it is big enough."""
KILLED, RARELY = 0.15, 0.01
"""How often whoever joins is killed at a failpoint of his own, and at one of any file."""


def compact(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """Somebody has the files of a sink joined; the id of his question, "" when there are none."""
    sinks = {
        node.name: node.write.target
        for node in changes.sinks(pipeline)
        if node.write is not None and node.write.mode == "append" and not node.write.table
    }
    there = [name for name, at in sinks.items() if len(life.host.standing(at)) > 1]
    may = life.host.real and not life.host.missing and life.host.older != "in place"
    if not may or not there:
        return ""
    sink, size = rng.choice(there), rng.choice(SIZES)
    request = life.ask("sink.compact", pipeline=pipeline.name, sink=sink, dry_run=False)

    def answered(reply: Reply) -> None:
        if reply.id == request and reply.status == 0:
            life.heard.remove(answered)
            _join(life, rng, pipeline.name, sink, size, reply.result)

    life.heard.append(answered)
    return request


def _join(life: Life, rng: random.Random, pipeline: str, sink: str, size: int, row: dict[str, object]) -> None:
    at, upto = Target(*row["at"]), int(str(row["upto"]))  # type: ignore[misc]
    folder = Path(life.work.outside(at.locator))
    if life.host.older == "in place" or life.host.missing or not life.host.standing(at):
        return

    def reached(name: str) -> None:
        if rng.random() < (KILLED if name.startswith("compact.") else RARELY):
            raise Killed(name)

    life.host.joined[at] = max(upto, life.host.joined.get(at, 0))
    try:
        with watching(reached), joined.alone(folder):
            planned = compacting.plan(folder, sink, upto, size, _known(life, pipeline, sink))
            if planned.packs:
                compacting.compact(folder, sink, planned)
                life.world.count("files joined")
    except Killed as killed:
        life.world.count(f"crash of joining at {killed}")
    check(life.work.held(at), "I1", f"{at} has other rows once its files are joined up to {upto}")


def _known(life: Life, pipeline: str, sink: str) -> compacting.Known:
    found = life.host.engine.answer("sink.parts", {"pipeline": pipeline, "sink": sink})
    return compacting.Known(found["first"], dict(found["items"]))
