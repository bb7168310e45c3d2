"""A calendar from a list, the rules of judging said plainly, and a broker that keeps places and loses messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from odibi_actors.actor import Effect, Send
from odibi_actors.config.model import CatchUpSpec, ScheduleSpec
from odibi_actors.messages import (
    BROKER,
    LOCAL,
    Connected,
    Due,
    Dues,
    Heartbeat,
    Judged,
    Noted,
    NotedPlace,
    ScheduleEntry,
    Schedules,
    Welcome,
)
from odibi_actors.model import Place
from odibi_actors.scheduler.actor import SchedulerActor
from odibi_actors.scheduler.judge import LATE, OUTSIDE, OVER, PAUSED, SUPERSEDED, shift
from odibi_actors.scheduler.timetable import Occurrence

Verdict = tuple[str, str]
"""Of one occurrence: its id, and why it is skipped ("": it runs)."""


class Calendar:
    """The occurrences of any schedule are these."""

    def __init__(self, found: Sequence[Occurrence]) -> None:
        self.found = found
        self.opened = 0

    def __call__(self, spec: ScheduleSpec, after: Place) -> Iterator[Occurrence]:
        self.opened += 1
        return (one for one in self.found if one.place > after)


def at_seconds(*dues: int) -> list[Occurrence]:
    """Occurrences at these times; several at one time are told apart by their wall time."""
    return [Occurrence(due, f"w{number:04}") for number, due in enumerate(dues)]


def brute(
    spec: ScheduleSpec, found: Sequence[Occurrence], floor: float, wall: float, pipeline: str = "p"
) -> list[Verdict]:
    """What a pass at ``wall`` must come to: all listed, all judged at once."""
    ripe = []
    for number, one in enumerate(found):
        at = one.due + shift(pipeline, spec.name, one.id, spec.jitter)
        if number + 1 < len(found):
            at = min(at, found[number + 1].due)
        ripe.append(at)
    come = [number for number in range(len(found)) if ripe[number] <= wall]
    reasons: dict[int, str] = {}
    late = []
    catch_up: CatchUpSpec = spec.catch_up
    for number in come:
        later = catch_up.policy == "latest" and any(found[other].due > found[number].due for other in come)
        if found[number].due <= floor:
            reasons[number] = PAUSED
        elif ripe[number] >= wall - catch_up.grace and not later:
            reasons[number] = ""
        elif ripe[number] < wall - max(catch_up.window, catch_up.grace):
            reasons[number] = OUTSIDE
        elif catch_up.policy == "none":
            reasons[number] = LATE
        elif catch_up.policy == "latest":
            reasons[number] = SUPERSEDED if later else ""
        else:
            late.append(number)
    for place, number in enumerate(reversed(late)):
        reasons[number] = OVER if place >= catch_up.max else ""
    return [(found[number].id, reasons[number]) for number in come]


def expand(judged: Sequence[Judged], found: Sequence[Occurrence]) -> list[Verdict]:
    """One verdict for each occurrence, from what was told; checks that what was told fits together."""
    ids = [one.id for one in found]
    verdicts: list[Verdict] = []
    for told in judged:
        last = ids.index(told.id)
        assert told.place == found[last].place
        assert told.due == found[last].due
        first = last - told.count + 1
        if told.reason:
            assert ids[first] == told.first
        else:
            assert (told.count, told.first) == (1, "")
        verdicts += [(ids[number], told.reason) for number in range(first, last + 1)]
    return verdicts


def dues(effects: Sequence[Effect]) -> list[Dues]:
    """What was told in these effects."""
    return [one for e in effects if isinstance(e, Send) and isinstance(e.message, Due) for one in e.message.items]


class Log:
    """The broker's side of one schedule: takes what begins at its place, and says where it is."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.judged: list[Judged] = []

    def take(self, told: Dues) -> NotedPlace:
        """Compare and set."""
        if told.after == self.place and told.judged:
            self.judged += told.judged
            self.place = told.judged[-1].place
        return NotedPlace(told.pipeline, told.schedule, self.place)


# --- an actor in the hands of a test ----------------------------------------------------------------------------------

EVERY_10 = ScheduleSpec("s", every=10.0, catch_up=CatchUpSpec(window=100.0, policy="all", max=3, grace=5.0))
"""Judged late after 5 s; the newest three of 100 s run."""


def welcomed(now: float = 0.0, **calendar: Calendar) -> SchedulerActor:
    """One that knows no schedule yet, in epoch 1."""
    actor = SchedulerActor("i", "h", 1, **calendar)
    actor.handle(LOCAL, Connected(), now)
    actor.handle(BROKER, Welcome(1, 0, "s"), now)
    assert actor.flush(now) == [Send(BROKER, Heartbeat(1, version=0, wall=now))]
    return actor


def given_schedules(actor: SchedulerActor, now: float, *items: ScheduleEntry) -> None:
    actor.handle(BROKER, Schedules(actor.epoch, actor.version, actor.version + 1, list(items)), now)


def noted(due: int, wall: str = "", epoch: int = 1, schedule: str = "s") -> Noted:
    return Noted(epoch, [NotedPlace("p", schedule, Place(due, wall or f"1970-01-01T00:{due // 60:02}:{due % 60:02}"))])


def work(actor: SchedulerActor, now: float) -> list[Effect]:
    """Flush until the actor has nothing more to do at once."""
    effects = actor.flush(now)
    while (at := actor.deadline()) is not None and at <= now:
        effects += actor.flush(now)
    return effects


def told(effects: list[Effect]) -> list[tuple[float, list[float]]]:
    """(after, dues) of each schedule told."""
    return [(one.after.due, [judged.due for judged in one.judged]) for one in dues(effects)]
