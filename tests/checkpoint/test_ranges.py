"""Sources that are read in order: each piece is in one iteration, in one letter, or to be read, whatever happens."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import ranges
from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.model import LIVE, Position, Range
from tests.checkpoint.make import P, ack, claimed, failure, loaded, prepare, put, version

SOURCE = "log"
PARTITIONS = ("0", "1")
LENGTH = 40
LIVES, STEPS = 120, 25


def place(offset: int) -> bytes:
    return offset.to_bytes(8, "big")


def offset(place: str) -> int:
    return int(place, 16)


Piece = tuple[str, int]
"""(partition, offset)."""


class Oracle:
    """Where each piece of each partition is, by lane: in an iteration, or in a letter (of an iteration). It knows no
    places, and shares no code with the store."""

    def __init__(self) -> None:
        self.iterations: dict[str, dict[Piece, int]] = {}
        self.letters: dict[str, dict[Piece, int]] = {}
        self.begins: dict[tuple[str, str], int] = {}  # (lane, partition) -> where it was first read from

    def free(self, lane: str, piece: Piece) -> bool:
        if piece[1] < self.begins.get((lane, piece[0]), 0):
            return False
        return piece not in self.iterations.get(lane, {}) and piece not in self.letters.get(lane, {})

    def first(self, lane: str, partition: str) -> int:
        return next(one for one in range(LENGTH * 10) if self.free(lane, (partition, one)))

    def takes(self, lane: str, wanted: list[tuple[str, int, int]], iteration: int) -> bool:
        """Take these; False, and take none, if they are not just what comes next."""
        taken: list[Piece] = []
        former = dict(self.begins)
        for partition, lower, upper in wanted:
            self.begins.setdefault((lane, partition), lower)
            pieces = [(partition, one) for one in range(lower, upper)]
            ahead = [(partition, one) for one in range(lower) if self.free(lane, (partition, one))]
            fits = all(self.free(lane, piece) and piece not in taken for piece in pieces)
            if not pieces or not fits or any(piece not in taken for piece in ahead):
                self.begins = former
                return False
            taken += pieces
        self.iterations.setdefault(lane, {}).update(dict.fromkeys(taken, iteration))
        return True

    def aside(self, lane: str, iteration: int, pieces: list[Piece]) -> None:
        for piece in pieces:
            del self.iterations[lane][piece]
            self.letters.setdefault(lane, {})[piece] = iteration

    def of(self, lane: str, iteration: int) -> list[Piece]:
        return [piece for piece, number in self.iterations.get(lane, {}).items() if number == iteration]

    def void(self, numbers: list[int]) -> None:
        for lane, pieces in self.iterations.items():
            self.iterations[lane] = {piece: number for piece, number in pieces.items() if number not in numbers}

    def rewound(self, to: int) -> None:
        self.void([n for pieces in self.iterations.values() for n in pieces.values() if n > to])
        for lane, pieces in self.letters.items():
            self.letters[lane] = {piece: number for piece, number in pieces.items() if number <= to}


class Life:
    """The records of a broker that reads two partitions in two lanes, drawn by chance, and often wrong."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.engine = claimed()
        self.oracle = Oracle()
        self.open: dict[int, r.Plan] = {}  # as revised
        self.lanes = [LIVE, LIVE, "backfill-1"]
        self.last = self.refused = 0
        put(self.engine, version(), r.Backfill(P, "backfill-1", "run", 1.0))

    def step(self) -> None:
        verbs = [(6, self.plan)]
        if self.open:
            verbs += [(3, self.aside), (1, self.dead), (3, self.commit), (3, self.cancel)]
        weights, found = zip(*verbs, strict=True)
        self.rng.choices(found, weights)[0]()
        self.compare()

    def _ranges(self, lane: str) -> list[tuple[str, int, int]]:
        """What comes next, or, one time in three, nearly that."""
        found = []
        for partition in self.rng.sample(PARTITIONS, self.rng.randint(1, 2)):
            at = self.oracle.first(lane, partition)
            for _ in range(self.rng.randint(1, 3)):
                while not self.oracle.free(lane, (partition, at)):
                    at += 1
                upper = at + 1
                while upper < at + self.rng.randint(1, 4) and self.oracle.free(lane, (partition, upper)):
                    upper += 1
                found.append((partition, at, upper))
                at = upper
        if self.rng.random() < 0.33:
            index = self.rng.randrange(len(found))
            partition, lower, upper = found[index]
            found[index] = (partition, max(0, lower + self.rng.randint(-2, 2)), max(0, upper + self.rng.randint(-2, 3)))
        return found

    def plan(self) -> None:
        lane = self.rng.choice(self.lanes)
        wanted = self._ranges(lane)
        positions = [Position(f"{p}@{lower}", rows=upper - lower) for p, lower, upper in wanted]
        told = [Range(p, place(lower), place(upper)) for p, lower, upper in wanted]
        number = self.last + 1
        plan = r.Plan(P, lane, number, 1, {SOURCE: positions}, [], 1.0, ranges={SOURCE: told})
        if self.oracle.takes(lane, wanted, number):
            put(self.engine, plan)
            self.last, self.open[number] = number, plan
        else:
            with pytest.raises(Exception, match=r"but its place is|has some of it|is no range"):
                put(self.engine, plan)
            self.refused += 1

    def aside(self) -> None:
        number = self.rng.choice(list(self.open))
        plan = self.open[number]
        positions, told = plan.positions[SOURCE], plan.ranges[SOURCE]
        if len(positions) < 2:
            return
        gone = self.rng.sample(range(len(positions)), self.rng.randint(1, len(positions) - 1))
        names = [positions[one].identity for one in gone]
        put(self.engine, r.Revise(P, number, SOURCE, names, failure(position=names[0]), 2.0))
        self._letters(plan, [told[one] for one in gone])
        self.open[number] = replace(
            plan,
            positions={SOURCE: [p for one, p in enumerate(positions) if one not in gone]},
            ranges={SOURCE: [p for one, p in enumerate(told) if one not in gone]},
        )

    def _letters(self, plan: r.Plan, told: list[Range]) -> None:
        pieces = [
            (one.partition, at)
            for one in told
            for at in range(int.from_bytes(one.lower, "big"), int.from_bytes(one.upper, "big"))
        ]
        self.oracle.aside(plan.lane, plan.iteration, pieces)

    def dead(self) -> None:
        number = self.rng.choice(list(self.open))
        put(self.engine, r.DeadLetter(P, number, "clean", failure(), 1.0))
        plan = self.open.pop(number)
        self._letters(plan, plan.ranges[SOURCE])

    def commit(self) -> None:
        number = min(self.open)
        put(self.engine, ack(number, SOURCE), prepare(number), r.Commit(P, number, 3.0, 1))
        del self.open[number]

    def cancel(self) -> None:
        """A suffix of a lane."""
        lane = self.rng.choice([plan.lane for plan in self.open.values()])
        mine = sorted(number for number, plan in self.open.items() if plan.lane == lane)
        void = mine[self.rng.randrange(len(mine)) :]
        put(self.engine, r.Cancel(P, void, 4.0))
        self.oracle.void(void)
        for number in void:
            del self.open[number]

    def rewind(self) -> None:
        """Everything comes to its end first."""
        while self.open:
            self.commit()
        if "backfill-1" in self.lanes:
            put(self.engine, r.BackfillEnd(P, "backfill-1", "done", 5.0))
        to = self.rng.randint(0, self.last)
        left = r.Left(0, 0, 0)
        put(self.engine, r.Rewind(P, to, self.last, [], 6.0, left), r.Rewound(P, to, self.last, 7.0))
        self.oracle.rewound(to)
        self.lanes = [LIVE]
        self.compare()

    def compare(self) -> None:
        """What the store says is still to be read is what is nowhere."""
        for lane in (LIVE, "backfill-1"):
            items = self.engine.answer("ledger.places", {"pipeline": P, "source": SOURCE, "lane": lane})["items"]
            told = {item["partition"]: item for item in items}
            for partition in PARTITIONS:
                item = told.get(partition, {"place": "0", "holes": []})
                holes = [range(offset(lower), offset(upper)) for lower, upper in item["holes"]]
                after = range(offset(item["place"]), LENGTH)
                unread = [one for one in after if not any(one in hole for hole in holes)]
                assert unread == [one for one in range(LENGTH) if self.oracle.free(lane, (partition, one))]
        assert verified(self.engine) == []
        self.spared()

    def spared(self) -> None:
        """What may be deleted nobody reads any more, and a rewind to that iteration does not bring it back."""
        upto = min(self.open) - 1 if self.open else self.last
        for partition in PARTITIONS:
            wanted = self.rng.randint(1, LENGTH)
            given = {"pipeline": P, "source": SOURCE, "partition": partition, "place": place(wanted).hex()}
            told = self.engine.answer("source.spare", given | {"upto": upto})
            end = offset(told["place"] or "0")
            held = set()
            for one in told["held"]:
                name, _, begin = one["identity"].partition("@")
                held |= {(name, int(begin) + at) for at in range(one["rows"])}
            live = self.oracle.iterations.get(LIVE, {})
            letters = {piece for pieces in self.oracle.letters.values() for piece in pieces}
            for piece in ((partition, at) for at in range(end)):
                assert not self.oracle.free(LIVE, piece)
                assert live.get(piece, 0) <= min(told["iteration"], upto)
                assert piece not in letters or piece in held
            stop = (partition, end)
            assert end == wanted or self.oracle.free(LIVE, stop) or live.get(stop, upto + 1) > upto


