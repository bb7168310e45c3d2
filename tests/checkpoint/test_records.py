"""Any sequence of records leaves in the engine what the plain Python reference says."""

from __future__ import annotations

import contextlib
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint import snapshot
from odibi_actors.checkpoint.engine import Engine, Refused
from odibi_actors.config.model import ScheduleSpec
from odibi_actors.errors import ProtocolError, StoreError
from odibi_actors.model import Attempt, BatchRef, Place, Position, Trigger
from odibi_actors.sources.file_position import file_position
from tests.checkpoint import make
from tests.checkpoint.make import P, ack, claimed, commit, error, ledger, loaded, plan, prepare, put, version
from tests.checkpoint.reference import Bad, Reference
from tests.targets import file_part, folder

# Few names, so that records meet: most tell of the first iterations of one pipeline.
pipelines = st.sampled_from(["one", "one", "one", "two"])
numbers = st.sampled_from([1, 1, 1, 2, 2, 3])
nodes = st.sampled_from(["flights", "flights", "lake"])
times = st.integers(0, 100).map(float)
failures = st.builds(make.failure, st.sampled_from(["x", "y"]), st.sampled_from(["", "a.csv"]))
attempts = st.builds(Attempt, st.just(1), st.integers(1, 1000))
positions = st.builds(
    Position,
    st.sampled_from(["a.csv", "b.csv", "d/c.csv", "ü.csv"]),
    st.integers(-1, 2**40),
    st.integers(-1, 2**40),
    st.integers(1, 2),
    detail=st.binary(max_size=40),
)
plans = st.builds(
    r.Plan,
    pipelines,
    st.sampled_from(["live", "live", "backfill-1", "backfill-1", "trigger"]),
    st.sampled_from([0, 0, 0, 0, 2]),
    st.integers(1, 3),
    st.fixed_dictionaries({"flights": st.lists(positions, max_size=2), "weather": st.lists(positions, max_size=1)}),
    st.sampled_from([["flights"], ["flights", "weather"]]),
    times,
    st.sampled_from(["", "r1"]),
    taken=st.sampled_from(["", "", "r2"]),
)
acks = st.builds(
    r.Ack,
    pipelines,
    numbers,
    nodes,
    attempts,
    st.just("k" * 32),
    times,
    times,
    st.integers(0, 9),
    st.integers(0, 9),
    st.just("w"),
    st.builds(BatchRef, st.integers(0, 9), st.integers(0, 9), st.just("d" * 32), data=st.binary(max_size=40)),
)
parts = st.builds(file_part, st.just("/a.staged"), st.just("/a"), st.integers(0, 9), st.integers(0, 9), st.just("d"))
runs = st.sampled_from(["r1", "r2", "r3"])
lanes = st.sampled_from(["backfill-1", "backfill-1", "backfill-2", "live", "trigger"])
ends = st.sampled_from(["done", "failed", "failed", "no_data", "cancelled", "active"])
schedules = st.sampled_from(["hourly", "hourly", "files"])
specs = st.builds(ScheduleSpec, st.just("hourly"), every=st.sampled_from([60.0, 3600.0]))
origins = st.sampled_from(["yaml", "cli"])
places = st.builds(Place, st.integers(0, 5), st.sampled_from(["", "2026-11-26", "~"]))
maybe = st.none() | places
seen = st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 9), max_size=2)
ids = st.sampled_from(["01", "02", "03"])
reasons = st.sampled_from(["overlap: run r1 in progress", "overlap: one waits", "paused", ""])
triggers = st.builds(Trigger, st.sampled_from(["schedule", "schedule", "backfill"]), schedules, ids, times)


