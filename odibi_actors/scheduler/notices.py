"""Alerts on their way to those who are to be told. Pure: the driver runs the commands and asks the webhooks.

Each target of a notice is tried until it is told, with growing pauses, for a day; then the broker is told that it is
done, or which target could not be told and why. Meanwhile it hears what the last try failed of. While a target fails it
is tried for one notice at a time; when it works again all that waited for it go at once. Of one pipeline a target is
told in the order in which it happened, one notice after the other: a failure never comes after its recovery. A notice
that is repeated meanwhile is the same one; one that was done lately is answered at once. Nothing here lasts: after a
restart the broker says again what nobody was told, and the day counts from the alert itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, Literal

from odibi_actors.actor import Effect, Log, Send
from odibi_actors.config.model import AlertSpec
from odibi_actors.messages import BROKER, Notice, Noticed, Told
from odibi_actors.scheduler.effects import Tell

PAUSES: Final = (1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0)
"""Seconds before the second try and the following ones; the last is that of all further ones."""
GIVE_UP: Final = 24 * 3600.0
"""Seconds after an alert for which it is tried; at least TRIES times in any case."""
TRIES: Final = 3
"""Tries before the broker hears that it is difficult."""
MAX_ACTIVE: Final = 1_000
"""Notices on their way at a time, which is as many as the broker keeps; it repeats those that are not taken."""
MAX_FINISHED: Final = 1_000
"""Notices remembered as done, in case the broker did not hear of it."""
LEVELS: Final[dict[str, Literal["error", "warning", "info"]]] = {
    "failure": "error",
    "dead_letter": "error",
    "lateness": "warning",
    "recovery": "info",
    "schema_change": "warning",
}


class _Target:
    """``tries``: made so far; ``again``: when to try once more; ``error``: of the last try; ``open``: not done."""

    __slots__ = ("again", "error", "open", "spec", "tries")

    def __init__(self, spec: AlertSpec) -> None:
        self.spec, self.tries, self.error, self.open = spec, 0, "", True
        self.again: float | None = None

    @property
    def where(self) -> str:
        """What it has in common with the same target of other notices."""
        return self.spec.command or self.spec.webhook


class Notices:
    """Those on their way, and those done. They outlive the broker's ``epoch``: alerts are durable, a new broker asks
    for the same."""

    def __init__(self) -> None:
        self.epoch = 0
        self._active: dict[int, tuple[Notice, list[_Target]]] = {}
        self._finished: OrderedDict[int, str] = OrderedDict()
        self._failing: dict[str, None] = {}  # commands and webhooks of which the last try failed
        self._trying: dict[str, int] = {}  # tries of each that are under way
        # (pipeline, command or webhook) -> its notices that are not done, in the order in which they happened
        self._lines: dict[tuple[str, str], dict[int, None]] = {}

    def take(self, notice: Notice, now: float) -> list[Effect]:
        """The broker wants these targets told."""
        if notice.id in self._finished:
            return [self._noticed(notice.id)]
        if notice.id in self._active:
            return self._difficult(notice.id, now)
        lost = notice.after and notice.after not in self._active and notice.after not in self._finished
        if lost or len(self._active) >= MAX_ACTIVE:
            return []  # it comes again
        self._active[notice.id] = notice, [_Target(spec) for spec in notice.targets]
        effects: list[Effect] = []
        for number, target in enumerate(self._active[notice.id][1]):
            target.again = now
            if not target.spec.log:
                self._lines.setdefault((notice.pipeline, target.where), {})[notice.id] = None
            if not self._busy(notice, target):
                effects += self._try(notice.id, number)
        return effects + self._finish(notice.id)

    def told(self, told: Told, now: float) -> list[Effect]:
        """A target was told, or not."""
        notice, targets = self._active.get(told.id, (None, []))
        if notice is None or not 0 <= told.target < len(targets):
            return []
        target = targets[told.target]
        if not target.open or target.again is not None:
            return []
        target.error = told.error
        self._trying[target.where] = max(0, self._trying.get(target.where, 0) - 1)
        if not told.error:
            self._works(target.where, now)
        else:
            self._failing[target.where] = None
            if target.tries < TRIES or now < notice.at + GIVE_UP:
                target.again = now + PAUSES[min(target.tries, len(PAUSES)) - 1]
                return self._difficult(told.id, now)
        target.open = False
        self._leaves_line(notice, target)
        return self._finish(told.id)

    def _leaves_line(self, notice: Notice, target: _Target) -> None:
        if any(other.open and other.where == target.where for other in self._active[notice.id][1]):
            return
        key = notice.pipeline, target.where
        del self._lines[key][notice.id]
        if not self._lines[key]:
            del self._lines[key]

    def _first(self, notice: Notice, target: _Target) -> int:
        """The notice that the target is to be told of before all others of the pipeline."""
        return next(iter(self._lines.get((notice.pipeline, target.where), ())), notice.id)

    def flush(self, now: float) -> list[Effect]:
        """Tries whose time has come."""
        effects: list[Effect] = []
        for notice, number, target in self._waiting():
            if target.again is not None and target.again <= now and not self._busy(notice, target):
                effects += self._try(notice.id, number)
        return effects

    def deadline(self) -> float | None:
        """When the next try is."""
        times = [target.again for notice, _, target in self._waiting() if not self._busy(notice, target)]
        return min((at for at in times if at is not None), default=None)

    def _waiting(self) -> Iterator[tuple[Notice, int, _Target]]:
        for notice, targets in self._active.values():
            for number, target in enumerate(targets):
                if target.again is not None:
                    yield notice, number, target

    def _busy(self, notice: Notice, target: _Target) -> bool:
        """It is to be told of another notice before, or fails and is being tried for one."""
        if self._first(notice, target) != notice.id:
            return True
        return target.where in self._failing and self._trying.get(target.where, 0) > 0

    def _works(self, where: str, now: float) -> None:
        """Whatever waits for this one need not wait any longer."""
        if where in self._failing:
            del self._failing[where]
            for _, _, target in self._waiting():
                if target.where == where:
                    target.again = now

    def _try(self, id_: int, number: int) -> list[Effect]:
        notice, targets = self._active[id_]
        target = targets[number]
        target.again = None
        if target.spec.log:
            target.open = False
            return [Log(LEVELS[notice.kind], notice.text, _fields(notice))]
        target.tries += 1
        self._trying[target.where] = self._trying.get(target.where, 0) + 1
        return [Tell(id_, number, target.spec, payload(notice))]

    def _difficult(self, id_: int, now: float) -> list[Effect]:
        """What the broker hears of one that has failed some times and is tried again."""
        notice, targets = self._active[id_]
        late = [self._ahead(notice, target) for target in targets if target.again is not None]
        late = [target for target in late if target.again is not None and target.tries >= TRIES]
        if not late:
            return []
        again = min(target.again for target in late if target.again is not None)
        return [Send(BROKER, Noticed(self.epoch, id_, _wrong(late), max(1.0, again - now)))]

    def _ahead(self, notice: Notice, target: _Target) -> _Target:
        """What the target waits for: itself, or the same one of a notice before."""
        first = self._active[self._first(notice, target)][1]
        return next((one for one in first if one.open and one.where == target.where), target)

    def _finish(self, id_: int) -> list[Effect]:
        targets = self._active[id_][1]
        if any(target.open for target in targets):
            return []
        del self._active[id_]
        self._finished[id_] = _wrong(targets)
        if len(self._finished) > MAX_FINISHED:
            self._finished.popitem(last=False)
        return [self._noticed(id_)]

    def _noticed(self, id_: int) -> Send:
        return Send(BROKER, Noticed(self.epoch, id_, self._finished[id_]))


def _wrong(targets: list[_Target]) -> str:
    """Which targets could not be told, and why."""
    return "; ".join(f"{target.spec.shown}: {target.error}" for target in targets if target.error)


def payload(notice: Notice) -> dict[str, Any]:
    """What a target gets, as JSON."""
    return {
        "schema": 1,
        "kind": notice.kind,
        "project": notice.project,
        "pipeline": notice.pipeline,
        "schedule": notice.schedule,
        "occurrence": notice.occurrence,
        "run": notice.run,
        "text": notice.text,
        "at": datetime.fromtimestamp(notice.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "held_back": notice.held_back,
    }


def _fields(notice: Notice) -> dict[str, Any]:
    """What the log line says beside the text."""
    fields = payload(notice)
    return {name: fields[name] for name in ("kind", "pipeline", "schedule", "run", "occurrence") if fields[name]}
