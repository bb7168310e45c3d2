"""What the broker shows of itself: plain rows, the shapes documented in docs/cli.md."""

from __future__ import annotations

from typing import Any

import msgspec

from odibi_actors.broker import backfill, runs, source_pauses
from odibi_actors.broker.directory import Directory
from odibi_actors.broker.dispatch import Pool
from odibi_actors.broker.flow import Flow
from odibi_actors.broker.iteration import NEVER, Iteration
from odibi_actors.broker.lane import Lane, SourceState
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.checkpoint.records import CODE, ORDER
from odibi_actors.kinds.connection import name_of
from odibi_actors.messages import SourceSpec
from odibi_actors.pending import interrupted
from odibi_actors.runtime.visible import named
from odibi_actors.units import format_instant, plural
from odibi_actors.version import __version__

Row = dict[str, Any]

SILENT = 3.0
"""Seconds without a word (actors say one each second) from which on an actor is a problem."""


STARTING = 10.0
"""Seconds of the broker within which a source that is read whole may not have told yet what there is: no problem."""


def pipeline_row(pipeline: Pipeline, starting: bool = False) -> Row:
    """One line of ``pipeline list``. ``starting``: the broker has just begun."""
    problems = [f"source {s.node.name}: {p}" for s in pipeline.sources.values() for p in _of_source(pipeline, s)]
    if pipeline.resetting:
        problems.append(interrupted(pipeline.name))
    if pipeline.problem:
        problems.append(pipeline.problem)
    heard = all(source.heard for source in pipeline.sources.values() if source.pinned)
    if (not pipeline.on_demand or pipeline.run is not None) and (heard or not starting) and not pipeline.removed:
        problems += filter(None, [pipeline.waiting_for()])
    problems += source_pauses.problems(pipeline) if not pipeline.removed else ()
    stuck = pipeline.stuck()
    if stuck is not None:
        problems.append(f"iteration {stuck.number} {stuck.trouble or stuck.state}")
    for lane in pipeline.lanes:
        if lane.run is not None and (silent := lane.unanswered()):
            problems.append(
                f"run {named(lane.run.run)}: source {silent} has not said what there is; see `odibictl doctor`"
            )
    problems += [text for iteration in pipeline.unfinished() for text in _pauses(iteration)]
    for name in pipeline.backfills:
        held = pipeline.stuck(name)
        if held is not None:
            problems.append(f"{name}: iteration {held.number} {held.trouble or held.state}")
    return {
        "pipeline": pipeline.name,
        "state": pipeline.state,
        "trigger": pipeline.spec.trigger,
        "version": pipeline.version,
        "in_flight": pipeline.in_flight,
        "offered": pipeline.offered,
        "planned": pipeline.last_iteration,
        "committed": pipeline.committed,
        "last_iteration": pipeline.last_iteration,
        "last_committed": pipeline.last_committed,
        "delivery": "exactly_once",
        "run": next(iter(pipeline.live.active), ""),
        "paused": pipeline.paused,
        "stuck": stuck.number if stuck is not None else 0,
        "dead_letters": pipeline.dead_letters,
        "problems": problems,
    }


def _of_source(pipeline: Pipeline, source: SourceState) -> list[str]:
    """Of one whose pipeline was removed nobody looks any more, and what was so then may not be so now."""
    return source.problems if not pipeline.removed else []


def _pauses(iteration: Iteration) -> list[str]:
    """The nodes of an iteration that wait long for their next attempt, or for a target: why, and how long."""
    said = []
    for name, run in iteration.nodes.items():
        if run.state == "retrying" and run.trouble and run.retry_at != NEVER:
            when = format_instant(run.retry_at)
            tries = f"attempt {run.used}/{run.spec.retry.max_attempts} failed, the next at {when}"
            retry = f"`odibictl iteration retry {iteration.pipeline} {iteration.number}` tries now"
            said.append(f"iteration {iteration.number}, {name}: {tries} ({retry}): {run.trouble}")
    waits = [(name, run.busy) for name, run in iteration.nodes.items()]
    waits += [(name, publication.busy) for name, publication in iteration.publications.items()]
    for name, busy in waits:
        if busy is not None:
            since = format_instant(busy.since)
            said.append(f"iteration {iteration.number}, {name}: waits since {since}: {busy.message}")
    return said


def silent(flow: Flow, directory: Directory, now: float) -> list[Row]:
    """Actors that were not heard for SILENT seconds, or a store that makes nothing durable: since when, and what waits
    for it."""
    rows = []
    for peer in directory:
        waits = plural(flow.journal.backlog, "record") if peer.role == "store" and flow.journal.backlog else ""
        since = peer.seen
        if peer.role == "store" and waits:
            since = min(since, flow.stalled[1] or since)
        if peer.role != "client" and now - since >= SILENT:
            rows.append({"name": peer.name, "role": peer.role, "since": since, "seconds": now - since, "waits": waits})
    return rows


