"""The source actor: which files exist beyond what was planned. It decides nothing about when a batch runs."""

from __future__ import annotations

from collections.abc import Callable

from odibi_actors.actor import Effect, Log, Send, Stop
from odibi_actors.errors import ConfigError
from odibi_actors.kinds.registry import source_of
from odibi_actors.kinds.source import Asking, Finder, Pushable
from odibi_actors.kinds.source import Source as Kind
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
    PlacesPage,
    Planned,
    Push,
    Refused,
    Released,
    Reply,
    Request,
    Shutdown,
    SourceProblem,
    Sources,
    SourceSpec,
    Terminate,
    Welcome,
    WhoAreYou,
)
from odibi_actors.model import LIVE, TRIGGER, Position
from odibi_actors.runtime.visible import named
from odibi_actors.streaming.effects import Answered, AsNow, Broken, Digested, FileEvent, Overflow, Scanned, Seen, Stated
from odibi_actors.streaming.ordered import Ordered
from odibi_actors.streaming.source import MAX_STAT, source_key
from odibi_actors.streaming.views import mistake

News = FileEvent | Scanned | Stated | Digested | Overflow | Seen | AsNow | Answered
"""What a driver tells of one source."""

FromStore = LedgerPage | LedgerRows | PlacesPage

FAREWELL = 1.0
"""Seconds to wait for ByeAck before stopping all the same."""

MAX_STATS = 100
"""Questions of the broker that wait for the disk; it repeats those that are dropped."""

NUMBERS = 1 << 32
"""Scans and stats a source may number; the next source of its name starts beyond."""


