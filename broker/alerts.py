"""Who is to be told what: failures, dead letters, lateness, recoveries. Part of ``flow``.

An alert is durable (ALERT) before the scheduler is asked to deliver it, and is delivered again until the scheduler has
said that it was (ALERTED): at least once, whatever is killed. Throttled ones are told in a summary: see ``held``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from odibi_actors.actor import Effect, Log, Send
from odibi_actors.broker import held as held_back
from odibi_actors.broker.held import Held, Key
from odibi_actors.broker.iteration import Iteration
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import AlertKind, AlertSpec
from odibi_actors.messages import SCHEDULER, Notice, Noticed

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow

AGAIN = 60.0
"""Seconds until a notice that was not answered is sent again: a target may be tried for most of that."""

MAX_PENDING = 1000
"""Alerts that wait for a scheduler; beyond them new ones are only counted."""

MAX_SHOWN = 100
"""Alerts that could not be told, as ``status`` has them."""

GIVEN_UP_SHOWN = 24 * 3600.0
"""Seconds for which ``status`` tells of one that was given up."""

MAX_TEXT = 2000
"""Characters of an alert: the first lines of an error are enough to know where to look."""


class Alerts:
    """What is to be delivered, and what was lately."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._pending: dict[int, tuple[rec.Alert, list[AlertSpec], float]] = {}  # id -> alert, targets, when to send
        self._told: dict[Key, float] = {}  # when a target was told of that kind
        self._held: dict[Key, Held] = {}  # what it was not told of since
        self._settings: dict[Key, None] = {}  # of these what is held back has changed
        self._late: dict[int, str] = {}  # id of one that is tried again -> why it could not be told yet
        self._given_up: deque[tuple[float, rec.Alert, str]] = deque(maxlen=MAX_SHOWN)

    @property
    def pending(self) -> int:
        """Alerts that nobody was told yet."""
        return len(self._pending)

    def due(self, pipeline: Pipeline, kind: AlertKind, text: str, now: float) -> tuple[list[AlertSpec], int]:
        """The targets that are to be told now, and of how many before one of them was not told. Whoever is not told
        of this one is told so with the next, or with a summary once ``throttle`` is over."""
        targets = []
        held = 0
        full = len(self._pending) >= MAX_PENDING
        for number, target in enumerate(pipeline.spec.alerts):
            if not target.wants(kind):
                continue
            key: Key = (pipeline.name, kind, number)
            if full or (key in self._told and now < self._told[key] + target.throttle):
                former = self._held.get(key)
                due = self._told.get(key, now) + target.throttle
                self._held[key] = former.more(text) if former is not None else held_back.first(now, due, text)
                self._settings[key] = None
                continue
            targets.append(target)
            self._told[key] = now
            held = max(held, self._release(key))
        return targets, held

    def _release(self, key: Key) -> int:
        """Of how many this target is told now."""
        former = self._held.pop(key, None)
        if former is None:
            return 0
        self._settings[key] = None
        return former.count

    def summaries(
        self, pipelines: dict[str, Pipeline], now: float, at_once: bool
    ) -> list[tuple[Pipeline, AlertKind, list[AlertSpec], Held]]:
        """What was held back and is to be told now: (pipeline, kind, targets, what). Targets that are due together
        share one. What nobody wants to know any more is forgotten."""
        found: dict[tuple[str, AlertKind], tuple[list[AlertSpec], Held]] = {}
        for key, held in list(self._held.items()):
            name, kind, number = key
            specs = pipelines[name].spec.alerts if name in pipelines else []
            if number >= len(specs) or not specs[number].wants(kind):
                self._release(key)
            elif at_once or held.due <= now:
                if len(self._pending) + len(found) >= MAX_PENDING:
                    self._held[key] = msgspec.structs.replace(held, due=now + AGAIN)
                    continue
                self._release(key)
                self._told[key] = now
                targets, other = found.get((name, kind), ([], held))
                found[name, kind] = [*targets, specs[number]], max(held, other, key=lambda one: one.count)
        return [(pipelines[name], kind, *one) for (name, kind), one in found.items()]

    def changes(self) -> list[rec.Setting]:
        """What the store is to keep of those that are held back, as far as that has changed."""
        changed, self._settings = self._settings, {}
        return [held_back.setting(key, self._held.get(key)) for key in changed]

    def loaded_held(self, setting: rec.Setting) -> None:
        """Those that a former broker held back. Raises ValueError."""
        key, held = held_back.loaded(setting)
        self._held[key] = held

    def take_in(self, alert: rec.Alert, targets: list[AlertSpec], now: float) -> None:
        """This one is to be delivered."""
        self._pending[alert.id] = (alert, targets, now)

    def loaded(self, alert: rec.Alert) -> None:
        """One that nobody was told as far as the store knows."""
        self._pending[alert.id] = (alert, [], 0.0)

    def resume(self, targets: dict[str, list[AlertSpec]], now: float) -> None:
        """After a restart: of ``targets`` (by pipeline), whoever wants that kind is told of those that were loaded; of
        those that were held back once ``throttle`` is over at the latest, though the clock was set back meanwhile."""
        for id_, (alert, _, _) in self._pending.items():
            wanted = [one for one in targets.get(alert.pipeline, []) if one.wants(alert.kind)]
            self._pending[id_] = (alert, wanted, now)
        for key, held in self._held.items():
            name, _, number = key
            specs = targets.get(name, [])
            latest = now + specs[number].throttle if number < len(specs) else now
            if held.due > latest:
                self._held[key] = msgspec.structs.replace(held, due=latest)
                self._settings[key] = None

    def answered(self, message: Noticed) -> rec.Alert | None:
        """The alert that the scheduler has delivered, or given up; None when that is known already, or when it goes on
        trying."""
        if message.again:
            if message.id in self._pending:
                self._late[message.id] = message.error
            return None
        alert, _, _ = self._pending.pop(message.id, (None, [], 0.0))
        self._late.pop(message.id, None)
        return alert

    def given_up(self, alert: rec.Alert, error: str, now: float) -> None:
        """Somebody could not be told of this one."""
        self._given_up.append((now, alert, error))

    def untold(self, now: float) -> list[dict[str, Any]]:
        """What somebody could not be told, for ``status``: oldest first, those given up in the last day among them."""
        found = [
            (alert, error, "given up") for since, alert, error in self._given_up if now - since < GIVEN_UP_SHOWN
        ] + [(self._pending[id_][0], error, "tried again") for id_, error in self._late.items()]
        return [
            {name: getattr(alert, name) for name in ("id", "kind", "pipeline", "at", "text")}
            | {"error": error, "state": state}
            for alert, error, state in found[:MAX_SHOWN]
        ]

    def scheduler_came(self, now: float) -> None:
        """A new scheduler knows of none."""
        for id_, (alert, targets, _) in self._pending.items():
            self._pending[id_] = (alert, targets, now)

    def deadline(self) -> float | None:
        """When one is to be sent (again), or a summary is due."""
        times = [when for _, _, when in self._pending.values()] + [held.due for held in self._held.values()]
        return min(times, default=None)

    def flush(self, now: float, project: str) -> list[Effect]:
        """Notices that are due; they name the project."""
        effects: list[Effect] = []
        for id_, (alert, targets, when) in self._pending.items():
            if when <= now:
                self._pending[id_] = (alert, targets, now + AGAIN)
                effects.append(Send(SCHEDULER, self._notice(alert, targets, project)))
        return effects

    def _notice(self, alert: rec.Alert, targets: list[AlertSpec], project: str) -> Notice:
        return Notice(
            epoch=self._epoch,
            id=alert.id,
            kind=alert.kind,
            pipeline=alert.pipeline,
            text=alert.text,
            at=alert.at,
            targets=targets,
            schedule=alert.schedule,
            run=alert.run,
            occurrence=alert.occurrence,
            held_back=alert.held_back,
            project=project,
        )


