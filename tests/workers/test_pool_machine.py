"""The pool against a broker, workers and a runtime that do anything they may, in any order."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from odibi_actors import messages as m
from odibi_actors.actor import Effect, Send, StartWorker, StopWorker, ToWorker
from odibi_actors.config.model import WorkerSpec
from odibi_actors.model import Attempt, Failure
from odibi_actors.workers.pool import PREFETCH, PoolActor
from tests.workers.builders import CODE, done, task

NEW = "n" * 32


class Process:
    """A worker as the operating system sees it: the tasks it was sent, and whether it lives."""

    def __init__(self) -> None:
        self.ready = False
        self.told_to_exit = False
        self.tasks: list[m.Task] = []
        self.step = 0


class PoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.pool = PoolActor("pool-0", "inc", "host", 1, 2, CODE, memory=4_000)
        self.epoch = 1
        self.counter = 0
        self.alive: dict[str, Process] = {}
        self.doomed: dict[str, None] = {}
        self.given: dict[Attempt, m.Task] = {}
        self.ended: dict[Attempt, None] = {}  # the broker heard their last result, or dropped them
        self.unconfirmed: dict[tuple[Attempt, str], None] = {}
        self.joined = False
        self.carry_out(self.pool.start(self.now))
        self.local(m.Connected())
        self.welcome()

    # --- the runtime -------------------------------------------------------------------------------------------------

    def hear(self, sender: str, message: m.Message) -> None:
        self.carry_out(self.pool.handle(sender, message, self.now))
        self.carry_out(self.pool.flush(self.now))

    def local(self, message: m.Message) -> None:
        self.hear(m.LOCAL, message)

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case StartWorker():
                    assert effect.worker not in self.alive
                    self.alive[effect.worker] = Process()
                case StopWorker():
                    if effect.worker in self.alive:
                        self.doomed[effect.worker] = None
                case ToWorker():
                    self.to_worker(effect)
                case Send(message=m.Results() as results):
                    assert results.epoch == self.epoch
                    for result in results.results:
                        self.result(result)

    def to_worker(self, effect: ToWorker) -> None:
        process = self.alive[effect.worker]
        assert process.ready, "only workers that are up can hear"
        assert not process.told_to_exit
        if isinstance(effect.message, m.WorkerExit):
            assert not process.tasks, "a worker is dismissed when it is idle"
            process.told_to_exit = True
        elif isinstance(effect.message, m.WorkerTask):
            assert isinstance(effect.message.task, m.Task)
            process.tasks.append(effect.message.task)
            assert len(process.tasks) <= PREFETCH

    def result(self, result: Any) -> None:
        """What the broker hears."""
        self.unconfirmed[(result.attempt, getattr(result, "node", ""))] = None
        if not isinstance(result, m.NodeDone) or result.last:
            self.ended[result.attempt] = None

    # --- what may happen ---------------------------------------------------------------------------------------------

    @rule(long=st.booleans(), new=st.sampled_from([CODE, CODE, CODE, NEW]))
    def give(self, long: bool, new: str) -> None:
        self.counter += 1
        nodes = ("a", "b", "c") if long else ("a",)
        work = task(self.counter, *nodes, epoch=self.epoch, code=new)
        self.given[work.attempt] = work
        self.hear(m.BROKER, m.Tasks(self.epoch, [work]))

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        attempt = data.draw(st.sampled_from(list(self.given)))
        self.hear(m.BROKER, m.Tasks(self.epoch, [self.given[attempt]]))

    @precondition(lambda self: self.unconfirmed)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(list(self.unconfirmed)))
        del self.unconfirmed[key]
        self.hear(m.BROKER, m.Forget(self.epoch, [key]))

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        attempt = data.draw(st.sampled_from(list(self.given)))
        self.ended[attempt] = None
        self.hear(m.BROKER, m.Drop(self.epoch, [attempt]))

    @rule(workers=st.integers(0, 4))
    def scale(self, workers: int) -> None:
        self.hear(m.BROKER, m.Scale(self.epoch, workers))

    @rule(tasks=st.sampled_from([None, 1, 3]), memory=st.sampled_from([None, 100]))
    def limit(self, tasks: int | None, memory: int | None) -> None:
        self.hear(m.BROKER, m.WorkerLimits(self.epoch, WorkerSpec(tasks, memory)))

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), memory=st.sampled_from([1, 99, 101]))
    def measured(self, data: st.DataObject, memory: int) -> None:
        self.local(m.Measured({data.draw(st.sampled_from(list(self.alive))): memory}))

    @rule()
    def new_broker(self) -> None:
        self.local(m.Connected())
        self.epoch += 1
        self.welcome()

    def welcome(self) -> None:
        self.hear(m.BROKER, m.Welcome(self.epoch, 0, "store"))

    @precondition(lambda self: any(not p.ready for p in self.alive.values()))
    @rule(data=st.data(), code=st.sampled_from([CODE, NEW]))
    def come_up(self, data: st.DataObject, code: str) -> None:
        name = data.draw(st.sampled_from([n for n, p in self.alive.items() if not p.ready]))
        self.alive[name].ready = True
        self.hear(name, m.WorkerReady(7, code))

    @precondition(lambda self: any(p.tasks for p in self.alive.values()))
    @rule(
        data=st.data(),
        short=st.booleans(),
        fails=st.sampled_from([False, False, False, True]),
        memory=st.sampled_from([0, 50, 101]),
    )
    def work(self, data: st.DataObject, short: bool, fails: bool, memory: int) -> None:
        name = data.draw(st.sampled_from([n for n, p in self.alive.items() if p.tasks]))
        process = self.alive[name]
        current = process.tasks[0]
        node = current.steps[process.step].node.name
        last = fails or process.step == len(current.steps) - 1
        if last:
            process.tasks.pop(0)
        process.step = 0 if last else process.step + 1
        result: m.AnyResult = done(current, node, last=last, duration=0.0001 if short else 1.0)
        if fails:
            result = m.NodeFailed(current.attempt, "p", current.iteration, node, Failure("raised", "x"), 0, 0, name)
        self.hear(name, m.WorkerResult(result, last, memory if last else 0))

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), blamed=st.booleans())
    def die(self, data: st.DataObject, blamed: bool) -> None:
        name = data.draw(st.sampled_from(list(self.alive)))
        self.end(name, -9, blamed)

    @precondition(lambda self: self.doomed)
    @rule()
    def killed_ones_die(self) -> None:
        for name in list(self.doomed):
            self.end(name, -9, True)

    @precondition(lambda self: any(p.told_to_exit for p in self.alive.values()))
    @rule()
    def dismissed_ones_go(self) -> None:
        for name in [n for n, p in self.alive.items() if p.told_to_exit]:
            self.end(name, 0, True)

    def end(self, name: str, status: int, blamed: bool) -> None:
        del self.alive[name]
        self.doomed.pop(name, None)
        self.local(m.WorkerExited(name, 7, status, blamed))

    @rule(seconds=st.sampled_from([0.05, 0.5, 2.5, 11.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.pool.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.local(m.Tick())
            after = self.pool.deadline()
            assert after is None or after > self.now, "a deadline that stays is a busy loop"
        self.now = end

    # --- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def no_task_and_no_result_is_lost(self) -> None:
        held = {h.attempt for _, h in self.pool._held()}
        kept = set(self.pool.outbox.attempts())
        for attempt in self.given:
            assert attempt in self.ended or attempt in held or attempt in kept

    @invariant()
    def a_task_is_in_one_place(self) -> None:
        held = [h.attempt for _, h in self.pool._held()]
        assert len(held) == len(set(held))

    @invariant()
    def there_are_as_many_workers_as_wanted_or_backoff_says_when(self) -> None:
        working = self.pool.crew.working()
        busy = sum(1 for w in self.pool.crew if w.state == "busy")
        assert working <= max(self.pool.capacity, busy)
        assert working >= self.pool.capacity or not self.pool.crew.may_start(self.now)

    @invariant()
    def a_worker_that_may_run_a_waiting_task_is_not_idle(self) -> None:
        for held in self.pool.queue:
            assert not any(w.state == "idle" and w.code_digest == held.code for w in self.pool.crew)

    def teardown(self) -> None:
        """In the end, when workers come up with the newest code and finish, every task has its end."""
        self.scale(2)
        for _ in range(40):
            for name in list(self.doomed):
                self.end(name, -9, True)
            self.dismissed_ones_go()
            for name, process in list(self.alive.items()):
                if name in self.alive and not process.ready:
                    process.ready = True
                    self.hear(name, m.WorkerReady(7, NEW))
                while name in self.alive and process.tasks and name not in self.doomed:
                    current = process.tasks[0]
                    for i, step in enumerate(current.steps[process.step :], process.step):
                        last = i == len(current.steps) - 1
                        if last:
                            process.tasks.pop(0)
                        self.hear(name, m.WorkerResult(done(current, step.node.name, last=last), last))
                    process.step = 0
            self.time_passes(2.5)
        missing = [attempt for attempt in self.given if attempt not in self.ended]
        assert not missing


PoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPoolMachine = PoolMachine.TestCase
