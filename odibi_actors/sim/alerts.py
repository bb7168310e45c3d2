"""What must hold of alerts: whoever wants to know of a failure, or of lateness, is told at least once; and a failure is
not the last word about a pipeline that works."""

from __future__ import annotations

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import AlertKind, PipelineSpec
from odibi_actors.sim.dues import Dues
from odibi_actors.sim.verdict import check

SLACK = 20.0
"""Seconds that a run may end after its deadline before anybody could notice: the longest a broker is stopped."""


class Alerts:
    """All alerts. ``tried``: how often a target was told, by (alert, target)."""

    def __init__(self, dues: Dues) -> None:
        self._dues = dues
        self.tried: dict[tuple[int, int], int] = {}
        self.pending: dict[int, rec.Alert] = {}
        self.held: dict[str, None] = {}  # what is held back, to be told in a summary
        self._kinds: dict[str, int] = {}
        self._specs: dict[str, PipelineSpec] = {}
        self._failures: dict[tuple[str, int], int] = {}  # alerts of this iteration's failures, since it was retried
        # (pipeline, schedule, occurrence) of which somebody was told that it is late
        self._late: dict[tuple[str, str, str], None] = {}
        self._pipelines: dict[int, str] = {}  # alert -> its pipeline
        self._newest: dict[tuple[str, int], int] = {}  # (pipeline, target) -> the newest alert it was told of
        self._failing: dict[str, None] = {}  # pipelines that have failed, and not recovered since

    def version(self, record: rec.Version) -> None:
        """Who is to be told."""
        self._specs[record.pipeline] = record.spec

    def setting(self, record: rec.Setting) -> None:
        """More is held back, or it is told."""
        if record.scope == rec.ALERTS and record.value:
            pipeline, kind, _ = record.name.split("/")
            if kind == "recovery":
                self._failing.pop(pipeline, None)
            elif kind == "failure":
                self._failing[pipeline] = None
            self.held[record.name] = None
        elif record.scope == rec.ALERTS:
            self.held.pop(record.name, None)

    def tally(self) -> dict[str, int]:
        """How many of each kind."""
        return {f"alert {kind}": number for kind, number in self._kinds.items()}

    def tell(self, alert: int, target: int) -> int:
        """A target is told; returns how often it was by now."""
        key = self._pipelines[alert], target
        first, newest = (alert, target) not in self.tried, self._newest.get(key, 0)
        check(not first or alert > newest, "I1", f"alert {alert} is told after {newest}, though it happened before")
        self._newest[key] = max(alert, newest)
        self.tried[alert, target] = self.tried.get((alert, target), 0) + 1
        return self.tried[alert, target]

    def alert(self, record: rec.Alert, number: int) -> None:
        """Somebody is to be told."""
        check(record.id == number, "I1", f"alert {record.id} is record {number}")
        self.pending[record.id] = record
        self._pipelines[record.id] = record.pipeline
        self._kinds[record.kind] = self._kinds.get(record.kind, 0) + 1
        if record.kind == "lateness":
            self._late[record.pipeline, record.schedule, record.occurrence] = None
        name = record.text.partition(":")[0]
        pipeline, slash, iteration = name.partition("/")
        if record.kind == "recovery":
            self._failing.pop(record.pipeline, None)
        elif record.kind == "failure" and (slash or record.run):  # of an iteration, or a run that could not look
            self._failing[record.pipeline] = None
        elif record.kind == "failure":  # a summary; all want to know of recoveries
            check(record.pipeline in self._failing, "I5", f"alert {record.id} is a failure, after the recovery")
        if record.kind in ("failure", "dead_letter") and slash:
            key = (pipeline, int(iteration))
            self._failures[key] = self._failures.get(key, 0) + 1

    def told(self, record: rec.Alerted) -> None:
        """They were; or they are told again."""
        if record.again:
            check(record.id in self.pending, "I1", f"alert {record.id} is tried again, and was told, or never written")
            return
        alert = self.pending.pop(record.id, None)
        check(alert is not None, "I1", f"alert {record.id} was told twice, or never written")
        check((record.id, 0) in self.tried, "I2", f"alert {record.id} is said to be told, and nobody was: {alert}")

    def _all(self, pipeline: str, kind: AlertKind) -> bool:
        """Whether every alert of this kind must be written: somebody wants it, and none is held back."""
        spec = self._specs.get(pipeline)
        return spec is not None and any(a.wants(kind) and not a.throttle for a in spec.alerts)

    def failed(self, pipeline: str, iteration: int, kind: AlertKind = "failure") -> None:
        """An iteration fails, is blocked or set aside: the alert was written before that."""
        told = self._failures.get((pipeline, iteration), 0) > 0 or not self._all(pipeline, kind)
        check(told, "I5", f"{pipeline}/{iteration}: {kind}, and nobody is told")

    def retried(self, pipeline: str, iteration: int) -> None:
        """Its next failure is another one."""
        self._failures.pop((pipeline, iteration), None)

    def ended(self, record: rec.RunEnd) -> None:
        """A run ends: was that in time, or is somebody told that it was late?"""
        seen = self._dues.runs[record.run]
        expires, trigger = seen.expires, seen.record.trigger
        late = expires and record.at > expires + SLACK and not self._dues.clock.jumped
        known = (record.pipeline, trigger.schedule, trigger.occurrence) in self._late
        told = not late or known or not self._all(record.pipeline, "lateness")
        check(told, "I5", f"run {record.run} ends {record.at - expires:.1f} s after its deadline: nobody was told")
