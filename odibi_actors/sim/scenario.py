"""One simulated life of a system, from a seed: faults for a while, then quiet, then everything must be there."""

from __future__ import annotations

import random
import traceback

import msgspec

from odibi_actors.sim import copies, encore, restoring, verbs
from odibi_actors.sim.courses import COURSE, Attempts, Course
from odibi_actors.sim.courses import plan as attempts
from odibi_actors.sim.ending import Ending
from odibi_actors.sim.event import Event
from odibi_actors.sim.happenings import HAPPENINGS, backfills, draw, fed, project_changes, rare
from odibi_actors.sim.host import Output
from odibi_actors.sim.life import Life
from odibi_actors.sim.promptness import Promptness
from odibi_actors.sim.truth import Planned, check
from odibi_actors.sim.waits import Waits

FAULT_SECONDS = 20.0
"""Virtual seconds in which everything may go wrong."""

QUIET_SECONDS = 300.0
"""Virtual seconds within which everything must be finished once faults have stopped (I5): node timeouts of 10 s,
retries, and silent peers given up after 10 s lie far below."""

CALM = 16.0
"""Virtual seconds after the last fault when operators tidy up: the longest partition is over by then."""


class Outcome(msgspec.Struct, frozen=True):
    """What a seed came to. ``seconds``: virtual; ``counts``: faults by kind; ``transitions``: taken, by state/event.
    ``occurrences``: what became of them, of backfills, and which alerts there were. ``verbs``: how often each was done,
    by how it was answered; ``lived``: likewise the course of the life."""

    seed: int
    hash: str
    seconds: float
    events: int
    iterations: int
    files: int
    counts: dict[str, int]
    transitions: dict[str, int]
    occurrences: dict[str, int]
    verbs: dict[str, int]
    lived: dict[str, int] = {}


