"""The source actor: which files exist beyond what was planned. It decides nothing about when a batch runs."""

from __future__ import annotations

from odibi_actors.actor import Effect, Log, Send, Stop
from odibi_actors.messages import (
    BROKER,
    HEARTBEAT,
    LOCAL,
    STORE,
    Bye,
    ByeAck,
    Connected,
    Discover,
    Heartbeat,
    Hello,
    LedgerPage,
    LedgerRows,
    Message,
    Planned,
    Refused,
    Released,
    Reply,
    Request,
    Shutdown,
    Sources,
    Terminate,
    Welcome,
    WhoAreYou,
)
from odibi_actors.model import LIVE, Position
from odibi_actors.streaming.effects import Broken, Digested, FileEvent, Overflow, Scanned, Stat, Stated
from odibi_actors.streaming.ledger import Stamp, same_stamp, stamp
from odibi_actors.streaming.source import MAX_STAT, Source, source_key
from odibi_actors.streaming.views import match, mistake, row, show, why

FAREWELL = 1.0
"""Seconds to wait for ByeAck before stopping all the same."""

MAX_STATS = 100
"""Questions of the broker that wait for the disk; it repeats those that are dropped."""

NUMBERS = 1 << 32
"""Scans and stats a source may number; the next source of its name starts beyond."""


