"""The schema of a sink is told by the lowest iteration, belongs to what is committed, and goes with what is void."""

from __future__ import annotations

from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import BatchSpec, PipelineSpec
from odibi_actors.messages import NodeDone, PublishTask, Task
from odibi_actors.model import PIN, Failure, node_key, pin_digest
from tests.broker.harness import Broker, pipeline


def run(broker: Broker, task: Task, told: bytes = b"int", salt: str = "") -> list[NodeDone]:
    """What workers answer whose sinks find the schema ``told`` where none is given."""
    found, digests = [], {name: ref.digest for name, ref in task.inputs.items()}
    for step, done in zip(task.steps, broker.run(task, salt), strict=True):
        if done.output is not None:
            digests[step.node.name] = done.output.digest
        if step.node.write is not None:
            schema = told if not step.schema or step.open else b""
            given = {name: digests[name] for name in step.node.inputs}
            key = node_key(step.static, given | {PIN: pin_digest(schema or step.schema)})
            assert done.staged is not None
            part = replace(done.staged, at=step.node.write.target)
            done = replace(done, schema=schema, key=key, staged=part)  # noqa: PLW2901
        found.append(done)
    return found


def compute(broker: Broker, told: dict[int, bytes] | None = None, salt: str = "") -> None:
    """Finish every task there is; ``told``: iteration -> schema its sinks find."""
    while tasks := broker.tasks():
        for task in tasks:
            broker.results(*run(broker, task, (told or {}).get(task.iteration, b"int"), salt))


def pins(broker: Broker, node: str = "a") -> list[tuple[bytes, int, bool]]:
    return [(s.arrow, s.iteration, s.open) for s in broker.of(rec.Schema) if s.node == node]


def started(*names: str, spec: PipelineSpec | None = None) -> Broker:
    broker = Broker(spec or pipeline(max_in_flight=4)).start()
    broker.know(read=b"schema")
    broker.offer(*names)
    return broker


def publish(broker: Broker) -> None:
    broker.durable()
    while work := broker.publications():
        for one in work:
            broker.published(one)
        broker.durable()


def sinks(task: Task) -> dict[str, tuple[bytes, bool]]:
    return {step.node.name: (step.schema, step.open) for step in task.steps if step.node.write is not None}


def test_given_no_pin_when_two_iterations_are_staged_in_any_order_then_the_lower_one_tells_it() -> None:
    for order in ((0, 1), (1, 0)):
        broker = started("1.csv", "2.csv")
        broker.results(*(one for task in broker.tasks() for one in run(broker, task)))  # up to the transform
        tasks = broker.tasks()
        by_iteration = [[t for t in tasks if t.iteration == number] for number in (1, 2)]
        for place in order:
            for task in by_iteration[place]:
                broker.results(*run(broker, task, [b"int", b"double"][place]))
        assert pins(broker)[-1] == (b"int", 1, False)
        again = broker.tasks()
        assert {t.iteration for t in again} == {2}  # made with another schema: staged again, to the pinned one
        assert {schema for t in again for schema in sinks(t).values()} == {(b"int", False)}
        broker.results(*(one for task in again for one in run(broker, task)))
        assert [p.iteration for p in broker.of(rec.Prepare)] == [1, 2]


def test_given_a_pin_when_later_iterations_are_staged_then_they_are_held_to_it() -> None:
    broker = started("1.csv")
    compute(broker)
    publish(broker)
    broker.offer("2.csv")
    seen = {}
    while tasks := broker.tasks():
        for task in tasks:
            seen |= {step.node.name: (step.schema, step.published) for step in task.steps if step.node.write}
            broker.results(*run(broker, task))
    assert seen == {"a": (b"int", True), "b": (b"int", True)}
    assert len(pins(broker)) == 1
    broker.durable()
    assert [task.published for task in broker.publications()] == [True, True]


def test_given_a_cancelled_iteration_then_the_pin_that_it_told_is_no_more() -> None:
    broker = started("1.csv")
    tasks = broker.tasks()
    broker.results(*(one for task in tasks for one in run(broker, task)))
    (first, second) = broker.tasks()
    broker.results(*run(broker, first))
    broker.fail(second, second.steps[0].node.name, Failure("invalid", "no"))
    broker.ask("iteration.cancel", pipeline="p", iteration=1)
    broker.durable()
    broker.offer("1.csv")
    compute(broker, {2: b"double"})
    assert pins(broker)[-1] == (b"double", 2, False)
    assert [p.iteration for p in broker.of(rec.Prepare)] == [2]


def test_given_a_dead_letter_then_the_pin_that_it_told_is_no_more_and_staged_parts_are_made_again() -> None:
    broker = started("1.csv", "2.csv", spec=pipeline(max_in_flight=4, on_error="dead_letter"))
    broker.results(*(one for task in broker.tasks() for one in run(broker, task)))
    tasks = sorted(broker.tasks(), key=lambda task: (task.iteration, task.steps[0].node.name))
    first_a, first_b, second_a, second_b = tasks
    broker.results(*run(broker, first_a, b"double"))
    broker.results(*run(broker, second_a, b"double"))
    assert pins(broker) == [(b"double", 1, False)]
    broker.fail(first_b, "b", Failure("invalid", "no"))
    assert broker.of(rec.DeadLetter)
    assert [i.nodes for i in broker.of(rec.Invalidate)] == [["a"]]
    broker.results(*run(broker, second_b))
    compute(broker, {2: b"int"})
    assert pins(broker)[-1] == (b"int", 2, False)
    assert [p.iteration for p in broker.of(rec.Prepare)] == [2]


