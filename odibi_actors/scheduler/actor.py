"""The scheduler actor: when pipelines run. It runs nothing itself.

Today it joins the system, shows that it lives, and says that there are no schedules: runs are started by
``odibictl pipeline trigger``. What cron expressions and intervals mean, through every change of a zone, is in
``timetable``; that pipelines run by them comes next.
"""

from __future__ import annotations

from odibi_actors.actor import Effect, Send, Stop
from odibi_actors.messages import (
    BROKER,
    HEARTBEAT,
    LOCAL,
    Bye,
    ByeAck,
    Connected,
    Heartbeat,
    Hello,
    Message,
    Refused,
    Reply,
    Request,
    Shutdown,
    Terminate,
    Welcome,
    WhoAreYou,
)

FAREWELL = 1.0
"""Seconds to wait for ByeAck before stopping all the same."""


class SchedulerActor:
    """One per system."""

    def __init__(self, incarnation: str, host: str, pid: int) -> None:
        self.incarnation, self.host, self.pid = incarnation, host, pid
        self.epoch = 0
        self._next_beat: float | None = None  # None: not connected yet
        self._stop_at: float | None = None

    def start(self, now: float) -> list[Effect]:
        """Nothing happens before the link is up."""
        return []

    def handle(self, sender: str, message: Message, now: float) -> list[Effect]:
        """React to one message; what is stale, unknown, or not for its sender to say is ignored."""
        if isinstance(message, Request):
            return [Send(sender, _reply(message))]
        if sender not in (BROKER, LOCAL):
            return []
        match message:
            case Connected() | WhoAreYou():
                self._next_beat = now + HEARTBEAT
                return [Send(BROKER, self._hello())]
            case Welcome(epoch=epoch):
                self.epoch = max(self.epoch, epoch)
            case Terminate(at_once=True):
                return [Stop(0, "terminated")]
            case Terminate() | Shutdown():
                if self._next_beat is None:
                    return [Stop(0, "left")]
                self._stop_at = self._stop_at or now + FAREWELL
                return [Send(BROKER, Bye())]
            case ByeAck() if self._stop_at is not None:
                return [Stop(0, "left")]
            case Refused(reason=reason):
                return [Stop(70, f"refused by the broker: {reason}")]
        return []

    def flush(self, now: float) -> list[Effect]:
        """The heartbeat, or the Hello again while no Welcome came."""
        if self._stop_at is not None:
            return [Stop(0, "left without an answer")] if now >= self._stop_at else []
        if self._next_beat is None or now < self._next_beat:
            return []
        self._next_beat = now + HEARTBEAT
        return [Send(BROKER, Heartbeat(self.epoch) if self.epoch else self._hello())]

    def deadline(self) -> float | None:
        """When ``flush`` has something to do at the latest."""
        return self._stop_at if self._stop_at is not None else self._next_beat

    def _hello(self) -> Hello:
        return Hello("scheduler", self.incarnation, self.host, self.pid)


def _reply(request: Request) -> Reply:
    if request.verb == "schedule.list":
        return Reply(request.id, 0, {"items": []})
    return Reply(request.id, 2, error=f"the scheduler does not know the verb {request.verb!r}")
