"""Alerts that ``throttle`` held back: counted, remembered, and told in one summary once that time is over.

They are durable as a setting of their own (scope ALERTS), written before what they tell of, as an alert is: a broker
that comes after a crash tells the summary.
"""

from __future__ import annotations

import msgspec

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import AlertKind
from odibi_actors.units import format_instant

Key = tuple[str, AlertKind, int]
"""Pipeline, kind, and the place of the target among the pipeline's alerts."""

MAX_TEXT = 500
"""Characters that are kept of the newest one."""


class Held(msgspec.Struct, frozen=True):
    """What a target was not told of: ``count`` alerts, the first at ``since``, the newest saying ``text``; they are
    told at ``due``. Times are seconds since the epoch."""

    count: int
    since: float
    due: float
    text: str

    def more(self, text: str) -> Held:
        """And one more."""
        return Held(self.count + 1, self.since, self.due, text[:MAX_TEXT])


def first(now: float, due: float, text: str) -> Held:
    """The first one that is held back."""
    return Held(1, now, due, text[:MAX_TEXT])


def setting(key: Key, held: Held | None) -> rec.Setting:
    """What the store keeps of it; None: nothing any more."""
    value = msgspec.json.encode(held).decode() if held is not None else ""
    return rec.Setting(rec.ALERTS, "/".join(map(str, key)), value)


def loaded(setting: rec.Setting) -> tuple[Key, Held]:
    """What was kept. Raises ValueError."""
    pipeline, kind, number = setting.name.split("/")
    key: Key = pipeline, msgspec.convert(kind, AlertKind), int(number)
    return key, msgspec.json.decode(setting.value, type=Held)


def summary(pipeline: str, kind: AlertKind, held: Held) -> str:
    """What is told of them."""
    alerts = f"1 more {kind} alert was" if held.count == 1 else f"{held.count} more {kind} alerts were"
    newest = "" if held.count == 1 else "the newest: "
    return f"{pipeline}: {alerts} held back (throttle) since {format_instant(held.since)}; {newest}{held.text}"
