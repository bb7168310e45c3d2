"""What the store tells of files whose bytes were read before, under another name."""

from __future__ import annotations

from msgspec.structs import replace

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint import twins
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.model import PositionRead
from odibi_actors.sources.file_position import file_position
from tests.checkpoint.make import P, ack, claimed, commit, failure, plan, prepare, put, version

SIZE = twins.LEAST


def planned(iteration: int, *names: str, size: int = SIZE, lane: str = "live") -> r.Plan:
    files = [file_position(name, size, 20, 30) for name in names]
    return replace(plan(iteration), positions={"flights": files}, lane=lane)


def read(iteration: int, *contents: str, rows: int = 3) -> r.Ack:
    return replace(ack(iteration), files=[PositionRead(one.encode().ljust(16, b"."), b"", rows) for one in contents])


def whole(engine: Engine, iteration: int, **files: str) -> None:
    put(engine, planned(iteration, *files), read(iteration, *files.values()), prepare(iteration), commit(iteration))


def shown(engine: Engine, iteration: int) -> list[tuple[str, str, int]]:
    twins = engine.answer("iteration.show", {"pipeline": P, "iteration": iteration})["twins"]
    return [(one["identity"], one["same_as"], one["iteration"]) for one in twins]


def test_given_a_copy_when_read_then_it_is_told_once_however_often_it_is_read_again() -> None:
    engine = claimed()
    put(engine, version())
    whole(engine, 1, a="one", b="two")
    assert engine.notes() == []
    put(engine, planned(2, "c"), read(2, "one"))
    (note,) = engine.notes()
    assert "1 file has the same bytes" in note
    assert "c those of a (iteration 1)" in note
    assert engine.notes() == []
    put(engine, read(2, "one"))  # its output was lost
    assert engine.notes() == []
    put(engine, prepare(2), commit(2))
    assert [shown(engine, number) for number in (1, 2)] == [[], [("c", "a", 1)]]
    engine.close()


def test_given_a_cancelled_copy_when_it_is_planned_again_then_it_is_no_copy_of_what_was_never_read() -> None:
    engine = claimed()
    put(engine, version(), planned(1, "a"), read(1, "one"), r.Cancel(P, [1], 1.0), planned(2, "b"), read(2, "one"))
    assert engine.notes() == []
    assert shown(engine, 2) == []
    engine.close()


def test_given_a_file_that_was_set_aside_then_the_iteration_that_took_it_up_is_named_or_that_it_is_aside() -> None:
    engine = claimed()
    put(engine, version(), planned(1, "a"), read(1, "one"), r.DeadLetter(P, 1, "clean", failure(), 1.0))
    put(engine, planned(2, "b"), read(2, "one"))
    assert "b those of a (iteration 1, where it was set aside)" in engine.notes()[0]
    assert [one["aside"] for one in engine.answer("iteration.show", {"pipeline": P, "iteration": 2})["twins"]] == [True]
    put(engine, prepare(2), commit(2))
    again = [file_position("a", SIZE, 20, 30, 2)]
    put(engine, replace(plan(3), positions={"flights": again}, replay=r.Replay(1, 1, True)), read(3, "one"))
    put(engine, prepare(3), commit(3), planned(4, "c"), read(4, "one"))
    assert "c those of b (iteration 2)" in engine.notes()[0]
    assert [shown(engine, number) for number in (2, 3)] == [[], [("a", "b", 2)]]
    engine.close()


def test_given_files_that_are_small_or_without_rows_when_they_are_equal_then_nothing_is_told() -> None:
    engine = claimed()
    put(engine, version(), planned(1, "a", "b", size=SIZE - 1), read(1, "one", "one"))
    put(engine, planned(2, "c", "d"), read(2, "none", "none", rows=0))
    assert engine.notes() == []
    put(engine, planned(3, "e", "f"), read(3, "not told", "not told", rows=-1))  # by a worker of a version before
    assert len(engine.notes()) == 1
    engine.close()


def test_given_a_backfill_when_it_reads_what_was_read_then_nothing_is_told() -> None:
    engine = claimed()
    put(engine, version())
    whole(engine, 1, a="one", b="two")
    backfill = r.Backfill(P, "backfill-1", "run-1", "yaml", 1.0)
    put(engine, backfill, planned(2, "a", "c", lane="backfill-1"), read(2, "one", "two"))
    assert engine.notes() == []
    engine.close()


def test_given_a_million_files_when_one_is_looked_for_then_the_index_finds_it_alone() -> None:
    engine = claimed()
    query = f"EXPLAIN QUERY PLAN {twins._EQUAL} AND identity <> ?{twins._NEWEST} LIMIT 1"
    plan = " ".join(row[3] for row in engine._db.execute(query, (b"", P, "flights", "a")))
    assert "USING INDEX twins (digest=? AND pipeline=?" in plan, plan
    engine.close()