def of_scheduler(pipelines: st.SearchStrategy[str]) -> list[st.SearchStrategy[r.AnyRecord]]:
    return [
        st.builds(r.Schedule, pipelines, schedules, specs, origins, places, times, seen=seen, gone=st.just(False)),
        st.builds(r.Schedule, pipelines, schedules, specs, origins, places, times, st.booleans(), gone=st.booleans()),
        st.builds(
            r.Occurrence, pipelines, schedules, ids, times, times, maybe, seen, st.lists(positions, max_size=2), times
        ),
        st.builds(r.Skip, pipelines, schedules, ids, ids, times, st.integers(0, 3), reasons, times, maybe),
        st.builds(
            r.Backfill, pipelines, lanes, runs, times, st.just({"flights": "*.csv"}), occurrences=st.just([("a", 1.0)])
        ),
        st.builds(r.BackfillEnd, pipelines, lanes, st.sampled_from(["done", "cancelled"]), times),
        st.builds(r.Alert, st.sampled_from([0, 0, 0, 1]), st.just("failure"), pipelines, st.just("x"), times),
        st.builds(r.Alerted, st.integers(1, 30), times, st.sampled_from(["", "timeout"]), st.booleans()),
    ]


reasons_of_cancels = st.sampled_from(["", f"{r.PLANNED_AGAIN}a file changed"])


def of_runs(pipelines: st.SearchStrategy[str]) -> list[st.SearchStrategy[r.AnyRecord]]:
    """Runs that take up what others have left, and what becomes of both."""
    took, over = st.lists(numbers, max_size=2, unique=True), st.lists(runs, max_size=2)
    return [
        st.builds(r.Run, runs, pipelines, st.just("manual"), times, limit=st.integers(0, 2), took=took, over=over),
        st.builds(r.RunPlanned, runs, pipelines, numbers, times, st.sampled_from(["", "read: folder"])),
        st.builds(r.Cancel, pipelines, st.lists(numbers, max_size=2), times, reasons_of_cancels),
    ]


one = st.just("one")
scheduler = st.one_of(
    *of_scheduler(one),
    st.builds(r.Occurrence, one, schedules, ids, times, times),
    st.builds(r.Occurrence, one, schedules, ids, times, times, seen=seen),
    st.builds(r.Skip, one, schedules, ids, ids, times, st.just(1), reasons, times),
    st.builds(r.Run, runs, one, st.just("schedule"), times, triggers),
    st.builds(r.Run, runs, one, st.just("schedule"), times, triggers),
    *of_runs(one),
    st.builds(r.Fail, one, numbers, nodes, times),
    st.builds(r.Retry, one, numbers, times),
    st.builds(r.Cancel, one, st.lists(numbers, max_size=1), times),
    plans,
)
"""Records of schedules that are there, so that more of them hold."""
records = st.one_of(
    st.builds(make.version, st.integers(1, 4), pipelines),
    st.builds(r.Schema, pipelines, nodes, st.binary(max_size=9), st.just(["a: int64"])),
    st.builds(
        r.Schema,
        pipelines,
        nodes,
        st.binary(max_size=9),
        st.just(["a: int64"]),
        st.just(folder("/lake")),
        numbers,
        st.booleans(),
        st.sampled_from([b"", b"former"]),
    ),
    st.builds(r.Run, runs, pipelines, st.just("trigger"), times),
    st.builds(r.Run, runs, pipelines, st.just("schedule"), times, triggers, st.sampled_from(["live", "backfill-1"])),
    st.builds(r.RunEnd, runs, pipelines, ends, times, st.sampled_from(["", "it broke"])),
    *of_scheduler(pipelines),
    *of_runs(pipelines),
    st.builds(r.Setting, pipelines, st.sampled_from(["paused", "draining"]), st.sampled_from(["", "1"])),
    plans,
    plans,
    acks,
    acks,
    st.builds(r.Error, pipelines, numbers, nodes, attempts, failures, st.integers(1, 3), times),
    st.builds(r.Invalidate, pipelines, numbers, st.lists(nodes, max_size=2), st.just("lost")),
    st.builds(
        r.Revise, pipelines, numbers, st.just("flights"), st.lists(st.just("a.csv"), max_size=1), failures, times
    ),
    st.builds(r.Fail, pipelines, numbers, nodes, times),
    st.builds(r.Retry, pipelines, numbers, times),
    st.builds(r.Prepare, pipelines, numbers, st.dictionaries(nodes, parts, max_size=2), times),
    st.builds(r.Block, pipelines, numbers, nodes, failures, times),
    st.builds(r.Commit, pipelines, numbers, times),
    st.builds(r.DeadLetter, pipelines, numbers, nodes, failures, times),
    st.builds(r.Cancel, pipelines, st.lists(numbers, max_size=2), times),
)