def verified(engine: Engine) -> list[str]:
    """What does not hold of any place."""
    places = engine._db.execute("SELECT pipeline, lane, source, partition FROM places").fetchall()
    return [one for at in places for one in ranges.problems(engine._db.execute, at)]


@pytest.mark.parametrize("seed", range(0, LIVES, 10))
def test_whatever_happens_each_piece_is_in_one_iteration_in_one_letter_or_to_be_read(seed: int) -> None:
    refused = 0
    for one in range(seed, seed + 10):
        life = Life(one)
        for _ in range(3):
            for _ in range(STEPS):
                life.step()
            life.rewind()
        refused += life.refused
    assert refused


def test_what_a_letter_held_is_kept_as_long_as_a_rewind_may_open_it_again() -> None:
    engine = claimed()
    put(engine, version(), planned(1, ("0", 0, 5)), r.DeadLetter(P, 1, "clean", failure(), 1.0))
    put(engine, planned(2, ("0", 5, 6)), ack(2, SOURCE), prepare(2), r.Commit(P, 2, 3.0, 1))

    def held(place_: int) -> tuple[int, list[str]]:
        asked = {"pipeline": P, "source": SOURCE, "partition": "0", "place": place(place_).hex(), "upto": 3}
        told = engine.answer("source.spare", asked)
        return told["iteration"], [one["identity"] for one in told["held"]]

    assert held(6) == (2, ["0@0"])
    put(engine, replace(planned(3, ("0", 0, 5)), replay=r.Replay(1, 1, True)))
    assert held(6) == (2, ["0@0"]), "it is on its way"
    put(engine, ack(3, SOURCE), prepare(3), r.Commit(P, 3, 3.0, 1))
    assert held(6) == (2, ["0@0"]), "a rewind to 2 opens it again"
    put(engine, planned(4, ("0", 6, 7)), ack(4, SOURCE), prepare(4), r.Commit(P, 4, 3.0, 1))
    asked = {"pipeline": P, "source": SOURCE, "partition": "0", "place": place(7).hex(), "upto": 4}
    told = engine.answer("source.spare", asked)
    assert (told["iteration"], told["held"]) == (4, [])