def tell(
    flow: Flow, pipeline: Pipeline, kind: AlertKind, text: str, now: float, schedule: str = "", occurrence: str = "",
    run: str = "",
) -> None:  # fmt: skip
    """Alert those who want to know, unless they were a moment ago."""
    targets, held = flow.alerts.due(pipeline, kind, text, now)
    if targets:
        _write(flow, pipeline, kind, text, now, targets, held, schedule, occurrence, run)
    for setting in flow.alerts.changes():
        flow.journal.append(setting)


def summarise(flow: Flow, now: float, at_once: bool = False) -> None:
    """Tell what was held back for long enough; ``at_once``: all of it, since this process ends."""
    for pipeline, kind, targets, held in flow.alerts.summaries(flow.pipelines, now, at_once):
        _write(flow, pipeline, kind, held_back.summary(pipeline.name, kind, held), now, targets, held.count)
    for setting in flow.alerts.changes():
        flow.journal.append(setting)


def _write(
    flow: Flow, pipeline: Pipeline, kind: AlertKind, text: str, now: float, targets: list[AlertSpec], held: int,
    schedule: str = "", occurrence: str = "", run: str = "",
) -> None:  # fmt: skip
    alert = rec.Alert(
        id=flow.journal.last + 1,
        kind=kind,
        pipeline=pipeline.name,
        text=text[:MAX_TEXT],
        at=now,
        schedule=schedule,
        run=run,
        occurrence=occurrence,
        held_back=held,
    )
    flow.write(alert, pipeline.name)
    flow.alerts.take_in(alert, targets, now)


