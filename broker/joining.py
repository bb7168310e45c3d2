"""How a broker joins with the checkpoint store: it claims an epoch before it does anything else, then loads what is not
terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from odibi_actors.actor import Effect, Log, Send, Stop
from odibi_actors.broker.flow import Flow
from odibi_actors.broker.recovery import load, resume
from odibi_actors.messages import (
    STORE,
    Claim,
    Claimed,
    ClaimRefused,
    Load,
    LoadedPage,
    StoreHello,
)

if TYPE_CHECKING:
    import random  # only the type: the generator is injected

RESTART = 70
"""Exit code that asks the supervisor for a new process (EX_SOFTWARE)."""

ASK_AGAIN = 1.0
"""Seconds the store has to answer before it is asked again."""


class Joining:
    """The handshake with the store. ``flow`` is there, and complete, once ``phase`` is "joined"."""

    def __init__(self, incarnation: str, rng: random.Random) -> None:
        self.phase: Literal["waiting", "claiming", "loading", "joined"] = "waiting"
        self.store: StoreHello | None = None
        self.flow: Flow | None = None
        self._incarnation = incarnation
        self._rng = rng
        self._expected = 0
        self._cursor = ""
        self._asked_at = 0.0

    def hello(self, hello: StoreHello, now: float) -> list[Effect]:
        """The store is there (again): claim, go on loading, or send again what it misses."""
        if self.store is not None and self.store.store_id != hello.store_id:
            return [Stop(RESTART, "the checkpoint store was replaced by another one (its store_id differs)")]
        again = self.store is not None and self.store.incarnation == hello.incarnation
        self.store = hello
        if self.phase == "waiting":
            self.phase, self._expected = "claiming", hello.epoch
        if self.phase != "joined" or self.flow is None:
            return self._ask(now)
        if hello.epoch != self.flow.epoch:
            return [Stop(RESTART, f"epoch {self.flow.epoch} is over: the store has {hello.epoch}")]
        self.flow.durable(hello.last_seq)
        if not self.flow.journal.rewind(hello.last_seq + 1) and not again:
            return [Stop(RESTART, "the checkpoint store has lost records it had reported durable")]
        return []

    def answer(self, message: Claimed | ClaimRefused | LoadedPage, now: float) -> list[Effect]:
        """The store's answer to what was asked; late and foreign ones are ignored."""
        match message:
            case ClaimRefused() if self.phase == "claiming" and message.claimant == self._incarnation:
                self._expected = message.epoch
                return self._ask(now)
            case Claimed() if self.phase == "claiming" and message.claimant == self._incarnation:
                assert self.store is not None
                self.phase = "loading"
                self.flow = Flow(message.epoch, message.last_seq, self.store.store_id, self._rng, self.store.home)
                return [Log("info", f"claimed epoch {message.epoch}"), *self._ask(now)]
            case LoadedPage() if self.phase == "loading" and self.flow is not None:
                if message.epoch != self.flow.epoch or message.asked != self._cursor:
                    return []
                try:
                    load(self.flow, message.items)
                    if not message.cursor:
                        resume(self.flow, now)
                except (LookupError, ValueError) as error:
                    return [Stop(RESTART, f"what the checkpoint store tells does not fit together: {error!r}")]
                self._cursor = message.cursor
                if message.cursor:
                    return self._ask(now)
                self.phase = "joined"
        return []

    def remind(self, now: float) -> list[Effect]:
        """Ask again what has not been answered for a while."""
        return self._ask(now) if now - self._asked_at >= ASK_AGAIN else []

    def _ask(self, now: float) -> list[Effect]:
        self._asked_at = now
        if self.phase == "claiming":
            return [Send(STORE, Claim(expected=self._expected, claimant=self._incarnation))]
        if self.phase == "loading" and self.flow is not None:
            return [Send(STORE, Load(epoch=self.flow.epoch, cursor=self._cursor))]
        return []
