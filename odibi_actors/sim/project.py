"""Random projects: joins of several sources, branches, chains, state, several sinks, schedules, alerts."""

from __future__ import annotations

import random
from typing import Literal

from msgspec.structs import replace

from odibi_actors.config.model import (
    AlertSpec,
    BatchSpec,
    ConnectionSpec,
    NodeSpec,
    PipelineSpec,
    ProjectSpec,
    ReadSpec,
    RetrySpec,
    ScheduleSpec,
    TransformSpec,
    WatchSpec,
    WriteSpec,
)
from odibi_actors.sim.plans import OVERLAPS, random_schedule

REFERRING = 0.25
"""Share of pipelines that join a reference: all its files are read with each batch."""

CHAINED = 0.15
"""Share of lives in which one pipeline runs after each commit of another."""

LOGGED = 0.3
"""Share of pipelines of files that read a log beside them, or instead."""

REAL = 0.1
"""Share of lives in which files are really read and sinks really written (``real_work``)."""


STOCK = "stock"
"""A table that somebody fills by hand, and of which rows are deleted."""


def is_real(seed: int) -> bool:
    """Whether the life of this seed is one of these."""
    return random.Random(f"real {seed}").random() < REAL


def with_real_sources(project: ProjectSpec, rng: random.Random) -> ProjectSpec:
    """Its sources read files of all formats, packed or not; half of the lives have csv files alone."""
    if rng.random() < 0.5:
        return project

    def real(node: NodeSpec) -> NodeSpec:
        if node.read is None:
            return node
        made = rng.choice(["csv", "json", "parquet", "arrow"])
        packed = rng.choice(["", "gzip", "zstd"]) if made in ("csv", "json") else ""
        options = {"compression": packed} if packed else {}
        return replace(node, read=replace(node.read, format=made, options=options))

    pipelines = [replace(one, nodes=[real(node) for node in one.nodes]) for one in project.pipelines]
    return replace(project, pipelines=pipelines)


def all_csv(project: ProjectSpec) -> bool:
    """It reads plain csv files alone."""
    reads = [node.read for pipeline in project.pipelines for node in pipeline.nodes if node.read is not None]
    return all(read.format == "csv" and not read.options for read in reads)


def with_real_sinks(
    project: ProjectSpec,
    rng: random.Random,
    databases: random.Random,
    partitions: random.Random,
    deletions: random.Random,
    *,
    all_delete: bool,
) -> ProjectSpec:
    """Its sinks are folders of files of all formats that are written, some of these with a folder for each value of a
    column, and tables of databases, of which rows are deleted by some. ``all_delete``: by each that appends."""

    def real(pipeline: PipelineSpec, node: NodeSpec) -> NodeSpec:
        if node.write is None:
            return node
        kind = rng.choice(["parquet", "csv", "json", "arrow", "table"])
        appends = node.write.mode == "append"
        kind = "table" if all_delete and appends else kind
        if kind != "table":
            packed = rng.choice([None, "gzip", "zstd"]) if kind in ("csv", "json") else None
            by = ["part"] if partitions.random() < 0.4 else []
            return replace(node, write=replace(node.write, format=kind, compression=packed, partition_by=by))
        database = "duckdb" if databases.random() < 0.4 else "sqlite"
        mart = ConnectionSpec("mart", database, f"/out/{pipeline.name}-{node.name}.db")
        table = replace(node.write, connection=mart, table="rows", path=None, format=None)
        if appends and rng.random() < 0.5:
            table = replace(table, mode="upsert", keys=["id"])
        if appends and (all_delete or deletions.random() < 0.3):
            table = replace(table, mode="delete", keys=["id"], table=STOCK)
        return replace(node, write=table)

    pipelines = [replace(one, nodes=[real(one, node) for node in one.nodes]) for one in project.pipelines]
    return replace(project, pipelines=pipelines)