def planned(number: int, *told: tuple[str, int, int], lane: str = LIVE) -> r.Plan:
    positions = [Position(f"{partition}@{lower}") for partition, lower, _ in told]
    taken = [Range(partition, place(lower), place(upper)) for partition, lower, upper in told]
    return r.Plan(P, lane, number, 1, {SOURCE: positions}, [], 1.0, ranges={SOURCE: taken})


def places(engine: Engine, lane: str = LIVE) -> dict[str, Any]:
    items = engine.answer("ledger.places", {"pipeline": P, "source": SOURCE, "lane": lane})["items"]
    return {item["partition"]: (offset(item["place"]), item["holes"]) for item in items}


def test_given_a_restart_then_places_are_where_they_were_and_what_was_read_is_refused(tmp_path: Path) -> None:
    engine = claimed(tmp_path / "checkpoints.db")
    put(engine, version(), planned(1, ("0", 0, 5), ("1", 3, 9), ("0", 5, 7)))
    put(engine, r.Revise(P, 1, SOURCE, ["0@5"], failure(position="0@5"), 2.0), r.Cancel(P, [1], 3.0))
    engine.close()
    engine = Engine(tmp_path / "checkpoints.db")
    held = [[place(5).hex(), place(7).hex()]]
    assert places(engine) == {"0": (0, held), "1": (3, [])}
    apart = {"pipeline": P, "source": SOURCE, "other": "q", "of": SOURCE}
    assert engine.answer("ledger.apart", apart)["items"] == ["0", "1"]
    assert engine.answer("ledger.apart", {**apart, "other": P})["items"] == []
    engine.claim(engine.epoch, "again")
    with pytest.raises(Exception, match=r"0-.*6 of log '0' is planned for iteration 2, but iteration 1 has some of it"):
        put(engine, planned(2, ("0", 0, 6)))
    with pytest.raises(Exception, match=r"is planned for iteration 2, but its place is"):
        put(engine, planned(2, ("1", 4, 9)))
    put(engine, planned(2, ("0", 0, 5), ("0", 7, 8)))
    assert places(engine)["0"] == (8, [])
    engine.close()


