"""Questions of the broker to other actors on behalf of an operator, answered some time later.

A command that needs an answer asks for it each time it is looked at, and goes on when it is there; what is lost on the
way is asked again.
"""

from __future__ import annotations

from typing import Any

from odibi_actors.actor import Effect, Send
from odibi_actors.errors import ConflictError, NotFoundError, OdibiError
from odibi_actors.messages import STORE, Reply, Request

AGAIN = 2.0
"""Seconds until an unanswered question is asked again."""

KEPT = 60.0
"""Seconds for which an answer that nobody fetched is kept."""

Row = dict[str, Any]


class Asked:
    """A question that is out."""

    def __init__(self, to: str, request: Request, now: float) -> None:
        self.to, self.request = to, request
        self.sent_at = self.asked_at = now
        self.reply: Reply | None = None


class Asks:
    """The questions of one epoch."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._count = 0
        self._asked: dict[str, Asked] = {}
        self._outbox: list[Effect] = []

    def ask(self, key: str, to: str, verb: str, params: Row, now: float) -> Row | None:
        """The answer, or None while there is none. ``key`` tells one question from another. Raises the error that was
        answered. An answer is given until ``forget``."""
        asked = self._asked.get(key)
        if asked is None:
            self._count += 1
            request = Request(f"b{self._epoch}-{self._count}", verb, params, self._epoch if to == STORE else 0)
            asked = self._asked[key] = Asked(to, request, now)
            self._outbox.append(Send(to, asked.request))
        elif asked.reply is None and now - asked.sent_at >= AGAIN:
            asked.sent_at = now
            self._outbox.append(Send(to, asked.request))
        if asked.reply is None:
            return None
        if asked.reply.status:
            del self._asked[key]
            raise _error(asked.reply)
        result: Row = asked.reply.result
        return result

    def answered(self, sender: str, reply: Reply) -> None:
        """An answer has come; one that nobody waits for is ignored."""
        for asked in self._asked.values():
            if asked.request.id == reply.id and asked.to == sender:
                asked.reply = reply

    def forget(self, *keys: str) -> None:
        """These answers have served."""
        for key in keys:
            self._asked.pop(key, None)

    def flush(self, now: float) -> list[Effect]:
        """What is to be sent."""
        self._asked = {key: asked for key, asked in self._asked.items() if now - asked.asked_at < KEPT}
        effects, self._outbox = self._outbox, []
        return effects


def _error(reply: Reply) -> OdibiError:
    kind = {3: NotFoundError, 4: ConflictError}.get(reply.status, OdibiError)
    error = kind(reply.error)
    if kind is OdibiError:
        error.exit_code = reply.status
    return error
