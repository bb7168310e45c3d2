"""When a source is polled. Pure.

Ticks are the multiples of ``every`` since 1970. Each is polled once, while it is the newest one; a poll that has failed
is tried again until the next tick. What nobody polled by then is missed, and told: no later poll reads what was there.
"""

from __future__ import annotations

from math import floor

AGAIN = 30.0
"""Seconds until a poll that has failed is tried again; a tenth of ``every``, if that is less."""
SHORTEST, LONGEST = 60.0, 3600.0
"""Seconds that a poll may take at least, however short ``every`` is, and at most; else until the next tick."""


def patience(every: float) -> float:
    """Seconds that a poll may take."""
    return min(max(SHORTEST, every), LONGEST)


class Clock:
    """Of one source. ``problem``: why the newest poll came to nothing, "" once one has not."""

    def __init__(self, every: float) -> None:
        self.every = every
        self.last: int | None = None  # the newest tick that was taken
        self.known = False
        self.polling: int | None = None
        self.problem = ""
        self._again = 0.0

    def begin(self, newest: float | None) -> None:
        """The log has what was read at the tick of ``newest``, or nothing yet."""
        if not self.known:
            self.known, self.last = True, None if newest is None else floor(newest / self.every)

    def newest(self, now: float) -> int:
        """The tick that is the newest one."""
        return floor(now / self.every)

    def at(self, tick: int) -> float:
        """When a tick is (seconds since the epoch)."""
        return tick * self.every

    def due(self, now: float) -> int | None:
        """The tick to be polled now. Polls never overlap."""
        tick = self.newest(now)
        if not self.known or self.polling is not None or (self.last is not None and tick <= self.last):
            return None
        return tick if now >= self._again else None

    def deadline(self, now: float) -> float | None:
        """When ``due`` may be something."""
        if not self.known or self.polling is not None:
            return None
        waiting = self.last is None or self.newest(now) > self.last
        return max(now, self._again) if waiting else self.at(self.newest(now) + 1)

    def missed(self, tick: int) -> int:
        """How many ticks before this one nobody has polled, since the last that was taken."""
        return 0 if self.last is None else max(0, tick - self.last - 1)

    def taken(self, tick: int) -> None:
        """What was read at a tick is kept."""
        self.polling, self.last, self.problem, self._again = None, max(tick, self.last or tick), "", 0.0

    def failed(self, why: str, now: float) -> None:
        """Nothing was kept."""
        self.polling, self.problem = None, why
        self._again = now + min(AGAIN, self.every / 10)

    def retry(self) -> None:
        """What has failed may do now: it is tried again at once."""
        self.problem, self._again = "", 0.0