def number(batches: list[list[r.AnyRecord]]) -> list[list[r.AnyRecord]]:
    """The batches with each plan of iteration 0 given the next number of its pipeline."""
    last = {"one": 1, "two": 0}
    result: list[list[r.AnyRecord]] = []
    for batch in batches:
        result.append([])
        for record in batch:
            if isinstance(record, r.Plan) and record.iteration == 0:
                last[record.pipeline] += 1
                result[-1].append(msgspec.structs.replace(record, iteration=last[record.pipeline]))
            else:
                result[-1].append(record)
    return result


def apply_all(engine: Engine, reference: Reference, batch: list[r.AnyRecord]) -> None:
    """Apply a batch, taking out what is refused; both must refuse the same."""
    while batch:
        first = engine.last_seq + 1
        told = [
            msgspec.structs.replace(record, id=number) if isinstance(record, r.Alert) and record.id == 0 else record
            for number, record in enumerate(batch, first)
        ]
        try:
            engine.apply(1, first, told)
            good, bad = told, None
        except Refused as refused:
            good, bad = told[: refused.seq - first], told[refused.seq - first]
        assert engine.last_seq == first + len(good) - 1
        for record in good:
            reference.apply(record)
        if bad is not None:
            with pytest.raises(Bad):
                reference.apply(bad)
        batch = batch[len(good) + 1 :]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(scheduler, min_size=1, max_size=12), max_size=10), st.integers(1, 5))
def test_any_records_of_the_scheduler_leave_what_the_reference_says(
    batches: list[list[r.AnyRecord]], page: int
) -> None:
    spec, place = ScheduleSpec("hourly", every=60.0), Place(0, "")
    first: list[r.AnyRecord] = [
        *(r.Schedule("one", name, spec, "yaml", place, 1.0) for name in ("hourly", "files")),
        *(r.Alert(0, "failure", "one", "x", 1.0) for _ in range(3)),
        r.Run("r1", "one", "trigger", 1.0),
        make.plan(1, pipeline="one", run="r1"),
    ]
    compare([first, *batches], page)


FAILED_RUN_THAT_HAS_TAKEN_UP: list[r.AnyRecord] = [
    r.Run("r1", "one", "trigger", 0.0),
    r.Run("r2", "one", "manual", 0.0, took=[1]),
    r.Run("r3", "one", "trigger", 0.0),
    r.RunEnd("r1", "one", "done", 1.0),
    r.RunEnd("r2", "one", "failed", 0.0),
    r.RunEnd("r3", "one", "done", 0.0),
]


@settings(max_examples=120, deadline=None)
@given(st.lists(st.lists(records, min_size=1, max_size=12), max_size=10), st.integers(1, 5))
@example([FAILED_RUN_THAT_HAS_TAKEN_UP], 1)
def test_any_records_leave_what_the_reference_says(batches: list[list[r.AnyRecord]], page: int) -> None:
    compare([[make.plan(1, "z.csv", pipeline="one")], *batches], page)


def compare(batches: list[list[r.AnyRecord]], page: int) -> None:
    engine, reference = claimed(), Reference()
    for batch in number(batches):
        apply_all(engine, reference, batch)
    with mock.patch.object(snapshot, "PAGE_ITEMS", page), mock.patch.object(r, "RUNS_LOADED", 2):
        assert loaded(engine) == reference.snapshot()
    for pipeline in ("one", "two"):
        for lane in ("live", "backfill-1", "trigger"):
            for source in ("flights", "weather", "hourly", "files"):
                held = sorted(key[3:] for key in reference.ledger if key[:3] == (pipeline, lane, source))
                found = [(p.identity, p.generation) for p in engine.ledger(pipeline, lane, source)[0]]
                assert found == held
    letters = engine.answer("deadletter.list", {})["items"]
    assert [(row["pipeline"], row["iteration"], row["position"]) for row in reversed(letters)] == [
        letter[:3] for letter in reference.letters
    ]
    assert engine.answer("checkpoint.stats", {})["counts"]["ledger"] == len(reference.ledger)
    assert listed(engine, reference) == [
        (o.schedule, o.id, o.state, o.run, o.reason, o.count) for o in reversed(reference.occurrences)
    ]


