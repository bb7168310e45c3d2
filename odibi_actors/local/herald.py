"""Who tells the targets of alerts during a local run: the scheduler's half that delivers, without its schedules, since
``odibictl run`` starts no occurrence. What it could not tell by the end is told by the next run, or by ``odibictl up``.

The log that a target of ``log: true`` names is stderr here. A failure of this run stands there as it happened, so it is
not told a second time; what a former system could not tell is no error of this run.
"""

from __future__ import annotations

from odibi_actors.actor import Effect, Log, Send
from odibi_actors.messages import BROKER, LOCAL, Connected, Hello, Message, Notice, Told, Welcome, WhoAreYou
from odibi_actors.scheduler.notices import Notices


class Herald:
    """Takes the scheduler's place."""

    def __init__(self, incarnation: str, host: str, pid: int, since: float) -> None:
        self._since = since
        self._hello = Hello("scheduler", incarnation, host, pid)
        self._notices = Notices()

    def start(self, _now: float) -> list[Effect]:
        """Nothing is said before the link is up."""
        return []

    def handle(self, sender: str, message: Message, now: float) -> list[Effect]:
        """Deliver notices; whatever else is said to a scheduler is ignored."""
        match message:
            case Connected() | WhoAreYou():
                return [Send(BROKER, self._hello)]
            case Welcome(epoch=epoch) if epoch > self._notices.epoch:
                self._notices.epoch = epoch
            case Notice() if message.epoch == self._notices.epoch:
                return self._logged(message, self._notices.take(message, now))
            case Told() if sender == LOCAL:
                return self._notices.told(message, now)
        return []

    def flush(self, now: float) -> list[Effect]:
        """Tries whose time has come."""
        return self._notices.flush(now)

    def deadline(self) -> float | None:
        """When the next try is."""
        return self._notices.deadline()

    def _logged(self, notice: Notice, effects: list[Effect]) -> list[Effect]:
        """The effects, with what would stand in a log as a plain line, unless it stands there."""
        stands = notice.at >= self._since and notice.kind in ("failure", "dead_letter")
        line = Log("info", f"alert ({notice.kind}): {notice.text}", {"notice": True})
        others: list[Effect] = [effect for effect in effects if not isinstance(effect, Log)]
        return others if stands or len(others) == len(effects) else [line, *others]
