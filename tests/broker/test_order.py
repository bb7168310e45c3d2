"""What waits for what: the order of a lane, durability before effects, one publisher per database."""

from __future__ import annotations

import msgspec
import pytest

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import BatchSpec, ConnectionSpec, WriteSpec
from odibi_actors.messages import Release, Released, Task
from tests.broker.harness import Broker, Failure, pipeline
from tests.broker.restart import restarted
from tests.targets import rows_part


def _two_prepared() -> Broker:
    """Two iterations, both prepared, PREPARE durable."""
    broker = Broker().start()
    broker.offer("f1.csv", "f2.csv")
    broker.compute()
    assert [p.iteration for p in broker.of(rec.Prepare)] == [1, 2]
    broker.durable()
    return broker


def test_a_sink_publishes_in_the_order_of_the_lane() -> None:
    broker = _two_prepared()
    first = {t.node.name: t for t in broker.publications()}
    assert {name: t.iteration for name, t in first.items()} == {"a": 1, "b": 1}
    broker.published(first["a"])
    assert [(t.iteration, t.node.name) for t in broker.publications()] == [(2, "a")]


def test_iterations_are_committed_in_order_even_when_a_later_one_has_fewer_sinks() -> None:
    before = Broker().start()
    before.offer("f1.csv")
    before.compute()
    spec = pipeline()
    broker = restarted(before, msgspec.structs.replace(spec, nodes=spec.nodes[:-1]))
    one_a, one_b = broker.publications()
    assert (one_a.node.name, one_b.node.name) == ("a", "b")
    broker.offer("f2.csv")
    broker.compute()
    broker.durable()
    broker.published(one_a)
    (two_a,) = broker.publications()
    assert two_a.iteration == 2
    broker.published(two_a)
    assert broker.of(rec.Commit) == []
    broker.published(one_b)
    assert [c.iteration for c in broker.of(rec.Commit)] == [1, 2]


def test_a_publisher_is_told_what_may_stand_in_its_target() -> None:
    broker = _two_prepared()
    digests = {r.iteration: r.sinks["a"].digest for r in broker.of(rec.Prepare)}
    for _ in digests:
        tasks = broker.publications()
        assert [(t.upto, t.coming) for t in tasks if t.node.name == "a"] == [(0, list(digests.items()))]
        for task in tasks:
            broker.published(task)
    for task in broker.publications():
        broker.published(task)
    broker.offer("f3.csv")
    broker.compute()
    after = restarted(broker)
    after.durable()
    (task,) = [one for one in after.publications() if one.node.name == "a"]
    assert (task.upto, [number for number, _ in task.coming]) == (2, [3])


def _referring() -> Broker:
    """Sinks `b` and `a`, in this order, are tables of one database; two iterations are prepared, durably."""
    mart = ConnectionSpec("mart", "sqlite", "/mart.db")
    spec = pipeline()
    nodes = [
        msgspec.structs.replace(n, write=WriteSpec(mart, mode="append", table=n.name)) if n.write else n
        for n in [*spec.nodes[:-2], spec.nodes[-1], spec.nodes[-2]]
    ]
    broker = Broker(msgspec.structs.replace(spec, nodes=nodes)).start()
    broker.offer("f1.csv", "f2.csv")
    while tasks := broker.tasks():
        for task in tasks:
            broker.results(*_with_target(broker, task))
    broker.durable()
    return broker


def test_one_publisher_at_a_time_per_database() -> None:
    broker = _referring()
    order = []
    while tasks := broker.publications():
        (task,) = tasks
        order.append(f"{task.node.name}{task.iteration}")
        broker.published(task)
    assert order == ["b1", "a1", "b2", "a2"]  # as odibi.yaml has them: tables refer to each other


