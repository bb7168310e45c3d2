"""The iteration protocol: plan, dispatch, acknowledge, prepare, publish, commit. Pure; rules: docs/protocol.md.

``Flow`` exists once the broker has claimed its epoch. Messages change its state; ``advance`` then takes every step
that has become possible and returns all there is to send, joined into lists.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from odibi_actors.actor import Effect, Log, Send
from odibi_actors.broker import again, alerts, backfill, letters, pins, rewinding, runs, tasks
from odibi_actors.broker.alerts import Alerts
from odibi_actors.broker.asking import Asks
from odibi_actors.broker.dispatch import Dispatcher, Pool
from odibi_actors.broker.iteration import BEHIND, NEVER, Iteration
from odibi_actors.broker.journal import Journal
from odibi_actors.broker.lane import Lane
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.broker.schedules import Schedules
from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.records import MAX_MEMORY, MAX_TASKS, PROJECT, project_settings
from odibi_actors.config.digest import read_digest
from odibi_actors.config.model import ProjectSpec, WorkerSpec
from odibi_actors.messages import (
    SOURCE,
    STORE,
    Discover,
    HeldTask,
    Offer,
    Planned,
    Released,
    WorkerLimits,
)
from odibi_actors.model import LIVE, NOWHERE, TRIGGER, Attempt, Home
from odibi_actors.units import plural

if TYPE_CHECKING:
    import random  # only the type: the generator is injected

STALE_AFTER = 2.0
"""Seconds a source has to hear of a plan before an offer that misses it means that the message was lost."""


class Out:
    """An attempt that is out: what it is for, and how many of its results are missing."""

    __slots__ = ("behind", "left", "number", "pipeline")

    def __init__(self, pipeline: str, number: int, left: int, behind: bool = False) -> None:
        self.pipeline, self.number, self.left, self.behind = pipeline, number, left, behind


class Flow:
    """All pipelines' run state and what is to be sent."""

    def __init__(
        self,
        epoch: int,
        start_seq: int,
        store_id: str,
        rng: random.Random,
        home: Home = NOWHERE,
    ) -> None:
        self.epoch = epoch
        self.start_seq = start_seq
        self.store_id = store_id
        self.home = home
        self.journal = Journal(epoch, start_seq)
        self.dispatcher = Dispatcher()
        self.pipelines: dict[str, Pipeline] = {}
        self.project: dict[str, str] = {}
        self.workers: dict[str, int] = {}  # host -> worker processes an operator asked for
        self.stopping = False
        self.shape = 0  # grows whenever what the source actor is to look for may have changed
        self.rng = rng
        self._counter = self._code_since = 0
        self._effects: list[Effect] = []
        self._dirty: dict[str, None] = {}
        self._for_room: dict[str, None] = {}  # pipelines that are looked at once the journal has room again
        self.ready: list[tuple[int, int, str, int, str]] = []  # (order, place in DAG, pipeline, iteration, node)
        self.publishable: list[tuple[int, str, int, str]] = []
        self._timers: list[tuple[float, str, int, str]] = []
        self._on_durable: deque[tuple[int, str]] = deque()
        self._out: dict[Attempt, Out] = {}
        self.behind = 0  # attempts that are out for backfills
        self.asks = Asks(epoch)
        self.alerts = Alerts(epoch)
        self.schedules = Schedules(self)
        self.adoptions: list[rec.Adopt] = []  # oldest first
        self.letters_seq = 0  # newest record that brought dead letters back, or took them away, other than one by one
        self.stalled = (start_seq, 0.0)  # newest durable record, and when none waited, or it moved (0: not looked yet)
        self.publishing: dict[str, Attempt] = {}  # SQL database, or other sink -> its one attempt to publish

    # --- small helpers --------------------------------------------------------------------------------------------

    def touch(self, pipeline: str) -> None:
        """Something of the pipeline changed: look at it in the next ``advance``."""
        self._dirty[pipeline] = None

    def touch_with_room(self, pipeline: str) -> None:
        """Look at the pipeline once the journal is not full any more: nothing else may happen to it."""
        self._for_room[pipeline] = None

    def say(self, effect: Effect) -> None:
        """Send with the next ``advance``."""
        self._effects.append(effect)

    def write(self, record: rec.AnyRecord, pipeline: str) -> int:
        """Append a record to the log; the pipeline is looked at again once it is durable."""
        seq = self.journal.append(record)
        self._on_durable.append((seq, pipeline))
        if pipeline in self.pipelines:
            self.pipelines[pipeline].written = seq
        self.touch(pipeline)
        return seq

    def find(self, pipeline: str, number: int) -> tuple[Pipeline, Iteration] | None:
        """The pipeline and its iteration, when both are known."""
        owner = self.pipelines.get(pipeline)
        iteration = owner.iterations.get(number) if owner is not None else None
        return None if owner is None or iteration is None else (owner, iteration)

    def new_attempt(self, pipeline: str, number: int, steps: int = 1) -> Attempt:
        """A new attempt of something of this iteration, which ends with so many results."""
        self._counter += 1
        attempt = Attempt(self.epoch, self._counter)
        self._hold(attempt, pipeline, number, steps)
        return attempt

    def code_changed(self) -> None:
        """What is out by now was sent for other code; see ``before_code``."""
        self._code_since = self._counter

    def before_code(self, attempt: Attempt) -> bool:
        """It was sent before the code was changed, so that it says nothing of the code there is now."""
        return attempt.epoch < self.epoch or attempt.counter <= self._code_since

    def _hold(self, attempt: Attempt, pipeline: str, number: int, steps: int) -> None:
        found = self.find(pipeline, number)
        out = self._out[attempt] = Out(pipeline, number, steps, found is not None and found[1].lane != LIVE)
        self.behind += out.behind

    def close(self, attempt: Attempt) -> None:
        """The attempt has come to its end."""
        out = self._out.pop(attempt, None)
        self.behind -= out is not None and out.behind
        self.dispatcher.done(attempt)
        for target, holder in list(self.publishing.items()):
            if holder == attempt:
                del self.publishing[target]

    def step_done(self, attempt: Attempt) -> None:
        """One more node of the attempt is acknowledged; the last one closes it. Counted, not taken from ``done.last``:
        the result of an earlier node may have been lost on the way, and until it comes the attempt is out."""
        out = self._out.get(attempt)
        if out is not None:
            out.left -= 1
            if out.left == 0:
                self.close(attempt)

    def drop(self, attempts: list[Attempt]) -> None:
        """These attempts are not wanted any more, wherever they are."""
        for attempt in attempts:
            self.dispatcher.drop(attempt)
            self.close(attempt)

    def wake(self, iteration: Iteration) -> None:
        """Queue every node that has become ready."""
        for place, (name, run) in enumerate(iteration.nodes.items()):
            if iteration.wake(name) or run.state == "ready":
                heapq.heappush(self.ready, (iteration.order, place, iteration.pipeline, iteration.number, name))

    def wake_all(self, pipeline: Pipeline) -> None:
        """Queue every ready node of the pipeline: something that held nodes back is gone."""
        for iteration in pipeline.unfinished():
            self.wake(iteration)
        self.touch(pipeline.name)

    def wake_nodes(self, iteration: Iteration, names: list[str]) -> None:
        """Queue those of these nodes that have become ready."""
        for name in names:
            if iteration.wake(name):
                item = (iteration.order, iteration.places[name], iteration.pipeline, iteration.number, name)
                heapq.heappush(self.ready, item)

    # --- offers ---------------------------------------------------------------------------------------------------

    def on_offer(self, offer: Offer, now: float) -> None:
        """A source says what is there beyond what is planned. One that missed a plan is ignored: it will come again."""
        pipeline = self.pipelines.get(offer.pipeline)
        if pipeline is None or offer.epoch != self.epoch:
            return
        lane = pipeline.lane(offer.lane)
        if offer.lane == TRIGGER:
            source = self.schedules.source(offer.pipeline, offer.source)
        else:
            source = lane.sources.get(offer.source) if lane is not None else None
        if source is None or source.node.read is None or offer.read not in ("", read_digest(source.node.read)):
            return
        if not source.pinned and offer.seq < source.seq:
            if now - source.changed_at > STALE_AFTER:
                # It has had time to hear of the plan: the message was lost.
                source.changed_at = now
                self.say(Send(SOURCE, Released(self.epoch, pipeline.name, source.node.name, source.seq, offer.lane)))
            return
        if lane is not None and lane.run is not None and offer.run != lane.run.run:
            if source.run == lane.run.run:
                # It had answered, and then heard once more what it was asked for a run before: it is asked again.
                source.run = ""
                self.touch(pipeline.name)
            return
        if len(offer.ranges) != (len(offer.positions) if source.ordered else 0):
            text = f"{pipeline.name}.{offer.source}: an offer of {plural(len(offer.positions), 'position')} has"
            self.say(Log("error", f"{text} {plural(len(offer.ranges), 'range')}, and is not taken"))
            return
        if offer.positions and not source.pending:
            source.since = now
        source.offer(offer.positions, offer.ranges)
        source.left = max(offer.left, len(offer.positions))
        source.run, source.exhausted, source.heard, source.unread = offer.run, offer.exhausted, True, offer.unread
        if offer.exhausted and offer.run:
            source.looked = offer.run
        self.touch(pipeline.name)

    # --- results --------------------------------------------------------------------------------------------------

    def void_stale(self, iteration: Iteration, reason: str) -> None:
        """Void the acks whose inputs have other bytes now, and what was made from those in turn."""
        while void := iteration.void_stale():
            self.invalidate(iteration, void, reason)

    def invalidate(self, iteration: Iteration, nodes: list[str], reason: str) -> None:
        """Write that these acks no longer stand, if there are any."""
        if nodes:
            self.write(
                rec.Invalidate(pipeline=iteration.pipeline, iteration=iteration.number, nodes=nodes, reason=reason),
                iteration.pipeline,
            )
            for later in self.pipelines[iteration.pipeline].unfinished():
                later.demote()  # a node there may have been ready for the state of one of these

    def states_changed(self, pipeline: Pipeline, number: int) -> None:
        """What iterations after ``number`` are given as state may be another one now, or there at last."""
        if not pipeline.stateful:
            return
        for later in pipeline.unfinished():
            if later.number > number and not later.prepared:
                self.void_stale(later, f"iteration {number} leaves another state")
                self.wake(later)

    def requeue(self, attempt: Attempt) -> None:
        """The attempt came to nothing, through no fault of its nodes: they run again under a new one."""
        place = self._out.get(attempt)
        self.close(attempt)
        if rewinding.lost(self, attempt):
            return
        found = self.find(place.pipeline, place.number) if place is not None else None
        if found is None:
            return
        iteration = found[1]
        for run in iteration.nodes.values():
            if run.attempt == attempt:
                run.attempt, run.state = None, "waiting"
        for publication in iteration.publications.values():
            if publication.attempt == attempt:
                publication.attempt = None
        self.wake(iteration)
        self.touch(iteration.pipeline)

    # --- pools ----------------------------------------------------------------------------------------------------

    def pool_lost(self, name: str) -> None:
        """A pool left, died or fell silent: what was out there runs elsewhere. Does not count against the nodes."""
        for attempt in self.dispatcher.remove(name):
            self.requeue(attempt)

    def adopt(self, pool: Pool, held: HeldTask, now: float) -> bool:
        """Let a task of an earlier epoch go on when it is just what is wanted now."""
        found = self.find(held.pipeline, held.iteration)
        if found is None or held.publish or not held.steps or found[1].prepared or found[1].terminal:
            return False
        iteration = found[1]
        for position, (name, static) in enumerate(held.steps):
            run = iteration.nodes.get(name)
            wanted = ("waiting", "ready") if position else ("ready",)
            if run is None or run.static != static or run.state not in wanted:
                return False
        for name, _ in held.steps:
            run = iteration.nodes[name]
            run.state, run.attempt = "running", held.attempt
        if iteration.state == "planned":
            iteration.advance("dispatch")
        self._hold(held.attempt, held.pipeline, held.iteration, len(held.steps))
        self.dispatcher.adopt(pool, held.attempt, now)
        return True

    # --- the steps that time and durability make possible -----------------------------------------------------------

    def durable(self, through: int) -> None:
        """The store has everything up to ``through``."""
        if self.journal.settle(through):
            while self._on_durable and self._on_durable[0][0] <= through:
                self.touch(self._on_durable.popleft()[1])
            if self._for_room and not self.journal.full:
                self._dirty.update(self._for_room)
                self._for_room = {}

    def deadline(self) -> float | None:
        """When ``advance`` wants to be called at the latest."""
        times = [self._timers[0][0]] if self._timers else []
        if self.dispatcher.forget_due is not None:
            times.append(self.dispatcher.forget_due)
        for pipeline in self._lingering() if not self.journal.full else ():  # nothing is planned until there is room
            for lane in pipeline.lanes:
                due = pipeline.due(lane, 0.0)
                if due is not None and due > 0:
                    times.append(due)
        times += [due for due in (self.alerts.deadline(), self.schedules.deadline()) if due is not None]
        return min(times, default=None)

    def advance(self, now: float) -> list[Effect]:
        """Take every step that is possible now; returns what is to be sent."""
        while self._timers and self._timers[0][0] <= now:
            _, name, number, node = heapq.heappop(self._timers)
            self._timer(name, number, node, now)
        for pipeline in self._lingering():
            dues = [pipeline.due(lane, now) for lane in pipeline.lanes]
            if any(due is not None and due <= now for due in dues):
                self.touch(pipeline.name)
        self.schedules.late(now)
        alerts.summarise(self, now)
        while self._dirty:
            name = next(iter(self._dirty))
            del self._dirty[name]
            pipeline = self.pipelines[name]
            if not self.stopping:
                self.schedules.step(pipeline, now)
                for lane in pipeline.lanes:
                    self._plan(pipeline, lane, now)
            self._prepare(pipeline, now)
            self._queue_publications(pipeline, now)
            self._commit(pipeline, now)
            rewinding.step(self, pipeline, now)
            self._clean(pipeline)
            for lane in pipeline.lanes:
                runs.check(self, pipeline, lane, now)
            backfill.step(self, pipeline, now)
        if not self.stopping:
            rewinding.dispatch(self, now)
            tasks.dispatch_publications(self, now)
            tasks.dispatch_nodes(self, now)
        notices = self.alerts.flush(now, self.project.get("name", ""), self.journal.durable)
        effects, self._effects = self._effects + self.asks.flush(now) + notices, []
        # Records first: a plan is on its way to the disk before anybody acts on it.
        appends: list[Effect] = [Send(STORE, message) for message in self.journal.unsent()]
        return appends + self.dispatcher.flush(self.epoch, self.journal.durable, now) + effects

    def _lingering(self) -> list[Pipeline]:
        """Pipelines in which an iteration may become due without anything happening to them."""
        return [pipeline for pipeline in self.pipelines.values() if pipeline.spec.batch.linger]

    def later(self, when: float, pipeline: str, number: int, node: str) -> None:
        """Look at the pipeline, and at this node of it if it waits for a retry, at this time."""
        heapq.heappush(self._timers, (when, pipeline, number, node))

    def _timer(self, name: str, number: int, node: str, now: float) -> None:
        found = self.find(name, number)
        if name in self.pipelines:
            self.touch(name)
        run = found[1].nodes.get(node) if found is not None else None
        if found is not None and run is not None and run.state == "retrying" and run.retry_at <= now:
            run.state = "waiting"
            self.wake_nodes(found[1], [node])

    def _plan(self, pipeline: Pipeline, lane: Lane, now: float) -> None:
        while (due := pipeline.due(lane, now)) is not None and due <= now:
            if self.journal.full:
                self.touch_with_room(pipeline.name)
                return
            positions = lane.take(pipeline.spec.batch, pipeline.pins.sources)
            plan = pipeline.plan(lane, positions, now)
            self.start(pipeline, plan, now)
            runs.planned(pipeline, lane, plan)
            if lane.name in pipeline.backfills:
                pipeline.backfills[lane.name].count(positions)

    def start(self, pipeline: Pipeline, plan: rec.Plan, now: float) -> Iteration:
        """Write a plan, tell the sources whose positions it takes, and queue what can run."""
        seq = self.write(plan, pipeline.name)
        lane = pipeline.lane(plan.lane)
        assert lane is not None
        iteration = pipeline.add(plan, order=seq + (BEHIND if plan.lane != LIVE else 0))
        for name in plan.consumed:
            positions = plan.positions[name]
            if positions:
                source = lane.sources[name]
                previous, source.seq, source.changed_at = source.seq, seq, now
                planned = Planned(
                    epoch=self.epoch,
                    pipeline=pipeline.name,
                    source=name,
                    seq=seq,
                    iteration=plan.iteration,
                    positions=positions,
                    previous=previous,
                    lane=plan.lane,
                    ranges=plan.ranges.get(name, []) if plan.replay is None else [],
                )
                self.say(Send(SOURCE, planned))
        self.wake(iteration)
        return iteration

    def _prepare(self, pipeline: Pipeline, now: float) -> None:
        for iteration in pipeline.unfinished():
            if iteration.state not in ("planned", "running"):
                continue
            if not all(other.prepared for other in pipeline.earlier(iteration)):
                continue
            if not iteration.complete():
                continue
            if iteration.state == "planned":
                iteration.advance("dispatch")
            sinks, states = iteration.parts(), iteration.kept()
            pins.prepare(self, pipeline, iteration)
            iteration.advance("prepare")
            seq = self.write(
                rec.Prepare(pipeline=pipeline.name, iteration=iteration.number, sinks=sinks, at=now, states=states),
                pipeline.name,
            )
            iteration.prepare(sinks, states, seq)

    def _queue_publications(self, pipeline: Pipeline, now: float) -> None:
        for iteration in pipeline.unfinished():
            if not iteration.prepared or iteration.prepare_seq > self.journal.durable:
                continue
            earlier = list(pipeline.earlier(iteration))
            writing: set[str] = set()  # what sinks before this one publish to, or are about to
            for name, publication in iteration.publications.items():
                if publication.done or publication.blocked:
                    continue
                behind = publication.part.exclusive in writing  # rows of it may refer to theirs
                writing.add(publication.part.exclusive)
                if behind or publication.queued or publication.attempt is not None:
                    continue
                if publication.retry_at > now or publication.barrier > self.journal.durable:
                    continue
                if publication.left:
                    publication.done = True
                    self.touch(pipeline.name)
                    continue
                if any(name in other.publications and not other.publications[name].done for other in earlier):
                    continue
                publication.queued = True
                heapq.heappush(self.publishable, (iteration.order, pipeline.name, iteration.number, name))

    def _commit(self, pipeline: Pipeline, now: float) -> None:
        for iteration in list(pipeline.unfinished()):
            if not iteration.prepared or iteration.prepare_seq > self.journal.durable:
                continue
            if any(pipeline.earlier(iteration)):
                continue
            if all(p.done for p in iteration.publications.values()):
                iteration.advance("commit")
                keep = pipeline.spec.keep_last
                record = rec.Commit(
                    pipeline=pipeline.name,
                    iteration=iteration.number,
                    at=now,
                    keep=keep,
                    abandoned=[name for name, p in iteration.publications.items() if p.abandoned],
                )
                iteration.state_seq = self.write(record, pipeline.name)
                self.say(Log("info", f"{iteration.name}: {committed(pipeline, iteration, now)}"))
                letters.settled(pipeline, iteration, iteration.state_seq)
                pipeline.keep_states(iteration, iteration.state_seq)
                pipeline.last_committed = max(pipeline.last_committed, iteration.number)
                pipeline.accounted = max(pipeline.accounted, iteration.number)
                pipeline.committed += 1
                pipeline.commits, pipeline.newest_commit = pipeline.commits + 1, iteration.number
                for name, publication in iteration.publications.items():
                    if not publication.abandoned:
                        pipeline.stands[name] = (publication.part.at, iteration.number)
                self.schedules.committed(pipeline)
                if iteration.lane in pipeline.backfills:
                    pipeline.backfills[iteration.lane].committed += 1
                elif not iteration.run:
                    alerts.recovered(self, pipeline, now)
                # Positions offered beyond credit may be planned now that one iteration less is in flight.
                self.touch(pipeline.name)

    def _clean(self, pipeline: Pipeline) -> None:
        for number, iteration in list(pipeline.iterations.items()):
            if iteration.terminal and iteration.state_seq <= self.journal.durable:
                del pipeline.iterations[number]
                if self.releasable(pipeline, number):
                    self.dispatcher.release(pipeline.name, number)
        for number, seq in list(pipeline.unkept.items()):
            if seq <= self.journal.durable:
                del pipeline.unkept[number]
                if self.releasable(pipeline, number):
                    self.dispatcher.release(pipeline.name, number)

    def releasable(self, pipeline: Pipeline, number: int) -> bool:
        """Nothing references the iteration's outputs. The batch of a dead letter is kept until the letter goes, a state
        until enough later ones are durable."""
        known = 0 < number <= pipeline.last_iteration
        held = number in pipeline.iterations or number in pipeline.kept or number in pipeline.unkept
        return known and not held and not pipeline.keeps(number)

    # --- runs -----------------------------------------------------------------------------------------------------

    # --- operators ------------------------------------------------------------------------------------------------

    def cancel_from(self, pipeline: Pipeline, iterations: list[Iteration], now: float, reason: str = "") -> None:
        """Void a suffix of unprepared iterations in one record and release their positions. ``reason``: why, where no
        operator asked for it."""
        record = rec.Cancel(pipeline.name, [i.number for i in iterations], now, reason)
        seq = self.write(record, pipeline.name)
        for iteration in iterations:
            iteration.advance("cancel")
            iteration.state_seq = seq
            letters.cancelled(self, pipeline, iteration, seq)
            self.drop(iteration.running())
        runs.voided(pipeline, iterations, reason.startswith(rec.PLANNED_AGAIN) or iterations[0].lane != LIVE)
        for lane in pipeline.lanes:
            if any(iteration.lane == lane.name for iteration in iterations):
                self.released(pipeline, lane, seq, now)
        for iteration in iterations if iterations[0].lane != LIVE else ():
            runs.retried(self, pipeline, iteration, now)
        pins.release(self, pipeline, [i.number for i in iterations], now)

    def released(self, pipeline: Pipeline, lane: Lane, seq: int, now: float) -> None:
        """Record ``seq`` has released positions of this lane: its sources read the ledger again, and the run that plans
        asks them again: what they had said before is not all there is."""
        for source in lane.consuming:
            source.seq, source.changed_at = seq, now
            source.offer([], [])
            source.heard, source.exhausted, source.run = False, False, ""
            self.say(Send(SOURCE, Released(self.epoch, pipeline.name, source.node.name, seq, lane.name)))

    def plan_again(self, pipeline: Pipeline, iteration: Iteration, source: str, now: float) -> None:
        """A reference file changed between plan and read: void what was planned with its former content (nothing of it
        is visible) and plan it again once the source has told the new one."""
        suffix = [i for i in pipeline.unfinished(iteration.lane) if i.number >= iteration.number and not i.prepared]
        self.cancel_from(pipeline, suffix, now, f"{rec.PLANNED_AGAIN}a file of {source} changed before it was read")
        lane = pipeline.lane(iteration.lane)
        if lane is None:
            return
        runs.plan_again(lane, suffix)
        lane.sources[source].forget_offer()
        self.say(Send(SOURCE, Discover(epoch=self.epoch, pipeline=pipeline.name, run="", lane=lane.name)))
        if wait := lane.back_off(now):
            pipeline.problem = (
                f"source {source}: its files changed {lane.voided} times between plan and read; planned again in "
                f"{wait:g} s. Replace them under another name and rename (see docs/operations.md)"
            )
            self.later(lane.not_before, pipeline.name, 0, "")

    def describe_project(self, project: ProjectSpec) -> None:
        """Keep the project's name and the limits of workers, for a broker that recovers without the project file, and,
        for the store, how many seconds and bytes of history it is to keep."""
        former = self.worker_limits()
        order = ",".join(spec.name for spec in project.pipelines)
        wanted = {**project_settings(project), rec.CODE: project.code_digest, rec.ORDER: order}
        for name, value in wanted.items():
            if self.project.get(name, "") != value:
                self.project[name] = value
                self.journal.append(rec.Setting(scope=PROJECT, name=name, value=value))
        if (limits := self.worker_limits()) != former:
            for pool in self.dispatcher.pools:
                self.say(Send(pool, limits))

    def listed(self) -> list[Pipeline]:
        """All pipelines as people see them: in the order of the project file, whatever was loaded first; then those
        that are not in it any more, unless they were forgotten."""
        known = (pipeline for pipeline in self.pipelines.values() if not pipeline.forgotten)
        places = {name: place for place, name in enumerate(self.project.get(rec.ORDER, "").split(","))}
        return sorted(known, key=lambda pipeline: places.get(pipeline.name, len(places)))

    def worker_limits(self) -> WorkerLimits:
        """When workers make way for fresh ones, as pools are told."""
        tasks, memory = (self.project.get(name) for name in (MAX_TASKS, MAX_MEMORY))
        limits = WorkerSpec(max_tasks=int(tasks) if tasks else None, max_memory=int(memory) if memory else None)
        return WorkerLimits(epoch=self.epoch, limits=limits)

    def set(self, pipeline: Pipeline, name: str, on: bool) -> None:
        """Make ``paused``, ``draining``, ``removed`` or ``forgotten`` of a pipeline so, durably."""
        setattr(pipeline, name, on)
        self.shape += 1
        self.write(rec.Setting(scope=pipeline.name, name=name, value="1" if on else ""), pipeline.name)

    def retry(self, pipeline: Pipeline, iteration: Iteration, now: float) -> list[int] | None:
        """Start the failed nodes, or the blocked sinks, of an iteration again with all their attempts. Where a file is
        at fault, or was written again, it is planned again instead; returns the numbers that are void then, else none.
        None: ask again, the source has not answered yet."""
        source = again.at_fault(pipeline, iteration) or again.written_since(self, pipeline, iteration, now)
        if source is None:
            return None
        if source:
            return again.as_files_are(self, pipeline, iteration, source, now)
        self.go_on(pipeline, iteration, now)
        return []

    def go_on(self, pipeline: Pipeline, iteration: Iteration, now: float) -> None:
        """The iteration is not stuck any more; its nodes and sinks have all their attempts."""
        self.write(rec.Retry(pipeline=pipeline.name, iteration=iteration.number, at=now), pipeline.name)
        iteration.advance("retry")
        iteration.trouble = ""
        runs.retried(self, pipeline, iteration, now)
        for run in iteration.nodes.values():
            run.used = run.lost = 0
            if run.state == "retrying":
                run.state = "waiting"
        for publication in iteration.publications.values():
            publication.blocked, publication.used, publication.retry_at = False, 0, 0.0
        self.wake(iteration)

    def hurry(self, pipeline: Pipeline, iteration: Iteration, now: float) -> bool:
        """Cut short the pauses before the next attempts of an iteration; False when there are none."""
        found = False
        for run in iteration.nodes.values():
            if run.state == "retrying" and now < run.retry_at < NEVER:
                run.state, run.retry_at, found = "waiting", now, True
        for publication in iteration.publications.values():
            if now < publication.retry_at < NEVER and not publication.done:
                publication.retry_at, found = now, True
        self.wake(iteration)
        self.touch(pipeline.name)
        return found

    def abandon(self, pipeline: Pipeline, iteration: Iteration, node: str, now: float) -> None:
        """Give up a blocked sink for this iteration. Once that is durable its part is thrown away, and those after it
        go on: not before, or a broker that never heard of it could publish it behind them. If it was given up already,
        and cannot be thrown away: leave there what there is."""
        seq = self.write(
            rec.Abandon(pipeline=pipeline.name, iteration=iteration.number, node=node, at=now), pipeline.name
        )
        publication = iteration.publications[node]
        publication.barrier = seq
        publication.left, publication.abandoned = publication.abandoned, True
        publication.blocked, publication.retry_at, publication.used = False, 0.0, 0
        pins.abandoned(self, pipeline, iteration, node)
        if not any(p.blocked for p in iteration.publications.values()):
            iteration.advance("abandon")
            runs.retried(self, pipeline, iteration, now)

    def rebind(self, pipeline: Pipeline, now: float) -> None:
        """Bind the unprepared iterations to the pipeline's new version. What failed of a node that is gone, or another
        one now, goes on: there is nothing left that an operator could have meant by a retry."""
        for iteration in pipeline.unfinished():
            if iteration.prepared:
                continue
            source = again.at_fault(pipeline, iteration)
            void, unwanted = iteration.bind(pipeline.spec, pipeline.version)
            self.drop(unwanted)
            self.invalidate(iteration, void, f"version {pipeline.version} changes it")
            if iteration.state == "failed" and not any(run.gave_up for run in iteration.nodes.values()):
                self.go_on(pipeline, iteration, now)
                pipeline.gone_on[iteration.number] = pipeline.version
                if source and iteration.replay is None:  # nobody would replay the letter of one that is void
                    pipeline.at_fault[iteration.number] = source
                text = f"{iteration.name}: goes on with version {pipeline.version}, in which nothing of it has failed"
                self.say(Log("info", text, {"notice": True}))
            self.wake(iteration)


def committed(pipeline: Pipeline, iteration: Iteration, now: float) -> str:
    """``committed, 3 files, 1,200 rows read, 0.8 s``: what a commit's line in the log says."""
    said = ["committed"]
    consumed = [name for name, source in pipeline.sources.items() if not source.pinned]
    pieces = [name for name in consumed if pipeline.sources[name].ordered]
    for names, what in (([name for name in consumed if name not in pieces], "file"), (pieces, "piece")):
        if names:
            said.append(plural(sum(len(iteration.positions.get(name, ())) for name in names), what))
    acks = [run.ack for name in consumed if (run := iteration.nodes.get(name)) is not None and run.ack is not None]
    if acks:
        said.append(plural(sum(ack.rows_out for ack in acks), "row read", "rows read"))
    if iteration.set_aside:
        said.append(f"{plural(iteration.set_aside, 'file')} set aside")
    given_up = [name for name, publication in iteration.publications.items() if publication.abandoned]
    if given_up:
        said.append(f"but not to {', '.join(given_up)}")
    return ", ".join([*said, f"{max(0.0, now - iteration.planned_at):.1f} s"])
