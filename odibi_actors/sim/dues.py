"""What must hold of schedules: each occurrence noted once, in order, none left out, and what then becomes of it.

Part of ``truth``: built from the records the store applied. The calendar is asked a second time here, on the truth's
own copy of each schedule, from the place at which it began; what the log says must be just what the calendar says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import ScheduleSpec
from odibi_actors.model import LIVE, Place
from odibi_actors.scheduler.judge import LATE, OUTSIDE, OVER, PAUSED, SUPERSEDED, shift
from odibi_actors.scheduler.timetable import ANY, Occurrence
from odibi_actors.sim.clock import Clock, Rules, calendar
from odibi_actors.sim.verdict import check

Key = tuple[str, str]
"""(pipeline, schedule)."""

LATE_REASONS = (OUTSIDE, LATE, OVER)
"""Reasons of the scheduler for what nobody could start in time."""


class Patience:
    """What a life allows for. ``word``: seconds that something said may be under way, through stopped processes and
    repeats, until it is in the log; ``zones``: seconds after which everybody knows new rules of zones; ``lag``: seconds
    from when an occurrence is ripe until it is in the log while nothing is wrong."""

    def __init__(self, word: float, zones: float, lag: float) -> None:
        self.word, self.zones, self.lag = word, zones, lag


class Course:
    """The calendar of a schedule by some rules of its zone, read from its place on."""

    def __init__(self, spec: ScheduleSpec, place: Place, rules: Rules, until: float) -> None:
        self.spec, self.place, self.rules, self.until = spec, place, rules, until
        self._found: Iterator[Occurrence] | None = None

    def __deepcopy__(self, memo: dict[int, object]) -> Course:
        """It is read on from the same place."""
        return Course(self.spec, self.place, self.rules, self.until)

    def take(self, count: int) -> list[Occurrence]:
        """The next ones."""
        if self._found is None:
            self._found = calendar(self.spec, self.place, self.rules)
        taken = list(islice(self._found, count))
        if taken:
            self.place = taken[-1].place
        return taken

    def go(self, place: Place) -> None:
        """Read on from this place."""
        if place != self.place:
            self.place, self._found = place, None


class Known:
    """A schedule as the log tells it."""

    def __init__(self, record: rec.Schedule) -> None:
        self.record = record
        self.place, self.seen = record.place, dict(record.seen)
        self.begun = record.place  # where this generation began
        self.since = 0.0  # what the clock showed when its calendar became what it is
        self.exact = True  # the rules of its zone are those with which this generation began
        self.courses: list[Course] = []
        self.covered: list[tuple[str, int]] = []  # of this generation: (first id, how many), in order
        self.waiting: dict[str, rec.Occurrence] = {}
        self.started = 0
        self.skipped: dict[str, int] = {}

    @property
    def key(self) -> Key:
        """(pipeline, schedule)."""
        return self.record.pipeline, self.record.name

    @property
    def name(self) -> str:
        """As it is written."""
        return ".".join(self.key)

    @property
    def spec(self) -> ScheduleSpec:
        """The truth's own copy."""
        return self.record.spec


class Seen:
    """A run as the log tells it."""

    def __init__(self, record: rec.Run) -> None:
        self.record = record
        self.state, self.error = "active", ""
        self.expires = 0.0


