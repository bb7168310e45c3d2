"""Iterations that are planned again: nothing of them is visible, so voiding them loses and doubles nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from odibi_actors.actor import Log
from odibi_actors.broker import runs
from odibi_actors.broker.iteration import Iteration
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.checkpoint import records as rec
from odibi_actors.kinds.letters import kept
from odibi_actors.messages import SOURCE
from odibi_actors.runtime.visible import named

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow

OF_FILES = ("malformed", "changed", "missing")
"""Failures of a source that are its file's: it cannot be read as it is, or is not the one that was planned, or gone."""


def at_fault(pipeline: Pipeline, iteration: Iteration) -> str:
    """The source whose file an iteration has failed of; "" when it is none. Not of one that is read whole: what is
    found to have changed there is planned again without being asked for."""
    if iteration.state != "failed":
        return ""
    found = (
        name
        for name, run in iteration.nodes.items()
        if run.gave_up in OF_FILES and name in pipeline.sources and not pipeline.sources[name].pinned
    )
    return next(found, "")


def written_since(flow: Flow, pipeline: Pipeline, iteration: Iteration, now: float) -> str | None:
    """The source one of whose files was written again since a failed iteration has read it; "" when it is none; None
    until the source has answered. Where another of its files is gone meanwhile what was read runs again all the same:
    planned again it would lack that one."""
    changed, gone = list[tuple[str, str]](), list[str]()
    keys = []
    for name, source in pipeline.sources.items():
        run, read = iteration.nodes.get(name), iteration.positions.get(name)
        if source.pinned or not read or run is None or run.ack is None or iteration.state != "failed":
            continue
        wanted = {"pipeline": pipeline.name, "source": name, "positions": [position.shown() for position in read]}
        keys.append(f"files of {iteration.name} {name}")
        answer = flow.asks.ask(keys[-1], SOURCE, "source.stat", wanted, now)
        if answer is None:
            return None
        # The bytes of one that has other times may be the same: then that costs only time.
        changed += [(name, identity) for identity in answer["changed"]]
        gone += answer["gone"]
    flow.asks.forget(*keys)
    if changed and gone:
        what = (
            f"{named(changed[0][1])} was written again, and {named(gone[0])} is gone: what was read of them runs again"
        )
        flow.say(Log("warning", f"{iteration.name}: {what}", {"notice": True}))
    return changed[0][0] if changed and not gone else ""


def as_files_are(
    flow: Flow, pipeline: Pipeline, iteration: Iteration, source: str, now: float, why: str = "when it was retried"
) -> list[int]:
    """An operator retries an iteration that a file of ``source`` made fail: whatever was done about the file, this one
    and those behind it are planned again with what is there now. Without that a planned file that has changed is never
    read. Returns the numbers of those that are void."""
    suffix = [i for i in pipeline.unfinished(iteration.lane) if i.number >= iteration.number and not i.prepared]
    run = iteration.nodes.get(source)
    what = _with_what(pipeline, source, run is not None and run.gave_up == "missing")
    for one in suffix:
        if one.state == "failed":
            flow.write(rec.Retry(pipeline.name, one.number, now), pipeline.name)
            one.advance("retry")
            runs.retried(flow, pipeline, one, now)
    reason = f"{rec.PLANNED_AGAIN}{why}, {what}"
    flow.cancel_from(pipeline, suffix, now, reason)
    lane = pipeline.lane(iteration.lane)
    if lane is not None:
        runs.plan_again(lane, suffix)
    behind = f" (with those behind it, to {suffix[-1].number})" if len(suffix) > 1 else ""
    flow.say(Log("info", f"{iteration.name}{behind}: {reason}", {"notice": True}))
    return [one.number for one in suffix]


def _with_what(pipeline: Pipeline, source: str, missing: bool) -> str:
    """``missing``: a file that is gone is planned again, as it is committed all the same."""
    read = pipeline.sources[source].node.read
    if read is not None and kept(read):
        return f"with what {source} has kept, as it was taken in"
    return f"with the files of {source} as they are now" + ("" if missing else ", without those that are gone")


def letters(iterations: list[Iteration]) -> list[int]:
    """Dead letters that these, voided, had taken up: they are open again, for nothing but an operator replays one."""
    return [one.replay.letter for one in iterations if one.replay is not None]
