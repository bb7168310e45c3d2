"""Results the broker has not confirmed yet: kept in order, sent once, and again every ``RESEND`` seconds.

Nothing waits for a node in the midst of a chain but its record, and each message on its own wakes three processes. So
its result travels with the next one that is urgent, or after ``HOLD`` seconds.
"""

from __future__ import annotations

from odibi_actors import messages as m
from odibi_actors.model import Attempt

RESEND = 2.0  # seconds without confirmation before a result is sent again
HOLD = 0.02  # seconds a result waits at most for others: that much finished work may have to be done again


class Outbox:
    """At most one result per (attempt, node); ``node`` is "" for Returned. Bounded by the broker's credit: it sends
    no more tasks than that before it confirms."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Attempt, str], m.AnyResult] = {}
        self._sent: dict[tuple[Attempt, str], float] = {}  # in order of time, so the first is the next due
        self._hold_until: float | None = None  # when what is new must go; it goes earlier with anything urgent

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, result: m.AnyResult, now: float) -> None:
        """Keep it; a second result of the same attempt and node is ignored."""
        self._kept.setdefault((result.attempt, getattr(result, "node", "")), result)
        until = now + HOLD if _can_wait(result) else now
        self._hold_until = until if self._hold_until is None else min(until, self._hold_until)

    def due(self, now: float) -> list[m.AnyResult]:
        """What is to be sent now, oldest first; counts as sent."""
        if not any(when <= now for when in self.deadlines()):
            return []
        self._hold_until = None
        keys = [key for key in self._kept if self._sent.get(key, float("-inf")) + RESEND <= now]
        for key in keys:
            self._mark(key, now)
        return [self._kept[key] for key in keys]

    def done(self, limit: int) -> list[m.NodeDone]:
        """The oldest ``limit`` outputs the broker may not know of."""
        return [result for result in self._kept.values() if isinstance(result, m.NodeDone)][:limit]

    def hello(self, now: float) -> None:
        """A Hello goes out: what ``done`` lists has been told; everything else is to be told (again) when joined."""
        self._sent.clear()
        self._hold_until = now
        for key, result in self._kept.items():
            if isinstance(result, m.NodeDone):
                self._sent[key] = now

    def confirm(self, attempt: Attempt, node: str) -> None:
        """The broker has it safe."""
        self._kept.pop((attempt, node), None)
        self._sent.pop((attempt, node), None)

    def drop(self, attempt: Attempt) -> None:
        """Nothing of this attempt is wanted."""
        for key in [key for key in self._kept if key[0] == attempt]:
            self.confirm(*key)

    def attempts(self) -> dict[Attempt, None]:
        """The attempts with unconfirmed results, in order."""
        return {attempt: None for attempt, _ in self._kept}

    def deadlines(self) -> list[float]:
        """When the next one is due to be sent, or sent again."""
        times = [] if self._hold_until is None else [self._hold_until]
        for sent in self._sent.values():
            return [*times, sent + RESEND]
        return times

    def _mark(self, key: tuple[Attempt, str], now: float) -> None:
        self._sent.pop(key, None)
        self._sent[key] = now


def _can_wait(result: m.AnyResult) -> bool:
    """Whether nobody but the log waits for it. A schema that is not pinned yet holds other iterations back."""
    return isinstance(result, m.NodeDone) and not result.last and not result.schema
