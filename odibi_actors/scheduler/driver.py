"""The impure half of the scheduler: follows the machine's clock and time zones, and has alerts told."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from odibi_actors.actor import Effect
from odibi_actors.messages import LOCAL, Message, Told, ZonesChanged
from odibi_actors.scheduler.clock import Alarm, WallClock, ZoneFiles, boot_time
from odibi_actors.scheduler.deliveries import Deliveries
from odibi_actors.scheduler.effects import FollowClock, Tell
from odibi_actors.scheduler.zones import forget_zones


class SchedulerDriver:
    """Carries out FollowClock and Tell. ``root``: the project's folder, where commands are. ``follow`` makes what
    compares the wall clock with the runtime's, from the ``now`` of the runtime."""

    def __init__(
        self, root: Path, follow: Callable[[float], WallClock] = WallClock, zones: ZoneFiles | None = None
    ) -> None:
        self._follow = follow
        self._clock: WallClock | None = None
        self._alarm: Alarm | None = None
        self._zones = zones if zones is not None else ZoneFiles(boot_time())
        self._lock = threading.Lock()
        self._news: deque[Message] = deque()
        self._awake = False
        self._closed = False
        self._wake_out, self._wake_in = os.pipe()
        self._deliveries = Deliveries(root, self._tell)

    def perform(self, effect: Effect, now: float) -> Iterable[tuple[str, Message]]:
        """Begin to follow the clock; or have a target told, which is answered through ``inputs``."""
        if isinstance(effect, FollowClock):
            self._clock, self._alarm = self._follow(now), Alarm()
            first = self._clock.look()
            return [] if first is None else [(LOCAL, first)]
        if not isinstance(effect, Tell):
            raise TypeError(f"the scheduler's driver does not know {type(effect).__name__}")
        if not self._deliveries.put(effect):
            return [(LOCAL, Told(effect.id, effect.target, "too many alerts wait to be told"))]
        return []

    def inputs(self) -> Mapping[Any, Callable[[], Iterable[tuple[str, Message]]]]:
        """A pipe that becomes readable when there is news, and the alarm of the clock. Looks at both clock and zones:
        this is asked before every poll, each second at the latest."""
        if self._clock is not None:
            set_ = self._clock.look()
            if set_ is not None:
                self._tell(set_)
            if self._zones.changed(boot_time()):
                forget_zones()
                self._tell(ZonesChanged())
        readers: dict[Any, Callable[[], Iterable[tuple[str, Message]]]] = {self._wake_out: self._take}
        if self._alarm is not None and self._alarm.fd is not None:
            readers[self._alarm.fd] = self._alarmed
        return readers

    def close(self) -> None:
        """Kill commands that run; a thread that waits for a webhook is left behind."""
        self._deliveries.close()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            os.close(self._wake_in)
            os.close(self._wake_out)
        if self._alarm is not None:
            self._alarm.close()

    def _alarmed(self) -> Iterable[tuple[str, Message]]:
        """The clock was set: ``inputs`` is about to see by how much."""
        if self._alarm is not None:
            self._alarm.read()
        return ()

    def _take(self) -> list[tuple[str, Message]]:
        with self._lock:
            if self._closed or not self._awake:
                return []
            os.read(self._wake_out, 1)
            self._awake = False
            news = [(LOCAL, message) for message in self._news]
            self._news.clear()
        return news

    def _tell(self, message: Message) -> None:
        """For the actor, from any thread."""
        with self._lock:
            if self._closed:
                return
            self._news.append(message)
            if not self._awake:
                self._awake = True
                os.write(self._wake_in, b"\0")