def failed(flow: Flow, pipeline: Pipeline, iteration: Iteration, trouble: str, now: float) -> None:
    """An iteration has failed, or is blocked. Called before that is written: then a crash in between makes the alert
    come twice, not never."""
    pipeline.failing = True
    _tell_of(flow, pipeline, iteration, "failure", trouble, now)


def set_aside(flow: Flow, pipeline: Pipeline, iteration: Iteration, trouble: str, now: float) -> None:
    """A file of an iteration, or all of it, becomes a dead letter: nothing is left to recover. Called before that is
    written."""
    _tell_of(flow, pipeline, iteration, "dead_letter", trouble, now)


def _tell_of(flow: Flow, pipeline: Pipeline, iteration: Iteration, kind: AlertKind, trouble: str, now: float) -> None:
    trigger = iteration.trigger
    text = f"{pipeline.name}/{iteration.number}: {trouble}"
    tell(flow, pipeline, kind, text, now, trigger.schedule, trigger.occurrence, iteration.run)


def recovered(flow: Flow, pipeline: Pipeline, now: float) -> None:
    """Something went well: if that comes after a failure it is told."""
    if pipeline.failing and pipeline.stuck() is None and not any(i.waits_long for i in pipeline.iterations.values()):
        pipeline.failing = False
        tell(flow, pipeline, "recovery", f"{pipeline.name}: has recovered, and goes on", now)


def resume(flow: Flow, now: float) -> None:
    """The snapshot is complete."""
    flow.alerts.resume({name: pipeline.spec.alerts for name, pipeline in flow.pipelines.items()}, now)


def answered(flow: Flow, message: Noticed, now: float) -> None:
    """The scheduler has delivered an alert, or given up on it."""
    alert = flow.alerts.answered(message)
    if alert is None:
        return
    flow.journal.append(rec.Alerted(message.id, now, message.error))
    if message.error:
        flow.alerts.given_up(alert, message.error, now)
        flow.say(Log("warning", f"{alert.pipeline}: the {alert.kind} alert could not be delivered: {message.error}"))
