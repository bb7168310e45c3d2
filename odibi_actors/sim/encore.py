"""The end of a simulated life, once more: pipelines are taken back, something goes wrong meanwhile, and all that is
released is planned again, soon (``promptness``), and comes to its end.

What is released no event of the file system tells of: a source learns it from one message of the broker, and from the
ledger that it reads again then. Each of these may be lost.
"""

from __future__ import annotations

import random

from odibi_actors.config.model import PipelineSpec
from odibi_actors.messages import BROKER, SOURCE, STORE
from odibi_actors.sim import restoring
from odibi_actors.sim.ending import Ending
from odibi_actors.sim.life import Life
from odibi_actors.sim.promptness import Promptness
from odibi_actors.sim.verdict import check

ASKED = 60.0
"""Virtual seconds within which a rewind that has begun is done."""
REJOINED = 1.5
"""Virtual seconds until who was cut off, or has started again, knows the others."""
QUIET = 300.0
"""Virtual seconds within which all is finished again."""


def take_back(life: Life, ending: Ending, prompt: Promptness) -> None:
    """Take each pipeline back that lets itself be. Raises Violation."""
    rng = random.Random(f"encore {life.world.seed}")
    for pipeline in life.project.pipelines:
        if life.newest(pipeline.name):
            calm = _take_back(life, pipeline, rng)
            prompt.release(pipeline.name, calm)
            life.resume(pipeline.name)
    quiet = life.world.now + QUIET
    while not ending.finished():
        check(life.world.now < quiet, "I5", f"unfinished {QUIET:.0f} s after a rewind: {ending.left()}")
        life.world.run(life.world.now + 1.0)
        prompt.look()
        ending.help()
        if rng.random() < 0.2:
            restoring.move_away(life)
            life.retry_failed()
            for pipeline in life.project.pipelines:
                life.resume(pipeline.name)
                life.teach(pipeline)


def _take_back(life: Life, pipeline: PipelineSpec, rng: random.Random) -> float | None:
    """Returns when nothing goes wrong any more; None: nothing has."""
    world, name = life.world, pipeline.name
    life.ask("pipeline.drain", pipeline=name, wait=False)
    world.run(world.now + 1.0)
    to = rng.choice([0, 0, rng.randrange(life.newest(name))])
    request = life.ask("pipeline.rewind", pipeline=name, to=to)
    begins, whom, away = rng.choice([0.0, 0.005, 0.02, 0.1]), rng.choice(["", BROKER, STORE, SOURCE, SOURCE]), 1.0
    if whom and whom != BROKER and rng.random() < 0.5:
        away = rng.choice([0.02, 0.2, 4.0])
        world.after(begins, world.partition, whom, away, rng.choice(["both", "in", "out"]))
    elif whom:
        world.after(begins, world.crash, whom)
    calm = world.now + begins + away + REJOINED
    # Whoever asks a broker that is killed gets no answer: then it has begun, or never does.
    world.run(calm, lambda: request in life.answers)
    world.run(world.now + ASKED, lambda: name not in life.truth.rewinds)
    check(name not in life.truth.rewinds, "I5", f"{name} is not taken back to {to} after {ASKED:.0f} s")
    if life.answers.get(request) == 0:
        world.count("taken back at the end")
    return calm if whom else None
