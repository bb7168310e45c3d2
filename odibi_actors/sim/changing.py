"""What operators change in the project, and how they get out of it where a target does not go with its sink any more.

Part of ``verbs``: each returns the id of the request, "" when there is nothing to change.
"""

from __future__ import annotations

import random

from msgspec.structs import replace

from odibi_actors.config.model import NodeSpec, PipelineSpec
from odibi_actors.messages import Adopt
from odibi_actors.sim import changes, columns, feeding
from odibi_actors.sim.life import Life
from odibi_actors.streaming.patterns import Pattern

_WHOLE = {"mode": "batch", "consumption": "pinned"}

SEEN = (0.3, 1.0, 4.0)
"""Virtual seconds until an operator sees what has come of a change."""


def params(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """Of a transform."""
    return life.apply_pipeline(changes.with_params(pipeline, rng))


def state_switch(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """A node keeps a state that did not, or does not any more."""
    other = changes.with_state(pipeline, rng)
    return life.apply_pipeline(other) if other is not None else ""


# --- sinks ---------------------------------------------------------------------------------------------------------


def sink_add(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """One more."""
    few = len(changes.sinks(pipeline)) < 5
    return life.apply_pipeline(changes.with_sink(pipeline, rng, instead=False)) if few else ""


def sink_rename(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """A sink has another name and another target; the former one keeps what it has."""
    return life.apply_pipeline(changes.with_sink(pipeline, rng, instead=True))


def sink_remove(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """There is one less; its target keeps what it has."""
    there = changes.sinks(pipeline)
    return life.apply_pipeline(changes.with_node(pipeline, rng.choice(there).name, None)) if len(there) > 1 else ""


def sink_adopt(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """A sink has another name, and goes on with its target."""
    sink = rng.choice(changes.sinks(pipeline))
    other = replace(sink, name=f"s{rng.getrandbits(16)}")
    _look_later(life, rng)
    adopt = Adopt(pipeline.name, other.name, pipeline.name, sink.name)
    return life.apply_pipeline(changes.with_node(pipeline, sink.name, other), [adopt])


def sink_move(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """A sink is one of another pipeline from now on, by its name or another one, and goes on with its target."""
    others = [one for one in life.project.pipelines if one.name != pipeline.name]
    there = changes.sinks(pipeline)
    if len(there) < 2 or not others:
        return ""
    published = [one for one in there if one.write is not None and life.host.standing(one.write.target)]
    sink, to = rng.choice(published or there), rng.choice(others)
    feeds = [node.name for node in to.nodes if node.transform is not None]
    taken = [node.name for node in to.nodes]
    name = sink.name if sink.name not in taken and rng.random() < 0.5 else f"s{rng.getrandbits(16)}"
    moved = replace(to, nodes=[*to.nodes, replace(sink, name=name, inputs=[rng.choice(feeds)])])
    _look_later(life, rng)
    adopt = Adopt(to.name, name, pipeline.name, sink.name)
    return life.apply_pipelines([changes.with_node(pipeline, sink.name, None), moved], [adopt])


def sink_mode(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """What is appended is overwritten from now on, or the other way round; there, or elsewhere."""
    there = changes.filling(pipeline)
    if not there:
        return ""
    sink = rng.choice(there)
    assert sink.write is not None
    mode = rng.choice([one for one in changes.modes(sink) if one != sink.write.mode])
    keys = ["id"] if mode == "upsert" else []
    # Rows that were appended may have keys twice, and what is upserted has an index that takes none of these.
    same = {sink.write.mode, mode} != {"append", "upsert"} and rng.random() < 0.5
    where = {} if same else _elsewhere(rng, sink)
    _look_later(life, rng)
    return life.apply_pipeline(changes.with_write(pipeline, sink, mode=mode, keys=keys, **where))


def sink_format(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """Files of another format, or otherwise compressed; there, or elsewhere."""
    folders = [sink for sink in changes.sinks(pipeline) if sink.write is not None and not sink.write.table]
    if not folders:
        return ""
    sink, made = rng.choice(folders), rng.choice(changes.FORMATS)
    compression = rng.choice([None, "gzip", "zstd"]) if made in ("csv", "json") else None
    where = {} if rng.random() < 0.5 else _elsewhere(rng, sink)
    _look_later(life, rng)
    return life.apply_pipeline(changes.with_write(pipeline, sink, format=made, compression=compression, **where))


def sink_target(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """A sink publishes elsewhere, or where it did once."""
    there = changes.filling(pipeline)
    if not there:
        return ""
    sink = rng.choice(there)
    assert sink.write is not None
    mine = [at for at, owner in life.host.owners.items() if owner == (pipeline.name, sink.name)]
    key = "table" if sink.write.table else "path"
    where: list[dict[str, object]] = [
        {key: at.locator.removeprefix("/out/")} for at in mine if (at.sink == "sqlite") == (key == "table")
    ]
    _look_later(life, rng)
    return life.apply_pipeline(changes.with_write(pipeline, sink, **rng.choice([*where, _elsewhere(rng, sink)])))


def sink_repin(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """The next part of a sink may have other columns."""
    return life.ask("sink.repin", pipeline=pipeline.name, sink=rng.choice(changes.sinks(pipeline)).name)


def _elsewhere(rng: random.Random, sink: NodeSpec) -> dict[str, object]:
    """Keys of a sink that publishes where nothing is."""
    assert sink.write is not None
    return {"table" if sink.write.table else "path": f"{sink.name}-{rng.getrandbits(32):x}"}


def _look_later(life: Life, rng: random.Random) -> None:
    life.world.after(rng.choice(SEEN), ways_out, life, rng)


def ways_out(life: Life, rng: random.Random) -> None:
    """What a sink is told of a target that does not go with it: it publishes elsewhere, takes over what was another
    sink's of its pipeline, and gives up what was prepared for there."""
    for (name, node), at in list(life.host.refused.items()):
        pipeline = life.project.pipeline(name)
        sink = next((one for one in changes.sinks(pipeline) if one.name == node), None)
        for (owner, number), iteration in life.truth.iterations.items():
            if owner == name and node in iteration.blocked and iteration.sinks[node].at == at:
                life.ask("iteration.abandon", pipeline=name, iteration=number, sink=node)
        former = life.host.owners.get(at)
        if former is None or sink is None or sink.write is None or sink.write.target != at:
            del life.host.refused[name, node]  # it publishes elsewhere by now, or a reset has deleted what stood there
            continue
        there = [one.name for one in changes.sinks(pipeline)]
        if former[0] == name and former[1] not in there and rng.random() < 0.5:
            life.apply_pipeline(pipeline, [Adopt(name, node, *former, marked=True)])
        else:
            life.apply_pipeline(changes.with_write(pipeline, sink, **_elsewhere(rng, sink)))


# --- sources -------------------------------------------------------------------------------------------------------


def reference_pattern(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """A reference is other files, of which there is one at least."""
    there = life.landing.references(pipeline)
    if not there:
        return ""
    node, file = rng.choice(there)
    patterns = [one for one in changes.PATTERNS if Pattern(one).matches(file.identity)]
    return life.apply_pipeline(changes.with_pattern(pipeline, node.name, rng.choice(patterns)))


def source_pattern(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """Fewer files are watched for, or more."""
    there = changes.watched(pipeline)
    if not there:
        return ""
    return life.apply_pipeline(changes.with_pattern(pipeline, rng.choice(there).name, rng.choice(changes.WATCHED)))


def source_keys(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """A source reads the same in another way."""
    source = _source(rng, pipeline)
    if source is None:
        return ""
    return life.apply_pipeline(changes.with_read(pipeline, source, **rng.choice(changes.keys_of(source))))


def source_mode(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """What was read once is read each time from now on, or the other way round."""
    source = _source(rng, pipeline)
    if source is None or source.read is None or not changes.may_be_whole(pipeline, source):
        return ""
    other = {"mode": "file_watch", "consumption": "set"} if source.read.pinned else _WHOLE
    return life.apply_pipeline(changes.with_read(pipeline, source, **other, pattern="*"))


def source_folder(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """The folder of a source is known by another path as well, by which it is read from now on."""
    source = _source(rng, pipeline)
    if source is None or source.read is None:
        return ""
    path = f"/{pipeline.name}/{source.name}-{rng.getrandbits(16)}"
    life.landing.link(source.read.connection.path, path)
    connection = replace(source.read.connection, path=path)
    return life.apply_pipeline(changes.with_read(pipeline, source, connection=connection))


def schema_policy(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """Something else is done about other columns."""
    there = columns.of_files(pipeline)
    if not life.landing.changing or not there:
        return ""
    source = rng.choice(there)
    assert source.read is not None
    known = [*columns.policies(source), columns.RESCUE]
    policy = rng.choice([one for one in known if one != source.read.on_schema_change])
    return life.apply_pipeline(changes.with_read(pipeline, source, on_schema_change=policy))


def poll_every(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """What is polled is polled more often, or less."""
    node = feeding.source(pipeline, feeding.POLLED)
    if node is None or node.read is None or node.read.polled is None:
        return ""
    every = rng.choice([one for one in feeding.EVERY if one != node.read.polled.every])
    return life.apply_pipeline(changes.with_read(pipeline, node, polled=replace(node.read.polled, every=every)))


def _source(rng: random.Random, pipeline: PipelineSpec) -> NodeSpec | None:
    """One that reads files."""
    found = [node for node in pipeline.nodes if node.read is not None and node.read.consumption != "cursor"]
    return rng.choice(found) if found else None


def watch_all(life: Life) -> None:
    """In the end no file is left out."""
    for pipeline in life.project.pipelines:
        for source in changes.watched(pipeline):
            if source.read is not None and source.read.pattern != "*":
                life.apply_pipeline(changes.with_pattern(pipeline, source.name, "*"))