def test_lanes_have_places_of_their_own() -> None:
    engine = claimed()
    put(engine, version(), planned(1, ("0", 0, 5)), r.Backfill(P, "backfill-1", "run", 1.0))
    put(engine, planned(2, ("0", 2, 4), lane="backfill-1"))
    assert (places(engine), places(engine, "backfill-1")) == ({"0": (5, [])}, {"0": (4, [])})
    put(engine, r.Cancel(P, [2], 3.0))
    assert (places(engine), places(engine, "backfill-1")) == ({"0": (5, [])}, {"0": (2, [])})


def test_a_cancel_of_what_others_have_read_on_behind_is_refused() -> None:
    engine = claimed()
    put(engine, version(), planned(1, ("0", 0, 5)), planned(2, ("0", 5, 6)))
    with pytest.raises(Exception, match="iteration 2 has read on in log '0' behind what is void"):
        put(engine, r.Cancel(P, [1], 3.0))
    assert places(engine)["0"] == (6, [])


def test_a_plan_has_a_range_for_each_position_and_a_broker_is_told_of_the_source() -> None:
    engine = claimed()
    plan = planned(1, ("0", 0, 5))
    wrong = replace(plan, positions={SOURCE: []})
    put(engine, version())
    with pytest.raises(Exception, match="log has 1 range, but 0 positions"):
        put(engine, wrong)
    put(engine, plan)
    (counter,) = [one for one in loaded(engine) if isinstance(one, r.LoadedCounter)]
    assert counter.ledger == [SOURCE]
    (row,) = engine.answer("iteration.list", {"pipeline": P})["items"]
    assert row["positions"] == 1
    put(engine, r.Cancel(P, [1], 2.0))
    (counter,) = [one for one in loaded(engine) if isinstance(one, r.LoadedCounter)]
    assert counter.ledger == []


def test_a_pipeline_that_is_forgotten_is_read_from_its_beginning() -> None:
    engine = claimed()
    put(engine, version(), planned(1, ("0", 0, 5)), ack(1, SOURCE), prepare(1), r.Commit(P, 1, 3.0, 1))
    engine.forget(P, 4.0, "{}")
    assert places(engine) == {}
    assert engine._db.execute("SELECT count(*) FROM ranges").fetchone() == (0,)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("UPDATE places SET place = x'00000000000000ff'", "but was read up to 0000000000000006"),
        ("UPDATE places SET place = x'0000000000000001'", "but was read up to 0000000000000006"),
        ("UPDATE ranges SET upper = x'0000000000000006' WHERE iteration = 1", "which another one has as well"),
        ("UPDATE ranges SET upper = x'0000000000000003' WHERE iteration = 1", "but what is before it was not read"),
    ],
)
def test_verify_names_a_place_that_is_not_where_its_ranges_end(tmp_path: Path, harm: str, said: str) -> None:
    engine = claimed(tmp_path / "checkpoints.db")
    put(engine, version(), planned(1, ("0", 0, 5)), planned(2, ("0", 5, 6)))

    def told() -> list[str]:
        found, cursor = list[str](), "[1]"
        while cursor:
            part = engine.answer("checkpoint.verify", {"cursor": cursor})
            found += [one["what"] for one in part["problems"]]
            cursor = part["cursor"]
        return found

    assert told() == []
    engine._db.execute(harm)
    assert [said in one for one in told()[:1]] == [True]
    engine.close()


def ordered(iteration: int, *ranges: tuple[int, int], run: str = "", replay: r.Replay | None = None) -> r.Plan:
    read = [Range("a", place(lower), place(upper)) for lower, upper in ranges]
    some = [Position(f"a:{lower}-{upper}") for lower, upper in ranges]
    return r.Plan(P, LIVE, iteration, 1, {SOURCE: some}, [], 1.0, run, replay, ranges={SOURCE: read})


def letter(iteration: int) -> r.DeadLetter:
    return r.DeadLetter(P, iteration, SOURCE, failure(), 1.0)


@pytest.fixture
def store() -> Engine:
    engine = claimed()
    put(engine, version())
    return engine


