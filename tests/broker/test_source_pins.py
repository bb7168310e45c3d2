"""What a source's first rows told belongs to the iteration that read them: it is held to no longer than that stands."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from odibi_actors.actor import Log
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import BatchSpec, ConnectionSpec, NodeSpec, PipelineSpec, ReadSpec
from odibi_actors.messages import SOURCE, STORE, NodeDone, Offer, Reply, Request, Task
from odibi_actors.model import LIVE, PIN, Failure, node_key, pin_digest
from tests.broker.harness import Broker, pipeline, position
from tests.broker.restart import restarted
from tests.broker.test_backfills import Backfilled
from tests.broker.test_backfills import given as backfilled

NO = Failure("invalid", "no such column")
SPEC = pipeline(max_in_flight=4)


def run(broker: Broker, task: Task, told: bytes = b"good") -> list[NodeDone]:
    """What a worker answers whose files are as ``told`` where no schema is given; b"" for headers alone."""
    found = []
    for step, done in zip(task.steps, broker.run(task), strict=True):
        if step.node.read is not None and not step.schema:
            key = node_key(step.static, {PIN: pin_digest(told)} if told else {})
            done = replace(done, schema=told, schema_text=["x: int64"] if told else [], key=key)  # noqa: PLW2901
        found.append(done)
    return found


def compute(broker: Broker, told: bytes = b"good") -> None:
    while tasks := broker.tasks():
        for task in tasks:
            broker.results(*run(broker, task, told))
    broker.durable()


def pinned(broker: Broker, node: str = "read") -> tuple[bytes, int] | None:
    pin = broker.flow.pipelines["p"].pins.get(node)
    return (pin.arrow, pin.iteration) if pin is not None else None


def given_schemas(broker: Broker) -> dict[int, bytes]:
    """Iteration -> schema that its files are read with, of all reads given out now."""
    return {task.iteration: step.schema for task in broker.tasks() for step in task.steps if step.node.read is not None}


def publish(broker: Broker) -> None:
    broker.durable()
    while work := broker.publications():
        for one in work:
            broker.published(one)
        broker.durable()


def told(broker: Broker) -> list[str]:
    return [e.text for e in broker.effects if isinstance(e, Log) and "are void" in e.text]


@pytest.mark.parametrize("end", ["cancel", "dead letter"])
@pytest.mark.parametrize("again", [False, True])
def test_given_a_bad_first_file_when_its_iteration_is_void_then_the_next_one_tells_the_types(
    end: str, again: bool
) -> None:
    broker = Broker(pipeline(on_error="dead_letter" if end == "dead letter" else "halt")).start()
    broker.offer("bad.csv")
    (task,) = broker.tasks()
    first, *_ = run(broker, task, b"bad")
    broker.results(first)
    assert pinned(broker) == (b"bad", 1)
    broker.fail(task, "t", NO)
    if end == "cancel":
        broker.ask("iteration.cancel", pipeline="p", iteration=1)
    assert pinned(broker) is None
    assert told(broker) == [
        "p.read: the types that iteration 1 told are void with it: what is read next tells undeclared ones",
    ]
    broker.durable()
    if again:
        broker = restarted(broker)
        assert pinned(broker) is None
    broker.offer("good.csv")
    compute(broker)
    publish(broker)
    assert [c.iteration for c in broker.of(rec.Commit)] == [2]
    assert pinned(broker) == (b"good", 2)


def test_given_files_read_with_types_that_are_void_then_they_are_read_again_one_first() -> None:
    broker = Broker(replace(SPEC, on_error="dead_letter")).start()
    broker.offer("1.csv", "2.csv", "3.csv")
    (first,) = broker.tasks()
    broker.results(run(broker, first, b"bad")[0])
    second, third = broker.tasks()
    assert {step.schema for task in (second, third) for step in task.steps if step.node.read} == {b"bad"}
    broker.results(run(broker, second)[0])
    broker.fail(first, "t", NO)
    assert [(i.iteration, i.nodes) for i in broker.of(rec.Invalidate)] == [(2, ["read"])]
    broker.results(*run(broker, third))  # of what no longer holds
    assert given_schemas(broker) == {2: b""}


def test_given_a_first_file_that_is_set_aside_when_others_of_its_batch_stay_then_they_tell_the_types() -> None:
    spec = pipeline(on_error="dead_letter", batch=BatchSpec(max_files=2))
    broker = Broker(spec).start()
    broker.offer("1.csv", "2.csv")
    (task,) = broker.tasks()
    broker.results(run(broker, task, b"bad")[0])
    broker.fail(task, "t", Failure("input_lost", "gone", lost="read"))
    (task,) = broker.tasks()
    assert task.steps[0].schema == b"bad"
    broker.fail(task, "read", Failure("malformed", "bad line", position="1.csv"))
    assert pinned(broker) is None
    broker.durable()
    after = restarted(broker)
    assert pinned(after) is None
    assert given_schemas(after) == {1: b""}


def test_given_another_read_before_anything_is_committed_then_what_the_former_told_is_void() -> None:
    broker = Broker(SPEC).start()
    broker.offer("1.csv")
    (task,) = broker.tasks()
    broker.results(run(broker, task, b"bad")[0])
    nodes = [replace(n, read=replace(n.read, options={"delimiter": ";"})) if n.read else n for n in SPEC.nodes]
    at = len(broker.records)
    broker.apply(replace(SPEC, nodes=nodes))
    assert [type(one) for one in broker.records[at:]][:2] == [rec.Unpin, rec.Version]
    assert given_schemas(broker) == {1: b""}
    for crash in range(at, len(broker.records) + 1):
        broker.records = broker.records[:crash]
        after = restarted(broker, replace(SPEC, nodes=nodes))
        assert given_schemas(after) == {1: b""}


def test_given_another_read_when_the_types_are_those_of_what_is_committed_then_they_stay() -> None:
    broker = Broker(SPEC).start()
    broker.offer("1.csv")
    compute(broker)
    publish(broker)
    nodes = [replace(n, read=replace(n.read, options={"delimiter": ";"})) if n.read else n for n in SPEC.nodes]
    broker.apply(replace(SPEC, nodes=nodes))
    assert pinned(broker) == (b"good", 1)
    assert broker.of(rec.Unpin) == []


@pytest.mark.parametrize(("to", "left"), [(0, None), (1, (b"good", 1))])
def test_given_a_rewind_when_all_that_told_the_types_is_taken_back_then_so_are_they(
    to: int, left: tuple[bytes, int] | None
) -> None:
    broker = Broker(SPEC).start()
    for name in ("1.csv", "2.csv"):
        broker.offer(name)
        compute(broker)
        publish(broker)
    broker.ask("pipeline.drain", pipeline="p")
    broker.durable()
    broker.ask("pipeline.rewind", pipeline="p", to=to)
    (request,) = [m for _, m in broker.sent if isinstance(m, Request) and m.verb == "rewind.show"]
    preview = {"retractions": [], "missing": 0, "left": {"committed": to, "last_committed": to, "letters": 0}}
    broker.say(STORE, Reply(request.id, 0, {**preview, "to": to, "states": {}, "positions": 1}))
    broker.durable()
    assert broker.of(rec.Rewound)
    assert pinned(broker) == left
    assert pinned(restarted(broker)) == left


def test_given_a_backfill_read_with_types_of_a_live_iteration_when_prepared_then_they_are_its_own() -> None:
    broker = backfilled(SPEC)
    broker.backfill(files={"": "*.csv"}, run="r1")
    broker.ask("source.unpin", pipeline="p", source="read")
    broker.durable()
    broker.offer("9.csv")
    live = broker.flow.pipelines["p"].last_iteration
    (task,) = broker.tasks()
    broker.results(run(broker, task, b"good")[0])
    assert pinned(broker) == (b"good", live)
    broker.offers(broker.lane, "a")
    while tasks := broker.tasks():
        for one in tasks:
            if one.iteration != live:
                broker.results(*run(broker, one))
    (prepare,) = [p for p in broker.of(rec.Prepare) if p.iteration == live + 1]
    at = broker.records.index(prepare)
    (given,) = [s for s in broker.of(rec.Schema) if (s.node, s.iteration) == ("read", live + 1)]
    assert broker.records.index(given) < at  # a crash between the two leaves no prepared part without its types
    broker.fail(task, "t", NO)
    broker.ask("iteration.cancel", pipeline="p", iteration=live)
    assert pinned(broker) == (b"good", live + 1)
    assert pinned(restarted(broker)) == (b"good", live + 1)


def test_given_types_of_what_is_committed_when_unpinned_then_what_is_in_flight_is_read_again() -> None:
    broker = Broker(SPEC).start()
    broker.offer("1.csv")
    compute(broker)
    publish(broker)
    broker.offer("2.csv")
    (task,) = broker.tasks()
    broker.results(run(broker, task)[0])
    reply = broker.ask("source.unpin", pipeline="p", source="read", dry_run=True)
    assert reply is not None
    assert reply.result == {"pipeline": "p", "source": "read", "iteration": 1, "columns": 1, "dry_run": True}
    assert pinned(broker) == (b"good", 1)
    broker.ask("source.unpin", pipeline="p", source="read")
    assert pinned(restarted(broker)) is None
    assert given_schemas(broker) == {2: b""}
    for source, error in (
        ("t", "has no source 't'; its sources: read"),
        ("read", "it has read nothing yet, or what it read"),
    ):
        refused = broker.ask("source.unpin", pipeline="p", source=source)
        assert refused is not None
        assert refused.status == 3
        assert error in refused.error


def test_given_a_file_of_headers_alone_then_it_holds_up_no_other_and_stands_whatever_they_tell() -> None:
    broker = Broker(SPEC).start()
    broker.offer("1.csv", "2.csv")
    (first,) = broker.tasks()
    broker.results(*run(broker, first, b""))
    assert pinned(broker) is None
    assert given_schemas(broker) == {2: b""}
    broker = restarted(broker)
    compute(broker)
    assert broker.of(rec.Invalidate) == []
    assert [p.iteration for p in broker.of(rec.Prepare)] == [1, 2]
    assert pinned(broker) == (b"good", 2)


def two_sources() -> PipelineSpec:
    """read and more, joined."""
    other = NodeSpec("more", read=ReadSpec(ConnectionSpec("more", "local", "/more"), "csv", "file_watch"))
    nodes = [replace(n, inputs=["read", "more"]) if n.transform else n for n in SPEC.nodes]
    return replace(SPEC, nodes=[other, *nodes], on_error="dead_letter", batch=BatchSpec(max_files=2))


def test_given_iterations_without_a_file_of_a_source_whose_types_are_void_then_they_are_planned_again() -> None:
    spec = two_sources()
    broker = Broker(spec).start()

    def more(*names: str) -> None:
        at = broker.flow.pipelines["p"].sources["more"].seq
        broker.say(SOURCE, Offer(broker.epoch, "f1", "p", "more", at, [position(name) for name in names]))

    more("m1.csv")
    broker.offer("1.csv")
    tasks = {task.steps[0].node.name: task for task in broker.tasks()}
    broker.results(*run(broker, tasks["more"], b"bad"), *run(broker, tasks["read"]))
    broker.offer("2.csv", "3.csv")
    assert [{name: len(files) for name, files in plan.positions.items()} for plan in broker.of(rec.Plan)][-1] == {
        "more": 0,
        "read": 2,
    }
    (join,) = [task for task in broker.tasks() if task.iteration == 1]
    at = len(broker.records)
    broker.fail(join, "t", NO)
    (letter,) = broker.of(rec.DeadLetter)
    (cancel,) = broker.of(rec.Cancel)
    assert letter.iteration == 1
    assert cancel.iterations == [2]
    assert cancel.reason == (f"{rec.PLANNED_AGAIN}the types of more are void, and iteration 2 holds no file of it")
    # A crash between the two: the next broker does it.
    broker.records = broker.records[: broker.records.index(cancel)]
    assert len(broker.records) > at
    after = restarted(broker)
    assert [c.iterations for c in after.of(rec.Cancel)] == [[2]]


def test_given_a_backfill_when_a_source_of_it_has_no_types_any_more_then_it_waits_until_some_are_read() -> None:
    broker = Backfilled(two_sources()).start()

    def offer(source: str, *names: str, lane: str = LIVE) -> None:
        owner = broker.flow.pipelines["p"].lane(lane)
        assert owner is not None
        at, run_ = owner.sources[source].seq, owner.run.run if owner.run is not None else ""
        positions = [position(name) for name in names]
        broker.say(SOURCE, Offer(broker.epoch, "f1", "p", source, at, positions, run_, True, lane))

    offer("more", "m1.csv")
    offer("read", "1.csv")
    compute(broker)
    publish(broker)
    broker.backfill(files={"read": "*", "more": "n*"}, run="r1")
    lane = broker.lane
    broker.ask("source.unpin", pipeline="p", source="more")
    broker.durable()
    offer("more", lane=lane)
    offer("read", "1.csv", lane=lane)
    assert broker.of(rec.RunEnd) == []
    assert broker.of(rec.BackfillEnd) == []
    offer("more", "m2.csv")
    compute(broker)
    publish(broker)
    compute(broker)
    publish(broker)
    assert [plan.positions["read"] for plan in broker.of(rec.Plan) if plan.lane == lane] == [[position("1.csv")]]
    assert [end.state for end in broker.of(rec.BackfillEnd)] == ["done"]
