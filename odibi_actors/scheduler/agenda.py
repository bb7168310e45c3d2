"""Which schedule is to be looked at when, and what was told of each. Pure.

Each entry is in one state:

| state | it waits for | goes on |
|---|---|---|
| ``waiting`` | the time at which its next occurrence is ripe | in the heap, by that time |
| ``queued`` | its turn | in ``_due``: ripe now; ``_soon``: was noted; ``_behind``, then ``_active``: new, or late |
| ``told`` | Noted | in ``_told``, repeated every REPEAT seconds |
| ``idle`` | the broker | nowhere: nothing is due any more, or its calendar cannot be read |

What is ripe and on time is told without a look at the calendar: the next occurrence is known since the one before was
noted. Looking costs; each ``work`` has a budget of looks, over all entries, and what is left goes on at the next.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Final, Literal

import msgspec

from odibi_actors.config.model import ScheduleSpec
from odibi_actors.messages import Dues, Judged, ScheduleEntry
from odibi_actors.model import Place
from odibi_actors.scheduler.judge import MAX_JUDGED, Enough, Judge, Open, Stream

REPEAT: Final = 2.0
"""Seconds after which what was told is told again, unless it was noted."""
MAX_TOLD: Final = 2_000
"""Schedules of which something is told and not noted: each may have ``judge.MAX_JUDGED`` Judged under way."""
BUDGET: Final = 2_000
"""Occurrences looked at in one ``work``: some 10 ms."""
QUANTUM: Final = 200
"""Of these, for one entry at a time."""
PART: Final = 10_000
"""Occurrences after which what was found so far is told: a long catch-up makes progress in the log."""
MAX_ACTIVE: Final = 64
"""Entries that catch up in turn: each may hold ``catch_up.max`` + 1 occurrences."""
MAX_RIPE: Final = 500
"""Entries taken from the heap in one ``work``: what comes due in the same second is under way while more is judged."""
HURRY: Final = 200
"""The budget when something has come due: it is not to wait for other work."""

SLACK: Final = 1e-6
"""Seconds added to a deadline, so that the clock shows the time by then: sums of large numbers are not exact."""

Key = tuple[str, str]
State = Literal["waiting", "queued", "told", "idle"]
UNREADABLE: Final = (ValueError, KeyError, OverflowError, OSError)
"""What a calendar raises that cannot be read: no such zone, no such expression."""


class Entry(msgspec.Struct, gc=False, eq=False):
    """One schedule. ``at``: when its next occurrence is ripe; ``told``: what of it is not noted, right after
    ``place``; ``late``: seconds by which the newest run was told after its due time; ``looked``: occurrences since
    something was told; ``serial`` tells its newest turn from former ones. In no cycle, so the collector need not look
    at a hundred thousand of them."""

    pipeline: str
    spec: ScheduleSpec
    place: Place
    floor: float
    stream: Stream
    state: State = "queued"
    judge: Judge | None = None
    told: list[Judged] | tuple[()] = ()
    at: float = math.inf
    late: float = 0.0
    looked: int = 0
    serial: int = 0


Queue = deque[tuple[int, Entry]]


class Agenda:
    """All entries. ``wall`` is what the wall clock shows, ``now`` what the runtime says; both in seconds."""

    def __init__(self, open_: Open) -> None:
        self._open = open_
        self.problems: list[tuple[str, str, str]] = []  # (pipeline, schedule, why): to be logged
        self._serials = count(1)
        self.forget()

    def forget(self) -> None:
        """There are no schedules."""
        self.entries: dict[Key, Entry] = {}
        self._heap: list[tuple[float, int, Entry]] = []
        self._due: Queue = deque()
        self._soon: Queue = deque()
        self._behind: Queue = deque()
        self._active: Queue = deque()
        self._told: dict[Key, Entry] = {}
        self._repeats: deque[tuple[float, int, Entry]] = deque()
        self._say: list[Entry] = []

    # --- what the broker says -----------------------------------------------------------------------------------------

    def put(self, item: ScheduleEntry) -> None:
        """A schedule is new, or changed: it is judged again from this place on."""
        key = item.pipeline, item.spec.name
        former = self.entries.pop(key, None)
        if former is not None:
            self._leave(former)
        if item.off or not item.spec.timed:
            return
        stream = Stream(item.pipeline, item.spec, item.place, self._open)
        entry = Entry(item.pipeline, item.spec, item.place, item.floor, stream)
        if former is not None:
            entry.late = former.late
        self.entries[key] = entry
        self._queue(entry, self._behind)

    def noted(self, key: Key, place: Place) -> None:
        """A schedule has come so far."""
        entry = self.entries.get(key)
        if entry is None or place == entry.place:
            return  # said before, or the broker has taken nothing: what was told stands, and is repeated
        done = next((number for number, one in enumerate(entry.told, 1) if one.place == place), 0)
        if not done:
            self._again(entry, place)
            return
        entry.place = place
        rest = list(entry.told[done:])
        self._told.pop(key)
        if not rest and entry.judge is not None:
            rest = entry.judge.take()
        if rest:
            self._tell(entry, rest)
            return
        entry.told = ()
        if entry.judge is not None and entry.judge.idle:
            entry.judge = None
        self._queue(entry, self._soon)

    # --- what the clock says ------------------------------------------------------------------------------------------

    def recompute(self) -> None:
        """The calendar has changed: every schedule is looked at again from its place on, the nearest first."""
        entries = sorted(self.entries.values(), key=lambda entry: entry.at)
        self._heap.clear()
        for entry in entries:
            self._again(entry, entry.place)

    def set_back(self) -> None:
        """The wall clock was set back: what was judged by what it showed before, and is not noted, is no longer so."""
        for entry in list(self.entries.values()):
            if entry.judge is not None or entry.state == "told":
                self._again(entry, entry.place)

    # --- the work -----------------------------------------------------------------------------------------------------

    def work(self, wall: float) -> None:
        """Judge what is ripe, within BUDGET."""
        for _ in range(MAX_RIPE):
            if not self._heap or self._heap[0][0] > wall:
                break
            _, serial, ripe = heapq.heappop(self._heap)
            if ripe.serial == serial:
                self._queue(ripe, self._due)
        before = len(self._say)
        while (entry := self._next(self._due)) is not None:
            if not self._judge(entry, wall, 0):
                self._queue(entry, self._soon)
        left = HURRY if len(self._say) > before else BUDGET
        least = left // 4  # is kept for those that catch up
        while left > least and (entry := self._next(self._soon)) is not None:
            left -= self._turn(entry, wall, min(QUANTUM, left))
        left = max(left, least)
        while left > 0 and (entry := self._next_active()) is not None:
            left -= self._turn(entry, wall, min(QUANTUM, left))
        if len(self._heap) > 2 * len(self.entries) + 1_000:
            self._heap = [turn for turn in self._heap if turn[2].serial == turn[1]]
            heapq.heapify(self._heap)

    def say(self, wall: float, now: float) -> Iterator[Dues]:
        """What is to be told now, for the first time or again."""
        while self._repeats and self._repeats[0][0] <= now:
            _, serial, entry = self._repeats.popleft()
            if entry.serial == serial:
                self._say.append(entry)
        saying, self._say = self._say, []
        for entry in saying:
            if entry.state != "told":
                continue  # it was noted, or begun again, in between
            entry.serial = next(self._serials)
            self._repeats.append((now + REPEAT, entry.serial, entry))
            run = next((one for one in reversed(entry.told) if not one.reason), None)
            if run is not None:
                entry.late = max(0.0, wall - run.due)
            yield Dues(entry.pipeline, entry.spec.name, entry.place, list(entry.told))

    def deadline(self, offset: float, now: float) -> float | None:
        """When there is something to do at the latest; ``offset``: wall clock minus ``now``."""
        room = len(self._told) < MAX_TOLD
        if self._say or (room and (self._due or self._soon or self._behind or self._active)):
            return now
        times = [self._heap[0][0] - offset + (SLACK if offset else 0.0)] if self._heap and room else []
        if self._repeats:
            times.append(self._repeats[0][0])
        return min(times, default=None)

    def next_due(self, entry: Entry, budget: int) -> float | None:
        """When it is due next; None: never, or to find out costs more than the budget."""
        if entry.told:
            return entry.told[0].due
        entry.stream.limit = entry.stream.cost + budget
        try:
            one = entry.stream.look()
        except (Enough, *UNREADABLE):
            return None
        return one.due if one is not None else None

    # --- within -------------------------------------------------------------------------------------------------------

    def _again(self, entry: Entry, place: Place) -> None:
        """Forget what was judged of it, and go on from this place."""
        self._leave(entry)
        entry.place, entry.judge, entry.told = place, None, ()
        entry.stream = Stream(entry.pipeline, entry.spec, place, self._open)
        self._queue(entry, self._behind)

    def _leave(self, entry: Entry) -> None:
        """It is no longer where it was. Queues and heap may still hold it: its serial tells them."""
        entry.serial = next(self._serials)
        entry.state = "idle"
        self._told.pop((entry.pipeline, entry.spec.name), None)

    def _queue(self, entry: Entry, queue: Queue) -> None:
        entry.state, entry.serial = "queued", next(self._serials)
        queue.append((entry.serial, entry))

    def _next(self, queue: Queue) -> Entry | None:
        """The next of a queue that is still to be looked at; None also while too much is told."""
        while queue and len(self._told) < MAX_TOLD:
            serial, entry = queue.popleft()
            if entry.serial == serial:
                return entry
        return None

    def _next_active(self) -> Entry | None:
        while len(self._active) < MAX_ACTIVE and self._behind:
            self._active.append(self._behind.popleft())
        return self._next(self._active)

    def _turn(self, entry: Entry, wall: float, budget: int) -> int:
        """Let one entry go on. Returns what it cost."""
        before = entry.stream.cost
        if not self._judge(entry, wall, budget):
            self._queue(entry, self._active)
        return max(1, entry.stream.cost - before)

    def _judge(self, entry: Entry, wall: float, budget: int) -> bool:
        """Judge what is ripe of it. Whether it is done with: something is told, or nothing is ripe."""
        judge = entry.judge if entry.judge is not None else Judge(entry.stream, entry.floor, wall)
        try:
            entry.looked += judge.step(budget)
        except UNREADABLE as error:
            self.problems.append((entry.pipeline, entry.spec.name, f"{type(error).__name__}: {error}"))
            self._leave(entry)
            return True
        entry.judge = None if judge.idle else judge
        at_once = not budget and judge.runs
        if judge.ready and (judge.done or len(judge.ready) >= MAX_JUDGED or entry.looked >= PART or at_once):
            entry.looked = 0
            self._tell(entry, judge.take())
        elif judge.done:
            self._wait(entry, wall)
        else:
            return False
        return True

    def _tell(self, entry: Entry, judged: list[Judged]) -> None:
        entry.state, entry.serial, entry.told = "told", next(self._serials), judged
        self._told[entry.pipeline, entry.spec.name] = entry
        self._say.append(entry)

    def _wait(self, entry: Entry, wall: float) -> None:
        """Nothing is ripe; the stream knows what comes next."""
        entry.looked = 0
        entry.stream.close()
        entry.stream.limit = entry.stream.cost  # what follows was looked at: this cannot raise Enough
        entry.at = entry.stream.ripe()
        entry.serial = next(self._serials)
        entry.state = "idle" if entry.at == math.inf else "waiting"
        if entry.state == "waiting":
            heapq.heappush(self._heap, (entry.at, entry.serial, entry))


def grouped(dues: Iterable[Dues], most: int) -> Iterator[list[Dues]]:
    """Groups of at most ``most`` Judged (or of one Dues), for one message each."""
    group: list[Dues] = []
    size = 0
    for one in dues:
        if group and size + len(one.judged) > most:
            yield group
            group, size = [], 0
        group.append(one)
        size += len(one.judged)
    if group:
        yield group
