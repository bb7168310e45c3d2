"""The broker's actor: joins with the store, recovers, and hands each message to the room it belongs to."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Literal

from odibi_actors.actor import Effect, Log, Send, Stop
from odibi_actors.broker import adopting, alerts, reads, results
from odibi_actors.broker.commands import Commands, checked, scale_host
from odibi_actors.broker.directory import Directory, Peer
from odibi_actors.broker.dispatch import Pool
from odibi_actors.broker.flow import Flow
from odibi_actors.broker.joining import RESTART, Joining
from odibi_actors.broker.recovery import apply_project, check_project, would_change
from odibi_actors.broker.stopping import Stopping
from odibi_actors.broker.versions import AnyHello, understood
from odibi_actors.broker.views import source_specs
from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.records import WORKERS
from odibi_actors.config.model import ProjectSpec
from odibi_actors.errors import ConfigError, ConflictError, OdibiError
from odibi_actors.messages import (
    ONE_VERSION,
    PROTOCOL,
    SCHEDULER,
    SOURCE,
    STORE,
    Apply,
    Bye,
    ByeAck,
    Claimed,
    ClaimRefused,
    Due,
    Durable,
    Fenced,
    Heartbeat,
    Hello,
    LoadedPage,
    Message,
    Noticed,
    Offer,
    PoolHello,
    RecordRefused,
    Refused,
    Reply,
    Request,
    ResendFrom,
    Results,
    SameBytes,
    Shutdown,
    SourceProblem,
    Sources,
    SourceSpec,
    StoreHello,
    Terminate,
    Tick,
    Welcome,
    WhoAreYou,
)
from odibi_actors.model import TRIGGER
from odibi_actors.pending import interrupted
from odibi_actors.units import plural
from odibi_actors.version import __version__

if TYPE_CHECKING:
    import random  # only the type: the generator is injected

HOUSEKEEPING = 1.0
"""Seconds between looks at silent pools and unanswered questions."""

MAX_EARLY = 1000
"""Hellos and requests kept until the broker has recovered; more are dropped, and said again by their senders."""

MAX_EARLY_APPLY = 16
"""So many are kept before one of them is a project: those are large."""

MAX_WAITING = 256
"""Requests that wait for something to come true; each is looked at after every change."""

MAX_ANSWERED = 256
"""Answers to requests that waited which are kept: whoever asks again while the answer is on its way gets the same."""

MAX_PROMISED = 10_000
"""Answers that wait for the store; whoever gets none asks again."""

READS = frozenset({"status", "run.wait", "iteration.wait", "worker.list", "backfill.list"}) | frozenset(
    f"{noun}.{verb}" for noun in ("pipeline", "schedule") for verb in ("list", "show")
)
"""Verbs that change nothing, or wait for what is durable themselves."""

CLIENT_FORGOTTEN = 60.0
"""Seconds of silence after which a client is taken for gone (clients repeat what they wait for every 2 s)."""


class Coordinator:
    """The broker. ``project`` None: go on with the versions in the store (a restart after a crash); else its pipelines
    become the newest versions. ``manual``: iterations are planned within runs only."""

    def __init__(
        self,
        project: ProjectSpec | None,
        incarnation: str,
        rng: random.Random,
        manual: bool = False,
        me: Peer | None = None,
    ) -> None:
        self._project = project
        self._manual = manual
        self._phase: Literal["joining", "active", "stopping"] = "joining"
        self._joining = Joining(incarnation, rng)
        self._commands: Commands | None = None
        self._directory = Directory(me)
        self._early: list[tuple[str, Message]] = []
        self._waiting: dict[tuple[str, str], Request] = {}
        self._answered: dict[tuple[str, str], Reply] = {}  # oldest first
        self._promised: deque[tuple[int, Send]] = deque(maxlen=MAX_PROMISED)  # (record that must be durable, answer)
        self._sources: list[SourceSpec] = []
        self._told_shape = -1  # what of the flow the source was told
        self._stopping: Stopping | None = None
        self._housekeeping_at = 0.0
        self._started_at = 0.0

    @property
    def flow(self) -> Flow | None:
        """The protocol's state, once it is loaded."""
        return self._flow

    @property
    def _flow(self) -> Flow | None:
        return self._joining.flow if self._joining.phase == "joined" else None

    # --- the actor's face -----------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Nothing is done before the store has spoken."""
        self._started_at = now
        self._housekeeping_at = now + HOUSEKEEPING
        return [Log("info", "waiting for the checkpoint store")]

    def deadline(self) -> float | None:
        """When Tick is wanted."""
        times = [self._housekeeping_at]
        if self._flow is not None and self._phase == "active":
            due = self._flow.deadline()
            if due is not None:
                times.append(due)
        if self._stopping is not None:
            times.append(self._stopping.deadline)
        return min(times)

    def handle(self, sender: str, message: Message, now: float) -> list[Effect]:
        """React to one message; what does not fit the phase is ignored, its sender will repeat it."""
        if isinstance(message, Hello | StoreHello | PoolHello) and self._directory.is_stale(
            sender, message.incarnation
        ):
            return []
        if isinstance(message, Hello | StoreHello | PoolHello):
            if not understood(message):
                return self._refuse(sender, message, now)
        elif sender in self._directory.refused and not isinstance(message, Bye):
            return []
        known = self._directory.heard(sender, now)
        match message:
            case Tick():
                return self._tick(now)
            case Terminate():
                return self._terminate(message, now)
            case StoreHello():
                return self._store_hello(sender, message, now)
            case Claimed() | ClaimRefused() | LoadedPage() if sender == STORE:
                return self._store_answers(message, now)
            case Fenced() if sender == STORE:
                return self._fenced(message)
            case Bye():
                return self._bye(sender)
        if self._phase == "joining":
            return self._wait(sender, message)
        match message:
            case Hello():
                return self._hello(sender, message, now)
            case PoolHello():
                return self._pool_hello(sender, message, now)
            case Request() | Apply():
                return self._request(sender, message, now)
        return self._work(sender, message, now) if known else [Send(sender, WhoAreYou())]

    def _wait(self, sender: str, message: Message) -> list[Effect]:
        """Not ready yet: Hellos and requests are kept for when it is; whatever else is said will be said again."""
        if isinstance(message, Request | Apply) and STORE in self._directory.refused:
            return self._storeless(sender, message)
        kept = MAX_EARLY_APPLY if isinstance(message, Apply) else MAX_EARLY
        if isinstance(message, Hello | PoolHello | Request | Apply) and len(self._early) < kept:
            self._early.append((sender, message))
        if isinstance(message, Hello) and message.role == "client":
            # A person waits there: say that somebody is here.
            return [Send(sender, Welcome(epoch=0, start_seq=0, store_id=""))]
        return []

    def _refuse(self, sender: str, hello: AnyHello, now: float) -> list[Effect]:
        """What it says next is not understood, or misunderstood: it is as good as gone."""
        if self._flow is not None:
            self._flow.pool_lost(sender)
        self._directory.leave(sender)
        reason = self._directory.refused.refuse(sender, hello, now)
        effects: list[Effect] = [Send(sender, Refused(reason=reason, final=True)), Log("error", reason)]
        if sender == STORE and self._phase == "joining":
            early, self._early = self._early, []
            for name, message in early:
                effects += self._wait(name, message)
        return effects

    def _storeless(self, sender: str, request: Request | Apply) -> list[Effect]:
        """The store was refused, so nothing is ever known: say so, and end when that is wanted."""
        if isinstance(request, Request) and request.verb == "shutdown":
            told: list[Effect] = [Send(name, Shutdown()) for name in self._directory.refused]
            return [*told, Send(sender, Reply(id=request.id, status=0, result={})), Stop(0, "stopped")]
        problem = self._directory.refused.problem(STORE)
        return [Send(sender, Reply(id=request.id, status=ConflictError.exit_code, error=problem))]

    def _fenced(self, message: Fenced) -> list[Effect]:
        flow = self._joining.flow
        if flow is None or message.epoch == flow.epoch:
            return []
        return [Stop(RESTART, f"fenced: epoch {message.epoch} rules, this broker had {flow.epoch}")]

    def flush(self, now: float) -> list[Effect]:
        """Take every step that has become possible."""
        flow = self._flow
        if flow is None or self._phase == "joining":
            return []
        effects = self._tell_sources()  # before anything that asks the sources for something
        effects += flow.advance(now)
        if self._directory.get(SCHEDULER) is not None:
            effects += flow.schedules.flush(now)
        if self._waiting:
            effects += self._answer_waiting(flow, now)
            effects += self._tell_sources()
            effects += flow.advance(now)  # one that got further may have asked, or planned, something
        effects += self._keep_promises(flow)
        if self._stopping is not None:
            effects += self._stopping.step(now)
        return effects

    # --- joining --------------------------------------------------------------------------------------------------

    def _store_hello(self, sender: str, hello: StoreHello, now: float) -> list[Effect]:
        if sender != STORE:
            return [Send(sender, Refused(reason="only the checkpoint store may say that"))]
        self._directory.join(Peer(STORE, "store", hello.incarnation, hello.host, hello.pid, now, hello.version))
        effects = self._joining.hello(hello, now)
        if self._phase != "joining":
            effects.append(Send(STORE, self._welcome()))
        return effects

    def _store_answers(self, message: Claimed | ClaimRefused | LoadedPage, now: float) -> list[Effect]:
        effects = self._joining.answer(message, now)
        if self._phase == "joining" and self._joining.phase == "joined":
            effects += self._activate(now)
        return effects

    def _activate(self, now: float) -> list[Effect]:
        flow = self._flow
        assert flow is not None
        self._phase = "active"
        if self._project is not None:
            flow.describe_project(self._project)
            # A deliberate start: what an operator scaled by hand ends with ``down``.
            for host in flow.workers:
                flow.journal.append(rec.Setting(scope=WORKERS, name=host, value=""))
            flow.workers.clear()
            try:
                apply_project(flow, self._project, now)
            except OdibiError as error:
                kind = ConflictError if isinstance(error, ConflictError) else ConfigError
                return [Stop(kind.exit_code, str(error))]
        for pipeline in flow.pipelines.values():
            pipeline.manual = self._manual
        left = plural(sum(p.in_flight for p in flow.pipelines.values()), "unfinished iteration")
        effects: list[Effect] = [
            Send(STORE, self._welcome()),
            Log("info", f"epoch {flow.epoch}: {plural(len(flow.pipelines), 'pipeline')}, {left}"),
        ]
        half = [pipeline.name for pipeline in flow.pipelines.values() if pipeline.resetting and not self._manual]
        effects += [Log("warning", interrupted(name), about=name) for name in half]
        self._commands = Commands(flow, self._directory, self._started_at)
        early, self._early = self._early, []
        for sender, message in early:
            effects += self.handle(sender, message, now)
        return effects

    def _welcome(self) -> Welcome:
        assert self._flow is not None
        return Welcome(epoch=self._flow.epoch, start_seq=self._flow.start_seq, store_id=self._flow.store_id)

    # --- peers ----------------------------------------------------------------------------------------------------

    def _hello(self, sender: str, hello: Hello, now: float) -> list[Effect]:
        peer = Peer(sender, hello.role, hello.incarnation, hello.host, hello.pid, now, hello.version)
        new = self._directory.join(peer)
        effects: list[Effect] = [Send(sender, self._welcome())]
        if hello.role == "source" and sender == SOURCE and self._flow is not None:
            if new:
                self._forget_offers(self._flow)
            self._sources, self._told_shape = [], -1  # tell it again, whatever it was told before
        if hello.role == "scheduler" and sender == SCHEDULER and self._flow is not None and new:
            self._flow.schedules.scheduler_came(now)
        return effects

    def _forget_offers(self, flow: Flow) -> None:
        for pipeline in flow.pipelines.values():
            for lane in pipeline.lanes:
                for source in lane.sources.values():
                    source.forget_offer()
            for schedule in flow.schedules.of(pipeline.name):
                if schedule.source is not None:
                    schedule.source.forget_offer()

    def _pool_hello(self, sender: str, hello: PoolHello, now: float) -> list[Effect]:
        flow = self._flow
        store = self._joining.store
        assert flow is not None
        if store is not None and hello.host != store.host:
            reason = (
                f"pool {sender} is on host {hello.host!r}, the data directory on {store.host!r}: pools on other hosts "
                "are not available in this version"
            )
            return [Send(sender, Refused(reason=reason)), Log("error", reason)]
        self._directory.join(Peer(sender, "pool", hello.incarnation, hello.host, hello.pid, now, hello.version))
        pool = flow.dispatcher.pools.get(sender)
        if pool is None or pool.incarnation != hello.incarnation:
            flow.pool_lost(sender)
            pool = flow.dispatcher.pools[sender] = Pool(sender, hello, now)
        pool.seen, pool.capacity, pool.workers, pool.draining = now, hello.capacity, hello.workers, hello.draining
        pool.problems = hello.problems
        for done in hello.finished:
            results.take(flow, sender, done, now)
        for held in hello.held:
            if held.attempt not in pool.outstanding and not flow.adopt(pool, held, now):
                flow.dispatcher.drop_at(pool, held.attempt)
        for name, number in hello.spool:
            pipeline = flow.pipelines.get(name)
            if pipeline is not None and flow.releasable(pipeline, number):
                flow.dispatcher.release(name, number)
        scale_host(flow, hello.host)
        return [Send(sender, self._welcome()), Send(sender, flow.worker_limits())]

    def _bye(self, sender: str) -> list[Effect]:
        if self._flow is not None:
            self._flow.pool_lost(sender)
        self._directory.leave(sender)
        return [Send(sender, ByeAck())]

    def _tell_sources(self) -> list[Effect]:
        """Send the list of sources when it is not what the source actor was last told."""
        if self._flow is None or self._directory.get(SOURCE) is None or self._told_shape == self._flow.shape:
            return []
        self._told_shape = self._flow.shape
        specs = source_specs(self._flow)
        if specs == self._sources:
            return []
        self._sources = specs
        return [Send(SOURCE, Sources(epoch=self._flow.epoch, sources=specs, number=self._told_shape))]

    # --- work -----------------------------------------------------------------------------------------------------

    def _work(self, sender: str, message: Message, now: float) -> list[Effect]:
        flow = self._flow
        assert flow is not None
        match message:
            case Durable() if sender == STORE and message.epoch == flow.epoch:
                flow.durable(message.through)
            case ResendFrom() if sender == STORE and message.epoch == flow.epoch:
                flow.journal.rewind(message.seq)  # one that asks for what is durable by now is late: ignored
            case RecordRefused() if sender == STORE and message.epoch == flow.epoch:
                return [Stop(RESTART, f"the store refused record {message.seq}: {message.reason}")]
            case Due() if sender == SCHEDULER:
                flow.schedules.due(message, now)
            case Noticed() if sender == SCHEDULER and message.epoch == flow.epoch:
                alerts.answered(flow, message, now)
            case Offer() if sender == SOURCE:
                peer = self._directory.get(SOURCE)
                if peer is not None and peer.incarnation == message.incarnation:
                    flow.on_offer(message, now)
            case SameBytes() if sender == SOURCE and message.epoch == flow.epoch:
                reads.same(flow, message)
            case SourceProblem() if sender == SOURCE:
                self._source_problem(flow, message)
            case Results():
                self._results(flow, sender, message, now)
            case Heartbeat():
                return self._heartbeat(flow, sender, message, now)
            case Reply():
                flow.asks.answered(sender, message)
        return []

    def _source_problem(self, flow: Flow, message: SourceProblem) -> None:
        pipeline = flow.pipelines.get(message.pipeline)
        lane = pipeline.lane(message.lane) if pipeline is not None else None
        source = lane.sources.get(message.source) if lane is not None else None
        if message.lane == TRIGGER:
            source = flow.schedules.source(message.pipeline, message.source)
        if source is not None:
            source.problems = message.problems

    def _results(self, flow: Flow, sender: str, message: Results, now: float) -> None:
        pool = flow.dispatcher.pools.get(sender)
        if pool is None or message.epoch != flow.epoch:
            return
        pool.seen = now
        for result in message.results:
            results.take(flow, sender, result, now)

    def _heartbeat(self, flow: Flow, sender: str, message: Heartbeat, now: float) -> list[Effect]:
        peer = self._directory.get(sender)
        if peer is None or message.epoch != flow.epoch:
            return [Send(sender, WhoAreYou())]
        if sender == SCHEDULER:
            flow.schedules.heartbeat(message.version, message.wall, now)
        if peer.role != "pool":
            return []
        pool = flow.dispatcher.pools.get(sender)
        if pool is None:
            return [Send(sender, WhoAreYou())]
        pool.seen, pool.workers, pool.problems = now, message.workers, message.problems
        for attempt in flow.dispatcher.heard(pool, message.held, now):
            flow.requeue(attempt)
        return []

    def _apply(self, flow: Flow, request: Apply, now: float) -> dict[str, object]:
        adopt = request.adopt
        passed = [adopting.check(flow, request.project, one) for one in adopt]
        if request.dry_run:
            check_project(flow, request.project, adopt)
            return {"adopted": passed}
        rows = apply_project(flow, request.project, now, adopt)
        self._project = request.project
        flow.describe_project(request.project)
        passed = adopting.carry_out(flow, adopt, passed, now)
        return {"items": rows, "adopted": passed} if adopt else {"items": rows}

    # --- requests -------------------------------------------------------------------------------------------------

    def _request(self, sender: str, request: Request | Apply, now: float) -> list[Effect]:
        flow, commands = self._flow, self._commands
        if flow is None or commands is None or self._is_promised(sender, request):
            return []
        try:
            if isinstance(request, Apply):
                if request.protocol != PROTOCOL:
                    theirs, ours = f"protocol {request.protocol}", f"version {__version__}, protocol {PROTOCOL}"
                    raise ConflictError(f"this odibictl has {theirs}, the system {ours}: {ONE_VERSION}")
                if request.dry_run and not request.adopt:
                    rows = would_change(flow, request.project)
                    return [Send(sender, Reply(id=request.id, status=0, result={"items": rows}))]
                return self._tell(flow, sender, Reply(id=request.id, status=0, result=self._apply(flow, request, now)))
            if request.verb == "shutdown":
                reply = Send(sender, Reply(id=request.id, status=0, result={}))
                return [reply, *(self._stop(now, told=True) if self._stopping is None else [])]
            if (sender, request.id) in self._answered:
                return self._tell(flow, sender, self._answered[sender, request.id])
            former = self._waiting.get((sender, request.id))
            if former is not None:
                commands.look(former.params)
                return []
            result = commands.run(request.verb, checked(request.verb, request.params), now)
        except OdibiError as error:
            return [Send(sender, Reply(id=request.id, status=error.exit_code, error=str(error)))]
        if result is None and len(self._waiting) >= MAX_WAITING:
            full = f"{MAX_WAITING} requests wait for something already; ask again later"
            return [Send(sender, Reply(id=request.id, status=ConflictError.exit_code, error=full))]
        if result is None:
            self._waiting[(sender, request.id)] = request
            return []
        answer = Reply(id=request.id, status=0, result=result)
        return [Send(sender, answer)] if request.verb in READS else self._tell(flow, sender, answer)

    def _tell(self, flow: Flow, to: str, reply: Reply) -> list[Effect]:
        """Answer once what was done is durable: a crash must not undo what somebody was told."""
        send = Send(to, reply)
        if flow.journal.durable >= flow.journal.last:
            return [send]
        self._promised.append((flow.journal.last, send))
        return []

    def _is_promised(self, sender: str, request: Request | Apply) -> bool:
        """It is done already, and is asked again only because the answer waits for the store."""
        return any(
            send.to == sender and isinstance(send.message, Reply) and send.message.id == request.id
            for _, send in self._promised
        )

    def _keep_promises(self, flow: Flow) -> list[Effect]:
        kept: list[Effect] = []
        while self._promised and self._promised[0][0] <= flow.journal.durable:
            kept.append(self._promised.popleft()[1])
        return kept

    def _answer_waiting(self, flow: Flow, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for key, request in list(self._waiting.items()):
            if self._commands is None or self._directory.get(key[0]) is None:
                del self._waiting[key]
                continue
            result: dict[str, Any] | None = None
            try:
                result = self._commands.run(request.verb, request.params, now)
                reply = Reply(id=request.id, status=0, result=result)
            except OdibiError as error:
                reply = Reply(id=request.id, status=error.exit_code, error=str(error))
            if result is not None or reply.status:
                del self._waiting[key]
                self._answered[key] = reply
                while len(self._answered) > MAX_ANSWERED:
                    del self._answered[next(iter(self._answered))]
                at_once = reply.status or request.verb in READS
                effects += [Send(key[0], reply)] if at_once else self._tell(flow, key[0], reply)
        return effects

    # --- time and the end -----------------------------------------------------------------------------------------

    def _tick(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if now >= self._housekeeping_at:
            self._housekeeping_at = now + HOUSEKEEPING
            effects += self._joining.remind(now)
            if self._flow is not None:
                journal = self._flow.journal
                if not journal.backlog or journal.durable != self._flow.stalled[0] or not self._flow.stalled[1]:
                    self._flow.stalled = (journal.durable, now)
                silent = self._flow.dispatcher.silent(now)
                elsewhere = len(silent) < len(self._flow.dispatcher.pools)
                for name in silent:
                    self._flow.pool_lost(name)
                    self._directory.leave(name)
                    where = "run elsewhere" if elsewhere else "run once a pool is heard again"
                    effects.append(Log("warning", f"{name} is silent: its tasks {where}"))
            for peer in self._directory:
                if peer.role == "client" and now - peer.seen > CLIENT_FORGOTTEN:
                    self._directory.leave(peer.name)
        return effects

    def _stop(self, now: float, told: bool) -> list[Effect]:
        assert self._flow is not None
        self._phase = "stopping"
        self._stopping = Stopping(self._flow, self._directory, now, told)
        return self._stopping.begin()

    def _terminate(self, message: Terminate, now: float) -> list[Effect]:
        if message.at_once or self._flow is None:
            return [Stop(0, "terminated")]
        if self._stopping is not None:
            self._stopping.signalled(now)
            return []
        return self._stop(now, told=False)
