"""Targets that pass from one sink to another: its node was renamed, or moved to another pipeline. Part of ``flow``.

The configuration is applied first; then one record, ADOPT, says so, with nothing of the former sink in flight. What
stands in the target keeps its names, and its mark follows when the new sink stages there: see docs/adr/0015.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins
from msgspec.structs import replace

from odibi_actors.actor import Log
from odibi_actors.broker import runs
from odibi_actors.broker.iteration import Iteration
from odibi_actors.broker.pipeline import Pipeline
from odibi_actors.checkpoint import adopted
from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.adopted import Name
from odibi_actors.config.model import PipelineSpec, PollSpec, ProjectSpec, ReadSpec
from odibi_actors.errors import ConflictError, NotFoundError
from odibi_actors.messages import Adopt
from odibi_actors.model import Target
from odibi_actors.pending import interrupted

if TYPE_CHECKING:
    from odibi_actors.broker.flow import Flow

Row = dict[str, Any]


def former(flow: Flow, pipeline: str, node: str, target: Target) -> list[Name]:
    """Sinks from which this one has taken over its target, newest first."""
    return adopted.former(flow.adoptions, target, (pipeline, node))


def stands(flow: Flow, pipeline: str, node: str, target: Target) -> int:
    """The newest committed iteration that is known to be in the target, under whichever of its sink's names; 0: none is
    known."""
    for name, sink in [(pipeline, node), *former(flow, pipeline, node, target)]:
        place, number = flow.pipelines[name].stands.get(sink, (None, 0)) if name in flow.pipelines else (None, 0)
        if place == target:
            return number
    return 0


def check_project(flow: Flow, project: ProjectSpec, adopt: Sequence[Adopt]) -> None:
    """Raise ConflictError, with one line for each, when sinks of what is to be applied publish where others have taken
    over, and do not ``adopt`` that."""
    asked, lines = [f"{one.pipeline}.{one.node}" for one in adopt], {}
    for spec in project.pipelines:
        for node in spec.nodes:
            name = f"{spec.name}.{node.name}"
            found = adopted.names(flow.adoptions, node.write.target) if node.write is not None else []
            if node.write is not None and found and found[0] != (spec.name, node.name) and name not in asked:
                lines[name] = (
                    f"pipeline {spec.name}: sink {node.name} publishes to {node.write.target}, which belongs to "
                    f"{'.'.join(found[0])}"
                )
    if lines:
        way = f"`odibictl sink adopt {' '.join([*asked, *lines])}` hands it over; else publish elsewhere"
        raise ConflictError("\n".join(f"{line}: {way}" for line in lines.values()))


def check(flow: Flow, project: ProjectSpec, adopt: Adopt) -> Row:
    """What would happen. Raises NotFoundError, and ConflictError when it cannot be."""
    mine, its = (adopt.pipeline, adopt.node), (adopt.from_pipeline, adopt.from_node)
    name, other = ".".join(mine), ".".join(its)
    sinks = {(p.name, node.name): node.write for p in project.pipelines for node in p.nodes if node.write is not None}
    write, old = sinks.get(mine), flow.pipelines.get(adopt.from_pipeline)
    if write is None:
        known = ", ".join(".".join(one) for one in sinks if one[0] == adopt.pipeline) or "none"
        raise NotFoundError(f"odibi.yaml has no sink {name}; those of {adopt.pipeline}: {known}")
    target = write.target
    found = adopted.names(flow.adoptions, target)
    row: Row = {"pipeline": adopt.pipeline, "sink": adopt.node, "from": other, "already": False, "alike": []}
    row |= {"forgotten": False, "unknown": []}
    row |= {"target": target.name, "at": to_builtins(target)}
    if found and found[0] == mine and its in found:
        return row | {"already": True}
    if found and found[0] != its:
        raise ConflictError(f"{target} belongs to {'.'.join(found[0])}, not to {other}")
    if old is None:
        raise NotFoundError(f"there was no pipeline {adopt.from_pipeline}; known: {', '.join(flow.pipelines)}")
    still = sinks.get(its)
    if its == mine or (still is not None and still.target == target):
        raise ConflictError(
            f"{other} is still in odibi.yaml, and publishes to {target}: take it out, or give one of the two another "
            "target"
        )
    if write.mode == "append" and old.name != adopt.pipeline:
        row["forgotten"] = old.forgotten
        row["unknown"] = _unknown(old, next(one for one in project.pipelines if one.name == adopt.pipeline), adopt.node)
        row["alike"] = _alike(old, next(one for one in project.pipelines if one.name == adopt.pipeline), adopt.node)
    published = old.pins.get(adopt.from_node, target) is not None
    if not (published or found or adopt.marked or old.stands.get(adopt.from_node, (None, 0))[0] == target):
        raise NotFoundError(f"{other} has published nothing to {target} that is known: `odibictl sink list`")
    _check_rest(flow, adopt, old, target)
    return row


def _alike(old: Pipeline, spec: PipelineSpec, sink: str) -> list[tuple[str, str]]:
    """Sources of the former pipeline that have read something, each with one that feeds the sink from the same place:
    a pipeline knows only what it has read itself, and so that one may read it again."""
    pairs = _pairs(old, spec, sink)
    return [(former, name) for former, its, name, mine in pairs if _place(its) == _place(mine) and not mine.polled]


def _unknown(old: Pipeline, spec: PipelineSpec, sink: str) -> list[tuple[str, str, str]]:
    """The same for sources of which nobody can tell whether what the former has read is read again, and why."""
    found = []
    for former, its, name, mine in _pairs(old, spec, sink):
        if mine.polled and its.polled and _polls(mine.polled) == _polls(its.polled):
            found.append((former, name, "both are polled (mode: interval), each by itself"))
        elif _place(its) != _place(mine) and _folder(its) and _overlap(_folder(its), _folder(mine)):
            found.append((former, name, "both read below one folder, by two connections"))
    return found


def _pairs(old: Pipeline, spec: PipelineSpec, sink: str) -> Iterator[tuple[str, ReadSpec, str, ReadSpec]]:
    """A source of the former pipeline that has read something, and one that feeds the sink."""
    reads = {name: old.sources[name].node.read for name in old.ledger if name in old.sources}
    feeding = {name: node.read for name in spec.fed_by[sink] for node in spec.nodes if node.name == name}
    for former, its in reads.items():
        for name, mine in feeding.items():
            if its is not None and mine is not None and not mine.pinned:
                yield former, its, name, mine


def _polls(what: PollSpec) -> tuple[object, ...]:
    return (what.connection.type, what.connection.path, what.path, what.of_table, what.function)


def _folder(read: ReadSpec) -> str:
    """Where its files lie; "" where it reads no files of others."""
    own = read.of_table is not None or read.polled is not None or read.connection.type != "local"
    return "" if own else posixpath.normpath(posixpath.join(read.connection.path, read.path))


def _overlap(one: str, other: str) -> bool:
    return one == other or other.startswith(f"{one}/") or (other != "" and one.startswith(f"{other}/"))


def _place(read: ReadSpec) -> tuple[str, ...]:
    """What names of positions are relative to."""
    table = (read.of_table.table, read.of_table.query) if read.of_table is not None else ()
    return (read.connection.type, read.connection.path, *table)


def _check_rest(flow: Flow, adopt: Adopt, old: Pipeline, target: Target) -> None:
    """Raise ConflictError while something of the former sink is on its way, or is being taken back."""
    for pipeline in (old, flow.pipelines.get(adopt.pipeline, old)):
        if pipeline.resetting:
            raise ConflictError(interrupted(pipeline.name))
        if pipeline.rewind is not None:
            raise ConflictError(f"pipeline {pipeline.name} is being rewound: wait until it is done")
    for iteration in old.unfinished():
        publication = iteration.publications.get(adopt.from_node)
        if publication is None or publication.part.at != target:
            continue
        name, what = f"iteration {iteration.number} of {old.name}", f"{adopt.from_pipeline}.{adopt.from_node}"
        if iteration.state == "blocked":
            end = (
                f"`odibictl iteration retry {old.name} {iteration.number}`, or `odibictl iteration abandon {old.name} "
                f"{iteration.number} --sink {adopt.from_node}`"
            )
        else:
            end = f"`odibictl pipeline drain {old.name}`"
        raise ConflictError(
            f"{name} is {iteration.state}, and {what} publishes it to {target} first: {end}; while nothing runs, put "
            f"{adopt.from_node} back into odibi.yaml and `odibictl run {old.name}`"
        )


def carry_out(flow: Flow, adopt: Sequence[Adopt], rows: Sequence[Row], now: float) -> list[Row]:
    """All was checked, and the project is applied: the targets pass on. A pin that the record of another one has taken
    the place of, as sinks exchanged their names, is told again."""
    pins = [_taken(flow, one, row) for one, row in zip(adopt, rows, strict=True)]
    for pin in filter(None, pins):
        flow.pipelines[pin.pipeline].pins.put(pin)
    done = [_pass_on(flow, one, row, now) for one, row in zip(adopt, rows, strict=True)]
    over: set[Name] = set()
    for one, passed in zip(adopt, pins, strict=True):
        if passed is not None and (one.from_pipeline, one.from_node) in over:
            flow.write(passed, passed.pipeline)
        over.add((one.pipeline, one.node))
    return done


def _taken(flow: Flow, adopt: Adopt, row: Row) -> rec.Schema | None:
    """The pin of the former sink, which has it no more, as the new one's."""
    if row["already"]:
        return None
    old = flow.pipelines[adopt.from_pipeline]
    pin = old.pins.get(adopt.from_node, Target(*row["at"]))
    if pin is None:
        return None
    old.pins.drop(adopt.from_node)
    return replace(pin, pipeline=adopt.pipeline, node=adopt.node)


