"""Everything that happens to a simulated system: a plan drawn from the seed before life begins.

Each event has its own generator, so that a plan with some events left out is still the same plan (see ``shrink``).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from odibi_actors.checkpoint.records import Prepare
from odibi_actors.config.model import PipelineSpec
from odibi_actors.messages import (
    BROKER,
    AppendRecords,
    Apply,
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
from odibi_actors.model import Attempt, FilePosition
from odibi_actors.sim.clock import CHANGES
from odibi_actors.sim.pairs import Event, attempt
from odibi_actors.sim.plans import random_schedule
from odibi_actors.sim.workers import SimPoolDriver

if TYPE_CHECKING:
    from odibi_actors.sim.scenario import Scenario


def draw(rng: random.Random, seconds: float) -> list[Event]:
    """A plan: files that arrive and what goes wrong meanwhile, in order of time."""
    events = [Event(rng.uniform(0, seconds), "file", rng.getrandbits(32)) for _ in range(rng.randint(3, 30))]
    kinds, weights = list(KINDS), [weight for weight, _ in KINDS.values()]
    gap = rng.choice([0.3, 1.0, 3.0])
    at = rng.uniform(0, 2)
    while at < seconds:
        (kind,) = rng.choices(kinds, weights)
        events.append(Event(at, kind, rng.getrandbits(32)))
        at += rng.expovariate(1 / gap)
    return sorted(events, key=lambda event: event.at)


def backfills(seed: int, seconds: float) -> list[Event]:
    """More of them, for lives in which other pipelines follow the commits that they bring out of order."""
    rng = random.Random(f"backfills {seed}")
    return [Event(rng.uniform(3.0, seconds), "backfill", rng.getrandbits(32)) for _ in range(4)]


def _pipeline(life: Scenario, rng: random.Random) -> PipelineSpec:
    return rng.choice(life.project.pipelines)


# --- processes ----------------------------------------------------------------------------------------------------


def _crash(life: Scenario, rng: random.Random) -> None:
    life.world.crash(rng.choice(life.actors))


def _crash_worker(life: Scenario, rng: random.Random) -> None:
    driver = life.world.processes[rng.choice(life.pools)].driver
    if isinstance(driver, SimPoolDriver):
        driver.kill_one(rng)


def _leave(life: Scenario, rng: random.Random) -> None:
    """A pool is gone for longer than the broker waits for it."""
    life.world.count("pool away")
    life.world.crash(rng.choice(life.pools), away=rng.uniform(5.0, 20.0))


def _power_cut(life: Scenario, rng: random.Random) -> None:
    life.world.crash_all()
    life.host.lose_unsynced(0.5)


def _stop(life: Scenario, rng: random.Random) -> None:
    """SIGSTOP, and SIGCONT later: it hears nothing, then everything at once."""
    life.world.freeze(rng.choice(life.actors), rng.choice([0.3, 2.0, 6.0, 12.0]))


def _stop_worker(life: Scenario, rng: random.Random) -> None:
    driver = life.world.processes[rng.choice(life.pools)].driver
    if isinstance(driver, SimPoolDriver):
        driver.freeze_one(rng, rng.choice([0.5, 5.0, 12.0]))


def _second_broker(life: Scenario, rng: random.Random) -> None:
    life.world.second(BROKER)


# --- network and disk ---------------------------------------------------------------------------------------------


def _partition(life: Scenario, rng: random.Random) -> None:
    names = [name for name in life.actors if name != BROKER]
    ways = rng.choice(["both", "both", "in", "out"])
    life.world.partition(rng.choice(names), rng.choice([0.1, 1.0, 4.0, 15.0]), ways)


def _full_disk(life: Scenario, rng: random.Random) -> None:
    """The store cannot write for a while: it must stop, and start again, as often as it takes."""
    life.world.count("full disk")
    life.host.full_until = life.world.now + rng.uniform(0.2, 4.0)


def _full_spool(life: Scenario, rng: random.Random) -> None:
    life.world.count("full spool")
    life.host.spool_full_until = life.world.now + rng.uniform(0.2, 3.0)


def _garbage(life: Scenario, rng: random.Random) -> None:
    """Well-formed messages that make no sense, from somebody whom nobody knows."""
    life.world.count("garbage")
    to = rng.choice(life.actors)
    for message in rng.sample(_absurd(life, rng), 4):
        life.world.send(f"client-{rng.getrandbits(16)}", to, message)


def _absurd(life: Scenario, rng: random.Random) -> list[Message]:
    epoch, huge = rng.choice([-1, 0, life.truth.epoch, life.truth.epoch + 5, 2**62]), 2**62
    nobody, attempt = rng.choice(["p", "q", "nobody"]), Attempt(epoch, rng.choice([-1, 1, huge]))
    done = NodeDone(attempt, nobody, huge, "t0", "", 0.0, -1.0, -1, huge, "w", last=True)
    position = FilePosition("../../etc/passwd", -1, huge, huge, -5)
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


# --- the clock, and schedules ---------------------------------------------------------------------------------------


def _forward(life: Scenario, rng: random.Random) -> None:
    life.clock.jump(rng.choice([0.001, 0.5, 5.0, 60.0, 600.0, 3600.0]) * rng.uniform(0.5, 1.0))


def _back(life: Scenario, rng: random.Random) -> None:
    life.clock.jump(-rng.choice([0.001, 0.5, 1.0, 5.0, 60.0, 600.0]) * rng.uniform(0.5, 1.0))


def _zones(life: Scenario, rng: random.Random) -> None:
    life.clock.change_rules(rng.choice(list(CHANGES)))
    life.dues.rules_changed()


def _suspend(life: Scenario, rng: random.Random) -> None:
    """The machine sleeps: nobody does anything, and time goes on."""
    life.world.count("suspend")
    seconds = rng.choice([0.5, 3.0, 9.0])
    for name in life.world.processes:
        life.world.freeze(name, seconds)


def _hot_file(life: Scenario, rng: random.Random) -> None:
    life.deliver_hot(_pipeline(life, rng))


def _schedule(life: Scenario, rng: random.Random) -> str:
    """The name of some schedule, there or not."""
    return rng.choice(["w0", "w0", "w1", "w2", "hand0", "hand1"])


def _schedule_pause(life: Scenario, rng: random.Random) -> None:
    pipeline, schedule = _pipeline(life, rng).name, _schedule(life, rng)
    life.ask("schedule.pause", pipeline=pipeline, schedule=schedule)
    if rng.random() < 0.8:
        life.world.after(rng.uniform(0.1, 6.0), life.resume_schedule, pipeline, schedule)


def _schedule_add(life: Scenario, rng: random.Random) -> None:
    pipeline, name = _pipeline(life, rng).name, rng.choice(["hand0", "hand1"])
    spec = random_schedule(rng, name, life.clock.wall, fast=True)
    life.ask("schedule.add", pipeline=pipeline, spec=msgspec.to_builtins(spec))


def _schedule_remove(life: Scenario, rng: random.Random) -> None:
    life.ask("schedule.remove", pipeline=_pipeline(life, rng).name, schedule=rng.choice(["hand0", "hand1"]))


def _trigger(life: Scenario, rng: random.Random) -> None:
    """A run; as `odibictl run` asks for one it takes up what is unfinished, stuck or a dead letter."""
    name, params = _pipeline(life, rng).name, {"day": rng.randint(1, 31)} if rng.random() < 0.5 else {}
    more: dict[str, object] = {}
    if rng.random() < 0.5:
        rows = life.host.engine.answer("deadletter.list", {})["items"]  # of all: the store may know no pipeline yet
        letters = [row["id"] for row in rows if row["pipeline"] == name and row["state"] == "open"]
        more = {"take": True, "retry": True, "letters": rng.sample(letters, min(len(letters), rng.randint(0, 2)))}
        more["iterations"] = rng.choice([0, 0, 1, 2])
    life.ask_dict("pipeline.trigger", {"pipeline": name, "params": params, **more})


def _backfill(life: Scenario, rng: random.Random) -> None:
    """Files are read again; asked twice now and then, as by one who got no answer. Some change their mind."""
    name, run = _pipeline(life, rng).name, f"backfill-{rng.getrandbits(16)}"
    params: dict[str, object] = {"concurrency": rng.choice([1, 2, 4]), "run": run}
    if name == "r":
        params |= {"schedule": _schedule(life, rng), "from": life.clock.wall - 20.0, "to": life.clock.wall}
    else:
        params["files"] = {"": rng.choice(["*", "f*[02468]", "f00*"])}
    life.ask_dict("pipeline.backfill", {"pipeline": name, "dry_run": rng.random() < 0.1, **params})
    if rng.random() < 0.3:
        life.world.after(rng.uniform(0.1, 3.0), life.ask_dict, "pipeline.backfill", {"pipeline": name, **params})
    if rng.random() < 0.3:
        life.world.after(rng.uniform(0.1, 8.0), _cancel_backfills, life, name)


def _cancel_backfills(life: Scenario, pipeline: str) -> None:
    for lane in life.truth.backfills.open(pipeline):
        life.ask("backfill.cancel", pipeline=pipeline, lane=lane)


# --- data and code ------------------------------------------------------------------------------------------------


def _file(life: Scenario, rng: random.Random) -> None:
    pipeline = _pipeline(life, rng)
    node = rng.choice([n for n in pipeline.nodes if n.read is not None])
    life.deliver_file(pipeline, node, rng)


def _malformed_file(life: Scenario, rng: random.Random) -> None:
    pipeline = _pipeline(life, rng)
    node = rng.choice([n for n in pipeline.nodes if n.read is not None])
    file = life.deliver_file(pipeline, node, rng)
    known = life.truth.pins.known(pipeline.name, node.name) is not None
    read = node.read is not None and node.read.mode != "batch"
    file.malformed = known and read and bool(file.rows) and pipeline.on_error == "dead_letter"


def _poison(life: Scenario, rng: random.Random) -> None:
    """A file that kills every worker, or makes the code raise, until it is fixed."""
    files = [file for key, file in life.delivered.items() if not life.truth.taken(key)]
    if files:
        life.world.count("poison")
        rng.choice(files).poison = rng.choice(["kills", "raises"])


def _broken_sink(life: Scenario, rng: random.Random) -> None:
    pipeline = _pipeline(life, rng)
    sink = rng.choice([n.name for n in pipeline.nodes if n.write is not None])
    life.world.count("broken sink")
    life.host.broken[pipeline.name, sink] = None
    life.world.after(rng.uniform(0.5, 8.0), life.host.broken.pop, (pipeline.name, sink), None)
    if rng.random() < 0.7:
        life.world.after(rng.uniform(0.5, 8.0), _abandon, life, pipeline.name)


def _abandon(life: Scenario, pipeline: str) -> None:
    for (name, number), iteration in list(life.truth.iterations.items()):
        for sink in iteration.blocked if name == pipeline else ():
            life.ask("iteration.abandon", pipeline=pipeline, iteration=number, sink=sink)


# --- operators ----------------------------------------------------------------------------------------------------


def _pause(life: Scenario, rng: random.Random) -> None:
    name = _pipeline(life, rng).name
    life.ask("pipeline.pause", pipeline=name)
    life.world.after(rng.uniform(0.1, 3.0), life.resume, name)


def _scale(life: Scenario, rng: random.Random) -> None:
    life.ask("worker.scale", workers=rng.choice([1, 2, 4]))


def _kill(life: Scenario, rng: random.Random) -> None:
    life.ask("worker.kill", worker=f"{rng.choice(life.pools)}-{rng.randint(1, 9)}")


def _cancel(life: Scenario, rng: random.Random) -> None:
    name = _pipeline(life, rng).name
    life.ask("iteration.cancel", pipeline=name, iteration=max(1, life.newest(name) - rng.randint(0, 2)))


def _retry(life: Scenario, rng: random.Random) -> None:
    life.retry_failed()


def _letter(life: Scenario, rng: random.Random) -> None:
    held = life.truth.places.held()
    letters = [row["id"] for row in life.host.engine.answer("deadletter.list", {})["items"] if row["state"] == "open"]
    for letter in rng.sample(letters, min(2, len(letters))):
        if rng.random() < 0.5:
            life.fix(held.get(letter, []))
        life.ask("deadletter.discard" if rng.random() < 0.2 else "deadletter.replay", letter=letter)


def _rewind(life: Scenario, rng: random.Random) -> None:
    name = _pipeline(life, rng).name
    newest = life.newest(name)
    life.ask("pipeline.drain", pipeline=name, wait=False)
    if rng.random() < 0.8:
        to = rng.choice([0, max(0, newest - 1), rng.randint(0, newest)])
        life.world.after(rng.uniform(0.1, 3.0), life.rewind, name, to)
    life.world.after(rng.uniform(0.5, 6.0), life.resume, name)


def _reconfigure(life: Scenario, rng: random.Random) -> None:
    """A changed project file: applied, or taken in by a restart of the broker."""
    life.reconfigure(rng)
    if rng.random() < 0.5:
        life.apply_next = True
        life.world.crash(BROKER)
    else:
        life.world.send("client-sim", BROKER, Apply(id=f"a{rng.getrandbits(32)}", project=life.project))


def _shutdown(life: Scenario, rng: random.Random) -> None:
    """``odibictl down``, and ``up`` again."""
    life.ask("shutdown")


KINDS: dict[str, tuple[int, Callable[[Scenario, random.Random], None]]] = {
    "file": (0, _file),  # drawn by number, not by chance
    "pair": (0, attempt),  # of lives that have one
    "malformed file": (0, _malformed_file),  # of those too
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
    "garbage": (3, _garbage),
    "poison": (4, _poison),
    "broken sink": (6, _broken_sink),
    "clock forward": (4, _forward),
    "clock back": (4, _back),
    "zones": (1, _zones),
    "suspend": (2, _suspend),
    "hot file": (6, _hot_file),
    "schedule pause": (4, _schedule_pause),
    "schedule add": (4, _schedule_add),
    "schedule remove": (2, _schedule_remove),
    "trigger": (3, _trigger),
    "backfill": (6, _backfill),
    "pause": (5, _pause),
    "scale": (4, _scale),
    "kill": (1, _kill),
    "cancel": (8, _cancel),
    "retry": (5, _retry),
    "letter": (10, _letter),
    "rewind": (8, _rewind),
    "reconfigure": (3, _reconfigure),
    "shutdown": (1, _shutdown),
}
"""Kind of event -> (weight, what it does)."""
