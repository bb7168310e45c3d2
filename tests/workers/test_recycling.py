"""Workers that make way for fresh ones, and what the log says of those that end: an accident only where it was one."""

from __future__ import annotations

import pytest

from odibi_actors import messages as m
from odibi_actors.actor import Effect, Log, Measure, StartWorker, StopWorker, ToWorker
from odibi_actors.config.model import WorkerSpec
from odibi_actors.workers.pool import STOP_GRACE, PoolActor
from tests.workers.builders import CODE, done, task
from tests.workers.test_pool import Bench, names

GB = 1_000_000_000


class Host(Bench):
    """A pool whose workers are processes, on a host with ``memory`` bytes for them."""

    def __init__(self, capacity: int = 1, memory: int = 16 * GB, **limits: int) -> None:
        super().__init__(capacity, join=False)
        self.pool = PoolActor("pool-0", "inc", "host", 1, capacity, CODE, memory=memory)
        self.effects = self.pool.start(self.now) + self.pool.flush(self.now)
        self.local(m.Connected())
        self.broker(m.Welcome(1, 0, "store"), m.WorkerLimits(1, WorkerSpec(**limits)))
        for start in self.of(StartWorker):
            self.ready(start.worker)

    def finish(self, worker: str, work: m.Task, memory: int = 0) -> list[Effect]:
        return self.hear(worker, m.WorkerResult(done(work, "a", duration=0.0001), True, memory))

    def logs(self, effects: list[Effect]) -> list[str]:
        """What an operator reads."""
        return [" ".join([e.level, e.text, *(f"{k}={v}" for k, v in e.fields.items())]) for e in self.of(Log, effects)]


def exits(effects: list[Effect]) -> list[str]:
    return [e.worker for e in effects if isinstance(e, ToWorker) and isinstance(e.message, m.WorkerExit)]


def test_a_worker_that_has_done_its_tasks_makes_way_at_once_and_the_log_says_why_once() -> None:
    host = Host(max_tasks=2)
    first, second, third = task(1), task(2), task(3)
    host.give(first)
    assert exits(host.finish("pool-0-1", first)) == []
    host.give(second)
    effects = host.finish("pool-0-1", second)
    assert exits(effects) == ["pool-0-1"]
    assert [e.worker for e in host.of(StartWorker, effects)] == ["pool-0-2"]  # without waiting for the end of the other
    (line,) = host.logs(effects)
    assert line == ("info a worker is recycled worker=pool-0-1 pid=77 why=it has done 2 tasks (worker.max_tasks)")
    host.ready("pool-0-2")
    assert names(host.give(third)) == ["pool-0-2"]
    assert host.logs(host.local(m.WorkerExited("pool-0-1", 77, 0))) == []


def test_a_worker_that_has_too_much_in_memory_after_a_task_makes_way_and_the_figure_is_told() -> None:
    host = Host(capacity=2, max_memory=2 * GB)
    large, small = task(1), task(2)
    host.give(large)
    host.give(small)
    assert exits(host.finish("pool-0-2", small, memory=2 * GB)) == []  # no more than allowed
    effects = host.finish("pool-0-1", large, memory=2 * GB + 100_000_000)
    assert exits(effects) == ["pool-0-1"]
    (line,) = host.logs(effects)
    assert "why=it has 2.1 GB in memory after a task (worker.max_memory: 2.0 GB)" in line
    assert [e.worker for e in host.of(StartWorker, effects)] == ["pool-0-3"]


def test_a_worker_is_never_recycled_within_a_task_however_much_it_takes() -> None:
    host = Host(max_tasks=1, max_memory=GB)
    work = task(1, "a", "b")
    host.give(work)
    effects = host.local(m.Measured({"pool-0-1": 5 * GB}))
    effects += host.hear("pool-0-1", m.WorkerResult(done(work, "a", last=False), False))
    assert not exits(effects)
    assert not host.of(StopWorker, effects)
    effects = host.hear("pool-0-1", m.WorkerResult(done(work, "b"), True, 5 * GB))
    assert [type(r) for r in host.results(effects)][-1] is m.NodeDone
    assert exits(effects) == ["pool-0-1"]


