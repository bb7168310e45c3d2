"""The desk of a stream: the broker's part towards the store and the source, for a program that asks for batches. Pure.

In the records the stream is a pipeline with one node. PLAN fixes what is read, in the transaction in which it is taken
from the ledger, or moves the places; the node's ACK says how many of its rows are processed, each time again; with
PREPARE and COMMIT all are. A desk that starts finds at most one iteration that is not committed: its rest comes first.
"""

from __future__ import annotations

from odibi_actors.actor import Effect, Send, Stop
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import BatchSpec, NodeSpec, ReadSpec
from odibi_actors.local.streams.effects import Look, Note, Reads
from odibi_actors.messages import (
    LOCAL,
    SOURCE,
    STORE,
    AppendRecords,
    Claim,
    Claimed,
    ClaimRefused,
    Discover,
    Durable,
    Fenced,
    Hello,
    Load,
    LoadedPage,
    Message,
    Offer,
    Planned,
    RecordRefused,
    Released,
    Reply,
    Request,
    Sources,
    SourceSpec,
    StoreHello,
    Welcome,
)

STREAM = "stream"
"""The pipeline of a stream, in its store."""


class Desk:
    """One per start of a stream. ``credit``: positions of one offer. Once ``ready`` there are ``settings``, ``pinned``
    (the schema that is held to, serialised), ``open`` with ``acked`` (what is not committed), ``numbers`` (the highest
    iteration), ``set_aside`` (dead letters)."""

    def __init__(self, incarnation: str, read: ReadSpec, node: str, limits: BatchSpec, credit: int) -> None:
        self.incarnation = incarnation
        self._read, self._node, self._limits, self._credit = read, node, limits, credit
        self.ready = False
        self.epoch = 0
        self.settings: dict[str, str] = {}
        self.pinned = b""
        self.open: rec.Plan | None = None
        self.acked: rec.Ack | None = None
        self.numbers = self.set_aside = 0
        self.offer: Offer | None = None
        self.follows = False
        self._store_id = ""
        self._start_seq = self._last = self._through = 0
        self._ledger_seq = 0  # the newest record that changed the ledger, or places: an offer must reflect it
        self._unsettled: dict[int, None] = {}  # iterations of which something is not processed
        self._listed = 0
        self._joined = False  # the source is there
        self._say: list[Effect] = []

    def start(self, now: float) -> list[Effect]:
        """The store speaks first."""
        return []

    def handle(self, sender: str, message: Message, now: float) -> list[Effect]:
        """React to one message; what is stale or unknown is ignored."""
        if sender == STORE:
            return self._stored(message)
        if sender == SOURCE:
            self._found(message)
        elif sender == LOCAL:
            self._asked(message)
        return []

    def flush(self, now: float) -> list[Effect]:
        """Say what is new."""
        said, self._say = self._say, []
        return said

    def deadline(self) -> float | None:
        """It never acts by itself."""
        return None

    @property
    def durable(self) -> bool:
        """Whether all that was noted is on disk."""
        return self._through >= self._last

    def answer(self, run: str) -> Offer | None:
        """What there is to read; no positions: nothing. None: that is not known yet."""
        offer = self.offer
        if offer is None or offer.run != run:
            return None
        # What is read whole is offered as it was known, too, before the look has come to its end.
        return offer if offer.exhausted or (offer.positions and not self._read.pinned) else None

    # --- the store ----------------------------------------------------------------------------------------------------

    def _stored(self, message: Message) -> list[Effect]:
        match message:
            case StoreHello(store_id=store_id, epoch=epoch) if not self.epoch:
                self._store_id = store_id
                return [Send(STORE, Claim(epoch, self.incarnation))]
            case Claimed(epoch=epoch, last_seq=last) if not self.epoch:
                self.epoch = epoch
                self._start_seq = self._last = self._through = self._ledger_seq = last
                return [Send(STORE, Load(epoch))]
            case LoadedPage() if not self.ready:
                for item in message.items:
                    self._loaded(item)
                if message.cursor:
                    return [Send(STORE, Load(self.epoch, message.cursor))]
                self.ready = True
            case Durable(through=through):
                self._through = max(self._through, through)
            case Reply():
                return [Send(SOURCE, self._spare(message))]
            case Fenced() | ClaimRefused():
                return [Stop(70, "another process has taken over the stream")]
            case RecordRefused(seq=seq, reason=reason):
                return [Stop(70, f"record {seq} contradicts what is stored: {reason}")]
        return []

    def _loaded(self, item: rec.AnyLoaded) -> None:
        match item:
            case rec.LoadedSetting(record=record) if record.scope == STREAM:
                self.settings[record.name] = record.value
            case rec.LoadedSchema(record=record) if record.pipeline == STREAM:
                self.pinned = record.arrow
            case rec.LoadedCounter(pipeline=name) if name == STREAM:
                self.numbers, self.set_aside = item.last_iteration, item.dead_letters
            case rec.LoadedIteration(plan=plan) if plan.pipeline == STREAM:
                self.open, self.acked = plan, None
                self._unsettled[plan.iteration] = None
            case rec.LoadedAck(record=ack) if ack.pipeline == STREAM:
                self.acked = ack

    # --- the source ---------------------------------------------------------------------------------------------------

    def _found(self, message: Message) -> None:
        match message:
            case Hello():
                self._joined = True
                self._say.append(Send(SOURCE, Welcome(self.epoch, self._start_seq, self._store_id)))
                self._list()
            case Offer() if message.epoch == self.epoch and message.seq >= self._ledger_seq:
                self.offer = message
            case Request(verb="source.prune"):
                upto = min(self._unsettled, default=self.numbers + 1) - 1
                wanted = {**message.params, "upto": upto}
                self._say.append(Send(STORE, Request(message.id, "source.spare", wanted)))

    def _spare(self, reply: Reply) -> Reply:
        """How much of a log of events is needed no more: what is processed, as nobody reads it again."""
        if reply.status:
            return reply
        told = {"place": reply.result["place"], "held": reply.result["held"], "waits": "", "store_id": self._store_id}
        return Reply(reply.id, 0, told)

    def _list(self) -> None:
        self._listed += 1
        node = NodeSpec(self._node, read=self._read)
        spec = SourceSpec(STREAM, node, self._credit, idle=not self.follows, limits=self._limits)
        self._say.append(Send(SOURCE, Sources(self.epoch, [spec], self._listed)))

    # --- who asks -----------------------------------------------------------------------------------------------------

    def _asked(self, message: Message) -> None:
        match message:
            case Look(run=run):
                self._say.append(Send(SOURCE, Discover(self.epoch, STREAM, run)))
            case Reads(read=read, follow=follow):
                self._read, self.follows = read, follow
                if self._joined:
                    self._list()
            case Note(records=records):
                first = self._last + 1
                self._last += len(records)
                self._say.append(Send(STORE, AppendRecords(self.epoch, first, records)))
                for seq, record in enumerate(records, first):
                    self._noted(seq, record)

    def _noted(self, seq: int, record: rec.AnyRecord) -> None:
        match record:
            case rec.Plan(iteration=number):
                self.numbers = number
                self._unsettled[number] = None
                if record.consumed:
                    previous, self._ledger_seq = self._ledger_seq, seq
                    positions, ranges = record.positions[self._node], record.ranges.get(self._node, [])
                    self._say.append(
                        Send(
                            SOURCE,
                            Planned(
                                self.epoch, STREAM, self._node, seq, number, positions, previous, ranges=ranges
                            ),
                        )
                    )  # fmt: skip
                self.offer = None
            case rec.Commit(iteration=number):
                self._unsettled.pop(number, None)
            case rec.Cancel(iterations=numbers):
                for number in numbers:
                    self._unsettled.pop(number, None)
                self._ledger_seq, self.offer = seq, None
                self._say.append(Send(SOURCE, Released(self.epoch, STREAM, self._node, seq)))
            case rec.Schema(arrow=arrow):
                self.pinned = arrow
            case rec.Setting(name=name, value=value):
                self.settings[name] = value
                if not value:
                    del self.settings[name]
            case rec.DeadLetter(iteration=number):
                self._unsettled.pop(number, None)
                self.set_aside += 1
