"""What goes wrong in a life, and what arrives in it; what operators do is in ``verbs``."""

from __future__ import annotations

import random
from collections.abc import Callable

from odibi_actors.checkpoint.records import Prepare
from odibi_actors.config.model import NodeSpec, PipelineSpec
from odibi_actors.messages import (
    BROKER,
    AppendRecords,
    Claim,
    Discover,
    Drop,
    Durable,
    Forget,
    LedgerQuery,
    Message,
    NodeDone,
    Offer,
    Planned,
    Release,
    Released,
    ResendFrom,
    Results,
    Scale,
    Tasks,
    Welcome,
    WhoAreYou,
)
from odibi_actors.model import Attempt
from odibi_actors.sim.clock import CHANGES
from odibi_actors.sim.life import Life
from odibi_actors.sim.verbs import perform
from odibi_actors.sim.workers import SimPoolDriver
from odibi_actors.sources.file_position import file_position


def _pipeline(life: Life, rng: random.Random) -> PipelineSpec:
    return rng.choice(life.project.pipelines)


# --- processes ----------------------------------------------------------------------------------------------------


def _crash(life: Life, rng: random.Random) -> None:
    life.world.crash(rng.choice(life.actors))


def _crash_worker(life: Life, rng: random.Random) -> None:
    driver = life.world.processes[rng.choice(life.pools)].driver
    if isinstance(driver, SimPoolDriver):
        driver.kill_one(rng)


def _leave(life: Life, rng: random.Random) -> None:
    """A pool is gone for longer than the broker waits for it."""
    life.world.count("pool away")
    life.world.crash(rng.choice(life.pools), away=rng.uniform(5.0, 20.0))


def _power_cut(life: Life, rng: random.Random) -> None:
    life.world.crash_all()
    life.host.lose_unsynced(0.5)


def _stop(life: Life, rng: random.Random) -> None:
    """SIGSTOP, and SIGCONT later: it hears nothing, then everything at once."""
    life.world.freeze(rng.choice(life.actors), rng.choice([0.3, 2.0, 6.0, 12.0]))


def _stop_worker(life: Life, rng: random.Random) -> None:
    driver = life.world.processes[rng.choice(life.pools)].driver
    if isinstance(driver, SimPoolDriver):
        driver.freeze_one(rng, rng.choice([0.5, 5.0, 12.0]))


def _second_broker(life: Life, rng: random.Random) -> None:
    life.world.second(BROKER)


# --- network and disk ---------------------------------------------------------------------------------------------


def _partition(life: Life, rng: random.Random) -> None:
    names = [name for name in life.actors if name != BROKER]
    ways = rng.choice(["both", "both", "in", "out"])
    life.world.partition(rng.choice(names), rng.choice([0.1, 1.0, 4.0, 15.0]), ways)


def _full_disk(life: Life, rng: random.Random) -> None:
    """The store cannot write for a while: it must stop, and start again, as often as it takes."""
    life.world.count("full disk")
    life.host.full_until = life.world.now + rng.uniform(0.2, 4.0)


def _full_spool(life: Life, rng: random.Random) -> None:
    life.world.count("full spool")
    life.host.spool_full_until = life.world.now + rng.uniform(0.2, 3.0)


def _full_log(life: Life, rng: random.Random) -> None:
    """Nothing can be added to a log of events for a while."""
    if life.host.outside is not None:
        life.world.count("full log")
        life.host.outside.full_until = life.world.now + rng.uniform(0.2, 4.0)


def _garbage(life: Life, rng: random.Random) -> None:
    """Well-formed messages that make no sense, from somebody whom nobody knows."""
    life.world.count("garbage")
    to = rng.choice(life.actors)
    for message in rng.sample(_absurd(life, rng), 4):
        life.world.send(f"client-{rng.getrandbits(16)}", to, message)