def listed(engine: Engine, reference: Reference) -> list[tuple[Any, ...]]:
    """What is told of occurrences, of both pipelines in the order in which they were noted, newest first."""
    names = ("schedule", "occurrence", "state", "run", "reason", "count")
    rows = {
        pipeline: engine.answer("occurrence.list", {"pipeline": pipeline, "limit": 1000})["items"]
        for pipeline in {o.pipeline for o in reference.occurrences}
    }
    found = [rows[o.pipeline].pop(0) for o in reversed(reference.occurrences)]
    assert not any(rows.values())
    return [tuple(row[name] for name in names) for row in found]


@settings(max_examples=100, deadline=None)
@given(st.lists(positions, unique_by=lambda p: (p.identity, p.generation)), st.integers(1, 3))
@example([file_position("a", 1, 1, 2**64 - 1, 1), file_position("a", 1, 1, 1, 2)], 1)
def test_pages_of_the_ledger_give_back_every_position_once(found: list[Position], limit: int) -> None:
    engine = claimed()
    put(engine, r.Plan(P, "live", 1, 1, {"flights": found}, ["flights"], 1.0))
    pages: list[Position] = []
    cursor = ""
    while True:
        page, cursor = engine.ledger(P, "live", "flights", cursor, limit)
        pages += page
        if not cursor:
            break
    assert pages == sorted(found, key=lambda p: (p.identity, p.generation))


def test_given_a_planned_position_when_planned_again_then_the_plan_is_refused_whole() -> None:
    engine = claimed()
    put(engine, version(), plan(1, "a.csv"))
    with pytest.raises(Refused, match=r"a\.csv .* iteration 2, but iteration 1 has it") as caught:
        put(engine, ack(1), plan(2, "b.csv", "a.csv"), ack(2))
    assert caught.value.seq == 4
    assert engine.last_seq == 3  # what precedes it holds
    assert ledger(engine) == ["a.csv"]
    put(engine, plan(2, "b.csv"))
    assert ledger(engine) == ["a.csv", "b.csv"]


def test_given_another_lane_or_generation_when_planned_then_it_is_another_position() -> None:
    engine = claimed()
    put(engine, plan(1, "a.csv"), plan(2, "a.csv", lane="backfill-1"))
    again = r.Plan(P, "live", 3, 1, {"flights": [make.file("a.csv", generation=2)]}, ["flights"], 1.0)
    put(engine, again)
    assert ledger(engine) == ["a.csv", "a.csv"]


def test_given_a_batch_source_when_planned_twice_then_it_is_pinned_but_not_in_the_ledger() -> None:
    engine = claimed()
    put(engine, plan(1, "a.csv", ledgered=()), plan(2, "a.csv", ledgered=()))
    assert ledger(engine) == []
    plans = [item.plan for item in loaded(engine) if isinstance(item, r.LoadedIteration)]
    assert [p.positions for p in plans] == [{"flights": [make.file("a.csv")]}] * 2


def test_given_a_cancelled_iteration_when_planned_again_then_its_number_is_not_reused() -> None:
    engine = claimed()
    put(engine, plan(1, "a.csv", "b.csv"), r.Cancel(P, [1], 2.0))
    assert ledger(engine) == []
    with pytest.raises(Refused, match="iteration 1 is not above 1"):
        put(engine, plan(1, "a.csv"))
    put(engine, plan(2, "a.csv"))


def test_given_a_revised_position_when_cancelled_then_it_stays_consumed() -> None:
    engine = claimed()
    put(engine, plan(1, "a.csv", "b.csv"), r.Revise(P, 1, "flights", ["a.csv"], make.failure(), 2.0))
    put(engine, r.Cancel(P, [1], 2.0))
    assert ledger(engine) == ["a.csv"]


