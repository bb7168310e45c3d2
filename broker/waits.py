"""Waiting for the end of something: of a run, of an iteration, of all that a pipeline has to do.

How it ended is what the store's tables say, asked for once everything that was written until then is durable: so a wait
says the same as whatever lists runs and iterations afterwards. None: not yet. Shapes: docs/cli.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from odibi_actors.broker import runs
from odibi_actors.broker.flow import Flow
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.messages import STORE
from odibi_actors.model import LIVE

Row = dict[str, Any]

SETTLED = ("committed", "dead_lettered", "cancelled", "failed", "blocked")
"""States a wait ends with if it does not say for which it is."""

UNFINISHED = ("planned", "running", "prepared")
FOLLOWED = "followed"
"""Parameter of a request that waits: what the store last told of an iteration that was planned again."""


def run(flow: Flow, name: str, params: Row, now: float) -> Row | None:
    """How a run ended, and why it is not done. Raises NotFoundError."""
    for pipeline in flow.pipelines.values():
        if name in pipeline.ended_runs:
            ended = pipeline.ended_runs[name]
            if ended.seq > flow.journal.durable:
                return None
            return {"pipeline": pipeline.name, "run": name, "state": ended.state, "error": ended.error}
        if any(name in lane.active for lane in pipeline.lanes):
            return None
    # It ended long ago, or never was: only the store knows, once it has everything that was written until now.
    if flow.journal.durable < params.setdefault(runs.AS_OF, flow.journal.last):
        return None
    row = _asked(flow, f"end of run {name}", "run.show", {"run": name}, now)
    if row is None or row["state"] == "active":
        return None  # another broker has begun it, who takes over
    return {key: row[key] for key in ("pipeline", "run", "state", "error")}


def iteration(flow: Flow, pipeline: Pipeline, number: int, params: Row, now: float) -> Row | None:
    """The state of an iteration that is in one of those that are waited for, and the files set aside from it. Of one
    that was planned again by itself: of those that have its files now, ``as``."""
    wanted = params.get("for") or SETTLED
    found = pipeline.iterations.get(number)
    if found is None and number > pipeline.last_iteration:
        return None  # not planned yet: it may come
    if found is not None:
        if found.state not in wanted or found.state_seq > flow.journal.durable:
            return None
        if not found.terminal:
            told = {"pipeline": pipeline.name, "iteration": number, "state": found.state, "files": 0}
            return told if _rules(flow, pipeline, now) else None
    if FOLLOWED in params and _goes_on(flow, pipeline, params[FOLLOWED], wanted):
        return None
    row = _ended(flow, pipeline, {"one": number}, now)
    if row is None or "planned_again" not in row:
        return row
    params[FOLLOWED] = row
    if row["state"] in UNFINISHED or _goes_on(flow, pipeline, row, wanted):
        return None
    return {key: value for key, value in row.items() if key not in ("left", "lane")}


def _goes_on(flow: Flow, pipeline: Pipeline, row: Row, wanted: Sequence[str]) -> bool:
    """Whether something of an iteration that was planned again is on its way still, or may be planned yet."""
    for number in row["as"]:
        one = pipeline.iterations.get(number)
        if one is not None and (one.state not in wanted or one.state_seq > flow.journal.durable):
            return True
    first = pipeline.iterations.get(row["planned_again"])
    lane = pipeline.lane(row["lane"])
    if first is not None or lane is None:
        return first is not None
    left = {(source, identity) for source, identity in row["left"]}
    if not lane.consuming:
        return bool(lane.active) and not row["as"]
    return any(
        not source.heard
        or source.left > len(source.pending)
        or any((source.node.name, one.identity) in left for one in source.pending)
        for source in lane.consuming
        if any(name == source.node.name for name, _ in left)
    )


def pipeline(flow: Flow, pipeline: Pipeline, params: Row, now: float) -> Row | None:
    """What came of the iterations of the live lane that ended since the call (those above ``after``, and ``open``), or
    of the last one if none did: once nothing is left to do, or an iteration is stuck."""
    params.setdefault("after", pipeline.last_iteration)
    params.setdefault("open", [iteration.number for iteration in pipeline.unfinished(LIVE)])
    wanted = params.get("for") or SETTLED
    for stuck in pipeline.unfinished(LIVE):
        # Told once it is durable, so that whoever asks the store next finds the reason there.
        told = stuck.state in wanted and stuck.state_seq <= flow.journal.durable
        if stuck.state in ("failed", "blocked") and told:
            row = {"pipeline": pipeline.name, "iteration": stuck.number, "state": stuck.state, "files": 0}
            return row if _rules(flow, pipeline, now) else None
    looked = all(source.looked == params["look"] for source in pipeline.sources.values())
    if not ((looked or pipeline.on_demand) and pipeline.idle and pipeline.written <= flow.journal.durable):
        return None
    return _ended(flow, pipeline, {"after": params["after"], "open": params["open"]}, now)


def drain(pipeline: Pipeline, params: Row) -> Row | None:
    """A pipeline that drains has nothing in flight, in any lane. ``held``: why that will not be so by itself."""
    held = _undrained(pipeline) if pipeline.in_flight else ""
    if pipeline.in_flight and params.get("wait", True) and not held:
        return None
    return {"pipeline": pipeline.name, "state": pipeline.state, "in_flight": pipeline.in_flight, "held": held}


def _undrained(pipeline: Pipeline) -> str:
    if not pipeline.draining:
        return "it was resumed meanwhile, and goes on"
    if pipeline.paused:
        return f"it was paused meanwhile, and nothing of it runs: `odibictl pipeline resume {pipeline.name}`"
    for lane in pipeline.lanes:
        stuck = pipeline.stuck(lane.name)
        if stuck is not None:
            of = f"{lane.name}: " if lane.name != LIVE else ""
            return f"{of}iteration {stuck.number} {stuck.trouble or stuck.state}"
    return ""


def _rules(flow: Flow, pipeline: Pipeline, now: float) -> bool:
    """Whether this broker still rules, as far as the store has told since it was asked: another one may know better
    what is stuck."""
    return _ended(flow, pipeline, {"after": pipeline.last_iteration}, now) is not None


def _ended(flow: Flow, pipeline: Pipeline, which: Row, now: float) -> Row | None:
    key = f"ends of {pipeline.name} {which} as of {pipeline.written}"
    return _asked(flow, key, "iteration.ended", {"pipeline": pipeline.name, **which}, now)


def _asked(flow: Flow, key: str, verb: str, params: Row, now: float) -> Row | None:
    """The store's answer, once: whoever asks again gets a new one."""
    row = flow.asks.ask(key, STORE, verb, params, now)
    if row is not None:
        flow.asks.forget(key)
    return row
