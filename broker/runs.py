"""Runs: what a trigger starts. Iterations are planned until what was discovered when it began is exhausted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.pipeline import Pipeline, RunInfo
from odibi_actors.actor import Send
from odibi_actors.checkpoint import records as rec
from odibi_actors.messages import SOURCE, Discover
from odibi_actors.model import RunState

if TYPE_CHECKING:
    from broker.flow import Flow

DISCOVER_AGAIN = 5.0
"""Seconds after which a run asks its sources again (the message, or the source, was lost)."""


def start(flow: Flow, pipeline: Pipeline, run: str, cause: str, now: float, limit: int = 0) -> None:
    """Start a run: everything discovered by now is planned (``limit`` iterations at most), then it ends."""
    flow.write(rec.Run(run=run, pipeline=pipeline.name, cause=cause, at=now), pipeline.name)
    pipeline.run = RunInfo(run, limit=limit)
    for source in pipeline.sources.values():
        source.forget_offer()


def check(flow: Flow, pipeline: Pipeline, now: float) -> None:
    run = pipeline.run
    if run is None:
        return
    sources = list(pipeline.sources.values())
    if any(s.run != run.run for s in sources):
        if now - run.asked_at >= DISCOVER_AGAIN:
            run.asked_at = now
            flow.say(Send(SOURCE, Discover(epoch=flow.epoch, pipeline=pipeline.name, run=run.run)))
            flow.later(now + DISCOVER_AGAIN, pipeline.name, 0, "")
        return
    if any(True for _ in pipeline.unfinished()):
        return
    consuming = [s for s in sources if not s.batch]
    missing = [s.node.name for s in sources if s.batch and not s.pending]
    if missing:
        pipeline.problem = f"run {run.run}: source {missing[0]}: no file matches"
    elif not run.full and (any(s.pending or not s.exhausted for s in consuming) or (not consuming and not run.planned)):
        return
    end(flow, pipeline, "done" if run.planned else "no_data", now, run.run)


def stop(flow: Flow, pipeline: Pipeline, now: float) -> None:
    """An iteration is stuck, of this run or of a former one: nothing behind it can be published."""
    if pipeline.run is not None:
        end(flow, pipeline, "failed", now, pipeline.run.run)


def end(flow: Flow, pipeline: Pipeline, state: RunState, now: float, run: str) -> None:
    if pipeline.run is not None and pipeline.run.run == run:
        seq = flow.write(rec.RunEnd(run=run, pipeline=pipeline.name, state=state, at=now), pipeline.name)
        pipeline.remember_run(run, state, seq)
        pipeline.run = None
