"""Who has pushed, and waits for an acknowledgement. Pure.

Pushes that come while a transaction is under way go together into the next one, with one sync for all of them.
"""

from __future__ import annotations

from typing import NamedTuple

from odibi_actors.actor import Effect, Send
from odibi_actors.messages import Push, Reply
from odibi_actors.sources.events.effects import Outcome, Put
from odibi_actors.units import size

MAX_DATA = 4 << 20
"""Bytes of one push: it has to fit into a frame with room to spare."""
MAX_KEY = 200
"""Characters of a key."""
MAX_HELD = 64 << 20
"""Bytes of all pushes that wait for their transaction: whoever comes then is told to come again."""
MAX_GROUP = 1000
"""Pushes of one transaction."""
AGAIN = 1.0
"""Seconds after which whoever was not taken is told to come again."""


class Pushed(NamedTuple):
    """A push, who waits for its acknowledgement, and the number of the question."""

    sender: str
    request: str
    put: Put


class Desk:
    """Of one source."""

    def __init__(self) -> None:
        self.waiting: list[Pushed] = []
        self.under_way: list[Pushed] = []
        self._held = 0

    def push(self, sender: str, push: Push) -> list[Effect]:
        """Somebody pushes. One who asks again is not pushing again."""
        key, data = push.key, push.data
        if len(key) > MAX_KEY or not key.isprintable():
            return [
                _answer(
                    sender, Reply(push.id, 2, error=f"a key is a text of one line, of at most {MAX_KEY} characters")
                )
            ]
        if not 0 < len(data) <= MAX_DATA:
            told = f"what is pushed at once is an Arrow table of at most {size(MAX_DATA)}; push less"
            return [_answer(sender, Reply(push.id, 2, error=told))]
        if any((one.sender, one.request) == (sender, push.id) for one in (*self.waiting, *self.under_way)):
            return []
        if self._held + len(data) > MAX_HELD:
            return [_answer(sender, later(push.id, f"{size(self._held)} wait to be written"))]
        self._held += len(data)
        # No key has a line end, so those of parts are no other's.
        numbered = f"{key}\n{push.part}" if key and push.part else key
        self.waiting.append(Pushed(sender, push.id, Put(numbered, data)))
        return []

    def group(self) -> list[Put]:
        """What goes into the next transaction; nothing while one is under way."""
        if self.under_way:
            return []
        self.under_way, self.waiting = self.waiting[:MAX_GROUP], self.waiting[MAX_GROUP:]
        return [one.put for one in self.under_way]

    def done(self, outcomes: list[Outcome]) -> list[Effect]:
        """The transaction has ended: each is told."""
        ended, self.under_way = self.under_way, []
        self._held -= sum(len(one.put.data) for one in ended)
        return [_answer(one.sender, _reply(one, outcome)) for one, outcome in zip(ended, outcomes, strict=True)]


def later(request: str, why: str) -> Reply:
    """Not taken, and nothing is lost: come again."""
    return Reply(request, 0, {"state": "full", "retry_after": AGAIN, "why": why})


def _reply(pushed: Pushed, outcome: Outcome) -> Reply:
    match outcome.state:
        case "stored" | "known":
            return Reply(pushed.request, 0, {"state": outcome.state, "event": outcome.number, "rows": outcome.rows})
        case "full":
            return later(pushed.request, outcome.why)
        case "refused":
            return Reply(pushed.request, 4 if outcome.number else 1, error=outcome.why)
    return Reply(pushed.request, 1, error=outcome.why)


def _answer(sender: str, reply: Reply) -> Effect:
    return Send(sender, reply)
