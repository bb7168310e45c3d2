"""Who is to be told what: failures, dead letters, lateness, recoveries. Part of ``flow``.

An alert is durable (ALERT) before the scheduler is asked to deliver it, and is delivered again until the scheduler has
said that it was (ALERTED): at least once, whatever is killed. Throttled ones are told in a summary: see ``throttle``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from odibi_actors.actor import Effect, Log, Send
from odibi_actors.broker import held as held_back
from odibi_actors.broker.iteration import Iteration
from odibi_actors.broker.lane import RunInfo
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.broker.throttle import Throttle
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import AlertKind, AlertSpec
from odibi_actors.messages import SCHEDULER, Notice, Noticed
from odibi_actors.runtime.visible import named

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
BESIDE = 100
"""Of these, characters for what is said of others."""


class Alerts:
    """What is to be delivered, and what was lately."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._durable = 0
        self._pending: dict[int, tuple[rec.Alert, list[AlertSpec], float]] = {}  # id -> alert, targets, when to send
        self.throttle = Throttle()
        self._late: dict[int, str] = {}  # id of one that is tried again -> why it could not be told yet
        self._given_up: deque[tuple[float, rec.Alert, str]] = deque(maxlen=MAX_SHOWN)

    @property
    def pending(self) -> int:
        """Alerts that nobody was told yet."""
        return len(self._pending)

    @property
    def room(self) -> int:
        """How many more may wait."""
        return max(0, MAX_PENDING - len(self._pending))

    def take_in(self, alert: rec.Alert, targets: list[AlertSpec], now: float) -> None:
        """This one is to be delivered."""
        self._pending[alert.id] = (alert, targets, now)

    def loaded(self, alert: rec.Alert) -> None:
        """One that nobody was told as far as the store knows."""
        self._pending[alert.id] = (alert, [], 0.0)

    def resume(self, targets: dict[str, list[AlertSpec]], now: float) -> None:
        """After a restart: of ``targets`` (by pipeline), whoever wants that kind is told of those that were loaded."""
        for id_, (alert, _, _) in self._pending.items():
            wanted = [one for one in targets.get(alert.pipeline, []) if one.wants(alert.kind)]
            self._pending[id_] = (alert, wanted, now)
        self.throttle.resume(targets, now)

    def tried(self, message: Noticed) -> bool:
        """The scheduler goes on trying; whether it says why for the first time."""
        if message.id not in self._pending or self._late.get(message.id) == message.error:
            return False
        self._late[message.id] = message.error
        return True

    def answered(self, message: Noticed) -> rec.Alert | None:
        """The alert that the scheduler has delivered, or given up; None when that is known already."""
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
        """When one is to be sent (again), or a summary is due. Those that are not durable wait for the store."""
        times = [when for id_, (_, _, when) in self._pending.items() if id_ <= self._durable]
        summary = self.throttle.deadline()
        return min(times if summary is None else [*times, summary], default=None)

    def flush(self, now: float, project: str, durable: int) -> list[Effect]:
        """Notices that are due; they name the project. Only those that are ``durable``: if nobody remembers one, its
        number is that of another."""
        self._durable = durable
        effects: list[Effect] = []
        before: dict[str, int] = {}  # pipeline -> the alert before
        for id_, (alert, targets, when) in self._pending.items():
            if when <= now and id_ <= durable:
                self._pending[id_] = (alert, targets, now + AGAIN)
                notice = self._notice(alert, targets, project, before.get(alert.pipeline, 0))
                effects.append(Send(SCHEDULER, notice))
            before[alert.pipeline] = id_
        return effects

    def _notice(self, alert: rec.Alert, targets: list[AlertSpec], project: str, after: int) -> Notice:
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
            after=after,
        )


def tell(
    flow: Flow, pipeline: Pipeline, kind: AlertKind, text: str, now: float, schedule: str = "", occurrence: str = "",
    run: str = "",
) -> None:  # fmt: skip
    """Alert those who want to know, unless they were a moment ago."""
    targets, held, text = flow.alerts.throttle.due(pipeline, kind, text, now, full=not flow.alerts.room)
    if targets:
        said = text[: MAX_TEXT - BESIDE] + held_back.beside(held)
        _write(flow, pipeline, kind, said, now, targets, held, schedule, occurrence, run)
    for setting in flow.alerts.throttle.changes():
        flow.journal.append(setting)


def summarise(flow: Flow, now: float, at_once: str = "") -> None:
    """Tell what was held back for long enough; of the pipeline ``at_once`` all of it, since its run ends."""
    due = flow.alerts.throttle.summaries(flow.pipelines, now, at_once, flow.alerts.room)
    for pipeline, kind, targets, held in due:
        text = held_back.summary(pipeline.name, kind, held, not pipeline.failing, pipeline.dead_letters)
        _write(flow, pipeline, kind, text, now, targets, held.count)
    for setting in flow.alerts.throttle.changes():
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
        targets=[target.shown for target in targets],
    )
    flow.write(alert, pipeline.name)
    flow.alerts.take_in(alert, targets, now)


def failed(flow: Flow, pipeline: Pipeline, iteration: Iteration, trouble: str, now: float) -> None:
    """An iteration has failed, or is blocked. Called before that is written: then a crash in between makes the alert
    come twice, not never."""
    _tell_of(flow, pipeline, iteration, "failure", trouble, now)
    _failing(flow, pipeline, True)


def not_read(flow: Flow, pipeline: Pipeline, run: RunInfo, error: str, now: float) -> None:
    """A run could not look at all of its folders, and fails, whether or not it has an iteration. Called before that is
    written."""
    trigger = run.trigger
    text = f"{pipeline.name}: run {named(run.run)} failed: {error}"
    tell(flow, pipeline, "failure", text, now, trigger.schedule, trigger.occurrence, run.run)
    _failing(flow, pipeline, True)


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
        tell(flow, pipeline, "recovery", f"{pipeline.name}: has recovered, and goes on", now)
        _failing(flow, pipeline, False)


def _failing(flow: Flow, pipeline: Pipeline, on: bool) -> None:
    """Remembered: a broker that comes while what has failed is being retried tells of the recovery."""
    if pipeline.failing != on:
        pipeline.failing = on
        flow.journal.append(rec.Setting(scope=pipeline.name, name=rec.FAILING, value="1" if on else ""))


def resume(flow: Flow, now: float) -> None:
    """The snapshot is complete."""
    flow.alerts.resume({name: pipeline.spec.alerts for name, pipeline in flow.pipelines.items()}, now)


def answered(flow: Flow, message: Noticed, now: float) -> None:
    """The scheduler has delivered an alert, or given up on it, or tries again."""
    if message.again:
        if flow.alerts.tried(message):
            flow.journal.append(rec.Alerted(message.id, now, message.error, again=True))
        return
    alert = flow.alerts.answered(message)
    if alert is None:
        return
    flow.journal.append(rec.Alerted(message.id, now, message.error))
    if message.error:
        flow.alerts.given_up(alert, message.error, now)
        flow.say(Log("warning", f"{alert.pipeline}: the {alert.kind} alert could not be delivered: {message.error}"))
