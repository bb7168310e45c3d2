"""Random lives of a broker with a real store: everything that operators, the clock, files, failures and crashes can do.

The store applies every record as a store would, so that one it refuses shows at once. A crash loses what was not
applied yet.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from odibi_actors.broker.coordinator import Coordinator
from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.config.model import (
    AlertSpec,
    BatchSpec,
    CodeSpec,
    NodeSpec,
    ProjectSpec,
    ReadSpec,
    ScheduleSpec,
    WatchSpec,
)
from odibi_actors.errors import OdibiError
from odibi_actors.messages import (
    LOCAL,
    SCHEDULER,
    SOURCE,
    STORE,
    AnyTask,
    Apply,
    Due,
    Dues,
    Durable,
    Heartbeat,
    Hello,
    Judged,
    Notice,
    Noticed,
    Offer,
    PublishTask,
    Reply,
    Request,
    Task,
    Tasks,
    Tick,
)
from odibi_actors.model import TRIGGER, Failure, Place
from tests.broker.harness import CLIENT, POOL, Broker, pipeline, position
from tests.broker.scheduling import HOUR

OVERLAPS = ["skip", "buffer_one", "buffer_all", "allow", "cancel"]
FAILURES = ["malformed", "raised", "invalid", "io", "changed", "input_lost"]


class Life:
    """One broker after the other, on one store. ``rng`` decides everything."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.engine = Engine(":memory:")
        self.log: list[str] = []
        self.history: list[rec.AnyRecord] = []  # all that the store has
        self.cancelled: dict[tuple[str, str], int] = {}  # backfill that was cancelled -> length of the history then
        self.files: dict[str, list[str]] = {"p": [], "q": [], "r": ["whole"], "landing": []}
        self.now, self.wall = 1000.0, 3600.0
        self.epoch = 0
        self.overlaps: dict[str, Any] = {name: self.rng.choice(OVERLAPS) for name in ("hourly", "half", "q", "w", "r")}
        self.on_error = self.rng.choice(["halt", "dead_letter"])
        self.flight = self.rng.randint(1, 3)
        self.per: Any = self.rng.choice(["file", "set"])
        self.variant = 0
        self.named = 0
        self.watched = True
        self.start(self.project())

    # --- what there is --------------------------------------------------------------------------------------------

    def project(self) -> ProjectSpec:
        rng, more = self.rng, {"on_error": self.on_error, "max_in_flight": self.flight}
        alerts = [AlertSpec(log=True, throttle=rng.choice([0.0, 10.0]))]
        common: dict[str, Any] = {**more, "alerts": alerts, "trigger": "schedule"}
        deadline = rng.choice([0.0, 600.0])
        hourly = ScheduleSpec("hourly", cron="0 * * * *", overlap=self.overlaps["hourly"], deadline=deadline)
        half = ScheduleSpec("half", every=1800.0, overlap=self.overlaps["half"])
        watch = ScheduleSpec("w", file_watch=WatchSpec("/in", "*", self.per), overlap=self.overlaps["w"])
        p = pipeline(batch=BatchSpec(max_files=rng.randint(1, 3), linger=rng.choice([0.0, 2.0])), **common)
        p = replace(p, schedules=[hourly, half, watch] if self.watched else [hourly])
        if self.variant == 1:
            read = p.nodes[0].read
            assert read is not None
            ref = NodeSpec("ref", read=ReadSpec(read.connection, "csv", "batch", path="ref"))
            joined = replace(p.nodes[1], inputs=["read", "ref"])
            p = replace(p, nodes=[p.nodes[0], ref, joined, *p.nodes[2:]])
        q = replace(
            pipeline(**common), name="q", schedules=[ScheduleSpec("aft", after=["p"], overlap=self.overlaps["q"])]
        )
        r = pipeline(**common)
        whole = r.nodes[0].read
        assert whole is not None
        daily = ScheduleSpec("daily", every=86400.0 / 2, overlap=self.overlaps["r"])
        nodes = [replace(r.nodes[0], read=replace(whole, mode="batch", consumption="")), *r.nodes[1:]]
        r = replace(r, name="r", nodes=nodes, schedules=[daily])
        chosen = [p, q, r]
        if self.variant == 2:
            chosen = [q, r] if "p" not in [n for s in q.schedules for n in s.after] else [p, r]
        whole, own = f"code{rng.randint(0, 1)}", f"code{rng.randint(0, 1)}"  # own: what pipelines depend on of it
        chosen = [replace(one, code=CodeSpec({"t": own}, {"nodes/m.py": own})) for one in chosen]
        return ProjectSpec("test", "/", "/data", 2, chosen, code_digest=whole)

    def start(self, project: ProjectSpec | None) -> None:
        """A broker begins, or the next one does, after a crash."""
        items: list[rec.AnyLoaded] = []
        cursor = ""
        while True:
            page, cursor = self.engine.load(cursor)
            items += page
            if not cursor:
                break
        self.engine.claim(self.epoch, f"b{self.epoch}")
        self.epoch += 1
        broker = Broker(recover=True)
        broker.now = self.now
        broker.actor = Coordinator(project, "b1", random.Random(1))
        self.broker, self.applied, self.told = broker, 0, self.engine.last_seq
        self.given: list[AnyTask] = []
        broker.start(items, epoch=self.epoch, last_seq=self.engine.last_seq)
        self.say(SCHEDULER, Hello("scheduler", f"c{self.epoch}", "host", 4))
        self.say(SCHEDULER, Heartbeat(self.epoch, wall=self.wall))
        self.say(CLIENT, Hello("client", "c1", "host", 9))

    def say(self, sender: str, message: Any) -> None:
        self.broker.now = self.now
        self.broker.say(sender, message)
        deadline = self.broker.flow.deadline()
        assert deadline is None or deadline > self.now, f"deadline {deadline} at {self.now}: the broker would spin"
        self.check()

    def check(self) -> None:
        """What holds after every message."""
        flow = self.broker.flow
        for name in flow.pipelines:
            queue = set(flow.schedules._queue.get(name, {}))
            every = [one for (of, _), one in flow.schedules._all.items() if of == name]
            waiting = {(one.name, id_) for one in every for id_ in one.waiting}
            assert queue == waiting, f"{name}: queue {queue}, waiting {waiting}"

    def apply_records(self, most: int = 1 << 30) -> None:
        """The store takes what it was sent."""
        batch = self.broker.records[self.applied : self.applied + most]
        if batch:
            self.engine.apply(self.epoch, self.engine.last_seq + 1, batch)
            self.applied += len(batch)
            self.history += batch

    def durable(self, whole: bool = True) -> None:
        self.apply_records(1 << 30 if whole else self.rng.randint(0, 5))
        if self.engine.last_seq > self.told:
            self.told = self.engine.last_seq
            self.say(STORE, Durable(self.epoch, self.told))

    # --- the world ------------------------------------------------------------------------------------------------

    def deed(self, name: str, **params: Any) -> int:
        """An operator's request, and the answers of whoever the broker asks; the status of its reply, -1 for none."""
        self.log.append(f"{name} {params}")
        broker = self.broker
        broker.asked += 1
        number = str(broker.asked)
        self.say(CLIENT, Request(number, name, params))
        for _ in range(4):
            self.answer()
            if self.rng.random() < 0.4:
                self.durable()
        replies = [m for m in broker.take(Reply) if m.id == number]
        self.log.append(f"  -> {[(m.status, m.error) for m in replies]}")
        return replies[0].status if replies else -1

    def answer(self) -> None:
        """Whoever was asked answers."""
        for to, message in [(t, m) for t, m in self.broker.sent if isinstance(m, Request)]:
            self.broker.sent.remove((to, message))
            self.say(to, self._answer(to, message))

    def _answer(self, to: str, request: Request) -> Reply:
        params = request.params
        if to == STORE:
            self.apply_records()
            try:
                return Reply(request.id, 0, self.engine.answer(request.verb, params))
            except OdibiError as error:
                return Reply(request.id, error.exit_code, error=str(error))
        if request.verb == "schedule.range":
            hours = range(int(params["from"]) // HOUR, int(params["to"]) // HOUR)
            items = [{"id": f"h{n}", "due": n * HOUR} for n in hours]
            return Reply(request.id, 0, {"items": items, "more": False})
        if request.verb == "source.match":
            return Reply(request.id, 0, {"files": 1, "bytes": 1, "first": "a", "last": "b"})
        # As planned, or written again since.
        sizes = {one["identity"]: self.rng.choice([10, 10, 11]) for one in params["positions"]}
        found = [position(*one).shown() for one in sizes.items()]
        changed = [row["identity"] for row in params["positions"] if sizes[row["identity"]] != row["size"]]
        return Reply(request.id, 0, {"files": found, "changed": changed, "gone": []})

    def arrive(self) -> None:
        where = self.rng.choice(["p", "p", "q", "landing"])
        self.files[where].append(f"f{sum(map(len, self.files.values()))}")

    def sources(self, exhausted: Callable[[], bool]) -> None:
        """The source tells of every lane what there is."""
        self.apply_records()
        flow = self.broker.flow
        for name, one in list(flow.pipelines.items()):
            for lane in one.lanes:
                for source in list(lane.sources.values()):
                    if source.node.name == "ref" or source.pinned:
                        there = [replace(position("whole"), digest="d")]
                    else:
                        known = {p.identity for p in self.ledger(name, lane.name, source.node.name)}
                        there = [position(f) for f in self.files[name] if f not in known]
                    run = lane.run.run if lane.run is not None else ""
                    self.offer(name, source.node.name, source.seq, there, run, exhausted(), lane.name)
            for schedule in flow.schedules.of(name):
                if schedule.source is not None:
                    known = {p.identity for p in self.ledger(name, TRIGGER, schedule.name)}
                    there = [position(f) for f in self.files["landing"] if f not in known]
                    self.offer(name, schedule.name, schedule.source.seq, there, "", True, TRIGGER)
                    self.apply_records()

    def ledger(self, pipeline: str, lane: str, source: str) -> list[Any]:
        found, cursor = self.engine.ledger(pipeline, lane, source)
        assert not cursor
        return found

    def offer(
        self, pipeline: str, source: str, seq: int, there: list[Any], run: str, exhausted: bool, lane: str
    ) -> None:
        left = len(there)
        credit = 4
        self.say(
            SOURCE,
            Offer(
                self.epoch, "f1", pipeline, source, seq, there[:credit], run, exhausted and left <= credit, lane, left
            ),
        )
        self.apply_records()

    def work(self, failing: float) -> int:
        """The pool does what it was given; returns how much that was."""
        broker = self.broker
        self.given += [task for message in broker.take(Tasks) for task in message.tasks]
        given, self.given = self.given, []
        out = broker.flow.dispatcher.pools[POOL].outstanding
        done = 0
        for task in given:
            if task.attempt not in out:
                continue
            done += 1
            if isinstance(task, PublishTask):
                if self.rng.random() < failing:
                    kind: Any = self.rng.choice(["conflict", "io"])
                    broker.fail(task, task.node.name, Failure(kind, "no"))
                else:
                    broker.published(task)
            elif self.rng.random() < failing:
                self.fail(task)
            else:
                broker.finish(task)
            self.check()
        return done

    def fail(self, task: Task) -> None:
        step = self.rng.choice(task.steps)
        kind: Any = self.rng.choice(FAILURES)
        node = step.node
        where = step.positions[0].identity if step.positions and self.rng.random() < 0.7 else ""
        if kind == "changed" and node.read is None:
            kind = "raised"
        if kind == "malformed" and not where:
            kind = "invalid"
        lost = self.rng.choice(list(task.inputs)) if kind == "input_lost" and task.inputs else ""
        if kind == "input_lost" and not lost:
            kind = "died"
        self.log.append(f"fail {task.pipeline}/{task.iteration}/{node.name} {kind} {where}")
        self.broker.fail(task, node.name, Failure(kind, "no", position=where, lost=lost))

    def due(self, on_time: bool = False) -> None:
        """The scheduler tells of what came due, or says it again, or something old."""
        flow, rng = self.broker.flow, self.rng
        timed = [one for one in flow.schedules._all.values() if one.spec.timed]
        if not timed:
            return
        one = rng.choice(timed)
        place = one.place
        after = place if rng.random() < 0.9 else Place(place.due - HOUR, "x")
        begin = int(max(self.wall, place.due)) // HOUR + 1
        judged = []
        for n in range(begin, begin + rng.randint(1, 3)):
            shown = n + (9 if one.spec.timezone == "Asia/Tokyo" else 0)
            wall = f"1970-01-{1 + shown // 24:02d}T{shown % 24:02d}:00:00"
            reason = rng.choice(["", "", "", "paused", "over catch_up.max"]) if not on_time else ""
            judged.append(Judged(wall, n * HOUR, Place(n * HOUR, wall), reason, 1, wall if reason else ""))
        self.wall = judged[-1].due + 1.0
        self.log.append(f"due {one.pipeline}.{one.name} {[(j.id, j.reason) for j in judged]}")
        self.say(SCHEDULER, Due(self.epoch, self.wall, [Dues(one.pipeline, one.name, after, judged)]))

    def wait(self) -> None:
        self.now += self.rng.choice([0.1, 1.0, 3.0, 6.0])
        held = list(self.broker.flow.dispatcher.pools[POOL].outstanding)
        self.say(POOL, Heartbeat(self.epoch, held))
        self.say(SCHEDULER, Heartbeat(self.epoch, version=self.broker.flow.schedules._told, wall=self.wall))
        self.say(CLIENT, Hello("client", "c1", "host", 9))
        self.say(LOCAL, Tick())

    def notices(self) -> None:
        for notice in self.broker.take(Notice):
            if self.rng.random() < 0.7:
                self.say(SCHEDULER, Noticed(self.epoch, notice.id))

    def crash(self) -> None:
        self.apply_records(self.rng.choice([0, 1, 2, 3, 1 << 30]))
        self.log.append(f"crash after {self.engine.last_seq}")
        again = self.project() if self.rng.random() < 0.2 else None
        self.start(again)

    def apply(self) -> None:
        rng = self.rng
        self.variant = rng.choice([0, 0, 1, 2])
        self.watched = rng.random() < 0.7
        if rng.random() < 0.5:
            self.overlaps[rng.choice(list(self.overlaps))] = rng.choice(OVERLAPS)
        project = self.project()
        self.log.append(f"apply {self.variant} {[p.name for p in project.pipelines]} watched {self.watched}")
        self.broker.take(Reply)
        self.say(CLIENT, Apply("a", project))
        self.log.append(f"  -> {[(m.status, m.error) for m in self.broker.take(Reply)]}")

    def operator(self) -> None:
        """Something an operator does."""
        flow, rng = self.broker.flow, self.rng
        if not flow.pipelines:
            return
        name = rng.choice(list(flow.pipelines))
        one = flow.pipelines[name]
        self.named += 1
        stuck = [i for i in one.iterations.values() if i.state in ("failed", "blocked")]
        if stuck and rng.random() < 0.4:
            self.fix(name, rng.choice(stuck))
            return
        if (one.paused or one.draining) and rng.random() < 0.5:
            if not one.in_flight and one.rewind is None and rng.random() < 0.5:
                self.durable()
                self.deed("pipeline.rewind", pipeline=name, to=rng.randint(0, max(0, one.last_iteration)))
            else:
                self.deed("pipeline.resume", pipeline=name)
            return
        if one.backfills and rng.random() < 0.15:
            lane = rng.choice(list(one.backfills))
            if self.deed("backfill.cancel", pipeline=name, lane=lane) == 0:
                self.durable()
                self.cancelled[name, lane] = len(self.history)
            return
        schedules = [s.name for s in flow.schedules.of(name)]
        kind = rng.randint(0, 15)
        if kind == 0:
            self.deed(f"pipeline.{rng.choice(['pause', 'resume', 'resume'])}", pipeline=name)
        elif kind == 1:
            self.deed("pipeline.drain", pipeline=name, wait=False)
        elif kind in (2, 3) and one.iterations:
            self.deed("iteration.cancel", pipeline=name, iteration=rng.choice(list(one.iterations)))
        elif kind in (4, 5) and one.iterations:
            self.deed("iteration.retry", pipeline=name, iteration=rng.choice(list(one.iterations)))
        elif kind == 6:
            for number, iteration in list(one.iterations.items()):
                for sink, publication in list(iteration.publications.items()):
                    if publication.blocked:
                        self.deed("iteration.abandon", pipeline=name, iteration=number, sink=sink)
        elif kind == 7:
            self.apply_records()
            letters = self.engine.answer("deadletter.list", {"pipeline": name})["items"]
            if letters:
                verb = rng.choice(["replay", "replay", "discard"])
                self.deed(f"deadletter.{verb}", letter=rng.choice(letters)["id"])
        elif kind == 8:
            self.deed("pipeline.rewind", pipeline=name, to=rng.randint(0, max(0, one.last_iteration)))
        elif kind in (9, 10):
            given: dict[str, Any] = {"files": {"": "*"}}
            if name == "r":
                given = {"schedule": "daily", "from": 0.0, "to": 5.0 * HOUR}
            again = {"run": f"m{rng.randint(0, 9)}"} if rng.random() < 0.3 else {}
            self.deed("pipeline.backfill", pipeline=name, concurrency=rng.randint(1, 3), **given, **again)
        elif kind == 12 and schedules:
            verb = rng.choice(["pause", "resume", "resume", "remove"])
            self.deed(f"schedule.{verb}", pipeline=name, schedule=rng.choice(schedules))
        elif kind == 13:
            spec: dict[str, Any] = {"name": rng.choice(["x", "y"]), "overlap": rng.choice(OVERLAPS)}
            spec |= rng.choice(
                [
                    {"cron": "0 * * * *", "timezone": rng.choice(["UTC", "Asia/Tokyo"])},
                    {"cron": "0 * * * *", "timezone": rng.choice(["UTC", "Asia/Tokyo"])},
                    {"every": 3600.0},
                    {"after": ["r"]},
                    {"file_watch": {"folder": "/in", "pattern": "*", "per": rng.choice(["file", "set"])}},
                ]
            )
            self.deed("schedule.add", pipeline=name, spec=spec, replace=rng.random() < 0.8)
        elif kind == 14:
            self.deed("pipeline.trigger", pipeline=name, run=f"m{rng.randint(0, 9)}", retry=rng.random() < 0.3)
        elif kind == 15:
            self.deed(
                "pipeline.trigger",
                pipeline=name,
                run=f"m{self.named}",
                iterations=rng.randint(1, 3) if name != "r" else 0,
            )

    def fix(self, name: str, iteration: Any) -> None:
        """What is stuck is retried, cancelled, or given up."""
        blocked = [sink for sink, publication in iteration.publications.items() if publication.blocked]
        verb = self.rng.choice(["retry", "cancel"]) if not blocked else self.rng.choice(["retry", "abandon"])
        more = {"sink": self.rng.choice(blocked)} if verb == "abandon" else {}
        self.deed(f"iteration.{verb}", pipeline=name, iteration=iteration.number, **more)

    def live(self, steps: int) -> None:
        deeds: list[tuple[int, Callable[[], Any]]] = [
            (4, self.due),
            (4, self.arrive),
            (6, lambda: self.sources(lambda: self.rng.random() < 0.8)),
            (6, lambda: self.work(0.15)),
            (6, lambda: self.durable(self.rng.random() < 0.5)),
            (5, self.operator),
            (2, self.wait),
            (1, self.notices),
            (1, self.apply),
            (1, self.crash),
        ]
        for _ in range(steps):
            (chosen,) = self.rng.choices([d for _, d in deeds], [w for w, _ in deeds])
            chosen()
        self.apply_records()