def _pass_on(flow: Flow, adopt: Adopt, row: Row, now: float) -> Row:
    target = Target(*row["at"])
    if row["already"]:
        return row | {"goes_on": [], "planned_again": []}
    pipeline, old = flow.pipelines[adopt.pipeline], flow.pipelines[adopt.from_pipeline]
    through, after = old.last_iteration, pipeline.last_iteration
    again = _above(flow, pipeline, through, row, now) if pipeline is not old else []
    record = rec.Adopt(
        pipeline.name, adopt.node, target, old.name, adopt.from_node, through=through, after=after, at=now
    )
    flow.write(record, pipeline.name)
    flow.adoptions.append(record)
    text = f"{pipeline.name}.{adopt.node} takes over {target} from {row['from']}"
    flow.say(Log("info", text))  # no notice: who asked has the answer
    goes_on = []
    for iteration in pipeline.unfinished():
        if not iteration.prepared:
            flow.void_stale(iteration, text)
            if _failed_for_it(iteration, adopt.node):
                flow.go_on(pipeline, iteration, now)
                goes_on.append(iteration.number)
            flow.wake(iteration)
    return row | {"goes_on": goes_on, "planned_again": again}


def _above(flow: Flow, pipeline: Pipeline, through: int, row: Row, now: float) -> list[int]:
    """Numbers of the pipeline go on above those of the one before it in the target: no two parts there have one. What
    has a lower number, and may still publish there, is planned again."""
    above = f"{row['target']} is taken over from {row['from']}, and numbers go on above its {through}"
    void: list[int] = []
    for lane in pipeline.lanes:
        unprepared = [one for one in pipeline.unfinished(lane.name) if not one.prepared]
        if unprepared and unprepared[0].number <= through:
            flow.cancel_from(pipeline, unprepared, now, f"{rec.PLANNED_AGAIN}{above}")
            runs.plan_again(lane, unprepared)
            void += [one.number for one in unprepared]
    pipeline.last_iteration = max(pipeline.last_iteration, through)
    return void


def _failed_for_it(iteration: Iteration, node: str) -> bool:
    """The target was another's, of which the iteration has failed."""
    run = iteration.nodes.get(node)
    return iteration.state == "failed" and run is not None and run.gave_up == "conflict"
