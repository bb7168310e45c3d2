"""The checkpoint store's actor: it numbers, fences and groups; the engine behind its driver makes durable.

Two rules. Only the record after the last one known is taken: what comes again is answered with Durable, what leaves
a gap is asked for again. And one change is under way at a time (``_busy``): what arrives meanwhile waits and goes as
one transaction, and a claim waits for the write before it, so that the number it answers is exact.
"""

from __future__ import annotations

from odibi_actors.actor import Effect, Log, Send, Stop
from odibi_actors.checkpoint.effects import (
    Answered,
    Broken,
    Checkpoint,
    EpochSet,
    Maintained,
    Prune,
    Read,
    SetEpoch,
    Write,
    Written,
)
from odibi_actors.checkpoint.records import Ack, AnyRecord, Error, Plan, Prepare, Same, Schema, Version
from odibi_actors.messages import (
    BROKER,
    HEARTBEAT,
    LOCAL,
    AppendRecords,
    Bye,
    ByeAck,
    Claim,
    Claimed,
    Connected,
    Durable,
    Fenced,
    Heartbeat,
    LedgerLook,
    LedgerQuery,
    Load,
    Message,
    PlacesQuery,
    RecordRefused,
    Refused,
    Request,
    ResendFrom,
    Shutdown,
    StoreHello,
    Terminate,
    Tick,
    WhoAreYou,
)
from odibi_actors.model import NOWHERE, Home

WRITE_RECORDS = 5_000
WRITE_BYTES = 8_000_000
"""A transaction takes at most this: some 50 ms, after which the broker hears how far it is."""

QUEUE_RECORDS = 100_000
CLAIMS = 16
"""What waits at most. A broker stops far earlier by its own bound; what is beyond is dropped and asked for again."""

STUCK = 60.0
"""Seconds after which a change that was not answered will not be: stop, and recover by a new start."""

BYE_WAIT = 2.0
"""Seconds to wait for ByeAck; honcho kills 5 s after SIGTERM."""

IDLE = 1.0
"""Seconds without a write after which the log is checkpointed, and history pruned if that is due."""

PRUNE_PAUSE = 0.1
"""Seconds between two chunks of a sweep of history."""

PRUNE_PATIENCE = 20.0
"""Seconds that a sweep which is due waits for a moment without writes: a system that is always busy has a history too.
"""

KEEP_LAST = 20
"""Iterations per pipeline that stay whatever their age: what ``iteration list`` shows."""


