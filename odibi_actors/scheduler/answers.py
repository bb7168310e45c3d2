"""What the scheduler answers to clients, and to the broker: when schedules are due. Pure.

``schedule.next`` is answered at once; ``schedule.range`` lists the occurrences of any schedule, in parts, so that a
long list holds nobody up.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from odibi_actors.config.model import ScheduleSpec
from odibi_actors.messages import Reply, Request
from odibi_actors.model import Place
from odibi_actors.scheduler.agenda import UNREADABLE, Agenda
from odibi_actors.scheduler.judge import Open
from odibi_actors.scheduler.timetable import Occurrence

MAX_LIMIT: Final = 10_000
"""Occurrences that ``schedule.range`` lists at most: its answer is held whole."""
CHUNK: Final = 1_000
"""Of these, found between two looks at anything else."""
MAX_WAITING: Final = 16
"""Such questions at a time."""
LOOKS: Final = 100
"""Schedules whose next due time is found out for ``schedule.next`` while it is not known yet."""


class RangeParams(msgspec.Struct, frozen=True):
    """``schedule.range``: occurrences due from ``from`` on and before ``to`` (seconds since the epoch)."""

    spec: ScheduleSpec
    since: float = msgspec.field(name="from")
    to: float
    limit: int = MAX_LIMIT
    pipeline: str = ""


class _Range:
    """A question in work."""

    def __init__(self, sender: str, request: str, params: RangeParams, found: Iterator[Occurrence]) -> None:
        self.sender, self.request, self.params, self.found = sender, request, params, found
        self.items: list[dict[str, Any]] = []

    def go_on(self) -> Reply | None:
        """Find more; the answer, once it is whole."""
        for _ in range(CHUNK):
            one = next(self.found, None)
            over = one is None or one.due >= self.params.to
            if one is None or over or len(self.items) >= self.params.limit:
                return Reply(self.request, 0, {"items": self.items, "more": not over})
            self.items.append({"id": one.id, "due": one.due, "note": one.note})
        return None


class Answers:
    """Questions, and those of them that are in work."""

    def __init__(self, agenda: Agenda, calendar: Open) -> None:
        self._agenda, self._calendar = agenda, calendar
        self.waiting: deque[_Range] = deque()

    def ask(self, sender: str, request: Request) -> Reply | None:
        """The answer, or None: it comes from ``work``."""
        if request.verb == "schedule.next":
            return self._next(request)
        if request.verb == "schedule.range":
            return self._range(sender, request)
        return Reply(request.id, 2, error=f"the scheduler does not know the verb {request.verb!r}")

    def work(self) -> list[tuple[str, Reply]]:
        """Go on with the oldest question; answers that are whole, each with whom it is for."""
        if not self.waiting:
            return []
        one = self.waiting.popleft()
        try:
            reply = one.go_on()
        except UNREADABLE as error:
            reply = _wrong(one.request, error)
        if reply is None:
            self.waiting.append(one)
            return []
        return [(one.sender, reply)]

    def _next(self, request: Request) -> Reply:
        pipeline = request.params.get("pipeline")
        if pipeline is not None and not isinstance(pipeline, str):
            return Reply(request.id, 2, error=f"pipeline: {pipeline!r} is not a name")
        items = []
        looks = LOOKS
        for (name, schedule), entry in self._agenda.entries.items():
            if pipeline is not None and name != pipeline:
                continue
            before = entry.stream.cost
            due = self._agenda.next_due(entry, CHUNK if looks else 0)
            looks -= int(entry.stream.cost > before)
            items.append({"pipeline": name, "schedule": schedule, "next": due, "late": entry.late})
        return Reply(request.id, 0, {"items": items})

    def _range(self, sender: str, request: Request) -> Reply | None:
        try:
            params = msgspec.convert(request.params, RangeParams)
        except ValueError as error:
            return _wrong(request.id, error)
        if not params.spec.timed:
            return Reply(request.id, 2, error=f"schedule {params.spec.name} follows no clock: it has no due times")
        if not 1 <= params.limit <= MAX_LIMIT:
            return Reply(request.id, 2, error=f"limit: {params.limit} is not from 1 to {MAX_LIMIT}")
        if not (math.isfinite(params.since) and math.isfinite(params.to)):
            return Reply(request.id, 2, error="from, to: must be seconds since the epoch")
        if len(self.waiting) >= MAX_WAITING:
            return Reply(request.id, 4, error=f"{MAX_WAITING} such questions are being answered already; ask again")
        try:
            found = self._calendar(params.spec, Place(math.ceil(params.since) - 1))
        except UNREADABLE as error:
            return _wrong(request.id, error)
        self.waiting.append(_Range(sender, request.id, params, found))
        return None


def _wrong(request: str, error: BaseException) -> Reply:
    return Reply(request, 2, error=str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error))
