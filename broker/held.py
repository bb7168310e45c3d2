"""Alerts that ``throttle`` held back: counted, remembered, and told in one summary once that time is over.

They are durable as a setting of their own (scope ALERTS), written before what they tell of, as an alert is: a broker
that comes after a crash tells the summary. So is when a target was told last (scope TOLD): it is not told sooner again
for a crash.
"""

from __future__ import annotations

import msgspec

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import AlertKind
from odibi_actors.units import format_instant, plural

Key = tuple[str, AlertKind, int]
"""Pipeline, kind, and the place of the target among the pipeline's alerts."""

MAX_TEXT = 500
"""Characters that are kept of the newest one."""


class Held(msgspec.Struct, frozen=True):
    """What a target was not told of: ``count`` alerts, the first at ``since``, the newest at ``newest`` (0: by a former
    release, which did not tell), saying ``text``; they are told at ``due``. Times are seconds since the epoch."""

    count: int
    since: float
    due: float
    text: str
    newest: float = 0.0

    def more(self, now: float, due: float, text: str) -> Held:
        """And one more. What was held back before is not told later for it."""
        return Held(self.count + 1, self.since, min(self.due, due), text[:MAX_TEXT], now)

    def joined(self, other: Held) -> Held:
        """Both, as one."""
        since, due = min(self.since, other.since), min(self.due, other.due)
        return Held(self.count + other.count, since, due, self.text, self.newest)


def first(now: float, due: float, text: str) -> Held:
    """The first one that is held back."""
    return Held(1, now, due, text[:MAX_TEXT], now)


def setting(key: Key, held: Held | None) -> rec.Setting:
    """What the store keeps of it; None: nothing any more."""
    value = msgspec.json.encode(held).decode() if held is not None else ""
    return rec.Setting(rec.ALERTS, "/".join(map(str, key)), value)


def told(key: Key, at: float) -> rec.Setting:
    """What the store keeps of when a target was told."""
    return rec.Setting(rec.TOLD, "/".join(map(str, key)), repr(at))


def loaded(setting: rec.Setting) -> tuple[Key, Held | float]:
    """What was kept: what is held back, or when the target was told. Raises ValueError."""
    pipeline, kind, number = setting.name.split("/")
    key: Key = pipeline, msgspec.convert(kind, AlertKind), int(number)
    return key, float(setting.value) if setting.scope == rec.TOLD else msgspec.json.decode(setting.value, type=Held)


def summary(pipeline: str, kind: AlertKind, held: Held, recovered: bool, letters: int) -> str:
    """What is told of them, and what they do not say, as it came since. ``recovered``: what had failed works again;
    ``letters``: dead letters that are open now."""
    what = "" if kind == "recovery" else f"{kind} "
    alerts = f"1 more {what}alert was" if held.count == 1 else f"{held.count} more {what}alerts were"
    at = f", at {format_instant(held.newest)}" if held.newest else ""
    newest = "" if held.count == 1 else f"the newest{at}: "
    since = "; it has recovered since" if recovered and kind == "failure" else ""
    if kind == "dead_letter":
        since = f"; {plural(letters, 'dead letter')} open now" if letters else "; no dead letter is open any more"
    return f"{pipeline}: {alerts} held back (throttle) since {format_instant(held.since)}; {newest}{held.text}{since}"


def beside(count: int) -> str:
    """What is said of those that were held back before one that is told."""
    return f" ({plural(count, 'more alert')} before it held back by throttle)" if count else ""
