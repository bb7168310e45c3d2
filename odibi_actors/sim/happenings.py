"""Everything that happens to a simulated system: a plan drawn from the seed before life begins.

Each event has its own generator, so that a plan with some events left out is still the same plan (see ``shrink``).
"""

from __future__ import annotations

import random
from functools import partial

from odibi_actors.sim import columns, feeding
from odibi_actors.sim.event import Event
from odibi_actors.sim.faults import FAULTS, Happens
from odibi_actors.sim.life import BY_HAND, Life
from odibi_actors.sim.verbs import SOURCE_PAUSE, VERBS, perform


def _somewhere(verb: str, life: Life, rng: random.Random) -> None:
    perform(life, verb, rng, rng.choice(life.project.pipelines))


HAPPENINGS: dict[str, tuple[int, Happens]] = {
    **FAULTS,
    **{name: (verb.weight, partial(_somewhere, name)) for name, verb in VERBS.items()},
}
"""Kind of event -> (weight, what it does)."""


def draw(rng: random.Random, seconds: float) -> list[Event]:
    """A plan: files that arrive and what goes wrong meanwhile."""
    events = [Event(rng.uniform(0, seconds), "file", rng.getrandbits(32)) for _ in range(rng.randint(3, 30))]
    kinds, weights = list(HAPPENINGS), [weight for weight, _ in HAPPENINGS.values()]
    gap = rng.choice([0.3, 1.0, 3.0])
    at = rng.uniform(0, 2)
    while at < seconds:
        (kind,) = rng.choices(kinds, weights)
        events.append(Event(at, kind, rng.getrandbits(32)))
        at += rng.expovariate(1 / gap)
    return events


CHANGING = 0.4
"""Share of lives in which the project is changed more than now and then."""
ELSEWHERE = ("sink move", "reset", "compact", SOURCE_PAUSE, BY_HAND)
"""Verbs that have lives of their own."""
CHANGES = [
    name for name, verb in VERBS.items() if not verb.weight and name not in (*ELSEWHERE, *feeding.OF, *columns.OF)
]
"""What is changed there."""

JOINED = 0.5
"""Share of lives in which files are joined, if there are real ones."""
MOVING = 0.15
"""Share of lives in which sinks go to another pipeline."""
RESET = 0.1
"""Share of lives in which a pipeline is reset."""


def project_changes(seed: int, seconds: float) -> list[Event]:
    """How the project changes, where it does."""
    rng = random.Random(f"changes {seed}")
    if rng.random() >= CHANGING:
        return []
    count = rng.choice([1, 3, 8])
    return [Event(rng.uniform(1.0, seconds), rng.choice(CHANGES), rng.getrandbits(32)) for _ in range(count)]


def rare(seed: int, seconds: float, changing: bool) -> list[Event]:
    """When sinks go to another pipeline, when one is reset, and files are joined, in lives where that happens; and new
    columns, where they are ``changing``."""
    events = []
    often = (
        *(
            ("sink move", MOVING, [1, 2, 4]),
            ("reset", RESET, [1, 1, 2]),
            ("compact", JOINED, [2, 4]),
            (BY_HAND, 1.0, [2, 4]),
        ),
        *(("columns come", 1.0, [2, 4, 8]), ("schema policy", 0.5, [1, 2, 4])),
    )
    for what, share, counts in often if changing else often[:4]:
        rng = random.Random(f"{what} {seed}")
        count = rng.choice(counts) if rng.random() < share else 0
        events += [Event(rng.uniform(2.0, seconds), what, rng.getrandbits(32)) for _ in range(count)]
    return events


def fed(seed: int, verbs: tuple[str, ...], seconds: float) -> list[Event]:
    """What comes to logs of events, and to tables, in lives that have some."""
    modes = feeding.modes(seed, verbs)
    kinds = [kind for kind, mode in feeding.OF.items() if mode in modes]
    rng = random.Random(f"what comes {seed}")
    count = rng.choice([4, 8, 16]) * len(modes)
    return [Event(rng.uniform(0.5, seconds), rng.choice(kinds), rng.getrandbits(32)) for _ in range(count)]


def backfills(seed: int, seconds: float) -> list[Event]:
    """More of them, for lives in which other pipelines follow the commits that they bring out of order."""
    rng = random.Random(f"backfills {seed}")
    return [Event(rng.uniform(3.0, seconds), "backfill", rng.getrandbits(32)) for _ in range(4)]
