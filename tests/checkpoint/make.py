"""Makers of records, and the stream of records the crash and actor tests agree on: record ``seq`` is a function of
``seq``."""

from __future__ import annotations

from typing import Any

import msgspec

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.config.model import NodeSpec, PipelineSpec, ScheduleSpec
from odibi_actors.model import Attempt, BatchRef, Failure, Place, Position, StagedRef, Trigger
from odibi_actors.sources.file_position import file_position
from tests.targets import file_part

P = "delays"


def file(name: str, generation: int = 1) -> Position:
    return file_position(name, 10, 20, 30, generation)


def version(number: int = 1, pipeline: str = P) -> r.Version:
    spec = PipelineSpec(pipeline, [NodeSpec("flights"), NodeSpec("clean"), NodeSpec("lake")])
    return r.Version(pipeline, number, spec, "c" * 32, 1.0)


def plan(
    iteration: int,
    *names: str,
    pipeline: str = P,
    lane: str = "live",
    ledgered: tuple[str, ...] = ("flights",),
    run: str = "",
    at: float = 1.0,
) -> r.Plan:
    positions = {"flights": [file(name) for name in names]}
    return r.Plan(pipeline, lane, iteration, 1, positions, list(ledgered), at, run)


def ack(iteration: int, node: str = "flights", data: bytes = b"", counter: int = 1, pipeline: str = P) -> r.Ack:
    output = BatchRef(7, 100, "d" * 32, "" if data else f"{pipeline}/{iteration}/{node}", data)
    return r.Ack(pipeline, iteration, node, Attempt(1, counter), "k" * 32, 1.0, 0.5, 0, 7, "w-1", output)


def staged(iteration: int) -> StagedRef:
    return file_part(f"/lake/{iteration}.staged", f"/lake/part-{iteration}", 7, 100, "d" * 32)


def failure(message: str = "it broke", position: str = "") -> Failure:
    return Failure("raised", message, "Traceback ...", position)


def error(iteration: int, node: str = "clean", used: int = 1, message: str = "it broke", pipeline: str = P) -> r.Error:
    return r.Error(pipeline, iteration, node, Attempt(1, used), failure(message), used, 1.0)


def prepare(iteration: int) -> r.Prepare:
    return r.Prepare(P, iteration, {"lake": staged(iteration)}, 2.0)


def commit(iteration: int, at: float = 3.0) -> r.Commit:
    return r.Commit(P, iteration, at)


def committed(iteration: int, *names: str, at: float = 3.0) -> list[r.AnyRecord]:
    """A whole life of an iteration."""
    return [plan(iteration, *names), ack(iteration), ack(iteration, "lake"), prepare(iteration), commit(iteration, at)]


def numbered(seq: int) -> r.AnyRecord:
    """Record ``seq`` of an endless log: a version and a schedule, then what it skips and the runs it starts."""
    if seq == 1:
        return version()
    if seq == 2:
        return schedule()
    number, step = divmod(seq - 3, 9)
    first, *life = committed(number + 1, f"{number:05}-a.csv", f"{number:05}-b.csv")
    assert isinstance(first, r.Plan)
    return [
        r.Skip(
            P, "hourly", f"{number:05}-0", f"{number:05}-2", 1.0, 3, "superseded by a later one", 1.0, Place(number)
        ),
        r.Occurrence(
            P, "hourly", f"{number:05}-3", 1.0, 1.0, Place(number, "~~"), positions=[file(f"{number:05}.csv")]
        ),
        started(f"{number:05}-3"),
        msgspec.structs.replace(first, run=f"delays.hourly@{number:05}-3"),
        *life,
        r.RunEnd(f"delays.hourly@{number:05}-3", P, "done", 4.0),
    ][step]


def schedule(name: str = "hourly", pipeline: str = P, place: Place | None = None, **more: Any) -> r.Schedule:
    spec = ScheduleSpec(name, every=3600.0)
    return r.Schedule(pipeline, name, spec, "yaml", place or Place(-1), 1.0, **more)


def started(occurrence: str, name: str = "hourly", at: float = 2.0) -> r.Run:
    """The run of an occurrence that waits."""
    return r.Run(f"{P}.{name}@{occurrence}", P, "schedule", at, Trigger("schedule", name, occurrence, 1.0))


def claimed(path: object = ":memory:") -> Engine:
    """An engine of which epoch 1 is claimed."""
    engine = Engine(str(path))
    engine.claim(engine.epoch, "broker-a")
    return engine


def put(engine: Engine, *records: r.AnyRecord) -> None:
    """Apply the next records."""
    engine.apply(engine.epoch, engine.last_seq + 1, records)


def loaded(engine: Engine) -> list[r.AnyLoaded]:
    """The whole snapshot."""
    items, cursor = engine.load()
    while cursor:
        more, cursor = engine.load(cursor)
        assert more
        items += more
    return items


def ledger(engine: Engine, pipeline: str = P, lane: str = "live", source: str = "flights") -> list[str]:
    return [p.identity for p in engine.ledger(pipeline, lane, source)[0]]
