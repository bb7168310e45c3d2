"""A run answers for what it finds unfinished, and ends as it would have if nobody had restarted broker or store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.config.model import BatchSpec
from odibi_actors.messages import SOURCE, STORE, Offer, Reply, Request, Task, Tasks
from odibi_actors.sources.file_position import file_position
from tests.broker.harness import Failure, pipeline, position
from tests.broker.scheduling import Timed

BAD_FILE = "line 3: 'x' is not int64"


class Life:
    """Brokers, one after the other, over one store; files that were put are offered to whatever run asks."""

    def __init__(self, **more: Any) -> None:
        more = {"batch": BatchSpec(max_files=1), "max_in_flight": 4, "on_error": "dead_letter", **more}
        self.broker = Timed(pipeline(trigger="manual", **more)).start()
        schema = rec.Schema("p", "read", b"schema", ["a: int64"])
        self.broker.flow.write(schema, "p")
        self.broker.flow.pipelines["p"].pins.put(schema)
        self.former: list[list[rec.AnyRecord]] = []
        self.files: list[str] = []
        self.held: list[Task] = []
        self.unread: list[str] = []
        self.listing = False

    @property
    def records(self) -> list[rec.AnyRecord]:
        return [record for some in (*self.former, self.broker.records) for record in some]

    def engine(self) -> Engine:
        """A store with all that was written."""
        engine = Engine(":memory:")
        for epoch, some in enumerate((*self.former, self.broker.records), 1):
            engine.claim(epoch - 1, f"b{epoch}")
            engine.apply(epoch, engine.last_seq + 1, some)
        return engine

    def restart(self) -> None:
        """Broker, source and pool are others; the store has everything."""
        self.broker.durable()
        engine = self.engine()
        items, _ = engine.load()
        self.former.append(self.broker.records)
        self.held = []
        self.broker = Timed(recover=True)
        self.broker.start(items, epoch=len(self.former) + 1, last_seq=engine.last_seq)
        self.look()

    def look(self) -> None:
        """The source says what no iteration has, to the run that plans."""
        lane = self.broker.flow.pipelines["p"].live
        before: tuple[str, int] | None = None
        while lane.run is not None and before != (lane.run.run, len(self.records)):
            before = (lane.run.run, len(self.records))
            there = [position(one) for one in self.files if one not in self.planned()]
            offer = Offer(self.broker.epoch, "f1", "p", "read", lane.sources["read"].seq, there, lane.run.run)
            self.broker.say(SOURCE, replace(offer, exhausted=not self.listing, unread=self.unread))

    def planned(self) -> dict[str, None]:
        """Files that an iteration has, or that were set aside."""
        found: dict[str, int] = {}
        for record in self.records:
            if isinstance(record, rec.Plan):
                found |= {p.identity: record.iteration for p in record.positions["read"]}
            elif isinstance(record, rec.Cancel):
                found = {name: number for name, number in found.items() if number not in record.iterations}
        return dict.fromkeys(found)

    def put(self, *names: str) -> None:
        self.files += names
        self.look()

    def ask(self, verb: str, **params: Any) -> None:
        self.broker.ask(verb, pipeline="p", **params)
        self.look()

    def tasks(self) -> list[Task]:
        given = [task for message in self.broker.take(Tasks) for task in message.tasks]
        self.held += [task for task in given if isinstance(task, Task)]
        return self.held

    def fail(self, number: int, failure: Failure) -> None:
        """The read node of this iteration fails."""
        (task,) = [task for task in self.tasks() if task.iteration == number]
        self.held.remove(task)
        self.broker.fail(task, "read", failure)
        self.broker.durable()
        self.look()

    def complete(self) -> None:
        for task in self.tasks():
            self.broker.finish(task)
        self.held = []
        self.broker.complete()
        self.look()
        self.broker.complete()

    def check_counts(self) -> None:
        """A run counts what the store does: a broker that restarts now goes on with the same."""
        self.broker.durable()
        here = self.broker.flow.pipelines["p"]
        for item in self.engine().load()[0]:
            if isinstance(item, rec.LoadedRun) and item.state in ("active", "failed"):
                name = item.record.run
                run = here.live.runs.get(name) or here.live.finishing.get(name) or here.ended_runs[name].info
                assert run is not None
                counts = (run.planned, run.took, run.voided, run.set_aside, list(run.left), run.taken)
                stored = (item.kept, item.took, item.voided, item.set_aside, item.given_back, item.taken)
                assert counts == stored, name

    def ends(self) -> dict[str, tuple[str, str]]:
        """run -> (state, error), as the store has it."""
        rows = self.engine().answer("run.list", {"pipeline": "p"})["items"]
        found = {row["run"]: (row["state"], row["error"]) for row in rows}
        self.broker.replies()
        for run in [run for run, (state, _) in found.items() if state != "active"]:  # a wait says the same
            reply = self.broker.ask("run.wait", run=run)
            assert reply is None or (reply.result["state"], reply.result["error"]) == found[run]
        return found


Step = Callable[[Life], None]


def trigger(run: str, **more: Any) -> Step:
    return lambda life: life.ask("pipeline.trigger", run=run, **more)


def put(*names: str) -> Step:
    return lambda life: life.put(*names)


def fail(number: int, kind: str = "invalid", position: str = "") -> Step:
    return lambda life: life.fail(number, Failure(kind, BAD_FILE, position=position))


def ask(verb: str, **params: Any) -> Step:
    return lambda life: life.ask(verb, **params)


def complete(life: Life) -> None:
    life.complete()


def listing(life: Life) -> None:
    life.listing = True


def listed(life: Life) -> None:
    life.listing = False


def lock(life: Life) -> None:
    life.unread = ["folder 'x' cannot be read: Permission denied"]


def unlock(life: Life) -> None:
    life.unread = []


def restart(life: Life) -> None:
    life.restart()


LETTER = ("failed", "1 dead letter: `odibictl deadletter list p`")
GIVEN_BACK = ("cancelled", "1 file of it given back by a cancel: the next run reads them")
DONE = ("done", "")
INTERRUPTED = ("cancelled", "interrupted: run r2 goes on with it")
TAKEN_UP = ("cancelled", "1 iteration of it cancelled, or taken up by run r3, which goes on with it")
FIX = "Fix the file, or take it away; then `odibictl iteration retry p 2`, and what is there then is planned again"
FULL = {"mode": "full"}
TAKE: dict[str, Any] = {"retry": True, "take": True}
ENDS: dict[str, tuple[dict[str, Any], list[Step], dict[str, tuple[str, str]]]] = {
    "it only finishes what an interrupted one had left": (
        {},
        [put("f1"), trigger("r1"), restart, trigger("r2", **TAKE), complete],
        {"r1": ("cancelled", "interrupted: run r2 goes on with it"), "r2": DONE},
    ),
    "what it finishes is set aside": (
        {},
        [put("f1"), trigger("r1"), restart, trigger("r2", **TAKE), fail(1), complete],
        {"r1": ("cancelled", "interrupted: run r2 goes on with it"), "r2": LETTER},
    ),
    "what it finishes is cancelled": (
        {},
        [put("f1"), trigger("r1"), trigger("r2", **TAKE), ask("iteration.cancel", iteration=1), complete],
        {"r1": ("cancelled", "interrupted: run r2 goes on with it"), "r2": GIVEN_BACK},
    ),
    "it retries what had failed": (
        {},
        [put("f1"), trigger("r1"), fail(1, "code"), trigger("r2", **TAKE), complete],
        {"r1": DONE, "r2": DONE},
    ),
    "what it retries fails again": (
        {},
        [put("f1"), trigger("r1"), fail(1, "code"), trigger("r2", **TAKE), fail(1, "code"), complete],
        {
            "r1": ("failed", f"iteration 1 failed at read: {BAD_FILE}"),
            "r2": ("failed", f"iteration 1 failed at read: {BAD_FILE}"),
        },
    ),
    "what it retries is set aside": (
        {},
        [put("f1"), trigger("r1"), fail(1, "code"), trigger("r2", **TAKE), fail(1), complete],
        {"r1": LETTER, "r2": LETTER},
    ),
    "what it retries is planned again as its file is now": (
        {"on_error": "halt"},
        [put("f1"), trigger("r1"), fail(1, "malformed", "f1"), trigger("r2", **TAKE), complete],
        {"r1": DONE, "r2": DONE},
    ),
    "another takes up what it took up": (
        {},
        [put("f1"), trigger("r1"), trigger("r2", **TAKE, params=FULL), trigger("r3", **TAKE), complete],
        {"r1": INTERRUPTED, "r2": TAKEN_UP, "r3": DONE},
    ),
    "another takes up what it took up, and that is set aside": (
        {},
        [put("f1"), trigger("r1"), trigger("r2", **TAKE, params=FULL), trigger("r3", **TAKE), fail(1), complete],
        {"r1": INTERRUPTED, "r2": TAKEN_UP, "r3": LETTER},
    ),
    "another takes up what it took up, and that is planned again": (
        {"on_error": "halt"},
        [
            *(put("f1"), trigger("r1", params=FULL), fail(1, "malformed", "f1"), trigger("r2", **TAKE, params=FULL)),
            *(trigger("r3", **TAKE), fail(2, "malformed", "f1"), ask("iteration.retry", iteration=2), complete),
        ],
        {"r1": DONE, "r2": ("failed", f"iteration 2 failed at read: {BAD_FILE}. {FIX}"), "r3": DONE},
    ),
    "another takes up what it has failed of": (
        {},
        [
            *(put("f1"), trigger("r1"), fail(1, "code"), trigger("r2", **TAKE), fail(1, "code")),
            *(trigger("r3", **TAKE), complete),
        ],
        {"r1": DONE, "r2": ("failed", f"iteration 1 failed at read: {BAD_FILE}"), "r3": DONE},
    ),
    "one that it took over plans on when it has failed": (
        {},
        [
            *(put("f1"), trigger("r1", params=FULL), listing, put("f2"), trigger("r2", **TAKE, params=FULL)),
            *(trigger("r3", **TAKE), fail(1, "code"), listed, put("f3"), ask("iteration.retry", iteration=1), complete),
        ],
        {"r1": DONE, "r2": DONE, "r3": DONE},
    ),
    "one of it was set aside and another retried": (
        {},
        [put("f1", "f2"), trigger("r1"), fail(1), fail(2, "code"), ask("iteration.retry", iteration=2), complete],
        {"r1": LETTER},
    ),
    "one of it was cancelled once all was planned": (
        {},
        [put("f1", "f2"), trigger("r1"), ask("iteration.cancel", iteration=2), complete],
        {"r1": GIVEN_BACK},
    ),
    "a file comes once all was planned": ({}, [put("f1"), trigger("r1"), put("f2"), complete], {"r1": DONE}),
    "it may plan two only": (
        {"max_in_flight": 1},
        [put("f1", "f2", "f3"), trigger("r1", iterations=2), complete, complete],
        {"r1": DONE},
    ),
    "a folder could not be listed": (
        {},
        [put("f1"), lock, trigger("r1"), unlock, complete],
        {"r1": ("failed", "not all was read: read: folder 'x' cannot be read: Permission denied")},
    ),
    "it finds nothing": ({}, [trigger("r1"), complete], {"r1": ("no_data", "")}),
}
"""What happens -> settings of the pipeline, steps, and how runs end."""


@pytest.mark.parametrize("what", ENDS)
def test_a_run_ends_so_whenever_the_broker_is_another(what: str) -> None:
    more, steps, ends = ENDS[what]
    for place in range(len(steps) + 1):
        life = Life(**more)
        for step in [*steps[:place], restart, *steps[place:]]:
            step(life)
            life.check_counts()
        assert life.ends() == ends, f"{what}, with a restart before step {place}"
        plans = [record.iteration for record in life.records if isinstance(record, rec.Plan)]
        assert "two only" not in what or plans == [1, 2]


def letter(id_: int, name: str) -> dict[str, Any]:
    """What the store says of a letter."""
    row = file_position(name, 10, 1, 1).shown()
    return {"id": id_, "pipeline": "p", "iteration": 1, "state": "open", "replay": 0, "whole": True,
            "positions": {"read": [row]}, "trigger": {}}  # fmt: skip


def replaying(*failures: Step) -> Life:
    """Letter 1 is replayed by run r2."""
    life = Life()
    for step in (put("f1"), trigger("r1"), fail(1)):
        step(life)
    assert life.ends() == {"r1": LETTER}
    life.ask("pipeline.trigger", run="r2", letters=[1], **TAKE)
    for role, answer in (
        (STORE, letter(1, "f1")),
        (SOURCE, {"files": [file_position("f1", 11, 5, 6).shown()], "gone": []}),
    ):
        (request,) = life.broker.take(Request, to=role)
        life.broker.say(role, Reply(request.id, 0, answer))
    life.look()
    for step in failures:
        step(life)
    return life


def test_letters_of_one_run_are_taken_up_in_the_order_of_their_iterations() -> None:
    """Else what is older takes, in a sink that is overwritten, the place of what is newer (seed 702160)."""
    life = Life()
    for step in (put("f1", "f2"), trigger("r1"), fail(2), fail(1)):
        step(life)
    life.ask("pipeline.trigger", run="r2", letters=[1, 2], **TAKE)
    of_store = list(zip(life.broker.take(Request, to=STORE), ((1, "f2", 2), (2, "f1", 1)), strict=True))
    for request, (id_, name, number) in of_store:
        life.broker.say(STORE, Reply(request.id, 0, {**letter(id_, name), "iteration": number}))
    for request in life.broker.take(Request, to=SOURCE):
        (wanted,) = request.params["positions"]
        there = file_position(wanted["identity"], 11, 5, 6).shown()
        life.broker.say(SOURCE, Reply(request.id, 0, {"files": [there], "gone": []}))
    replays = [one for one in life.records if isinstance(one, rec.Plan) and one.replay is not None]
    assert [(one.iteration, one.replay.iteration) for one in replays if one.replay] == [(3, 1), (4, 2)]


@pytest.mark.parametrize("restarts", [[], [restart]])
@pytest.mark.parametrize(
    ("steps", "end"),
    [
        ([complete], DONE),
        ([fail(2), complete], LETTER),
        ([ask("iteration.cancel", iteration=2), complete], LETTER),
    ],
)
def test_a_run_that_only_replays_dead_letters_ends_as_they_do(
    steps: list[Step], end: tuple[str, str], restarts: list[Step]
) -> None:
    life = replaying(*restarts, *steps[:1], *restarts, *steps[1:])
    assert life.ends() == {"r1": LETTER, "r2": end}
    (plan,) = [record for record in life.records if isinstance(record, rec.Plan) and record.replay is not None]
    assert (plan.run, plan.taken) == ("", "r2")
