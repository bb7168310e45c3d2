"""Runs: what a trigger, an occurrence or a backfill starts. Iterations are planned until what was discovered when it
began is exhausted; the run ends once they are finished. Part of ``flow``.

One run of a lane plans at a time. A failed iteration fails its run at once; when it is retried the run is active again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from odibi_actors.actor import Send
from odibi_actors.broker import alerts
from odibi_actors.broker.iteration import Iteration
from odibi_actors.broker.lane import Lane, RunInfo, SourceState
from odibi_actors.broker.pipeline import Ended, Pipeline
from odibi_actors.checkpoint import records as rec
from odibi_actors.errors import ConfigError, ConflictError, NotFoundError
from odibi_actors.messages import SOURCE, STORE, Discover
from odibi_actors.model import LIVE, Position, RunState, Trigger
from odibi_actors.units import plural

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow

RESERVED = "@"
"""In the ids that the broker makes, so that no client's is one of them."""

AS_OF, FREE = "as_of", "free"
"""Parameters of a request that waits: the newest record when it was first looked at; the store knows no such run."""

STUCK = "iteration "
"""How the error of a run begins that failed because one of its iterations is stuck."""

DISCOVER_AGAIN = 5.0
"""Seconds after which a run asks its sources again (the message, or the source, was lost)."""


def start(
    flow: Flow,
    pipeline: Pipeline,
    run: str,
    cause: str,
    now: float,
    limit: int = 0,
    trigger: Trigger | None = None,
    lane: Lane | None = None,
) -> None:
    """Start a run: everything discovered by now is planned (``limit`` iterations at most), then it ends."""
    lane = lane or pipeline.live
    record = rec.Run(run, pipeline.name, cause, now, trigger or Trigger(), lane.name)
    flow.write(record, pipeline.name)
    take_in(lane, RunInfo(record, limit=limit))


def stands(flow: Flow, pipeline: Pipeline, run: str, params: dict[str, Any], now: float) -> bool | None:
    """Whether a run of this id, which a client chose, is the pipeline's already: then asking for it starts nothing.
    None until the store has answered. Raises ConflictError when it is another pipeline's, ConfigError when it is no id
    for a client to choose."""
    if RESERVED in run:
        raise ConfigError(f"a run's id must not have {RESERVED} in it, which those of schedules have: {run[:100]!r}")
    for other in flow.pipelines.values():
        if run in other.ended_runs or any(run in lane.active for lane in other.lanes):
            return _of(pipeline, run, other.name)
    # Older ones only the store knows, once it has everything that was written until now.
    if params.get(FREE):
        return False
    if flow.journal.durable < params.setdefault(AS_OF, flow.journal.last):
        return None
    try:
        row = flow.asks.ask(f"run {run}", STORE, "run.show", {"run": run}, now)
    except NotFoundError:
        params[FREE] = True
        return False
    if row is None:
        return None
    flow.asks.forget(f"run {run}")
    return _of(pipeline, run, str(row["pipeline"]))


def _of(pipeline: Pipeline, run: str, owner: str) -> bool:
    if owner != pipeline.name:
        raise ConflictError(f"run {run} is one of pipeline {owner}; choose another id")
    return True


def take_in(lane: Lane, run: RunInfo) -> None:
    """An active run waits for its turn to plan; when there is no other, it has it now."""
    first = not lane.runs
    lane.runs[run.run] = run
    if first:
        _begin(lane)


def _begin(lane: Lane) -> None:
    """The run whose turn it is asks the sources at once, also if it did before another one had its turn again. When
    there is none what they have said stays: a replay of a dead letter reads the references as they are."""
    if lane.run is None:
        return
    for source in lane.sources.values():
        source.forget_offer()
    lane.run.asked_at, lane.run.asks = 0.0, 0


def check(flow: Flow, pipeline: Pipeline, lane: Lane, now: float) -> None:
    """Take every step of the lane's runs that has become possible."""
    while (run := lane.run) is not None and _planned(flow, pipeline, lane, run, now):
        del lane.runs[run.run]
        run.upto = pipeline.last_iteration
        lane.finishing[run.run] = run
        _begin(lane)
    for run in list(lane.finishing.values()):
        if not any(i.number <= run.upto for i in pipeline.unfinished(lane.name)):
            state, error = _outcome(pipeline, run)
            end(flow, pipeline, lane, run, state, now, error)