class StoreActor:
    """State machine of the checkpoint store. ``store_id``, ``epoch`` and ``last_seq`` are the engine's as of now;
    ``history`` in seconds."""

    def __init__(
        self,
        incarnation: str,
        host: str,
        pid: int,
        store_id: str,
        epoch: int,
        last_seq: int,
        history: float = 30 * 86400.0,
        keep_last: int = KEEP_LAST,
        home: Home = NOWHERE,
    ) -> None:
        self._me = (incarnation, host, pid, store_id)
        self._home = home
        self._epoch, self._last = epoch, last_seq
        self._history, self._keep_last = history, keep_last
        self._queue: list[AnyRecord] = []  # of this epoch, numbered from _last + _writing + 1
        self._writing = 0  # records under way
        self._claims: list[tuple[str, Claim]] = []
        self._busy: float | None = None  # since when a change is under way
        self._refused: RecordRefused | None = None  # nothing more is taken from the broker of this epoch
        self._gap = False
        self._connected = False
        self._dirty: float | None = None  # time of the last change that is not checkpointed
        self._wrote: float | None = None  # time of the last write
        self._wal_full = False
        self._prune_at = 0.0
        self._sweeping = False
        self._beat_at = 0.0
        self._leaving = False
        self._bye_until: float | None = None
        self._bye_heard = False
        # What flush says, once for all messages at hand.
        self._again: dict[str, None] = {}  # who asked for records that are durable already
        self._resend: dict[str, None] = {}
        self._fenced: dict[str, None] = {}
        self._spurned: dict[str, None] = {}

    def start(self, now: float) -> list[Effect]:
        """Nothing to do before the link is up."""
        self._beat_at = now + HEARTBEAT
        self._prune_at = now + IDLE
        return []

    def deadline(self) -> float | None:
        """The earliest of heartbeat, idle work, the end of a goodbye, and the end of patience with the disk."""
        wanted = [self._beat_at]
        if self._busy is not None:
            wanted.append(self._busy + STUCK)
        else:
            wanted.append(self._prune_due())
            if self._dirty is not None:
                wanted.append(self._dirty + IDLE)
        if self._bye_until is not None:
            wanted.append(self._bye_until)
        return min(wanted)

    def handle(self, sender: str, message: Message, now: float) -> list[Effect]:
        """React to one message. Anybody may ask; only the broker tells."""
        if sender == LOCAL:
            return self._local(message, now)
        if isinstance(message, Request) and 0 < message.epoch < self._epoch:
            self._fenced[sender] = None
            return []
        if isinstance(message, Request | LedgerQuery | LedgerLook | PlacesQuery):
            return [Read(sender, message)]
        return self._told(sender, message) if sender == BROKER else []

    def _told(self, sender: str, message: Message) -> list[Effect]:
        match message:
            case AppendRecords():
                self._append(sender, message)
            case Claim():
                if len(self._claims) < CLAIMS:
                    self._claims.append((sender, message))
            case Load() if message.epoch == self._epoch:
                return [Read(sender, message)]
            case Load() if message.epoch < self._epoch:
                self._fenced[sender] = None
            case WhoAreYou():
                return [self._hello()]
            case Shutdown():
                self._leaving = True
            case ByeAck() if self._bye_until is not None:
                self._bye_heard = True
            case Refused(final=True):
                self._connected = False  # until there is another broker
                return [Log("error", "the broker refuses this store", {"reason": message.reason})]
            case Refused():
                return [Stop(70, f"the broker refuses this store: {message.reason}")]
        return []

    def _local(self, message: Message, now: float) -> list[Effect]:
        match message:
            case Connected():
                self._connected = True
                return [self._hello()]
            case Tick():
                return self._tick(now)
            case Terminate():
                self._leaving = True
                return [Stop(0, "told to stop at once")] if message.at_once else []
            case Written():
                return self._written(message, now)
            case EpochSet():
                return self._epoch_set(message)
            case Maintained():
                self._maintained(message, now)
            case Answered():
                return [Send(message.to, message.message)]
            case Broken():
                return [Log("error", message.reason), Stop(70, "the checkpoint database failed")]
        return []

    def flush(self, now: float) -> list[Effect]:
        """Answer what was said more than once, and begin the next change."""
        effects: list[Effect] = []
        effects += [Send(to, Fenced(self._epoch)) for to in self._fenced]
        effects += [Send(to, Durable(self._epoch, self._last)) for to in self._again]
        if self._gap and len(self._queue) < QUEUE_RECORDS:
            effects += [Send(to, ResendFrom(self._epoch, self._next())) for to in self._resend]
        if self._refused is not None:
            effects += [Send(to, self._refused) for to in self._spurned]
        for said in (self._fenced, self._again, self._resend, self._spurned):
            said.clear()
        if self._busy is None:
            effects += self._begin(now)
        if self._leaving and self._busy is None:
            effects += self._leave(now)
        return effects

    # --- records ----------------------------------------------------------------------------------------------------

    def _next(self) -> int:
        return self._last + self._writing + len(self._queue) + 1

    def _append(self, sender: str, message: AppendRecords) -> None:
        if message.epoch < self._epoch:
            self._fenced[sender] = None
        if message.epoch != self._epoch:  # a higher one was never claimed here: such a broker waits for our Hello
            return
        if self._refused is not None:
            self._spurned[sender] = None
            return
        skip = self._next() - message.first
        if skip < 0 or len(self._queue) >= QUEUE_RECORDS:
            self._gap = True
            self._resend[sender] = None
            return
        new = message.records[skip:]
        if new:
            self._gap = False
            self._queue += new
        elif message.first + len(message.records) - 1 <= self._last:
            self._again[sender] = None

    def _begin(self, now: float) -> list[Effect]:
        """The most urgent change, if any."""
        effect: Effect | None = None
        if self._claims:
            to, claim = self._claims.pop(0)
            effect = SetEpoch(to, claim.expected, claim.claimant)
        elif self._wal_full:
            effect = self._checkpoint()
        elif self._queue and now < self._prune_at + (IDLE if self._sweeping else PRUNE_PATIENCE):
            effect = self._write()
        elif self._dirty is not None and now >= self._dirty + IDLE:
            effect = self._checkpoint()
        elif now >= self._prune_due():
            effect = Prune(self._history, self._keep_last)
        if effect is None:
            return []
        self._busy = now
        return [effect]

    def _prune_due(self) -> float:
        if self._sweeping or self._wrote is None:
            return self._prune_at
        return max(self._prune_at, min(self._wrote + IDLE, self._prune_at + PRUNE_PATIENCE))

    def _maintained(self, message: Maintained, now: float) -> None:
        self._busy = None
        if message.again:  # that was a chunk of a sweep
            self._sweeping = message.more
            self._prune_at = now + (PRUNE_PAUSE if message.more else message.again)
            if message.changed:
                self._dirty = now
        self._wal_full = message.wal_full

    def _write(self) -> Write:
        size = count = 0
        for record in self._queue[:WRITE_RECORDS]:
            size += weight(record)
            if count and size > WRITE_BYTES:
                break
            count += 1
        batch, self._queue = self._queue[:count], self._queue[count:]
        self._writing = count
        return Write(self._epoch, self._last + 1, batch)

    def _checkpoint(self) -> Checkpoint:
        self._dirty, self._wal_full = None, False
        return Checkpoint()

    def _written(self, message: Written, now: float) -> list[Effect]:
        self._busy = None
        self._writing = 0
        advanced = message.through > self._last
        self._last = message.through
        self._dirty = self._wrote = now
        self._wal_full = message.wal_full
        effects: list[Effect] = [Send(BROKER, Durable(self._epoch, self._last))] if advanced else []
        effects += [Log("warning", note) for note in message.notes]
        if message.refused:
            self._queue.clear()
            self._refused = RecordRefused(self._epoch, self._last + 1, message.refused)
            effects += [
                Log("error", f"record {self._last + 1} refused: {message.refused}"),
                Send(BROKER, self._refused),
            ]
        return effects

    def _epoch_set(self, message: EpochSet) -> list[Effect]:
        self._busy = None
        answer = message.answer
        if isinstance(answer, Claimed) and answer.epoch > self._epoch:
            self._epoch = answer.epoch
            self._queue.clear()
            self._gap, self._refused = False, None
        return [Send(message.to, answer)]

    # --- coming and going -------------------------------------------------------------------------------------------

    def _hello(self) -> Send:
        incarnation, host, pid, store_id = self._me
        hello = StoreHello(incarnation, host, pid, store_id, self._epoch, self._last, home=self._home)
        return Send(BROKER, hello)

    def _tick(self, now: float) -> list[Effect]:
        if self._busy is not None and now >= self._busy + STUCK:
            return [Stop(70, f"the disk has not answered for {STUCK:.0f} s")]
        if now < self._beat_at:
            return []
        self._beat_at = now + HEARTBEAT
        if not self._connected:
            return []
        if self._gap:
            self._resend[BROKER] = None  # the answer to the former ResendFrom may be lost
        return [Send(BROKER, Heartbeat(self._epoch))]

    def _leave(self, now: float) -> list[Effect]:
        """Nothing waits: say Bye, and go when it is heard, or not heard for too long."""
        if self._bye_heard or not self._connected or (self._bye_until is not None and now >= self._bye_until):
            return [Stop(0, "asked to, and all it was told is durable")]
        if self._bye_until is None:
            self._bye_until = now + BYE_WAIT
            return [Send(BROKER, Bye())]
        return []


def weight(record: AnyRecord) -> int:
    """Bytes of a record, roughly, without encoding it."""
    match record:
        case Ack(output=output, files=files) if output is not None:
            return 300 + len(output.data) + 30 * len(files)
        case Same(positions=positions):
            return 300 + 150 * len(positions)
        case Plan(positions=positions):
            return 300 + 150 * sum(map(len, positions.values()))
        case Schema(arrow=arrow):
            return 300 + len(arrow)
        case Error(failure=failure):
            return 300 + len(failure.message) + len(failure.traceback)
        case Version() | Prepare():
            return 4000
    return 300
