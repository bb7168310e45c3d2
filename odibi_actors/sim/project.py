"""Random projects: joins of several sources, branches, chains, state, several sinks."""

from __future__ import annotations

import random

from odibi_actors.config.model import (
    BatchSpec,
    ConnectionSpec,
    NodeSpec,
    PipelineSpec,
    ProjectSpec,
    ReadSpec,
    RetrySpec,
    TransformSpec,
    WriteSpec,
)


def make_project(rng: random.Random) -> ProjectSpec:
    """A project with one or two pipelines of a random shape: joins of two sources, branches, chains, several sinks."""
    pipelines = []
    for name in ["p", "q"][: rng.choice([1, 1, 2])]:
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
        transforms: list[str] = []
        for i in range(rng.randint(1, 4)):
            # The first joins every source, so that each row reaches each sink exactly once.
            inputs = list(sources) if i == 0 else [rng.choice(transforms)]
            function = TransformSpec(function="nodes.m:f") if rng.random() < 0.7 else TransformSpec(sql="select 1")
            state = function.function is not None and rng.random() < 0.3
            nodes.append(NodeSpec(f"t{i}", inputs, transform=function, retry=retry, timeout=10.0, state=state))
            transforms.append(f"t{i}")
        for i in range(rng.randint(1, 3)):
            write = WriteSpec(ConnectionSpec("out", "local", "/out"), path=f"{name}{i}", format="parquet")
            nodes.append(NodeSpec(f"s{i}", [rng.choice(transforms)], write=write, retry=retry, timeout=10.0))
        pipelines.append(
            PipelineSpec(
                name=name,
                nodes=nodes,
                max_in_flight=rng.choice([1, 2, 4]),
                batch=BatchSpec(max_files=rng.choice([1, 2, 4]), linger=rng.choice([0.0, 0.0, 0.3])),
                on_error=rng.choice(["halt", "dead_letter"]),
                keep_last=rng.choice([1, 2, 5]),
            )
        )
    return ProjectSpec("sim", "/", "/data", 2, pipelines, code_digest="code")