class Dues:
    """All schedules, their occurrences, and all runs."""

    def __init__(self, clock: Clock, patience: Patience) -> None:
        self.clock, self.patience = clock, patience
        self.schedules: dict[Key, Known] = {}
        self.runs: dict[str, Seen] = {}
        self.active: dict[str, dict[str, None]] = {}  # pipeline -> active runs of its live lane
        self.started: dict[tuple[str, str, str], str] = {}  # (pipeline, schedule, occurrence) -> its run
        self.arrived: dict[tuple[str, str, str, int], str] = {}  # (.., file, generation) -> occurrence
        self.held: dict[str, dict[str, None]] = {}  # pipeline -> its settings that hold it back
        self.held_at: dict[str, float] = {}  # pipeline -> when it was held back last
        self.commits: Mapping[str, int] = {}  # pipeline -> how many commits it has had
        self.covered = self.lost = self.doubled = 0  # by the final count

    # --- records --------------------------------------------------------------------------------------------------

    def setting(self, record: rec.Setting) -> None:
        """An operator holds a pipeline back, or lets it go."""
        if record.name in (rec.FAILING, rec.REWOUND, rec.COMPACTED, rec.PRUNED):
            return
        held = self.held.setdefault(record.scope, {})
        if record.value:
            held[record.name] = None
        else:
            held.pop(record.name, None)
        self.held_at[record.scope] = self.clock.now

    def schedule(self, record: rec.Schedule) -> None:
        """A schedule is new, changed, paused or gone. Its place stays where it is, or begins again later on."""
        key = (record.pipeline, record.name)
        known = self.schedules.get(key)
        if known is None:
            known = self.schedules[key] = Known(record)
            self._begin(known, record)
            return
        check(record.place >= known.place, "I2", f"{known.name}: its place goes back to {record.place}")
        former, known.record = known.record, record
        if record.generation != former.generation:
            restarted = former.gone or former.spec.timing != record.spec.timing
            check(
                record.generation == former.generation + 1 and restarted, "I2", f"{known.name} begins again: {record}"
            )
            self._count_again(known, former)
            self._begin(known, record)
        else:
            check(record.place == known.place, "I1", f"{known.name}: from {known.place} to {record.place} is left out")
            if record.spec != former.spec:
                self._open(known)
        for name, number in record.seen.items():
            known.seen[name] = number
        if record.gone:
            check(not known.waiting, "I5", f"{known.name} is gone, and {list(known.waiting)} wait")

    def _begin(self, known: Known, record: rec.Schedule) -> None:
        latest = max(known.place.due, self.clock.most_unset(self.patience.word) + 1.0)
        check(record.place.due <= latest, "I1", f"{known.name} begins at {record.place}, in the future")
        check(record.place.wall == ANY, "I1", f"{known.name} begins again behind a wall time of before: {record.place}")
        known.place = known.begun = record.place
        known.covered = []
        known.exact = not any(until + self.patience.zones >= self.clock.now for until, _ in self.clock.former)
        self._open(known)

    def _open(self, known: Known) -> None:
        known.since = self.clock.wall
        if known.spec.timed:
            known.courses = [Course(known.spec, known.place, dict(self.clock.rules), float("inf"))]
            for until, rules in self.clock.former:
                if until + self.patience.zones >= self.clock.now:
                    known.courses.append(Course(known.spec, known.place, rules, until + self.patience.zones))

    def rules_changed(self) -> None:
        """The calendar is another one from here on; for a while somebody may not know."""
        zones = self.clock.former[-1][1].keys() ^ self.clock.rules.keys()
        for known in self.schedules.values():
            if known.spec.timed and known.spec.timezone in zones:
                known.exact = False
                self._open(known)

    def occurrence(self, record: rec.Occurrence) -> None:
        """It waits from here on."""
        known = self._there(record.pipeline, record.schedule)
        name = f"{known.name}@{record.id}"
        check(record.id not in known.waiting, "I1", f"{name} is noted twice")
        check((*known.key, record.id) not in self.started, "I1", f"{name} is noted again after it was started")
        check(not known.record.paused, "I5", f"{name} is noted while the schedule is paused")
        busy = self.active.get(record.pipeline) or any(k.waiting for k in self._of(record.pipeline))
        if record.place is not None:
            check(known.spec.overlap != "skip" or not busy, "I5", f"{name} is noted, overlap: skip, {busy} in progress")
            waits = known.spec.overlap == "buffer_one" and known.waiting
            check(not waits, "I5", f"{name} is noted, overlap: buffer_one, and {list(known.waiting)} wait")
            (one,) = self._judged(known, record.place, 1)
            check(record.id == self._id(known, one), "I1", f"{name} should be {self._id(known, one)}")
            self._ripe(known, one, name)
        for upstream, number in record.seen.items():
            check(number > known.seen.get(upstream, 0), "I1", f"{name} follows commit {number} of {upstream} again")
            there = self.commits.get(upstream, 0)
            check(number <= there, "I5", f"{name} follows commit {number} of {upstream}, which has {there}")
            known.seen[upstream] = number
        for position in record.positions:
            file = (*known.key, position.identity, position.generation)
            check(file not in self.arrived, "I1", f"{name}: {position.identity} has started {self.arrived.get(file)}")
            self.arrived[file] = record.id
        known.waiting[record.id] = record

    def _judged(self, known: Known, place: Place, count: int) -> list[Occurrence]:
        """The next ``count`` occurrences by the calendar; the last of them is where the schedule has come to."""
        check(place > known.place, "I1", f"{known.name}: from {known.place} to {place}")
        now, fits = self.clock.now, None
        known.courses = [course for course in known.courses if course.until >= now]
        was = known.place
        for course in known.courses:
            found = course.take(count)
            if fits is None and len(found) == count and found[-1].place == place:
                fits = found
        if fits is None:
            found = known.courses[0].take(3)
            again = Course(known.spec, was, known.courses[0].rules, 0.0).take(count)
            expected = f"{again[0].place} to {again[-1].place}" if again else "nothing"
            check(False, "I1", f"{known.name}: {count} from {was} to {place}; the calendar has {expected}")
        assert fits is not None
        for course in known.courses:
            course.go(place)
        known.place = place
        known.covered.append((fits[0].id, count))
        return fits

    def ripe(self, known: Known, one: Occurrence) -> float:
        """When it is ripe, by the wall clock: at its due time and jitter, not later than the next one is due."""
        at = one.due + shift(*known.key, one.id, known.spec.jitter)
        if not known.spec.jitter:
            return at
        following = next(calendar(known.spec, one.place, known.courses[0].rules), None)
        return at if following is None else min(at, following.due)

    def _ripe(self, known: Known, one: Occurrence, name: str) -> None:
        shown = self.clock.most(self.patience.word)
        check(one.due <= shown, "I5", f"{name} is due at {one.due}, and the clock shows {shown}")
        ripe = max(self.ripe(known, one), known.since)
        lag = self.clock.wall - ripe
        excused = lag <= self.patience.lag or self.clock.excuses(ripe, self.patience.lag)
        check(excused, "I5", f"{name} was noted {lag:.1f} s after it was due, for no reason")

    def _id(self, known: Known, one: Occurrence) -> str:
        """What the log calls it: wall times may come again in another generation of the schedule."""
        return f"{one.id}~{known.record.generation}" if known.record.generation else one.id

    def skip(self, record: rec.Skip) -> None:
        """They do not run, for a reason that must be one."""
        known = self.schedules[record.pipeline, record.schedule]
        name = f"{known.name}@{record.last}"
        kind = record.reason.partition(":")[0]
        known.skipped[kind] = known.skipped.get(kind, 0) + record.count
        if record.place is None:
            check(record.first in known.waiting, "I1", f"{name} is given up and does not wait: {record.reason}")
            del known.waiting[record.first]
            return
        self._there(*known.key)
        found = self._judged(known, record.place, record.count)
        ids = self._id(known, found[0]), self._id(known, found[-1])
        check(ids == (record.first, record.last), "I1", f"{name}: {record}; {found}")
        self._reason(known, record, found[-1], name)

    def _reason(self, known: Known, record: rec.Skip, newest: Occurrence, name: str) -> None:
        """Whether the reason is allowed by the schedule's policy, here and now."""
        spec, reason, catch_up = known.spec, record.reason, known.spec.catch_up
        shown = self.clock.most(self.patience.word)
        held = self.held.get(record.pipeline, {})
        if reason in LATE_REASONS:  # one that is superseded need not be late
            at = self.ripe(known, newest)
            age = shown - at
            # The newest of several is the least late; what came between it and now was not noted in time either.
            check(age > catch_up.grace, "I5", f"{name} is {age:.1f} s late, within grace: {reason}")
            excused = self.clock.excuses(max(at, known.since), max(self.patience.lag, catch_up.grace))
            check(excused, "I5", f"{name} was {age:.1f} s late for no reason: {reason}")
        if reason == PAUSED:
            check(newest.due <= known.record.floor, "I5", f"{name}: {reason} up to {known.record.floor}")
        elif reason == OUTSIDE:
            check(age > catch_up.window, "I5", f"{name} is {age:.1f} s late: {reason} of {catch_up.window}")
        elif reason == LATE:
            check(catch_up.policy == "none", "I5", f"{name}: {reason}, policy {catch_up.policy}")
        elif reason == SUPERSEDED:
            check(catch_up.policy == "latest", "I5", f"{name}: {reason}, policy {catch_up.policy}")
            self._followed(known, newest, 1, shown, name, reason)
        elif reason == OVER:
            check(catch_up.policy == "all", "I5", f"{name}: {reason}, policy {catch_up.policy}")
            self._followed(known, newest, catch_up.max, shown, name, reason)
        elif reason.startswith("pipeline "):
            check(reason.partition(" ")[2] in held, "I5", f"{name}: {reason}, held is {list(held)}")
        elif reason == "overlap: one waits already":
            check(spec.overlap == "buffer_one" and bool(known.waiting), "I5", f"{name}: {reason}")
        elif reason.startswith("overlap: "):
            check(spec.overlap == "skip", "I5", f"{name}: {reason}, overlap {spec.overlap}")
            if "run " in reason:
                run = reason.removeprefix("overlap: run ").removesuffix(" in progress")
                check(run in self.active.get(record.pipeline, {}), "I5", f"{name}: {reason}: it is not")
        elif reason.startswith("noted before"):
            check(not known.exact, "I5", f"{name}: {reason}, and they have not")
        else:
            check(reason.startswith("buffer full"), "I5", f"{name}: unknown reason {reason}")

    def _followed(self, known: Known, newest: Occurrence, count: int, shown: float, name: str, reason: str) -> None:
        course = Course(known.spec, newest.place, known.courses[0].rules, 0.0)
        later = course.take(count)
        ripe = len(later) == count and later[-1].due <= shown
        check(ripe or len(known.courses) > 1, "I5", f"{name}: {reason}, and {count} later ones are not due")

    # --- runs -----------------------------------------------------------------------------------------------------

    def run(self, record: rec.Run) -> None:
        """A run starts; the occurrence that waited has it."""
        check(record.run not in self.runs, "I1", f"run {record.run} starts twice")
        seen = self.runs[record.run] = Seen(record)
        trigger, others = record.trigger, list(self.active.get(record.pipeline, {}))
        if trigger.kind == "schedule":
            known = self.schedules[record.pipeline, trigger.schedule]
            place = (*known.key, trigger.occurrence)
            waits = trigger.occurrence in known.waiting
            check(waits and place not in self.started, "I1", f"run {record.run} starts, and its occurrence waits not")
            seen.expires = known.waiting.pop(trigger.occurrence).expires
            self.started[place] = record.run
            known.started += 1
            allowed = known.spec.overlap == "allow"
            check(allowed or not others, "I5", f"run {record.run} starts while {others} are active")
            held = self.held.get(record.pipeline)
            check(not held, "I5", f"run {record.run} starts while its pipeline is {held}")
        if record.lane == LIVE:
            self.active.setdefault(record.pipeline, {})[record.run] = None

    def run_end(self, record: rec.RunEnd) -> None:
        """It is over."""
        seen = self.runs.get(record.run)
        assert seen is not None
        again = seen.state == "failed" and record.state == "cancelled"
        check(seen.state == "active" or again, "I1", f"run {record.run} ends and is not active")
        seen.state, seen.error = record.state, record.error
        self.active.get(record.pipeline, {}).pop(record.run, None)

    def forget(self, pipeline: str) -> None:
        """What runs of it is cancelled."""
        self.active.pop(pipeline, None)
        for seen in self.runs.values():
            if seen.record.pipeline == pipeline and seen.state == "active":
                seen.state = "cancelled"

    def retried(self, pipeline: str, run: str) -> None:
        """An iteration of it is retried: a failed run is active again."""
        seen = self.runs.get(run)
        if seen is not None and seen.state == "failed":
            seen.state, seen.error = "active", ""
            seen.expires = 0.0  # of the failure somebody was told, instead of the lateness
            if seen.record.lane == LIVE:
                self.active.setdefault(pipeline, {})[run] = None

    # --- the end --------------------------------------------------------------------------------------------------

    def behind(self, slack: float) -> list[str]:
        """Timed schedules with an occurrence that was due more than ``slack`` seconds ago and is not in the log."""
        late = []
        for known in self.schedules.values():
            if not known.spec.timed or known.record.paused or known.record.gone or self._off(known):
                continue
            one = next(calendar(known.spec, known.place, self.clock.rules), None)
            if one is not None and self.ripe(known, one) < self.clock.wall - slack:
                late.append(f"{known.name} at {known.place}: {one.id} is not noted")
        return late

    def unfinished(self) -> list[str]:
        """What waits, and runs that are active."""
        waits = [f"{known.name}@{id_} waits" for known in self.schedules.values() for id_ in known.waiting]
        return waits + [f"run {name} is active" for name, seen in self.runs.items() if seen.state == "active"]

    def tally(self) -> dict[str, int]:
        """What became of all: started, or skipped by reason."""
        found = {"started": sum(known.started for known in self.schedules.values())}
        for known in self.schedules.values():
            for reason, count in known.skipped.items():
                found[reason] = found.get(reason, 0) + count
        return found

    def count(self) -> None:
        """The final count, of every generation that is not over."""
        for known in self.schedules.values():
            self._count_again(known, known.record)

    def _count_again(self, known: Known, record: rec.Schedule) -> None:
        """Read the whole calendar of a generation once, from its beginning to its place, by itself: each occurrence
        must be covered once, by the record it was found in. Only where the rules of the zone have not changed."""
        if not known.exact or not record.spec.timed:
            self.covered += sum(count for _, count in known.covered)
            return
        found = calendar(record.spec, known.begun, self.clock.rules)
        for first_id, count in known.covered:
            one = list(islice(found, count))
            check(bool(one) and one[0].id == first_id, "I1", f"{known.name}: {first_id} where {one[:1]} should be")
            self.lost += count - len(one)
            self.covered += len(one)
        left = next(found, None)
        inside = left is not None and left.place <= known.place
        check(not inside, "I1", f"{known.name}: {left} is before {known.place} and was left out")

    def _there(self, pipeline: str, schedule: str) -> Known:
        known = self.schedules[pipeline, schedule]
        check(not known.record.gone, "I5", f"{known.name} is gone, and something of it is noted")
        return known

    def _of(self, pipeline: str) -> list[Known]:
        return [known for (name, _), known in self.schedules.items() if name == pipeline]

    def _off(self, known: Known) -> bool:
        return "removed" in self.held.get(known.record.pipeline, {})