def test_given_a_new_query_before_anything_is_committed_then_its_own_pin_does_not_hold_it() -> None:
    spec = pipeline(max_in_flight=4)
    broker = started("1.csv", spec=spec)
    broker.results(*(one for task in broker.tasks() for one in run(broker, task)))
    first, second = broker.tasks()
    broker.results(*run(broker, first))
    name = first.steps[0].node.name
    nodes = [replace(n, transform=replace(n.transform, params={"x": 1})) if n.transform else n for n in spec.nodes]
    broker.apply(replace(spec, nodes=nodes))
    compute(broker, {1: b"wider"}, "new")
    broker.results(*run(broker, second))  # of what no longer holds
    compute(broker, {1: b"wider"}, "new")
    assert pins(broker, name)[-1] == (b"wider", 1, False)
    assert broker.of(rec.Prepare)


def test_given_a_sink_with_another_target_then_its_pin_counts_for_nothing() -> None:
    spec = pipeline(max_in_flight=4)
    broker = started("1.csv", spec=spec)
    compute(broker)
    publish(broker)
    moved = [replace(n, write=replace(n.write, path=f"{n.name}_2")) if n.write else n for n in spec.nodes]
    broker.apply(replace(spec, nodes=moved))
    broker.offer("2.csv")
    compute(broker, {2: b"double"})
    assert pins(broker)[-1] == (b"double", 2, False)
    broker.durable()
    assert [task.published for task in broker.publications()] == [False, False]


def test_given_repin_when_columns_change_then_the_next_part_tells_them_and_a_cancel_opens_it_again() -> None:
    broker = started("1.csv")
    compute(broker)
    publish(broker)
    reply = broker.ask("sink.repin", pipeline="p", sink="a")
    assert reply is not None
    assert reply.status == 0
    assert pins(broker)[-1] == (b"int", 0, True)
    broker.offer("2.csv")
    broker.results(*(one for task in broker.tasks() for one in run(broker, task)))
    first, second = sorted(broker.tasks(), key=lambda task: task.steps[0].node.name)
    assert sinks(first) == {"a": (b"int", True)}
    assert [step.published for step in first.steps] == [False]
    broker.results(*run(broker, first, b"wider"))
    assert pins(broker)[-1] == (b"wider", 2, False)
    broker.fail(second, "b", Failure("invalid", "no"))
    broker.ask("iteration.cancel", pipeline="p", iteration=2)
    broker.durable()
    broker.offer("2.csv")
    broker.results(*(one for task in broker.tasks() for one in run(broker, task)))
    first, second = sorted(broker.tasks(), key=lambda task: task.steps[0].node.name)
    assert sinks(first) == {"a": (b"int", True)}
    refused = broker.ask("sink.repin", pipeline="p", sink="t")
    assert refused is not None
    assert refused.status == 3


def test_given_what_is_published_then_the_next_publication_says_which_iteration_stands_there() -> None:
    spec = pipeline()
    broker = started("1.csv", spec=spec)
    assert [publish.before for publish in complete(broker)] == [0, 0]
    broker.offer("2.csv")
    assert [publish.before for publish in complete(broker)] == [1, 1]
    assert broker.ask("sink.repin", pipeline="p", sink="a") is not None
    broker.offer("3.csv")
    befores = {publish.node.name: publish.before for publish in complete(broker)}
    assert befores == {"a": 0, "b": 2}


def test_given_a_sink_that_was_given_up_for_its_first_part_then_what_came_later_is_known_to_stand_there() -> None:
    broker = started("1.csv")
    compute(broker)
    broker.durable()
    for one in broker.publications():
        if one.node.name == "a":
            broker.fail(one, "a", Failure("conflict", "somebody else's"))
        else:
            broker.published(one)
    broker.durable()
    assert broker.ask("iteration.abandon", pipeline="p", iteration=1, sink="a") is not None
    publish(broker)
    for number, before in ((2, 0), (3, 2)):
        broker.offer(f"{number}.csv")
        (mine,) = [publication for publication in complete(broker) if publication.node.name == "a"]
        assert (mine.published, mine.before) == (number > 2, before)


def complete(broker: Broker) -> list[PublishTask]:
    """Finish all there is to do; what was published."""
    compute(broker)
    broker.durable()
    found = broker.publications()
    for publication in found:
        broker.published(publication)
    broker.durable()
    return found


def test_given_a_new_broker_then_a_pin_holds_and_an_acknowledgement_of_another_schema_does_not_stand() -> None:
    before = started("1.csv", spec=pipeline(max_in_flight=4, batch=BatchSpec(max_files=1)))
    before.results(*(one for task in before.tasks() for one in run(before, task)))
    first, _ = before.tasks()
    before.results(*run(before, first))
    name = first.steps[0].node.name
    (pin,) = [s for s in before.of(rec.Schema) if s.node == name]
    for schema, again in ((pin, False), (replace(pin, arrow=b"other"), True)):
        items: list[rec.AnyLoaded] = [
            rec.LoadedVersion(before.of(rec.Version)[-1]),
            rec.LoadedSchema(rec.Schema("p", "read", b"schema", [])),
            rec.LoadedSchema(replace(schema, iteration=7)),
            rec.LoadedCounter("p", 7, 0, 0, ["read"]),
            rec.LoadedIteration(before.of(rec.Plan)[-1], "running"),
            *(rec.LoadedAck(ack) for ack in before.of(rec.Ack)),
        ]
        after = Broker(recover=True).start(items, epoch=2, last_seq=10)
        assert (name in [step.node.name for task in after.tasks() for step in task.steps]) == again
