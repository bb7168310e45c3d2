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

    def more(self, due: float, text: str) -> Held:
        """And one more. What was held back before is not told later for it."""
        return Held(self.count + 1, self.since, min(self.due, due), text[:MAX_TEXT])

    def joined(self, other: Held) -> Held:
        """Both, as one."""
        return Held(self.count + other.count, min(self.since, other.since), min(self.due, other.due), self.text)


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


def summary(pipeline: str, kind: AlertKind, held: Held, recovered: bool) -> str:
    """What is told of them; ``recovered``: what had failed works again, which is not what they say."""
    what = "" if kind == "recovery" else f"{kind} "
    alerts = f"1 more {what}alert was" if held.count == 1 else f"{held.count} more {what}alerts were"
    newest = "" if held.count == 1 else "the newest: "
    since = "; it has recovered since" if recovered and kind == "failure" else ""
    return f"{pipeline}: {alerts} held back (throttle) since {format_instant(held.since)}; {newest}{held.text}{since}"