def test_given_a_replay_then_it_takes_up_what_a_letter_holds_and_nothing_else(store: Engine) -> None:
    put(store, ordered(1, (0, 4)), letter(1), ordered(2, (4, 6)))
    with pytest.raises(Exception, match="lies in no dead letter"):
        put(store, ordered(3, (4, 6), replay=r.Replay(1, 1, True)))
    put(store, ordered(3, (0, 4), replay=r.Replay(1, 1, True)))
    assert store.places(P, LIVE, SOURCE)[0][0].place == place(6)


def test_given_a_void_replay_then_its_letter_is_open_again_with_what_it_held(store: Engine) -> None:
    put(store, ordered(1, (0, 4), (4, 6)), letter(1), ordered(2, (0, 4), (4, 6), replay=r.Replay(1, 1, True)))
    put(store, r.Revise(P, 2, SOURCE, ["a:0-4"], failure(position="a:0-4"), 1.0))  # has a letter of its own
    put(store, r.Cancel(P, [2], 1.0))
    (first,) = [row for row in store.answer("deadletter.list", {})["items"] if row["id"] == 1]
    assert first["state"] == "open"
    held = store.answer("deadletter.show", {"id": 1})["positions"][SOURCE]
    assert [one["identity"] for one in held] == ["a:4-6"]
    assert store.places(P, LIVE, SOURCE)[0][0].place == place(6)


def test_given_a_cancel_then_its_run_has_lost_the_ranges_until_they_are_planned_again_in_other_pieces(
    store: Engine,
) -> None:
    def lost() -> int:
        return int(store._db.execute("SELECT count(*) FROM given_back").fetchone()[0])

    put(store, r.Run("r1", P, "manual", 1.0), ordered(1, (0, 4), (4, 6), run="r1"), r.Cancel(P, [1], 1.0))
    assert lost() == 2
    put(store, ordered(2, (0, 5), run="r1"))
    assert lost() == 1, "the end of the second one"
    put(store, r.Cancel(P, [2], 1.0), ordered(3, (0, 2), run="r1"))
    assert lost() == 2
    put(store, ordered(4, (2, 5), (5, 6), run="r1"))
    assert lost() == 0


def test_given_a_backfill_then_it_is_told_what_was_taken_by_then_and_not_set_aside(store: Engine) -> None:
    put(store, ordered(1, (2, 4)), ordered(2, (4, 6)), letter(2), ordered(3, (6, 8)), ordered(4, (8, 9)))
    (found,), cursor = store.places(P, LIVE, SOURCE, through=3)
    assert (found.begin, found.place, found.holes, cursor) == (place(2), place(8), [(place(4), place(6))], "")
    assert store.places(P, LIVE, SOURCE, through=0) == ([], "")


def test_given_a_letter_when_it_is_discarded_then_it_is_told_of_its_own_partition_until_its_iteration_is_pruned(
    store: Engine,
) -> None:
    """``a:b.csv`` is another partition than ``a``, whose pieces begin alike."""
    wanted = {"pipeline": P, "source": SOURCE, "lane": LIVE}
    taken = [Range("a", place(0), place(1)), Range("a:b.csv", place(0), place(2))]
    some = [Position("a:0-1"), Position("a:b.csv:0-2")]
    put(store, r.Plan(P, LIVE, 1, 1, {SOURCE: some}, [], 1.0, ranges={SOURCE: taken}), letter(1))
    assert "`odibictl deadletter discard 1`" in store.answer("deadletter.show", {"id": 1})["remedy"]
    assert "set aside: a:0-1 in" in store.answer("file.show", {**wanted, "identity": "a"})["reason"]
    put(store, r.Discard(P, 1, 3.0))
    told = store.answer("file.show", {**wanted, "identity": "a:b.csv"})["reason"]
    assert told == "discarded: a:b.csv:0-2 (dead letter 1 of iteration 1)"
    assert store.answer("file.show", {**wanted, "identity": "a"})["reason"] == told.replace("a:b.csv:0-2", "a:0-1")
    assert store.answer("iteration.show", {"pipeline": P, "iteration": 1})["dead_letters"] == 0
    gone = {"pipeline": P, "source": SOURCE}
    assert [one["identity"] for one in store.answer("source.discarded", gone)["positions"]] == ["a:0-1", "a:b.csv:0-2"]
    put(store, ordered(2, (1, 2)), letter(2))
    while store.prune(1e9, 1.0, 1):
        pass
    assert store.answer("source.discarded", gone)["positions"] == []
