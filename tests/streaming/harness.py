"""A source actor with its real driver, and a broker and store made of plain lists, on the real clock."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from odibi_actors.actor import Effect, Send
from odibi_actors.config.model import ConnectionSpec, NodeSpec, ReadSpec
from odibi_actors.messages import (
    BROKER,
    LOCAL,
    STORE,
    Connected,
    LedgerLook,
    LedgerPage,
    LedgerQuery,
    LedgerRow,
    LedgerRows,
    Message,
    Offer,
    Planned,
    SameBytes,
    SourceProblem,
    Sources,
    SourceSpec,
    Tick,
    Welcome,
)
from odibi_actors.model import Position
from odibi_actors.streaming.actor import SourceActor
from odibi_actors.streaming.driver import SourceDriver

DEADLINE = 20.0


def source_spec(
    base: Path | str, credit: int = 16, idle: bool = False, lane: str = "live", name: str = "files", **read: object
) -> SourceSpec:
    """A source ``files`` of pipeline ``p`` over a local connection."""
    connection = ConnectionSpec("landing", "local", str(base))
    options: dict[str, object] = {"format": "csv", "mode": "file_watch", "pattern": "*.csv", **read}
    node = NodeSpec(name, read=ReadSpec(connection, **options))  # type: ignore[arg-type]
    return SourceSpec("p", node, credit, lane, idle)


class System:
    """Runs until something is true, waiting on the driver's inputs only."""

    def __init__(self, *specs: SourceSpec, ledger: list[Position] | None = None) -> None:
        self.driver = SourceDriver()
        self.actor = SourceActor("i1", "host", 1)
        self.ledger = list(ledger or [])
        self.seq = 10
        self.offers: list[Offer] = []
        self.problems: list[SourceProblem] = []
        self.read: dict[str, str] = {}  # file -> digest of what was read of it
        self.same: list[SameBytes] = []
        self.effects: list[Effect] = []
        self.carry(self.actor.start(time.time()))
        self.give((BROKER, Connected()), (BROKER, Welcome(1, self.seq, "s")), (BROKER, Sources(1, list(specs))))

    def give(self, *pairs: tuple[str, Message]) -> None:
        now = time.time()
        effects: list[Effect] = []
        for sender, message in pairs:
            effects += self.actor.handle(sender, message, now)
        self.carry(effects + list(self.actor.flush(now)))

    def carry(self, effects: list[Effect]) -> None:
        back: list[tuple[str, Message]] = []
        for effect in effects:
            self.effects.append(effect)
            match effect:
                case Send(to="store", message=LedgerQuery() as query):
                    ledger = self.ledger if query.lane == "live" else []
                    page = LedgerPage(query.pipeline, query.source, query.lane, query.cursor, ledger, "", self.seq)
                    back.append((STORE, page))
                case Send(to="store", message=LedgerLook() as look):
                    there = [p for p in self.ledger if p.identity in look.identities and look.lane == "live"]
                    rows = [LedgerRow(replace(p, digest=self.read.get(p.identity, "")), 11, "read") for p in there]
                    back.append((STORE, LedgerRows(look.pipeline, look.source, look.lane, look.number, rows, self.seq)))
                case Send(message=SameBytes() as same):
                    known = {p.identity: p for p in same.positions}
                    self.ledger = [known.get(p.identity, p) for p in self.ledger]
                    self.same.append(same)
                case Send(message=Offer() as offer):
                    self.offers.append(offer)
                case Send(message=SourceProblem() as problem):
                    self.problems.append(problem)
                case _ if type(effect).__module__.endswith("streaming.effects"):
                    self.driver.perform(effect, time.time())
        if back:
            self.give(*back)

    def step(self, limit: float) -> None:
        inputs = self.driver.inputs()
        deadline = self.actor.deadline()
        wait = limit if deadline is None else max(0.0, min(limit, deadline - time.time()))
        readable, _, _ = select.select(list(inputs), [], [], wait)
        news = [pair for handle in readable for pair in inputs[handle]()]
        self.give(*(news or [(LOCAL, Tick())]))

    def until(self, true: Callable[[], bool], what: str) -> None:
        end = time.time() + DEADLINE
        while not true():
            assert time.time() < end, f"not within {DEADLINE} s: {what}; offers {self.offers[-3:]}"
            self.step(end - time.time())

    @property
    def names(self) -> list[str]:
        """Identities of the newest offer."""
        return [p.identity for p in self.offers[-1].positions] if self.offers else []

    def count(self, kind: type[Effect]) -> int:
        """How many effects of this kind the actor has asked for."""
        return sum(isinstance(effect, kind) for effect in self.effects)

    def plan(self) -> None:
        """Plan the newest offer."""
        offer = self.offers[-1]
        previous, self.seq = self.seq, self.seq + 1
        self.ledger += offer.positions
        self.give((BROKER, Planned(1, "p", "files", self.seq, self.seq, list(offer.positions), previous)))

    def close(self) -> None:
        self.driver.close()
