"""Operators' verbs, each once: what there must be for it, how it is done, and how often lives do it by chance.

Random lives draw them by weight (``happenings``); others look for a course of them, each as soon as there is something
for it to do (``courses``). Whether one was accepted its answer says: status 0, or else it was refused; none came when
the broker was gone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from odibi_actors.config.model import PipelineSpec
from odibi_actors.sim import changing, columns, feeding, resetting, restoring
from odibi_actors.sim.life import BY_HAND, Life
from odibi_actors.sim.plans import random_schedule

Do = Callable[[Life, random.Random, PipelineSpec], str]
"""Does it to a pipeline; the id of the request, "" when there is nothing to do it to."""

ANSWERS = ("accepted", "refused", "unanswered")

SCHEDULES = ("w0", "w0", "w1", "w2", "hand0", "hand1")
"""Names of schedules, that a pipeline has or not."""


class Verb(NamedTuple):
    """``needs``: what there must be, in words; ``weight``: of random lives, beside that of faults; 0 of those that come
    in lives whose projects change more (``happenings.CHANGES``)."""

    weight: int
    needs: str
    do: Do


def perform(life: Life, name: str, rng: random.Random, pipeline: PipelineSpec) -> bool:
    """Do it to this pipeline, and note that; False when there is nothing for it to do."""
    request = VERBS[name].do(life, rng, pipeline)
    if request:
        life.did.append((name, request))
    return bool(request)


def answer(life: Life, request: str) -> str:
    """One of ANSWERS."""
    status = life.answers.get(request)
    return "unanswered" if status is None else "refused" if status else "accepted"


def tally(life: Life) -> dict[str, int]:
    """How often each verb was done, by how it was answered: ``verb, answer`` -> count."""
    counts: dict[str, int] = {}
    for name, request in life.did:
        what = f"{name}, {answer(life, request)}"
        counts[what] = counts.get(what, 0) + 1
    return counts


def _released(life: Life, rng: random.Random, pipeline: PipelineSpec) -> None:
    """Somebody resumes later what was held back: else everything after it is refused."""
    life.world.after(rng.choice([rng.uniform(0.1, 3.0), 3.0]), life.resume, pipeline.name)


def _pause(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    _released(life, rng, pipeline)
    return life.ask("pipeline.pause", pipeline=pipeline.name)


def _source_pause(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """Somebody pauses a source, and resumes it later."""
    there = [node.name for node in pipeline.nodes if node.read is not None and not node.read.pinned]
    if not there:
        return ""
    source = rng.choice(there)
    life.world.after(rng.choice([rng.uniform(0.1, 3.0), 8.0]), life.resume_source, pipeline.name, source)
    return life.ask("source.pause", pipeline=pipeline.name, source=source)


def _resume(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    return life.ask("pipeline.resume", pipeline=pipeline.name)


def _drain(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    _released(life, rng, pipeline)
    return life.ask("pipeline.drain", pipeline=pipeline.name, wait=False)


def _rewind(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """It is drained first, which may not be done when the rewind comes. Asked twice now and then, as by one who got no
    answer."""
    newest = life.newest(pipeline.name)
    if not newest:
        return ""
    life.ask("pipeline.drain", pipeline=pipeline.name, wait=False)
    _released(life, rng, pipeline)
    to = rng.choice([0, newest - 1, rng.randint(0, newest)])
    delay, request = rng.choice([0.1, 0.3, 1.0, 2.0]), f"rewind-{rng.getrandbits(32):x}"
    asked = {"pipeline": pipeline.name, "to": to, "request": request}
    if rng.random() < 0.3:
        life.ask_later(delay + rng.uniform(0.1, 6.0), "pipeline.rewind", **asked)
    return life.ask_later(delay, "pipeline.rewind", **asked)


def _cancel(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    return _of_iteration(life, rng, pipeline, "iteration.cancel", "planned", "running", "failed")


def _retry(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    if rng.random() < 0.5:
        life.retry_failed()
    return _of_iteration(life, rng, pipeline, "iteration.retry", "failed", "blocked")


def _of_iteration(life: Life, rng: random.Random, pipeline: PipelineSpec, verb: str, *states: str) -> str:
    """Now and then of any of the newest, whatever its state."""
    found = [n for (name, n), one in life.truth.iterations.items() if name == pipeline.name and one.state in states]
    newest = life.newest(pipeline.name)
    if newest and rng.random() < 0.2:
        found = [max(1, newest - rng.randint(0, 2))]
    return life.ask(verb, pipeline=pipeline.name, iteration=rng.choice(found)) if found else ""


def _abandon(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    for (name, number), iteration in life.truth.iterations.items():
        for sink in iteration.blocked if name == pipeline.name and iteration.state == "blocked" else ():
            return life.ask("iteration.abandon", pipeline=name, iteration=number, sink=sink)
    return ""


def _replay(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    return _of_letter(life, rng, pipeline, "deadletter.replay")


def _discard(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    return _of_letter(life, rng, pipeline, "deadletter.discard")


def _of_letter(life: Life, rng: random.Random, pipeline: PipelineSpec, verb: str) -> str:
    """Half of them when their files were written again."""
    held, letters = life.truth.places.held(), life.truth.places.open(pipeline.name)
    if not letters:
        return ""
    letter = rng.choice(letters)
    if rng.random() < 0.5:
        life.landing.fix(held.get(letter, []))
    return life.ask(verb, letter=letter)


def _trigger(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """A run; half of them take up what is unfinished, stuck or a dead letter, as `odibictl run` asks for it."""
    params: dict[str, object] = {"params": {"day": rng.randint(1, 31)} if rng.random() < 0.5 else {}}
    if rng.random() < 0.5:
        params["run"] = f"run-{rng.getrandbits(32):x}"
    if rng.random() < 0.5:
        letters = life.truth.places.open(pipeline.name)
        params |= {"take": True, "retry": True, "letters": rng.sample(letters, min(len(letters), rng.randint(0, 2)))}
        params["iterations"] = rng.choice([0, 0, 1, 2])
    return life.ask_dict("pipeline.trigger", {"pipeline": pipeline.name, **params})


def _backfill(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """Asked twice now and then, as by one who got no answer."""
    params: dict[str, object] = {"pipeline": pipeline.name, "concurrency": rng.choice([1, 2, 4])}
    params |= {"run": f"backfill-{rng.getrandbits(32):x}", "dry_run": rng.random() < 0.1}
    if all(node.read is None or node.read.pinned for node in pipeline.nodes):
        params |= {"schedule": rng.choice(SCHEDULES), "from": life.clock.wall - 20.0, "to": life.clock.wall}
    else:
        params["files"] = {"": rng.choice(["*", "f*[02468]", "f00*"])}
    if rng.random() < 0.3:
        life.world.after(rng.uniform(0.1, 3.0), life.ask_dict, "pipeline.backfill", params | {"dry_run": False})
    return life.ask_dict("pipeline.backfill", params)


def _backfill_cancel(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    lanes = life.truth.backfills.open(pipeline.name)
    return life.ask("backfill.cancel", pipeline=pipeline.name, lane=rng.choice(lanes)) if lanes else ""


def _apply(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    life.reconfigure(rng)
    return life.apply(life.project)


def _scale(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    return life.ask("worker.scale", workers=rng.choice([1, 2, 4]))


def _kill(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    return life.ask("worker.kill", worker=f"{rng.choice(life.pools)}-{rng.randint(1, 5)}")


def _shutdown(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """``odibictl down``, and ``up`` again."""
    return life.ask("shutdown")


def _schedule_pause(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    name = rng.choice(SCHEDULES)
    if not pipeline.schedules:
        return ""
    if rng.random() < 0.8:
        life.world.after(rng.uniform(0.1, 6.0), life.resume_schedule, pipeline.name, name)
    return life.ask("schedule.pause", pipeline=pipeline.name, schedule=name)


def _schedule_add(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    spec = random_schedule(rng, rng.choice(["hand0", "hand1", "hand2"]), life.clock.wall, fast=True)
    return life.ask("schedule.add", pipeline=pipeline.name, spec=msgspec.to_builtins(spec))


def _schedule_remove(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    there = [
        name
        for (owner, name), known in life.dues.schedules.items()
        if owner == pipeline.name and not known.record.gone and name.startswith("hand")
    ]
    if not there and rng.random() < 0.5:
        return ""
    return life.ask("schedule.remove", pipeline=pipeline.name, schedule=rng.choice(there or ["hand0"]))


def _reference_replace(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    there = life.landing.references(pipeline)
    if not there:
        return ""
    life.landing.replace(pipeline.name, *rng.choice(there), rng)
    return life.by_hand()


def _reference_take_away(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """It comes back."""
    there = life.landing.references(pipeline)
    if not there:
        return ""
    life.landing.take_away(*rng.choice(there), rng.choice([0.02, 0.5, 4.0]))
    return life.by_hand()


def _store_put_back(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """An older copy of the store; the targets stay as they are."""
    if life.host.older == "in place" or life.host.missing or not life.newest(pipeline.name):
        return ""
    restoring.begin(life, rng)
    return life.by_hand()


def _target_put_back(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """An older copy of a target; the newer one is brought back after a while."""
    host = life.host
    there = {
        part.at: len(host.standing(part.at))
        for (name, _, _), part in host.visible.items()
        if name == pipeline.name and part.at not in host.missing and host.older != "in place"
    }
    for part in host.visible.values():
        if part.replaces or part.keyed or part.at in host.joined:
            there.pop(part.at, None)
    if not there:
        return ""
    target = rng.choice([*there])
    bring_back = life.work.put_back(target, rng.randint(1, there[target]))
    life.world.after(rng.choice([0.1, 1.0, 4.0]), bring_back)
    return life.by_hand()


def _reset(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """With what it has published, or, where nothing was added, without."""
    if not resetting.may(life, pipeline.name):
        return ""
    resetting.reset(life, pipeline.name, resetting.adds(life, pipeline.name) or rng.random() < 0.3)
    return life.by_hand()


def _compact(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    if not life.host.real:
        return ""
    from odibi_actors.sim.compacting import compact  # not above: it brings Arrow

    return compact(life, rng, pipeline)


def _push(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    node = feeding.source(pipeline, feeding.EVENTS)
    return feeding.push(life, pipeline, node, rng) if node is not None else ""


def _push_again(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """Somebody pushes once more what he has pushed, whatever he was told."""
    return life.producers.push_again(pipeline.name, rng) if life.producers is not None else ""


def _transaction(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """One writes, and does not end before somebody has it do so, or all is quiet."""
    node, database = feeding.source(pipeline, feeding.TABLES), feeding.database(life, pipeline)
    if node is None or database is None:
        return ""
    database.begin(life.landing.rows_of_a_file(rng))
    return life.by_hand()


def _commit(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """The transaction that began first is committed."""
    database = feeding.database(life, pipeline)
    if database is None or not database.running:
        return ""
    database.commit(min(database.running.values(), key=lambda one: one.number))
    return life.by_hand()


def _poll_change(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """What is polled is another."""
    node = feeding.source(pipeline, feeding.POLLED)
    return life.by_hand() if node is not None and feeding.change(life, pipeline, node, rng) else ""


def _poll_fails(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """What is polled is not there for a while."""
    return life.by_hand() if feeding.vanish(life, pipeline, rng.choice([0.5, 3.0, 8.0])) else ""


def _rows_by_hand(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """Somebody puts rows into the tables from which a pipeline deletes some."""
    there = life.host.older != "in place" and life.host.real and life.fill(rng, [pipeline.name])
    return life.by_hand() if there else ""


def _columns_come(life: Life, rng: random.Random, pipeline: PipelineSpec) -> str:
    """A file arrives that has other columns than those before it."""
    there = [node for node in columns.of_files(pipeline) if node.read is not None and not node.read.pinned]
    if not life.landing.changing or not there:
        return ""
    life.landing.bring_columns(pipeline, rng.choice(there), rng)
    return life.by_hand()


SOURCE_PAUSE = "source pause"
"""What no other life has: those of old stay what they are."""
VERBS: dict[str, Verb] = {
    "pause": Verb(4, "", _pause),
    "resume": Verb(1, "", _resume),
    "drain": Verb(1, "", _drain),
    "rewind": Verb(8, "an iteration", _rewind),
    "cancel": Verb(8, "an iteration that is not prepared", _cancel),
    "retry": Verb(5, "an iteration that failed or is blocked", _retry),
    "abandon": Verb(2, "a blocked iteration", _abandon),
    "replay": Verb(8, "an open dead letter", _replay),
    "discard": Verb(2, "an open dead letter", _discard),
    "trigger": Verb(3, "", _trigger),
    "backfill": Verb(6, "", _backfill),
    "backfill cancel": Verb(3, "an open backfill", _backfill_cancel),
    "apply": Verb(3, "", _apply),
    "scale": Verb(4, "", _scale),
    "kill": Verb(1, "", _kill),
    "shutdown": Verb(1, "", _shutdown),
    "schedule pause": Verb(4, "a schedule", _schedule_pause),
    "schedule add": Verb(4, "", _schedule_add),
    "schedule remove": Verb(2, "a schedule that was added", _schedule_remove),
    "params": Verb(1, "", changing.params),
    "sink add": Verb(1, "", changing.sink_add),
    "sink rename": Verb(1, "", changing.sink_rename),
    "sink remove": Verb(0, "two sinks", changing.sink_remove),
    "sink adopt": Verb(0, "", changing.sink_adopt),
    "sink move": Verb(0, "two sinks, and another pipeline", changing.sink_move),
    "sink mode": Verb(0, "", changing.sink_mode),
    "sink format": Verb(0, "", changing.sink_format),
    "sink target": Verb(0, "", changing.sink_target),
    "sink repin": Verb(0, "", changing.sink_repin),
    "state switch": Verb(1, "a function", changing.state_switch),
    "reference pattern": Verb(2, "a reference", changing.reference_pattern),
    "source pattern": Verb(0, "a source that is watched", changing.source_pattern),
    "source keys": Verb(0, "a source of files", changing.source_keys),
    "source mode": Verb(0, "a source of files, and another", changing.source_mode),
    "source folder": Verb(0, "a source of files", changing.source_folder),
    "reference replace": Verb(3, "a reference", _reference_replace),
    "target put back": Verb(2, "a part that was published", _target_put_back),
    "store put back": Verb(1, "an iteration", _store_put_back),
    "reset": Verb(0, "an iteration", _reset),
    "reference take away": Verb(2, "a reference", _reference_take_away),
    "compact": Verb(0, "real files of two iterations", _compact),
    "push": Verb(0, "a source that is pushed to", _push),
    "push again": Verb(0, "a push", _push_again),
    "transaction": Verb(0, "a table that grows", _transaction),
    "commit": Verb(0, "a transaction that runs", _commit),
    BY_HAND: Verb(0, "a table of which rows are deleted", _rows_by_hand),
    "columns come": Verb(0, "a source of files whose columns change", _columns_come),
    "schema policy": Verb(0, "likewise", changing.schema_policy),
    SOURCE_PAUSE: Verb(0, "a source that is read once", _source_pause),
    "poll change": Verb(0, "a source that polls", _poll_change),
    "poll fails": Verb(0, "a source that polls", _poll_fails),
    "poll every": Verb(0, "a source that polls", changing.poll_every),
}
