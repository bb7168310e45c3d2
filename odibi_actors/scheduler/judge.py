"""What becomes of each occurrence of a schedule: it is to run, or is skipped for a reason. Pure.

An occurrence is **ripe** at its due time plus its jitter, but no later than the next one is due: so the order is kept,
and the same occurrence is ripe at the same time after any restart. Occurrences are judged in **passes**. A pass looks
at the wall clock once, when it begins, and judges every occurrence that is ripe by then, in order. The first rule that
fits counts (ages are from the ripe time):

1. due at or before the schedule's floor: skipped, ``paused``;
2. at most ``catch_up.grace`` old: runs, unless the policy is ``latest`` and one that is due later is ripe as well;
3. older than ``catch_up.window`` and ``grace``: skipped, ``outside catch_up.window``;
4. policy ``none``: skipped, ``late, catch_up.policy none``;
5. policy ``latest``: skipped, ``superseded by a later one``, if one that is due later is ripe; else runs;
6. policy ``all``: skipped, ``over catch_up.max``, if ``catch_up.max`` newer ones come to this rule; else runs.

Skips that follow each other with the same reason are joined. A pass goes on in steps of any size, so that 10 days of an
occurrence each second do not block anybody; it holds ``catch_up.max`` + 1 occurrences at most. When it is cut off, by a
restart or by news, the next begins after the last occurrence that was noted, by the clock of then: an occurrence that
was told and not noted may be judged again, and is in the log once all the same, because the broker compares places.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import xxhash

from odibi_actors.config.model import ScheduleSpec
from odibi_actors.messages import Judged
from odibi_actors.model import Place
from odibi_actors.scheduler.timetable import Occurrence

PAUSED: Final = "paused"
OUTSIDE: Final = "outside catch_up.window"
LATE: Final = "late, catch_up.policy none"
SUPERSEDED: Final = "superseded by a later one"
OVER: Final = "over catch_up.max"

MAX_JUDGED: Final = 100
"""Judged that are made, and told, at a time: a message stays small, and so does what is told twice."""
OPENING: Final = 4
"""What opening the calendar at some place costs, in occurrences it could have gone on by."""

Open = Callable[[ScheduleSpec, Place], Iterator[Occurrence]]
"""The calendar: occurrences in order that follow a place (``timetable.occurrences``)."""


class Enough(Exception):
    """The step has looked at as many occurrences as it may."""


def shift(pipeline: str, schedule: str, occurrence: str, jitter: float) -> float:
    """Seconds from 0 to ``jitter``, always the same for this occurrence, evenly spread over occurrences."""
    return xxhash.xxh3_64_intdigest(f"{pipeline}\0{schedule}\0{occurrence}".encode()) / 2**64 * jitter


class Stream(msgspec.Struct, gc=False, eq=False):
    """The occurrences of one schedule from a place on. What was looked at is kept until it is passed; the calendar is
    opened when it is needed, and can be closed in between. ``cost``: what was looked at so far; ``limit``: what it may
    come to. In no cycle, as ``agenda.Entry``."""

    pipeline: str
    spec: ScheduleSpec
    _last: Place
    _open: Open
    cost: int = 0
    limit: int = 0
    _ahead: tuple[Occurrence, ...] = ()
    _calendar: Iterator[Occurrence] | None = None
    _ended: bool = False  # there is no occurrence after those ahead

    def look(self, index: int = 0) -> Occurrence | None:
        """The occurrence that comes ``index`` after the next one; None: there is no such one. Raises Enough."""
        while len(self._ahead) <= index and not self._ended:
            if self.cost >= self.limit:
                raise Enough
            if self._calendar is None:
                self._calendar = self._open(self.spec, self._last)
                self.cost += OPENING
            self.cost += 1
            one = next(self._calendar, None)
            if one is None:
                self._ended = True
            else:
                self._ahead += (one,)
                self._last = one.place
        return self._ahead[index] if index < len(self._ahead) else None

    def ripe(self, index: int = 0) -> float:
        """When that occurrence is ripe; infinite when there is no such one. Raises Enough."""
        one = self.look(index)
        if one is None:
            return math.inf
        if not self.spec.jitter:
            return one.due
        following = self.look(index + 1)
        at = one.due + shift(self.pipeline, self.spec.name, one.id, self.spec.jitter)
        return at if following is None else min(at, following.due)

    def pass_(self) -> None:
        """The next occurrence is dealt with."""
        self._ahead = self._ahead[1:]

    def leap(self, due: int) -> Occurrence | None:
        """Go to the occurrence of this due time, leaving out those before; None, and nothing changes, when there is
        no such one. Raises Enough."""
        if self.cost >= self.limit:
            raise Enough
        calendar = self._open(self.spec, Place(due - 1))
        self.cost += OPENING + 1
        one = next(calendar, None)
        if one is None or one.due != due:
            return None
        self._ahead, self._calendar, self._last, self._ended = (one,), calendar, one.place, False
        return one

    def close(self) -> None:
        """Let go of the calendar; it is opened again where it was left."""
        self._calendar = None


class _Verdict:
    """A Judged that may still grow."""

    __slots__ = ("count", "first", "one", "reason")

    def __init__(self, first: str, one: Occurrence, reason: str, count: int) -> None:
        self.first, self.one, self.reason, self.count = first, one, reason, count

    def judged(self) -> Judged:
        one = self.one
        return Judged(one.id, one.due, one.place, self.reason, self.count, self.first if self.reason else "")


class Judge:
    """One pass over ``stream``, by the wall clock ``wall``. ``ready``: what is judged and not yet taken."""

    __slots__ = ("_floor", "_held", "_inside", "_on_time", "_stream", "_wall", "done", "ready")

    def __init__(self, stream: Stream, floor: float, wall: float) -> None:
        catch_up = stream.spec.catch_up
        self._stream, self._floor, self._wall = stream, floor, wall
        self._on_time = wall - catch_up.grace  # ripe at this time or later: on time
        self._inside = wall - catch_up.window
        self._held: deque[Occurrence] = deque()  # of rule 6: newer ones will tell
        self.ready: deque[_Verdict] = deque()
        self.done = False

    @property
    def idle(self) -> bool:
        """Nothing is in hand: a new pass from here on would come to the same."""
        return not self.ready and not self._held

    @property
    def runs(self) -> bool:
        """The newest that is ready is to run."""
        return bool(self.ready) and not self.ready[-1].reason

    def step(self, budget: int) -> int:
        """Go on until the pass is done, MAX_JUDGED are ready, or ``budget`` occurrences were looked at. Returns how
        many were."""
        before = self._stream.cost
        self._stream.limit = before + budget
        try:
            while not self.done and len(self.ready) < MAX_JUDGED:
                self._next()
        except Enough:
            pass
        return self._stream.cost - before

    def take(self) -> list[Judged]:
        """What is to be told now."""
        return [self.ready.popleft().judged() for _ in range(min(len(self.ready), MAX_JUDGED))]

    def _next(self) -> None:
        stream, catch_up = self._stream, self._stream.spec.catch_up
        at = stream.ripe()
        one = stream.look()
        if one is None or at > self._wall:
            self._release()
            self.done = True
        elif one.due <= self._floor:
            self._skip(one, PAUSED, math.floor(min(self._floor, self._wall)))
        elif at >= self._on_time and not (catch_up.policy == "latest" and self._followed(one)):
            self._release()
            self._tell(one, "")
        elif at < min(self._inside, self._on_time):
            self._skip(one, OUTSIDE, _below(min(self._inside, self._on_time)))
        elif catch_up.policy == "none":
            self._skip(one, LATE, _below(self._on_time))
        elif catch_up.policy == "latest":
            if self._followed(one):
                self._skip(one, SUPERSEDED, self._top(math.floor(self._wall)) - int(stream.spec.every))
            else:
                self._tell(one, "")
        else:
            self._hold(one)

    def _followed(self, one: Occurrence) -> bool:
        """One that is due later is ripe. Those that the clock skipped share their due time, and none is the later."""
        if self._wall < one.due + 1:  # due times are whole seconds: the next need not be computed yet
            return False
        index = 1
        while (following := self._stream.look(index)) is not None and following.due == one.due:
            index += 1
        return self._stream.ripe(index) <= self._wall

    def _hold(self, one: Occurrence) -> None:
        spec = self._stream.spec
        if spec.every and not self._held:
            every = int(spec.every) or 1
            late = self._top(_below(self._on_time))
            newest = one.due + (late - one.due) // every * every
            over = newest - (spec.catch_up.max + 1) * every
            if over > one.due and self._leap(one, OVER, over):
                return
        self._held.append(one)
        self._stream.pass_()
        if len(self._held) > spec.catch_up.max:
            self._ready(self._held[0].id, self._held[0], OVER, 1)
            self._held.popleft()

    def _skip(self, one: Occurrence, reason: str, until: int) -> None:
        """Skip it, and, where arithmetic does, all those due up to ``until``, to which the same rule applies."""
        if not self._leap(one, reason, until):
            self._tell(one, reason)

    def _leap(self, one: Occurrence, reason: str, until: int) -> bool:
        """Skip all from ``one`` to ``until`` at once: for intervals their number is known."""
        spec = self._stream.spec
        every = int(spec.every)
        if not every or every != spec.every or spec.exclude or spec.jitter:
            return False
        more = (self._top(until) - one.due) // every
        last = self._stream.leap(one.due + more * every) if more > OPENING else None
        if last is None:
            return False
        self._ready(one.id, last, reason, more + 1)
        self._stream.pass_()
        return True

    def _top(self, due: int) -> int:
        """``due``, or the last second of the schedule if that is earlier."""
        end = self._stream.spec.end
        return min(due, _below(end)) if end else due

    def _tell(self, one: Occurrence, reason: str) -> None:
        self._ready(one.id, one, reason, 1)
        self._stream.pass_()

    def _release(self) -> None:
        for one in self._held:
            self._ready(one.id, one, "", 1)
        self._held.clear()

    def _ready(self, first: str, one: Occurrence, reason: str, count: int) -> None:
        newest = self.ready[-1] if self.ready else None
        if reason and newest is not None and newest.reason == reason:
            newest.one = one
            newest.count += count
        else:
            self.ready.append(_Verdict(first, one, reason, count))


def _below(at: float) -> int:
    """The last whole second before ``at``."""
    return math.ceil(at) - 1