def pipeline_detail(pipeline: Pipeline, starting: bool = False) -> Row:
    """``pipeline show``."""
    nodes = [
        {
            "node": node.name,
            "kind": node.kind,
            "inputs": node.inputs,
            "timeout": node.timeout,
            "max_attempts": node.retry.max_attempts,
            "description": node.description,
        }
        for node in pipeline.spec.nodes
    ]
    sources = [
        {
            "source": s.node.name,
            "consumption": s.consumption,
            "offered": None if s.pinned else s.waits if s.paused else len(s.pending),
            "paused": s.paused,
            "problems": _of_source(pipeline, s),
        }
        for s in pipeline.sources.values()
    ]
    return {
        **pipeline_row(pipeline, starting),
        "on_error": pipeline.spec.on_error,
        "max_in_flight": pipeline.spec.max_in_flight,
        "code_digest": pipeline.code_digest,
        "nodes": nodes,
        "iterations": [iteration_row(pipeline, i) for i in pipeline.unfinished()],
        "sources": sources,
        "runs": [
            runs.row(lane, run) for lane in pipeline.lanes for run in (*lane.finishing.values(), *lane.runs.values())
        ],
        "backfills": [backfill.row(pipeline, one) for one in pipeline.backfills.values()],
    }


def iteration_row(pipeline: Pipeline, iteration: Iteration) -> Row:
    """One iteration in flight, with the state of each node; ``waits_for``: the one before it that holds it back: one
    that is stuck, else, once it has nothing left to do itself, one that is not prepared."""
    nodes: dict[str, str] = {}
    for name, run in iteration.nodes.items():
        publication = iteration.publications.get(name)
        nodes[name] = "published" if publication is not None and publication.done else run.state
        if publication is not None and publication.blocked:
            nodes[name] = "blocked"
        elif run.state == "retrying" and run.retry_at == NEVER:
            nodes[name] = "failed"
    stuck = pipeline.stuck(iteration.lane)
    waits_for = stuck.number if stuck is not None and stuck.number < iteration.number else 0
    if not waits_for and not iteration.prepared and iteration.complete():
        waits_for = next((other.number for other in pipeline.earlier(iteration) if not other.prepared), 0)
    return {
        "iteration": iteration.number,
        "state": iteration.state,
        "lane": iteration.lane,
        "waits_for": waits_for,
        "nodes": nodes,
    }


def worker_rows(flow: Flow) -> list[Row]:
    """``worker list``."""
    return [
        {"pool": pool.name, "host": pool.host, **msgspec.to_builtins(worker)}
        for pool in flow.dispatcher.pools.values()
        for worker in pool.workers
    ]


def pool_row(pool: Pool) -> Row:
    """A pool in ``status``."""
    return {"pool": pool.name, "host": pool.host, "wanted": pool.capacity, "problems": pool.problems}


def status(flow: Flow, directory: Directory, started_at: float, now: float) -> Row:
    """``status``."""
    peers = [
        {"name": p.name, "role": p.role, "host": p.host, "pid": p.pid, "seen": p.seen, "version": p.version}
        for p in directory
        if p.role != "client"
    ]
    if (me := directory.me) is not None:
        peers.insert(
            0, {"name": me.name, "role": me.role, "host": me.host, "pid": me.pid, "seen": now, "version": me.version}
        )
    return {
        "epoch": flow.epoch,
        "version": __version__,
        "project": flow.project.get("name", ""),
        "settings": {name: value for name, value in flow.project.items() if value and name not in (CODE, ORDER)},
        "store_id": flow.store_id,
        "started_at": started_at,
        "durable": flow.journal.durable,
        "pending": flow.journal.backlog,
        "peers": peers,
        "silent": silent(flow, directory, now),
        "refused": directory.refused.rows(),
        "pipelines": [pipeline_row(p, now - started_at < STARTING) for p in flow.listed()],
        "workers": worker_rows(flow),
        "pools": [pool_row(pool) for pool in flow.dispatcher.pools.values()],
        "alerts": {"pending": flow.alerts.pending, "untold": flow.alerts.untold(now)},
    }


def _through(pipeline: Pipeline, lane: Lane, source: SourceState) -> int:
    """Up to which iteration of the live lane a backfill reads again what was taken; -1 for all other sources."""
    backfill = pipeline.backfills.get(lane.name)
    return -1 if backfill is None or source.pinned else backfill.record.through


def _access(pipeline: Pipeline, source: SourceState) -> dict[str, str]:
    """How to get to what a source reads."""
    read = source.node.read
    if read is None:
        return {}
    connection = read.polled.connection if read.polled is not None else read.connection
    return pipeline.spec.access.get(name_of(connection.type, connection.path), {})


def source_specs(flow: Flow) -> list[SourceSpec]:
    """What the source actor is to look after: each source of each lane, and what starts runs."""
    return [
        SourceSpec(
            pipeline=pipeline.name,
            node=source.node,
            credit=(pipeline.spec.max_in_flight + 1) * pipeline.spec.batch.max_files,
            lane=lane.name,
            idle=pipeline.on_demand or lane is not pipeline.live,
            through=_through(pipeline, lane, source),
            since=pipeline.backfills[lane.name].since if lane.name in pipeline.backfills else 0,
            limits=pipeline.spec.batch,
            access=_access(pipeline, source),
            root=flow.home.root,
            code=pipeline.spec.code.nodes.get(source.node.name, ""),
        )
        for pipeline in flow.listed()
        if not pipeline.off
        for lane in pipeline.lanes
        for source in lane.sources.values()
    ] + flow.schedules.watches()
