"""The pool's actor, told one message at a time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from odibi_actors import messages as m
from odibi_actors.actor import DeleteSpool, Effect, Send, StartWorker, Stop, StopWorker, ToWorker
from odibi_actors.model import Attempt, BatchRef, Failure
from odibi_actors.workers import pool as pool_module
from odibi_actors.workers.outbox import HOLD
from odibi_actors.workers.pool import PoolActor
from tests.workers.builders import CODE, done, publish, task


class Bench:
    """A pool with its effects at hand; time passes only when told to."""

    def __init__(self, capacity: int = 1, code: str = CODE, join: bool = True) -> None:
        self.now = 1000.0
        self.pool = PoolActor("pool-0", "inc", "host", 1, capacity, CODE)
        self.effects: list[Effect] = self.pool.start(self.now)
        self.effects += self.pool.flush(self.now)
        if join:
            self.local(m.Connected())
            self.broker(m.Welcome(1, 0, "store"))
            for start in self.of(StartWorker):
                self.ready(start.worker, code)

    def hear(self, sender: str, *messages: m.Message) -> list[Effect]:
        effects: list[Effect] = []
        for message in messages:
            effects += self.pool.handle(sender, message, self.now)
        effects += self.pool.flush(self.now)
        self.effects += effects
        return effects

    def broker(self, *messages: m.Message) -> list[Effect]:
        return self.hear(m.BROKER, *messages)

    def local(self, *messages: m.Message) -> list[Effect]:
        return self.hear(m.LOCAL, *messages)

    def ready(self, worker: str, code: str = CODE) -> list[Effect]:
        return self.hear(worker, m.WorkerReady(77, code))

    def give(self, *tasks: m.AnyTask) -> list[Effect]:
        return self.broker(m.Tasks(1, list(tasks)))

    def until(self, when: float) -> list[Effect]:
        """Let time pass, with a Tick at each deadline on the way."""
        effects: list[Effect] = []
        while (due := self.pool.deadline()) is not None and due <= when and not self.of(Stop):
            self.now = max(self.now, due)
            effects += self.local(m.Tick())
            after = self.pool.deadline()
            assert self.of(Stop) or after is None or after > self.now, "a deadline that stays is a busy loop"
        self.now = max(self.now, when)
        return effects

    def of(self, kind: type[Any], effects: list[Effect] | None = None) -> list[Any]:
        return [e for e in (self.effects if effects is None else effects) if isinstance(e, kind)]

    def results(self, effects: list[Effect]) -> list[Any]:
        sends = [e.message for e in effects if isinstance(e, Send)]
        return [result for message in sends if isinstance(message, m.Results) for result in message.results]

    def said(self, kind: type[Any], effects: list[Effect]) -> list[Any]:
        return [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, kind)]


def names(effects: list[Effect]) -> list[str]:
    return [e.worker for e in effects if isinstance(e, ToWorker)]


def test_a_task_goes_to_an_idle_worker_and_its_result_to_the_broker_until_confirmed() -> None:
    bench = Bench()
    work = task(1)
    assert names(bench.give(work)) == ["pool-0-1"]
    result = m.WorkerResult(done(work, "a"), last=True)
    effects = bench.hear("pool-0-1", result)
    assert bench.results(effects) == [result.result]
    assert bench.results(bench.until(bench.now + 1.9)) == []
    assert bench.results(bench.until(bench.now + 0.2)) == [result.result]
    bench.broker(m.Forget(1, [(work.attempt, "a")]))
    assert bench.results(bench.until(bench.now + 30)) == []


def test_results_of_one_turn_travel_as_one_list() -> None:
    bench = Bench(capacity=2)
    one, two = task(1), task(2)
    bench.give(one, two)
    effects = bench.pool.handle("pool-0-1", m.WorkerResult(done(one, "a"), True), bench.now)
    effects += bench.pool.handle("pool-0-2", m.WorkerResult(done(two, "a"), True), bench.now)
    effects += bench.pool.flush(bench.now)
    assert [len(r.results) for r in bench.said(m.Results, effects)] == [2]


def test_a_repeated_task_runs_once_even_after_it_was_confirmed() -> None:
    bench = Bench()
    work = task(1)
    assert len(names(bench.give(work, work))) == 1
    bench.hear("pool-0-1", m.WorkerResult(done(work, "a"), True))
    assert names(bench.give(work)) == []
    bench.broker(m.Forget(1, [(work.attempt, "a")]))
    assert names(bench.give(work)) == []


def test_a_node_past_its_timeout_is_killed_and_reported_with_the_limit() -> None:
    bench = Bench()
    work = task(1, "a", "b", timeout=10.0)
    bench.give(work)
    bench.until(bench.now + 9)
    bench.hear("pool-0-1", m.WorkerResult(done(work, "a", last=False), False))
    assert bench.of(StopWorker, bench.until(bench.now + 9.9)) == []
    assert bench.of(StopWorker, bench.until(bench.now + 0.2)) == [StopWorker("pool-0-1")]
    effects = bench.local(m.WorkerExited("pool-0-1", 77, -9))
    (failed,) = [r for r in bench.results(effects) if isinstance(r, m.NodeFailed)]
    assert (failed.node, failed.failure.kind) == ("b", "timeout")
    assert "10s" in failed.failure.message
    assert bench.of(StartWorker)[-1].worker == "pool-0-2"


def test_the_time_of_a_task_in_a_workers_queue_begins_when_the_one_before_it_is_done() -> None:
    bench = Bench()
    first, second = task(1, timeout=10.0), task(2, timeout=10.0)
    bench.pool.last[("p", "a")] = 0.0001  # short nodes: both go to the worker
    assert names(bench.give(first, second)) == ["pool-0-1", "pool-0-1"]
    bench.until(bench.now + 9)
    bench.hear("pool-0-1", m.WorkerResult(done(first, "a"), True))
    assert bench.of(StopWorker, bench.until(bench.now + 9.9)) == []
    assert bench.of(StopWorker, bench.until(bench.now + 0.2)) == [StopWorker("pool-0-1")]


def test_a_result_in_the_midst_of_a_chain_waits_a_moment_for_others_and_goes_with_anything_urgent() -> None:
    bench = Bench()
    work = task(1, "a", "b", "c")
    bench.give(work)
    a, b, c = (done(work, node, last=node == "c") for node in "abc")
    assert bench.results(bench.hear("pool-0-1", m.WorkerResult(a, False))) == []
    assert bench.results(bench.until(bench.now + HOLD / 2)) == []
    assert bench.results(bench.until(bench.now + HOLD / 2)) == [a]
    assert bench.results(bench.hear("pool-0-1", m.WorkerResult(b, False))) == []
    assert bench.results(bench.hear("pool-0-1", m.WorkerResult(c, True))) == [b, c]


def test_a_schema_that_other_iterations_wait_for_is_told_at_once() -> None:
    bench = Bench()
    work = task(1, "a", "b")
    bench.give(work)
    first = msgspec.structs.replace(done(work, "a", last=False), schema=b"s")
    assert bench.results(bench.hear("pool-0-1", m.WorkerResult(first, False))) == [first]


@pytest.mark.parametrize(
    ("status", "words"), [(-9, ["SIGKILL", "memory"]), (-11, ["SIGSEGV"]), (3, ["exited with code 3"])]
)
def test_a_death_is_blamed_on_the_node_that_ran_and_the_rest_is_returned(status: int, words: list[str]) -> None:
    bench = Bench()
    first, second = task(1), task(2)
    bench.pool.last[("p", "a")] = 0.0001  # short nodes: both go to the worker
    assert names(bench.give(first, second)) == ["pool-0-1", "pool-0-1"]
    results = bench.results(bench.local(m.WorkerExited("pool-0-1", 77, status)))
    assert [type(r) for r in results] == [m.NodeFailed, m.Returned]
    assert results[0].failure.kind == "died"
    for word in ("pool-0-1", "node a", *words):
        assert word in results[0].failure.message


def test_a_death_with_the_warm_parent_is_nobodys_fault() -> None:
    bench = Bench()
    work = task(1)
    bench.give(work)
    results = bench.results(bench.local(m.WorkerExited("pool-0-1", 77, -9, blamed=False)))
    assert [type(r) for r in results] == [m.Returned]


def test_a_worker_killed_by_the_operator_returns_its_task() -> None:
    bench = Bench()
    bench.give(task(1))
    assert bench.of(StopWorker, bench.broker(m.KillWorker("pool-0-1"))) == [StopWorker("pool-0-1")]
    results = bench.results(bench.local(m.WorkerExited("pool-0-1", 77, -9)))
    assert [type(r) for r in results] == [m.Returned]


def test_workers_that_die_while_starting_are_replaced_ever_more_slowly() -> None:
    bench = Bench(join=False)
    waits = []
    for _ in range(11):
        worker = bench.of(StartWorker)[-1].worker
        began, count = bench.now, len(bench.of(StartWorker))
        bench.local(m.WorkerExited(worker, 0, 1))
        while len(bench.of(StartWorker)) == count:
            bench.until(bench.pool.deadline() or 0)
        waits.append(bench.now - began)
    assert waits == sorted(waits)
    assert waits[0] == pytest.approx(0.1)
    assert waits[-1] == pytest.approx(30.0)


def test_an_older_broker_has_no_say() -> None:
    bench = Bench()
    bench.broker(m.Welcome(5, 0, "store"))
    assert names(bench.broker(m.Tasks(4, [task(1, epoch=4)]))) == []
    bench.broker(m.Scale(4, 9))
    assert bench.pool.capacity == 1


def test_a_new_broker_is_told_what_is_held_and_what_is_finished() -> None:
    bench = Bench(capacity=2)
    running, finished, waiting = task(1, "a", "b"), task(2), publish(3)
    bench.give(running, finished)
    bench.hear("pool-0-1", m.WorkerResult(done(running, "a", last=False), False))
    bench.hear("pool-0-2", m.WorkerResult(done(finished, "a"), True))
    bench.give(task(4), waiting)
    (hello,) = bench.said(m.PoolHello, bench.local(m.Connected()))
    assert [(h.attempt.counter, h.steps, h.running, h.publish) for h in hello.held] == [
        (1, [("b", "s-b")], True, False),
        (3, [("sink", "")], True, True),
        (4, [("a", "s-a")], False, False),
    ]
    assert [(d.attempt.counter, d.node) for d in hello.finished] == [(1, "a"), (2, "a")]
    assert bench.results(bench.hear("pool-0-1", m.WorkerResult(done(running, "b"), True))) == []  # not joined yet
    effects = bench.broker(m.Welcome(2, 0, "store"))
    assert [(message.epoch, len(message.results)) for message in bench.said(m.Results, effects)] == [(2, 1)]


def test_after_a_reconnect_what_a_hello_does_not_list_is_told_at_once() -> None:
    bench = Bench()
    work = task(1)
    bench.give(work)
    bench.local(m.WorkerExited("pool-0-1", 77, -9))
    bench.local(m.Connected())
    assert [type(r) for r in bench.results(bench.broker(m.Welcome(2, 0, "store")))] == [m.NodeFailed]


def test_a_hello_that_was_not_answered_is_said_again() -> None:
    bench = Bench(join=False)
    bench.local(m.Connected())
    assert len(bench.said(m.PoolHello, bench.until(bench.now + 6.5))) == 3


def test_what_is_dropped_is_killed_or_forgotten() -> None:
    bench = Bench()
    running, waiting = task(1), task(2)
    bench.give(running, waiting)
    effects = bench.broker(m.Drop(1, [running.attempt, waiting.attempt]))
    assert bench.of(StopWorker, effects) == [StopWorker("pool-0-1")]
    effects = bench.local(m.WorkerExited("pool-0-1", 77, -9))
    assert bench.results(effects) == []
    assert names(bench.ready("pool-0-2")) == []
    assert names(bench.give(running, waiting)) == []


def test_heartbeats_list_what_is_held_and_what_is_unconfirmed() -> None:
    bench = Bench()
    finished, running, waiting = task(1), task(2), task(3)
    bench.give(finished, running, waiting)
    bench.hear("pool-0-1", m.WorkerResult(done(finished, "a"), True))
    (beat,) = bench.said(m.Heartbeat, bench.until(bench.now + 1.01))
    assert sorted(beat.held) == [finished.attempt, running.attempt, waiting.attempt]
    assert [(w.state, w.doing) for w in beat.workers] == [("busy", "p/2/a")]


def test_scaling_up_starts_workers_and_down_dismisses_idle_ones_first() -> None:
    bench = Bench(capacity=1)
    bench.give(task(1))
    assert len(bench.of(StartWorker, bench.broker(m.Scale(1, 3)))) == 2
    bench.ready("pool-0-2")
    bench.ready("pool-0-3")
    effects = bench.broker(m.Scale(1, 1))
    assert names(effects) == ["pool-0-2", "pool-0-3"]
    assert {type(e.message) for e in bench.of(ToWorker, effects)} == {m.WorkerExit}
    bench.broker(m.Scale(1, 0))
    effects = bench.hear("pool-0-1", m.WorkerResult(done(task(1), "a"), True))
    assert [type(e.message) for e in bench.of(ToWorker, effects)] == [m.WorkerExit]
    assert bench.of(StopWorker, bench.until(bench.now + 6)) != []  # one that does not go is killed


def test_draining_returns_what_waits_finishes_what_runs_and_says_bye() -> None:
    bench = Bench()
    running, waiting, late = task(1), task(2), task(3)
    bench.give(running, waiting)
    effects = bench.local(m.Terminate())
    (hello,) = bench.said(m.PoolHello, effects)
    assert (hello.capacity, hello.draining) == (0, True)
    effects = bench.broker(m.Welcome(1, 0, "store"))
    assert [r.attempt for r in bench.results(effects)] == [waiting.attempt]
    assert [r.attempt for r in bench.results(bench.give(late))] == [late.attempt]
    assert bench.said(m.Bye, bench.until(bench.now + 5)) == []
    bench.hear("pool-0-1", m.WorkerResult(done(running, "a"), True))
    confirmed: list[tuple[Attempt, str]] = [(waiting.attempt, ""), (late.attempt, ""), (running.attempt, "a")]
    effects = bench.broker(m.Forget(1, confirmed))
    assert len(bench.said(m.Bye, effects)) == 1
    assert [s.code for s in bench.of(Stop, bench.broker(m.ByeAck()))] == [0]


def test_draining_without_a_broker_ends_too() -> None:
    bench = Bench()
    bench.give(task(1))
    bench.hear("pool-0-1", m.WorkerResult(done(task(1), "a"), True))
    bench.broker(m.Shutdown())
    began = bench.now
    while not bench.of(Stop):
        bench.until(bench.pool.deadline() or 0)
    assert bench.now - began <= pool_module.CONFIRM_WAIT + pool_module.BYE_WAIT


def test_told_twice_it_stops_at_once() -> None:
    bench = Bench()
    bench.give(task(1))
    effects = bench.local(m.Terminate(at_once=True))
    assert bench.of(StopWorker, effects) == [StopWorker("pool-0-1")]
    assert [s.code for s in bench.of(Stop, effects)] == [0]


def test_a_task_with_new_code_gets_a_worker_from_a_fresh_parent() -> None:
    bench = Bench()
    new = task(1, code="n" * 32)
    effects = bench.give(new)
    assert bench.of(StopWorker, effects) == [StopWorker("pool-0-1")]
    assert bench.of(StartWorker, effects) == [StartWorker("pool-0-2", fresh=True)]
    bench.local(m.WorkerExited("pool-0-1", 77, -9))
    assert names(bench.ready("pool-0-2", "n" * 32)) == ["pool-0-2"]


def test_after_an_apply_every_idle_worker_is_replaced_that_is_needed() -> None:
    bench = Bench(capacity=2)
    bench.give(task(1, code="n" * 32), task(2, code="n" * 32))
    bench.local(m.WorkerExited("pool-0-1", 77, -9))
    effects = bench.ready("pool-0-3", "n" * 32)
    assert names(effects) == ["pool-0-2", "pool-0-3"] or names(effects) == ["pool-0-3", "pool-0-2"]
    effects = bench.local(m.WorkerExited("pool-0-2", 77, 0))
    assert len(bench.of(StartWorker)) == 4


def test_code_that_nobody_has_is_refused_naming_the_fix_and_without_a_hot_loop() -> None:
    bench = Bench()
    bench.give(task(1, code="x" * 32))
    bench.local(m.WorkerExited("pool-0-1", 77, -9))
    (failed,) = bench.results(bench.ready("pool-0-2", "n" * 32))
    assert failed.failure.kind == "code_mismatch"
    assert "odibictl apply" in failed.failure.message
    count = len(bench.of(StartWorker))
    bench.until(bench.now + 0.01)
    bench.give(task(2, code="x" * 32))
    assert len(bench.of(StartWorker)) == count
    bench.until(bench.now + pool_module.FRESH_PAUSE + 0.1)
    assert len(bench.of(StartWorker)) == count + 1


def test_a_task_for_former_code_is_refused_once_nobody_has_that_and_without_another_parent() -> None:
    bench = Bench(capacity=2)
    bench.give(task(1), task(2), task(3))
    bench.give(task(4, code="n" * 32))  # after an apply
    bench.hear("pool-0-1", m.WorkerResult(done(task(1), "a"), True))
    bench.local(m.WorkerExited("pool-0-1", 77, -9))
    assert names(bench.ready("pool-0-3", "n" * 32)) == ["pool-0-3"]
    assert [held.attempt for held in bench.pool.queue] == [task(3).attempt]  # the second worker could still do it
    effects = bench.local(m.WorkerExited("pool-0-2", 77, -9))
    assert [start.fresh for start in bench.of(StartWorker, effects)] == [False]
    refused = [one for one in bench.results(effects) if one.attempt == task(3).attempt]
    assert [one.failure.kind for one in refused] == ["code_mismatch"]


def test_a_code_mismatch_told_by_the_worker_returns_the_task() -> None:
    bench = Bench()
    work = task(1)
    bench.give(work)
    failed = m.NodeFailed(work.attempt, "p", 1, "a", Failure("code_mismatch", "other"), 0.0, 0.0, "w")
    effects = bench.hear("pool-0-1", m.WorkerResult(failed, True))
    assert [type(r) for r in bench.results(effects)] == [m.Returned]
    assert [s.fresh for s in bench.of(StartWorker, effects)] == [True]


def test_publishing_runs_no_user_code_so_any_worker_will_do() -> None:
    bench = Bench()
    assert names(bench.give(publish(1, code="other"))) == ["pool-0-1"]


def test_nothing_waits_behind_a_task_that_is_not_short() -> None:
    bench = Bench()
    bench.pool.last[("p", "a")] = 0.0001
    long, short = task(1, "long"), task(2)
    assert names(bench.give(long, short)) == ["pool-0-1"]
    bench.hear("pool-0-1", m.WorkerResult(done(long, "long"), True))
    assert len(names(bench.give(task(3), task(4)))) == 2


def test_a_publication_does_not_wait_behind_tasks() -> None:
    bench = Bench()
    bench.give(task(1), task(2), publish(3), task(4))
    bench.hear("pool-0-1", m.WorkerResult(done(task(1), "a"), True))
    assert [h.attempt.counter for h in bench.pool.crew.get("pool-0-1").tasks] == [3]  # type: ignore[union-attr]


def test_a_backfill_runs_after_what_is_live_and_in_its_own_order() -> None:
    bench = Bench()
    again = [msgspec.structs.replace(work, lane="backfill-7") for work in (publish(3), task(4), task(5))]
    bench.give(task(1), task(2), *again, publish(6), task(7))
    order = []
    for work in (publish(6), again[0], task(1), task(2), task(7), again[1], again[2]):
        order.append(bench.pool.crew.get("pool-0-1").tasks[0].attempt.counter)  # type: ignore[union-attr]
        result = (
            m.PublishDone(work.attempt, "p", work.iteration, "sink", "w")
            if isinstance(work, m.PublishTask)
            else done(work, "a")
        )
        bench.hear("pool-0-1", m.WorkerResult(result, True))
    assert order == [6, 3, 1, 2, 7, 4, 5]


def test_short_nodes_queue_at_the_worker_long_ones_do_not() -> None:
    bench = Bench()
    assert len(names(bench.give(*(task(n) for n in range(1, 2 * pool_module.PREFETCH))))) == 1
    bench.hear("pool-0-1", m.WorkerResult(done(task(1), "a", duration=0.0005), True))
    assert len(bench.pool.crew.get("pool-0-1").tasks) == pool_module.PREFETCH  # type: ignore[union-attr]


def test_released_iterations_are_deleted_from_the_spool_and_no_longer_told() -> None:
    bench = Bench()
    work = task(1)
    bench.give(work)
    output = BatchRef(1, 1, "d", path="p/1/a-1-1.arrow", host="host")
    with_file = m.NodeDone(work.attempt, "p", 1, "a", "k", 0.0, 1.0, 1, 1, "w", output=output)
    bench.hear("pool-0-1", m.WorkerResult(with_file, True))
    (hello,) = bench.said(m.PoolHello, bench.local(m.Connected()))
    assert hello.spool == [("p", 1)]
    assert bench.of(DeleteSpool, bench.broker(m.Release(1, [("p", 1)]))) == [DeleteSpool([("p", 1)])]
    (hello,) = bench.said(m.PoolHello, bench.local(m.Connected()))
    assert hello.spool == []


def test_strangers_and_stale_workers_are_ignored() -> None:
    bench = Bench()
    work = task(1)
    bench.give(work)
    for sender in ("client-1", "pool-0-9", "store"):
        assert bench.hear(sender, m.Tasks(9, [task(2)]), m.Terminate(), m.WorkerExited("pool-0-1", 1, 0)) == []
    assert bench.results(bench.hear("pool-0-1", m.WorkerResult(done(task(7), "a"), True))) == []


def test_a_module_that_could_not_be_imported_is_told_until_a_node_of_it_is_done() -> None:
    bench = Bench()
    missing = "ModuleNotFoundError: No module named 'polars'"
    bench.local(m.Warming("", [f"nodes/x.py: {missing}", f"nodes/xx.py: {missing}"]))
    work = task(1, "a", "b")
    bench.give(work)
    assert len(bench.pool.warmth.problems(bench.now)) == 2
    bench.hear("pool-0-1", m.WorkerResult(done(work, "a", last=False), last=False))
    assert bench.pool.warmth.problems(bench.now) == [f"nodes/xx.py: {missing}"]
