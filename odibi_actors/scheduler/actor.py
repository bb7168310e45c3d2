"""The scheduler actor: when pipelines run. It runs nothing itself, and owns nothing that must last.

It gets the schedules that follow the clock from the broker, and how far each has come; finds out what is due
(``timetable``), judges it (``judge``), tells the broker (``agenda``) and repeats that until it is noted in the log. The
broker takes only what begins where the schedule's log ends, and says where that is: so whatever is lost, told twice or
forgotten, each occurrence is recorded once. A broker of a new epoch says everything again. The actor also has the
targets of alerts told (``notices``).
"""

from __future__ import annotations

from typing import Final

from odibi_actors.actor import Effect, Log, Send, Stop
from odibi_actors.messages import (
    BROKER,
    HEARTBEAT,
    LOCAL,
    Bye,
    ByeAck,
    ClockSet,
    Connected,
    Due,
    Heartbeat,
    Hello,
    Message,
    Noted,
    Notice,
    Refused,
    Request,
    Schedules,
    Shutdown,
    Terminate,
    Told,
    Welcome,
    WhoAreYou,
    ZonesChanged,
)
from odibi_actors.scheduler.agenda import Agenda, grouped
from odibi_actors.scheduler.answers import Answers
from odibi_actors.scheduler.effects import FollowClock
from odibi_actors.scheduler.judge import Open
from odibi_actors.scheduler.notices import Notices
from odibi_actors.scheduler.timetable import occurrences

FAREWELL: Final = 1.0
"""Seconds to wait for ByeAck before stopping all the same."""
MAX_SAID: Final = 5_000
"""Judged in one Due: about a megabyte."""


class SchedulerActor:
    """One per system. ``calendar``: the occurrences of a schedule from a place on."""

    def __init__(self, incarnation: str, host: str, pid: int, calendar: Open = occurrences) -> None:
        self.incarnation, self.host, self.pid = incarnation, host, pid
        self.epoch = 0
        self.version = 0  # of the schedules, within the epoch
        self.offset = 0.0  # of the wall clock from now
        self.agenda = Agenda(calendar)
        self.notices = Notices()
        self.answers = Answers(self.agenda, calendar)
        self._now = 0.0
        self._next_beat: float | None = None  # None: not connected yet
        self._stop_at: float | None = None

    def start(self, now: float) -> list[Effect]:
        """Nothing is sent before the link is up."""
        self._now = now
        return [FollowClock()]

    def handle(self, sender: str, message: Message, now: float) -> list[Effect]:
        """React to one message; what is stale, unknown, or not for its sender to say is ignored."""
        self._now = now
        if isinstance(message, Request):
            reply = self.answers.ask(sender, message)
            return [] if reply is None else [Send(sender, reply)]
        if sender == LOCAL and isinstance(message, ClockSet | ZonesChanged | Told):
            return self._world(message, now)
        if sender not in (BROKER, LOCAL):
            return []
        match message:
            case Connected() | WhoAreYou():
                self._next_beat = now + HEARTBEAT
                return [Send(BROKER, self._hello())]
            case Welcome(epoch=epoch) if epoch > self.epoch:
                self.epoch = self.notices.epoch = epoch
                self.version = 0
                self.agenda.forget()
                self._next_beat = now  # that this version is 0 makes the broker tell its schedules
            case Terminate(at_once=True):
                return [Stop(0, "terminated")]
            case Terminate() | Shutdown():
                if self._next_beat is None:
                    return [Stop(0, "left")]
                self._stop_at = self._stop_at or now + FAREWELL
                return [Send(BROKER, Bye())]
            case ByeAck() if self._stop_at is not None:
                return [Stop(0, "left")]
            case Refused(reason=reason, final=True):
                self._next_beat = None  # until there is another broker
                return [Log("error", "the broker refuses this scheduler", {"reason": reason})]
            case Refused(reason=reason):
                return [Stop(70, f"refused by the broker: {reason}")]
            case Schedules() | Noted() | Notice() if message.epoch == self.epoch > 0:
                return self._told(message, now)
        return []

    def flush(self, now: float) -> list[Effect]:
        """What is due, and the heartbeat; or the Hello again while no Welcome came."""
        self._now = now
        if self._stop_at is not None:
            return [Stop(0, "left without an answer")] if now >= self._stop_at else []
        wall = now + self.offset
        self.agenda.work(wall)
        dues = grouped(self.agenda.say(wall, now), MAX_SAID)
        effects: list[Effect] = [Send(BROKER, Due(self.epoch, wall, items)) for items in dues]
        effects += [Send(sender, reply) for sender, reply in self.answers.work()]
        effects += self.notices.flush(now)
        for pipeline, schedule, why in self.agenda.problems:
            text = "a schedule cannot be read: nothing of it is due"
            effects.append(Log("error", text, {"pipeline": pipeline, "schedule": schedule, "error": why}))
        self.agenda.problems.clear()
        if self._next_beat is not None and now >= self._next_beat:
            self._next_beat = now + HEARTBEAT
            beat = Heartbeat(self.epoch, version=self.version, wall=wall)
            effects.append(Send(BROKER, beat if self.epoch else self._hello()))
        return effects

    def deadline(self) -> float | None:
        """When ``flush`` has something to do at the latest."""
        if self._stop_at is not None:
            return self._stop_at
        times = [
            self._next_beat,
            self.agenda.deadline(self.offset, self._now),
            self.notices.deadline(),
            self._now if self.answers.waiting else None,
        ]
        return min((at for at in times if at is not None), default=None)

    def _told(self, message: Schedules | Noted | Notice, now: float) -> list[Effect]:
        """News of the present broker."""
        match message:
            case Schedules(since=since, version=version, items=items) if since == self.version:
                self.version = version
                for item in items:
                    self.agenda.put(item)
            case Noted(items=items):
                for noted in items:
                    self.agenda.noted((noted.pipeline, noted.schedule), noted.place)
            case Notice():
                return self.notices.take(message, now)
        return []

    def _world(self, message: ClockSet | ZonesChanged | Told, now: float) -> list[Effect]:
        """News of the runtime."""
        match message:
            case ClockSet(offset=offset, jumped=jumped):
                back = jumped and offset < self.offset
                self.offset = offset
                if back:
                    self.agenda.set_back()
            case ZonesChanged():
                self.agenda.recompute()
                return [Log("info", "the time zone data has changed: all schedules are computed again")]
            case Told():
                return self.notices.told(message, now)
        return []

    def _hello(self) -> Hello:
        return Hello("scheduler", self.incarnation, self.host, self.pid)