def test_sinks_of_a_database_keep_their_order_after_a_crash_between_them() -> None:
    before = _referring()
    (first,) = before.publications()
    before.published(first)
    (second,) = before.publications()
    after = restarted(before)  # nobody knows any more that b is published, which b itself finds out
    after.durable()
    (again,) = after.publications()
    assert (again.node.name, again.part) == ("b", first.part)
    after.published(second)  # the former worker is heard only now
    assert after.publications() == []
    after.published(again)
    assert [(one.iteration, one.node.name) for one in after.publications()] == [(2, "b")]
    assert [one.iteration for one in after.of(rec.Commit)] == [1]


def test_sinks_of_a_database_wait_for_one_before_them_that_is_tried_again_until_it_is_blocked() -> None:
    broker = _referring()
    (first,) = broker.publications()
    broker.fail(first, "b", Failure("io", "not now"))
    broker.offer("f3.csv")  # the pipeline is looked at again
    assert broker.publications() == []
    broker.wait(2.0)
    (again,) = broker.publications()
    assert again.node.name == "b"
    broker.fail(again, "b", Failure("conflict", "refused"))
    assert [one.node.name for one in broker.publications()] == ["a"]


def _with_target(broker: Broker, task: Task) -> list[object]:
    """Results whose staged parts are of tables in one database."""
    return [
        msgspec.structs.replace(d, staged=rows_part(d.staged, "/mart.db", d.node)) if d.staged else d
        for d in broker.run(task)
    ]


def test_a_cancel_tells_the_source_what_was_released() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    broker.ask("iteration.cancel", pipeline="p", iteration=1)
    (released,) = broker.take(Released)
    assert (released.source, released.seq) == ("read", broker.flow.journal.last)


def test_a_dead_letters_outputs_are_kept_also_after_a_restart() -> None:
    broker = Broker(pipeline(on_error="dead_letter")).start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.results(broker.run(task)[0])
    broker.fail(task, "t", Failure("invalid", "no"))
    assert len(broker.of(rec.DeadLetter)) == 1
    broker.durable()
    broker.pool_joins(spool=[("p", 1)])
    assert broker.take(Release) == []
    after = restarted(broker)
    after.pool_joins(spool=[("p", 1)])
    assert after.take(Release) == []


def test_nothing_is_planned_or_given_out_past_the_bound_of_undurable_records(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(pipeline(max_in_flight=50, batch=BatchSpec(max_files=1))).start()
    broker.know(read=b"schema")
    broker.durable()
    monkeypatch.setattr("odibi_actors.broker.journal.MAX_BACKLOG", 5)
    broker.offer(*[f"f{n}.csv" for n in range(8)])
    assert len(broker.of(rec.Plan)) == 5
    assert broker.tasks() == []
    broker.durable()
    assert len(broker.of(rec.Plan)) == 8
    assert broker.tasks() != []


def test_a_lost_input_does_not_use_up_the_attempts_of_who_wanted_it() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.finish(task)
    for _ in range(2):  # as often as the node may be tried
        one = next(t for t in broker.tasks() if t.steps[0].node.name == "a")
        broker.fail(one, "a", Failure("input_lost", "gone", lost="t"))
        (again,) = [t for t in broker.tasks() if t.steps[0].node.name == "t"]
        broker.finish(again)
    (one,) = [t for t in broker.tasks() if t.steps[0].node.name == "a"]
    assert one.attempt_no == 1
    broker.fail(one, "a", Failure("raised", "boom"))
    broker.wait(2)
    assert [t.attempt_no for t in broker.tasks() if t.steps[0].node.name == "a"] == [2]
    assert broker.of(rec.Fail) == []


def test_a_changed_node_in_the_midst_of_a_running_chain_starts_what_is_left_of_it_again() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    assert [s.node.name for s in task.steps] == ["read", "t"]
    spec = pipeline()
    nodes = [
        msgspec.structs.replace(n, transform=msgspec.structs.replace(n.transform, params={"x": 1}))
        if n.transform
        else n
        for n in spec.nodes
    ]
    broker.apply(msgspec.structs.replace(spec, nodes=nodes))
    (again,) = broker.tasks()
    assert [s.node.name for s in again.steps] == ["read", "t"]
    assert again.attempt != task.attempt
