"""What a life is planned of."""

from __future__ import annotations

import msgspec


class Event(msgspec.Struct, frozen=True):
    """Something that happens ``at`` virtual seconds after the beginning; ``dice`` seeds its choices."""

    at: float
    kind: str
    dice: int