def _absurd(life: Life, rng: random.Random) -> list[Message]:
    epoch, huge = rng.choice([-1, 0, life.truth.epoch, life.truth.epoch + 5, 2**62]), 2**62
    nobody, attempt = rng.choice(["p", "q", "nobody"]), Attempt(epoch, rng.choice([-1, 1, huge]))
    done = NodeDone(attempt, nobody, huge, "t0", "", 0.0, -1.0, -1, huge, "w", last=True)
    position = file_position("../../etc/passwd", -1, huge, huge, -5)
    record = Prepare(pipeline=nobody, iteration=1, sinks={}, at=-1.0)
    return [
        AppendRecords(epoch=epoch, first=rng.choice([0, 1, huge]), records=[record]),
        Claim(expected=epoch, claimant="mallory"),
        Discover(epoch=epoch, pipeline=nobody, run="r"),
        Drop(epoch=epoch, attempts=[attempt]),
        Durable(epoch=epoch, through=huge),
        Forget(epoch=epoch, confirmed=[(attempt, "t0")]),
        LedgerQuery(pipeline=nobody, source="x", lane="live", cursor="~", limit=-1),
        Offer(epoch=epoch, incarnation="?", pipeline=nobody, source="read0", seq=huge, positions=[position]),
        Planned(epoch=epoch, pipeline=nobody, source="read0", seq=huge, iteration=-1, positions=[position]),
        Release(epoch=epoch, iterations=[(nobody, 1), ("../..", -1)]),
        Released(epoch=epoch, pipeline=nobody, source="read0", seq=huge),
        ResendFrom(epoch=epoch, seq=-1),
        Results(epoch=epoch, results=[done]),
        Scale(epoch=epoch, workers=-1),
        Tasks(epoch=epoch, tasks=[]),
        Welcome(epoch=epoch, start_seq=-1, store_id="other"),
        WhoAreYou(),
    ]


# --- the clock ----------------------------------------------------------------------------------------------------


def _forward(life: Life, rng: random.Random) -> None:
    life.clock.jump(rng.choice([0.001, 0.5, 5.0, 60.0, 600.0, 3600.0]) * rng.uniform(0.5, 1.0))


def _back(life: Life, rng: random.Random) -> None:
    life.clock.jump(-rng.choice([0.001, 0.5, 1.0, 5.0, 60.0, 600.0]) * rng.uniform(0.5, 1.0))


def _zones(life: Life, rng: random.Random) -> None:
    life.clock.change_rules(rng.choice(list(CHANGES)))
    life.dues.rules_changed()


def _suspend(life: Life, rng: random.Random) -> None:
    """The machine sleeps: nobody does anything, and time goes on."""
    life.world.count("suspend")
    seconds = rng.choice([0.5, 3.0, 9.0])
    for name in life.world.processes:
        life.world.freeze(name, seconds)


def _hot_file(life: Life, rng: random.Random) -> None:
    life.landing.deliver_hot(_pipeline(life, rng))


# --- data and code ------------------------------------------------------------------------------------------------


def _file(life: Life, rng: random.Random) -> None:
    pipeline = _pipeline(life, rng)
    life.landing.deliver(pipeline, _source(pipeline, rng), rng)


def _malformed_file(life: Life, rng: random.Random) -> None:
    pipeline = _pipeline(life, rng)
    life.landing.malform(pipeline, _source(pipeline, rng), rng)


def _source(pipeline: PipelineSpec, rng: random.Random) -> NodeSpec:
    return rng.choice([n for n in pipeline.nodes if n.read is not None])


def _poison(life: Life, rng: random.Random) -> None:
    if life.landing.poison(rng):
        life.world.count("poison")


def _broken_sink(life: Life, rng: random.Random) -> None:
    """Mostly somebody gives it up after a while."""
    pipeline = _pipeline(life, rng)
    sink = rng.choice([n.name for n in pipeline.nodes if n.write is not None])
    life.world.count("broken sink")
    life.host.broken[pipeline.name, sink] = None
    life.world.after(rng.uniform(0.5, 8.0), life.host.broken.pop, (pipeline.name, sink), None)
    if rng.random() < 0.7:
        life.world.after(rng.uniform(0.5, 8.0), perform, life, "abandon", rng, pipeline)


def _changed_file(life: Life, rng: random.Random) -> None:
    """A changed project file is taken in by a restart of the broker."""
    life.reconfigure(rng)
    life.apply_next = True
    life.world.crash(BROKER)


Happens = Callable[[Life, random.Random], None]

FAULTS: dict[str, tuple[int, Happens]] = {
    "file": (0, _file),  # drawn by number, not by chance
    "malformed file": (0, _malformed_file),  # of lives of a course
    "crash": (33, _crash),
    "crash worker": (10, _crash_worker),
    "pool away": (2, _leave),
    "power cut": (6, _power_cut),
    "stop": (5, _stop),
    "stop worker": (3, _stop_worker),
    "second broker": (3, _second_broker),
    "partition": (14, _partition),
    "full disk": (2, _full_disk),
    "full spool": (3, _full_spool),
    "full log": (0, _full_log),  # of lives in which there is one
    "garbage": (3, _garbage),
    "poison": (4, _poison),
    "broken sink": (6, _broken_sink),
    "clock forward": (4, _forward),
    "clock back": (4, _back),
    "zones": (1, _zones),
    "suspend": (2, _suspend),
    "hot file": (6, _hot_file),
    "changed file": (2, _changed_file),
}
"""Kind of event -> (weight, what it does)."""
