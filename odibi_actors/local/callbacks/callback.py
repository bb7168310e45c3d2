"""One schedule of the desk: how far it has come, what of it waits and runs, which files have arrived. No messages."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import ConnectionSpec, NodeSpec, ReadSpec, ScheduleSpec
from odibi_actors.local.callbacks.effects import Registered, Shown
from odibi_actors.messages import ScheduleEntry, SourceSpec
from odibi_actors.model import TRIGGER, Place, Position

MAX_ACTIVE: Final = 100
"""Runs of one schedule at once (``allow``)."""
MAX_WAITING: Final = 1000
"""Occurrences of one schedule that wait (``buffer_all``, ``allow``); more are skipped: nobody catches up with that."""
CREDIT: Final = 100
"""Files that one offer names."""


class Callback:
    """A schedule. ``number``: of its function, 0 while nobody has registered it in this process."""

    def __init__(self, record: rec.Schedule, ledger_seq: int) -> None:
        self.name, self.record, self.place = record.name, record, record.place
        self.number = 0
        self.stamp = 0  # version of the list of schedules in which it changed last
        self.waiting: dict[str, rec.Occurrence] = {}
        self.running: dict[str, float] = {}  # run -> when it began
        self.left = 0  # runs that were left behind by a stop, and are not over
        self.runs = self.errors = 0
        self.skipped: dict[str, int] = {}
        self.last_run, self.last_error, self.problem = 0.0, "", ""
        self.pending: list[Position] = []  # files that were offered
        self.ledger_seq = ledger_seq  # newest record that changed its ledger: an offer must reflect it

    @property
    def spec(self) -> ScheduleSpec:
        """As it was registered last."""
        return self.record.spec

    @property
    def busy(self) -> bool:
        """A run of it is in progress."""
        return bool(self.running or self.left)

    @property
    def off(self) -> bool:
        """Nothing is wanted of it."""
        return self.number == 0 or self.record.gone

    # --- what it becomes ----------------------------------------------------------------------------------------------

    def register(self, wanted: Registered, at: float) -> rec.Schedule | None:
        """It is wanted like this. Returns the record to be written, if that is news."""
        former, spec = self.record, anchored(wanted, self.record)
        place = self.place
        if former.gone or spec.timing != former.spec.timing:  # it begins again
            place = max(place, beginning(wanted))
        self.number = wanted.number
        self.errors, self.last_error = max(self.errors, wanted.errors), self.last_error or wanted.last_error
        self.last_run = max(self.last_run, wanted.last_run)
        if spec == former.spec and not former.gone:
            return None
        self.record, self.place = replace(former, spec=spec, place=place, gone=False, at=at), place
        return self.record

    def unschedule(self, at: float) -> rec.Schedule:
        """It is wanted no longer; its place and its files are remembered."""
        self.number, self.pending, self.problem = 0, [], ""
        self.record = replace(self.record, place=self.place, gone=True, at=at)
        return self.record

    # --- what is due --------------------------------------------------------------------------------------------------

    def refusal(self) -> str:
        """Why an occurrence does not even wait; "" when it may."""
        overlap = self.spec.overlap
        if overlap == "skip" and self.busy:
            return f"overlap: run {next(iter(self.running), 'of a former start')} in progress"
        if overlap in ("skip", "buffer_one") and self.waiting:
            return "overlap: one waits already"
        if len(self.waiting) >= MAX_WAITING:
            return f"buffer full: {MAX_WAITING} wait"
        return ""

    def may_start(self) -> bool:
        """Whether overlap lets one more run begin."""
        return not self.busy or (self.spec.overlap == "allow" and len(self.running) + self.left < MAX_ACTIVE)

    def may_take(self, free: int) -> bool:
        """Whether a file that was offered is noted now. In its folder it loses nothing by waiting for a thread."""
        if not self.pending:
            return False
        if self.spec.overlap == "skip" and self.busy:
            return True  # and is skipped
        return free > 0 and not self.waiting and self.may_start()

    def count(self, skip: rec.Skip) -> None:
        """Occurrences do not run."""
        kind = skip.reason.partition(":")[0]
        self.skipped[kind] = self.skipped.get(kind, 0) + skip.count

    # --- what others are told -----------------------------------------------------------------------------------------

    def entry(self) -> ScheduleEntry:
        """For the scheduler."""
        return ScheduleEntry(self.name, self.spec, self.place, off=self.off)

    def source(self) -> SourceSpec | None:
        """For the source actor. Files are known by their whole path: so another folder has other files."""
        watch = self.spec.file_watch
        if watch is None or self.off:
            return None
        root = ConnectionSpec(self.name, "local", "/")
        folder = watch.folder.lstrip("/")
        read = ReadSpec(root, "csv", "file_watch", path=folder, pattern=watch.pattern, settle=watch.settle)
        return SourceSpec(self.name, NodeSpec(self.name, read=read), CREDIT, TRIGGER)

    def shown(self) -> Shown:
        """For people."""
        return Shown(
            spec=self.spec,
            place=self.place,
            last_run=self.last_run,
            runs=self.runs,
            errors=self.errors,
            last_error=self.last_error,
            skipped=dict(self.skipped),
            running=list(self.running.values()),
            waiting=len(self.waiting) + len(self.pending),
            problem=self.problem,
        )


def fresh(wanted: Registered, at: float) -> rec.Schedule:
    """The first record of a schedule: nothing before now is due."""
    spec = anchored(wanted, None)
    return rec.Schedule(spec.name, spec.name, spec, "cli", beginning(wanted), at)


def anchored(wanted: Registered, former: rec.Schedule | None) -> ScheduleSpec:
    """An interval counts from its start: the one that was given, else the one it had, else now."""
    spec = wanted.spec
    if not spec.every or spec.start:
        return spec
    if former is not None and not former.gone and former.spec.every == spec.every:
        return replace(spec, start=former.spec.start)
    return replace(spec, start=float(_ceil(wanted.wall)))


def beginning(wanted: Registered) -> Place:
    """Where a schedule begins that has no place yet: the first interval ends one interval from now."""
    own_anchor = wanted.spec.every and not wanted.spec.start
    return Place(_ceil(wanted.wall) if own_anchor else int(wanted.wall))


def _ceil(at: float) -> int:
    return -int(-at // 1)