class Scenario:
    """A life and its plan: of a seed, ``without`` some of its events, or with a ``course`` of verbs."""

    def __init__(
        self, seed: int, story: bool = False, without: frozenset[int] = frozenset(), course: Course | None = None
    ) -> None:
        self.seed = seed
        asked = (course.first, course.then) if course is not None else ()
        self.life = life = Life(seed, story, asked)
        self.truth, self.world, self.host = life.truth, life.world, life.host
        events = draw(life.rng, FAULT_SECONDS)
        if any(one.after for pipeline in life.project.pipelines for one in pipeline.schedules):
            events += backfills(seed, FAULT_SECONDS)
        events += project_changes(seed, FAULT_SECONDS) + rare(seed, FAULT_SECONDS, life.landing.changing)
        if life.host.outside is not None:
            events += fed(seed, asked, FAULT_SECONDS)
        self._attempts = Attempts(life, course) if course is not None else None
        if course is not None:
            events += attempts(seed, course, FAULT_SECONDS)
        events.sort(key=lambda event: event.at)
        self.plan = [event for place, event in enumerate(events) if place not in without]
        life.misbehave()
        self._ending = Ending(life)
        self._prompt = Promptness(life)
        self._waits = Waits(life)
        life.start()

    def run(self) -> Outcome:
        """Live it. Raises Violation when an invariant breaks."""
        life, world, rng = self.life, self.world, self.life.rng
        end = world.start + FAULT_SECONDS
        for pipeline in life.project.pipelines:
            for node in pipeline.nodes:
                if node.read is not None:  # every source gets a file, so that every schema gets known
                    world.after(rng.uniform(0, 5), life.landing.deliver, pipeline, node, rng)
        for event in self.plan:
            world.after(event.at, self._happen, event)
        world.run(end)
        self._quieten()
        world.run(end + CALM + 3.0)
        quiet = end + QUIET_SECONDS
        while not self._ending.finished():
            if world.now >= quiet:
                check(False, "I5", f"unfinished {QUIET_SECONDS:.0f} s after the last fault: {self._ending.left()}")
            world.run(world.now + 1.0)
            self._prompt.look()
            self._ending.help()
            if rng.random() < 0.2:
                restoring.move_away(life)
                life.retry_failed()
                for pipeline in life.project.pipelines:
                    life.resume(pipeline.name)
                    life.teach(pipeline)
        self._waits.end()
        self._check_end()
        encore.take_back(life, self._ending, self._prompt)
        self._waits.end()
        self._check_end()
        copies.restore(life)
        copies.move(life)
        return Outcome(
            seed=self.seed,
            hash=world.hash,
            seconds=world.now - world.start,
            events=world.events,
            iterations=len(self.truth.iterations),
            files=len(life.landing.delivered),
            counts=world.counts | {"letters taken back": self.truth.letters_gone},
            transitions=self.truth.transitions,
            occurrences=life.dues.tally() | self.truth.backfills.tally() | self.truth.alerts.tally(),
            verbs=verbs.tally(life),
            lived=self._attempts.tally() if self._attempts is not None else {},
        )

    def _happen(self, event: Event) -> None:
        self.world.tell(f"* {event.kind}")
        rng = random.Random(event.dice)
        if event.kind == COURSE and self._attempts is not None:
            self._attempts.begin(rng)
        else:
            HAPPENINGS[event.kind][1](self.life, rng)

    def _quieten(self) -> None:
        life = self.life
        life.behave()
        for pipeline in life.project.pipelines:
            self.world.after(CALM, life.resume, pipeline.name)
            for node in pipeline.nodes:
                if node.read is not None:
                    # All files of a source may be dead letters by now: then nothing runs before one teaches its schema.
                    self.world.after(CALM + 2.0, life.landing.deliver, pipeline, node, life.rng, True)
        self.world.after(CALM + 1.0, lambda: life.ask("worker.scale", workers=2))

    def _check_end(self) -> None:
        """Nothing lost, nothing doubled: every row of every file is in each sink once, or in the dead letters (I1)."""
        self.truth.check_states()
        self.truth.places.compare()
        self.life.dues.count()
        parts: dict[tuple[str, int], dict[str, None]] = {}
        for name, number, sink in self.host.visible:
            parts.setdefault((name, number), {})[sink] = None
            known = (name, number) in self.truth.iterations or (name, number) in self.truth.passed_over
            check(known, "I1", f"{name}/{number}/{sink} is visible, and nobody's")
        for (pipeline, number), iteration in self.truth.iterations.items():
            rows = self.life.rows_of(iteration)
            for sink in iteration.sinks | parts.get((pipeline, number), {}):
                data = self.host.visible.get((pipeline, number, sink))
                name, stays = f"{pipeline}/{number}/{sink}", data is not None and data.stays
                if sink in iteration.abandoned and (data is None or data.replaces):
                    continue
                if (iteration.state == "rewound" and stays) or (pipeline, number, sink) in self.host.deleted:
                    continue
                check(sink not in iteration.abandoned, "I1", f"{name} is visible although it was given up")
                if iteration.state != "committed":
                    check(data is None, "I3", f"{name} is visible although {iteration.state}")
                    continue
                check(data is not None, "I1", f"{name} is committed and not visible")
                assert data is not None
                part = msgspec.msgpack.decode(data.data, type=Output)
                check(part.rows == rows, "I1", f"{name} has {len(part.rows)} rows, planned were {len(rows)}")
            if iteration.state == "committed":
                self._check_same_execution(pipeline, iteration, number)
        for at, held in self.host.current.items():
            newest = max(number for _, number, _ in self.host.standing(at))
            check(held == newest or at.sink != "local", "I1", f"{at} holds what {held} published, not {newest}")
        self.life.work.check()

    def _check_same_execution(self, pipeline: str, iteration: Planned, number: int) -> None:
        """Sinks of one node publish one execution of it (code may be non-deterministic)."""
        by_input: dict[str, int] = {}
        for sink, feeds in iteration.inputs.items():
            if (pipeline, number, sink) not in self.host.visible:
                continue  # an abandoned sink
            part = msgspec.msgpack.decode(self.host.visible[pipeline, number, sink].data, type=Output)
            salt = by_input.setdefault(feeds, part.salt)
            check(salt == part.salt, "I1", f"{pipeline}/{number}: two executions of {feeds} are published")


def run_seed(
    seed: int,
    story: bool = False,
    without: frozenset[int] = frozenset(),
    course: Course | None = None,
) -> tuple[Outcome | None, str, list[str]]:
    """Live one seed, ``without`` some events of its plan, or with a ``course`` of verbs. Returns (outcome or None,
    violation or "", the story if one was asked for)."""
    scenario = Scenario(seed, story, without, course)
    try:
        return scenario.run(), "", scenario.world.story or []
    except AssertionError as violation:
        what = str(violation) or f"an assertion of the code: {traceback.format_exc(limit=-1)}"
        return None, what, scenario.world.story or []
    except Exception:  # noqa: BLE001 - whatever an actor raises would end its process: that is a find
        return None, f"raised: {traceback.format_exc(limit=-4)}", scenario.world.story or []
    finally:
        scenario.world.end()
        scenario.life.close()
