"""Asking the actors of this process as a client would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from odibi_actors.actor import Stop
from odibi_actors.errors import ConfigError, ConflictError, OdibiError
from odibi_actors.local.interrupts import Interrupts
from odibi_actors.local.runtime import CLIENT, LocalClock, LocalRuntime
from odibi_actors.messages import BROKER, Apply, Request


class Asking:
    """Works as long as it takes until there is an answer."""

    clock: LocalClock
    runtime: LocalRuntime
    interrupts: Interrupts
    _requests = 0

    def request(
        self,
        verb: str,
        params: dict[str, Any] | None = None,
        *,
        to: str = BROKER,
        timeout: float | None = None,
        each: Callable[[], None] | None = None,
    ) -> Any:
        """Ask as a client would and work until the answer is there. Raises OdibiError with the answer's exit code."""
        self._requests += 1
        message = Request(id=f"r{self._requests}", verb=verb, params=params or {})
        return self.ask(message, verb, to=to, timeout=timeout, each=each)

    def ask(
        self,
        message: Request | Apply,
        verb: str,
        *,
        to: str = BROKER,
        timeout: float | None = None,
        each: Callable[[], None] | None = None,
    ) -> Any:
        """Send a message and work until it is answered. Raises OdibiError with the answer's exit code."""
        id_ = message.id
        self.runtime.send(CLIENT, to, message)
        end = None if timeout is None else self.clock() + timeout
        self.until(lambda: id_ in self.runtime.replies or (end is not None and self.clock() > end), each)
        if id_ not in self.runtime.replies:
            raise OdibiError(f"{verb}: no answer within {timeout} s")
        reply = self.runtime.replies.pop(id_)
        if reply.status:
            error = OdibiError(reply.error)
            error.exit_code = reply.status
            raise error
        return reply.result

    def until(self, reached: Callable[[], bool], each: Callable[[], None] | None = None) -> None:
        """Work until something is so. Raises OdibiError when an actor stops."""
        while not reached():
            self.runtime.step(each)
            if reached():
                return
            self.interrupts.check()
            for name, stop in self.runtime.stopped.items():
                raise _ended(name, stop)
            if each is not None:
                each()
            self.runtime.wait(0.5)


def _ended(name: str, stop: Stop) -> OdibiError:
    """Why an actor has stopped: what refuses the project, as `apply` says it; other codes are for a supervisor."""
    refused = {kind.exit_code: kind for kind in (ConfigError, ConflictError)}.get(stop.code)
    return refused(stop.reason) if refused is not None else OdibiError(f"{name} stopped: {stop.reason}")
