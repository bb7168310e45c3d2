"""The finders of logs of events: an ordered source whose log is cut, and one that is pushed to as well."""

from __future__ import annotations

from typing import Any

from odibi_actors.actor import Effect
from odibi_actors.messages import Message, Push, Reply
from odibi_actors.sources.events.desk import Desk
from odibi_actors.sources.events.effects import Append, Appended, Pruned, Surveyed
from odibi_actors.sources.events.keeping import Keeping
from odibi_actors.sources.events.pieces import mark
from odibi_actors.sources.events.probe import partition_of
from odibi_actors.streaming.ordered import Ordered


class Logged(Ordered):
    """One partition, a log that its source owns. See ``kinds.source.Finder``."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._keeping = Keeping(self.key, self.incarnation)
        self._now = 0.0

    def heard(self, message: Message, now: float) -> None:
        """How the log is; what was found in it."""
        match message:
            case Surveyed():
                of = {"pipeline": self.spec.pipeline, "source": self.spec.node.name}
                asked = {**of, "partition": partition_of(self.read)}
                self._say += self._keeping.surveyed(message, asked, now)
            case Pruned():
                self._number += 1
                self._say += self._keeping.pruned(message, self._number, self.read, now)
            case _:
                super().heard(message, now)

    def answered(self, reply: Reply, now: float) -> None:
        """The broker says what may be deleted."""
        self._number += 1
        self._say += self._keeping.answered(reply, self._number, self.read, now)

    def flush(self, now: float) -> list[Effect]:
        """The next round of what is kept, beside all else that is due."""
        self._now = now
        effects: list[Effect] = []
        if self._keeps() and self._keeping.due(now):
            self._number += 1
            effects += self._keeping.begin(self._number, self.read, now)
        return effects + super().flush(now)

    def deadline(self) -> float | None:
        """When ``flush`` should be called at the latest."""
        times = (super().deadline(), self._keeping.deadline() if self._keeps() else None)
        return min((one for one in times if one is not None), default=None)

    def _keeps(self) -> bool:
        """What the live lane has read, of the source that is pushed to, is what may be deleted."""
        return bool(self.epoch) and not self.backfill and self._may_look()

    def show(self) -> dict[str, Any]:
        """As ``source files`` shows it, and how its log is."""
        found = self._keeping.survey
        if found is None:
            return super().show()
        kept = {name: getattr(found, name) for name in ("floor", "last", "since", "size")}
        return {**super().show(), "log": {**kept, "waits": self._keeping.waits}}

    def match(self, pattern: str, aside: list[str]) -> dict[str, Any]:
        """As of other ordered sources; ``refused``: what of it was read is not all there."""
        found, survey = super().match(pattern, aside), self._keeping.survey
        why = "its log of events was not looked over yet; ask again"
        if survey is not None:
            why = f"its log of events is deleted up to event {survey.floor:,} (`retain`)" if survey.floor else ""
        return {**found, "refused": why} if why else found

    def _taken(self) -> int:
        """The last event that is planned."""
        place = self.places.index.get(partition_of(self.read))
        return mark(place.place).number if place is not None else 0


class Pushed(Logged):
    """One that is pushed to."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._desk = Desk()
        self._appending = 0  # number of the transaction that is under way

    def push(self, sender: str, push: Push) -> list[Effect]:
        """Answered when it is durable, or refused."""
        return self._desk.push(sender, push)

    def heard(self, message: Message, now: float) -> None:
        """What became of pushes."""
        if isinstance(message, Appended):
            if message.number == self._appending:  # else a former finder's pushes are meant
                self._say += self._desk.done(message.outcomes)
                self._soon(now)
        else:
            super().heard(message, now)

    def flush(self, now: float) -> list[Effect]:
        """The next transaction, besides."""
        effects: list[Effect] = []
        if group := self._desk.group():
            self._number += 1
            self._appending, read = self._number, self.read
            effects.append(Append(self.key, self._number, read, group, self._taken(), read.backlog, read.window))
        return effects + super().flush(now)