def _outcome(pipeline: Pipeline, run: RunInfo) -> tuple[RunState, str]:
    """How a run has ended of which nothing is unfinished, and why it is not done. This is the one place that decides
    it; whatever shows, waits for or returns the end of a run says this."""
    if run.set_aside:
        return "failed", f"{plural(run.set_aside, 'dead letter')}: `odibictl deadletter list {pipeline.name}`"
    if run.left:
        return "cancelled", f"{plural(len(run.left), 'file')} of it given back by a cancel: the next run reads them"
    if run.unsure and run.voided:
        what = plural(run.voided, "iteration")
        return "cancelled", f"{what} of it cancelled: `odibictl iteration list {pipeline.name} --state cancelled`"
    if run.planned:
        return "done", ""
    return ("cancelled", f"{plural(run.voided, 'iteration')} of it cancelled") if run.voided else ("no_data", "")


def planned(lane: Lane, positions: dict[str, list[Position]]) -> None:
    """The run that plans has one more iteration, of these."""
    run = lane.run
    if run is not None:
        run.planned += 1
        for source, some in positions.items() if run.left else ():
            for position in some:
                run.left.pop((source, position.identity), None)


def set_aside(pipeline: Pipeline, iteration: Iteration) -> None:
    """A file of the iteration, or all of it, has become a dead letter."""
    run = _run_of(pipeline.lane(iteration.lane), iteration)
    if run is not None:
        run.set_aside += 1


def _run_of(lane: Lane | None, iteration: Iteration) -> RunInfo | None:
    """The active run that planned the iteration."""
    return None if lane is None else lane.runs.get(iteration.run) or lane.finishing.get(iteration.run)


def _planned(flow: Flow, pipeline: Pipeline, lane: Lane, run: RunInfo, now: float) -> bool:
    """Whether everything of the run is planned; asks its sources for what there is."""
    sources = list(lane.sources.values())
    if any(s.run != run.run for s in sources) and not run.full:
        if now >= run.asked_at + DISCOVER_AGAIN:  # the very sum that its timer waits for
            run.asked_at, run.asks = now, run.asks + 1
            flow.say(Send(SOURCE, Discover(epoch=flow.epoch, pipeline=pipeline.name, run=run.run, lane=lane.name)))
            flow.later(now + DISCOVER_AGAIN, pipeline.name, 0, "")
        return False
    if run.full:
        return True
    # Not exhausted: there is a file, and it is being written.
    missing = [s.node.name for s in sources if s.batch and not s.pending and s.exhausted]
    if missing:
        pipeline.problem = f"run {run.run}: source {missing[0]}: no file matches"
        return True
    consuming = lane.consuming
    if not consuming:
        return run.planned >= lane.wanted
    unread = [s for s in consuming if _never_read(pipeline, lane, s)]
    empty = [s.node.name for s in unread if s.exhausted]
    if empty:
        # A run reads what was there when it began: its first file may come, but not to this run. Others may have more
        # than their credit lets them say: they are not exhausted, and never will be.
        pipeline.problem = f"run {run.run}: source {empty[0]}: no file yet to learn its schema from"
        return True
    return not any(s.pending or not s.exhausted for s in consuming)


def _never_read(pipeline: Pipeline, lane: Lane, source: SourceState) -> bool:
    """The source has nothing to learn its schema from, so what others have cannot be planned either."""
    name = source.node.name
    if source.pending or name in pipeline.pins.sources or not lane.offered:
        return False
    return not any(iteration.positions.get(name) for iteration in pipeline.unfinished())


def stop(flow: Flow, pipeline: Pipeline, stuck: Iteration, now: float) -> None:
    """An iteration is stuck: its run has failed, and so has one behind it that has planned nothing, as nothing behind
    can be published. Those behind with iterations of their own wait with them."""
    lane = pipeline.lane(stuck.lane)
    error = f"{STUCK}{stuck.number} {stuck.trouble or stuck.state}"
    if lane is not None:
        for run in [*lane.finishing.values(), *lane.runs.values()]:
            behind = run.run in lane.runs or stuck.number <= run.upto
            if run.run == stuck.run or (behind and not run.planned):
                end(flow, pipeline, lane, run, "failed", now, error)


