"""Alerts on their way to those who are to be told. Pure: the driver runs the commands and asks the webhooks.

Each target of a notice is tried up to three times; then the broker is told that it is done, or which target could not
be told and why. A notice that is repeated meanwhile is the same one; one that was done lately is answered at once.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any, Final, Literal

from odibi_actors.actor import Effect, Log, Send
from odibi_actors.messages import BROKER, Notice, Noticed, Told
from odibi_actors.scheduler.effects import Tell

PAUSES: Final = (1.0, 5.0)
"""Seconds before the second and the third try."""
MAX_ACTIVE: Final = 200
"""Notices on their way at a time; the broker repeats those that are not taken."""
MAX_FINISHED: Final = 1_000
"""Notices remembered as done, in case the broker did not hear of it."""
LEVELS: Final[dict[str, Literal["error", "warning", "info"]]] = {
    "failure": "error",
    "lateness": "warning",
    "recovery": "info",
}


class _Target:
    """``tries``: made so far; ``again``: when to try once more; ``error``: of the last try; ``open``: not done."""

    __slots__ = ("again", "error", "open", "tries")

    def __init__(self) -> None:
        self.tries, self.error, self.open = 0, "", True
        self.again: float | None = None


class Notices:
    """Those on their way, and those done. They outlive the broker's ``epoch``: alerts are durable, a new broker asks
    for the same."""

    def __init__(self) -> None:
        self.epoch = 0
        self._active: dict[int, tuple[Notice, list[_Target]]] = {}
        self._finished: OrderedDict[int, str] = OrderedDict()

    def take(self, notice: Notice) -> list[Effect]:
        """The broker wants these targets told."""
        if notice.id in self._finished:
            return [self._noticed(notice.id)]
        if notice.id in self._active or len(self._active) >= MAX_ACTIVE:
            return []
        self._active[notice.id] = notice, [_Target() for _ in notice.targets]
        effects: list[Effect] = []
        for number in range(len(notice.targets)):
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
        if told.error and target.tries <= len(PAUSES):
            target.again = now + PAUSES[target.tries - 1]
            return []
        target.open = False
        return self._finish(told.id)

    def flush(self, now: float) -> list[Effect]:
        """Tries whose time has come."""
        effects: list[Effect] = []
        for id_, (_, targets) in self._active.items():
            for number, target in enumerate(targets):
                if target.again is not None and target.again <= now:
                    effects += self._try(id_, number)
        return effects

    def deadline(self) -> float | None:
        """When the next try is."""
        times = [target.again for _, targets in self._active.values() for target in targets]
        return min((at for at in times if at is not None), default=None)

    def _try(self, id_: int, number: int) -> list[Effect]:
        notice, targets = self._active[id_]
        spec, target = notice.targets[number], targets[number]
        if spec.log:
            target.open = False
            return [Log(LEVELS[notice.kind], notice.text, _fields(notice))]
        target.tries, target.again = target.tries + 1, None
        return [Tell(id_, number, spec, payload(notice))]

    def _finish(self, id_: int) -> list[Effect]:
        notice, targets = self._active[id_]
        if any(target.open for target in targets):
            return []
        del self._active[id_]
        wrong = [
            f"{spec.command or spec.webhook}: {target.error}"
            for spec, target in zip(notice.targets, targets, strict=True)
            if target.error
        ]
        self._finished[id_] = "; ".join(wrong)
        if len(self._finished) > MAX_FINISHED:
            self._finished.popitem(last=False)
        return [self._noticed(id_)]

    def _noticed(self, id_: int) -> Send:
        return Send(BROKER, Noticed(self.epoch, id_, self._finished[id_]))


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
