"""Recovery is the normal start: from what the store has to a Flow that goes on where the former broker stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from odibi_actors.actor import Log
from odibi_actors.broker import adopting, alerts, backfill, misfits, pins, runs, scheduling, source_pauses
from odibi_actors.broker.flow import Flow
from odibi_actors.broker.iteration import BEHIND, NEVER, Iteration
from odibi_actors.broker.lane import RunInfo
from odibi_actors.broker.pipeline import Ended, Pipeline, Rewinding
from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.records import ALERTS, FAILING, PROJECT, TOLD, WORKERS
from odibi_actors.config.model import PipelineSpec, ProjectSpec, ReadSpec
from odibi_actors.config.parts import difference, parts
from odibi_actors.config.received import unsound
from odibi_actors.errors import ConfigError, ConflictError
from odibi_actors.messages import Adopt
from odibi_actors.model import LIVE
from odibi_actors.units import plural


def load(flow: Flow, items: list[rec.AnyLoaded]) -> None:
    """Take in a page of the snapshot; items come in the order documented at ``records.Loaded``. Raises KeyError and
    ValueError when they do not fit together."""
    for item in items:
        match item:
            case rec.LoadedVersion(record=version):
                if version.spec.name != version.pipeline:
                    raise ValueError(f"the version of {version.pipeline} is one of {version.spec.name}")
                flow.pipelines[version.pipeline] = Pipeline(
                    version.spec, version.version, version.code_digest, flow.start_seq
                )
            case rec.LoadedSchema(record=schema):
                flow.pipelines[schema.pipeline].pins.put(schema)
            case rec.LoadedSetting(record=setting):
                load_setting(flow, setting)
            case rec.LoadedSchedule():
                flow.schedules.loaded(item)
            case rec.LoadedOccurrence():
                flow.schedules.loaded_occurrence(item)
            case rec.LoadedBackfill(record=record):
                begun = backfill.begin(flow, flow.pipelines[record.pipeline], record)
                begun.planned, begun.committed, begun.positions = item.planned, item.committed, item.positions
            case rec.LoadedRun():
                _load_run(flow, item)
            case rec.LoadedAlert(record=alert):
                flow.alerts.loaded(alert)
            case rec.LoadedAdopt(record=adoption):
                flow.adoptions.append(adoption)
            case rec.LoadedCounter():
                pipeline = flow.pipelines[item.pipeline]
                pipeline.last_iteration = item.last_iteration
                pipeline.last_committed = item.last_committed
                pipeline.accounted = max(item.accounted, item.last_committed)
                pipeline.committed = item.committed
                pipeline.commits, pipeline.newest_commit = item.commits, item.newest
                pipeline.ledger = dict.fromkeys(item.ledger)
                pipeline.kept = dict.fromkeys(item.kept)
                pipeline.dead_letters = item.dead_letters
                pipeline.stands = {node: (place, item.last_committed) for node, place in item.stands.items()}
            case rec.LoadedState():
                flow.pipelines[item.pipeline].states.setdefault(item.node, {})[item.iteration] = item.state
            case rec.LoadedRewind(record=rewind):
                flow.pipelines[rewind.pipeline].rewind = Rewinding(rewind)
            case rec.LoadedIteration():
                _load_iteration(flow, item)
            case rec.LoadedAck(record=ack):
                _load_ack(flow, ack)
            case rec.LoadedError(record=error):
                _load_error(flow, error)


def _load_run(flow: Flow, item: rec.LoadedRun) -> None:
    """An active run goes on where it was; an ended one is remembered, and one that failed may be active again."""
    record = item.record
    pipeline = flow.pipelines[record.pipeline]
    run = RunInfo(record, item.kept, item.took)
    run.voided, run.set_aside, run.upto, run.taken = item.voided, item.set_aside, item.upto, item.taken
    run.left, run.unread = dict.fromkeys(item.given_back), item.unread
    if item.state != "active":
        # All of them: iterations come later.
        info = run if item.state == "failed" else None
        pipeline.ended_runs[record.run] = Ended(item.state, flow.start_seq, item.error, info)
        if record.lane in pipeline.backfills:
            pipeline.backfills[record.lane].planned = item.kept
        flow.schedules.run_was(pipeline, record, item.state)
    elif record.lane != LIVE:
        backfill.resumed(pipeline, record.lane, run)
    else:
        runs.resumed(pipeline.live, run)
        flow.schedules.run_was(pipeline, record, "active")


def load_setting(flow: Flow, setting: rec.Setting) -> None:
    """A durable wish of an operator."""
    pipeline = flow.pipelines.get(setting.scope)
    if setting.scope == PROJECT:
        flow.project[setting.name] = setting.value
    elif setting.scope == WORKERS:
        flow.workers[setting.name] = int(setting.value)
    elif setting.scope in (ALERTS, TOLD):
        flow.alerts.throttle.loaded(setting)
    elif pipeline is not None:
        on = bool(setting.value)
        if setting.name == "paused":
            pipeline.paused = on
        elif setting.name == "draining":
            pipeline.draining = on
        elif setting.name == "removed":
            pipeline.removed = on
        elif setting.name == rec.RESETTING:
            pipeline.resetting = on
        elif setting.name == rec.FORGOTTEN:
            pipeline.forgotten = on
        elif setting.name == rec.REWOUND:
            pipeline.rewound = setting.value.split()
        elif setting.name == rec.COMPACTED:
            pipeline.compacted = msgspec.json.decode(setting.value, type=dict[str, int])
        elif setting.name == rec.PRUNED:
            pipeline.pruned = msgspec.json.decode(setting.value, type=dict[str, int])
        elif setting.name == FAILING:
            pipeline.failing = on
        else:
            source_pauses.load(pipeline, setting)


def _load_iteration(flow: Flow, item: rec.LoadedIteration) -> None:
    pipeline = flow.pipelines[item.plan.pipeline]
    # The order among pipelines is that of planning; numbers of records are not kept, times are.
    behind = BEHIND if item.plan.lane != LIVE else 0
    iteration = pipeline.add(item.plan, order=len(pipeline.iterations) + behind)
    iteration.state = item.state
    if item.state in ("prepared", "blocked"):
        iteration.prepare(item.sinks, item.states, flow.start_seq)
        for name, publication in iteration.publications.items():
            publication.blocked = name in item.blocked
            publication.abandoned = name in item.abandoned
            publication.left = item.abandoned.count(name) > 1


def _load_ack(flow: Flow, ack: rec.Ack) -> None:
    iteration = _iteration(flow, ack.pipeline, ack.iteration)
    run = iteration.nodes.get(ack.node) if iteration is not None else None
    if iteration is not None and run is not None:
        # Its digest is checked when somebody uses it: after a power cut the spool may have lost it.
        run.state, run.ack, run.verify = "acked", ack, True
        flow.pipelines[ack.pipeline].learn(iteration, ack.node, ack.rows_out)


def _load_error(flow: Flow, error: rec.Error) -> None:
    iteration = _iteration(flow, error.pipeline, error.iteration)
    run = iteration.nodes.get(error.node) if iteration is not None else None
    if iteration is not None and run is not None and not iteration.prepared:
        run.used = error.used
        if iteration.state == "failed":
            run.state, run.retry_at, run.failed = "retrying", NEVER, error.failure.kind
            iteration.trouble = f"failed at {error.node}: {error.failure.text}"


def _iteration(flow: Flow, pipeline: str, number: int) -> Iteration | None:
    return flow.pipelines[pipeline].iterations.get(number)


def resume(flow: Flow, now: float) -> None:
    """The snapshot is complete: void the acks that no longer hold and queue what is ready."""
    code = flow.project.get(rec.CODE, "")
    for pipeline in flow.pipelines.values():
        pipeline.code_digest = code or pipeline.code_digest  # a store of an earlier release does not say
        for iteration in pipeline.unfinished():
            if not iteration.prepared:
                flow.void_stale(iteration, "its key no longer matches")
            flow.wake(iteration)
        pins.resume(flow, pipeline, now)
        flow.touch(pipeline.name)
        for lane in pipeline.lanes:
            stuck = pipeline.stuck(lane.name)
            if stuck is not None:
                runs.stop(flow, pipeline, stuck, now)
        pipeline.failing |= pipeline.stuck() is not None
    alerts.resume(flow, now)


def apply_project(flow: Flow, project: ProjectSpec, now: float, adopt: Sequence[Adopt] = ()) -> list[dict[str, object]]:
    """Make a project's configuration the newest version of each of its pipelines. ``adopt``: what sinks are about to
    take over.

    Returns a row per pipeline: ``{"pipeline", "version", "changed", "why", "advice", "goes_on"}``; ``why``: what is
    not the same (see ``Difference.told``); ``advice``: what pinned sinks need (see ``misfits.told``); ``goes_on``: the
    iterations that had failed and go on, as the nodes that failed are gone or others. Raises as ``check_project``, with
    nothing changed.
    """
    check_project(flow, project, adopt)
    rows: list[dict[str, object]] = []
    if any(pipeline.code_digest != project.code_digest for pipeline in flow.pipelines.values()):
        flow.code_changed()
    for spec in project.pipelines:
        pipeline = flow.pipelines.get(spec.name)
        changes = _changes(pipeline, spec)
        changed = changes["changed"]
        former = pipeline.spec.trigger if pipeline is not None else spec.trigger
        if pipeline is not None:
            pipeline.code_digest = project.code_digest
        if changed:
            pipeline = _new_version(flow, spec, project.code_digest, now)
            why = f": {', '.join(changes['why'])}" if changes["why"] else ""
            flow.say(Log("info", f"{spec.name}: version {pipeline.version}{why}"))
        for line in changes["advice"]:
            flow.say(Log("warning", line, {"notice": True}))
        assert pipeline is not None
        if former != spec.trigger:
            flow.schedules.switched(pipeline, now)
        if pipeline.forgotten:
            flow.set(pipeline, "forgotten", False)
            flow.say(Log("warning", _back(pipeline)))
        if pipeline.removed:
            flow.set(pipeline, "removed", False)
            flow.wake_all(pipeline)
            flow.schedules.switched(pipeline, now)
        goes_on = [n for n, version in pipeline.gone_on.items() if changed and version == pipeline.version]
        rows.append({"pipeline": spec.name, "version": pipeline.version, **changes, "goes_on": goes_on})
    named = {spec.name: None for spec in project.pipelines}
    for pipeline in flow.pipelines.values():
        if pipeline.name not in named and not pipeline.removed:
            flow.set(pipeline, "removed", True)
            flow.schedules.switched(pipeline, now)
            left = plural(pipeline.in_flight, "unfinished iteration waits", "unfinished iterations wait")
            waits = f"; {left}" if pipeline.in_flight else ""
            flow.say(
                Log(
                    "warning",
                    f"{pipeline.name}: no longer in odibi.yaml{waits}",
                )
            )
    scheduling.apply(flow, project, now)
    return rows


def _back(pipeline: Pipeline) -> str:
    """What follows from having been forgotten."""
    appends = [node.name for node in pipeline.spec.nodes if node.write is not None and node.write.mode == "append"]
    twice = f", and adds to what {', '.join(appends)} may have left in {'its' if len(appends) == 1 else 'their'} target"
    return (
        f"{pipeline.name}: was forgotten by `odibictl reset {pipeline.name}` since it was taken out of odibi.yaml: it "
        f"reads all of its files again{twice + ('s' if len(appends) > 1 else '') if appends else ''}"
    )


def would_change(flow: Flow, project: ProjectSpec) -> list[dict[str, object]]:
    """What ``apply_project`` would return now, or raise; with nothing changed. ``version``: the one that runs, 0 of a
    new pipeline."""
    check_project(flow, project)
    rows: list[dict[str, object]] = []
    for spec in project.pipelines:
        pipeline = flow.pipelines.get(spec.name)
        version = pipeline.version if pipeline is not None else 0
        changes = _changes(pipeline, spec)
        if pipeline is not None:
            changes["advice"] = list(misfits.told(pipeline, spec))  # whoever asks is told of what was applied as well
        rows.append({"pipeline": spec.name, "version": version, **changes, "goes_on": []})
    return rows


def _changes(pipeline: Pipeline | None, spec: PipelineSpec) -> dict[str, Any]:
    changed = pipeline is None or pipeline.spec != spec
    why = difference(parts(pipeline.spec), spec).told if changed and pipeline is not None else []
    advice = list(misfits.told(pipeline, spec)) + _new_sinks(pipeline, spec) if changed and pipeline is not None else []
    return {"changed": changed, "why": why, "advice": advice}


def _new_sinks(pipeline: Pipeline, spec: PipelineSpec) -> list[str]:
    """What is to be said of sinks that come when others have published already. One that only takes another name has
    what was published by the former one."""
    former = {node.name: node.write.target for node in pipeline.spec.nodes if node.write is not None}
    new = [
        node.name
        for node in spec.nodes
        if node.write is not None and node.name not in former and node.write.target not in former.values()
    ]
    if not new or not pipeline.last_committed:
        return []
    sinks = f"sink {new[0]} is new, and gets" if len(new) == 1 else f"sinks {', '.join(new)} are new, and get"
    return [
        f"{spec.name}: {sinks} what is read from now on; what was read so far comes there, too, when it is read again: "
        f"`odibictl pipeline rewind {spec.name} --to 0 --dry-run` says what that takes"
    ]


def check_project(flow: Flow, project: ProjectSpec, adopt: Sequence[Adopt] = ()) -> None:
    """Whatever refuses a project, with nothing changed: an ``apply`` and its dry run ask this. ``adopt``: what sinks
    are about to take over.

    Raises ConfigError for what no odibi.yaml can say, ConflictError for what contradicts what was done, such as a
    source that has consumed data and would be removed.
    """
    if problem := unsound(project):
        raise ConfigError(f"the project cannot be applied: {problem}; `odibictl validate` says more")
    for spec in project.pipelines:
        _check_sources(flow, spec)
        _check_backfills(flow, spec)
        _check_replays(flow, spec)
        _check_states(flow, spec)
    adopting.check_project(flow, project, adopt)
    scheduling.check(flow, project)


def _check_sources(flow: Flow, spec: PipelineSpec) -> None:
    pipeline = flow.pipelines.get(spec.name)
    if pipeline is None:
        return
    reads = {node.name: node.read for node in spec.nodes if node.read is not None}
    gone = [name for name in pipeline.ledger if name not in reads]
    if gone:
        raise ConflictError(
            f"pipeline {spec.name}: source {gone[0]} has consumed data and cannot be removed or renamed: the files it "
            f"has read would be read again under another name; keep the node {gone[0]}, or let another pipeline read "
            "them again, into targets of its own"
        )
    for name in pipeline.ledger:
        _check_same_kind(pipeline, name, reads[name])


def _check_same_kind(pipeline: Pipeline, name: str, new: ReadSpec) -> None:
    """What was read in order is known by places, and no other kind of source knows what these say."""
    former = pipeline.sources[name].node.read if name in pipeline.sources else None
    if former is None or "cursor" not in (former.consumption, new.consumption):
        return
    if former.mode == new.mode and (former.of_table is None) == (new.of_table is None):
        return
    if former.mode == new.mode:
        raise ConflictError(
            f"pipeline {pipeline.name}: source {name} has consumed {_what(former)}, and would read {_what(new)} now: "
            "nobody would know what that was. Let another pipeline read that, into targets of its own"
        )
    raise ConflictError(
        f"pipeline {pipeline.name}: source {name} has consumed data by mode {former.mode}; by mode {new.mode} it would "
        f"not be known what that was. Keep mode: {former.mode}, or let another pipeline read, into targets of its own"
    )


def _what(read: ReadSpec) -> str:
    return "files" if read.of_table is None else "rows of a table"


def _check_backfills(flow: Flow, spec: PipelineSpec) -> None:
    pipeline = flow.pipelines.get(spec.name)
    if pipeline is None or not pipeline.backfills:
        return
    lane = next(iter(pipeline.backfills))
    wait = f"wait until it is done, or `odibictl backfill cancel {spec.name} {lane}`"
    for node in spec.nodes:
        if node.state:
            raise ConflictError(
                f"pipeline {spec.name}: node {node.name} would keep a state (`state: true`) while backfill {lane} is "
                f"open, and what a backfill reads again must not be counted in it twice: {wait}"
            )
        if node.write is not None and node.write.mode == "overwrite":
            raise ConflictError(
                f"pipeline {spec.name}: sink {node.name} would be overwritten (`mode: overwrite`) while backfill "
                f"{lane} is open, and what a backfill reads again must not replace what is newer: {wait}"
            )


def _check_replays(flow: Flow, spec: PipelineSpec) -> None:
    """A replay that is under way was begun for sinks that keep what is newer."""
    pipeline = flow.pipelines.get(spec.name)
    if pipeline is None:
        return
    fresh = [
        node.name
        for node in spec.nodes
        if node.write is not None and node.write.mode == "overwrite" and node.name not in pipeline.overwriting
    ]
    for iteration in pipeline.unfinished():
        if fresh and iteration.replay is not None and not iteration.prepared:
            raise ConflictError(
                f"pipeline {spec.name}: sink {fresh[0]} would be overwritten (`mode: overwrite`) while iteration "
                f"{iteration.number} replays dead letter {iteration.replay.letter}, and would replace what is newer: "
                f"wait until it is done, or `odibictl iteration cancel {spec.name} {iteration.number}`"
            )


def _check_states(flow: Flow, spec: PipelineSpec) -> None:
    """A node that is given its state back (`state: true`, which it had lost) has counted nothing in between."""
    pipeline = flow.pipelines.get(spec.name)
    former = {node.name for node in pipeline.spec.nodes if node.state} if pipeline is not None else set()
    for node in spec.nodes if pipeline is not None else ():
        kept = pipeline.states.get(node.name) if pipeline is not None else None
        if pipeline is None or not node.state or node.name in former or not kept:
            continue
        newest = max([pipeline.last_committed, *(one.number for one in pipeline.unfinished(LIVE) if one.prepared)])
        if newest > max(kept):
            raise ConflictError(
                f"pipeline {spec.name}: node {node.name} kept its last state (`state: true`) at iteration {max(kept)}, "
                f"and what was committed since then, up to {newest}, is not in it: take `state: true` away again, "
                f"`odibictl pipeline rewind {spec.name} --to {max(kept)}`, and put it back, so that all after "
                f"{max(kept)} is read again; or give the node another name, under which it begins without a state"
            )


def _other_sources(former: PipelineSpec, spec: PipelineSpec) -> list[str]:
    """Sources that are new, gone, or read from another place; references that are other files."""
    before, after = ({node.name: node.read for node in one.nodes if node.read is not None} for one in (former, spec))
    return [name for name in {**before, **after} if _place(before.get(name)) != _place(after.get(name))]


def _place(read: ReadSpec | None) -> tuple[str, ...]:
    """Where the files of a source lie; which they are where all of them are read each time."""
    if read is None:
        return ()
    return (read.mode, read.connection.path, read.path, read.pattern if read.pinned else "")


def _new_version(flow: Flow, spec: PipelineSpec, code_digest: str, now: float) -> Pipeline:
    pipeline = flow.pipelines.get(spec.name)
    version = pipeline.version + 1 if pipeline is not None else 1
    if pipeline is not None:
        if other := _other_sources(pipeline.spec, spec):
            # What was planned of them is not what the new version reads: plan it again. Nothing of it is visible yet.
            reason = f"{rec.PLANNED_AGAIN}version {version} has other sources ({', '.join(other)})"
            for lane in pipeline.lanes:
                unprepared = [i for i in pipeline.unfinished(lane.name) if not i.prepared]
                if unprepared:
                    flow.cancel_from(pipeline, unprepared, now, reason)
                    runs.plan_again(lane, unprepared)
        pins.replaced(flow, pipeline, spec)
        pipeline.spec, pipeline.version, pipeline.code_digest = spec, version, code_digest
    else:
        pipeline = flow.pipelines[spec.name] = Pipeline(spec, version, code_digest, flow.start_seq)
    flow.write(rec.Version(pipeline=spec.name, version=version, spec=spec, code_digest=code_digest, at=now), spec.name)
    pipeline.bind_sources()
    flow.shape += 1
    flow.rebind(pipeline, now)
    return pipeline
