"""What operators, and odibi.yaml, ask of schedules: there, changed, paused, gone. Part of ``commands``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from odibi_actors.actor import Send
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.broker.scheduled import Scheduled
from odibi_actors.checkpoint import records as rec
from odibi_actors.config.model import ProjectSpec, ScheduleSpec
from odibi_actors.config.received import after_cycle, unsound_schedule
from odibi_actors.errors import ConfigError, ConflictError
from odibi_actors.messages import SOURCE, Released
from odibi_actors.model import TRIGGER, Place
from odibi_actors.units import plural

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow

MAX_ADDED = 200_000
"""Schedules of a project, all taken together."""

AHEAD = 60.0
"""Seconds by which a place may be ahead of the clock before somebody should know that the clock was set back."""

Row = dict[str, Any]


# --- odibi.yaml ---------------------------------------------------------------------------------------------------


def check(flow: Flow, project: ProjectSpec) -> None:
    """Raises ConflictError when the schedules of the file do not go with those that were added by hand."""
    for pipeline in project.pipelines:
        for spec in pipeline.schedules:
            known = flow.schedules.get(pipeline.name, spec.name)
            if known is not None and not known.gone and known.origin == "cli":
                raise ConflictError(
                    f"schedule {spec.name} of pipeline {pipeline.name} was added by `odibictl schedule add`: give that "
                    f"of odibi.yaml another name, or `odibictl schedule remove {pipeline.name}.{spec.name}` first"
                )
    if cycle := after_cycle(_edges(flow, {pipeline.name: pipeline.schedules for pipeline in project.pipelines}, "cli")):
        raise ConflictError(
            f"a cycle of pipelines that run after each other: {cycle}; a schedule that was added by `odibictl schedule "
            "add` is part of it: remove that one first"
        )


def _edges(flow: Flow, new: dict[str, list[ScheduleSpec]], origin: str = "") -> dict[str, list[str]]:
    """Pipeline -> those it runs after, by its schedules (of ``origin``) and these new ones."""
    edges: dict[str, list[str]] = {}
    for name in {**dict.fromkeys(flow.pipelines), **dict.fromkeys(new)}:
        known = [one.spec for one in flow.schedules.of(name) if origin in ("", one.origin)]
        edges[name] = [upstream for spec in [*known, *new.get(name, [])] for upstream in spec.after]
    return edges


def apply(flow: Flow, project: ProjectSpec, now: float) -> None:
    """Make the schedules of the file those that there are, beside the ones that were added by hand."""
    for pipeline in project.pipelines:
        named: dict[str, None] = {}
        for spec in pipeline.schedules:
            named[spec.name] = None
            known = flow.schedules.get(pipeline.name, spec.name)
            if known is None or known.gone or known.spec != spec:
                put(flow, flow.pipelines[pipeline.name], spec, "yaml", now)
        for known in flow.schedules.of(pipeline.name):
            if known.origin == "yaml" and known.name not in named:
                remove(flow, known, now)


def put(flow: Flow, pipeline: Pipeline, spec: ScheduleSpec, origin: Any, now: float) -> Scheduled:
    """A schedule is there from now on. One whose timing changed, or that was away, begins again, now; of one that stays
    nothing is lost. What was due before the change and not noted is not caught up with."""
    known = flow.schedules.get(pipeline.name, spec.name)
    place = Place(int(flow.schedules.wall(now)))
    fresh = rec.Schedule(
        pipeline=pipeline.name,
        name=spec.name,
        spec=spec,
        origin=origin,
        place=place,
        at=now,
        paused=spec.paused,
        seen={name: flow.pipelines[name].commits for name in spec.after if name in flow.pipelines},
    )
    if known is not None:
        restarted = known.gone or known.spec.timing != spec.timing
        paused = spec.paused if known.gone or known.spec.paused != spec.paused else known.paused
        fresh = msgspec.structs.replace(
            fresh,
            # Wall times of before, perhaps of another zone, say nothing about those to come.
            place=Place(max(known.place.due, place.due)) if restarted else known.place,
            generation=known.generation + restarted,
            paused=paused,
            floor=0.0 if restarted else known.floor,
            seen=fresh.seen
            if restarted
            else {name: known.seen.get(name, fresh.seen.get(name, 0)) for name in spec.after},
        )
    watched = known.spec.file_watch if known is not None and not known.gone else spec.file_watch
    seq = flow.write(fresh, pipeline.name)
    schedule = flow.schedules.put(fresh)
    if schedule.source is not None and spec.file_watch != watched:
        # What was offered of another folder, or by another pattern, does not count.
        schedule.source.forget_offer()
        schedule.source.seq, schedule.source.changed_at = seq, now
        flow.say(Send(SOURCE, Released(flow.epoch, pipeline.name, spec.name, seq, TRIGGER)))
    return schedule


# --- operators ----------------------------------------------------------------------------------------------------


def add(flow: Flow, pipeline: Pipeline, given: object, now: float, replace: bool) -> Row:
    """Add a schedule while the system runs, or ``replace`` one that was; it is durable. The same one again changes
    nothing. Raises ConfigError, ConflictError."""
    try:
        spec = msgspec.convert(given, ScheduleSpec)
    except msgspec.ValidationError as error:
        raise ConfigError(f"schedule: {error}") from None
    if wrong := unsound_schedule(spec, flow.pipelines, pipeline.name):
        raise ConfigError(wrong)
    if spec.after and (cycle := after_cycle(_edges(flow, {pipeline.name: [spec]}))):
        raise ConfigError(f"schedule {spec.name}: a cycle of pipelines that run after each other: {cycle}")
    if pipeline.spec.trigger != "schedule":
        raise ConflictError(
            f"pipeline {pipeline.name} has trigger: {pipeline.spec.trigger}; only one with `trigger: schedule` in "
            "odibi.yaml runs by schedules"
        )
    if pipeline.removed:
        raise ConflictError(f"pipeline {pipeline.name} is no longer in odibi.yaml")
    known = flow.schedules.get(pipeline.name, spec.name)
    if known is not None and not known.gone:
        if known.origin == "cli" and known.spec == spec:
            return row(flow, pipeline, known, now)
        if known.origin == "yaml":
            raise ConflictError(
                f"schedule {spec.name} of {pipeline.name} is in odibi.yaml: change it there and `odibictl apply`"
            )
        if not replace:
            raise ConflictError(
                f"pipeline {pipeline.name} has another schedule {spec.name} already: `odibictl schedule add --replace` "
                "changes it"
            )
    if flow.schedules.count >= MAX_ADDED:
        raise ConflictError(f"there are {MAX_ADDED} schedules; remove some")
    return row(flow, pipeline, put(flow, pipeline, spec, "cli", now), now)


def remove(flow: Flow, schedule: Scheduled, now: float) -> None:
    """The schedule is gone; what of it waits is skipped, what runs goes on."""
    flow.schedules.forgo_all(schedule, "schedule removed", now)
    flow.schedules.write(schedule, gone=True, at=now)


def remove_added(flow: Flow, pipeline: Pipeline, schedule: Scheduled, now: float) -> Row:
    """Remove one that was added by hand. Raises ConflictError for one of the file."""
    if schedule.origin == "yaml":
        raise ConflictError(
            f"schedule {schedule.name} of {pipeline.name} is in odibi.yaml: delete it there and `odibictl apply`, or "
            f"`odibictl schedule pause {pipeline.name}.{schedule.name}`"
        )
    remove(flow, schedule, now)
    return row(flow, pipeline, schedule, now)


def pause(flow: Flow, pipeline: Pipeline, schedule: Scheduled, paused: bool, now: float) -> Row:
    """Pause or resume; what came due by the clock while it was paused is skipped, and counted, when it is resumed.
    Commits of other pipelines, and files, wait where they are."""
    if schedule.paused != paused:
        floor = schedule.floor if paused else flow.schedules.wall(now)
        flow.schedules.write(schedule, paused=paused, floor=floor, at=now)
        flow.touch(pipeline.name)
    return row(flow, pipeline, schedule, now)


# --- what people see ----------------------------------------------------------------------------------------------


def row(flow: Flow, pipeline: Pipeline, schedule: Scheduled, now: float) -> Row:
    """One line of ``schedule list``."""
    if schedule.gone or pipeline.off or pipeline.manual or pipeline.spec.trigger != "schedule":
        state = "off"
    else:
        state = "paused" if schedule.paused else "active"
    return {**schedule.row(state, problem(flow, pipeline, schedule, now)), "arrived": _arrivals(flow, schedule)}


def _arrivals(flow: Flow, schedule: Scheduled) -> int:
    """What has arrived and was not taken yet: files, or pipelines that have committed."""
    if schedule.source is not None:
        return max(schedule.source.left, len(schedule.source.pending))
    before = [(flow.pipelines.get(name), schedule.seen.get(name, 0)) for name in schedule.spec.after]
    return sum(one is not None and one.commits > seen for one, seen in before)


def show(flow: Flow, pipeline: Pipeline, schedule: Scheduled, now: float) -> Row:
    """``schedule show``."""
    waits = [{"id": one.id, "due": one.due, "at": one.at} for one in schedule.waiting.values()]
    return {**row(flow, pipeline, schedule, now), "spec": schedule.builtins(), "waits": waits}


def _span(seconds: float) -> str:
    """A length of time, roughly."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def problem(flow: Flow, pipeline: Pipeline, schedule: Scheduled, now: float) -> str:
    """What somebody should know of, or do about, a schedule; "" when there is nothing."""
    if schedule.source is not None and schedule.source.problems:
        return schedule.source.problems[0]
    ahead = schedule.place.due - flow.schedules.wall(now)
    until = schedule.floor - flow.schedules.wall(now)
    if schedule.spec.timed and until > AHEAD:
        return (
            f"it was resumed while the clock was {_span(until)} ahead of now; until then it skips all as `paused`: "
            f"`odibictl schedule pause {schedule.pipeline}.{schedule.name}`, and resume it"
        )
    if schedule.spec.timed and ahead > AHEAD:
        return (
            f"the clock was set back: it has run up to {schedule.place.wall}, {_span(ahead)} ahead, and goes on from "
            "there, as nothing runs twice; if that clock was wrong, give the schedule another name"
        )
    gone = [name for name in schedule.spec.after if name not in flow.pipelines or flow.pipelines[name].removed]
    if gone:
        return f"pipeline {gone[0]}, which it runs after, is no longer there"
    if schedule.waiting and (stuck := pipeline.stuck()) is not None:
        waits = plural(len(schedule.waiting), "occurrence waits", "occurrences wait")
        return f"{waits}: iteration {stuck.number} is {stuck.state}"
    return ""
