"""Backfills: files read again, or occurrences run for times past, in a lane of their own that live ones never wait for.

Part of ``flow``. A backfill is durable, goes on after a crash, and ends by itself; a failed iteration holds its own
lane only, until it is retried or the backfill is cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from odibi_actors.broker import runs
from odibi_actors.broker.lane import Backfilling, RunInfo
from odibi_actors.broker.pipeline import Ended, Pipeline
from odibi_actors.checkpoint import records as rec
from odibi_actors.errors import ConfigError, ConflictError, NotFoundError
from odibi_actors.messages import SCHEDULER, SOURCE, STORE
from odibi_actors.model import ALL_DONE, Trigger

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow

MAX_OPEN = 10
"""Backfills of one pipeline that are open at once: each has watches and a ledger of its own."""

MAX_OCCURRENCES = 10_000
"""Occurrences of one backfill: they travel in one record."""

Row = dict[str, Any]


def ask(flow: Flow, pipeline: Pipeline, params: Row, now: float) -> Row | None:
    """Preview a backfill or begin it; None while the source, or the scheduler, has not answered. Raises ConflictError
    and ConfigError. Asked again with the same ``run`` it is the same backfill."""
    run = str(params.get("run") or f"backfill{runs.RESERVED}{flow.epoch}-{flow.journal.last + 1}")
    for backfill in pipeline.backfills.values():
        if backfill.record.run == run:
            return row(pipeline, backfill)
    if params.get("run"):
        stands = runs.stands(flow, pipeline, run, params, now)
        if stands is None:
            return None
        if stands:
            raise ConflictError(f"run {run} of {pipeline.name} is there already; choose another id")
    _check(pipeline)
    concurrency = params.get("concurrency") or 1
    if not isinstance(concurrency, int) or not 1 <= concurrency <= 1000:
        raise ConfigError(f"concurrency must be a number from 1 to 1000, not {concurrency!r}")
    files = _patterns(pipeline, params)
    given: Row = params.get("params") or {}
    occurrences: list[tuple[str, float]] = []
    found: list[Row] | None = []
    if files:
        found = _match(flow, pipeline, files, now)
        files = {one["source"]: one["pattern"] for one in found or ()}
    else:
        listed = _occurrences(flow, pipeline, params, now)
        if listed is None:
            return None
        occurrences = listed
        own = flow.schedules.find(pipeline.name, params.get("schedule")).spec.params
        given = {**own, **given}
    if found is None:
        return None
    lane = f"backfill-{flow.journal.last + 1}"
    answer = {
        "pipeline": pipeline.name,
        "lane": "" if params.get("dry_run") else lane,
        "run": run,
        "files": found,
        "occurrences": [{"id": one, "due": due} for one, due in occurrences],
        "iterations": len(occurrences),
    }
    if params.get("dry_run"):
        return answer
    record = rec.Backfill(
        pipeline=pipeline.name,
        lane=lane,
        run=run,
        at=now,
        files=files,
        schedule=str(params.get("schedule") or "") if occurrences else "",
        occurrences=occurrences,
        concurrency=concurrency,
        params=given,
        through=pipeline.last_iteration,
    )
    flow.write(record, pipeline.name)
    backfill = begin(flow, pipeline, record)
    trigger = Trigger(kind="backfill", schedule=record.schedule, params=record.params)
    runs.start(flow, pipeline, run, "backfill", now, len(occurrences), trigger, backfill.lane)
    return answer


def begin(flow: Flow, pipeline: Pipeline, record: rec.Backfill) -> Backfilling:
    """Take a backfill into memory."""
    backfill = pipeline.backfills[record.lane] = Backfilling(record, flow.start_seq, flow.journal.last)
    backfill.bind(pipeline.spec.nodes)
    flow.shape += 1
    return backfill


def resumed(pipeline: Pipeline, lane: str, run: RunInfo) -> None:
    """The run of a backfill is active: it goes on where it was."""
    backfill = pipeline.backfills.get(lane)
    if backfill is not None:
        backfill.planned, run.limit = run.planned, len(backfill.record.occurrences)
        runs.resumed(backfill.lane, run)


def step(flow: Flow, pipeline: Pipeline, now: float) -> None:
    """End the backfills of which everything is finished."""
    for name, backfill in list(pipeline.backfills.items()):
        if backfill.lane.active or any(pipeline.unfinished(name)):
            continue
        state = pipeline.ended_runs.get(backfill.record.run, Ended()).state
        ended = state if state in ALL_DONE else "cancelled"
        flow.write(rec.BackfillEnd(pipeline.name, name, ended, now), pipeline.name)  # type: ignore[arg-type]
        del pipeline.backfills[name]
        flow.shape += 1


def cancel(flow: Flow, pipeline: Pipeline, lane: str, now: float) -> Row:
    """Void what is not prepared of it; what is rolls forward. What it has published stays. Raises NotFoundError."""
    backfill = find(pipeline, lane)
    runs.cancel(flow, pipeline, backfill.lane, now)
    run = backfill.record.run
    if pipeline.ended_runs.get(run, Ended()).state == "failed":  # a sink of it is blocked, and may still be retried
        seq = flow.write(rec.RunEnd(run, pipeline.name, "cancelled", now), pipeline.name)
        pipeline.remember_run(run, Ended("cancelled", seq))
    return {**row(pipeline, backfill), "state": "cancelled"}


def find(pipeline: Pipeline, lane: object) -> Backfilling:
    """The open backfill of that lane. Raises NotFoundError."""
    backfill = pipeline.backfills.get(str(lane))
    if backfill is None:
        known = ", ".join(pipeline.backfills) or "none"
        raise NotFoundError(f"pipeline {pipeline.name} has no open backfill {lane!r}; open: {known}")
    return backfill


def row(pipeline: Pipeline, backfill: Backfilling) -> Row:
    """One line of ``backfill list``."""
    record = backfill.record
    stuck = pipeline.stuck(record.lane)
    unfinished = sum(1 for _ in pipeline.unfinished(record.lane))
    return {
        "pipeline": pipeline.name,
        "lane": record.lane,
        "run": record.run,
        "state": "failed" if stuck is not None else "paused" if pipeline.paused else "running",
        "planned": backfill.planned,
        "committed": backfill.committed,
        "in_flight": unfinished,
        "failed": stuck.number if stuck is not None else 0,
        "positions": backfill.positions,
        "left": backfill.left,
        "concurrency": record.concurrency,
        "at": record.at,
    }


def _check(pipeline: Pipeline) -> None:
    name = pipeline.name
    if pipeline.off or pipeline.rewind is not None:
        raise ConflictError(f"pipeline {name} is {pipeline.state}: nothing is planned in it")
    if pipeline.stateful:
        raise ConflictError(
            f"pipeline {name} keeps state from one iteration to the next, so it has no second order to run in: "
            f"`odibictl pipeline rewind {name}` instead"
        )
    if sinks := pipeline.overwriting:
        rewind, trigger = f"rewind {name} --to N` reads again in order", f"trigger {name}` reads what is there now"
        raise ConflictError(
            f"sink {sinks[0]} of {name} is overwritten by each iteration, and what a backfill brings again would "
            f"replace what is newer: `odibictl pipeline {rewind if pipeline.live.consuming else trigger}"
        )
    if len(pipeline.backfills) >= MAX_OPEN:
        raise ConflictError(f"pipeline {name} has {MAX_OPEN} open backfills; wait for one, or cancel it")


def _patterns(pipeline: Pipeline, params: Row) -> dict[str, str]:
    """Source -> pattern; a pattern for "" is for every source that consumes files."""
    wanted = params.get("files") or {}
    if not isinstance(wanted, dict) or not all(isinstance(p, str) and p for p in [*wanted.values()]):
        raise ConfigError("files must be {source: pattern}")
    consuming = [source.node.name for source in pipeline.live.consuming]
    if not wanted:
        if consuming:
            raise ConflictError(
                f"pipeline {pipeline.name} consumes files ({', '.join(consuming)}): name those to read again, "
                "for example --files 'orders-2025-01-*.csv'; occurrences alone do not say which"
            )
        return {}
    found: dict[str, str] = {}
    for source, pattern in wanted.items():
        if source and source not in consuming:
            raise NotFoundError(
                f"pipeline {pipeline.name} has no source {source!r} that consumes files; it has: "
                f"{', '.join(consuming) or 'none (give --schedule, --from and --to)'}"
            )
        found |= dict.fromkeys([source] if source else consuming, pattern)
    for name in found:
        if name not in pipeline.pins.sources:
            raise ConflictError(f"source {name} of {pipeline.name} has read nothing yet: there is nothing to backfill")
    return found


def _match(flow: Flow, pipeline: Pipeline, files: dict[str, str], now: float) -> list[Row] | None:
    """What the live lane has taken of these patterns; None until the store and the source have answered."""
    asked: list[str] = []
    rows: list[Row] = []
    for source, pattern in files.items():
        wanted = {"pipeline": pipeline.name, "source": source}
        asked += [f"aside {pipeline.name} {source}", f"match {pipeline.name} {source} {pattern}"]
        aside = flow.asks.ask(asked[-2], STORE, "ledger.aside", wanted, now)
        if aside is None:
            return None
        answer = flow.asks.ask(
            asked[-1], SOURCE, "source.match", {**wanted, "pattern": pattern, "aside": aside["files"]}, now
        )
        if answer is None:
            return None
        if refused := answer.get("refused"):
            flow.asks.forget(*asked)
            raise ConflictError(f"{pipeline.name}.{source} cannot be read again: {refused}")
        rows.append({"source": source, "pattern": pattern, **answer})
    flow.asks.forget(*asked)
    if not any(one["files"] for one in rows):
        raise NotFoundError("no file that was read matches: " + "; ".join(map(_left_out, rows)))
    return rows


def _left_out(row: Row) -> str:
    """A pattern, and why files that match it are not read again."""
    why = [f"{row['unread']} not read yet, which the pipeline does by itself"] if row["unread"] else []
    if row["aside"]:
        why.append(f"{row['aside']} set aside: `odibictl deadletter replay ID`, or, once discarded, under another name")
    return f"{row['source']}: {row['pattern']}" + (f" ({', '.join(why)})" if why else "")


def _occurrences(flow: Flow, pipeline: Pipeline, params: Row, now: float) -> list[tuple[str, float]] | None:
    """The occurrences of a schedule in a range; None until the scheduler has answered."""
    schedule = flow.schedules.find(pipeline.name, params.get("schedule"))
    begin, end = params.get("from"), params.get("to")
    if not schedule.spec.timed:
        raise ConflictError(f"schedule {schedule.name} follows no clock: it has no occurrences to backfill")
    if not isinstance(begin, int | float) or not isinstance(end, int | float) or not begin < end:
        raise ConfigError("a backfill of occurrences needs --from and a later --to")
    wanted = {
        "pipeline": pipeline.name,
        "spec": schedule.timing(),
        "from": float(begin),
        "to": float(end),
        "limit": MAX_OCCURRENCES,
    }
    key = f"range {pipeline.name} {schedule.name} {begin} {end}"
    answer = flow.asks.ask(key, SCHEDULER, "schedule.range", wanted, now)
    if answer is None:
        return None
    flow.asks.forget(key)
    if answer["more"]:
        raise ConflictError(f"more than {MAX_OCCURRENCES} occurrences: choose a shorter range")
    if not answer["items"]:
        raise NotFoundError(f"schedule {schedule.name} has no occurrence in that range")
    future = [one for one in answer["items"] if float(one["due"]) > flow.schedules.wall(now)]
    if future:
        raise ConfigError(
            f"schedule {schedule.name}: {future[0]['id']} is not due yet, nor what comes after it; a backfill runs "
            "what was due: choose an earlier --to"
        )
    return [(str(one["id"]), float(one["due"])) for one in answer["items"]]