def end(flow: Flow, pipeline: Pipeline, lane: Lane, run: RunInfo, state: RunState, now: float, error: str = "") -> None:
    """The run is over."""
    turn = lane.run is run
    lane.runs.pop(run.run, None)
    lane.finishing.pop(run.run, None)
    seq = flow.write(rec.RunEnd(run.run, pipeline.name, state, now, error), pipeline.name)
    pipeline.remember_run(run.run, state, seq, error)
    if turn:
        _begin(lane)
    if lane.name == LIVE:
        flow.schedules.run_ended(pipeline, run, state, now)
        if state in ("done", "no_data") or run.set_aside:
            alerts.recovered(flow, pipeline, now)


def retried(flow: Flow, pipeline: Pipeline, iteration: Iteration, now: float) -> None:
    """A failed run is active again, as the record of what was done about one of its iterations (RETRY, ABANDON, or, of
    a backfill, CANCEL) says to the store as well. What it had not planned goes with the next run; a backfill has no
    next one, and plans the rest itself."""
    lane = pipeline.lane(iteration.lane)
    if lane is None or pipeline.ended_runs.get(iteration.run, Ended()).state != "failed":
        return
    del pipeline.ended_runs[iteration.run]
    mine = [i for i in pipeline.iterations.values() if i.run == iteration.run]
    run = RunInfo(rec.Run(iteration.run, pipeline.name, "", now, iteration.trigger, lane.name), len(mine))
    if lane.name == LIVE:
        run.upto = max(i.number for i in mine)
        lane.finishing[run.run] = run
        flow.schedules.run_again(pipeline, run)
    else:
        backfill = pipeline.backfills[lane.name]
        run.planned, run.limit = backfill.planned, len(backfill.record.occurrences)
        take_in(lane, run)


def cancel(flow: Flow, pipeline: Pipeline, lane: Lane, now: float) -> None:
    """End every run of a lane: what of theirs is not prepared is void, the rest rolls forward."""
    unprepared = [i for i in pipeline.unfinished(lane.name) if not i.prepared]
    if unprepared:
        flow.cancel_from(pipeline, unprepared, now)
    for run in [*lane.finishing.values(), *lane.runs.values()]:
        end(flow, pipeline, lane, run, "cancelled", now)


def voided(pipeline: Pipeline, iterations: list[Iteration]) -> None:
    """These iterations are cancelled: their runs have done that much less."""
    for iteration in iterations:
        lane = pipeline.lane(iteration.lane)
        run = _run_of(lane, iteration)
        if lane is not None and run is not None:
            run.planned, run.voided = run.planned - 1, run.voided + 1
            names = [source.node.name for source in lane.consuming]
            run.left.update({(name, p.identity): None for name in names for p in iteration.positions.get(name, ())})
        if iteration.lane in pipeline.backfills:
            backfill = pipeline.backfills[iteration.lane]
            backfill.planned -= 1
            backfill.positions -= sum(map(len, iteration.positions.values()))


def plan_again(lane: Lane, iterations: list[Iteration]) -> None:
    """The runs of these iterations, which were voided, plan them again."""
    for iteration in iterations:
        run = _run_of(lane, iteration)
        if run is not None:
            run.left.clear()  # whatever there is now is discovered for the run once more
            run.voided -= 1  # and if that is nothing, nothing of it was cancelled
    again = {i.run: lane.finishing.pop(i.run) for i in iterations if i.run in lane.finishing}
    lane.runs = {**again, **lane.runs}
    if lane.run is not None:
        _begin(lane)


def row(lane: Lane, run: RunInfo) -> dict[str, Any]:
    """An active run, for ``pipeline show``."""
    phase = "planning" if lane.run is run else "waiting" if run.run in lane.runs else "finishing"
    return {"run": run.run, "lane": lane.name, "phase": phase, "planned": run.planned, "at": run.at}
