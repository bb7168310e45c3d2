"""Pairs of operators' verbs with a crash between or within them: which were lived, and how they were answered.

A life is given a pair, and attempts it several times, each as soon as there is something for its verbs to do: a letter
to replay, an iteration to cancel. So the rare states are looked for, not waited for. Everything else of such a life is
what any simulated life is, and the same checks hold.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from odibi_actors.config.model import PipelineSpec
from odibi_actors.messages import Apply
from odibi_actors.sim.plans import random_schedule

if TYPE_CHECKING:
    from odibi_actors.sim.scenario import Scenario


class Event(msgspec.Struct, frozen=True):
    """Something that happens ``at`` seconds after the beginning; ``dice`` seeds its choices."""

    at: float
    kind: str
    dice: int


Do = Callable[["Scenario", random.Random, PipelineSpec], str]
"""Does it to a pipeline; the id of the request, "" when there is nothing to do it to."""

LOOK = 0.25
"""Virtual seconds until a verb that had nothing to do looks again."""
LOOKS = 24
ATTEMPTS = 5
"""Times that a life attempts its pair."""
PAUSES = (0.0, 0.005, 0.05, 0.5)
"""Virtual seconds from one verb to the crash, and from there to the other: within their work, or after it."""
BACK = 3.0
"""Virtual seconds after which somebody resumes what was paused or drained: else everything after it is refused."""

MORE = 10
"""Events that a life of a pair has more: files, and what makes them fail."""

Pair = tuple[str, str]


class Lived(NamedTuple):
    """One attempt: the requests of both verbs."""

    first: str
    second: str


def _pause(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    life.world.after(BACK, life.resume, pipeline.name)
    return life.ask("pipeline.pause", pipeline=pipeline.name)


def _resume(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    return life.ask("pipeline.resume", pipeline=pipeline.name)


def _drain(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    life.world.after(BACK, life.resume, pipeline.name)
    return life.ask("pipeline.drain", pipeline=pipeline.name, wait=False)


def _rewind(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    """Of a pipeline that has committed something; it is drained first, which may not be done when the rewind comes."""
    mine = [(n, one.state) for (name, n), one in life.truth.iterations.items() if name == pipeline.name]
    committed = [number for number, state in mine if state == "committed"]
    if not committed:
        return ""
    newest = max(committed)
    life.ask("pipeline.drain", pipeline=pipeline.name, wait=False)
    life.world.after(BACK, life.resume, pipeline.name)
    to = rng.choice([0, newest - 1, rng.randint(0, newest)])
    return life.ask_later(rng.choice([0.3, 1.0, 2.0]), "pipeline.rewind", pipeline=pipeline.name, to=to)


def _cancel(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    return _of_iteration(life, rng, pipeline, "iteration.cancel", "planned", "running", "failed")


def _retry(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    if rng.random() < 0.5:
        life.retry_failed()
    return _of_iteration(life, rng, pipeline, "iteration.retry", "failed", "blocked")


def _of_iteration(life: Scenario, rng: random.Random, pipeline: PipelineSpec, verb: str, *states: str) -> str:
    found = [n for (name, n), one in life.truth.iterations.items() if name == pipeline.name and one.state in states]
    return life.ask(verb, pipeline=pipeline.name, iteration=rng.choice(found)) if found else ""


def _abandon(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    for (name, number), iteration in life.truth.iterations.items():
        for sink in iteration.blocked if name == pipeline.name and iteration.state == "blocked" else ():
            return life.ask("iteration.abandon", pipeline=name, iteration=number, sink=sink)
    return ""


def _replay(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    return _of_letter(life, rng, pipeline, "deadletter.replay")


def _discard(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    return _of_letter(life, rng, pipeline, "deadletter.discard")


def _of_letter(life: Scenario, rng: random.Random, pipeline: PipelineSpec, verb: str) -> str:
    held = life.truth.places.held()
    mine = [letter for letter, places in held.items() if any(place[0] == pipeline.name for place in places)]
    if not mine:
        return ""
    letter = rng.choice(mine)
    if rng.random() < 0.5:
        life.fix(held[letter])
    return life.ask(verb, letter=letter)


def _trigger(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    run = f"pair-{rng.getrandbits(32):x}"
    return life.ask("pipeline.trigger", pipeline=pipeline.name, run=run, params={"day": rng.randint(1, 31)})


def _backfill(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    params: dict[str, object] = {"concurrency": rng.choice([1, 2]), "run": f"pair-{rng.getrandbits(32):x}"}
    if pipeline.name == "r":
        params |= {"schedule": "w0", "from": life.clock.wall - 20.0, "to": life.clock.wall}
    else:
        params["files"] = {"": rng.choice(["*", "f*[02468]"])}
    return life.ask("pipeline.backfill", pipeline=pipeline.name, **params)


def _backfill_cancel(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    lanes = life.truth.backfills.open(pipeline.name)
    return life.ask("backfill.cancel", pipeline=pipeline.name, lane=rng.choice(lanes)) if lanes else ""


def _apply(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    life.reconfigure(rng)
    return life.send(lambda request: Apply(id=request, project=life.project))


def _scale(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    return life.ask("worker.scale", workers=rng.choice([1, 2, 4]))


def _kill(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    return life.ask("worker.kill", worker=f"{rng.choice(life.pools)}-{rng.randint(1, 3)}")


def _shutdown(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    return life.ask("shutdown")


def _schedule_pause(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    life.world.after(BACK, life.resume_schedule, pipeline.name, "w0")
    return life.ask("schedule.pause", pipeline=pipeline.name, schedule="w0") if pipeline.schedules else ""


def _schedule_add(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    spec = random_schedule(rng, f"pair{rng.randint(0, 3)}", life.clock.wall, fast=True)
    return life.ask("schedule.add", pipeline=pipeline.name, spec=msgspec.to_builtins(spec))


def _schedule_remove(life: Scenario, rng: random.Random, pipeline: PipelineSpec) -> str:
    there = [
        name
        for (owner, name), known in life.dues.schedules.items()
        if owner == pipeline.name and not known.record.gone and name.startswith(("pair", "hand"))
    ]
    return life.ask("schedule.remove", pipeline=pipeline.name, schedule=rng.choice(there)) if there else ""


VERBS: dict[str, Do] = {
    "pause": _pause,
    "resume": _resume,
    "drain": _drain,
    "rewind": _rewind,
    "cancel": _cancel,
    "retry": _retry,
    "abandon": _abandon,
    "replay": _replay,
    "discard": _discard,
    "trigger": _trigger,
    "backfill": _backfill,
    "backfill cancel": _backfill_cancel,
    "apply": _apply,
    "scale": _scale,
    "kill": _kill,
    "shutdown": _shutdown,
    "schedule pause": _schedule_pause,
    "schedule add": _schedule_add,
    "schedule remove": _schedule_remove,
}
PAIRS: list[Pair] = [*product(VERBS, VERBS)]
"""In order: what was done first, and what after it."""


def plan(seed: int, pair: Pair, seconds: float) -> list[Event]:
    """What a life of this pair has beside all else: the attempts, and more of what verbs are for."""
    rng = random.Random(f"{pair} {seed}")
    kinds = ["pair"] * ATTEMPTS + rng.choices(["file", "poison", "broken sink", "malformed file"], k=MORE)
    return [Event(rng.uniform(1.0, 0.8 * seconds), kind, rng.getrandbits(32)) for kind in kinds]


def attempt(life: Scenario, rng: random.Random) -> None:
    """The first verb of the life's pair, a crash, and the second, of the same pipeline."""
    assert life.pair is not None
    first, second = (VERBS[name] for name in life.pair)
    crash, pause = rng.choice(PAUSES), rng.choice(PAUSES)
    names = [pipeline.name for pipeline in life.project.pipelines]
    rng.shuffle(names)

    def begun(former: str, name: str) -> None:
        life.world.after(crash, life.world.crash, rng.choice(life.actors))
        then = partial(ended, former)
        life.world.after(crash + pause, _as_soon_as_possible, life, rng, second, [name], then, LOOKS)

    def ended(former: str, request: str, _name: str) -> None:
        life.lived.append(Lived(former, request))

    _as_soon_as_possible(life, rng, first, names, begun, LOOKS)


def _as_soon_as_possible(
    life: Scenario, rng: random.Random, verb: Do, names: list[str], then: Callable[[str, str], None], looks: int
) -> None:
    """Do it to the first of these pipelines for which there is something to do; ``then`` is given request and name."""
    for name in names:
        request = verb(life, rng, life.project.pipeline(name))
        if request:
            then(request, name)
            return
    if looks:
        life.world.after(LOOK, _as_soon_as_possible, life, rng, verb, names, then, looks - 1)


def tally(life: Scenario) -> dict[str, int]:
    """How often its pair was lived: both "accepted", one or both "refused", else "unanswered" (lost in a crash)."""
    counts: dict[str, int] = {}
    for one in life.lived:
        statuses = [life.answers.get(request) for request in one]
        refused = any(status not in (0, None) for status in statuses)
        kind = "refused" if refused else "unanswered" if None in statuses else "accepted"
        counts[kind] = counts.get(kind, 0) + 1
    return counts
