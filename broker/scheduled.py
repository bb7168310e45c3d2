"""One schedule: how far it has come, what of it waits, what runs, what was skipped. Bookkeeping, no messages."""

from __future__ import annotations

from typing import Any

import msgspec

from odibi_actors.broker.lane import SourceState
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import ConnectionSpec, NodeSpec, ReadSpec, ScheduleSpec
from odibi_actors.messages import ScheduleEntry
from odibi_actors.units import format_duration

MAX_ID = 120
"""Characters of an occurrence's id: it is part of the run's."""

MAX_FAILED = 100
"""Occurrences whose run failed that are remembered: if it goes on it may still be late."""

MAX_REASONS = 20
"""Kinds of reasons that are counted apart."""


class Scheduled:
    """A schedule of a pipeline."""

    def __init__(self, record: rec.Schedule, start_seq: int) -> None:
        self.pipeline, self.name = record.pipeline, record.name
        self.stamp = 0  # version of the list of schedules in which it changed last
        self.waiting: dict[str, rec.Occurrence] = {}
        self.active: dict[str, rec.Occurrence] = {}  # run -> occurrence
        self.failed: dict[str, rec.Occurrence] = {}  # the same, of those that failed lately: they may go on
        self.started = 0
        self.skipped: dict[str, int] = {}
        self.last = self.last_run = self.last_state = ""
        self.highest = ["", ""]  # newest wall time that was noted: as shown the first time, and the second
        self.generation = record.generation
        self.source: SourceState | None = None
        self._start_seq = start_seq
        self.bind(record)

    def bind(self, record: rec.Schedule) -> None:
        """It is as this record says."""
        self.spec, self.origin, self.place = record.spec, record.origin, record.place
        self.paused, self.floor, self.seen, self.gone = record.paused, record.floor, dict(record.seen), record.gone
        if record.generation != self.generation:
            self.generation, self.highest = record.generation, ["", ""]
        watch = record.spec.file_watch
        if watch is None:
            self.source = None
            return
        folder = ConnectionSpec(self.name, "local", watch.folder)
        read = ReadSpec(folder, "csv", "file_watch", pattern=watch.pattern, settle=watch.settle)
        node = NodeSpec(self.name, read=read)
        if self.source is None:
            self.source = SourceState(node, self._start_seq)
        self.source.node = node

    @property
    def off(self) -> bool:
        """Nothing is wanted of it."""
        return self.paused or self.gone

    def record(self, **changes: Any) -> rec.Schedule:
        """The record that says how it is, or, with ``changes``, how it is to be."""
        fields: dict[str, Any] = {
            "pipeline": self.pipeline,
            "name": self.name,
            "spec": self.spec,
            "origin": self.origin,
            "place": self.place,
            "at": 0.0,
            "paused": self.paused,
            "floor": self.floor,
            "seen": self.seen,
            "gone": self.gone,
            "generation": self.generation,
        }
        return rec.Schedule(**{**fields, **changes})

    def entry(self, off: bool) -> ScheduleEntry:
        """What the scheduler is told of it."""
        spec = self.spec
        if spec.params or spec.description:  # of no use there, and perhaps large
            spec = msgspec.structs.replace(spec, params={}, description="")
        return ScheduleEntry(self.pipeline, spec, self.place, self.floor, off or self.off)

    def timing(self) -> dict[str, Any]:
        """What of the spec says when it is due, as plain data."""
        plain: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(self.spec, params={}, description=""))
        return plain

    def builtins(self) -> dict[str, Any]:
        """The spec as plain data."""
        plain: dict[str, Any] = msgspec.to_builtins(self.spec)
        return plain

    # --- ids of occurrences ---------------------------------------------------------------------------------------

    def qualified(self, id_: str) -> str:
        """The id of an occurrence by its wall time, which may come again in another generation."""
        return f"{id_}~{self.generation}" if self.generation else id_

    def is_of_now(self, id_: str) -> bool:
        """Whether this id is one of the present generation: wall times of former ones may come again."""
        return id_ == self.qualified(id_.partition("~")[0])

    def repeated(self, id_: str) -> bool:
        """This wall time was noted before: its zone has other rules since. An hour that the clock shows a second time
        has ids of its own."""
        return plain(id_) <= self.highest["#" in id_]

    def remember(self, id_: str) -> None:
        """This wall time is noted."""
        self.highest["#" in id_] = max(self.highest["#" in id_], plain(id_))

    def unique(self, id_: str, seq: int) -> str:
        """The id of something that arrived: short enough, and no other one's (``seq``: number of its record)."""
        seen = id_ in self.waiting or id_ == self.last or any(one.id == id_ for one in self.active.values())
        return f"{id_[: MAX_ID - 20]}#{seq}" if len(id_) > MAX_ID or seen or self.generation else id_

    # --- occurrences ----------------------------------------------------------------------------------------------

    def noted(self, record: rec.Occurrence) -> None:
        """It waits from here on."""
        self.waiting[record.id] = record
        if record.place is not None:
            self.place = record.place
            self.remember(record.id)
        self.seen.update(record.seen)

    def start(self, record: rec.Occurrence, run: str) -> None:
        """It has a run."""
        del self.waiting[record.id]
        self.active[run] = record
        self.started += 1
        self.last, self.last_run, self.last_state = record.id, run, "active"

    def ended(self, run: str, state: str) -> None:
        """Its run is over."""
        record = self.active.pop(run, None)
        if record is not None and state == "failed":
            self.failed[run] = record
            while len(self.failed) > MAX_FAILED:
                del self.failed[next(iter(self.failed))]
        if run == self.last_run:
            self.last_state = state

    def again(self, run: str) -> None:
        """Its run failed, and goes on."""
        record = self.failed.pop(run, None)
        if record is not None:
            self.active[run] = record
        if run == self.last_run:
            self.last_state = "active"

    def skip(self, record: rec.Skip) -> None:
        """Occurrences do not run."""
        if record.place is not None:
            self.place = record.place
            self.remember(record.last)
        else:
            self.waiting.pop(record.first, None)
        kind = record.reason.partition(":")[0]
        if kind not in self.skipped and len(self.skipped) >= MAX_REASONS:
            kind = "other"
        self.skipped[kind] = self.skipped.get(kind, 0) + record.count

    # --- what people see ------------------------------------------------------------------------------------------

    @property
    def when(self) -> str:
        """In one line."""
        return describe(self.spec)

    def row(self, state: str, problem: str) -> dict[str, Any]:
        """One line of ``schedule list``."""
        spec = self.spec
        return {
            "pipeline": self.pipeline,
            "schedule": self.name,
            "kind": spec.kind,
            "when": self.when,
            "timezone": spec.timezone,
            "overlap": spec.overlap,
            "origin": self.origin,
            "state": state,
            "last": self.last,
            "last_run": self.last_run,
            "last_state": self.last_state,
            "started": self.started,
            "skipped": sum(self.skipped.values()),
            "reasons": dict(self.skipped),
            "waiting": len(self.waiting),
            "problem": problem,
            "place": {"due": self.place.due, "wall": self.place.wall},
            "description": spec.description,
        }


def plain(id_: str) -> str:
    """The wall time in an id."""
    return id_.partition("~")[0].partition("#")[0]


def describe(spec: ScheduleSpec) -> str:
    """When it is due, in one line."""
    if spec.cron:
        return spec.cron
    if spec.every:
        return f"every {format_duration(spec.every)}"
    if spec.file_watch is not None:
        return f"files {spec.file_watch.folder}/{spec.file_watch.pattern}"
    return f"after {(' or ' if spec.after_any else ' and ').join(spec.after)}"
