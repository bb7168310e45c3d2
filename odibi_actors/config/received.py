"""A project that came over the network has not been through ``load_project``: what the actors rely on is checked again.

A version is durable before it is used, so one that breaks the broker would break every broker after it.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Container, Iterator
from typing import Any

import msgspec

from odibi_actors.config import moments
from odibi_actors.config.digest import MAX_CODE_TOLD
from odibi_actors.config.kinds import MAX_NAME, MAX_TEXT, NAME
from odibi_actors.config.model import (
    AlertSpec,
    CatchUpSpec,
    NodeSpec,
    PipelineSpec,
    ProjectSpec,
    ScheduleSpec,
    WriteSpec,
)
from odibi_actors.config.order import sort_nodes
from odibi_actors.config.patterns import pattern_leads_out
from odibi_actors.config.places import MAX_PATH, lies_in, unsound_command, unsound_webhook
from odibi_actors.config.tree import MAX_DEPTH
from odibi_actors.scheduler.cron import CronError, parse
from odibi_actors.scheduler.timetable import HORIZON
from odibi_actors.units import MAX_DURATION, MAX_SIZE

MAX_PIPELINES = MAX_NODES = 1000
MAX_COUNT = MAX_SIZE
"""The largest number the project file takes anywhere."""
MAX_SCHEDULES = 10_000
"""Of one pipeline."""
MAX_PROJECT_SCHEDULES = 200_000
MAX_ALERTS = 100
"""Of the project, and of one pipeline besides."""
MAX_CATCH_UP = 10_000
"""Late occurrences that run after a downtime: more is a storm, not a catch-up."""
MAX_EXCLUDED = 1000
MAX_ACCESS = 32
"""Keys that tell how to get in somewhere."""
MAX_LEVELS = 8
"""Columns that become folders within folders."""
MAX_PARTITIONS = 100_000
"""Folders that one iteration may write to: each is a file and some syncs."""
MAX_JITTER = 3600.0
"""Seconds. Beyond it a schedule is at another time, not a little later."""
MAX_PARAMS = 64 * 1024
"""Bytes of ``params`` as JSON: they go with every run."""


FOLDER_NAME = r"[A-Za-z][A-Za-z0-9_]*"
"""Columns that become folders: pandas, pyarrow and Hive skip, in silence, what begins with ``_`` or ``.``."""


def unsound(project: ProjectSpec) -> str:
    """The first thing about a project that no odibi.yaml could say, or "" when there is none."""
    return next(_problems(project), "")


def _problems(project: ProjectSpec) -> Iterator[str]:
    if len(project.pipelines) > MAX_PIPELINES:
        yield f"{len(project.pipelines)} pipelines; at most {MAX_PIPELINES}"
    if not _within(project.workers, 1, 1000) or not _within(project.history, 1, MAX_DURATION):
        yield "workers or history are out of range"
    if not _within(project.history_size, 1_000_000, MAX_COUNT):
        yield "history_size is out of range"
    if not all(
        one is None or _within(one, 1, MAX_COUNT) for one in (project.worker.max_tasks, project.worker.max_memory)
    ):
        yield "the limits of a worker are out of range"
    names: dict[str, None] = {}
    for pipeline in project.pipelines:
        yield from _name("pipeline", pipeline.name)
        if pipeline.name in names:
            yield f"two pipelines {pipeline.name}"
        names[pipeline.name] = None
        yield from _pipeline(pipeline)
    yield from _all_schedules(project, names)


def _pipeline(pipeline: PipelineSpec) -> Iterator[str]:
    at, batch = f"pipeline {pipeline.name}", pipeline.batch
    if not 0 < len(pipeline.nodes) <= MAX_NODES:
        yield f"{at}: {len(pipeline.nodes)} nodes; at least one, at most {MAX_NODES}"
    counts = (batch.max_files, batch.max_rows, batch.max_bytes, pipeline.keep_last)
    if not all(_within(count, 1, MAX_COUNT) for count in counts) or not _within(pipeline.max_in_flight, 1, 1000):
        yield f"{at}: a number is out of range"
    if not _within(batch.linger, 0, MAX_DURATION):
        yield f"{at}: batch.linger is out of range"
    code = pipeline.code
    if len(code.nodes) > MAX_NODES or len(code.files) > MAX_CODE_TOLD:
        yield f"{at}: its code has too many parts"
    if any(len(name) > MAX_PATH or len(digest) > 32 for name, digest in [*code.nodes.items(), *code.files.items()]):
        yield f"{at}: a name or digest of its code is too long"
    for place, access in pipeline.access.items():
        if len(access) > MAX_ACCESS or any(len(text) > MAX_PATH for text in (place, *access, *access.values())):
            yield f"{at}: what is needed to get to {place[:MAX_NAME]!r} is too long"
    if len(pipeline.access) > MAX_NODES:
        yield f"{at}: {len(pipeline.access)} connections that need access; at most {MAX_NODES}"
    earlier: dict[str, NodeSpec] = {}
    for node in pipeline.nodes:
        yield from _name(f"{at}: node", node.name)
        if node.name in earlier:
            yield f"{at}: two nodes {node.name}"
        yield from _node(f"{at}: node {node.name}", node, earlier)
        earlier[node.name] = node


def _node(at: str, node: NodeSpec, earlier: dict[str, NodeSpec]) -> Iterator[str]:
    if sum(part is not None for part in (node.read, node.transform, node.write)) != 1:
        yield f"{at}: exactly one of read, transform, write"
    if (not node.inputs) != (node.read is not None) or (node.write is not None and len(node.inputs) != 1):
        yield f"{at}: {len(node.inputs)} inputs"
    for name in node.inputs:  # nodes are in topological order, so there are no cycles
        if name not in earlier or earlier[name].write is not None or node.inputs.count(name) > 1:
            yield f"{at}: input {name[:MAX_NAME]!r} is not the output of an earlier node"
    retry = node.retry
    if not _within(node.timeout, 0.001, MAX_DURATION) or not _within(retry.max_attempts, 1, 1000):
        yield f"{at}: timeout or retry.max_attempts is out of range"
    if not all(_within(wait, 0, MAX_DURATION) for wait in (retry.initial, retry.max)):
        yield f"{at}: retry.initial or retry.max is out of range"
    if not _within(retry.jitter, 0, 1):
        yield f"{at}: retry.jitter is out of range"
    if node.read is not None and not _within(node.read.settle, 0, MAX_DURATION):
        yield f"{at}: settle is out of range"
    if node.write is not None and not (_within(node.write.max_partitions, 1, MAX_PARTITIONS) and _folders(node.write)):
        yield f"{at}: its partitions are out of range"
    for part in (node.read, node.write):
        if part is not None:
            yield from _name(f"{at}: connection", part.connection.name)
            path = part.connection.path
            if len(path) > MAX_PATH or not path or "\0" in path:
                yield f"{at}: connection {part.connection.name} leads nowhere"
            elif part is node.read and node.read.of_table is None and not path.startswith("/"):
                yield f"{at}: the path of connection {part.connection.name} is not absolute"


def _folders(write: WriteSpec) -> bool:
    """Whether the columns that become folders are columns that can."""
    return len(write.partition_by) <= MAX_LEVELS and all(re.fullmatch(FOLDER_NAME, name) for name in write.partition_by)


# --- schedules and alerts ------------------------------------------------------------------------------------------


def unsound_schedule(spec: ScheduleSpec, pipelines: Container[str], pipeline: str = "", data_dir: str = "") -> str:
    """The first thing about a schedule that no odibi.yaml could say, or "" when there is none. ``pipelines``: the names
    that ``after`` may mention; ``pipeline``, ``data_dir``: what it is for and may not watch, if known. Cycles of
    ``after`` are for :func:`after_cycle`: one schedule alone does not show them."""
    return next(_schedule(spec, pipelines, pipeline, data_dir), "")


def after_cycle(edges: dict[str, list[str]]) -> str:
    """``edges``: pipeline -> those it comes after. A cycle among them, as ``a after b after a``, or ""."""
    known = {name: [earlier for earlier in given if earlier in edges] for name, given in edges.items()}
    cycles = sort_nodes(known)[1]
    return " after ".join([*cycles[0], cycles[0][0]]) if cycles else ""


def _all_schedules(project: ProjectSpec, names: dict[str, None]) -> Iterator[str]:
    total = sum(len(pipeline.schedules) for pipeline in project.pipelines)
    if total > MAX_PROJECT_SCHEDULES:
        yield f"{total} schedules; at most {MAX_PROJECT_SCHEDULES}"
    for pipeline in project.pipelines:
        at = f"pipeline {pipeline.name}"
        if len(pipeline.schedules) > MAX_SCHEDULES:
            yield f"{at}: {len(pipeline.schedules)} schedules; at most {MAX_SCHEDULES}"
        if pipeline.schedules and pipeline.trigger != "schedule":
            yield f"{at}: schedules, and trigger: {pipeline.trigger}"
        found: dict[str, None] = {}
        for spec in pipeline.schedules:
            yield from (f"{at}: {problem}" for problem in _schedule(spec, names, pipeline.name, project.data_dir))
            if spec.name in found:
                yield f"{at}: two schedules {spec.name}"
            found[spec.name] = None
        if len(pipeline.alerts) > 2 * MAX_ALERTS:
            yield f"{at}: {len(pipeline.alerts)} alerts; at most {2 * MAX_ALERTS}"
        for alert in pipeline.alerts:
            yield from _alert(f"{at}: alert", alert)
    edges = {
        p.name: list(dict.fromkeys(name for spec in p.schedules for name in spec.after)) for p in project.pipelines
    }
    if cycle := after_cycle(edges):
        yield f"a cycle of pipelines: {cycle}"


def _schedule(spec: ScheduleSpec, pipelines: Container[str], pipeline: str, data_dir: str) -> Iterator[str]:
    yield from _name("schedule", spec.name)
    at = f"schedule {spec.name[:MAX_NAME]}"
    if sum((bool(spec.cron), bool(spec.every), bool(spec.after), spec.file_watch is not None)) != 1:
        yield f"{at}: exactly one of cron, every, after, file_watch"
    if spec.cron and (problem := _cron_problem(spec.cron)):
        yield f"{at}: {problem}"
    if spec.every and (not _within(spec.every, 1, MAX_DURATION) or spec.every != int(spec.every)):
        yield f"{at}: every is out of range, or not whole seconds"
    if not _known_zone(spec.timezone):
        yield f"{at}: unknown time zone {spec.timezone[: moments.MAX_ZONE]!r}"
    yield from _after(at, spec, pipelines, pipeline)
    yield from _watch(at, spec, data_dir)
    yield from _span(at, spec)
    if spec.deadline and not _within(spec.deadline, 1, MAX_DURATION):
        yield f"{at}: deadline is out of range"
    if len(spec.description) > MAX_TEXT:
        yield f"{at}: its description is longer than {MAX_TEXT} characters"
    if problem := params_problem(spec.params):
        yield f"{at}: {problem}"


def _after(at: str, spec: ScheduleSpec, pipelines: Container[str], pipeline: str) -> Iterator[str]:
    if len(spec.after) > MAX_PIPELINES or len(spec.after) != len(dict.fromkeys(spec.after)):
        yield f"{at}: after names a pipeline twice, or more than {MAX_PIPELINES}"
    for name in spec.after:
        if name not in pipelines or name == pipeline:
            yield f"{at}: after {name[:MAX_NAME]!r}, which is no other pipeline"
    if spec.after_any and not spec.after:
        yield f"{at}: after_any without after"


def _watch(at: str, spec: ScheduleSpec, data_dir: str) -> Iterator[str]:
    watch = spec.file_watch
    if watch is None:
        return
    if len(watch.folder) > MAX_PATH or "\0" in watch.folder or not watch.folder.startswith("/"):
        yield f"{at}: the folder it watches is not absolute"
    elif watch.folder != os.path.normpath(watch.folder):
        yield f"{at}: the folder it watches is not a tidy path"
    elif data_dir and lies_in(watch.folder, data_dir):
        yield f"{at}: the folder it watches lies in data_dir"
    pattern = watch.pattern
    if not 0 < len(pattern) <= MAX_PATH or "\0" in pattern or pattern_leads_out(pattern):
        yield f"{at}: its pattern leads out of the folder, or is none"
    if not _within(watch.settle, 0, MAX_DURATION):
        yield f"{at}: settle is out of range"


def _span(at: str, spec: ScheduleSpec) -> Iterator[str]:
    catch_up = spec.catch_up
    if not spec.timed and (spec.jitter or spec.start or spec.end or spec.exclude or catch_up != CatchUpSpec()):
        yield f"{at}: jitter, start, end, exclude, catch_up are for cron and every"
    if not all(_within(moment, 0, HORIZON) and moment == int(moment) for moment in (spec.start, spec.end)):
        yield f"{at}: start or end is out of range"
    elif spec.end and spec.end <= spec.start:
        yield f"{at}: end is not later than start"
    if len(spec.exclude) > MAX_EXCLUDED or not all(_is_date(day) for day in spec.exclude):
        yield f"{at}: exclude holds what is no date, or more than {MAX_EXCLUDED}"
    if not _within(spec.jitter, 0, MAX_JITTER) or (spec.every and spec.jitter >= spec.every):
        yield f"{at}: jitter is out of range"
    if not _within(catch_up.window, 1, MAX_DURATION) or not _within(catch_up.grace, 0, MAX_DURATION):
        yield f"{at}: catch_up.window or catch_up.grace is out of range"
    if not _within(catch_up.max, 1, MAX_CATCH_UP):
        yield f"{at}: catch_up.max is out of range"


def _alert(at: str, alert: AlertSpec) -> Iterator[str]:
    if sum((bool(alert.command), bool(alert.webhook), alert.log)) != 1:
        yield f"{at}: exactly one of command, webhook, log"
    if alert.command and (problem := unsound_command(alert.command)):
        yield f"{at}: command {alert.command[:MAX_NAME]!r}: {problem}"
    if alert.webhook and (problem := unsound_webhook(alert.webhook)):
        yield f"{at}: webhook: {problem}"
    if not _within(alert.throttle, 0, MAX_DURATION) or len(alert.on) != len(dict.fromkeys(alert.on)):
        yield f"{at}: throttle is out of range, or a kind comes twice"


def _cron_problem(text: str) -> str:
    try:
        parse(text)
    except CronError as error:
        return str(error)
    return ""


def _known_zone(name: str) -> bool:
    try:
        moments.zone(name)
    except moments.UnknownError:
        return False
    return True


def _is_date(text: str) -> bool:
    try:
        moments.check_date(text)
    except moments.UnknownError:
        return False
    return True


def params_problem(params: dict[str, Any]) -> str:
    """Why these parameters of a run cannot travel, or ""."""
    level: list[Any] = [params]
    for _ in range(MAX_DEPTH):
        if not all(_is_plain(value) for value in level):
            return "params hold what no file could say"
        inner = [part for value in level if isinstance(value, dict) for part in value.values()]
        level = inner + [part for value in level if isinstance(value, list) for part in value]
        if not level:
            size = len(msgspec.json.encode(params))
            return f"params are longer than {MAX_PARAMS} bytes as JSON" if size > MAX_PARAMS else ""
    return f"params are nested deeper than {MAX_DEPTH} levels"


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value)
    if isinstance(value, int):
        return abs(value) < 2**63
    return value is None or isinstance(value, (list, float, str))


# --- parts ----------------------------------------------------------------------------------------------------------


def _name(what: str, name: str) -> Iterator[str]:
    if len(name) > MAX_NAME or not re.fullmatch(NAME, name, re.ASCII):
        yield f"{what} {name[:MAX_NAME]!r} is not a name ({NAME})"


def _within(number: float, low: float, high: float) -> bool:
    return math.isfinite(number) and low <= number <= high
