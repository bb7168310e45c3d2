"""What is fuzzed: each target takes any bytes and raises only when a promise is broken."""

from __future__ import annotations

import atexit
import contextlib
import io
import math
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from odibi_actors import messages as m
from odibi_actors import units
from odibi_actors.actor import Effect, Send, Stop
from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint import snapshot, tables
from odibi_actors.checkpoint.schema import seal, unseal
from odibi_actors.errors import ConfigError, OdibiError, ProtocolError, StoreError
from odibi_actors.runtime import wire
from tests.fuzz import samples

CLIENT, STRANGER = "client-t", "pool-9"


def _folder() -> Path:
    """A folder in memory where there is one, gone when this process ends."""
    path = Path(tempfile.mkdtemp(prefix="odibi-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@dataclass(frozen=True)
class Target:
    """``run`` raises when a promise is broken; ``seeds`` are where mutations begin; ``words`` are pieces of the
    format, for formats that are text; ``head`` bytes stand before the msgpack, for those that are not."""

    name: str
    run: Callable[[bytes], None]
    seeds: list[bytes] = field(default_factory=list)
    words: list[bytes] = field(default_factory=list)
    longest: int = 8192
    head: int = 0


TARGETS: dict[str, Callable[[], Target]] = {}


def target(make: Callable[[], Target]) -> Callable[[], Target]:
    """Register it under the function's name."""
    TARGETS[make.__name__] = make
    return make


def bodies() -> list[bytes]:
    """Every message, as it travels."""
    return [wire.encode_body(message) for message in samples.seeds()]


# --- the wire -----------------------------------------------------------------------------------------------------


@target
def header() -> Target:
    def run(data: bytes) -> None:
        found = wire.decode_header(data)
        assert isinstance(found, wire.Header | ProtocolError)
        if isinstance(found, wire.Header):
            assert wire.decode_header(wire.encode_header(found.to, found.sender, found.incarnation)) == found

    return Target("header", run, [wire.encode_header("broker", "client-1", "abc"), wire.encode_header("a", "b", "c")])


@target
def body() -> Target:
    def run(data: bytes) -> None:
        for sender in ("", CLIENT, m.BROKER):
            found = wire.decode_body(data, sender=sender)
            assert isinstance(found, m.Message | ProtocolError)
            assert not isinstance(found, m.LOCAL_ONLY)
            if sender == CLIENT and isinstance(found, m.Message):
                assert type(found).__name__ in wire.CLIENT_SAYS
            wire.fits(data, sender)

    return Target("body", run, bodies())


class FakeSocket:
    """What a HubLink needs of a ROUTER: the frames of one message, and a place for what is sent."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.sent: list[list[bytes]] = []

    def recv(self, _flags: int = 0) -> bytes:
        import zmq

        if not self.frames:
            raise zmq.Again
        return self.frames.pop(0)

    def get(self, _option: int) -> int:
        return len(self.frames)

    def send_multipart(self, frames: list[bytes], _flags: int = 0) -> None:
        self.sent.append(frames)

    def set(self, _option: int, _value: object) -> None: ...

    def bind(self, _endpoint: str) -> None: ...


class FakeContext:
    """Gives the one socket."""

    def __init__(self) -> None:
        self.link = FakeSocket()

    def socket(self, _kind: int) -> FakeSocket:
        return self.link


@target
def hub() -> Target:
    """Frames on the ROUTER, as (identity, header, body, ...): nobody speaks under another's name, nothing is decoded
    that its sender may not say, and what is forwarded keeps its sender."""
    from odibi_actors.runtime.process import PEERS_MAX, HubLink

    context = FakeContext()
    link = HubLink(context, "b1", [])  # type: ignore[arg-type]

    def run(data: bytes) -> None:
        try:
            frames = msgspec.msgpack.decode(data, type=list[bytes])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        context.link.frames, context.link.sent = frames[:8], []
        identity = frames[0] if frames else b""
        for reader in link.readers().values():
            for sender, message in reader():
                assert identity.decode().startswith(f"{sender}/"), "a name that is not its own"
                assert sender != m.BROKER
                assert isinstance(message, m.Message)
        assert len(link._peers) <= PEERS_MAX
        for sent in context.link.sent:
            told = wire.decode_header(sent[1])
            assert isinstance(told, wire.Header)
            assert identity == wire.identity(told.sender, told.incarnation)

    def frames(sender: str, to: str, text: bytes) -> bytes:
        return msgspec.msgpack.encode([wire.identity(sender, "i1"), wire.encode_header(to, sender, "i1"), text])

    seeds = [frames(sender, to, text) for text in bodies() for sender, to in ((CLIENT, "store"), ("store", "broker"))]
    return Target("hub", run, seeds)


# --- actors -------------------------------------------------------------------------------------------------------


def check_actor(actor: Any, effects: Iterable[Effect]) -> None:
    """What holds after every message: a deadline a clock can reach, and effects that can be carried out."""
    due = actor.deadline()
    assert due is None or not math.isnan(due), "a deadline that is no number"
    for effect in effects:
        if isinstance(effect, Send):
            wire.encode_body(effect.message)


class Conversation:
    """Feeds an actor what decodes; begins again with a fresh one after ``LIFE`` messages, so that a finding can be told
    by the messages since."""

    LIFE = 64

    def __init__(self, make: Callable[[], Callable[[str, m.Message], Iterable[Effect]]], senders: list[str]) -> None:
        self._make, self._senders = make, senders
        self._left = 0
        self.said: list[tuple[str, m.Message]] = []

    def run(self, data: bytes) -> None:
        """The first byte chooses who says the rest."""
        if not data:
            return
        sender = self._senders[data[0] % len(self._senders)]
        message = wire.decode_body(data[1:], sender=sender)
        if isinstance(message, ProtocolError):
            return
        if self._left <= 0:
            self._left, self._feed, self.said = self.LIFE, self._make(), []
        self._left -= 1
        self.said.append((sender, message))
        try:
            effects = list(self._feed(sender, message))
            stops = [effect for effect in effects if isinstance(effect, Stop)]
            if stops:
                self._left = 0
                assert not sender.startswith(("client-", "pool-")), f"a stranger stopped it: {stops}"
        except BaseException:
            self._left = 0
            raise


def conversation(name: str, make: Callable[[], Any], senders: list[str]) -> Target:
    talk = Conversation(make, senders)
    heads = [bytes([index]) for index in range(len(senders))]
    return Target(name, talk.run, [head + text for text in bodies() for head in heads], head=1)


def shutdown(message: m.Message) -> bool:
    """The one thing by which a client may rightly stop the system."""
    return isinstance(message, m.Request) and message.verb == "shutdown"


@target
def broker() -> Target:
    """The broker amid its work, told things by strangers, and by peers that have lost their minds."""
    from tests.broker.harness import Broker

    def make() -> Callable[[str, m.Message], Iterable[Effect]]:
        bench = Broker().start()
        bench.durable()
        bench.offer("a.csv", "b.csv")
        bench.durable()
        for task in bench.tasks()[:1]:
            bench.results(bench.run(task)[0])

        def feed(sender: str, message: m.Message) -> list[Effect]:
            if shutdown(message):
                return []
            bench.now += 0.25
            effects = bench.actor.handle(sender, message, bench.now)
            effects += bench.actor.handle(m.LOCAL, m.Tick(), bench.now)
            effects += bench.actor.flush(bench.now)
            check_actor(bench.actor, effects)
            return effects

        return feed

    return conversation("broker", make, [CLIENT, CLIENT, STRANGER, m.SOURCE, "pool-0", m.STORE])


@target
def scheduled() -> Target:
    """The broker of a pipeline that runs by schedules, amid its occurrences, a backfill and an alert."""
    from odibi_actors.config.model import AlertSpec, ScheduleSpec
    from tests.broker.harness import Failure
    from tests.broker.scheduling import Timed, occurrence
    from tests.broker.scheduling import scheduled as spec

    def make() -> Callable[[str, m.Message], Iterable[Effect]]:
        schedule = ScheduleSpec("read", cron="0 * * * *", overlap="buffer_all", deadline=60.0)
        bench = Timed(spec(schedule, alerts=[AlertSpec(log=True)])).start()
        for number in (1, 2, 3):
            bench.due(occurrence(number), schedule="read")
        bench.discovered("a.csv", "b.csv")
        for task in bench.tasks()[:1]:
            bench.fail(task, "read", Failure("malformed", "bad line"))
        bench.durable()

        def feed(sender: str, message: m.Message) -> list[Effect]:
            if shutdown(message):
                return []
            bench.now += 0.25
            effects = bench.actor.handle(sender, message, bench.now)
            effects += bench.actor.handle(m.LOCAL, m.Tick(), bench.now)
            effects += bench.actor.flush(bench.now)
            check_actor(bench.actor, effects)
            return effects

        return feed

    return conversation("scheduled", make, [CLIENT, CLIENT, STRANGER, m.SCHEDULER, m.SOURCE, "pool-0"])


@target
def scheduler() -> Target:
    """The scheduler; its driver's answers are left out."""
    from odibi_actors.scheduler.actor import SchedulerActor

    def make() -> Callable[[str, m.Message], Iterable[Effect]]:
        actor = SchedulerActor("c1", "host", 1)
        actor.start(1000.0)
        actor.handle(m.BROKER, m.Welcome(1, 0, "s"), 1000.0)
        clock = [1000.0]

        def feed(sender: str, message: m.Message) -> list[Effect]:
            clock[0] += 0.25
            effects = actor.handle(sender, message, clock[0]) + actor.flush(clock[0])
            check_actor(actor, [effect for effect in effects if isinstance(effect, Send)])
            return effects

        return feed

    return conversation("scheduler", make, [CLIENT, STRANGER, m.BROKER])


@target
def joining() -> Target:
    """The broker before it has joined: whoever is not the store has no say in what it loads."""
    from tests.broker.harness import Broker

    def make() -> Callable[[str, m.Message], Iterable[Effect]]:
        bench = Broker(recover=True)
        bench.say(m.STORE, m.StoreHello("s1", "host", 1, "store", 0, 0))
        bench.say(m.STORE, m.Claimed(1, 0, "b1"))

        def feed(sender: str, message: m.Message) -> list[Effect]:
            effects = bench.actor.handle(sender, message, bench.now) + bench.actor.flush(bench.now)
            check_actor(bench.actor, effects)
            return effects

        return feed

    return conversation("joining", make, [CLIENT, STRANGER, m.STORE])


@target
def store() -> Target:
    """The checkpoint store with its engine. Nobody but the broker changes anything."""
    from odibi_actors.checkpoint.actor import StoreActor
    from odibi_actors.checkpoint.driver import StoreDriver
    from odibi_actors.checkpoint.engine import Engine
    from tests.checkpoint.make import ack, error, plan, schedule, version

    def make() -> Callable[[str, m.Message], Iterable[Effect]]:
        engine = Engine(":memory:")
        engine.claim(0, "b1")
        engine.apply(1, 1, [version(1, "p"), plan(1, "a", pipeline="p"), ack(1, pipeline="p"), error(1, pipeline="p")])
        waiting = rec.Occurrence("p", "read", "x", 1.0, 1.0)
        engine.apply(1, 5, [schedule("read", "p"), waiting, rec.Alert(7, "failure", "p", "it broke", 1.0)])
        actor, driver = StoreActor("s1", "host", 1, "store", 1, engine.last_seq), StoreDriver(engine)
        clock = [1000.0]

        def feed(sender: str, message: m.Message) -> list[Effect]:
            clock[0] += 0.01
            before = (engine.epoch, engine.last_seq)
            todo = actor.handle(sender, message, clock[0]) + actor.flush(clock[0])
            done: list[Effect] = []
            while todo:
                effect = todo.pop(0)
                done.append(effect)
                if not isinstance(effect, Send | Stop) and type(effect).__module__.endswith("effects"):
                    for who, answer in driver.perform(effect, clock[0]):
                        todo += actor.handle(who, answer, clock[0])
                    todo += actor.flush(clock[0])
            check_actor(actor, done)
            if sender != m.BROKER:
                assert (engine.epoch, engine.last_seq) == before, "a stranger changed the store"
                for effect in done:
                    assert not isinstance(effect, Send) or effect.to == sender, "a stranger made it speak to others"
            return done

        return feed

    return conversation("store", make, [CLIENT, CLIENT, STRANGER, m.BROKER])


@target
def source() -> Target:
    """The source actor; its driver's answers are left out."""
    from odibi_actors.streaming.actor import SourceActor

    def make() -> Callable[[str, m.Message], Iterable[Effect]]:
        actor = SourceActor("f1", "host", 1)
        actor.handle(m.BROKER, m.Welcome(1, 0, "s"), 1000.0)
        sources = [message for message in samples.MESSAGES if isinstance(message, m.Sources)]
        actor.handle(m.BROKER, sources[0], 1000.0)
        clock = [1000.0]

        def feed(sender: str, message: m.Message) -> list[Effect]:
            clock[0] += 0.25
            effects = actor.handle(sender, message, clock[0]) + actor.flush(clock[0])
            check_actor(actor, effects)
            return effects

        return feed

    return conversation("source", make, [CLIENT, STRANGER, m.BROKER, m.STORE])


@target
def pool() -> Target:
    """A pool whose broker and workers talk nonsense. What a worker says comes from a process that runs user code."""
    from tests.workers.test_pool import Bench

    def make() -> Callable[[str, m.Message], Iterable[Effect]]:
        bench = Bench(capacity=2)
        bench.give(*samples.TASKS)

        def feed(sender: str, message: m.Message) -> list[Effect]:
            bench.now += 0.25
            effects = bench.hear(sender, message)
            effects += bench.hear(m.LOCAL, m.Tick())
            bench.effects.clear()
            check_actor(bench.pool, effects)
            return effects

        return feed

    found = conversation("pool", make, [CLIENT, m.BROKER])
    talk = Conversation(make, ["pool-0-1", "pool-0-2"])

    def run(data: bytes) -> None:
        if data and data[0] % 2:
            found.run(data)
        elif data:
            message = wire.decode_body(data[1:], refused=())
            if isinstance(message, m.WorkerReady | m.WorkerResult):
                talk.said.append(("pool-0-1", message))
                worker_says(message)

    feeds: list[Any] = []

    def worker_says(message: m.Message) -> None:
        if not feeds or len(talk.said) > Conversation.LIFE:
            feeds[:] = [make()]
            talk.said.clear()
        feeds[0]("pool-0-1", message)

    return Target("pool", run, found.seeds, head=1)


@target
def results() -> Target:
    """What a worker writes for its pool, in pieces: the frames as they were put, or a ProtocolError and no more."""
    from odibi_actors.workers.pipe import Reader

    framed = [len(body).to_bytes(4, "little") + body for body in bodies()]

    def run(data: bytes) -> None:
        ours, theirs = os.pipe()
        reader, read = Reader(ours), b""
        try:
            for piece in (data[at : at + 999] for at in range(0, len(data), 999)):
                os.write(theirs, piece)
                for frame in reader.frames():
                    assert len(frame) <= wire.BODY_MAX
                    read += len(frame).to_bytes(4, "little") + frame
        except ProtocolError:
            assert list(reader.frames()) == []
        finally:
            reader.close()
            os.close(theirs)
        assert data.startswith(read)

    return Target("results", run, [*framed, b"".join(framed[:3])])


# --- files --------------------------------------------------------------------------------------------------------

YAML = b"""project: x
connections: {a: {type: local, path: d}, m: {type: sqlite, path: m.db}}
pipelines:
- pipeline: p
  nodes:
  - {name: r, read: {connection: a, format: csv, mode: file_watch, pattern: "*.csv", schema: {x: double}}}
  - {name: t, inputs: [r], timeout: 5m, transform: {sql: "select 1"}}
  - {name: w, inputs: [t], write: {connection: m, table: t, mode: upsert, keys: [x]}}
"""
YAML_WORDS = [
    *(
        b"&a ",
        b"*a",
        b"!!python/object ",
        b"!x ",
        b"<<: *a",
        b"- ",
        b"? ",
        b": ",
        b"[",
        b"]",
        b"{",
        b"}",
        b"|\n ",
        b">-\n ",
    ),
    *(
        b'"\\x1b[31m"',
        b'"\\ud800"',
        b"\0",
        b"\xef\xbb\xbf",
        b"%YAML 1.1\n---\n",
        b"---\n",
        b"...\n",
        b"\t",
        b"\r\n",
        b"# ",
    ),
    *(
        b"${X}",
        b"${X:-y}",
        b"$${",
        b"1e999",
        b".nan",
        b"0x" + b"f" * 20,
        b"9" * 400,
        b"yes",
        b"2024-01-01",
        b"~",
        b"'",
        b'"',
    ),
    *(
        b"[" * 40,
        b"{a: " * 40,
        b"\n  ",
        b"pipelines:",
        b"nodes:",
        b"workers: ",
        b"data_dir: ",
        b"params: ",
        b"options: ",
    ),
    *(
        b"schedules: ",
        b"cron: ",
        b"after: ",
        b"file_watch: ",
        b"timezone: ",
        b"exclude: ",
        b"alerts:\n- {log: true}\n",
        b"* * * * *",
        b"0 0 L * 5#2",
        b"Europe/Berlin",
        b"2026-03-29T02:30",
    ),
]
SCHEDULED = b"""
project: p
connections: {a: {type: local, path: d}}
pipelines:
- pipeline: p
  trigger: schedule
  schedules:
  - {name: s, cron: "*/5 1-4 * * mon", timezone: Europe/Berlin, start: 2026-01-01, exclude: [2026-03-29], jitter: 3s}
  - {name: e, every: 5m, overlap: cancel, catch_up: {window: 2h, policy: all, max: 3, grace: 5s}, deadline: 1m}
  - {name: f, file_watch: {path: d, pattern: "*.x", per: set}}
  nodes:
  - {name: r, read: {connection: a, format: csv, mode: batch, pattern: "*.csv"}}
  - {name: w, inputs: [r], write: {connection: a, path: out, format: parquet}}
"""


@target
def project() -> Target:
    """odibi.yaml: a ProjectSpec that is sound and travels, or a ConfigError that says where."""
    from odibi_actors.config import load_project
    from odibi_actors.config.received import unsound

    folder = _folder()
    file = folder / "odibi.yaml"

    def run(data: bytes) -> None:
        file.write_bytes(data)
        try:
            found = load_project(file, {"X": "x", "PATH": "/bin"})
        except ConfigError:
            return
        assert unsound(found) == ""
        sent = wire.decode_body(next(iter(wire.bodies(m.Apply("1", found)))), sender=CLIENT)
        assert isinstance(sent, m.Apply), sent

    return Target("project", run, [YAML, SCHEDULED, b"a: 1\n", b"[a, &b c, *b]\n"], YAML_WORDS, 600)


@target
def basics() -> Target:
    """The few lines of odibi.yaml that every process reads, and the connection file that every client reads."""
    from odibi_actors.client import read_connection
    from odibi_actors.errors import UnreachableError
    from odibi_actors.runtime import paths

    folder = _folder()
    places = paths.layout(folder)
    places.run.mkdir()

    def run(data: bytes) -> None:
        if data[:1] in b"wd'\"":
            (folder / "odibi.yaml").write_bytes(data)
            try:
                assert isinstance(paths.basics(folder, {"X": "x"}).workers, int | None)
            except ConfigError:
                return
        else:
            places.connection.write_bytes(data)
            try:
                assert isinstance(read_connection(places.connection)["endpoint"], str)
            except UnreachableError:
                return

    seeds = [b"data_dir: x\nworkers: 4\n", b"workers: ${X:-3}\n", b'{"endpoint": "ipc:///x", "pid": 1, "host": "h"}']
    return Target("basics", run, seeds, [*YAML_WORDS, b'"endpoint"', b"\\u0000", b"\\ud800", b"1e400", b"NaN"], 2000)


@target
def env() -> Target:
    """The .env file, and variables in texts."""
    from odibi_actors.config.problems import Problems
    from odibi_actors.config.variables import expand, read_env_file

    file = _folder() / ".env"

    def run(data: bytes) -> None:
        file.write_bytes(data)
        found = read_env_file(file, Problems("x"))
        for key, value in found.items():
            expand(f"${{{key}}} {value}", found)

    return Target(
        "env", run, [b"A=1\nexport B='x y' # z\n#c\n"], [b"=", b"${A}", b"export ", b"'", b'"', b"\0", b"\r"], 500
    )


@target
def sealed() -> Target:
    """Payloads of the checkpoint database: whole, or a StoreError; also when the seal fits and the content does not."""
    decoders = [
        *(tables.PlanDecoder, tables.ErrorDecoder, tables.FailuresDecoder),
        *(snapshot.VersionDecoder, tables.SchemaDecoder, snapshot.AckDecoder, snapshot.SinksDecoder),
        *(tables.ScheduleDecoder, tables.OccurrenceDecoder, tables.BackfillDecoder, tables.AlertDecoder),
        tables.TriggerDecoder,
    ]

    def run(data: bytes) -> None:
        if not data:
            return
        decoder: Any = decoders[data[0] % len(decoders)]
        for blob in (data[1:], resealed(data[1:])):
            try:
                unseal(blob, decoder, "x")
            except StoreError:
                continue

    def resealed(data: bytes) -> bytes:
        import xxhash

        return data + xxhash.xxh3_64_digest(data)

    wanted = [samples.rec.Plan, samples.rec.Error, None, samples.rec.Version, samples.rec.Schema, samples.rec.Ack]
    wanted += [None, samples.rec.Schedule, samples.rec.Occurrence, samples.rec.Backfill, samples.rec.Alert]
    seeds = [
        bytes([index]) + seal(record)[:-8]
        for index, kind in enumerate(wanted)
        for record in samples.RECORDS
        if kind is not None and isinstance(record, kind)
    ]
    return Target("sealed", run, seeds, head=1)


@target
def arrow() -> Target:
    """Batches: Arrow is never asked to parse what is not exactly as long as its reference says, and, where a message
    brought it, what its digest does not cover. Damaged Arrow can crash the process, so nothing may come earlier."""
    import pyarrow as pa

    from odibi_actors.batches import ipc, spool
    from odibi_actors.batches.files import digest_bytes
    from odibi_actors.errors import BatchError
    from odibi_actors.model import BatchRef

    root = _folder()
    (root / "p" / "1").mkdir(parents=True)
    table = pa.table({"x": [1, 2, 3], "y": ["a", None, "c"]})
    good = ipc.encode(table)
    (root / "p/1/n-1-1.arrow").write_bytes(good)
    (root.parent / f"{root.name}.arrow").write_bytes(good)
    batches = spool.Spool(root)
    parse = ipc.decode

    def guarded(given: Any, rows: int | None = None) -> Any:
        whole = given if isinstance(given, bytes) else given.read()
        assert whole == good, "bytes that nobody vouched for were parsed"
        return parse(good, rows)

    def run(data: bytes) -> None:
        try:
            ref = msgspec.msgpack.decode(data, type=BatchRef)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        ipc.decode = guarded  # type: ignore[assignment]
        try:
            for verify in (True, False):
                assert batches.read(ref, verify=verify).num_rows == ref.rows == 3
        except BatchError:
            return
        finally:
            ipc.decode = parse

    digest = digest_bytes(good)
    refs = [
        BatchRef(3, len(good), digest, data=good),
        BatchRef(3, len(good), digest, "p/1/n-1-1.arrow"),
        BatchRef(3, len(good), digest, "../x.arrow"),
        BatchRef(3, len(good), digest, f"p/1/../../../{root.name}.arrow"),
        BatchRef(2**40, 2**50, "", "p/1/n-1-1.arrow"),
    ]
    return Target("arrow", run, [msgspec.msgpack.encode(ref) for ref in refs])


def reading(form: str) -> Callable[[bytes], None]:
    """A source's file as a worker reads it: a table, or a Failed that says what is wrong with the file."""
    from odibi_actors.config.model import ConnectionSpec, ReadSpec
    from odibi_actors.nodes.failures import Failed
    from odibi_actors.nodes.read import read
    from odibi_actors.sources.file_position import file_position

    folder = _folder()
    file = folder / "f"
    connection = ConnectionSpec("landing", "local", str(folder))
    specs = [
        ReadSpec(connection, form, "file_watch"),
        ReadSpec(connection, form, "file_watch", schema={"x": "int64", "y": "string"}),
    ]

    def run(data: bytes) -> None:
        file.write_bytes(data)
        seen = file.stat()
        position = file_position("f", seen.st_size, seen.st_mtime_ns, seen.st_ino)
        for spec in specs:
            try:
                found = read(spec, [position], b"")
                found.table.validate(full=True)
            except Failed as failed:
                problem = failed.failure
            else:
                continue
            wire.encode_body(m.Reply("1", 0, problem.message))
            assert problem.position == "f" or problem.kind == "invalid", problem

    return run


@target
def csv() -> Target:
    """CSV files of strangers."""
    seeds = [b"x,y\n1,a\n2,b\n", b"x;y\r\n1;2\r\n", b'x,y\n1,"a ""q""\nb"\n', b"x,y\n,\n1e400,\xff\n"]
    words = [
        b",",
        b'"',
        b"\n",
        b"\r",
        b"\0",
        b"9" * 400,
        b"-",
        b"nan",
        b"2024-01-01T00:00:00Z",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"x,y\n",
    ]
    return Target("csv", reading("csv"), seeds, words, 600)


@target
def parquet() -> Target:
    """Parquet files of strangers. A reader written in C++ may crash: the worker then dies, and the file is set aside
    as the pipeline says; here it would end the run."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    seeds = []
    for compression in ("none", "snappy"):
        sink = io.BytesIO()
        table = pa.table({"x": [1, 2, None], "y": ["a", "b", "c"], "z": [[1.5], [], None]})
        pq.write_table(table, sink, compression=compression)
        seeds.append(sink.getvalue())
    return Target("parquet", reading("parquet"), seeds)


@target
def json() -> Target:
    """JSON files of strangers."""
    seeds = [
        b'{"x":1,"y":"a"}\n{"x":2.5,"y":null}\n',
        b'[{"x":[1,{"y":2}]},\n {"x":[]}]',
        b'{"x":{"a":1,"b":[true,null]},"y":"\\ud83d\\ude00"}',
        b'{"x":0.12345678901234567890,"y":-0}\n{"x":1e400}',
    ]
    words = [b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\u", b"\\ud800", b"1e999999999", b"9" * 5000, b"NaN"]
    words += [b"[" * 2000, b'{"x":' * 2000, b"\xff", b"\0", b"\n", b'"x":1,']
    return Target("json", reading("json"), seeds, words, 600)


@target
def ipc() -> Target:
    """Arrow files and streams of strangers; see ``parquet``."""
    import pyarrow as pa

    table = pa.table({"x": [1, 2, None], "y": ["a", "b", "c"], "z": [[1.5], [], None]})
    seeds = []
    for make in (pa.ipc.new_file, pa.ipc.new_stream):
        sink = io.BytesIO()
        with make(sink, table.schema) as writer:
            writer.write_table(table)
        seeds.append(sink.getvalue())
    return Target("ipc", reading("arrow"), seeds)


@target
def avro() -> Target:
    """Avro files of strangers."""
    import fastavro

    schema: Any = {
        "type": "record",
        "name": "row",
        "fields": [
            {"name": "x", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
            {"name": "y", "type": {"type": "map", "values": {"type": "array", "items": "string"}}},
            {"name": "z", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        ],
    }
    rows = [{"x": None, "y": {"a": ["b"]}, "z": Decimal("1.25")}, {"x": 5, "y": {}, "z": Decimal(0)}]
    seeds = []
    for codec in ("null", "deflate", "bzip2"):
        sink = io.BytesIO()
        fastavro.writer(sink, schema, rows, codec=codec)
        seeds.append(sink.getvalue())
    words = [b'"type":', b'"record"', b'"null"', b'"array"', b"\xff" * 9 + b"\x01", b"\x01", b"[" * 2000]
    return Target("avro", reading("avro"), seeds, words)


@target
def parsers() -> Target:
    """Durations, sizes, patterns, cursors, YAML scalars: a value or a ValueError, in time that does not explode."""
    from odibi_actors.checkpoint.snapshot import _parse
    from odibi_actors.config.tree import resolve_plain
    from odibi_actors.streaming.patterns import Pattern, temporary, unsafe

    def run(data: bytes) -> None:
        text = data[1:].decode("utf-8", "surrogateescape")
        match data[0] % 6 if data else 5:
            case 0:
                attempt(lambda: units.parse_duration(units.format_duration(units.parse_duration(text))), ValueError)
            case 1:
                attempt(lambda: units.parse_size(units.format_size(units.parse_size(text))), ValueError)
            case 2:
                pattern, _, path = text.partition("\n")
                Pattern(pattern).matches(path)
                temporary(path)
                unsafe(path)
            case 3:
                attempt(lambda: _parse(text), OdibiError)
            case 4:
                resolve_plain(text)

    def attempt(call: Callable[[], object], expected: type[Exception]) -> None:
        try:
            call()
        except expected:
            return

    seeds = [
        b"\x0010s",
        b"\x0164KB",
        b"\x02**/a*[!b-d]?/**/c.csv\nx/y/abcd/z/c.csv",
        b'\x03[5, "p", 1, 2, "n"]',
        b"\x040x1f",
    ]
    words = [
        b"**/",
        b"*",
        b"[",
        b"]",
        b"!",
        b"?",
        b"/",
        b"a/" * 30,
        b"**/" * 20,
        b"*a" * 20,
        b"ms",
        b"KiB",
        b".",
        b"9" * 20,
    ]
    return Target("parsers", run, seeds, words, 600)


@target
def output() -> Target:
    """What a person sees: nothing in it is obeyed by a terminal, whatever names and errors hold."""
    from odibi_actors.cli.output import Column, fields, table, text
    from odibi_actors.runtime import log
    from odibi_actors.runtime.visible import visible

    lines: list[bytes] = []

    def run(data: bytes) -> None:
        for said in (data.decode("utf-8", "surrogateescape"), data.decode("latin-1")):
            shown = visible(said)
            harmless(shown)
            shown.encode()
            row = {"name": said, "items": [said]}
            assert visible(Column("x", "name").cell(row)) == Column("x", "name").cell(row)
            table([row], [Column("x", "name")])
            fields([("x", said)])
            harmless(text("json", {"items": [row]}, "name"))
            lines.clear()
            with contextlib.redirect_stderr(io.StringIO()) as stderr:
                log.log("error", "x", said, {"f": said, "traceback": said}, lines.append)
            harmless(stderr.getvalue())
            for line in lines:
                harmless(line.decode())

    def harmless(shown: str) -> None:
        for c in shown:
            assert c in "\n\t" or not (ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202a\u202b\u202d\u202e\u2066"), (
                repr(c)
            )

    words = [
        b"\x1b[31m",
        b"\x1b]0;x\x07",
        b"\xc2\x9b31m",
        b"\xe2\x80\xae",
        b"\xff",
        b"\r",
        b"\x7f",
        b"\xed\xb0\x80",
        b"\n",
    ]
    return Target("output", run, [b"flights-2013.csv", "Zürich→東京.csv".encode()], words, 300)


def rng_of(name: str, seed: int) -> random.Random:
    """One generator per target, the same for the same seed."""
    return random.Random(f"{name}-{seed}")
