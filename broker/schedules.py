"""Every schedule as the broker knows it, and what its occurrences become. Part of ``flow``.

An occurrence is noted once: the scheduler's word counts only if it goes on from the schedule's place, and the record of
it moves the place. Noted ones wait, run, or are skipped with a reason; each of that is a record too.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from odibi_actors.actor import Effect, Send
from odibi_actors.broker import alerts, runs
from odibi_actors.broker.lane import RunInfo, SourceState
from odibi_actors.broker.pipeline import Ended, Pipeline
from odibi_actors.broker.scheduled import Scheduled, plain
from odibi_actors.checkpoint import records as rec
from odibi_actors.errors import NotFoundError
from odibi_actors.messages import SCHEDULER, SOURCE, Due, Judged, Noted, NotedPlace, Planned, SourceSpec
from odibi_actors.messages import Schedules as Entries
from odibi_actors.model import TRIGGER, Position, RunState, Trigger
from odibi_actors.runtime.visible import named

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow

MAX_WAITING = 1000
"""Occurrences of one schedule that wait (``buffer_all``); more are skipped: nobody catches up with that."""

MAX_ACTIVE = 100
"""Runs of one pipeline at once (``allow``)."""

SET_BYTES = 100_000
"""Bytes of the names of a set of files that one run is told of: they travel with each of its tasks."""

WATCH_CREDIT = 1000
"""Files that one offer of a ``file_watch`` schedule names."""

PAGE_BYTES, ENTRY_BYTES = 1_000_000, 500
"""What a message to the scheduler, and an entry in it, are about."""

RESEND = 2.0
"""Seconds the scheduler has to tell that it knows what it was sent; then it is sent again."""


class Schedules:
    """All schedules of all pipelines, by (pipeline, name); removed ones stay, as their places do."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._all: dict[tuple[str, str], Scheduled] = {}
        self.count = 0  # how many there are; removed ones are not
        self._of: dict[str, dict[str, Scheduled]] = {}  # pipeline -> name -> schedule
        self._arising: dict[str, dict[str, None]] = {}  # pipeline -> its schedules that follow no clock
        self._queue: dict[str, dict[tuple[str, str], None]] = {}  # pipeline -> (schedule, occurrence) that wait
        self._followers: dict[str, dict[str, None]] = {}  # pipeline -> pipelines that run after it
        self._version = 0
        self._changed: dict[tuple[str, str], None] = {}  # since they were told, in order of their stamp
        self._told = 0  # version the scheduler was sent
        self._told_at = 0.0  # when, or when it was last seen to get on with it
        self._known = 0  # version it said it has
        self._noted: dict[tuple[str, str], None] = {}
        self._late: list[tuple[float, str, str, str]] = []  # (when, pipeline, schedule, occurrence)
        self.wall_ahead = 0.0  # seconds the wall clock is ahead of this broker's

    # --- what there is --------------------------------------------------------------------------------------------

    def find(self, pipeline: object, name: object) -> Scheduled:
        """The schedule; raises NotFoundError."""
        found = self._all.get((str(pipeline), str(name)))
        if found is None or found.gone:
            known = ", ".join(one.name for one in self.of(str(pipeline))) or "none"
            raise NotFoundError(f"pipeline {pipeline} has no schedule {name}; it has: {known}")
        return found

    def get(self, pipeline: str, name: str) -> Scheduled | None:
        """The schedule of that name, removed or not."""
        return self._all.get((pipeline, name))

    def of(self, pipeline: str) -> list[Scheduled]:
        """The schedules of a pipeline that were not removed."""
        return [one for one in self._of.get(pipeline, {}).values() if not one.gone]

    def source(self, pipeline: str, name: str) -> SourceState | None:
        """The source that looks for the files of a ``file_watch`` schedule."""
        found = self._all.get((pipeline, name))
        return found.source if found is not None and not found.gone else None

    def watches(self) -> list[SourceSpec]:
        """What the source actor is to look for: files whose arrival starts a run."""
        return [
            SourceSpec(one.pipeline, one.source.node, WATCH_CREDIT, TRIGGER)
            for one in self._all.values()
            if one.source is not None and not one.off and not self._pipeline_off(one)
        ]

    def put(self, record: rec.Schedule) -> Scheduled:
        """A schedule is as this record says."""
        key = (record.pipeline, record.name)
        known = self._all.get(key)
        self.count += (not record.gone) - (known is not None and not known.gone)
        if known is None:
            known = self._all[key] = Scheduled(record, self._flow.start_seq)
            self._of.setdefault(record.pipeline, {})[record.name] = known
        else:
            known.bind(record)
        arising = self._arising.setdefault(record.pipeline, {})
        arising.pop(record.name, None)
        if not record.gone and not record.spec.timed:
            arising[record.name] = None
        for upstream in record.spec.after if not record.gone else ():
            self._followers.setdefault(upstream, {})[record.pipeline] = None
        if record.spec.file_watch is not None:
            self._flow.shape += 1
        self.changed(known)
        return known

    def loaded(self, item: rec.LoadedSchedule) -> None:
        """A schedule as the store has it."""
        known = self.put(item.record)
        known.started, known.skipped = item.started, dict(item.skipped)
        known.last, known.last_run = item.last, item.last_run
        if item.last and known.spec.timed and known.is_of_now(item.last):
            known.remember(item.last)
            known.remember(plain(item.last))  # shown a second time means that the first is over

    def loaded_occurrence(self, item: rec.LoadedOccurrence) -> None:
        """An occurrence that waits, or whose run is active."""
        record = item.record
        known = self._all[record.pipeline, record.schedule]
        if item.run:
            known.active[item.run] = record
        else:
            known.waiting[record.id] = record
            self._wait(record)
        self._expect(record)

    def run_was(self, pipeline: Pipeline, record: rec.Run, state: RunState) -> None:
        """A run that the store knows; the newest of its schedule is shown."""
        one = self._all.get((pipeline.name, record.trigger.schedule))
        if one is not None and one.last_run == record.run:
            one.last_state = state

    def write(self, scheduled: Scheduled, **changes: Any) -> None:
        """Make a change of a schedule durable."""
        record = scheduled.record(**changes)
        self._flow.write(record, record.pipeline)
        self.put(record)

    def wall(self, now: float) -> float:
        """What the wall clock shows, as far as the broker knows: schedules follow that one."""
        return now + self.wall_ahead

    # --- the scheduler --------------------------------------------------------------------------------------------

    def changed(self, scheduled: Scheduled) -> None:
        """The scheduler is to know of it."""
        if scheduled.spec.timed:
            self._version += 1
            scheduled.stamp = self._version
            key = (scheduled.pipeline, scheduled.name)
            self._changed.pop(key, None)
            self._changed[key] = None

    def switched(self, pipeline: Pipeline, now: float) -> None:
        """The pipeline was removed, runs by its data now, or is back: what came due in between is skipped."""
        self._flow.shape += 1
        for one in self.of(pipeline.name):
            if pipeline.spec.trigger != "schedule":
                self.forgo_all(one, f"pipeline has trigger: {pipeline.spec.trigger}", now)
            if not self._pipeline_off(one):
                self.write(one, floor=self.wall(now), at=now)
            self.changed(one)

    def scheduler_came(self, now: float) -> None:
        """A new scheduler knows nothing."""
        self._told = self._known = 0
        self._flow.alerts.scheduler_came(now)

    def heartbeat(self, version: int, wall: float, now: float) -> None:
        """What the scheduler knows by now. What it does not get on with was lost on the way, and is sent again."""
        if wall:
            self.wall_ahead = wall - now
        if version != self._known:
            self._known, self._told_at = version, now
        elif version < self._told and now >= self._told_at + RESEND:
            self._told = version

    def flush(self, now: float) -> list[Effect]:
        """What the scheduler is to know."""
        effects: list[Effect] = []
        if self._noted:
            places = [NotedPlace(*key, self._all[key].place) for key in self._noted]
            effects.append(Send(SCHEDULER, Noted(self._flow.epoch, places)))
            self._noted = {}
        if self._told < self._version:
            stamped = self._newer(self._told)
            for page in _pages(stamped):
                entries = [one.entry(self._pipeline_off(one)) for one in page]
                since, self._told = self._told, page[-1].stamp
                effects.append(Send(SCHEDULER, Entries(self._flow.epoch, since, self._told, entries)))
            self._told_at = now
        return effects

    def _newer(self, version: int) -> list[Scheduled]:
        """Those that changed since, in order."""
        found: list[Scheduled] = []
        for key in reversed(self._changed):
            one = self._all[key]
            if one.stamp <= version:
                break
            found.append(one)
        return found[::-1]

    def _pipeline_off(self, one: Scheduled) -> bool:
        pipeline = self._flow.pipelines.get(one.pipeline)
        return pipeline is None or pipeline.off or pipeline.manual or pipeline.spec.trigger != "schedule"

    def due(self, message: Due, now: float) -> None:
        """The scheduler says what has come due. Taken only where it goes on from the schedule's place."""
        if message.epoch != self._flow.epoch or self._flow.stopping or self._flow.journal.full:
            return  # it will say so again
        self.wall_ahead = message.wall - now
        for dues in message.items:
            one = self._all.get((dues.pipeline, dues.schedule))
            if one is None:
                continue
            self._noted[dues.pipeline, dues.schedule] = None
            pipeline = self._flow.pipelines.get(dues.pipeline)
            if pipeline is None or one.off or self._pipeline_off(one) or dues.after != one.place:
                continue
            for judged in dues.judged:
                if judged.place <= one.place:
                    break
                self._judged(pipeline, one, judged, now, message.wall)

    def _judged(self, pipeline: Pipeline, one: Scheduled, judged: Judged, now: float, wall: float) -> None:
        id_ = one.qualified(judged.id)
        if judged.reason:
            first = one.qualified(judged.first) if judged.first else id_
            self._skip(one, first, id_, judged.due, max(1, judged.count), judged.reason, now, judged.place)
            return
        reason = self._refusal(pipeline, one)
        if one.repeated(judged.id):
            reason = "noted before: the rules of its zone have changed"
        if reason:
            self._skip(one, id_, id_, judged.due, 1, reason, now, judged.place)
            return
        late_at = now + (judged.due + one.spec.deadline - wall) if one.spec.deadline else 0.0
        record = rec.Occurrence(one.pipeline, one.name, id_, judged.due, now, judged.place, expires=late_at)
        self._note(pipeline, one, record, now)

    # --- what becomes of an occurrence ----------------------------------------------------------------------------

    def _refusal(self, pipeline: Pipeline, one: Scheduled) -> str:
        """Why an occurrence does not even wait; "" when it may."""
        if pipeline.paused or pipeline.draining:
            return f"pipeline {'paused' if pipeline.paused else 'draining'}"
        busy = pipeline.busy
        waiting = self._queue.get(pipeline.name)
        overlap = one.spec.overlap
        if overlap == "skip" and (busy or waiting):
            return f"overlap: {busy or 'another occurrence waits already'}"
        if overlap == "buffer_one" and one.waiting:
            return "overlap: one waits already"
        if overlap == "allow" and len(pipeline.live.active) >= MAX_ACTIVE:
            return f"buffer full: {MAX_ACTIVE} runs are active"
        if len(one.waiting) >= MAX_WAITING:
            return f"buffer full: {MAX_WAITING} occurrences wait"
        return ""

    def _wait(self, record: rec.Occurrence) -> None:
        self._queue.setdefault(record.pipeline, {})[record.schedule, record.id] = None

    def _note(self, pipeline: Pipeline, one: Scheduled, record: rec.Occurrence, now: float) -> int:
        """Note an occurrence; it runs at once if it may. Returns the number of its record."""
        if one.spec.overlap == "cancel":
            for former in list(one.waiting.values()):
                self._forgo(one, former, "overlap: a later one came", now)
            if pipeline.live.active:
                runs.cancel(self._flow, pipeline, pipeline.live, now)
        seq = self._flow.write(record, pipeline.name)
        one.noted(record)
        self._wait(record)
        self._expect(record)
        self._release(pipeline, now)
        return seq

    def _skip(
        self, one: Scheduled, first: str, last: str, due: float, count: int, reason: str, now: float, place: Any = None
    ) -> None:
        skip = rec.Skip(one.pipeline, one.name, first, last, due, count, reason, now, place)
        self._flow.write(skip, one.pipeline)
        one.skip(skip)
        if place is None:
            self._queue.get(one.pipeline, {}).pop((one.name, first), None)

    def _forgo(self, one: Scheduled, record: rec.Occurrence, reason: str, now: float) -> None:
        """A waiting occurrence is given up."""
        self._skip(one, record.id, record.id, record.due, 1, reason, now)

    def forgo_all(self, one: Scheduled, reason: str, now: float) -> None:
        """Nothing of this schedule waits any more."""
        for record in list(one.waiting.values()):
            self._forgo(one, record, reason, now)

    def _release(self, pipeline: Pipeline, now: float) -> None:
        """Start what waits, as long as its turn has come: in the order in which it was noted."""
        queue = self._queue.get(pipeline.name) if not pipeline.manual else None
        while queue and not (pipeline.paused or pipeline.draining or pipeline.off or pipeline.rewind is not None):
            name, id_ = next(iter(queue))
            one = self._all[pipeline.name, name]
            allowed = one.spec.overlap == "allow" and len(pipeline.live.active) < MAX_ACTIVE
            if pipeline.busy and not allowed:
                return
            del queue[name, id_]
            self._start(pipeline, one, one.waiting[id_], now)

    def _start(self, pipeline: Pipeline, one: Scheduled, record: rec.Occurrence, now: float) -> None:
        run = f"{one.pipeline}.{one.name}@{record.id}"
        trigger = Trigger(
            kind="schedule",
            schedule=one.name,
            occurrence=record.id,
            due=record.due,
            params=one.spec.params,
            files=[position.identity for position in record.positions],
        )
        one.start(record, run)
        runs.start(self._flow, pipeline, run, "schedule", now, trigger=trigger)

    def run_ended(self, pipeline: Pipeline, run: RunInfo, state: RunState, now: float) -> None:
        """A run of the live lane is over: others may have waited for that."""
        one = self._all.get((pipeline.name, run.trigger.schedule))
        if one is not None:
            one.ended(run.run, state)
        self.committed(pipeline)

    def run_again(self, pipeline: Pipeline, run: RunInfo) -> None:
        """A failed run is active again."""
        one = self._all.get((pipeline.name, run.trigger.schedule))
        if one is not None:
            one.again(run.run)

    def committed(self, pipeline: Pipeline) -> None:
        """Pipelines that run after this one are looked at."""
        for follower in self._followers.get(pipeline.name, ()):
            if follower in self._flow.pipelines:
                self._flow.touch(follower)

    def step(self, pipeline: Pipeline, now: float) -> None:
        """Something of the pipeline changed: follow what came before it, take files that arrived, start what waits."""
        for name in list(self._arising.get(pipeline.name, ())):
            one = self._all[pipeline.name, name]
            if one.off or self._pipeline_off(one):
                continue
            if one.spec.after:
                self._follow(pipeline, one, now)
            elif one.spec.file_watch is not None:
                self._arrived(pipeline, one, now)
        self._release(pipeline, now)

    # --- after other pipelines ------------------------------------------------------------------------------------

    def _follow(self, pipeline: Pipeline, one: Scheduled, now: float) -> None:
        """An ``after`` schedule is due once its pipelines have committed what it has not followed yet, and their runs
        are over. Several commits in between are one occurrence, named by the last of them. They are counted: a retry
        in one lane may commit a lower iteration behind a higher one of another."""
        new: dict[str, int] = {}
        named: dict[str, int] = {}
        for name in one.spec.after:
            upstream = self._flow.pipelines.get(name)
            if upstream is None or upstream.commits <= one.seen.get(name, 0):
                continue
            if not (upstream.on_demand and upstream.live.active):
                new[name], named[name] = upstream.commits, upstream.newest_commit
        if not new or (len(new) < len(one.spec.after) and not one.spec.after_any):
            return
        if not self._may_arise(pipeline, one):
            return
        id_ = one.unique("+".join(f"{name}={number}" for name, number in named.items()), self._flow.journal.last + 1)
        self._arise(pipeline, one, rec.Occurrence(one.pipeline, one.name, id_, now, now, None, new), now)

    def _may_arise(self, pipeline: Pipeline, one: Scheduled) -> bool:
        """Whether an arrival is noted now. What waits elsewhere (in the commit table, in a folder) loses nothing by
        waiting there."""
        if pipeline.paused or pipeline.draining or pipeline.off or pipeline.rewind is not None:
            return False
        if self._flow.journal.full:
            self._flow.touch_with_room(pipeline.name)
            return False
        if one.spec.overlap == "allow":
            return len(pipeline.live.active) < MAX_ACTIVE
        if one.spec.overlap == "cancel":
            return pipeline.stuck() is None
        return one.spec.overlap == "skip" or not (pipeline.busy or self._queue.get(pipeline.name))

    def _arise(self, pipeline: Pipeline, one: Scheduled, record: rec.Occurrence, now: float) -> int:
        if one.spec.deadline:
            record = replace(record, expires=now + one.spec.deadline)
        busy = pipeline.busy if one.spec.overlap == "skip" else ""
        if not busy:
            return self._note(pipeline, one, record, now)
        seq = self._flow.write(record, pipeline.name)
        one.noted(record)
        self._wait(record)
        self._forgo(one, record, f"overlap: {busy}", now)
        return seq

    # --- files ----------------------------------------------------------------------------------------------------

    def _arrived(self, pipeline: Pipeline, one: Scheduled, now: float) -> None:
        source, watch = one.source, one.spec.file_watch
        assert source is not None
        assert watch is not None
        while source.pending and self._may_arise(pipeline, one):
            if watch.per == "set":
                taken: list[Position] = _set(source.pending)
                id_ = f"{len(taken)} files to {taken[-1].identity}" if len(taken) > 1 else taken[0].identity
            else:
                taken = source.pending[:1]
                id_ = taken[0].identity
            source.pending, source.left = source.pending[len(taken) :], max(0, source.left - len(taken))
            id_ = one.unique(id_, self._flow.journal.last + 1)
            record = rec.Occurrence(one.pipeline, one.name, id_, now, now, None, {}, taken)
            previous, source.seq, source.changed_at = source.seq, self._arise(pipeline, one, record, now), now
            planned = Planned(
                epoch=self._flow.epoch,
                pipeline=one.pipeline,
                source=one.name,
                seq=source.seq,
                iteration=0,
                positions=taken,
                previous=previous,
                lane=TRIGGER,
            )
            self._flow.say(Send(SOURCE, planned))

    # --- lateness -------------------------------------------------------------------------------------------------

    def _expect(self, record: rec.Occurrence) -> None:
        if record.expires:
            heapq.heappush(self._late, (record.expires, record.pipeline, record.schedule, record.id))

    def deadline(self) -> float | None:
        """When an occurrence will be late."""
        return self._late[0][0] if self._late else None

    def late(self, now: float) -> None:
        """Tell of occurrences that are not finished by their deadline."""
        while self._late and self._late[0][0] <= now:
            _, name, schedule, id_ = heapq.heappop(self._late)
            one, pipeline = self._all.get((name, schedule)), self._flow.pipelines.get(name)
            if one is None or pipeline is None:
                continue
            run = next((run for run, record in one.active.items() if record.id == id_), "")
            stuck = next((run for run, record in one.failed.items() if record.id == id_), "")
            if not pipeline.ended_runs.get(stuck, Ended()).error.startswith(runs.STUCK):
                stuck = ""  # it is over: what of it was set aside is not waited for
            if id_ in one.waiting or run or stuck:
                where = f"run {named(run)} is still active" if run else "it still waits"
                if stuck:
                    run, where = stuck, f"run {named(stuck)} has failed, and was not taken up again"
                text = f"{name}: occurrence {named(id_)} of schedule {schedule} is late: {where}"
                alerts.tell(self._flow, pipeline, "lateness", text, now, schedule, id_, run)


def _pages(schedules: list[Scheduled]) -> Iterator[list[Scheduled]]:
    """As many of them as fit into a message."""
    page: list[Scheduled] = []
    weight = 0
    for one in schedules:
        page.append(one)
        weight += ENTRY_BYTES + 20 * len(one.spec.exclude)
        if weight >= PAGE_BYTES:
            yield page
            page, weight = [], 0
    if page:
        yield page


def _set(positions: list[Position]) -> list[Position]:
    """The files of one run: all, unless their names are too much."""
    total = 0
    for count, position in enumerate(positions):
        total += len(position.identity.encode())
        if total > SET_BYTES and count:
            return positions[:count]
    return positions
