"""The iteration protocol: plan, dispatch, acknowledge, prepare, publish, commit. Pure; rules: docs/protocol.md.

``Flow`` exists once the broker has claimed its epoch. Messages change its state; ``advance`` then takes every step
that has become possible and returns all there is to send, joined into lists.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from broker.dispatch import Dispatcher, Pool
from broker.iteration import MAX_LOST, Iteration, NodeRun, Publication
from broker.journal import Journal
from broker.pipeline import Pipeline, RunInfo
from odibi_actors.actor import Effect, Log, Send
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import RetrySpec
from odibi_actors.messages import (
    SOURCE,
    STORE,
    AnyResult,
    AnyTask,
    Discover,
    HeldTask,
    NodeDone,
    NodeFailed,
    Offer,
    Planned,
    PublishDone,
    PublishTask,
    Released,
    Step,
    Task,
)
from odibi_actors.model import COUNTED, Attempt, Failure, RunState

if TYPE_CHECKING:
    import random  # only the type: the generator is injected

CODE_MISMATCH_PAUSE = 5.0
"""Seconds until a node is tried again when no worker has the code of its version: waits for a person, not for luck."""

DISCOVER_AGAIN = 5.0
"""Seconds after which a run asks its sources again (the message, or the source, was lost)."""

STALE_AFTER = 2.0
"""Seconds a source has to hear of a plan before an offer that misses it means that the message was lost."""

PROJECT = "project."
"""Scope of the setting that holds the project's name; the dot keeps it apart from the pipelines' scopes."""

NEVER = float("inf")


class Flow:
    """All pipelines' run state and what is to be sent."""

    def __init__(self, epoch: int, start_seq: int, store_id: str, rng: random.Random) -> None:
        self.epoch = epoch
        self.start_seq = start_seq
        self.store_id = store_id
        self.journal = Journal(epoch, start_seq)
        self.dispatcher = Dispatcher()
        self.pipelines: dict[str, Pipeline] = {}
        self.project = ""
        self.workers: dict[str, int] = {}  # host -> worker processes an operator asked for
        self.stopping = False
        self._rng = rng
        self._counter = 0
        self._effects: list[Effect] = []
        self._dirty: dict[str, None] = {}
        self._ready: list[tuple[int, int, str, int, str]] = []  # (order, place in DAG, pipeline, iteration, node)
        self._publish: list[tuple[int, str, int, str]] = []
        self._timers: list[tuple[float, str, int, str]] = []
        self._on_durable: deque[tuple[int, str]] = deque()
        self._out: dict[Attempt, tuple[str, int]] = {}
        self._publishing: dict[str, Attempt] = {}  # SQL database -> the one attempt that publishes there

    # --- small helpers --------------------------------------------------------------------------------------------

    def touch(self, pipeline: str) -> None:
        """Something of the pipeline changed: look at it in the next ``advance``."""
        self._dirty[pipeline] = None

    def say(self, effect: Effect) -> None:
        """Send with the next ``advance``."""
        self._effects.append(effect)

    def write(self, record: rec.AnyRecord, pipeline: str) -> int:
        """Append a record to the log; the pipeline is looked at again once it is durable."""
        seq = self.journal.append(record)
        self._on_durable.append((seq, pipeline))
        self.touch(pipeline)
        return seq

    def _find(self, pipeline: str, number: int) -> tuple[Pipeline, Iteration] | None:
        owner = self.pipelines.get(pipeline)
        iteration = owner.iterations.get(number) if owner is not None else None
        return None if owner is None or iteration is None else (owner, iteration)

    def _new_attempt(self, iteration: Iteration) -> Attempt:
        self._counter += 1
        attempt = Attempt(self.epoch, self._counter)
        self._out[attempt] = (iteration.pipeline, iteration.number)
        return attempt

    def _close(self, attempt: Attempt) -> None:
        self._out.pop(attempt, None)
        self.dispatcher.done(attempt)
        for target, holder in list(self._publishing.items()):
            if holder == attempt:
                del self._publishing[target]

    def _drop(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            self.dispatcher.drop(attempt)
            self._close(attempt)

    def wake(self, iteration: Iteration) -> None:
        """Queue every node that has become ready."""
        for place, (name, run) in enumerate(iteration.nodes.items()):
            if iteration.wake(name) or run.state == "ready":
                heapq.heappush(self._ready, (iteration.order, place, iteration.pipeline, iteration.number, name))

    def wake_all(self, pipeline: Pipeline) -> None:
        """Queue every ready node of the pipeline: something that held nodes back is gone."""
        for iteration in pipeline.unfinished():
            self.wake(iteration)
        self.touch(pipeline.name)

    def _wake_nodes(self, iteration: Iteration, names: list[str]) -> None:
        places = {name: place for place, name in enumerate(iteration.nodes)}
        for name in names:
            if iteration.wake(name):
                item = (iteration.order, places[name], iteration.pipeline, iteration.number, name)
                heapq.heappush(self._ready, item)

    # --- offers ---------------------------------------------------------------------------------------------------

    def on_offer(self, offer: Offer, now: float) -> None:
        """A source says what is there beyond what is planned. One that missed a plan is ignored: it will come again."""
        pipeline = self.pipelines.get(offer.pipeline)
        source = pipeline.sources.get(offer.source) if pipeline is not None else None
        if pipeline is None or source is None or offer.epoch != self.epoch:
            return
        if not source.batch and offer.seq < source.seq:
            if now - source.changed_at > STALE_AFTER:
                # It has had time to hear of the plan: the message was lost.
                source.changed_at = now
                seq = source.seq
                self.say(Send(SOURCE, Released(self.epoch, pipeline.name, source.node.name, seq)))
            return
        if pipeline.run is not None and offer.run != pipeline.run.run:
            return
        if offer.positions and not source.pending:
            source.since = now
        source.pending = list(offer.positions)
        source.run, source.exhausted, source.heard = offer.run, offer.exhausted, True
        if offer.exhausted and offer.run:
            source.looked = offer.run
        self.touch(pipeline.name)

    # --- results --------------------------------------------------------------------------------------------------

    def on_result(self, pool: str, result: AnyResult, now: float) -> None:
        """One result of a task; every one is confirmed sooner or later, so that the pool can forget it."""
        match result:
            case NodeDone():
                self._node_done(pool, result)
            case NodeFailed():
                self._node_failed(pool, result, now)
            case PublishDone():
                self._publish_done(pool, result)
            case _:
                self.dispatcher.confirm(pool, result.attempt, "", 0)
                self.requeue(result.attempt)

    def _node_done(self, pool: str, done: NodeDone) -> None:
        found = self._find(done.pipeline, done.iteration)
        run = found[1].nodes.get(done.node) if found is not None else None
        if found is None or run is None or found[1].prepared or found[1].terminal:
            self._unwanted(pool, done)
            return
        pipeline, iteration = found
        if run.ack is not None and run.ack.attempt == done.attempt:
            # Sent again: confirm once everything so far is durable, its ack among it.
            self.dispatcher.confirm(pool, done.attempt, done.node, self.journal.last)
            return
        foreign = done.attempt.epoch < self.epoch and run.state in ("waiting", "ready", "retrying")
        if run.attempt != done.attempt and not foreign:
            self._unwanted(pool, done)
            return
        key = iteration.key_of(done.node)
        pinned = pipeline.schemas.get(done.node)
        if (key is not None and key != done.key) or (done.schema and pinned not in (None, done.schema)):
            # Made from inputs, config or a schema that no longer hold: run it again from what holds now.
            self.dispatcher.confirm(pool, done.attempt, done.node, 0)
            self.dispatcher.drop(done.attempt)
            self.requeue(done.attempt)
            return
        self._acknowledge(pipeline, iteration, run, done, pool)
        # Not at ``done.last``: the result of an earlier node of the chain may have been lost on the way, and as long as
        # it is missing the attempt must be known to be out.
        if all(other.attempt != done.attempt for other in iteration.nodes.values()):
            self._close(done.attempt)

    def _unwanted(self, pool: str, done: NodeDone) -> None:
        self.dispatcher.confirm(pool, done.attempt, done.node, 0)
        if done.last:
            self.requeue(done.attempt)

    def _acknowledge(self, pipeline: Pipeline, iteration: Iteration, run: NodeRun, done: NodeDone, pool: str) -> None:
        ack = rec.Ack(
            pipeline=done.pipeline,
            iteration=done.iteration,
            node=done.node,
            attempt=done.attempt,
            key=done.key,
            started_at=done.started_at,
            duration=done.duration,
            rows_in=done.rows_in,
            rows_out=done.rows_out,
            worker=done.worker,
            output=done.output,
            staged=done.staged,
        )
        if done.schema and done.node not in pipeline.schemas:
            pipeline.schemas[done.node] = done.schema
            self.write(
                rec.Schema(pipeline=pipeline.name, node=done.node, arrow=done.schema, text=done.schema_text),
                pipeline.name,
            )
            self.wake_all(pipeline)
        seq = self.write(ack, pipeline.name)
        self.dispatcher.confirm(pool, done.attempt, done.node, seq)
        run.state, run.ack, run.attempt, run.verify = "acked", ack, None, False
        pipeline.problem = ""
        if any(iteration.nodes[name].state == "acked" for name in iteration.consumers(done.node)):
            # The output was made a second time: whoever consumed other bytes runs again.
            self.void_stale(iteration, f"{done.node} was made again with other bytes")
            self.wake(iteration)
        else:
            self._wake_nodes(iteration, iteration.consumers(done.node))

    def void_stale(self, iteration: Iteration, reason: str) -> None:
        """Void the acks whose inputs have other bytes now, and what was made from those in turn."""
        while void := iteration.void_stale():
            self._invalidate(iteration, void, reason)

    def _invalidate(self, iteration: Iteration, nodes: list[str], reason: str) -> None:
        if nodes:
            self.write(
                rec.Invalidate(pipeline=iteration.pipeline, iteration=iteration.number, nodes=nodes, reason=reason),
                iteration.pipeline,
            )

    def _publish_done(self, pool: str, done: PublishDone) -> None:
        self.dispatcher.confirm(pool, done.attempt, done.node, 0)
        self._close(done.attempt)
        found = self._find(done.pipeline, done.iteration)
        publication = found[1].publications.get(done.node) if found is not None else None
        # Publishing is idempotent and keyed, so a former epoch's success is a success.
        if publication is not None and not publication.done:
            if publication.attempt is not None and publication.attempt != done.attempt:
                self._drop([publication.attempt])
            publication.done, publication.attempt = True, None
            self.touch(done.pipeline)

    def _node_failed(self, pool: str, failed: NodeFailed, now: float) -> None:
        found = self._find(failed.pipeline, failed.iteration)
        if found is not None:
            pipeline, iteration = found
            publication = iteration.publications.get(failed.node)
            run = iteration.nodes.get(failed.node)
            if publication is not None and publication.attempt == failed.attempt:
                self._close(failed.attempt)
                self._publish_failed(pipeline, iteration, publication, failed, now)
            elif run is not None and run.attempt == failed.attempt and not iteration.terminal:
                self._close(failed.attempt)
                self._run_failed(pipeline, iteration, run, failed, now)
                self.wake(iteration)
        self.requeue(failed.attempt)
        self.dispatcher.confirm(pool, failed.attempt, failed.node, self.journal.last)

    def _run_failed(
        self, pipeline: Pipeline, iteration: Iteration, run: NodeRun, failed: NodeFailed, now: float
    ) -> None:
        for other in iteration.nodes.values():
            if other.attempt == failed.attempt:
                other.attempt, other.state = None, "waiting"
        failure = failed.failure
        if failure.kind == "input_lost" and failure.lost in iteration.nodes:
            self._input_lost(pipeline, iteration, run, failure, now)
            return
        if failure.kind == "code_mismatch":
            pipeline.problem = failure.message
            self._later(iteration, run, now + CODE_MISMATCH_PAUSE)
            return
        if failure.kind in COUNTED:
            run.used += 1
        self._error(iteration, run, failed.attempt, failure, now)
        if failure.kind in COUNTED and run.used < run.spec.retry.max_attempts:
            self._later(iteration, run, now + self._backoff(run.spec.retry, run.used))
            return
        if failure.position and pipeline.spec.on_error == "dead_letter":
            self._revise(pipeline, iteration, run, failure, now)
            return
        self.give_up(pipeline, iteration, run.spec.name, failure, now)

    def _error(self, iteration: Iteration, run: NodeRun, attempt: Attempt, failure: Failure, now: float) -> None:
        self.write(
            rec.Error(
                pipeline=iteration.pipeline,
                iteration=iteration.number,
                node=run.spec.name,
                attempt=attempt,
                failure=failure,
                used=run.used,
                at=now,
            ),
            iteration.pipeline,
        )
        where = f"{iteration.pipeline}/{iteration.number}/{run.spec.name}"
        self.say(Log("warning", f"{where}: attempt {run.used}/{run.spec.retry.max_attempts}: {failure.message}"))

    def _backoff(self, retry: RetrySpec, used: int) -> float:
        delay = retry.initial * (2 ** (used - 1) if retry.backoff == "exponential" else 1)
        return min(delay, retry.max) * (1 + retry.jitter * (2 * self._rng.random() - 1))

    def _later(self, iteration: Iteration, run: NodeRun, when: float) -> None:
        run.state, run.retry_at = "retrying", when
        if when != NEVER:
            heapq.heappush(self._timers, (when, iteration.pipeline, iteration.number, run.spec.name))

    def _input_lost(self, pipeline: Pipeline, iteration: Iteration, run: NodeRun, failure: Failure, now: float) -> None:
        producer = iteration.nodes[failure.lost]
        run.state = "waiting"
        if producer.state == "acked":
            producer.lost += 1
            if producer.lost > MAX_LOST:
                self.give_up(pipeline, iteration, run.spec.name, failure, now)
                return
            producer.reset()
            iteration.demote()
            self._invalidate(iteration, [failure.lost], failure.message)
            self.say(Log("warning", f"{iteration.pipeline}/{iteration.number}: output of {failure.lost} is made again"))
        self.wake(iteration)

    def _revise(self, pipeline: Pipeline, iteration: Iteration, run: NodeRun, failure: Failure, now: float) -> None:
        """One bad position does not condemn the others: it is dead-lettered, durably, before the rest runs on."""
        name = run.spec.name
        left = [p for p in iteration.positions.get(name, []) if p.identity != failure.position]
        if not left and name not in pipeline.schemas:
            self.give_up(pipeline, iteration, name, failure, now)
            return
        iteration.positions[name] = left
        barrier = self.write(
            rec.Revise(
                pipeline=iteration.pipeline,
                iteration=iteration.number,
                node=name,
                identities=[failure.position],
                failure=failure,
                at=now,
            ),
            iteration.pipeline,
        )
        iteration.bind(pipeline.spec, iteration.version, pipeline.code_digest)
        iteration.nodes[name].barrier = barrier
        self.wake(iteration)

    def give_up(self, pipeline: Pipeline, iteration: Iteration, node: str, failure: Failure, now: float) -> None:
        """No attempt is left: follow ``on_error``."""
        if pipeline.spec.on_error == "dead_letter":
            iteration.advance("dead_letter")
            pipeline.kept[iteration.number] = None
            self._drop(iteration.running())
            iteration.commit_seq = self.write(
                rec.DeadLetter(pipeline=pipeline.name, iteration=iteration.number, node=node, failure=failure, at=now),
                pipeline.name,
            )
            self.say(Log("error", f"{pipeline.name}/{iteration.number}: dead-lettered at {node}: {failure.message}"))
            self.wake_all(pipeline)
            return
        if node in iteration.nodes:
            self._later(iteration, iteration.nodes[node], NEVER)
        if iteration.state != "failed":
            iteration.advance("fail")
            self.write(rec.Fail(pipeline=pipeline.name, iteration=iteration.number, node=node, at=now), pipeline.name)
            self.say(Log("error", f"{pipeline.name}/{iteration.number}: failed at {node}: {failure.message}"))
            self._end_run(pipeline, "failed", now, iteration.run)
            self.wake_all(pipeline)

    def _publish_failed(
        self, pipeline: Pipeline, iteration: Iteration, publication: Publication, failed: NodeFailed, now: float
    ) -> None:
        publication.attempt = None
        failure = failed.failure
        spec = iteration.nodes[failed.node].spec
        if failure.kind == "code_mismatch":
            publication.retry_at = now + CODE_MISMATCH_PAUSE
            pipeline.problem = failure.message
        elif failure.kind in COUNTED:
            publication.used += 1
            publication.retry_at = now + self._backoff(spec.retry, publication.used)
        if failure.kind not in ("code_mismatch", *COUNTED) or publication.used >= spec.retry.max_attempts:
            publication.blocked = True
            if iteration.state != "blocked":
                iteration.advance("block")
            self.write(
                rec.Block(
                    pipeline=pipeline.name, iteration=iteration.number, node=failed.node, failure=failure, at=now
                ),
                pipeline.name,
            )
            self.say(Log("error", f"{pipeline.name}/{iteration.number}: sink {failed.node}: {failure.message}"))
            self._end_run(pipeline, "failed", now, iteration.run)
            return
        heapq.heappush(self._timers, (publication.retry_at, pipeline.name, iteration.number, failed.node))

    def requeue(self, attempt: Attempt) -> None:
        """The attempt came to nothing, through no fault of its nodes: they run again under a new one."""
        place = self._out.get(attempt)
        self._close(attempt)
        found = self._find(*place) if place is not None else None
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
        found = self._find(held.pipeline, held.iteration)
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
        self._out[held.attempt] = (held.pipeline, held.iteration)
        self.dispatcher.adopt(pool, held.attempt, now)
        return True

    # --- the steps that time and durability make possible -----------------------------------------------------------

    def durable(self, through: int) -> None:
        """The store has everything up to ``through``."""
        if self.journal.settle(through):
            while self._on_durable and self._on_durable[0][0] <= through:
                self.touch(self._on_durable.popleft()[1])

    def deadline(self) -> float | None:
        """When ``advance`` wants to be called at the latest."""
        times = [self._timers[0][0]] if self._timers else []
        for pipeline in self.pipelines.values():
            due = pipeline.due(0.0)
            if due is not None and due > 0:
                times.append(due)
        return min(times, default=None)

    def advance(self, now: float) -> list[Effect]:
        """Take every step that is possible now; returns what is to be sent."""
        while self._timers and self._timers[0][0] <= now:
            _, name, number, node = heapq.heappop(self._timers)
            self._timer(name, number, node, now)
        for pipeline in self.pipelines.values():
            due = pipeline.due(now)
            if due is not None and due <= now:
                self.touch(pipeline.name)
        while self._dirty:
            name = next(iter(self._dirty))
            del self._dirty[name]
            pipeline = self.pipelines[name]
            if not self.stopping:
                self._plan(pipeline, now)
            self._prepare(pipeline, now)
            self._queue_publications(pipeline, now)
            self._commit(pipeline, now)
            self._clean(pipeline)
            self._check_run(pipeline, now)
        if not self.stopping:
            self._dispatch_publications(now)
            self._dispatch_nodes(now)
        effects, self._effects = self._effects, []
        # Records first: a plan is on its way to the disk before anybody acts on it.
        appends: list[Effect] = [Send(STORE, message) for message in self.journal.unsent()]
        return appends + effects + self.dispatcher.flush(self.epoch, self.journal.durable)

    def _timer(self, name: str, number: int, node: str, now: float) -> None:
        found = self._find(name, number)
        if name in self.pipelines:
            self.touch(name)
        run = found[1].nodes.get(node) if found is not None else None
        if found is not None and run is not None and run.state == "retrying" and run.retry_at <= now:
            run.state = "waiting"
            self._wake_nodes(found[1], [node])

    def _plan(self, pipeline: Pipeline, now: float) -> None:
        while not self.journal.full:
            due = pipeline.due(now)
            if due is None or due > now:
                return
            plan = pipeline.plan(pipeline.take(), now)
            seq = self.write(plan, pipeline.name)
            if pipeline.run is not None:
                pipeline.run.planned += 1
            iteration = pipeline.add(plan, order=seq)
            for name in plan.ledgered:
                positions = plan.positions[name]
                if positions:
                    source = pipeline.sources[name]
                    previous, source.seq, source.changed_at = source.seq, seq, now
                    self.say(
                        Send(
                            SOURCE,
                            Planned(
                                epoch=self.epoch,
                                pipeline=pipeline.name,
                                source=name,
                                seq=seq,
                                iteration=plan.iteration,
                                positions=positions,
                                previous=previous,
                            ),
                        )
                    )
            self.wake(iteration)

    def _prepare(self, pipeline: Pipeline, now: float) -> None:
        for iteration in pipeline.unfinished():
            if iteration.state not in ("planned", "running"):
                continue
            if not all(other.prepared for other in pipeline.earlier(iteration)):
                return
            if not iteration.complete():
                continue
            if iteration.state == "planned":
                iteration.advance("dispatch")
            sinks = iteration.parts()
            iteration.advance("prepare")
            seq = self.write(
                rec.Prepare(pipeline=pipeline.name, iteration=iteration.number, sinks=sinks, at=now), pipeline.name
            )
            iteration.prepare(sinks, seq)

    def _queue_publications(self, pipeline: Pipeline, now: float) -> None:
        for iteration in pipeline.unfinished():
            if not iteration.prepared or iteration.prepare_seq > self.journal.durable:
                continue
            earlier = list(pipeline.earlier(iteration))
            for name, publication in iteration.publications.items():
                if publication.done or publication.blocked or publication.queued or publication.attempt is not None:
                    continue
                if publication.retry_at > now:
                    continue
                if any(name in other.publications and not other.publications[name].done for other in earlier):
                    continue
                publication.queued = True
                heapq.heappush(self._publish, (iteration.order, pipeline.name, iteration.number, name))

    def _commit(self, pipeline: Pipeline, now: float) -> None:
        for iteration in list(pipeline.unfinished()):
            if not iteration.prepared or iteration.prepare_seq > self.journal.durable:
                continue
            if any(pipeline.earlier(iteration)):
                return
            if all(p.done for p in iteration.publications.values()):
                iteration.advance("commit")
                record = rec.Commit(pipeline=pipeline.name, iteration=iteration.number, at=now)
                iteration.commit_seq = self.write(record, pipeline.name)
                pipeline.last_committed = iteration.number
                pipeline.committed += 1
                # Positions offered beyond credit may be planned now that one iteration less is in flight.
                self.touch(pipeline.name)

    def _clean(self, pipeline: Pipeline) -> None:
        for number, iteration in list(pipeline.iterations.items()):
            if iteration.terminal and iteration.commit_seq <= self.journal.durable:
                del pipeline.iterations[number]
                if self.releasable(pipeline, number):
                    self.dispatcher.release(pipeline.name, number)

    def releasable(self, pipeline: Pipeline, number: int) -> bool:
        """Nothing references the iteration's outputs. The batch of a dead letter is kept until the letter goes."""
        known = 0 < number <= pipeline.last_iteration
        return known and number not in pipeline.iterations and number not in pipeline.kept

    # --- runs -----------------------------------------------------------------------------------------------------

    def start_run(self, pipeline: Pipeline, run: str, cause: str, now: float, limit: int = 0) -> None:
        """Start a run: everything discovered by now is planned (``limit`` iterations at most), then it ends."""
        self.write(rec.Run(run=run, pipeline=pipeline.name, cause=cause, at=now), pipeline.name)
        pipeline.run = RunInfo(run, limit=limit)
        for source in pipeline.sources.values():
            source.forget_offer()

    def _check_run(self, pipeline: Pipeline, now: float) -> None:
        run = pipeline.run
        if run is None:
            return
        sources = list(pipeline.sources.values())
        if any(s.run != run.run for s in sources):
            if now - run.asked_at >= DISCOVER_AGAIN:
                run.asked_at = now
                self.say(Send(SOURCE, Discover(epoch=self.epoch, pipeline=pipeline.name, run=run.run)))
                heapq.heappush(self._timers, (now + DISCOVER_AGAIN, pipeline.name, 0, ""))
            return
        if any(i.run == run.run for i in pipeline.unfinished()):
            return
        consuming = [s for s in sources if not s.batch]
        missing = [s.node.name for s in sources if s.batch and not s.pending]
        if missing:
            pipeline.problem = f"run {run.run}: source {missing[0]}: no file matches"
        elif not run.full and (
            any(s.pending or not s.exhausted for s in consuming) or (not consuming and not run.planned)
        ):
            return
        self._end_run(pipeline, "done" if run.planned else "no_data", now, run.run)

    def _end_run(self, pipeline: Pipeline, state: RunState, now: float, run: str) -> None:
        if pipeline.run is not None and pipeline.run.run == run:
            seq = self.write(rec.RunEnd(run=run, pipeline=pipeline.name, state=state, at=now), pipeline.name)
            pipeline.remember_run(run, state, seq)
            pipeline.run = None

    # --- operators ------------------------------------------------------------------------------------------------

    def cancel_from(self, pipeline: Pipeline, iterations: list[Iteration], now: float) -> None:
        """Void a suffix of unprepared iterations in one record and release their positions."""
        seq = self.write(
            rec.Cancel(pipeline=pipeline.name, iterations=[i.number for i in iterations], at=now), pipeline.name
        )
        for iteration in iterations:
            iteration.advance("cancel")
            iteration.commit_seq = seq
            self._drop(iteration.running())
        for name, source in pipeline.sources.items():
            if source.batch:
                continue
            source.seq, source.changed_at = seq, now
            source.pending, source.heard = [], False
            released = Released(epoch=self.epoch, pipeline=pipeline.name, source=name, seq=seq)
            self.say(Send(SOURCE, released))

    def name_project(self, name: str) -> None:
        """Remember the project's name, so that a broker that recovers without the project file has it too."""
        if name != self.project:
            self.project = name
            self.journal.append(rec.Setting(scope=PROJECT, name="name", value=name))

    def set(self, pipeline: Pipeline, name: str, on: bool) -> None:
        """Make ``paused``, ``draining`` or ``removed`` of a pipeline so, durably."""
        setattr(pipeline, name, on)
        self.write(rec.Setting(scope=pipeline.name, name=name, value="1" if on else ""), pipeline.name)

    def retry(self, pipeline: Pipeline, iteration: Iteration, now: float) -> None:
        """Start the failed nodes, or the blocked sinks, of an iteration again with all their attempts."""
        self.write(rec.Retry(pipeline=pipeline.name, iteration=iteration.number, at=now), pipeline.name)
        iteration.advance("retry")
        for run in iteration.nodes.values():
            run.used = run.lost = 0
            if run.state == "retrying":
                run.state = "waiting"
        for publication in iteration.publications.values():
            publication.blocked, publication.used, publication.retry_at = False, 0, 0.0
        self.wake(iteration)

    def rebind(self, pipeline: Pipeline) -> None:
        """Bind the unprepared iterations to the pipeline's new version."""
        for iteration in pipeline.unfinished():
            if iteration.prepared:
                continue
            void, unwanted = iteration.bind(pipeline.spec, pipeline.version, pipeline.code_digest)
            self._drop(unwanted)
            self._invalidate(iteration, void, f"version {pipeline.version} changes it")
            self.wake(iteration)

    # --- dispatch -------------------------------------------------------------------------------------------------

    def _dispatch_publications(self, now: float) -> None:
        deferred = []
        while self._publish and (pool := self.dispatcher.place()) is not None:
            item = heapq.heappop(self._publish)
            _, name, number, node = item
            found = self._find(name, number)
            publication = found[1].publications.get(node) if found is not None else None
            if found is None or publication is None or publication.done or publication.attempt is not None:
                continue
            target = publication.part.target.partition("#")[0] if "#" in publication.part.target else ""
            if target and target in self._publishing:
                deferred.append(item)
                continue
            publication.queued = False
            publication.attempt = self._new_attempt(found[1])
            if target:
                self._publishing[target] = publication.attempt
            self.dispatcher.give(pool, self._publish_task(found[0], found[1], node, publication), now)
        for item in deferred:
            heapq.heappush(self._publish, item)

    def _dispatch_nodes(self, now: float) -> None:
        waiting = []
        while self._ready and not self.journal.full and (pool := self.dispatcher.place()) is not None:
            item = heapq.heappop(self._ready)
            _, _, name, number, node = item
            found = self._find(name, number)
            run = found[1].nodes.get(node) if found is not None else None
            if found is None or run is None or run.state != "ready" or found[1].terminal:
                continue
            pipeline, iteration = found
            if pipeline.paused or pipeline.removed:
                continue  # resume and re-adding wake the iterations again
            if run.barrier > self.journal.durable:
                waiting.append(item)
                continue
            if run.spec.read is not None and not pipeline.read_may_start(iteration, run.spec):
                continue  # woken again when the schema is pinned
            self.dispatcher.give(pool, self._task(pipeline, iteration, run), now)
        for item in waiting:
            heapq.heappush(self._ready, item)

    def _task(self, pipeline: Pipeline, iteration: Iteration, first: NodeRun) -> AnyTask:
        attempt = self._new_attempt(iteration)
        runs = iteration.chain(first.spec.name)
        steps = []
        for run in runs:
            run.state, run.attempt = "running", attempt
            read = run.spec.read is not None
            steps.append(
                Step(
                    node=run.spec,
                    static=run.static,
                    positions=iteration.positions.get(run.spec.name, []) if read else [],
                    schema=pipeline.schemas.get(run.spec.name, b"") if read else b"",
                )
            )
        if iteration.state == "planned":
            iteration.advance("dispatch")
        inputs = {}
        for name in first.spec.inputs:
            ack = iteration.nodes[name].ack
            assert ack is not None
            assert ack.output is not None
            inputs[name] = ack.output
        return Task(
            attempt=attempt,
            pipeline=pipeline.name,
            iteration=iteration.number,
            steps=steps,
            inputs=inputs,
            verify=[name for name in first.spec.inputs if iteration.nodes[name].verify],
            code_digest=pipeline.code_digest,
            attempt_no=first.used + 1,
            store_id=self.store_id,
            run=iteration.run,
        )

    def _publish_task(
        self, pipeline: Pipeline, iteration: Iteration, node: str, publication: Publication
    ) -> PublishTask:
        assert publication.attempt is not None
        return PublishTask(
            attempt=publication.attempt,
            pipeline=pipeline.name,
            iteration=iteration.number,
            node=iteration.nodes[node].spec,
            part=publication.part,
            store_id=self.store_id,
            code_digest=pipeline.code_digest,
        )
