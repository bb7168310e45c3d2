"""Courses of operators' verbs: one, a crash within its work or after it, then another of the same pipeline, at once or
as soon as the pipeline is in a given state. Which were lived, and how they were answered.

A life is given a course, and attempts it several times, each as soon as there is something for its verbs to do: a
letter to replay, an iteration to cancel. So the rare states are looked for, not waited for. Everything else of such a
life is what any simulated life is, and the same checks hold.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from itertools import product
from typing import NamedTuple

from odibi_actors.sim.event import Event
from odibi_actors.sim.life import Life
from odibi_actors.sim.planned import Planned
from odibi_actors.sim.verbs import VERBS, answer, perform

COURSE = "course"
"""The kind of event that is an attempt."""

LOOK = 0.25
"""Virtual seconds until somebody who waits looks again, whatever was written meanwhile."""
PATIENCE = 6.0
"""Virtual seconds until an attempt is given up."""
ATTEMPTS = 5
"""Times that a life attempts its course."""
PAUSES = (0.0, 0.005, 0.05, 0.5)
"""Virtual seconds from one verb to the crash, and from there to the other: within their work, or after it."""
MORE = 10
"""Events that a life of a course has more: files, and what makes them fail."""


class Course(NamedTuple):
    """A verb, the state that its pipeline is to be in ("": any) when the other comes, and that."""

    first: str
    state: str
    then: str

    def __str__(self) -> str:
        return ",".join(part for part in self if part)


def _unfinished(life: Life, pipeline: str) -> list[Planned]:
    return [one for (name, _), one in life.truth.iterations.items() if name == pipeline and not one.terminal]


def _is(*states: str) -> Callable[[Life, str], bool]:
    return lambda life, pipeline: any(one.state in states for one in _unfinished(life, pipeline))


STATES: Mapping[str, Callable[[Life, str], bool]] = {
    "idle": lambda life, pipeline: not _unfinished(life, pipeline) and not life.truth.backfills.open(pipeline),
    "computing": _is("planned", "running"),
    "prepared": _is("prepared"),
    "failed": _is("failed"),
    "blocked": _is("blocked"),
    "dead letter": lambda life, pipeline: bool(life.truth.places.open(pipeline)),
    "replaying": lambda life, pipeline: any(one.plan.replay for one in _unfinished(life, pipeline)),
    "backfilling": lambda life, pipeline: bool(life.truth.backfills.open(pipeline)),
    "in a run": lambda life, pipeline: bool(life.dues.active.get(pipeline)),
    "held back": lambda life, pipeline: bool(life.dues.held.get(pipeline)),
    "rewinding": lambda life, pipeline: pipeline in life.truth.rewinds,
}
"""What a pipeline may be in; several at once."""

PAIRS = [Course(first, "", then) for first, then in product(VERBS, VERBS)]
TRIPLES = [Course(*one) for one in product(VERBS, STATES, VERBS)]


def plan(seed: int, course: Course, seconds: float) -> list[Event]:
    """What a life of this course has beside all else: the attempts, and more of what verbs are for."""
    rng = random.Random(f"{course} {seed}")
    kinds = [COURSE] * ATTEMPTS + rng.choices(["file", "poison", "broken sink", "malformed file"], k=MORE)
    return [Event(rng.uniform(1.0, 0.8 * seconds), kind, rng.getrandbits(32)) for kind in kinds]


class Attempts:
    """The attempts of a life. ``lived``: the requests of both verbs, of those that came to an end."""

    def __init__(self, life: Life, course: Course) -> None:
        self._life, self._course = life, course
        self._waiting: list[Attempt] = []
        self.lived: list[tuple[str, str]] = []
        life.truth.applied.append(self._look_soon)

    def begin(self, rng: random.Random) -> None:
        """One more."""
        names = [pipeline.name for pipeline in self._life.project.pipelines]
        rng.shuffle(names)
        attempt = Attempt(rng, names, self._life.world.now + PATIENCE)
        self._waiting.append(attempt)
        self._poll(attempt, "")

    def tally(self) -> dict[str, int]:
        """How often the course was lived: both "accepted", one or both "refused", else "unanswered"."""
        counts: dict[str, int] = {}
        for requests in self.lived:
            answers = [answer(self._life, request) for request in requests]
            kind = next(one for one in ("refused", "unanswered", "accepted") if one in answers)
            counts[kind] = counts.get(kind, 0) + 1
        return counts

    def _look_soon(self) -> None:
        """Something was written: who waits for a state looks at once, as it may be over soon."""
        for attempt in self._waiting:
            if attempt.first:
                self._life.world.after(0.0, self._try, attempt)

    def _poll(self, attempt: Attempt, first: str) -> None:
        """Every now and then, for as long as it waits for the same."""
        if attempt in self._waiting and attempt.first == first and not self._try(attempt):
            if self._life.world.now < attempt.until:
                self._life.world.after(LOOK, self._poll, attempt, first)
            else:
                self._waiting.remove(attempt)

    def _try(self, attempt: Attempt) -> bool:
        """Whether its next verb was done."""
        if attempt not in self._waiting or self._life.world.now < attempt.since:
            return False
        verb, state = (self._course.then, self._course.state) if attempt.first else (self._course.first, "")
        if not self._does(attempt, verb, state):
            return False
        self._go_on(attempt)
        return True

    def _does(self, attempt: Attempt, verb: str, state: str) -> bool:
        """It is done to the first of its pipelines for which there is something to do."""
        life = self._life
        for name in attempt.pipelines:
            if state and not STATES[state](life, name):
                continue
            if perform(life, verb, attempt.rng, life.project.pipeline(name)):
                attempt.pipelines = [name]
                return True
        return False

    def _go_on(self, attempt: Attempt) -> None:
        world, (_, request) = self._life.world, self._life.did[-1]
        if attempt.first:
            self._waiting.remove(attempt)
            self.lived.append((attempt.first, request))
            return
        attempt.first = request
        crash, pause = attempt.rng.choice(PAUSES), attempt.rng.choice(PAUSES)
        world.after(crash, world.crash, attempt.rng.choice(self._life.actors))
        attempt.since = world.now + crash + pause
        attempt.until = attempt.since + PATIENCE
        world.after(crash + pause, self._poll, attempt, request)


class Attempt:
    """``pipelines``: of which the next verb may be; ``first``: the request of the first, once it was done; the next is
    waited for from ``since`` to ``until``."""

    def __init__(self, rng: random.Random, pipelines: list[str], until: float) -> None:
        self.rng, self.pipelines, self.until = rng, pipelines, until
        self.first = ""
        self.since = 0.0