class SourceActor:
    """One per system. It holds a ``Source`` per read node and lane, and joins them to the broker and the store."""

    def __init__(self, incarnation: str, host: str, pid: int) -> None:
        self.incarnation, self.host, self.pid = incarnation, host, pid
        self.epoch = 0
        self._listed = 0  # number of the newest list of sources
        self.sources: dict[str, Source] = {}
        self._start_seq = 0
        self._connected = False
        self._next_beat = 0.0
        self._stop_at: float | None = None
        self._made = 0
        self._stats: dict[int, tuple[str, str, dict[str, Stamp]]] = {}  # number of a Stat -> who asked

    def start(self, now: float) -> list[Effect]:
        """Nothing happens before the link is up."""
        return []

    def handle(self, sender: str, message: Message, now: float) -> list[Effect]:
        """React to one message; what is stale, unknown, or not for its sender to say is ignored."""
        if isinstance(message, Request):
            return self._asked(sender, message)
        if sender not in ((STORE,) if isinstance(message, LedgerPage | LedgerRows) else (BROKER, LOCAL)):
            return []
        match message:
            case FileEvent() | Scanned() | Stated() | Digested() | Overflow():
                return self._heard(message, now)
            case Planned() | Released() | Discover() | Sources():
                return self._ordered(message, now)
            case LedgerPage(through=through) if through >= 0:
                for any_of_them in self.sources.values():
                    any_of_them.taken_page(message, now)
            case LedgerPage(pipeline=pipeline, source=name, lane=lane):
                source = self.sources.get(source_key(pipeline, name, lane))
                if source is not None:
                    source.page(message, now)
            case LedgerRows(pipeline=pipeline, source=name, lane=lane):
                source = self.sources.get(source_key(pipeline, name, lane))
                if source is not None:
                    source.on_rows(message, now)
            case Connected() | WhoAreYou():
                self._connected = True
                return self._hello(now)
            case Welcome():
                self._welcome(message, now)
            case Terminate(at_once=True):
                return [Stop(0, "terminated")]
            case Terminate() | Shutdown():
                return self._leave(now)
            case ByeAck():
                return [Stop(0, "left")] if self._stop_at is not None else []
            case Refused(reason=reason, final=True):
                self._connected = False  # until there is another broker
                return [Log("error", "the broker refuses this source", {"reason": reason})]
            case Refused(reason=reason):
                return [Stop(70, f"refused by the broker: {reason}")]
            case Broken(reason=reason):
                return [Log("error", reason), Stop(70, "the driver's worker died")]
        return []

    def flush(self, now: float) -> list[Effect]:
        """Offers, scans, queries, heartbeat: what is due after the messages at hand."""
        if self._stop_at is not None:
            return [Stop(0, "left without an answer")] if now >= self._stop_at else []
        effects: list[Effect] = []
        if self._connected and now >= self._next_beat:
            self._next_beat = now + HEARTBEAT
            effects.append(Send(BROKER, Heartbeat(self.epoch) if self.epoch else self._introduction()))
        for source in self.sources.values():
            effects += source.flush(now)
        return effects

    def deadline(self) -> float | None:
        """When ``flush`` has something to do at the latest."""
        if self._stop_at is not None:
            return self._stop_at
        times = [source.deadline() for source in self.sources.values()]
        times.append(self._next_beat if self._connected else None)
        return min((time for time in times if time is not None), default=None)

    # --- joining and leaving --------------------------------------------------------------------------------------

    def _introduction(self) -> Hello:
        return Hello("source", self.incarnation, self.host, self.pid)

    def _hello(self, now: float) -> list[Effect]:
        self._next_beat = now + HEARTBEAT
        return [Send(BROKER, self._introduction())]

    def _welcome(self, message: Welcome, now: float) -> None:
        """A higher epoch voids what older ones told beyond ``start_seq``; the same one may have told it in vain."""
        if message.epoch < self.epoch:
            return
        self._listed = self._listed if message.epoch == self.epoch else 0
        self.epoch, self._start_seq = message.epoch, message.start_seq
        for source in self.sources.values():
            source.welcome(self.epoch, self._start_seq, now)

    def _leave(self, now: float) -> list[Effect]:
        if not self._connected:
            return [Stop(0, "left")]
        if self._stop_at is None:
            self._stop_at = now + FAREWELL
        return [Send(BROKER, Bye())]

    # --- the broker's orders --------------------------------------------------------------------------------------

    def _ordered(self, message: Planned | Released | Discover | Sources, now: float) -> list[Effect]:
        if message.epoch > self.epoch:  # its Welcome was lost
            return self._hello(now)
        if message.epoch < self.epoch:
            return []
        match message:
            case Sources():
                return self._sources(message, now)
            case Discover(pipeline=pipeline, run=run, lane=lane):
                for source in self.sources.values():
                    if (source.spec.pipeline, source.spec.lane) == (pipeline, lane):
                        source.discover(run, now)
            case Planned(pipeline=pipeline, source=name, lane=lane):
                planned = self.sources.get(source_key(pipeline, name, lane))
                if planned is not None:
                    planned.planned(message, now)
            case Released(pipeline=pipeline, source=name, lane=lane):
                released = self.sources.get(source_key(pipeline, name, lane))
                if released is not None:
                    released.released(message.seq, now)
        return []

    def _sources(self, message: Sources, now: float) -> list[Effect]:
        """The complete list: keep what stays, begin what is new, end what is gone or reads something else now. One that
        a newer one has overtaken would end lanes that are open."""
        if message.number < self._listed:
            return []
        self._listed = message.number
        former, self.sources = self.sources, {}
        effects: list[Effect] = []
        for spec in message.sources:
            if spec.node.read is None:
                continue
            key = source_key(spec.pipeline, spec.node.name, spec.lane)
            source = former.pop(key, None)
            if source is not None and source.read == spec.node.read:
                source.rebind(spec)
            else:
                if source is not None:
                    effects.append(source.forget())
                self._made += NUMBERS
                source = Source(spec, spec.node.read, self.incarnation, self._made)
                source.welcome(self.epoch, self._start_seq, now)
            self.sources[key] = source
        for source in self.sources.values():
            live = self.sources.get(source_key(source.spec.pipeline, source.spec.node.name, LIVE))
            source.only = live.pattern if source.backfill and live is not None else None
        return effects + [source.forget() for source in former.values()]

    # --- the driver's news ----------------------------------------------------------------------------------------

    def _heard(self, message: FileEvent | Scanned | Stated | Digested | Overflow, now: float) -> list[Effect]:
        if isinstance(message, Stated) and message.number in self._stats:
            return self._stated(message)
        source = self.sources.get(message.source)
        if source is None:
            return []
        match message:
            case FileEvent():
                source.on_event(message, now)
            case Scanned():
                source.on_scanned(message, now)
            case Stated():
                source.on_stated(message, now)
            case Digested():
                source.on_digested(message, now)
            case Overflow():
                source.on_overflow(message, now)
        return []

    # --- the CLI's questions --------------------------------------------------------------------------------------

    def _asked(self, sender: str, request: Request) -> list[Effect]:
        match request.verb:
            case "source.list":
                return [Send(sender, Reply(request.id, 0, {"items": [row(one) for one in self.sources.values()]}))]
            case "source.files":
                source = self._find(request)
                if source is None:
                    return [
                        Send(sender, Reply(request.id, 3, error="there is no such source; see `odibictl source list`"))
                    ]
                return [Send(sender, Reply(request.id, 0, show(source)))]
            case "source.why":
                return [Send(sender, self._why(request))]
            case "source.match":
                return self._match(sender, request)
            case "source.stat" if sender == BROKER:
                return self._stat(sender, request)
        unknown = f"the source actor does not know the verb {request.verb!r}"
        return [Send(sender, Reply(request.id, 2, error=unknown))]

    def _find(self, request: Request) -> Source | None:
        wanted = request.params
        return self.sources.get(
            source_key(str(wanted.get("pipeline")), str(wanted.get("source")), str(wanted.get("lane", LIVE)))
        )

    def _match(self, sender: str, request: Request) -> list[Effect]:
        """How many files that a source knows match a pattern, and which are the first and last of them."""
        source, pattern = self._find(request), request.params.get("pattern")
        if source is None:
            answer = Reply(request.id, 3, error="there is no such source")
        elif problem := mistake(pattern):
            answer = Reply(request.id, 2, error=f"source.match: {problem}")
        elif not source.scanned and not source.refused:
            if sender == BROKER:
                return []  # it asks again
            answer = Reply(request.id, 4, error=f"source {source.key} has not looked at its files yet; ask again")
        else:
            aside = request.params.get("aside", [])
            names = [one for one in aside if isinstance(one, str)] if isinstance(aside, list) else []
            answer = Reply(request.id, 0, match(source, str(pattern), names))
        return [Send(sender, answer)]

    def _stat(self, sender: str, request: Request) -> list[Effect]:
        """The broker asks how files are now that were planned, or set aside, as ``positions``: ``{"files": [position],
        "changed": [identity], "gone": [identity]}``, the second those that are not as they were planned."""
        source = self._find(request)
        positions = request.params.get("positions")
        if source is None:
            return [Send(sender, Reply(request.id, 3, error="there is no such source"))]
        try:
            asked = [Position.of(row) for row in positions[:MAX_STAT]]  # type: ignore[index]
            planned = {position.identity: stamp(position) for position in asked}
        except (TypeError, ValueError, KeyError) as error:
            return [Send(sender, Reply(request.id, 2, error=f"source.stat needs a list of positions: {error}"))]
        self._made += NUMBERS
        self._stats[self._made] = (sender, request.id, planned)
        while len(self._stats) > MAX_STATS:
            del self._stats[next(iter(self._stats))]
        return [Stat(source.key, self._made, source.read.connection.path, list(planned))]

    def _stated(self, answer: Stated) -> list[Effect]:
        sender, request, planned = self._stats.pop(answer.number)
        files = [found.position() for found in answer.files]
        changed = [now.identity for now in files if not same_stamp(planned[now.identity], stamp(now))]
        gone = [*answer.gone, *(identity for identity, _ in answer.skipped)]
        return [
            Send(sender, Reply(request, 0, {"files": [now.shown() for now in files], "changed": changed, "gone": gone}))
        ]

    def _why(self, request: Request) -> Reply:
        file = request.params.get("file")
        if not isinstance(file, str) or not file:
            return Reply(request.id, 2, error="source.why needs a file: a path, absolute or below the source's folder")
        sources = list(self.sources.values())
        items = [why(source, file) for source in sources]
        if all(item["state"] == "not_found" for item in items):
            told = [f"{source.key}: {item['reason']}" for source, item in zip(sources, items, strict=True)]
            reasons = "; ".join(told) or "there are no sources"
            return Reply(request.id, 3, {"file": file, "items": items}, f"no source knows {file}: {reasons}")
        return Reply(request.id, 0, {"file": file, "items": items})
