"""A desk on a real engine in memory, without threads or time: what it says is collected, what it writes is checked by
the engine, which refuses records that contradict each other."""

from __future__ import annotations

from typing import Any

from odibi_actors.actor import Effect, Send, Stop
from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.config.model import ScheduleSpec, WatchSpec
from odibi_actors.local.callbacks.desk import Desk
from odibi_actors.local.callbacks.effects import Call, Ended, Registered, Show, Shown, Unscheduled
from odibi_actors.messages import (
    LOCAL,
    SCHEDULER,
    SOURCE,
    STORE,
    AppendRecords,
    Claim,
    Due,
    Dues,
    Durable,
    Hello,
    Judged,
    Load,
    LoadedPage,
    Message,
    Offer,
    StoreHello,
    Tick,
)
from odibi_actors.model import TRIGGER, Place
from odibi_actors.scheduler.timetable import occurrences
from odibi_actors.sources.file_position import file_position

BEGIN = 1_700_000_000.0


class Office:
    """``calls``: run -> Call that has not ended; ``called``: all Calls ever; ``sent``: what others were told since it
    was last looked at; ``shown``: the newest of each schedule."""

    def __init__(self, slots: int = 4) -> None:
        self.engine = Engine(":memory:")
        self.slots, self.now, self.starts = slots, BEGIN, 0
        self.called: list[Call] = []
        self.numbers = 0
        self.dies = ""  # "before", "after" a write is applied
        self.begin()

    def begin(self, left: dict[str, str] | None = None) -> None:
        """A new process, on what is durable."""
        self.starts += 1
        self.dies, self.dead = "", False
        self.silent = False  # the store does not say yet that what it has is durable
        self.calls: dict[str, Call] = {}
        self.sent: list[tuple[str, Message]] = []
        self.shown: dict[str, Shown | None] = {}
        self.stopped: Stop | None = None
        self.desk = Desk(f"desk-{self.starts}", self.slots, left or {})
        engine = self.engine
        self.say(STORE, StoreHello("store", "host", 1, engine.store_id, engine.epoch, engine.last_seq))
        for role in (SCHEDULER, SOURCE):
            self.say(role, Hello(role, f"{role}-{self.starts}", "host", 1))  # type: ignore[arg-type]

    def say(self, sender: str, *messages: Message) -> None:
        """Messages that arrive together, and all that follows from them."""
        for message in messages:
            self._carry_out(self.desk.handle(sender, message, self.now))
        self._carry_out(self.desk.flush(self.now))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if self.dead:
                return
            match effect:
                case Send(to="store", message=message):
                    self._store(message)
                case Send(to=to, message=message):
                    self.sent.append((to, message))
                case Call():
                    assert effect.run not in self.calls
                    self.calls[effect.run] = effect
                    self.called.append(effect)
                case Show(items=items):
                    self.shown.update(items)
                case Stop():
                    self.stopped = effect

    def _store(self, message: Message) -> None:
        match message:
            case Claim():
                self.say(STORE, self.engine.claim(message.expected, message.claimant))
            case Load():
                items, cursor = self.engine.load(message.cursor)
                self.say(STORE, LoadedPage(message.epoch, items, cursor, message.cursor))
            case AppendRecords():
                self.dead = bool(self.dies)
                if self.dies == "before":
                    return
                through = self.engine.apply(message.epoch, message.first, message.records)
                if not self.dead and not self.silent:
                    self.say(STORE, Durable(message.epoch, through))

    # --- what happens -------------------------------------------------------------------------------------------------

    def register(self, spec: ScheduleSpec, **more: Any) -> None:
        self.numbers += 1
        self.say(LOCAL, Registered(self.numbers, spec, self.now, **more))

    def unschedule(self, name: str) -> None:
        self.say(LOCAL, Unscheduled(name))

    def tick(self) -> None:
        self.say(LOCAL, Tick())

    def due(self, name: str, count: int = 1, after: Place | None = None) -> list[Judged]:
        """The scheduler tells so many occurrences that follow a place, by default the schedule's."""
        one = self.desk.callbacks[name]
        place = one.place if after is None else after
        found = occurrences(one.spec, place)
        judged = [Judged(next_.id, next_.due, next_.place) for next_ in (next(found) for _ in range(count))]
        self.now = max(self.now, judged[-1].due)
        self.say(SCHEDULER, Due(self.engine.epoch, self.now, [Dues(name, name, place, judged)]))
        return judged

    def offer(self, name: str, *files: str, seq: int | None = None) -> None:
        """The source tells of files."""
        positions = [file_position(file, 1, 1, 1) for file in files]
        seq = self.desk.callbacks[name].ledger_seq if seq is None else seq
        self.say(SOURCE, Offer(self.engine.epoch, "source", name, name, seq, positions, lane=TRIGGER))

    def end(self, run: str, error: str = "") -> None:
        """A callback is over."""
        del self.calls[run]
        self.say(LOCAL, Ended(run, error))

    # --- what is so ---------------------------------------------------------------------------------------------------

    def told(self, kind: type[Message], to: str = SCHEDULER) -> list[Any]:
        """Messages of a kind that somebody was told."""
        return [message for name, message in self.sent if name == to and isinstance(message, kind)]

    def schedule(self, name: str) -> rec.LoadedSchedule:
        """What is durable of a schedule."""
        found = [item for item in self._items() if isinstance(item, rec.LoadedSchedule) and item.record.name == name]
        return found[0]

    def waiting(self) -> list[str]:
        """Occurrences that durably wait."""
        return [item.record.id for item in self._items() if isinstance(item, rec.LoadedOccurrence) and not item.run]

    def runs(self, name: str) -> dict[str, str]:
        """Run -> state, as far as the snapshot has them."""
        return {
            item.record.run: item.state
            for item in self._items()
            if isinstance(item, rec.LoadedRun) and item.record.pipeline == name
        }

    def _items(self) -> list[rec.AnyLoaded]:
        items: list[rec.AnyLoaded] = []
        cursor = ""
        while True:
            page, cursor = self.engine.load(cursor)
            items += page
            if not cursor:
                return items


def every(name: str, seconds: float = 1.0, **more: Any) -> ScheduleSpec:
    """An interval."""
    return ScheduleSpec(name, every=seconds, **more)


def files(name: str, **more: Any) -> ScheduleSpec:
    """A schedule that waits for files."""
    more.setdefault("overlap", "buffer_all")
    return ScheduleSpec(name, file_watch=WatchSpec("/in", "*.csv"), **more)
