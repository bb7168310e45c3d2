"""Whatever operators do, in whatever order: every file is in one place, and the store says in which."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import consistency
from odibi_actors.checkpoint import records as r
from odibi_actors.model import Position
from odibi_actors.sim.places import Held, Places, Taken
from odibi_actors.sources.file_position import file_position
from tests.checkpoint.make import P, ack, claimed, failure, put, staged, version

NAMES = ("a.csv", "b.csv", "c.csv", "d.csv")
SOURCES = ("flights", "weather")
LIVES, STEPS = 200, 25


class Operating:
    """The records of a broker that plans, sets aside, replays, cancels and rewinds, drawn by chance; ``places`` lives
    through the same, and shares no code with the store."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.engine = claimed()
        self.places = Places()
        self.places.ask = self._told
        self.open: dict[int, r.Plan] = {}  # iterations that are not finished, as revised
        self.letters: list[int] = []
        self.last = 0
        self.story: list[str] = []
        self._put(version())

    def step(self) -> None:
        """One thing that is possible now; then everything is looked at."""
        verbs = [(3, self.plan)]
        if self.open:
            verbs += [(2, self.set_one_aside), (2, self.set_all_aside), (1, self.commit), (2, self.cancel)]
        elif self.last:
            verbs += [(2, self.rewind)]
        if self.letters:
            verbs += [(4, self.replay), (1, self.discard)]
        weights, found = zip(*verbs, strict=True)
        self.rng.choices(found, weights)[0]()
        self.letters = [row["id"] for row in self._rows() if row["state"] == "open"]
        self.places.compare()
        for id_, payload in self.engine._db.execute("SELECT id, payload FROM dead_letters").fetchall():
            assert [*consistency.problems(self.engine._db, "dead_letters", (id_,), payload)] == []

    def _rows(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.engine.answer("deadletter.list", {"pipeline": P})["items"]
        return sorted(items, key=lambda row: int(row["id"]))

    def _put(self, *records: r.AnyRecord) -> None:
        self.story += [str(record) for record in records]
        put(self.engine, *records)
        for record in records:
            self.places.apply(record)

    def _told(self) -> tuple[list[Taken], Held]:
        ledger = self.engine._db.execute("SELECT pipeline, lane, source, identity, iteration FROM ledger").fetchall()
        held: Held = {}
        for id_ in self.letters:
            positions = self.engine.answer("deadletter.show", {"id": id_})["positions"]
            held[id_] = sorted((P, source, p["identity"]) for source, some in positions.items() for p in some)
        return ledger, held

    def _start(self, positions: dict[str, list[Any]], replay: r.Replay | None = None) -> None:
        self.last += 1
        plan = r.Plan(P, "live", self.last, 1, positions, list(SOURCES), 1.0, replay=replay)
        self._put(plan)
        self.open[self.last] = plan

    def plan(self) -> None:
        positions = {}
        for source in SOURCES:
            taken = {p.identity for p in self.engine.ledger(P, "live", source)[0]}
            free = [name for name in NAMES if name not in taken]
            positions[source] = [file_position(name, 10, 20, 30) for name in free[: self.rng.randint(0, 3)]]
        if any(positions.values()):
            self._start(positions)

    def set_one_aside(self, number: int = 0) -> None:
        number = number or self.rng.choice([*self.open])
        plan, source = self.open[number], self.rng.choice(SOURCES)
        if names := [p.identity for p in plan.positions[source]]:
            name = self.rng.choice(names)
            self._put(r.Revise(P, number, source, [name], failure("line 3", name), 2.0))
            left = [p for p in plan.positions[source] if p.identity != name]
            self.open[number] = replace(plan, positions={**plan.positions, source: left})

    def set_all_aside(self) -> None:
        number = self.rng.choice([*self.open])
        if any(self.open[number].positions.values()):
            self._put(r.DeadLetter(P, number, "clean", failure("bad"), 3.0))
            del self.open[number]

    def commit(self) -> None:
        number = min(self.open)
        self._put(ack(number, "flights"), r.Prepare(P, number, {"lake": staged(number)}, 1.0), r.Commit(P, number, 2.0))
        del self.open[number]

    def cancel(self) -> None:
        suffix = sorted(self.open)[self.rng.randrange(len(self.open)) :]
        self._put(r.Cancel(P, suffix, 4.0))
        for number in suffix:
            del self.open[number]

    def replay(self) -> None:
        found = self.engine.answer("deadletter.show", {"id": self.rng.choice(self.letters)})
        positions = {
            source: [
                replace(Position.of(p), generation=p["generation"] + 1) for p in found["positions"].get(source, [])
            ]
            for source in SOURCES
        }
        self._start(positions, r.Replay(found["id"], found["iteration"], found["whole"]))
        if self.rng.random() < 0.5:  # one of them is malformed still
            self.set_one_aside(self.last)

    def discard(self) -> None:
        self._put(r.Discard(P, self.rng.choice(self.letters), 5.0))

    def rewind(self) -> None:
        to = max(0, self.last - self.rng.randint(1, 4))
        before = {row["id"] for row in self._rows()}
        shown = self.engine.answer("rewind.show", {"pipeline": P, "to": to})
        left = shown["left"]
        self._put(r.Rewind(P, to, self.last, [], 5.0, r.Left(**left)), r.Rewound(P, to, self.last, 6.0))
        after = {row["id"] for row in self._rows()}
        assert left["letters"] == len(after)
        told = {name: set(some["ids"]) for name, some in shown["letters"].items()}
        assert told == {"open_again": after - before, "gone": before - after}


@pytest.mark.parametrize("first", range(0, 2 * LIVES, LIVES))
def test_every_file_is_in_one_place_whatever_is_done(first: int) -> None:
    for seed in range(first, first + LIVES):
        life = Operating(random.Random(seed))
        try:
            for _ in range(STEPS):
                life.step()
        except AssertionError as error:
            raise AssertionError("\n".join([f"seed {seed}: {error}", *life.story])) from error
