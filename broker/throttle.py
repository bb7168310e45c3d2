"""Which target of a pipeline's alerts is told now, and which is held back until its ``throttle`` is over.

Failures and the recovery after them are one story, told by how it ends: whoever wants both and was told of the failure
is told of the recovery at once, and what was held back meanwhile comes with it. So the last that a target hears of a
pipeline that works is never that it has failed.
"""

from __future__ import annotations

import msgspec

from odibi_actors.broker import held as held_back
from odibi_actors.broker.held import Held, Key
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import AlertKind, AlertSpec

AGAIN = 60.0
"""Seconds until there may be room for a summary."""

Summary = tuple[Pipeline, AlertKind, list[AlertSpec], Held]
"""Targets that are due together share one."""


class Throttle:
    """What each target was told lately, and what it was not told of since."""

    def __init__(self) -> None:
        self._told: dict[Key, float] = {}  # when a target was told of that kind
        self._alarmed: dict[
            tuple[str, int], None
        ] = {}  # (pipeline, target): it was told of a failure, of nothing since
        self._held: dict[Key, Held] = {}
        self._changed: dict[Key, None] = {}  # of these what is held back has changed
        self._news: dict[Key, None] = {}  # these were told

    def due(
        self, pipeline: Pipeline, kind: AlertKind, text: str, now: float, full: bool
    ) -> tuple[list[AlertSpec], int, str]:
        """The targets that are to be told now, of how many before one of them was not told, and what they are told.
        ``full``: there is no room for one more alert, so all are held back."""
        targets: list[AlertSpec] = []
        most, said = 0, text
        for number, target in enumerate(pipeline.spec.alerts):
            if not target.wants(kind):
                continue
            key: Key = (pipeline.name, kind, number)
            former, story = self._take(key, text)
            if full or self._too_soon(key, target, now):
                due = self._told.get(key, now) + target.throttle
                self._hold(key, held_back.first(now, due, story) if former is None else former.more(now, due, story))
                continue
            targets.append(target)
            self._tells(key, now)
            if former is not None and former.count > most:
                most, said = former.count, story
        return targets, most, said

    def _too_soon(self, key: Key, target: AlertSpec, now: float) -> bool:
        pipeline, kind, number = key
        if kind == "recovery" and (pipeline, number) in self._alarmed:
            return False
        return key in self._told and now < self._told[key] + target.throttle

    def _tells(self, key: Key, now: float) -> None:
        pipeline, kind, number = key
        self._told[key] = now
        self._news[key] = None
        if kind == "failure":
            self._alarmed[pipeline, number] = None
        elif kind == "recovery":
            self._alarmed.pop((pipeline, number), None)

    def _take(self, key: Key, text: str) -> tuple[Held | None, str]:
        """What the target was not told of, of this kind or of the other half of its story, and what to say of it all:
        the newest, and of a recovery what had failed."""
        pipeline, kind, number = key
        same = self._release(key)
        if kind == "failure":
            other = self._release((pipeline, "recovery", number))
        elif kind == "recovery":
            other = self._release((pipeline, "failure", number))
            if other is not None:
                text = f"{text}; what had failed: {other.text}"
            elif same is not None:
                text = same.text
        else:
            other = None
        if same is None or other is None:
            return same or other, text
        return same.joined(other), text

    def _hold(self, key: Key, held: Held) -> None:
        self._held[key] = held
        self._changed[key] = None

    def _release(self, key: Key) -> Held | None:
        held = self._held.pop(key, None)
        if held is not None:
            self._changed[key] = None
        return held

    def summaries(self, pipelines: dict[str, Pipeline], now: float, at_once: str, room: int) -> list[Summary]:
        """What was held back and is to be told now, all there is of the pipeline ``at_once``; at most ``room``. What
        nobody wants to know any more is forgotten."""
        found: dict[tuple[str, AlertKind], tuple[list[AlertSpec], Held]] = {}
        for key, held in list(self._held.items()):
            name, kind, number = key
            specs = pipelines[name].spec.alerts if name in pipelines else []
            if number >= len(specs) or not specs[number].wants(kind):
                self._release(key)
            elif name == at_once or held.due <= now:
                if len(found) >= room:
                    self._held[key] = msgspec.structs.replace(held, due=now + AGAIN)
                    continue
                self._release(key)
                self._tells(key, now)
                targets, other = found.get((name, kind), ([], held))
                found[name, kind] = [*targets, specs[number]], max(held, other, key=lambda one: one.count)
        return [(pipelines[name], kind, *one) for (name, kind), one in found.items()]

    def changes(self) -> list[rec.Setting]:
        """What the store is to keep of those that are held back, and of when targets were told, as far as that has
        changed."""
        changed, self._changed = self._changed, {}
        news, self._news = self._news, {}
        kept = [held_back.setting(key, self._held.get(key)) for key in changed]
        return kept + [held_back.told(key, self._told[key]) for key in news]

    def loaded(self, setting: rec.Setting) -> None:
        """Those that a former broker held back, and when it told. Raises ValueError."""
        key, kept = held_back.loaded(setting)
        if isinstance(kept, held_back.Held):
            self._held[key] = kept
        else:
            self._told[key] = kept

    def resume(self, targets: dict[str, list[AlertSpec]], now: float) -> None:
        """After a restart ``targets`` (by pipeline) are told once ``throttle`` is over at the latest, though the clock
        was set back meanwhile."""
        self._told = {key: min(at, now) for key, at in self._told.items()}
        for key, held in self._held.items():
            name, _, number = key
            specs = targets.get(name, [])
            latest = now + specs[number].throttle if number < len(specs) else now
            if held.due > latest:
                self._hold(key, msgspec.structs.replace(held, due=latest))

    def deadline(self) -> float | None:
        """When a summary is due."""
        return min((held.due for held in self._held.values()), default=None)