class SourceActor:
    """One per system. It holds a finder per read node and lane, and joins them to the broker and the store. ``kind``:
    the kind of source of a mode; raises ConfigError."""

    def __init__(self, incarnation: str, host: str, pid: int, kind: Callable[[str], Kind] = source_of) -> None:
        self.incarnation, self.host, self.pid = incarnation, host, pid
        self._kind = kind
        self.epoch = 0
        self._listed = 0  # number of the newest list of sources
        self.sources: dict[str, Finder] = {}
        self._start_seq = 0
        self._connected = False
        self._next_beat = 0.0
        self._stop_at: float | None = None
        self._made = 0
        self._stats: dict[int, tuple[str, str, str, list[Position]]] = {}  # number of a question -> who asks, and what

    def start(self, now: float) -> list[Effect]:
        """Nothing happens before the link is up."""
        return []

    def handle(self, sender: str, message: Message, now: float) -> list[Effect]:
        """React to one message; what is stale, unknown, or not for its sender to say is ignored."""
        if isinstance(message, Push):
            return self._pushed(sender, message)
        if isinstance(message, Request):
            return self._asked(sender, message)
        if sender not in ((STORE,) if isinstance(message, FromStore) else (BROKER, LOCAL)):
            return []
        match message:
            case FileEvent() | Scanned() | Stated() | Digested() | Overflow() | Seen() | AsNow() | Answered():
                return self._heard(message, now)
            case Planned() | Released() | Discover() | Sources():
                return self._ordered(message, now)
            case LedgerPage() | LedgerRows() | PlacesPage():
                self._told(message, now)
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
            case Reply():
                for source in self.sources.values():
                    if isinstance(source, Asking):
                        source.answered(message, now)
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

    # --- the store's answers --------------------------------------------------------------------------------------

    def _told(self, message: FromStore, now: float) -> None:
        """What live lanes have taken goes to backfills, who know what is theirs."""
        if not isinstance(message, LedgerRows) and message.through >= 0:
            for any_of_them in self.sources.values():
                any_of_them.told(message, now)
            return
        source = self.sources.get(source_key(message.pipeline, message.source, message.lane))
        if source is not None:
            source.told(message, now)

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
                try:
                    source = self._kind(spec.node.read.mode).finder(spec, spec.node.read, self.incarnation, self._made)
                except ConfigError as error:
                    effects += self._unknown(spec, str(error))
                    continue
                source.welcome(self.epoch, self._start_seq, now)
            self.sources[key] = source
        for source in self.sources.values():
            live = self.sources.get(source_key(source.spec.pipeline, source.spec.node.name, LIVE))
            source.follows(live.read if live is not None else None)
        for ended in former.values():
            live = self.sources.get(source_key(ended.spec.pipeline, ended.spec.node.name, LIVE))
            if live is not None and ended.spec.lane not in (LIVE, TRIGGER):
                live.backfilled()
        return effects + [source.forget() for source in former.values()]

    @staticmethod
    def _unknown(spec: SourceSpec, reason: str) -> list[Effect]:
        """Its kind is not installed here, or cannot be loaded."""
        problem = SourceProblem(spec.pipeline, spec.node.name, [reason], spec.lane)
        key = source_key(spec.pipeline, spec.node.name, spec.lane)
        return [Log("error", f"{key}: {reason}"), Send(BROKER, problem)]

    # --- the driver's news ----------------------------------------------------------------------------------------

    def _heard(self, message: News, now: float) -> list[Effect]:
        if isinstance(message, Stated | AsNow) and message.number in self._stats:
            return self._looked(message)
        source = self.sources.get(message.source)
        if source is not None:
            source.heard(message, now)
        return []

    # --- the CLI's questions --------------------------------------------------------------------------------------

    def _asked(self, sender: str, request: Request) -> list[Effect]:
        match request.verb:
            case "source.list":
                return [Send(sender, Reply(request.id, 0, {"items": [one.row() for one in self.sources.values()]}))]
            case "source.files":
                source = self._find(request)
                if source is None:
                    return [
                        Send(sender, Reply(request.id, 3, error="there is no such source; see `odibictl source list`"))
                    ]
                return [Send(sender, Reply(request.id, 0, source.show()))]
            case "source.why":
                return [Send(sender, self._why(request))]
            case "source.match":
                return self._match(sender, request)
            case "source.stat" if sender == BROKER:
                return self._stat(sender, request)
            case "event.schema":
                return self._schema(sender, request)
        unknown = f"the source actor does not know the verb {request.verb!r}"
        return [Send(sender, Reply(request.id, 2, error=unknown))]

    def _schema(self, sender: str, request: Request) -> list[Effect]:
        """What may be pushed to a source: ``{"schema": {column: type}, "optional": [column], "columns": [column],
        "ignore": [column]}``."""
        source = self._pushable(request.id, str(request.params.get("pipeline")), str(request.params.get("source")))
        if isinstance(source, Reply):
            return [Send(sender, source)]
        read = self.sources[source.key].read
        told = {name: getattr(read, name) for name in ("schema", "optional", "columns", "ignore")}
        return [Send(sender, Reply(request.id, 0, told))]

    def _pushed(self, sender: str, push: Push) -> list[Effect]:
        """Rows for a source: answered when they are durable."""
        source = self._pushable(push.id, push.pipeline, push.source)
        return [Send(sender, source)] if isinstance(source, Reply) else source.push(sender, push)

    def _pushable(self, request: str, pipeline: str, name: str) -> Pushable | Reply:
        """The live source of that name, or why it is not pushed to."""
        source = self.sources.get(source_key(pipeline, name, LIVE))
        if source is None:
            return Reply(request, 3, error="there is no such source; see `odibictl source list`")
        if not isinstance(source, Pushable):
            no = f"{source.key} is read by mode {source.read.mode}: only one of mode event is pushed to"
            return Reply(request, 4, error=no)
        return source

    def _find(self, request: Request) -> Finder | None:
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
            answer = Reply(request.id, 0, source.match(str(pattern), names))
        return [Send(sender, answer)]

    def _stat(self, sender: str, request: Request) -> list[Effect]:
        """The broker asks how ``positions`` are now that were planned, or set aside: ``{"files": [position], "changed":
        [identity], "gone": [identity]}``, the second those that are not as they were planned. Of what is read in order
        also ``ranges``, (identity, partition, lower, upper) with places in hex digits, and ``reasons``, why one is
        gone, by identity."""
        source = self._find(request)
        positions = request.params.get("positions")
        if source is None:
            return [Send(sender, Reply(request.id, 3, error="there is no such source"))]
        try:
            asked = [Position.of(row) for row in positions[:MAX_STAT]]  # type: ignore[index]
        except (TypeError, ValueError, KeyError) as error:
            return [Send(sender, Reply(request.id, 2, error=f"source.stat needs a list of positions: {error}"))]
        self._made += NUMBERS
        self._stats[self._made] = (sender, request.id, source.key, asked)
        while len(self._stats) > MAX_STATS:
            del self._stats[next(iter(self._stats))]
        return [source.look(self._made, asked)]

    def _looked(self, answer: Stated | AsNow) -> list[Effect]:
        sender, request, key, asked = self._stats.pop(answer.number)
        source = self.sources.get(key)
        found = source.looked(answer, asked) if source is not None else None
        return [] if found is None else [Send(sender, Reply(request, 0, found))]  # it asks again

    def _why(self, request: Request) -> Reply:
        file = request.params.get("file")
        if not isinstance(file, str) or not file:
            return Reply(request.id, 2, error="source.why needs a file: a path, absolute or below the source's folder")
        asked = [(source, source.why(file)) for source in self.sources.values()]
        told = [(source, item) for source, item in asked if item is not None]
        items = [item for _, item in told]
        if all(item["state"] == "not_found" for item in items):
            reasons = [f"{source.key}: {item['reason']}" for source, item in told]
            for source, item in asked:
                meant = not told or file == f"{source.spec.pipeline}.{source.spec.node.name}"
                if item is None and meant and isinstance(source, Ordered):
                    reasons.append(f"{source.key} reads no files, but {source.takes()}")
            why = "; ".join(reasons) or "there is no source"
            return Reply(request.id, 3, {"file": file, "items": items}, f"no source knows {named(file)}: {why}")
        return Reply(request.id, 0, {"file": file, "items": items})
