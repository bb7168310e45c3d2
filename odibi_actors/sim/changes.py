"""Other project files: what operators change in the one that is in force."""

from __future__ import annotations

import random

from msgspec.structs import replace

from odibi_actors.config.model import ConnectionSpec, NodeSpec, PipelineSpec, ProjectSpec, WriteSpec

PATTERNS = ("*", "f*", "f*[02468]", "f*[13579]")
"""Of references."""
WATCHED = ("*", "f*", "f*[02468]")
"""Of files that are watched for; at last it is the first one."""
FORMATS = ("parquet", "csv", "json", "arrow")
"""That are written."""
READ: tuple[dict[str, object], ...] = (
    {"options": {}, "columns": [], "optional": []},
    {"options": {"delimiter": ","}},
    {"columns": ["id", "extra"]},
    {"optional": ["extra"]},
)
"""Keys of a source that reads the same by them."""


def changed(project: ProjectSpec, rng: random.Random) -> ProjectSpec:
    """Another project file: transforms get other parameters, what is in flight another limit, and sources read the same
    files in another way, or, of references, by another pattern."""
    pipelines = []
    for pipeline in project.pipelines:
        nodes = [
            replace(n, transform=replace(n.transform, params={"v": rng.randint(0, 9)}))
            if n.transform is not None and rng.random() < 0.3
            else n
            for n in pipeline.nodes
        ]
        pipelines.append(replace(pipeline, nodes=nodes, max_in_flight=rng.choice([1, 2, 4])))
    pipelines = [replace(one, nodes=[_read_otherwise(n, rng) for n in one.nodes]) for one in pipelines]
    return replace(project, pipelines=pipelines)


def with_params(pipeline: PipelineSpec, rng: random.Random) -> PipelineSpec:
    """A transform of it has other parameters: what it has made of unfinished iterations is made again."""
    transforms = [node.name for node in pipeline.nodes if node.transform is not None]
    one = rng.choice(transforms)
    nodes = [
        replace(n, transform=replace(n.transform, params={"v": rng.getrandbits(16)}))
        if n.name == one and n.transform is not None
        else n
        for n in pipeline.nodes
    ]
    return replace(pipeline, nodes=nodes)


def with_sink(pipeline: PipelineSpec, rng: random.Random, instead: bool) -> PipelineSpec:
    """It has one more sink, which takes over from another when it comes ``instead``."""
    sinks = [node for node in pipeline.nodes if node.write is not None]
    rest = [node for node in pipeline.nodes if node.write is None]
    gone = rng.choice(sinks) if instead else None
    name = f"s{rng.getrandbits(16)}"
    write = WriteSpec(
        ConnectionSpec("out", "local", "/out"), "append", path=f"{pipeline.name}-{name}", format="parquet"
    )
    inputs = gone.inputs if gone is not None else [rng.choice([n.name for n in rest if n.transform is not None])]
    more = NodeSpec(name, [*inputs], write=write, retry=sinks[0].retry, timeout=10.0)
    return replace(pipeline, nodes=[*rest, *(node for node in sinks if node is not gone), more])


def with_state(pipeline: PipelineSpec, rng: random.Random) -> PipelineSpec | None:
    """A node keeps a state that did not, or does not any more; None when there is none that could."""
    nodes = [n.name for n in pipeline.nodes if n.transform is not None and n.transform.function is not None]
    if not nodes:
        return None
    stateful = [n.name for n in pipeline.nodes if n.state]
    one = rng.choice(stateful if stateful and rng.random() < 0.5 else nodes)
    return replace(pipeline, nodes=[replace(n, state=not n.state) if n.name == one else n for n in pipeline.nodes])


def with_pattern(pipeline: PipelineSpec, source: str, pattern: str) -> PipelineSpec:
    """A source of it has another pattern."""
    nodes = [
        replace(n, read=replace(n.read, pattern=pattern)) if n.name == source and n.read is not None else n
        for n in pipeline.nodes
    ]
    return replace(pipeline, nodes=nodes)


def _read_otherwise(node: NodeSpec, rng: random.Random) -> NodeSpec:
    if node.read is None or rng.random() < 0.5:
        return node
    pattern = rng.choice(["*", "f*"]) if node.read.pinned else node.read.pattern
    return replace(node, read=replace(node.read, settle=rng.choice([0.5, 0.6, 0.7]), pattern=pattern))


# --- one node ------------------------------------------------------------------------------------------------------


def sinks(pipeline: PipelineSpec) -> list[NodeSpec]:
    """The nodes that write."""
    return [node for node in pipeline.nodes if node.write is not None]


def modes(sink: NodeSpec) -> list[str]:
    """What a sink may do with what stands in its target."""
    return ["append", "overwrite", "upsert"] if sink.write is not None and sink.write.table else ["append", "overwrite"]


def filling(pipeline: PipelineSpec) -> list[NodeSpec]:
    """The sinks that may do something else, or elsewhere: those that delete do so from what somebody else fills."""
    return [sink for sink in sinks(pipeline) if sink.write is not None and sink.write.mode != "delete"]


def watched(pipeline: PipelineSpec) -> list[NodeSpec]:
    """The sources that take each file once."""
    return [node for node in pipeline.nodes if node.read is not None and node.read.consumption == "set"]


def with_node(pipeline: PipelineSpec, name: str, node: NodeSpec | None) -> PipelineSpec:
    """The node of that name is another one, or gone."""
    nodes = [node if one.name == name else one for one in pipeline.nodes]
    return replace(pipeline, nodes=[one for one in nodes if one is not None])


def with_read(pipeline: PipelineSpec, source: NodeSpec, **keys: object) -> PipelineSpec:
    """These keys of a source are others."""
    assert source.read is not None
    return with_node(pipeline, source.name, replace(source, read=replace(source.read, **keys)))


def with_write(pipeline: PipelineSpec, sink: NodeSpec, **keys: object) -> PipelineSpec:
    """These keys of a sink are others."""
    assert sink.write is not None
    return with_node(pipeline, sink.name, replace(sink, write=replace(sink.write, **keys)))


def keys_of(source: NodeSpec) -> list[dict[str, object]]:
    """Keys by which a source reads the same; those of csv for plain csv files alone."""
    assert source.read is not None
    plain = source.read.format == "csv" and "compression" not in source.read.options
    return [keys for keys in READ if plain or "options" not in keys]


def may_be_whole(pipeline: PipelineSpec, source: NodeSpec) -> bool:
    """All that a source finds may be read each time: where data sets the pipeline off, another one must consume."""
    consuming = [node for node in pipeline.nodes if node.read is not None and not node.read.pinned]
    return pipeline.trigger != "data" or len(consuming) > 1 or source not in consuming
