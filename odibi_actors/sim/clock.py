"""The simulated wall clock: it can be set, forwards and backwards, and the rules of time zones can change.

An actor's ``now`` is what the wall clock showed when its process started, and the time since: it never goes backwards.
Only the scheduler is told by how much the wall clock is ahead of that. Folders, and the source that compares their
files' times with its own, are spared: what a set clock makes of those is not simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from odibi_actors.actor import Effect
from odibi_actors.config.model import ScheduleSpec
from odibi_actors.messages import LOCAL, SCHEDULER, SOURCE, ClockSet, Message, Told, ZonesChanged
from odibi_actors.model import Place
from odibi_actors.scheduler.effects import FollowClock, Tell
from odibi_actors.scheduler.timetable import Occurrence, occurrences
from odibi_actors.sim.world import World

Rules = dict[str, str]
"""Zone -> the zone whose rules it has; those not named have their own."""

CHANGES: Mapping[str, str] = {
    "America/New_York": "America/Puerto_Rico",  # summer time for good
    "Europe/Berlin": "Africa/Johannesburg",  # likewise
    "Africa/Casablanca": "Africa/Lagos",  # no more Ramadan rule
    "America/Sao_Paulo": "America/Santiago",  # summer time is back
    "Australia/Lord_Howe": "Pacific/Noumea",
}
"""What a release of the time zone data may bring."""


def calendar(spec: ScheduleSpec, after: Place, rules: Rules) -> Iterator[Occurrence]:
    """The occurrences that follow a place, by these rules."""
    zone = rules.get(spec.timezone)
    return occurrences(spec if zone is None else replace(spec, timezone=zone), after)


class Clock:
    """``offset``: seconds the wall clock is ahead of ``World.now``."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.offset = 0.0
        world.ahead = lambda name: 0.0 if name == SOURCE else self.offset
        self.rules: Rules = {}
        self.jumped = False
        self.former: list[tuple[float, Rules]] = []  # rules of before, and until when they were in force
        self._peaks: list[tuple[float, float]] = []  # (when the clock was set back, what it showed until then)
        self._trouble = 0.0  # until when nobody can be expected to be on time
        self._calm_until = 0.0  # what the clock showed when that began
        self._jumped: Callable[[], None] | None = None
        self._zoned: Callable[[], None] | None = None

    @property
    def now(self) -> float:
        """``World.now``."""
        return self._world.now

    @property
    def wall(self) -> float:
        """What the clock shows (seconds since the epoch)."""
        return self._world.now + self.offset

    def most(self, within: float) -> float:
        """The latest that the clock has shown within so many seconds."""
        most, since = self.wall, self._world.now - within
        for when, shown in reversed(self._peaks):
            if when < since:
                break
            most = max(most, shown)
        return most

    def most_unset(self, within: float) -> float:
        """The latest it could show had it not been set back within so many seconds: what a process goes by that
        started before."""
        since, now = self._world.now - within, self._world.now
        return max([self.wall, *(shown + now - when for when, shown in self._peaks if when >= since)])

    def follow(self, jumped: Callable[[], None] | None, zoned: Callable[[], None] | None) -> None:
        """Who is to know when it is set; the former one is not told any more."""
        self._jumped, self._zoned = jumped, zoned

    def jump(self, seconds: float) -> None:
        """Somebody sets the clock."""
        self._world.count("clock forward" if seconds > 0 else "clock back")
        self._world.tell(f"the clock is set by {seconds:+.3f} s")
        if seconds < 0:
            self._peaks.append((self._world.now, self.wall))
        self.offset += seconds
        self.jumped = True
        if self._jumped is not None:
            self._jumped()

    def change_rules(self, zone: str) -> None:
        """A release of the time zone data changes the rules of a zone, or changes them back."""
        self._world.count("zones")
        self._world.tell(f"the rules of {zone} change")
        self.former.append((self._world.now, dict(self.rules)))
        if zone in self.rules:
            del self.rules[zone]
        else:
            self.rules[zone] = CHANGES[zone]
        if self._zoned is not None:
            self._zoned()

    # --- what excuses a late occurrence ---------------------------------------------------------------------------

    def trouble(self, seconds: float) -> None:
        """For so long nobody can be expected to be on time: somebody is down, or the clock is about to be set."""
        if self._world.now > self._trouble:
            self._calm_until = self.wall
        self._trouble = max(self._trouble, self._world.now + seconds)

    def excuses(self, ripe: float, lag: float) -> bool:
        """Whether something ripe at that wall time may be late now: as long as nothing was wrong it had less than
        ``lag`` seconds to come."""
        return self._world.now <= self._trouble and self._calm_until <= ripe + lag


REFUSED = 4
"""Tries of an alert that a target may refuse: the pause after one more is longer than a life goes on."""


class SimSchedulerDriver:
    """Follows the simulated clock, and tells the targets of alerts: some cannot be reached at times. ``told``: a target
    (alert, number) is tried; returns how often it was."""

    def __init__(self, world: World, clock: Clock, generation: int, told: Callable[[int, int], int]) -> None:
        self._world, self._clock, self._generation, self._told = world, clock, generation, told
        self._rules = dict(clock.rules)
        self._ahead = clock.offset  # of the world's time, when this process started
        self._closed = False

    def open(self, spec: ScheduleSpec, after: Place) -> Iterator[Occurrence]:
        """The calendar, by the rules this process knows."""
        return calendar(spec, after, self._rules)

    def perform(self, effect: Effect, now: float) -> list[tuple[str, Message]]:
        """Answers of targets come after a while."""
        match effect:
            case FollowClock():
                self._clock.follow(self._jumped, self._zoned)
                return [(LOCAL, ClockSet(self._clock.offset - self._ahead))]
            case Tell():
                self._world.after(self._world.rng.uniform(0.01, 1.0), self._answer, effect)
        return []

    def _jumped(self) -> None:
        self._feed(ClockSet(self._clock.offset - self._ahead, jumped=True))

    def _zoned(self) -> None:
        self._rules = dict(self._clock.rules)
        self._feed(ZonesChanged())

    def _answer(self, effect: Tell) -> None:
        if self._closed:
            return
        refused = self._world.rng.random() < 0.2
        refused = self._told(effect.id, effect.target) <= REFUSED and refused
        self._feed(Told(effect.id, effect.target, "refused" if refused else ""))

    def _feed(self, message: Message) -> None:
        if not self._closed:
            self._world.arrive(SCHEDULER, self._generation, LOCAL, message)

    def inputs(self) -> Mapping[Any, Callable[[], Any]]:
        """Nothing."""
        return {}

    def close(self) -> None:
        """The process is killed; whether a target that was being told heard it nobody knows."""
        self._closed = True
