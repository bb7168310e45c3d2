"""Giving out work: which ready nodes and which publications go to a pool now. Part of ``flow``."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from odibi_actors.broker import adopting, pins
from odibi_actors.broker.iteration import BEHIND, Iteration, NodeRun, Publication
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.checkpoint import adopted
from odibi_actors.messages import AnyTask, PublishTask, Step, Task

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow


def dispatch_publications(flow: Flow, now: float) -> None:
    deferred = []
    while flow.publishable and (pool := flow.dispatcher.place()) is not None:
        item = heapq.heappop(flow.publishable)
        _, name, number, node = item
        found = flow.find(name, number)
        publication = found[1].publications.get(node) if found is not None else None
        if found is None or publication is None or publication.done or publication.attempt is not None:
            continue
        exclusive = publication.part.exclusive
        if exclusive in flow.publishing:
            deferred.append(item)
            continue
        publication.queued = False
        publication.attempt = flow.new_attempt(name, number)
        flow.publishing[exclusive] = publication.attempt
        flow.dispatcher.give(pool, _publish_task(flow, found[0], found[1], node, publication), now)
    for item in deferred:
        heapq.heappush(flow.publishable, item)


def dispatch_nodes(flow: Flow, now: float) -> None:
    waiting = []
    while flow.ready and not flow.journal.full and (pool := flow.dispatcher.place()) is not None:
        if flow.ready[0][0] >= BEHIND and flow.behind >= _room(flow):
            break  # what is left is of backfills, and they have all they may take
        item = heapq.heappop(flow.ready)
        _, _, name, number, node = item
        found = flow.find(name, number)
        run = found[1].nodes.get(node) if found is not None else None
        if found is None or run is None or run.state != "ready" or found[1].terminal:
            continue
        pipeline, iteration = found
        if pipeline.paused or pipeline.removed:
            continue  # resume and re-adding wake the iterations again
        if run.barrier > flow.journal.durable:
            waiting.append(item)
            continue
        if run.spec.read is not None and not pipeline.read_may_start(iteration, run.spec):
            continue  # woken again when the schema is pinned
        flow.dispatcher.give(pool, _task(flow, pipeline, iteration, run), now)
    for item in waiting:
        heapq.heappush(flow.ready, item)


def _room(flow: Flow) -> int:
    """Tasks that backfills may have out: a worker stays free for live runs, if there is more than one."""
    return max(1, sum(pool.capacity for pool in flow.dispatcher.pools.values()) - 1)


def _task(flow: Flow, pipeline: Pipeline, iteration: Iteration, first: NodeRun) -> AnyTask:
    runs = iteration.chain(first.spec.name)
    attempt = flow.new_attempt(pipeline.name, iteration.number, len(runs))
    steps = []
    for run in runs:
        run.state, run.attempt, run.given = "running", attempt, iteration.state_for(run.spec.name)
        steps.append(_step(flow, pipeline, iteration, run))
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
        store_id=flow.store_id,
        home=flow.home,
        run=iteration.run,
        trigger=iteration.trigger,
        lane=iteration.lane,
        access=pipeline.spec.access,
        typeless=[one.name for one in pipeline.spec.nodes if one.read and one.name not in pipeline.pins.sources],
    )


def _step(flow: Flow, pipeline: Pipeline, iteration: Iteration, run: NodeRun) -> Step:
    node = run.spec
    if node.read is not None:
        schema = pipeline.pins.sources.get(node.name, b"")
        return Step(node, run.static, iteration.positions.get(node.name, []), schema)
    if node.write is not None:
        schema, open_ = pins.given(pipeline, iteration, node)
        published = pins.published(pipeline, node.name, node.write.target)
        former = adopting.former(flow, pipeline.name, node.name, node.write.target)
        return Step(node, run.static, schema=schema, open=open_, published=published, former=former)
    return Step(node, run.static, state=run.given)


def _publish_task(
    flow: Flow, pipeline: Pipeline, iteration: Iteration, node: str, publication: Publication
) -> PublishTask:
    assert publication.attempt is not None
    place = publication.part.at
    published = pins.published(pipeline, node, place)
    return PublishTask(
        attempt=publication.attempt,
        pipeline=pipeline.name,
        iteration=iteration.number,
        node=iteration.sink(node),
        part=publication.part,
        store_id=flow.store_id,
        home=flow.home,
        code_digest=pipeline.code_digest,
        action="discard" if publication.abandoned else "publish",
        lane=iteration.lane,
        settled=pipeline.settled(flow.journal.durable),
        published=published,
        before=adopting.stands(flow, pipeline.name, node, place) if published else 0,
        former=adopting.former(flow, pipeline.name, node, place),
        upto=max(pipeline.accounted, adopted.through(flow.adoptions, place)),
        coming=pipeline.coming(node, place),
        access=pipeline.spec.access,
    )