def test_what_waits_in_a_workers_queue_is_done_before_it_makes_way_and_nothing_is_added() -> None:
    host = Host(max_tasks=3)
    works = [task(number) for number in range(1, 6)]
    host.pool.last["p", "a"] = 0.0001  # short ones queue at the worker
    given = host.give(*works)
    assert names(given) == ["pool-0-1"] * 3  # no more than it may do
    assert exits(host.finish("pool-0-1", works[0])) == []
    assert exits(host.finish("pool-0-1", works[1])) == []
    assert exits(host.finish("pool-0-1", works[2])) == ["pool-0-1"]
    assert names(host.ready("pool-0-2")) == ["pool-0-2"] * 2


def test_a_recycled_worker_counts_against_no_node_and_its_successor_does_not_wait() -> None:
    host = Host(max_tasks=1)
    for number in range(1, 30):
        work = task(number)
        host.give(work)
        effects = host.finish(f"pool-0-{number}", work)
        assert [e.worker for e in host.of(StartWorker, effects)] == [f"pool-0-{number + 1}"]
        host.ready(f"pool-0-{number + 1}")
        host.local(m.WorkerExited(f"pool-0-{number}", 77, 0))
    assert not [r for r in host.results(host.effects) if isinstance(r, m.NodeFailed | m.Returned)]


def test_one_that_does_not_end_is_killed_and_the_log_says_so_and_calls_it_no_accident() -> None:
    host = Host(max_tasks=1)
    work = task(1)
    host.give(work)
    host.finish("pool-0-1", work)
    effects = host.until(host.now + STOP_GRACE + 0.1)
    assert [e.worker for e in host.of(StopWorker, effects)] == ["pool-0-1"]
    effects += host.local(m.WorkerExited("pool-0-1", 77, -9))
    assert host.logs(effects) == [
        "warning a worker did not end when it was told to, and is killed worker=pool-0-1 pid=77 seconds=5.0"
    ]


def test_without_a_limit_of_its_own_a_worker_has_its_share_of_half_the_hosts_memory() -> None:
    host = Host(capacity=2, memory=16 * GB)
    first, second = task(1), task(2)
    host.give(first)
    host.give(second)
    assert exits(host.finish("pool-0-1", first, memory=4 * GB)) == []
    effects = host.finish("pool-0-2", second, memory=4 * GB + 1_000_000)
    assert exits(effects) == ["pool-0-2"]
    assert "its share of half the host's memory: 4.0 GB" in host.logs(effects)[0]


def test_on_a_small_host_a_worker_may_have_a_gigabyte_all_the_same() -> None:
    host = Host(capacity=8, memory=2 * GB)
    work = task(1)
    host.give(work)
    assert exits(host.finish("pool-0-1", work, memory=GB)) == []


def test_limits_that_were_applied_hold_for_workers_that_are_there() -> None:
    host = Host()
    for number in (1, 2):
        work = task(number)
        host.give(work)
        host.finish("pool-0-1", work, memory=GB)
    assert exits(host.broker(m.WorkerLimits(1, WorkerSpec(max_tasks=2)))) == ["pool-0-1"]
    assert exits(host.broker(m.WorkerLimits(0, WorkerSpec(max_tasks=1)))) == []  # of an older broker


def test_where_nodes_run_in_the_pools_own_process_nothing_is_recycled() -> None:
    host = Host(memory=0, max_tasks=1, max_memory=GB)
    work = task(1)
    host.give(work)
    assert exits(host.finish("pool-0-1", work, memory=5 * GB)) == []
    assert names(host.give(task(2))) == ["pool-0-1"]


def test_heartbeats_tell_what_each_worker_has_in_memory() -> None:
    host = Host(capacity=2)
    host.give(task(1))
    (asked,) = host.of(Measure, host.until(host.now + 1.01))
    assert asked.workers == ["pool-0-1", "pool-0-2"]
    host.local(m.Measured({"pool-0-1": 3 * GB, "pool-0-9": 1}))  # one is gone, one is not ours
    (beat,) = host.said(m.Heartbeat, host.until(host.now + 1.01))
    assert [(w.worker, w.memory) for w in beat.workers] == [("pool-0-1", 3 * GB), ("pool-0-2", 0)]


