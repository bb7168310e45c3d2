"""The finder of a log of events: an ordered source that is pushed to as well."""

from __future__ import annotations

from typing import Any

from odibi_actors.actor import Effect
from odibi_actors.messages import Message, Push
from odibi_actors.sources.events.desk import Desk
from odibi_actors.sources.events.effects import Append, Appended
from odibi_actors.sources.events.pieces import mark
from odibi_actors.sources.events.probe import partition_of
from odibi_actors.streaming.ordered import Ordered


class Pushed(Ordered):
    """See ``kinds.source.Finder``."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._desk = Desk()

    def push(self, sender: str, push: Push) -> list[Effect]:
        """Answered when it is durable, or refused."""
        return self._desk.push(sender, push)

    def heard(self, message: Message, now: float) -> None:
        """What became of pushes; what was found."""
        if isinstance(message, Appended):
            self._say += self._desk.done(message.outcomes)
            self._soon(now)
        else:
            super().heard(message, now)

    def flush(self, now: float) -> list[Effect]:
        """The next transaction, beside all else that is due."""
        effects: list[Effect] = []
        if group := self._desk.group():
            self._number += 1
            read = self.read
            effects.append(Append(self.key, self._number, read, group, self._taken(), read.backlog, read.window))
        return effects + super().flush(now)

    def _taken(self) -> int:
        """The last event that is planned."""
        place = self.places.index.get(partition_of(self.read))
        return mark(place.place).number if place is not None else 0
