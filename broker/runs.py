"""Runs: what a trigger, an occurrence or a backfill starts. Iterations are planned until what was discovered when it
began is exhausted; the run ends once they are finished. Part of ``flow``.

One run of a lane plans at a time. A failed iteration fails its run at once; when it is retried the run is active again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from odibi_actors.actor import Send
from odibi_actors.broker import alerts, source_pauses
from odibi_actors.broker.iteration import Iteration
from odibi_actors.broker.lane import Lane, RunInfo, SourceState
from odibi_actors.broker.pipeline import Ended, Pipeline
from odibi_actors.checkpoint import records as rec
from odibi_actors.errors import ConfigError, ConflictError, NotFoundError
from odibi_actors.messages import SOURCE, STORE, Discover
from odibi_actors.model import ALL_DONE, LIVE, RunState, Trigger
from odibi_actors.runtime.visible import named
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
    take: bool = False,
) -> None:
    """Start a run: everything discovered by now is planned (``limit`` iterations at most), then it ends. ``take``: what
    is unfinished in the live lane it finishes as well, and answers for it."""
    lane = lane or pipeline.live
    open_ = list(pipeline.unfinished(LIVE)) if take else []
    over = dict.fromkeys([*(i.run for i in open_ if i.run), *(lane.active if take else ())])
    record = rec.Run(
        run, pipeline.name, cause, now, trigger or Trigger(), lane.name, limit, [i.number for i in open_], list(over)
    )
    flow.write(record, pipeline.name)
    for iteration in open_:
        _hand_on(pipeline, iteration, run)
    for former in filter(None, (_info(pipeline, lane, name) for name in over)):
        former.taken = run
    for name in list(lane.active) if take else ():
        info = lane.runs.get(name) or lane.finishing[name]
        if info.trigger.kind == "manual" and not info.trigger.params:
            # It was interrupted: whatever it has not planned the new one plans, and nobody can tell them apart.
            end(flow, pipeline, lane, info, "cancelled", now, f"interrupted: run {named(run)} goes on with it")
    take_in(lane, RunInfo(record, took=len(open_)))
    source_pauses.tell(flow, pipeline)


def _hand_on(pipeline: Pipeline, iteration: Iteration, run: str) -> None:
    """Of those that took an iteration up only the newest answers for it; the one before has that much less."""
    former = _info(pipeline, pipeline.live, iteration.taken)
    if former is not None:
        former.took -= 1
        former.voided += 1
    iteration.taken = run


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


def resumed(lane: Lane, run: RunInfo) -> None:
    """An active run of a former broker: it plans on from where it was, or has planned all."""
    if run.upto:
        lane.finishing[run.run] = run
    else:
        take_in(lane, run)


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
        run.unread = "; ".join(f"{s.node.name}: {text}" for s in lane.sources.values() for text in s.unread)
        lane.finishing[run.run] = run
        if _unfinished(pipeline, lane, run):
            flow.write(rec.RunPlanned(run.run, pipeline.name, run.upto, now, run.unread), pipeline.name)
        _begin(lane)
    for run in list(lane.finishing.values()):
        if not _unfinished(pipeline, lane, run):
            state, error = _outcome(pipeline, run)
            if run.unread and state == "failed" and lane.name == LIVE:
                alerts.not_read(flow, pipeline, run, error, now)
            end(flow, pipeline, lane, run, state, now, error)


def _unfinished(pipeline: Pipeline, lane: Lane, run: RunInfo) -> bool:
    """Something that was planned before the run had planned all, or that it answers for, is not finished; or one that
    it took over still plans."""
    if any(i.number <= run.upto or run.run in (i.run, i.taken) for i in pipeline.unfinished(lane.name)):
        return True
    return any(other.taken == run.run for other in (*lane.finishing.values(), *lane.runs.values()))


def _outcome(pipeline: Pipeline, run: RunInfo) -> tuple[RunState, str]:
    """How a run has ended of which nothing is unfinished, and why it is not done. This is the one place that decides
    it; whatever shows, waits for or returns the end of a run says this."""
    if run.set_aside:
        return "failed", f"{plural(run.set_aside, 'dead letter')}: `odibictl deadletter list {pipeline.name}`"
    if run.unread:
        return "failed", f"not all was read: {run.unread}"
    if run.left:
        return "cancelled", f"{plural(len(run.left), 'file')} of it given back by a cancel: the next run reads them"
    if run.planned or run.took:
        return "done", ""
    if not run.voided:
        return "no_data", ""
    taken = f", or taken up by run {named(run.taken)}, which goes on with it" if run.taken else ""
    return "cancelled", f"{plural(run.voided, 'iteration')} of it cancelled{taken}"


def planned(pipeline: Pipeline, lane: Lane, plan: rec.Plan) -> None:
    """The run that plans has one more iteration, and so has one that took it over, failed or not."""
    run = lane.run
    if run is not None:
        run.planned += 1
        run.plans(plan)
        taker = _info(pipeline, lane, run.taken)
        if taker is not None:
            taker.took += 1
            taker.plans(plan)


def replayed(pipeline: Pipeline, run: str) -> None:
    """A dead letter is taken up for a run, in an iteration of its own."""
    info = _info(pipeline, pipeline.live, run)
    if info is not None:
        info.took += 1


def set_aside(pipeline: Pipeline, iteration: Iteration) -> None:
    """A file of the iteration, or all of it, has become a dead letter."""
    for run in _runs_of(pipeline, iteration):
        run.set_aside += 1


def _info(pipeline: Pipeline, lane: Lane, name: str) -> RunInfo | None:
    """A run that is active, or has failed and may be so again."""
    return lane.runs.get(name) or lane.finishing.get(name) or pipeline.ended_runs.get(name, Ended()).info


def _runs_of(pipeline: Pipeline, iteration: Iteration) -> list[RunInfo]:
    """The runs that answer for an iteration: the one that planned it, and the one that has taken it."""
    lane = pipeline.lane(iteration.lane)
    names = dict.fromkeys((iteration.run, iteration.taken)) if lane is not None else {}
    return [run for name in names if lane is not None and (run := _info(pipeline, lane, name)) is not None]


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
    missing = [s.node.name for s in sources if s.pinned and not s.pending and s.exhausted]
    if missing:
        pipeline.problem = f"run {named(run.run)}: source {missing[0]}: no file matches"
        return lane.name == LIVE or not lane.consuming  # a backfill of files waits: no later run reads them
    consuming = lane.consuming
    if not consuming:
        return run.planned >= lane.wanted
    unread = [s for s in consuming if _never_read(pipeline, lane, s)]
    empty = [s.node.name for s in unread if s.done]
    if empty:
        # A run reads what was there when it began: its first file may come, but not to this run. Others may have more
        # than their credit lets them say: they are not exhausted, and never will be.
        pipeline.problem = f"run {named(run.run)}: source {empty[0]}: no file yet to learn its schema from"
        return lane.name == LIVE  # a backfill waits: the live lane will read one, and no later run reads its files
    return not any(s.pending or not s.done for s in consuming)


def _never_read(pipeline: Pipeline, lane: Lane, source: SourceState) -> bool:
    """The source has nothing to learn its schema from, so what others have cannot be planned either."""
    name = source.node.name
    if source.pending or source.known(pipeline.pins.sources) or not lane.offered:
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
            if run.run in (stuck.run, stuck.taken) or (behind and not run.planned and not run.took):
                end(flow, pipeline, lane, run, "failed", now, error)


def end(flow: Flow, pipeline: Pipeline, lane: Lane, run: RunInfo, state: RunState, now: float, error: str = "") -> None:
    """The run is over."""
    turn = lane.run is run
    lane.runs.pop(run.run, None)
    lane.finishing.pop(run.run, None)
    seq = flow.write(rec.RunEnd(run.run, pipeline.name, state, now, error), pipeline.name)
    pipeline.remember_run(run.run, Ended(state, seq, error, run if state == "failed" else None))
    if turn:
        _begin(lane)
    if lane.name == LIVE:
        flow.schedules.run_ended(pipeline, run, state, now)
        if state in ALL_DONE or (run.set_aside and not run.unread):
            alerts.recovered(flow, pipeline, now)


def retried(flow: Flow, pipeline: Pipeline, iteration: Iteration, now: float) -> None:
    """Failed runs that answer for the iteration are active again, as the record of what was done about it (RETRY,
    ABANDON, or, of a backfill, CANCEL) says to the store as well. What they had not planned goes with the next run; a
    backfill has no next one, and plans the rest itself."""
    lane = pipeline.lane(iteration.lane)
    for name in dict.fromkeys((iteration.run, iteration.taken)):
        ended = pipeline.ended_runs.get(name, Ended())
        if lane is None or ended.state != "failed" or ended.info is None:
            continue
        del pipeline.ended_runs[name]
        run = ended.info
        if lane.name == LIVE:
            run.upto = max(i.number for i in pipeline.unfinished(LIVE) if name in (i.run, i.taken))
            lane.finishing[name] = run
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


def voided(pipeline: Pipeline, iterations: list[Iteration], again: bool) -> None:
    """These iterations are cancelled: their runs have done that much less. ``again``: one of them plans their input
    again, whatever that is then."""
    for iteration in iterations:
        lane = pipeline.lane(iteration.lane)
        names = [source.node.name for source in lane.consuming] if lane is not None else []
        positions = {name: iteration.positions.get(name, []) for name in names}
        for run in _runs_of(pipeline, iteration):
            if run.run == iteration.run:
                run.planned -= 1
            else:
                run.took -= 1
            run.voided += not again
            if iteration.replay is not None:  # its files go back to the letter, which is open again
                run.set_aside += not names or iteration.replay.keeps or any(positions.values())
            elif not again:
                run.left.update(dict.fromkeys(iteration.taken_back(names)))
            if again:
                run.left.clear()  # whatever there is now is discovered once more
        if iteration.lane in pipeline.backfills:
            pipeline.backfills[iteration.lane].count(iteration.positions, -1)


def plan_again(lane: Lane, iterations: list[Iteration]) -> None:
    """The runs of these iterations, which were voided, plan them again; what an ended run had planned the one that has
    taken it. A dead letter waits for whoever replays it."""
    again: dict[str, RunInfo] = {}
    for iteration in iterations:
        name = next((one for one in (iteration.run, iteration.taken) if one in lane.active), "")
        if iteration.replay is None and name in lane.finishing:
            again[name] = lane.finishing.pop(name)
            again[name].upto, again[name].unread = 0, ""
    lane.runs = {**again, **lane.runs}
    if lane.run is not None:
        _begin(lane)


def row(lane: Lane, run: RunInfo) -> dict[str, Any]:
    """An active run, for ``pipeline show``."""
    phase = "planning" if lane.run is run else "waiting" if run.run in lane.runs else "finishing"
    return {"run": run.run, "lane": lane.name, "phase": phase, "planned": run.planned, "at": run.at}
