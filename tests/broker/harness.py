"""A broker with hand-made peers: tests say what the store, the source and the pool answer."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any, TypeVar

from odibi_actors.actor import Effect, Send
from odibi_actors.broker.coordinator import Coordinator
from odibi_actors.broker.flow import Flow
from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.config.model import (
    BatchSpec,
    ConnectionSpec,
    NodeSpec,
    PipelineSpec,
    ProjectSpec,
    ReadSpec,
    RetrySpec,
    TransformSpec,
    WriteSpec,
)
from odibi_actors.messages import (
    BROKER,
    LOCAL,
    SOURCE,
    STORE,
    AppendRecords,
    Apply,
    Claim,
    Claimed,
    Durable,
    Hello,
    Load,
    LoadedPage,
    Message,
    NodeDone,
    NodeFailed,
    Offer,
    PoolHello,
    PublishDone,
    PublishTask,
    Reply,
    Request,
    Results,
    StoreHello,
    Task,
    Tasks,
    Tick,
    WorkerInfo,
)
from odibi_actors.model import PIN, Attempt, BatchRef, Failure, Position, node_key, pin_digest
from odibi_actors.sources.file_position import file_position
from tests.targets import file_part, folder

POOL = "pool-0"
CLIENT = "client-t"
M = TypeVar("M")


def pipeline(**more: Any) -> PipelineSpec:
    """read -> t -> (a, b): one source, one transform, two sinks."""
    landing = ConnectionSpec("landing", "local", "/landing")
    lake = ConnectionSpec("lake", "local", "/lake")
    retry = RetrySpec(max_attempts=2, initial=1.0, jitter=0.0)
    nodes = [
        NodeSpec("read", read=ReadSpec(landing, "csv", "file_watch"), retry=retry),
        NodeSpec("t", ["read"], transform=TransformSpec(function="nodes.m:f"), retry=retry),
        NodeSpec("a", ["t"], write=WriteSpec(lake, path="a", format="parquet"), retry=retry),
        NodeSpec("b", ["t"], write=WriteSpec(lake, path="b", format="parquet"), retry=retry),
    ]
    settings: dict[str, Any] = {"batch": BatchSpec(max_files=1), "max_in_flight": 2, **more}
    return PipelineSpec("p", nodes, **settings)


def project(spec: PipelineSpec | None = None) -> ProjectSpec:
    return ProjectSpec("test", "/", "/data", 2, [spec or pipeline()], code_digest="code")


def position(name: str, size: int = 10) -> Position:
    return file_position(name, size, 1, 1)


class Broker:
    """The actor and what it sent, by recipient. ``records`` is what the store got; it answers by ``durable()``."""

    def __init__(self, spec: PipelineSpec | None = None, recover: bool = False) -> None:
        self.now = 1000.0
        self.actor = Coordinator(None if recover else project(spec), "b1", random.Random(1))
        self.sent: list[tuple[str, Message]] = []
        self.effects: list[Effect] = []
        self.records: list[rec.AnyRecord] = []
        self.epoch = 0
        self.asked = 0  # requests of the client; each has its number as id
        self.files: dict[str, Position | None] = {}  # how files are now that are not as planned; None: gone

    @property
    def flow(self) -> Flow:
        assert self.actor.flow is not None
        return self.actor.flow

    def say(self, sender: str, message: Message) -> None:
        self._carry_out(self.actor.handle(sender, message, self.now))
        self._carry_out(self.actor.flush(self.now))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            self.effects.append(effect)
            if isinstance(effect, Send):
                self.sent.append((effect.to, effect.message))
                if isinstance(effect.message, AppendRecords):
                    self.records += effect.message.records

    def take(self, kind: type[M], to: str | None = None) -> list[M]:
        """Messages of a kind sent since they were last taken."""
        found = [m for t, m in self.sent if isinstance(m, kind) and to in (None, t)]
        self.sent = [(t, m) for t, m in self.sent if not (isinstance(m, kind) and to in (None, t))]
        return found

    def of(self, kind: type[M]) -> list[M]:
        """Records of a kind written so far."""
        return [r for r in self.records if isinstance(r, kind)]

    def start(self, items: list[rec.AnyLoaded] | None = None, epoch: int = 1, last_seq: int = 0) -> Broker:
        """Join with a store that holds ``items``, a source and a pool of two workers."""
        self.epoch = epoch
        self._carry_out(self.actor.start(self.now))
        self.say(STORE, StoreHello("s1", "host", 1, "store", epoch - 1, last_seq))
        (claim,) = self.take(Claim)
        assert claim.expected == epoch - 1
        self.say(STORE, Claimed(epoch, last_seq, claim.claimant))
        (load,) = self.take(Load)
        self.say(STORE, LoadedPage(epoch, items or [], "", load.cursor))
        self.say(SOURCE, Hello("source", "f1", "host", 2))
        self.pool_joins()
        return self

    def pool_joins(self, incarnation: str = "w1", **more: Any) -> None:
        workers = [WorkerInfo(f"w{i}", 100 + i, "idle") for i in range(2)]
        hello: dict[str, Any] = {"held": [], "finished": [], "spool": [], **more}
        self.say(POOL, PoolHello(incarnation, "host", 3, 2, "code", self.epoch, workers, **hello))

    def know(self, **schemas: bytes) -> None:
        """These sources are pinned."""
        for name, schema in schemas.items():
            self.flow.pipelines["p"].pins.put(rec.Schema("p", name, schema, []))

    def durable(self) -> None:
        """The store has everything."""
        self.say(STORE, Durable(self.epoch, self.flow.journal.last))

    def offer(self, *names: str, seq: int | None = None, **more: Any) -> None:
        at = self.flow.pipelines["p"].sources["read"].seq if seq is None else seq
        positions = [position(name) for name in names]
        self.say(SOURCE, Offer(self.epoch, "f1", "p", "read", at, positions, **more))

    def tasks(self) -> list[Task]:
        return [t for m in self.take(Tasks) for t in m.tasks if isinstance(t, Task)]

    def publications(self) -> list[PublishTask]:
        return [t for m in self.take(Tasks) for t in m.tasks if isinstance(t, PublishTask)]

    def results(self, *results: Any) -> None:
        self.say(POOL, Results(self.epoch, list(results)))

    def finish(self, task: Task, salt: str = "") -> None:
        """Run a whole task."""
        self.results(*self.run(task, salt))

    def run(self, task: Task, salt: str = "") -> list[NodeDone]:
        """What a worker would answer."""
        digests = {name: ref.digest for name, ref in task.inputs.items()}
        done = []
        for step in task.steps:
            node = step.node
            inputs = {name: digests[name] for name in node.inputs}
            digests[node.name] = f"{task.iteration}-{node.name}{salt}"
            schema = b"schema" if node.read and not step.schema else b""
            if node.read is not None and (pin := pin_digest(schema or step.schema)):
                inputs[PIN] = pin
            ref = BatchRef(rows=1, size=1, digest=digests[node.name], path="x")
            at = node.write.target if node.write is not None else folder(f"/{task.pipeline}/{node.name}")
            published = f"{at}/part-{task.iteration}"
            part = file_part(f"{node.name}.{task.attempt}.staged", published, 1, 1, digests[node.name])
            done.append(
                NodeDone(
                    task.attempt,
                    task.pipeline,
                    task.iteration,
                    node.name,
                    node_key(step.static, inputs),
                    self.now,
                    0.1,
                    1,
                    1,
                    "w0",
                    output=None if node.write else ref,
                    staged=part if node.write else None,
                    schema=schema,
                    last=step is task.steps[-1],
                )
            )
        return done

    def fail(self, task: Task | PublishTask, node: str, failure: Failure) -> None:
        self.results(NodeFailed(task.attempt, task.pipeline, task.iteration, node, failure, self.now, 0.1, "w0"))

    def published(self, task: PublishTask) -> None:
        self.results(PublishDone(task.attempt, task.pipeline, task.iteration, task.node.name, "w0"))

    def ask(self, verb: str, **params: Any) -> Reply | None:
        self.say(CLIENT, Hello("client", "c1", "host", 9))
        self.asked += 1
        self.say(CLIENT, Request(str(self.asked), verb, params))
        if "run" in params and verb in ("pipeline.trigger", "pipeline.backfill"):
            self.store_answers()
        if verb == "iteration.retry" or params.get("retry"):
            self.source_answers()
        replies = self.replies()
        return replies[0] if replies else None

    def source_answers(self) -> None:
        """The source says how planned files are now."""
        planned = {p.identity: p for plan in self.of(rec.Plan) for some in plan.positions.values() for p in some}
        for request in self.take(Request, to=SOURCE):
            names = [row["identity"] for row in request.params["positions"]]
            found = [now for name in names if (now := self.files.get(name, planned.get(name))) is not None]
            told = {
                "files": [now.shown() for now in found],
                "changed": [now.identity for now in found if now != planned[now.identity]],
                "gone": [name for name in names if name in self.files and self.files[name] is None],
            }
            self.say(SOURCE, Reply(request.id, 0, told))

    def store_answers(self) -> None:
        """The store has everything, and says which runs it knows when the broker asks for one, and how iterations
        ended."""
        if not any(isinstance(m, Request) and m.verb in ("run.show", "iteration.ended") for _, m in self.sent):
            self.durable()
        for to, message in list(self.sent):
            if isinstance(message, Request) and message.verb == "run.show":
                self.sent.remove((to, message))
                known = [r for r in self.of(rec.Run) if r.run == message.params["run"]]
                row = {"run": known[0].run, "pipeline": known[0].pipeline} if known else None
                self.say(STORE, Reply(message.id, 0 if known else 3, row, "" if known else "there is no such run"))
            if isinstance(message, Request) and message.verb == "iteration.ended":
                self.sent.remove((to, message))
                self.say(STORE, Reply(message.id, 0, self.engine_says(message.params)))

    def engine_says(self, params: dict[str, Any]) -> Any:
        """What the real tables say of ``iteration.ended``, once they have the records that were written so far."""
        with tempfile.TemporaryDirectory() as folder:
            engine = Engine(Path(folder) / "checkpoints.db")
            engine.claim(0, "b1")
            engine.apply(1, 1, self.records)
            try:
                return engine.answer("iteration.ended", params)
            finally:
                engine.close()

    def apply(self, spec: PipelineSpec) -> Reply:
        """``odibictl apply`` of this configuration."""
        self.say(CLIENT, Hello("client", "c1", "host", 9))
        self.say(CLIENT, Apply("2", project(spec)))
        (reply,) = self.replies()
        return reply

    def replies(self) -> list[Reply]:
        """Answers, those included that the client gets once what was done is durable."""
        promised = [send.message for _, send in self.actor._promised if isinstance(send, Send)]
        self.actor._promised.clear()
        return self.take(Reply) + [reply for reply in promised if isinstance(reply, Reply)]

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.say(LOCAL, Tick())

    def compute(self) -> None:
        """Let the pool finish every task there is, until none is left."""
        while tasks := self.tasks():
            for task in tasks:
                self.finish(task)


__all__ = ["BROKER", "Attempt", "Broker", "Failure", "pipeline", "position", "project"]
