"""The finder of a source that is polled: an ordered source over the log of its ticks."""

from __future__ import annotations

from typing import Any

from odibi_actors.actor import Effect, Log
from odibi_actors.kinds.connection import Access
from odibi_actors.messages import Message, SourceSpec
from odibi_actors.model import LIVE
from odibi_actors.sources.events.effects import Append, Appended, Put, Surveyed
from odibi_actors.sources.events.finder import Logged
from odibi_actors.sources.ticks.clock import Clock, patience
from odibi_actors.sources.ticks.effects import Keep, Poll, Polled
from odibi_actors.sources.ticks.names import what
from odibi_actors.units import format_duration, format_instant, plural


class Ticking(Logged):
    """See ``kinds.source.Finder``."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        assert self.read.polled is not None
        self.clock = Clock(self.read.polled.every)
        self._tick = 0
        self._run = ""  # the run that waits for the poll of its tick
        self._asked_number = self._appending = 0
        self._keep = True  # the function's code, before it is edited
        self._told: int | None = None  # ticks up to this one are told, if they were missed

    # --- what happens ---------------------------------------------------------------------------------------------

    def rebind(self, spec: SourceSpec) -> None:
        """Other code, besides: what has failed before says nothing of it."""
        if spec.code != self.spec.code:
            self._keep = True
            self.clock.retry()
        super().rebind(spec)

    def discover(self, run: str, now: float) -> None:
        """A run reads the newest tick: it is polled first, unless it was."""
        if run and (self.run is None or self.run.run != run) and self.spec.lane == LIVE:
            self._run = run
            if self.clock.known:
                self._start(now)
        else:
            super().discover(run, now)

    def heard(self, message: Message, now: float) -> None:
        """What was read, and whether it is kept."""
        match message:
            case Polled() if message.number == self._asked_number and self.clock.polling is not None:
                self._polled(message, now)
            case Appended():
                if message.number == self._appending and self.clock.polling is not None:
                    self._kept(message, now)
            case _:
                super().heard(message, now)
        if isinstance(message, Surveyed) and not message.problem and not self.clock.known:
            self.clock.begin(float(message.newest) if message.newest else None)
            self._start(now)

    def _start(self, now: float) -> None:
        """If the tick of a run was taken, it reads what is there."""
        if self._run and self.clock.last is not None and self.clock.newest(now) <= self.clock.last:
            at = self.clock.at(self.clock.last)
            following = format_instant(at + self.clock.every)
            text = f"{self.key}: the tick of {format_instant(at)} was read; the next is {following}"
            self._say.append(Log("info", text, {"notice": True}))
            self._done(now)

    def _done(self, now: float) -> None:
        run, self._run = self._run, ""
        if run:
            super().discover(run, now)
        self._soon(now)

    def _polled(self, found: Polled, now: float) -> None:
        if found.problem:
            self._failed(found.problem, now)
            return
        self._tell_missed()  # not once it is kept: nobody would know whether somebody who died by then has told it
        key = repr(self.clock.at(self._tick))
        self._number += 1
        self._appending, read = self._number, self.read
        puts = [Put(key, found.data, found.rows)]
        self._say.append(Append(self.key, self._number, read, puts, self._taken(), read.backlog, read.window))

    def _kept(self, found: Appended, now: float) -> None:
        (outcome,) = found.outcomes
        if outcome.state in ("full", "failed"):
            self._failed(outcome.why, now)
            return
        # "known", or "refused": a former incarnation had it, whose answer nobody heard.
        self.clock.taken(self._tick)
        self._done(now)

    def _tell_missed(self) -> None:
        """Ticks before the one that was read, which nobody polls any more. Who is polled for runs alone misses none."""
        missed = self.clock.missed(self._tick)
        if missed and self._told != self._tick and not self.spec.idle:
            self._told = self._tick
            begin, end = (format_instant(self.clock.at(one)) for one in (self._tick - missed, self._tick - 1))
            which = begin if missed == 1 else f"{begin} to {end}"
            told = f"{self.key}: {plural(missed, 'tick')} missed ({which}): what was there then is not known"
            self._say.append(Log("warning", told, {"notice": True}))

    def _failed(self, why: str, now: float) -> None:
        at = format_instant(self.clock.at(self._tick))
        self.clock.failed(f"{what(self.read)} could not be read at the tick of {at}: {why}", now)
        self._dirty = True
        self._done(now)

    # --- what to do about it --------------------------------------------------------------------------------------

    def flush(self, now: float) -> list[Effect]:
        """The poll that is due, besides."""
        effects: list[Effect] = []
        if self._keep and self.spec.code and self._keeps():
            self._keep = False
            self._number += 1
            effects.append(Keep(self.key, self._number, self.read, self.spec.root, self.spec.code))
        tick = self.clock.due(now) if self._polls() else None
        if tick is not None:
            self._number += 1
            self._tick = self.clock.polling = tick
            self._asked_number = self._number
            at, access = self.clock.at(tick), Access(self.spec.access, self.spec.root)
            limit, pipeline = patience(self.clock.every), self.spec.pipeline
            effects.append(Poll(self.key, self._number, self.read, at, limit, pipeline, access, self.spec.code))
        return effects + super().flush(now)

    def deadline(self) -> float | None:
        """When ``flush`` should be called at the latest."""
        times = (super().deadline(), self.clock.deadline(self._now) if self._polls() else None)
        return min((one for one in times if one is not None), default=None)

    def _polls(self) -> bool:
        """Who only runs polls for its runs."""
        return self._keeps() and (not self.spec.idle or bool(self._run))

    def row(self) -> dict[str, Any]:
        """As ``source list`` shows it."""
        return {**super().row(), **self._polled_row()}

    def show(self) -> dict[str, Any]:
        """As ``source files`` shows it."""
        return {**super().show(), **self._polled_row()}

    def _polled_row(self) -> dict[str, Any]:
        return {"path": what(self.read), "pattern": f"every {format_duration(self.clock.every)}"}

    @property
    def troubles(self) -> list[str]:
        """What could not be looked at, and why."""
        return [*super().troubles, *([self.clock.problem] if self.clock.problem else [])]
