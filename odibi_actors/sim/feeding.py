"""Lives in which something is pushed to a log of events, or polled, or a table grows: which they are, and who brings
the rows."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from odibi_actors.config.model import (
    ConnectionSpec,
    NodeSpec,
    PipelineSpec,
    PollSpec,
    ProjectSpec,
    ReadSpec,
    RetainSpec,
    TableSpec,
)
from odibi_actors.sim import log

if TYPE_CHECKING:
    from odibi_actors.sim.life import Life
    from odibi_actors.sim.sources import Folder
    from odibi_actors.sim.tables import Database

EVENTS, TABLES, POLLED = "event", "incremental", "interval"
SHARE = 0.08
"""Of lives in which there are events, of those in which a table grows, and of those in which something is polled."""
OF = {
    **{"push": EVENTS, "push again": EVENTS, "full log": EVENTS, "transaction": TABLES, "commit": TABLES},
    **{"poll change": POLLED, "poll fails": POLLED, "poll every": POLLED},
}
"""What happens in such lives alone."""
EVERY = (1.0, 2.0, 5.0)
"""Virtual seconds from tick to tick."""
OPEN = (0.0, 0.0, 0.3, 1.0, 4.0)
"""Virtual seconds that a transaction takes."""


def modes(seed: int, verbs: tuple[str, ...]) -> list[str]:
    """What there is in the life of this seed, which has something to do for these verbs."""
    there = [mode for mode in (EVENTS, TABLES, POLLED) if random.Random(f"{mode} {seed}").random() < SHARE]
    return list(dict.fromkeys([*there, *(OF[verb] for verb in verbs if verb in OF)]))


def feed(life: Life, seed: int, verbs: tuple[str, ...]) -> None:
    """Put such sources into the project of a life, and what they read into its folder."""
    found = modes(seed, verbs)
    if not found:
        return
    from odibi_actors.sim.polls import Polls
    from odibi_actors.sim.pushes import Producers  # not above: other lives need none of Arrow
    from odibi_actors.sim.sources import Folder

    world, rng = life.world, random.Random(f"fed {seed}")
    folder = life.host.outside = Folder(seed, lambda: world.now)
    for mode in found:
        life.project = _with_source(life.project, mode, rng)
    nodes = {(one.name, node.name): node for one in life.project.pipelines for node in one.nodes}

    def stored(source: tuple[str, str], number: int, rows: list[int]) -> None:
        node = nodes[source]
        assert node.read is not None
        life.landing.come(source[0], node, log.record(node.read.path, number), rows)

    producers = life.producers = Producers(lambda: world.now, world.after, life.tell, life.number, stored, world.count)
    life.heard.append(producers.answered)
    polls = folder.polls = Polls(seed, lambda: world.now, stored, world.count)
    world.on_log = lambda told: polls.say(told.text)
    folder.looks = [producers.look, polls.look]
    folder.whole = lambda: bool(life.host.older)
    for (pipeline, _), node in nodes.items():
        if node.read is None:
            continue
        life.host.folders.setdefault(node.read.connection.path, {})
        if node.read.mode == EVENTS:
            producers.add(pipeline, node, folder.make_log(node.read))
        elif node.read.mode == TABLES:
            _grow(life, folder, pipeline, node)
        elif node.read.mode == POLLED:
            folder.make_log(node.read)
            by_data = life.project.pipeline(pipeline).trigger == "data"
            polls.add(pipeline, node, folder.path, life.landing.rows_of_a_file(rng), by_data)
    life.landing.fed = {EVENTS: partial(push, life), TABLES: partial(write, life), POLLED: partial(change, life)}


def _with_source(project: ProjectSpec, mode: str, rng: random.Random) -> ProjectSpec:
    """One of its pipelines reads such a source as well, or in place of one that reads files."""
    pipeline = rng.choice([one for one in project.pipelines if any(n.read and not n.read.pinned for n in one.nodes)])
    files = [node for node in pipeline.nodes if node.read is not None and node.read.consumption == "set"]
    read = {EVENTS: _events, TABLES: _table, POLLED: _polled}[mode](pipeline, rng)
    if files and rng.random() < 0.5:
        one = rng.choice(files)
        nodes = [replace(node, read=read) if node is one else node for node in pipeline.nodes]
    else:
        nodes = [*pipeline.nodes]
        first = next(place for place, node in enumerate(nodes) if node.transform is not None)
        name = {EVENTS: "clicks", TABLES: "orders", POLLED: "rates"}[mode]
        nodes[first] = replace(nodes[first], inputs=[*nodes[first].inputs, name])
        retry = next(node.retry for node in nodes if node.read is not None)
        nodes.insert(0, NodeSpec(name, read=read, retry=retry, timeout=10.0))
    pipelines = [replace(one, nodes=nodes) if one is pipeline else one for one in project.pipelines]
    return replace(project, pipelines=pipelines)


def _events(pipeline: PipelineSpec, rng: random.Random) -> ReadSpec:
    return ReadSpec(
        ConnectionSpec("clicks", "local", f"/{pipeline.name}/clicks"),
        "arrow",
        EVENTS,
        path="f4",
        schema={"id": "int64"},
        consumption="cursor",
        window=rng.choice([86_400.0, 86_400.0, 3.0]),
        backlog=rng.choice([1_000_000_000, 2_000]),
        retain=rng.choice([RetainSpec(), RetainSpec(time=4.0)]),
    )


def _table(pipeline: PipelineSpec, rng: random.Random) -> ReadSpec:
    table = TableSpec("f6", "", "mark", keys=rng.choice([[], ["id"]]), lag=rng.choice(["", "", "5"]))
    connection = ConnectionSpec("shop", "sqlite", f"/{pipeline.name}/shop.db")
    return ReadSpec(connection, "sql", TABLES, schema={"id": "int64"}, consumption="cursor", of_table=table)


def _polled(pipeline: PipelineSpec, rng: random.Random) -> ReadSpec:
    made = rng.choice(["csv", "arrow"])
    world = ConnectionSpec("world", "local", f"/{pipeline.name}/world")
    return ReadSpec(
        ConnectionSpec("rates", "local", f"/{pipeline.name}/rates"),
        made,
        POLLED,
        path="f8",
        consumption="cursor",
        retain=rng.choice([RetainSpec(), RetainSpec(time=4.0)]),
        polled=PollSpec(rng.choice(EVERY), world, path=f"rates.{made}"),
    )


# --- what comes ----------------------------------------------------------------------------------------------------


def source(pipeline: PipelineSpec, mode: str) -> NodeSpec | None:
    """The source of a pipeline that is fed so."""
    return next((node for node in pipeline.nodes if node.read is not None and node.read.mode == mode), None)


def database(life: Life, pipeline: PipelineSpec) -> Database | None:
    """Of a pipeline that reads one."""
    node = source(pipeline, TABLES)
    if node is None or node.read is None or life.host.outside is None:
        return None
    return life.host.outside.databases[node.read.connection.path]


def push(life: Life, pipeline: PipelineSpec, node: NodeSpec, rng: random.Random) -> str:
    """Somebody pushes rows; the id of the request."""
    assert life.producers is not None
    return life.producers.push(pipeline, node, life.landing.rows_of_a_file(rng), rng)


def write(life: Life, pipeline: PipelineSpec, node: NodeSpec, rng: random.Random) -> None:
    """A transaction writes rows, and ends after a while."""
    there = database(life, pipeline)
    assert there is not None
    rows = life.landing.rows_of_a_file(rng)
    one = there.begin(rows[: len(rows) // 2])
    seconds = 0.0 if there.quiet else rng.choice(OPEN)
    life.world.after(seconds / 2, there.write, one, rows[len(rows) // 2 :])
    life.world.after(seconds, there.commit, one)


def change(life: Life, pipeline: PipelineSpec, node: NodeSpec, rng: random.Random) -> bool:
    """What is polled is another from now on."""
    outside = life.host.outside
    polled = outside.polls.of(pipeline.name) if outside is not None and outside.polls is not None else None
    if polled is None or node.read is None or node.read.mode != POLLED:
        return False
    polled.change(life.landing.rows_of_a_file(rng))
    return True


def vanish(life: Life, pipeline: PipelineSpec, seconds: float) -> bool:
    """What is polled is not there for a while."""
    outside = life.host.outside
    polled = outside.polls.of(pipeline.name) if outside is not None and outside.polls is not None else None
    if polled is not None:
        polled.away_until = life.world.now + seconds
    return polled is not None


def forget(life: Life, pipeline: str) -> None:
    """All of a pipeline is to be read again, but for what is in no log any more."""
    outside = life.host.outside
    for node in life.project.pipeline(pipeline).nodes if outside is not None else ():
        if node.read is not None and node.read.mode in (EVENTS, POLLED):
            assert outside is not None
            left = {log.record(node.read.path, number) for number in outside.left(node.read)}
            for key in [key for key in life.landing.delivered if key[:2] == (pipeline, node.name)]:
                if key[2] not in left:
                    del life.landing.delivered[key]


def _grow(life: Life, folder: Folder, pipeline: str, node: NodeSpec) -> None:
    assert node.read is not None
    of = random.Random(f"rows of {pipeline} {life.world.seed}")
    there = folder.make_table(node.read, lambda: life.landing.rows_of_a_file(of))

    def come(rows: list[int]) -> None:
        assert node.read is not None
        for row in rows:
            life.landing.come(pipeline, node, log.record(node.read.table.table, row), [row])

    there.on_commit, there.count = come, life.world.count