def with_sinks_in_another_order(project: ProjectSpec) -> ProjectSpec:
    """Sinks do not stand in the order of their names."""

    def turned(pipeline: PipelineSpec) -> PipelineSpec:
        others = [node for node in pipeline.nodes if node.write is None]
        return replace(
            pipeline, nodes=[*others, *(node for node in reversed(pipeline.nodes) if node.write is not None)]
        )

    return replace(project, pipelines=[turned(one) for one in project.pipelines])


def with_logs(project: ProjectSpec, rng: random.Random) -> ProjectSpec:
    """Some pipelines read a log, beside their files or in place of some."""

    def logged(pipeline: PipelineSpec) -> PipelineSpec:
        files = [node for node in pipeline.nodes if node.read is not None and node.read.consumption == "set"]
        if not files or rng.random() >= LOGGED:
            return pipeline
        base = ConnectionSpec("log", "local", f"/{pipeline.name}/log")
        read = ReadSpec(base, "csv", "log", consumption="cursor")
        if rng.random() < 0.5:
            one = rng.choice(files)
            return replace(pipeline, nodes=[replace(n, read=read) if n is one else n for n in pipeline.nodes])
        first = next(place for place, node in enumerate(pipeline.nodes) if node.transform is not None)
        nodes = [*pipeline.nodes]
        nodes[first] = replace(nodes[first], inputs=[*nodes[first].inputs, "log"])
        return replace(pipeline, nodes=[replace(files[0], name="log", read=read), *nodes])

    return replace(project, pipelines=[logged(one) for one in project.pipelines])


def _schedules(
    rng: random.Random, name: str, earlier: list[str], wall: float, follows: bool = False
) -> list[ScheduleSpec]:
    """One to three schedules of a pipeline, of every kind; ``follows``: and one more, after the earlier ones."""
    schedules = [ScheduleSpec("after", after=earlier, overlap="buffer_one")] if follows else []
    for number in range(rng.choice([1, 1, 2, 3])):
        overlap, deadline = rng.choice(OVERLAPS), rng.choice([0.0, 0.0, 3.0])
        kind = rng.random()
        if kind < 0.2 and earlier:
            spec = ScheduleSpec(f"w{number}", after=earlier, overlap=overlap, deadline=deadline)  # type: ignore[arg-type]
        elif kind < 0.4:
            folder = rng.choice([f"/{name}/read0", f"/hot/{name}"])
            watch = WatchSpec(folder, per=rng.choice(["file", "set"]), settle=0.5)
            spec = ScheduleSpec(f"w{number}", file_watch=watch, overlap=overlap, deadline=deadline)  # type: ignore[arg-type]
        else:
            spec = random_schedule(rng, f"w{number}", wall, fast=True)
        schedules.append(spec)
    return schedules


def _alerts(rng: random.Random) -> list[AlertSpec]:
    if rng.random() < 0.5:
        return []
    return [AlertSpec(webhook="https://example.org/hook", throttle=rng.choice([0.0, 0.0, 5.0]))]


def _reference(rng: random.Random, wall: float) -> PipelineSpec:
    """A pipeline that reads all there is, each time: its runs consume nothing, its backfills are of occurrences."""
    retry = RetrySpec(max_attempts=3, initial=0.2, max=1.0)
    read = ReadSpec(ConnectionSpec("read0", "local", "/r/read0"), "csv", "batch")
    write = WriteSpec(ConnectionSpec("out", "local", "/out"), path="r0", format="parquet")
    nodes = [
        NodeSpec("read0", read=read, retry=retry, timeout=10.0),
        NodeSpec("t0", ["read0"], transform=TransformSpec(function="nodes.m:f"), retry=retry, timeout=10.0),
        NodeSpec("s0", ["t0"], write=write, retry=retry, timeout=10.0),
    ]
    return PipelineSpec("r", nodes, trigger="schedule", schedules=_schedules(rng, "r", [], wall), alerts=_alerts(rng))


