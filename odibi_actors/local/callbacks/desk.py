"""The desk: the broker's part towards the scheduler and the source, for callbacks instead of pipelines. Pure.

It keeps the broker's promises in small. A Due is taken only where it goes on from the schedule's place, and each
occurrence of it becomes a record (OCCURRENCE or SKIP) that moves the place; the RUN record is durable before the
callback is called, RUN_END follows it. A desk that starts finds what a former one left: occurrences that waited still
wait, and a run that never ended is ended as failed, not repeated. In the records each schedule is a pipeline of its
own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from odibi_actors.actor import Effect, Send, Stop
from odibi_actors.checkpoint import records as rec
from odibi_actors.local.callbacks.callback import Callback, fresh
from odibi_actors.local.callbacks.effects import Call, Ended, Leave, Registered, Show, Shown, Unscheduled
from odibi_actors.messages import (
    LOCAL,
    SCHEDULER,
    SOURCE,
    STORE,
    AppendRecords,
    Claim,
    Claimed,
    ClaimRefused,
    Due,
    Dues,
    Durable,
    Fenced,
    Heartbeat,
    Hello,
    Judged,
    Load,
    LoadedPage,
    Message,
    Noted,
    NotedPlace,
    Offer,
    Planned,
    RecordRefused,
    Schedules,
    SourceProblem,
    Sources,
    StoreHello,
    Welcome,
)
from odibi_actors.model import TRIGGER, RunState, Trigger

INTERRUPTED: Final = "the process ended while the callback was running; it is not called again"
LEFT_BEHIND: Final = "the callback was still running when stop() waited no longer"
GONE: Final = "unscheduled"


class Desk:
    """One per manager and start. ``slots``: callbacks at a time; ``left``: run -> schedule of callbacks that a former
    desk of this process left behind, and that are not over."""

    def __init__(self, incarnation: str, slots: int, left: Mapping[str, str]) -> None:
        self.incarnation = incarnation
        self.callbacks: dict[str, Callback] = {}
        self.ready = False
        self._slots = slots
        self._left = dict(left)
        self._store_id = ""
        self._epoch = self._start_seq = self._last = 0
        self._records: list[rec.AnyRecord] = []  # not sent yet; the last of them is number _last
        self._held: deque[tuple[int, Effect]] = deque()  # effects that wait until a record is durable
        self._durable = 0
        self._early: list[Registered | Unscheduled] = []  # before what is stored was loaded
        self._hungry: dict[str, None] = {}  # schedules of which something waits
        self._runs: dict[str, str] = {}  # run -> schedule
        self._version = self._told = 0
        self._watching = False  # the source has joined
        self._sources_new = False  # and is to hear what to look for
        self._ahead = 0.0  # seconds the wall clock is ahead of the runtime's
        self._say: list[Effect] = []
        self._noted: dict[str, None] = {}
        self._dirty: dict[str, None] = {}
        self._leave: Leave | None = None
        self._over = False

    def start(self, now: float) -> list[Effect]:
        """The store speaks first."""
        return []

    def handle(self, sender: str, message: Message, now: float) -> list[Effect]:
        """React to one message; what is stale or unknown is ignored."""
        if sender == STORE:
            return self._stored(message, now)
        if sender == SCHEDULER:
            self._timed(message, now)
        elif sender == SOURCE:
            self._arrived(message, now)
        elif sender == LOCAL:
            self._managed(message, now)
        return []

    def flush(self, now: float) -> list[Effect]:
        """Start what waits; then say all that is new, records first."""
        if not self.ready or self._over:
            return []
        self._serve(now)
        effects: list[Effect] = []
        if self._records:
            effects.append(Send(STORE, AppendRecords(self._epoch, self._last - len(self._records) + 1, self._records)))
            self._records = []
        effects += self._say
        self._say = []
        if self._sources_new and self._watching:
            specs = [spec for one in self.callbacks.values() if (spec := one.source()) is not None]
            effects.append(Send(SOURCE, Sources(self._epoch, specs)))
            self._sources_new = False
        if self._noted:
            places = [NotedPlace(name, name, self.callbacks[name].place) for name in self._noted]
            effects.append(Send(SCHEDULER, Noted(self._epoch, places)))
            self._noted = {}
        if self._told < self._version:
            entries = [one.entry() for one in self.callbacks.values() if one.stamp > self._told]
            effects.append(Send(SCHEDULER, Schedules(self._epoch, self._told, self._version, entries)))
            self._told = self._version
        if self._dirty:
            items: dict[str, Shown | None] = {}
            for name in self._dirty:
                one = self.callbacks[name]
                items[name] = one.shown() if one.number else None
            effects.append(Show(items))
            self._dirty = {}
        if self._leave is not None and not self._runs and self._durable >= self._last:
            self._over = True
            effects.append(Stop(0, "stopped"))
        return effects

    def deadline(self) -> float | None:
        """When to wait no longer for callbacks."""
        return self._leave.until if self._leave is not None and self._runs else None

    @property
    def watches(self) -> bool:
        """Whether some schedule needs the source actor."""
        return any(one.source() is not None for one in self.callbacks.values())

    # --- the store ----------------------------------------------------------------------------------------------------

    def _stored(self, message: Message, now: float) -> list[Effect]:
        match message:
            case StoreHello(store_id=store_id, epoch=epoch) if not self._epoch:
                self._store_id = store_id
                return [Send(STORE, Claim(epoch, self.incarnation))]
            case Claimed(epoch=epoch, last_seq=last) if not self._epoch:
                self._epoch = epoch
                self._start_seq = self._last = self._durable = last
                return [Send(STORE, Load(epoch))]
            case LoadedPage() if not self.ready:
                for item in message.items:
                    self._loaded(item)
                if message.cursor:
                    return [Send(STORE, Load(self._epoch, message.cursor))]
                self._begin(now)
            case Durable(through=through):
                self._durable = max(self._durable, through)
                effects: list[Effect] = []
                while self._held and self._held[0][0] <= self._durable:
                    effects.append(self._held.popleft()[1])
                return effects
            case Fenced() | ClaimRefused():
                return [Stop(70, "another manager has taken over the state")]
            case RecordRefused(seq=seq, reason=reason):
                return [Stop(70, f"record {seq} contradicts what is stored: {reason}")]
        return []

    def _loaded(self, item: rec.AnyLoaded) -> None:
        match item:
            case rec.LoadedSchedule(record=record):
                one = self.callbacks[record.name] = Callback(record, self._start_seq)
                one.runs, one.skipped = item.started, dict(item.skipped)
            case rec.LoadedOccurrence(record=record) if not item.run:
                self.callbacks[record.schedule].waiting[record.id] = record
            case rec.LoadedRun(record=record) if record.pipeline in self.callbacks:
                one = self.callbacks[record.pipeline]
                one.last_run = max(one.last_run, record.at)
                if item.state == "failed":
                    one.errors, one.last_error = one.errors + 1, item.error
                elif item.state == "active":
                    one.running[record.run] = record.at
                    self._runs[record.run] = one.name

    def _begin(self, now: float) -> None:
        """All is loaded: end what a former process left, take what was asked meanwhile."""
        self.ready = True
        for run in list(self._runs):
            self._end(run, INTERRUPTED, now)
        for name in self._left.values():
            if name in self.callbacks:
                self.callbacks[name].left += 1
        early, self._early = self._early, []
        for message in early:
            self._managed(message, now)

    def _write(self, record: rec.AnyRecord) -> int:
        self._last += 1
        self._records.append(record)
        return self._last

    # --- the manager and its threads ----------------------------------------------------------------------------------

    def _managed(self, message: Message, now: float) -> None:
        match message:
            case Registered() | Unscheduled() if not self.ready:
                self._early.append(message)
            case Registered():
                self._register(message, now)
            case Unscheduled(name=name) if name in self.callbacks and self.callbacks[name].number:
                self._unschedule(self.callbacks[name], now)
            case Ended(run=run) if run in self._left:
                one = self.callbacks.get(self._left.pop(run))
                if one is not None and one.left:
                    one.left -= 1
                    self._dirty[one.name] = None
            case Ended(run=run, error=error) if run in self._runs:
                self._end(run, error, now)
            case Leave() if self._leave is None or message.until is not None:
                self._leave = message
            case _:
                pass
        if self._leave is not None and self._leave.until is not None and now >= self._leave.until and self.ready:
            for run in list(self._runs):
                self._end(run, LEFT_BEHIND, now)

    def _register(self, wanted: Registered, now: float) -> None:
        one = self.callbacks.get(wanted.spec.name)
        if one is None:
            record: rec.Schedule | None = fresh(wanted, now)
            assert record is not None
            one = self.callbacks[record.name] = Callback(record, self._start_seq)
            one.left = sum(name == one.name for name in self._left.values())
            one.register(wanted, now)
        else:
            record = one.register(wanted, now)
        if record is not None:
            self._write(record)
        if one.waiting:
            self._hungry[one.name] = None
        self._changed(one)

    def _unschedule(self, one: Callback, now: float) -> None:
        for occurrence in list(one.waiting.values()):
            self._forgo(one, occurrence, GONE, now)
        self._write(one.unschedule(now))
        self._changed(one)

    def _changed(self, one: Callback) -> None:
        """Those who follow it are to know: the scheduler, the source, the people."""
        self._dirty[one.name] = None
        if one.spec.timed or one.stamp:  # it may have been timed before
            self._version += 1
            one.stamp = self._version
        self._sources_new = True

    # --- the clock ----------------------------------------------------------------------------------------------------

    def _timed(self, message: Message, now: float) -> None:
        if not self.ready:
            return  # its Hello comes again
        if isinstance(message, Heartbeat | Due) and message.wall:
            self._ahead = message.wall - now
        match message:
            case Hello():
                self._say.append(Send(SCHEDULER, Welcome(self._epoch, self._start_seq, self._store_id)))
            case Heartbeat(epoch=epoch, version=version) if epoch == self._epoch and version < self._told:
                self._told = version  # it has just joined, or something was lost: what is newer is told again
            case Due(epoch=epoch, items=items) if epoch == self._epoch and self._leave is None:
                for item in items:
                    self._due(item, now)
            case _:
                pass

    def _due(self, dues: Dues, now: float) -> None:
        one = self.callbacks.get(dues.schedule)
        if one is None:
            return
        self._noted[one.name] = None
        if one.off or dues.after != one.place:
            return
        for judged in dues.judged:
            if judged.place > one.place:
                self._judged(one, judged, now)

    def _judged(self, one: Callback, judged: Judged, now: float) -> None:
        self._dirty[one.name] = None
        reason = judged.reason or one.refusal()
        one.place = judged.place
        if reason:
            first = judged.first or judged.id
            self._skip(one, rec.Skip(one.name, one.name, first, judged.id, judged.due, judged.count, reason, now,
                                     judged.place))  # fmt: skip
            return
        # A wall time comes again when the zone or the expression is changed; with its due time it never does.
        id_ = f"{judged.id}/{judged.due:.0f}"
        self._note(one, rec.Occurrence(one.name, one.name, id_, judged.due, now, judged.place), now)

    # --- files --------------------------------------------------------------------------------------------------------

    def _arrived(self, message: Message, now: float) -> None:
        if not self.ready:
            return
        match message:
            case Hello():
                self._watching = True
                self._say.append(Send(SOURCE, Welcome(self._epoch, self._start_seq, self._store_id)))
                self._sources_new = True
            case Offer(pipeline=name, lane=lane) if message.epoch == self._epoch and lane == TRIGGER:
                one = self.callbacks.get(name)
                if one is not None and not one.off and message.seq >= one.ledger_seq:
                    one.pending = list(message.positions)
                    self._take(one, now)
            case SourceProblem(pipeline=name, problems=problems) if name in self.callbacks:
                self.callbacks[name].problem = "; ".join(problems)
                self._dirty[name] = None
            case _:
                pass

    def _take(self, one: Callback, now: float) -> bool:
        """Note the files whose turn has come, each an occurrence. Whether there were any."""
        taken = 0
        while self._leave is None and one.may_take(self._free):
            file, *one.pending = one.pending
            occurrence = rec.Occurrence(one.name, one.name, file.identity, now, now, positions=[file])
            reason, previous = one.refusal(), one.ledger_seq
            one.ledger_seq = self._note(one, occurrence, now, reason)
            planned = Planned(self._epoch, one.name, one.name, one.ledger_seq, 0, [file], previous, TRIGGER)
            self._say.append(Send(SOURCE, planned))
            taken += 1
        self._dirty[one.name] = None
        if one.pending:
            self._hungry[one.name] = None
        return taken > 0

    # --- what becomes of an occurrence --------------------------------------------------------------------------------

    def _note(self, one: Callback, occurrence: rec.Occurrence, now: float, reason: str = "") -> int:
        """It waits from here on, unless there is a ``reason`` why not. Returns the number of its record."""
        seq = self._write(occurrence)
        one.waiting[occurrence.id] = occurrence
        if reason:
            self._forgo(one, occurrence, reason, now)
        elif not self._start(one, now):
            self._hungry[one.name] = None
        return seq

    def _skip(self, one: Callback, skip: rec.Skip) -> None:
        self._write(skip)
        one.count(skip)
        self._dirty[one.name] = None

    def _forgo(self, one: Callback, occurrence: rec.Occurrence, reason: str, now: float) -> None:
        """What waits is given up."""
        del one.waiting[occurrence.id]
        self._skip(one, rec.Skip(one.name, one.name, occurrence.id, occurrence.id, occurrence.due, 1, reason, now))

    @property
    def _free(self) -> int:
        return self._slots - len(self._runs) - len(self._left)

    def _serve(self, now: float) -> None:
        """Start what waits, a schedule at a time in turns, as long as there are threads for it."""
        progress = self._leave is None
        while progress and self._hungry:
            progress = False
            for name in list(self._hungry):
                one = self.callbacks[name]
                if (one.waiting and self._start(one, now)) or (one.pending and self._take(one, now)):
                    progress = True
                    self._hungry[name] = self._hungry.pop(name)  # behind the others
                if not one.waiting and not one.pending:
                    del self._hungry[name]

    def _start(self, one: Callback, now: float) -> bool:
        """Start the oldest one that waits, if overlap, threads and the hour let it."""
        if self._leave is not None or one.off or self._free <= 0 or not one.may_start():
            return False
        occurrence = one.waiting.pop(next(iter(one.waiting)))
        run = f"{one.name}@{self._last + 1}"
        files = [f"/{position.identity}" for position in occurrence.positions]
        trigger = Trigger("schedule", one.name, occurrence.id, occurrence.due, {}, files)
        at = now + self._ahead
        seq = self._write(rec.Run(run, one.name, "schedule", at, trigger))
        one.runs, one.last_run = one.runs + 1, at
        one.running[run] = at
        self._runs[run] = one.name
        self._held.append((seq, Call(one.number, one.name, run, files[0] if files else "")))
        self._dirty[one.name] = None
        return True

    def _end(self, run: str, error: str, now: float) -> None:
        one = self.callbacks[self._runs.pop(run)]
        del one.running[run]
        state: RunState = "failed" if error else "done"
        self._write(rec.RunEnd(run, one.name, state, now, error))
        if error:
            one.errors, one.last_error = one.errors + 1, error
        self._dirty[one.name] = None
