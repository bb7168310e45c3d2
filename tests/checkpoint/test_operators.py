"""What operators' records do to the tables: letters taken up and back, sinks given up, iterations taken back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import consistency
from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.engine import Engine, Refused
from odibi_actors.checkpoint.schema import seal, unseal
from odibi_actors.checkpoint.tables import LetterDecoder
from odibi_actors.config.model import ConnectionSpec, NodeSpec, ReadSpec, WriteSpec
from odibi_actors.errors import NotFoundError
from odibi_actors.model import BatchRef, Target, Trigger
from tests.checkpoint.make import P, ack, claimed, failure, loaded, plan, put, staged, version
from tests.targets import folder, table

LEFT = r.Left(1, 1, 0)


@pytest.fixture
def engine() -> Engine:
    engine = claimed()
    put(engine, version())
    return engine


def letters(engine: Engine) -> list[tuple[int, int, str, int]]:
    """(id, iteration, state, replay)."""
    items = engine.answer("deadletter.list", {"pipeline": P})["items"]
    return sorted((row["id"], row["iteration"], row["state"], row["replay"]) for row in items)


def states(engine: Engine) -> dict[int, str]:
    items = engine.answer("iteration.list", {"pipeline": P})["items"]
    return {row["iteration"]: row["state"] for row in reversed(items)}


def taken_up(iteration: int, letter: int, of: int, generation: int = 2) -> r.Plan:
    former = plan(iteration, f"f{of}.csv")
    (position,) = former.positions["flights"]
    positions = {"flights": [replace(position, generation=generation)]}
    return replace(former, positions=positions, replay=r.Replay(letter, of, True))


def committed(engine: Engine, number: int, **more: Any) -> None:
    put(engine, plan(number, f"f{number}.csv"), *finish(number, **more))


def finish(number: int, states: dict[str, BatchRef] | None = None, keep: int = 1) -> list[r.AnyRecord]:
    return [
        ack(number, "flights"),
        r.Prepare(P, number, {"lake": staged(number)}, 1.0, states or {}),
        r.Commit(P, number, 2.0, keep),
    ]


def dead(engine: Engine, number: int) -> None:
    put(engine, plan(number, f"f{number}.csv"), r.DeadLetter(P, number, "clean", failure("bad"), 3.0))


def refused(engine: Engine, record: r.AnyRecord) -> str:
    with pytest.raises(Refused) as refusal:
        put(engine, record)
    return str(refusal.value)


def test_a_letter_is_taken_up_once_and_goes_when_that_commits(engine: Engine) -> None:
    dead(engine, 1)
    put(engine, taken_up(2, 1, 1))
    assert letters(engine) == [(1, 1, "replaying", 2)]
    assert "not there to be replayed" in refused(engine, taken_up(3, 1, 1, generation=3))
    assert "not there" in refused(engine, r.Discard(P, 1, 4.0))
    put(engine, *finish(2))
    assert letters(engine) == []
    assert next(i for i in loaded(engine) if isinstance(i, r.LoadedCounter)).dead_letters == 0


def test_a_letter_is_back_when_its_replay_is_cancelled_and_can_be_taken_up_again(engine: Engine) -> None:
    dead(engine, 1)
    put(engine, taken_up(2, 1, 1), r.Cancel(P, [2], 4.0))
    assert letters(engine) == [(1, 1, "open", 2)]
    put(engine, taken_up(3, 1, 1))
    assert letters(engine) == [(1, 1, "replaying", 3)]


def test_what_went_to_a_letter_of_its_own_does_not_come_back_with_the_former_one(engine: Engine) -> None:
    put(engine, plan(1, "a.csv", "b.csv"), r.DeadLetter(P, 1, "clean", failure("bad"), 3.0))
    again = plan(2, "a.csv", "b.csv")
    positions = {"flights": [replace(position, generation=2) for position in again.positions["flights"]]}
    again = replace(again, positions=positions, replay=r.Replay(1, 1, True))
    revise = r.Revise(P, 2, "flights", ["b.csv"], failure("line 3", "b.csv"), 4.0)
    put(engine, again, revise, r.Cancel(P, [2], 5.0))
    assert letters(engine) == [(1, 1, "open", 2), (2, 2, "open", 0)]
    shown = engine.answer("deadletter.show", {"id": 1})["positions"]["flights"]
    assert [(row["identity"], row["generation"]) for row in shown] == [("a.csv", 1)]
    put(engine, replace(again, iteration=3, positions={"flights": positions["flights"][:1]}))
    put(engine, r.Revise(P, 3, "flights", ["a.csv"], failure("line 3", "a.csv"), 4.0), r.Cancel(P, [3], 5.0))
    assert letters(engine) == [(2, 2, "open", 0), (3, 3, "open", 0)]


def test_a_letter_remembers_what_had_set_its_iteration_off(engine: Engine) -> None:
    trigger = Trigger("manual", params={"rate": 3})
    put(engine, replace(plan(1, "a.csv", "b.csv"), trigger=trigger))
    put(engine, r.Revise(P, 1, "flights", ["b.csv"], failure("line 3", "b.csv"), 4.0))
    put(engine, r.DeadLetter(P, 1, "clean", failure("bad"), 3.0))
    for letter in (1, 2):
        assert msgspec.convert(engine.answer("deadletter.show", {"id": letter})["trigger"], Trigger) == trigger


def test_a_rewind_brings_back_to_a_letter_what_its_replay_had_set_aside(engine: Engine) -> None:
    put(engine, plan(1, "a.csv", "b.csv"), r.DeadLetter(P, 1, "clean", failure("bad"), 3.0))
    again = plan(2, "a.csv", "b.csv")
    positions = {"flights": [replace(position, generation=2) for position in again.positions["flights"]]}
    revise = r.Revise(P, 2, "flights", ["b.csv"], failure("line 3", "b.csv"), 4.0)
    put(engine, replace(again, positions=positions, replay=r.Replay(1, 1, True)), revise, r.Cancel(P, [2], 5.0))
    put(engine, r.Discard(P, 1, 6.0))  # what lies in it: a.csv
    assert letters(engine) == [(2, 2, "open", 0)]
    put(engine, r.Rewind(P, 1, 2, [], 5.0, LEFT), r.Rewound(P, 1, 2, 6.0))
    assert letters(engine) == [(1, 1, "open", 2)]
    shown = engine.answer("deadletter.show", {"id": 1})["positions"]["flights"]
    assert [(row["identity"], row["generation"]) for row in shown] == [("b.csv", 1)]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE ledger SET size = 0", ""),
        ("INSERT INTO ledger SELECT pipeline, lane, source, identity, 2, 7, 0, 0, '', 0, '' FROM ledger",
         "dead letter 1 of delays holds f1.csv of flights, which iteration 7 has as well"),
        ("UPDATE dead_letters SET payload = emptied(payload)", "dead letter 1 of delays is open, and holds no file"),
    ],
)  # fmt: skip
def test_verify_names_a_letter_that_does_not_hold_what_it_should(engine: Engine, damage: str, said: str) -> None:
    def emptied(payload: bytes) -> bytes:
        return seal(replace(unseal(payload, LetterDecoder, "it"), elsewhere=[(2, "flights", "f1.csv")]))

    dead(engine, 1)
    engine._db.create_function("emptied", 1, emptied)
    engine._db.execute(damage)
    (payload,) = engine._db.execute("SELECT payload FROM dead_letters").fetchone()
    found = [problem["what"] for problem in consistency.problems(engine._db, "dead_letters", (1,), payload)]
    assert found == ([said] if said else [])


def test_a_replay_that_is_given_up_again_leaves_its_own_letter(engine: Engine) -> None:
    dead(engine, 1)
    put(engine, taken_up(2, 1, 1), r.DeadLetter(P, 2, "clean", failure("bad"), 5.0))
    assert letters(engine) == [(2, 2, "open", 0)]


def test_ids_of_letters_are_never_used_again(engine: Engine) -> None:
    dead(engine, 1)
    put(engine, r.Discard(P, 1, 4.0))
    dead(engine, 2)
    assert letters(engine) == [(2, 2, "open", 0)]


def test_the_ledger_keeps_both_generations(engine: Engine) -> None:
    dead(engine, 1)
    put(engine, taken_up(2, 1, 1))
    positions, _ = engine.ledger(P, "live", "flights", "", 10)
    assert [(p.identity, p.generation) for p in positions] == [("f1.csv", 1), ("f1.csv", 2)]


def test_a_sink_that_is_given_up_is_told_to_the_next_broker(engine: Engine) -> None:
    sinks = {"lake": staged(1), "mart": staged(1)}
    put(
        engine,
        plan(1, "a.csv"),
        ack(1, "flights"),
        r.Prepare(P, 1, sinks, 1.0),
        r.Block(P, 1, "lake", failure("conflict"), 2.0),
        r.Block(P, 1, "mart", failure("conflict"), 2.0),
        r.Abandon(P, 1, "lake", 3.0),
    )
    assert states(engine) == {1: "blocked"}
    assert "lake is not blocked" in refused(engine, r.Abandon(P, 1, "lake", 3.0))
    put(engine, r.Abandon(P, 1, "mart", 4.0))
    assert states(engine) == {1: "prepared"}
    item = next(i for i in loaded(engine) if isinstance(i, r.LoadedIteration))
    assert (item.blocked, item.abandoned) == ([], ["lake", "mart"])
    checked = engine.answer("checkpoint.verify", {"cursor": ""})
    while checked["cursor"]:
        assert not [one for one in checked["files"] if "the part of" in one["what"]]  # they were thrown away
        checked = engine.answer("checkpoint.verify", {"cursor": checked["cursor"]})
    shown = engine.answer("iteration.show", {"pipeline": P, "iteration": 1})["sinks"]
    assert {name: sink["abandoned"] for name, sink in shown.items()} == {"lake": True, "mart": True}


def test_what_is_taken_back_is_released_and_letters_it_had_taken_up_are_open_again(engine: Engine) -> None:
    kept = [BatchRef(1, 1, f"d{number}", path=f"p/{number}/t-1-1.state.arrow") for number in range(4)]
    dead(engine, 1)
    committed(engine, 2, states={"t": kept[2]}, keep=5)
    put(engine, taken_up(3, 1, 1), *finish(3, states={"t": kept[3]}, keep=5))
    dead(engine, 4)
    assert letters(engine) == [(2, 4, "open", 0)]
    preview = engine.answer("rewind.show", {"pipeline": P, "to": 2})
    assert preview["states"] == {"committed": 1, "dead_lettered": 1}
    assert preview["left"] == {"committed": 1, "last_committed": 2, "letters": 1}
    assert preview["files"] == 1, "that of 4: that of 3 is in the letter of 1 again"
    assert preview["letters"] == {"open_again": {"count": 1, "ids": [1]}, "gone": {"count": 1, "ids": [2]}}
    record = r.Rewind(P, 2, 4, [], 5.0, r.Left(**preview["left"]))
    put(engine, record)
    assert [i.record for i in loaded(engine) if isinstance(i, r.LoadedRewind)] == [record]
    assert "already" in refused(engine, record)
    put(engine, r.Rewound(P, 2, 4, 6.0))
    assert states(engine) == {1: "dead_lettered", 2: "committed", 3: "rewound", 4: "rewound"}
    assert letters(engine) == [(1, 1, "open", 3)]
    positions, _ = engine.ledger(P, "live", "flights", "", 10)
    assert [(p.identity, p.generation) for p in positions] == [("f1.csv", 1), ("f2.csv", 1)]
    assert [i.iteration for i in loaded(engine) if isinstance(i, r.LoadedState)] == [2]
    counter = next(i for i in loaded(engine) if isinstance(i, r.LoadedCounter))
    assert (counter.last_iteration, counter.last_committed, counter.committed, counter.dead_letters) == (4, 2, 1, 1)
    assert "not being rewound" in refused(engine, r.Rewound(P, 2, 4, 7.0))


def test_a_node_that_kept_no_state_then_is_told_by_the_preview_and_no_other(engine: Engine) -> None:
    spec = version(1).spec
    with_state = replace(spec, nodes=[replace(node, state=node.name == "clean") for node in spec.nodes])
    committed(engine, 1)
    (row,) = engine.answer("iteration.list", {"pipeline": P})["items"]
    put(engine, r.Version(P, 2, with_state, "code", row["finished_at"] + 1.0))
    assert engine.answer("rewind.show", {"pipeline": P, "to": 1})["never_stateful"] == ["clean"]
    assert engine.answer("rewind.show", {"pipeline": P, "to": 0})["never_stateful"] == []  # nothing is known of 0
    put(engine, r.Version(P, 3, spec, "code", row["finished_at"] + 2.0))  # it may be given its state back
    assert engine.answer("rewind.show", {"pipeline": P, "to": 1})["never_stateful"] == ["clean"]


def test_a_rewind_waits_for_what_is_unfinished(engine: Engine) -> None:
    committed(engine, 1)
    put(engine, plan(2, "f2.csv"))
    assert "1 unfinished" in refused(engine, r.Rewind(P, 0, 2, [], 5.0, LEFT))


def test_of_states_the_newest_stay(engine: Engine) -> None:
    for number in (1, 2, 3):
        committed(engine, number, states={"t": BatchRef(1, 1, f"d{number}", data=b"x")}, keep=2)
    assert [i.iteration for i in loaded(engine) if isinstance(i, r.LoadedState)] == [2, 3]


def pinned(engine: Engine) -> list[tuple[str, bytes, bool]]:
    found = [item.record for item in loaded(engine) if isinstance(item, r.LoadedSchema)]
    return [(pin.node, pin.arrow, pin.open) for pin in found]


@pytest.mark.parametrize("end", ["cancel", "dead letter", "rewind"])
def test_given_a_pin_when_its_iteration_is_void_then_it_goes_in_the_same_transaction(engine: Engine, end: str) -> None:
    committed(engine, 1)
    source = r.Schema(P, "flights", b"read", [], iteration=1)
    new = r.Schema(P, "carriers", b"read", [], iteration=2)
    other = r.Schema(P, "mart", b"m", [], table("mart.db", "t"), 1)
    told = r.Schema(P, "lake", b"l", ["n: int64"], folder("/lake"), 2)
    reopened = r.Schema(P, "third", b"new", [], folder("/third"), 2, former=b"old")
    put(engine, plan(2, "f2.csv"), source, new, other, told, reopened)
    if end == "rewind":
        told_so = engine.answer("rewind.show", {"pipeline": P, "to": 1})["unpinned"]
        assert told_so == ["carriers", "lake", "third"]
        put(engine, *finish(2), r.Rewind(P, 1, 2, [], 5.0, LEFT), r.Rewound(P, 1, 2, 6.0))
        # What is left in the target of a sink that was opened tells it again.
        assert pinned(engine) == [("flights", b"read", False), ("mart", b"m", False)]
        return
    put(engine, r.Cancel(P, [2], 3.0) if end == "cancel" else r.DeadLetter(P, 2, "lake", failure("bad"), 3.0))
    assert pinned(engine) == [("flights", b"read", False), ("mart", b"m", False), ("third", b"old", True)]


def test_given_a_sources_pin_when_a_file_is_set_aside_then_it_goes_with_what_told_it(engine: Engine) -> None:
    committed(engine, 1)
    pins = [r.Schema(P, "flights", b"f", [], iteration=2), r.Schema(P, "lake", b"l", [], folder("/lake"), 2)]
    put(engine, plan(2, "f2.csv", "f3.csv"), *pins, r.Schema(P, "old", b"o", []))
    put(engine, r.Revise(P, 2, "flights", ["f2.csv"], failure("bad"), 3.0))
    assert pinned(engine) == [("lake", b"l", False), ("old", b"o", False)]
    put(engine, r.Unpin(P, "old"))
    assert pinned(engine) == [("lake", b"l", False)]
    put(engine, pins[0], r.Cancel(P, [2], 4.0), replace(pins[0], iteration=0), r.Rewind(P, 0, 2, [], 5.0, LEFT))
    assert pinned(engine) == [("flights", b"f", False)]
    put(engine, r.Rewound(P, 0, 2, 6.0))  # by a store from before it was known who told it
    assert pinned(engine) == []


def test_given_sinks_when_asked_then_the_store_says_where_they_publish_and_what_holds_them(engine: Engine) -> None:
    sink = NodeSpec("lake", ["clean"], write=WriteSpec(ConnectionSpec("lake", "local", "/lake"), path="a"))
    former = version(2)
    mart = ConnectionSpec("mart", "sqlite", "/mart.db")
    source = NodeSpec("days", read=ReadSpec(ConnectionSpec("in", "local", "/in"), "csv", "file_watch"))
    unsure = NodeSpec("mart", ["days"], write=WriteSpec(mart, table="t", mode="upsert", keys=["n"]))
    put(engine, replace(former, spec=replace(former.spec, nodes=[*former.spec.nodes, sink, source, unsure])))
    rows = engine.answer("sink.list", {})["items"]
    assert [(row["sink"], row["older_over_newer"]) for row in rows] == [("lake", False), ("mart", True)]
    row = rows[0]
    assert (row["pipeline"], row["sink"], row["columns"], row["pinned_by"]) == (P, "lake", [], 0)
    assert row["target"] == str(Target(*row["at"]))
    target = Target(*row["at"])
    put(
        engine, plan(1, "f1.csv"), ack(1, "flights"), ack(1, "lake"), r.Schema(P, "lake", b"l", ["n: int64"], target, 1)
    )
    put(engine, r.Prepare(P, 1, {"lake": staged(1)}, 1.0), r.Commit(P, 1, 2.0))
    shown = engine.answer("sink.show", {"pipeline": P, "sink": "lake"})
    assert (shown["columns"], shown["pinned_by"], shown["open"]) == (["n: int64"], 1, False)
    assert (shown["parts"], shown["rows"], shown["first"], shown["last"]) == (1, 7, 1, 1)
    put(engine, r.Schema(P, "lake", b"l", ["n: int64"], folder("/elsewhere"), 1))
    assert engine.answer("sink.show", {"pipeline": P, "sink": "lake"})["columns"] == []
    with pytest.raises(NotFoundError, match="its sinks: lake, mart"):
        engine.answer("sink.show", {"pipeline": P, "sink": "flights"})