def make_project(rng: random.Random, wall: float) -> ProjectSpec:
    """A project with one or two pipelines of a random shape: joins of two sources, branches, chains, several sinks.
    Some of them run by schedules; ``wall`` is what the clock shows. Of some lives the second pipeline runs after the
    first, which can be backfilled."""
    pipelines: list[PipelineSpec] = []
    overwrites = random.Random(str(rng.getstate()))  # of its own, so that all else of a seed stays as it was
    references = random.Random(f"references {rng.getstate()}")
    chain = random.Random(f"chain {rng.getstate()}").random() < CHAINED
    names = ["p", "q"][: rng.choice([1, 1, 2])]
    for name in ["p", "q"] if chain else names:
        retry = RetrySpec(max_attempts=rng.choice([1, 3, 5]), initial=0.2, max=1.0)
        sources = [f"read{i}" for i in range(rng.choice([1, 1, 2]))]
        nodes = [
            NodeSpec(
                name=source,
                read=ReadSpec(ConnectionSpec(source, "local", f"/{name}/{source}"), "csv", "file_watch", settle=0.5),
                retry=retry,
                timeout=10.0,
            )
            for source in sources
        ]
        if references.random() < REFERRING:
            read = ReadSpec(ConnectionSpec("ref0", "local", f"/{name}/ref0"), "csv", "batch", settle=0.5)
            nodes.append(NodeSpec("ref0", read=read, retry=retry, timeout=10.0))
            sources.append("ref0")
        transforms: list[str] = []
        for i in range(rng.randint(1, 4)):
            # The first joins every source, so that each row reaches each sink exactly once.
            inputs = list(sources) if i == 0 else [rng.choice(transforms)]
            function = TransformSpec(function="nodes.m:f") if rng.random() < 0.7 else TransformSpec(sql="select 1")
            state = function.function is not None and rng.random() < 0.3 and not chain
            nodes.append(NodeSpec(f"t{i}", inputs, transform=function, retry=retry, timeout=10.0, state=state))
            transforms.append(f"t{i}")
        for i in range(rng.randint(1, 3)):
            mode: Literal["append", "overwrite"] = "overwrite" if overwrites.random() < 0.15 and not chain else "append"
            write = WriteSpec(ConnectionSpec("out", "local", "/out"), mode, path=f"{name}{i}", format="parquet")
            nodes.append(NodeSpec(f"s{i}", [rng.choice(transforms)], write=write, retry=retry, timeout=10.0))
        earlier = [one.name for one in pipelines]
        scheduled = bool(earlier) if chain else rng.random() < 0.5
        pipelines.append(
            PipelineSpec(
                name=name,
                nodes=nodes,
                trigger="schedule" if scheduled else "data",
                schedules=_schedules(rng, name, earlier, wall, chain) if scheduled else [],
                alerts=_alerts(rng),
                max_in_flight=rng.choice([1, 2, 4]),
                batch=BatchSpec(max_files=rng.choice([1, 2, 4]), linger=rng.choice([0.0, 0.0, 0.3])),
                on_error=rng.choice(["halt", "dead_letter"]),
                keep_last=rng.choice([1, 2, 5]),
            )
        )
    if rng.random() < 0.25:
        pipelines.append(_reference(rng, wall))
    return ProjectSpec("sim", "/", "/data", 2, pipelines, code_digest="code")


def cumulative(pipeline: PipelineSpec, sink: str) -> bool:
    """The sink holds more than its newest batch: it is behind a node with state, or behind references alone."""
    nodes = {node.name: node for node in pipeline.nodes}
    if sink not in nodes:
        return True  # of a version of before: nobody knows any more
    wanted, batches = [sink], False
    while wanted:
        node = nodes[wanted.pop()]
        batches = batches or (node.read is not None and not node.read.pinned)
        wanted += [] if node.state else node.inputs
    return not batches
