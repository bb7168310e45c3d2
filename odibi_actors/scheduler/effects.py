"""What the scheduler actor asks of its driver."""

from __future__ import annotations

from typing import Any

from odibi_actors.actor import Effect
from odibi_actors.config.model import AlertSpec


class FollowClock(Effect, frozen=True):
    """Feed ClockSet, now and whenever the wall clock is set, and ZonesChanged. The ``now`` with which this is carried
    out is what the wall clock is compared with."""


class Tell(Effect, frozen=True):
    """Tell target number ``target`` of a notice, by its command or webhook; Told comes back, whatever happens.
    ``payload`` is what it gets, as JSON."""

    id: int
    target: int
    spec: AlertSpec
    payload: dict[str, Any]
