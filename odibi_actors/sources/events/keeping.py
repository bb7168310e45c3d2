"""When a log of events is looked over, and what of it is deleted. Pure.

A round has three steps: the probe says what is older, or more, than is kept; the broker says how much of that nobody
goes back to any more, and writes down that nobody will; the probe deletes that. What is lost on the way costs a round.
"""

from __future__ import annotations

from typing import Any, Literal

from odibi_actors.actor import Effect, Log, Send
from odibi_actors.config.model import ReadSpec
from odibi_actors.messages import BROKER, Reply, Request
from odibi_actors.model import Position
from odibi_actors.sources.events.effects import Prune, Pruned, Survey, Surveyed
from odibi_actors.sources.events.pieces import Mark, mark
from odibi_actors.units import plural

EVERY = 60.0
"""Seconds between two rounds."""
PATIENCE = 300.0
"""Seconds after which a round that has heard nothing is over: a backfill, or a rewind, may be waited for as long."""


class Keeping:
    """Of one source. ``survey``: how its log was when it was looked over last."""

    def __init__(self, key: str, incarnation: str) -> None:
        self.survey: Surveyed | None = None
        self._key, self._incarnation = key, incarnation
        self._step: Literal["", "survey", "leave", "prune"] = ""
        self._number = 0
        self._at = self._since = 0.0
        self._through = 0
        self._held: list[Position] = []
        self._owner = ""
        self._gone = 0
        self.waits = ""
        """What keeps it from being deleted."""

    def deadline(self) -> float:
        """When something is due at the latest."""
        return self._since + PATIENCE if self._step else self._at

    def due(self, now: float) -> bool:
        """Whether a round is to begin."""
        if self._step and now >= self._since + PATIENCE:
            self._over(now)
            self._at = now
        return not self._step and now >= self._at

    def begin(self, number: int, read: ReadSpec, now: float) -> list[Effect]:
        """Look the log over."""
        self._step, self._number, self._since = "survey", number, now
        return [Survey(self._key, number, read)]

    def surveyed(self, found: Surveyed, ask: dict[str, str], now: float) -> list[Effect]:
        """Ask whether what is stale may go."""
        if self._step != "survey" or found.number != self._number:
            return []
        self.survey, self.waits = found, found.problem or self.waits
        if not found.stale:
            self.waits = found.problem
            self._over(now)
            return []
        self._step = "leave"
        place = Mark(found.stale, found.id).packed().hex()
        return [Send(BROKER, Request(self._request, "source.prune", {**ask, "place": place}))]

    @property
    def _request(self) -> str:
        return f"{self._incarnation}-{self._number}"

    def answered(self, reply: Reply, number: int, read: ReadSpec, now: float) -> list[Effect]:
        """What may go, or why nothing may."""
        if self._step != "leave" or reply.id != self._request:
            return []
        told: dict[str, Any] = reply.result or {}
        self.waits = reply.error or str(told.get("waits", ""))
        if reply.status or not told["place"]:
            self._over(now)
            return []
        self._through = mark(bytes.fromhex(told["place"])).number
        self._held, self._owner, self._gone = [Position.of(one) for one in told["held"]], told["store_id"], 0
        return self._prune(number, read, now)

    def _prune(self, number: int, read: ReadSpec, now: float) -> list[Effect]:
        self._step, self._number, self._since = "prune", number, now
        return [Prune(self._key, number, read, self._through, self._held, self._owner)]

    def pruned(self, found: Pruned, number: int, read: ReadSpec, now: float) -> list[Effect]:
        """Go on, or tell what was deleted."""
        if self._step != "prune" or found.number != self._number:
            return []
        self._gone += found.count
        if found.more:
            return self._prune(number, read, now)
        told: list[Effect] = []
        if found.problem and found.problem != self.waits:
            told.append(Log("warning", f"{self._key}: {found.problem}"))
        self.waits = found.problem or self.waits
        if self._gone:
            what = f"{plural(self._gone, 'event')} up to number {self._through:,} deleted from its log (`retain`)"
            told.append(Log("info", f"{self._key}: {what}"))
        self._over(now)
        self._at = now if self._gone else self._at  # how the log is now
        return told

    def _over(self, now: float) -> None:
        self._step, self._at = "", now + EVERY