def test_given_a_prepared_iteration_when_anything_but_publishing_is_told_then_it_is_refused() -> None:
    engine = claimed()
    put(engine, plan(1, "a.csv"), ack(1), prepare(1))
    for record in (
        ack(1),
        r.Invalidate(P, 1, ["flights"], "lost"),
        r.Revise(P, 1, "flights", ["a.csv"], make.failure(), 1.0),
        r.Cancel(P, [1], 1.0),
        r.DeadLetter(P, 1, "lake", make.failure(), 1.0),
        prepare(1),
    ):
        with pytest.raises(Refused):
            put(engine, record)
    put(engine, version(1), version(2), error(1, "lake"), commit(1))
    assert engine.answer("iteration.show", {"pipeline": P, "iteration": 1})["version"] == 1


def test_given_an_ack_that_settled_an_error_when_it_is_made_void_then_the_error_stays_settled() -> None:
    engine = claimed()
    put(engine, plan(1, "a.csv"), error(1, "clean", 1), ack(1, "clean"), r.Invalidate(P, 1, ["clean"], "lost"))
    assert not [item for item in loaded(engine) if isinstance(item, r.LoadedError | r.LoadedAck)]
    put(engine, error(1, "clean", 1, "again"))
    assert [item.record.failure.message for item in loaded(engine) if isinstance(item, r.LoadedError)] == ["again"]


def test_given_an_error_when_acknowledged_later_then_it_is_settled_and_an_error_after_an_ack_is_not() -> None:
    engine = claimed()
    put(engine, plan(1, "a.csv"), error(1, "clean"), ack(1, "clean"), ack(1, "lake"), error(1, "lake"))
    assert [item.record.node for item in loaded(engine) if isinstance(item, r.LoadedError)] == ["lake"]


def test_given_many_failed_tries_when_counted_then_the_newest_fifty_are_kept() -> None:
    engine = claimed()
    put(engine, plan(1, "a.csv"), *(error(1, "clean", used) for used in range(1, 71)))
    errors = engine.answer("iteration.show", {"pipeline": P, "iteration": 1})["errors"]
    assert [row["used"] for row in errors] == list(range(21, 71))


def test_given_a_value_sqlite_cannot_hold_when_applied_then_it_is_refused_and_named() -> None:
    engine = claimed()
    with pytest.raises(Refused, match="cannot be stored"):
        put(engine, r.Plan(P, "live", 1, 1, {"f": [file_position("a", 2**64, 1, 1)]}, ["f"], 1.0))
    put(engine, plan(1, "a.csv"))


def test_given_inline_outputs_when_loaded_then_pages_stay_within_their_bytes() -> None:
    engine = claimed()
    put(engine, plan(1, "a.csv"), *(ack(1, f"n{i:03}", data=bytes(8000)) for i in range(300)))
    items, cursor = engine.load()
    pages = 1
    while cursor:
        more, cursor = engine.load(cursor)
        assert sum(len(i.record.output.data) for i in more if isinstance(i, r.LoadedAck)) <= snapshot.PAGE_BYTES
        items, pages = items + more, pages + 1
    assert pages == 3
    assert len([i for i in items if isinstance(i, r.LoadedAck)]) == 300


@given(st.text() | st.lists(st.integers() | st.text()).map(str))
@example("[5]")
@example('[5, "a", 1, 0]')
@example('[-1, "a"]')
@example('["x"]')
def test_given_a_foreign_cursor_when_loading_then_it_is_refused(cursor: str) -> None:
    engine = Engine(":memory:")
    with contextlib.suppress(ProtocolError):
        engine.load(cursor)
    engine.close()


def test_given_another_epoch_or_a_gap_when_applied_then_nothing_is() -> None:
    engine = claimed()
    put(engine, version())
    for epoch, first in ((0, 2), (2, 2), (1, 3), (1, 1)):
        with pytest.raises(StoreError, match="a bug"):
            engine.apply(epoch, first, [plan(1, "a.csv")])
    assert engine.last_seq == 1