def test_a_death_for_want_of_memory_tells_what_the_worker_had() -> None:
    host = Host()
    host.give(task(1))
    host.local(m.Measured({"pool-0-1": 14 * GB}))
    (failed,) = host.results(host.local(m.WorkerExited("pool-0-1", 77, -9)))
    assert "it had 14.0 GB in memory" in failed.failure.message


@pytest.mark.parametrize("state", ["starting", "idle", "busy"])
def test_a_surplus_worker_is_no_accident(state: str) -> None:
    host = Host(capacity=1)
    if state == "starting":
        effects = host.broker(m.Scale(1, 2)) + host.broker(m.Scale(1, 1))
        worker, status = "pool-0-2", -9
    else:
        host.give(task(1)) if state == "busy" else None
        effects = host.broker(m.Scale(1, 0))
        effects += host.finish("pool-0-1", task(1)) if state == "busy" else []
        worker, status = "pool-0-1", 0
    effects += host.local(m.WorkerExited(worker, 77, status))
    said = host.logs(effects)
    assert f"info a surplus worker has ended worker={worker} pid=77" in said
    assert not [line for line in said if "SIGKILL" in line or "killed" in line or line.startswith("warning")]
    assert [line for line in said if line.startswith("info scaling")][-1].startswith("info scaling workers=")
    assert host.logs(host.broker(m.Scale(1, host.pool.capacity))) == []  # told when it changes


def test_workers_that_end_with_their_pool_are_not_told_one_by_one() -> None:
    host = Host(capacity=2)
    effects = host.local(m.Terminate()) + host.local(m.WorkerExited("pool-0-1", 77, 0))
    assert host.logs(effects) == ["info draining running=0"]


def test_a_worker_that_is_drained_ends_what_it_was_given_and_gets_nothing_more() -> None:
    host = Host()
    host.give(task(1))
    host.finish("pool-0-1", task(1))  # so short that another one may wait behind it
    assert names(host.give(task(2))) == names(host.give(task(3))) == ["pool-0-1"]
    assert not exits(host.broker(m.DrainWorker("pool-0-1")))
    assert names(host.give(task(4))) == []
    assert not exits(host.finish("pool-0-1", task(2)))
    effects = host.finish("pool-0-1", task(3))
    assert [type(r) for r in host.results(effects)][-1] is m.NodeDone
    assert exits(effects) == ["pool-0-1"]
    assert host.logs(effects) == ["info a worker is recycled worker=pool-0-1 pid=77 why=an operator has drained it"]
    assert [e.worker for e in host.of(StartWorker, effects)] == ["pool-0-2"]
    assert not exits(host.broker(m.DrainWorker("pool-0-9")))  # which is gone


@pytest.mark.parametrize(
    ("why", "level", "words"),
    [
        ("operator", "info", "as an operator asked"),
        ("drop", "info", "nobody wants any more"),
        ("timeout", "warning", "longer than its timeout"),
    ],
)
def test_the_log_says_why_a_worker_was_killed(why: str, level: str, words: str) -> None:
    host = Host()
    work = task(1, timeout=3.0)
    host.give(work)
    if why == "operator":
        host.broker(m.KillWorker("pool-0-1"))
    elif why == "drop":
        host.broker(m.Drop(1, [work.attempt]))
    else:
        host.until(host.now + 3.1)
    (line,) = host.logs(host.local(m.WorkerExited("pool-0-1", 77, -9)))
    assert line.startswith(f"{level} a worker was killed")
    assert words in line
    assert "SIGKILL" not in line


@pytest.mark.parametrize(
    ("signal", "name", "why"),
    [(11, "SIGSEGV", "by itself"), (9, "SIGKILL", "from outside"), (15, "SIGTERM", "from outside")],
)
def test_a_worker_that_died_is_told_with_how_and_whether_somebody_killed_it(signal: int, name: str, why: str) -> None:
    host = Host()
    (line,) = host.logs(host.local(m.WorkerExited("pool-0-1", 77, -signal)))
    assert line == f"warning a worker is gone worker=pool-0-1 pid=77 how=killed by {name} why={why}"
