"""What pools and sources say is taken for what it is: an inventory, a claim, a late word of a former life."""

from __future__ import annotations

import msgspec
import pytest

from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import WorkerSpec
from odibi_actors.messages import SOURCE, Apply, Drop, Forget, Heartbeat, HeldTask, Offer, Release, Tasks, WorkerLimits
from tests.broker.harness import CLIENT, POOL, Broker, position, project
from tests.broker.restart import restarted, snapshot


def test_given_an_offer_of_a_former_source_when_it_comes_late_then_it_is_ignored() -> None:
    broker = Broker().start()
    seq = broker.flow.pipelines["p"].sources["read"].seq
    broker.say(SOURCE, Offer(broker.epoch, "f0", "p", "read", seq, [position("f1.csv")]))
    assert broker.of(rec.Plan) == []
    broker.offer("f1.csv")
    assert len(broker.of(rec.Plan)) == 1


def test_given_a_pools_inventory_when_it_joins_then_only_what_nobody_references_is_released() -> None:
    broker = Broker().start()
    broker.offer("f1.csv", "f2.csv")
    (first,) = broker.tasks()
    broker.finish(first)
    broker.ask("pipeline.pause", pipeline="p")
    broker.pool_joins("w2", spool=[("p", 1), ("p", 2), ("p", 77)])
    assert broker.take(Release) == []
    broker.ask("iteration.cancel", pipeline="p", iteration=1)
    broker.durable()
    broker.take(Release)
    broker.pool_joins("w3", spool=[("p", 1)])
    assert [r.iterations for r in broker.take(Release)] == [[("p", 1)]]


def test_given_limits_of_workers_when_they_are_applied_or_pools_or_brokers_are_new_then_pools_are_told() -> None:
    broker = Broker().start()
    assert [told.limits for told in broker.take(WorkerLimits)] == [WorkerSpec()]
    limits = WorkerSpec(max_tasks=100, max_memory=2_000_000_000)
    changes = [(limits, [limits]), (limits, []), (WorkerSpec(), [WorkerSpec()]), (limits, [limits])]
    for number, (spec, told) in enumerate(changes):
        broker.say(CLIENT, Apply(f"a{number}", msgspec.structs.replace(project(), worker=spec)))
        broker.durable()
        assert [one.limits for one in broker.take(WorkerLimits, POOL)] == told
    broker.pool_joins("w2")
    assert [told.limits for told in broker.take(WorkerLimits, POOL)] == [limits]
    assert [told.limits for told in restarted(broker).take(WorkerLimits, POOL)] == [limits]  # it reads no odibi.yaml


@pytest.mark.parametrize("same", [True, False])
def test_given_a_held_task_of_a_former_broker_when_its_key_differs_then_it_is_dropped(same: bool) -> None:
    before = Broker().start()
    before.offer("f1.csv")
    (task,) = before.tasks()
    steps = [(s.node.name, s.static if same else "another") for s in task.steps]
    after = Broker(recover=True)
    after.pool_joins(held=[HeldTask(task.attempt, "p", 1, steps, running=True)])
    items, last_seq = snapshot(before)
    after.start(items, epoch=2, last_seq=last_seq)
    dropped = [a for d in after.take(Drop) for a in d.attempts]
    assert dropped == ([] if same else [task.attempt])
    assert [t.steps[0].node.name for t in after.tasks()] == ([] if same else ["read"])


def test_given_an_output_with_another_key_when_it_is_told_then_it_does_not_count() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    read, _ = broker.run(task)
    broker.results(msgspec.structs.replace(read, key="0" * 32))
    assert broker.of(rec.Ack) == []
    broker.wait(1)
    assert [f.confirmed for f in broker.take(Forget)] == [[(task.attempt, "read")]]
    (again,) = broker.tasks()
    assert again.attempt != task.attempt


def test_given_an_output_of_another_schema_when_one_is_pinned_then_it_does_not_count() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    broker.know(read=b"pinned meanwhile")
    broker.results(broker.run(task)[0])
    assert broker.of(rec.Ack) == []
    (again,) = broker.tasks()
    assert again.steps[0].schema == b"pinned meanwhile"


def test_given_a_task_that_the_pool_never_got_when_it_does_not_list_it_then_it_is_sent_again() -> None:
    broker = Broker().start()
    broker.offer("f1.csv")
    (task,) = broker.tasks()
    pool = broker.flow.dispatcher.pools[POOL]
    broker.say(POOL, Heartbeat(broker.epoch, [], pool.workers))
    assert broker.take(Tasks) == []  # it may be on its way
    broker.now += 2.5
    broker.say(POOL, Heartbeat(broker.epoch, [task.attempt], pool.workers))
    assert broker.take(Tasks) == []
    broker.say(POOL, Heartbeat(broker.epoch, [], pool.workers))
    assert [t.attempt for t in broker.tasks()] == [task.attempt]


def test_given_a_restart_when_a_pool_lists_what_was_terminal_then_it_is_released() -> None:
    before = Broker().start()
    before.offer("f1.csv")
    before.compute()
    before.durable()
    for publication in before.publications():
        before.published(publication)
    assert len(before.of(rec.Commit)) == 1
    after = restarted(before)
    after.pool_joins("w2", spool=[("p", 1)])
    assert [r.iterations for r in after.take(Release)] == [[("p", 1)]]
