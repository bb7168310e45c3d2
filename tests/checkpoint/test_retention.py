"""What is old and finished is forgotten in small steps; the ledger, unfinished work and dead letters never are."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint import retention
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.errors import NotFoundError
from tests.checkpoint.make import P, ack, claimed, commit, committed, error, failure, ledger, loaded, plan, prepare, put

DAY = 86400.0


def sweep(engine: Engine, now: float, history: float = 30 * DAY, keep_last: int = 0) -> int:
    """Prune to the end; returns the number of chunks."""
    chunks = 1
    while engine.prune(now, history, keep_last):
        chunks += 1
    return chunks


def listed(engine: Engine, pipeline: str = P) -> list[int]:
    items = engine.answer("iteration.list", {"pipeline": pipeline, "limit": 1000})["items"]
    return sorted(row["iteration"] for row in items)


def rows(engine: Engine) -> dict[str, int]:
    return {t: engine._db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("acks", "errors", "plans")}


def test_given_old_iterations_when_pruned_then_only_what_is_finished_and_without_dead_letter_goes() -> None:
    engine = claimed()
    put(engine, *committed(1, "a.csv", at=1 * DAY))
    put(engine, plan(2, "b.csv"), error(2), r.Cancel(P, [2], 1 * DAY))
    put(engine, plan(3, "c.csv"), error(3), r.DeadLetter(P, 3, "clean", failure(), 1 * DAY))
    put(engine, plan(4, "d.csv", "e.csv"), ack(4), r.Revise(P, 4, "flights", ["d.csv"], failure(), 1.0))
    put(engine, prepare(4), commit(4, 1 * DAY))
    put(engine, plan(5, "f.csv"), ack(5), error(5))
    put(engine, plan(6, "g.csv"), ack(6), prepare(6), r.Block(P, 6, "lake", failure(), 1.0))
    put(engine, *committed(7, "h.csv", at=50 * DAY))
    before, consumed = loaded(engine), ledger(engine)
    sweep(engine, now=60 * DAY)
    assert listed(engine) == [3, 4, 5, 6, 7]
    assert rows(engine) == {"acks": 5, "errors": 2, "plans": 5}
    assert ledger(engine) == consumed == ["a.csv", "c.csv", "d.csv", "e.csv", "f.csv", "g.csv", "h.csv"]
    assert loaded(engine) == before
    put(engine, *committed(8, "i.csv"))
    assert loaded(engine)[0] == r.LoadedCounter(P, 8, 8, 4, ["flights"], [3], 2)


def test_given_a_project_that_says_how_long_when_pruned_then_that_rules() -> None:
    engine = claimed()
    put(engine, r.Setting(r.PROJECT, r.HISTORY, str(7 * DAY)))
    put(engine, *committed(1, "a.csv", at=1 * DAY), *committed(2, "b.csv", at=9 * DAY))
    sweep(engine, now=10 * DAY, history=30 * DAY)
    assert listed(engine) == [2]


def test_given_keep_last_when_pruned_then_the_newest_stay_whatever_their_age() -> None:
    engine = claimed()
    for number in range(1, 11):
        put(engine, *committed(number, f"{number}.csv", at=float(number)))
    sweep(engine, now=60 * DAY, keep_last=4)
    assert listed(engine) == [7, 8, 9, 10]


def test_given_a_long_history_when_pruned_then_it_goes_in_chunks_and_sweeps_begin_anew() -> None:
    engine = claimed()
    with mock.patch.object(retention, "CHUNK", 20):
        for number in range(1, 31):
            put(engine, *committed(number, f"{number}.csv", at=float(number)))
        assert sweep(engine, now=60 * DAY) > 4
        assert listed(engine) == []
        put(engine, *committed(31, "31.csv", at=1.0))
        sweep(engine, now=60 * DAY)
        assert listed(engine) == []
    assert len(ledger(engine)) == 31


def test_given_ended_runs_when_pruned_then_old_ones_go_and_active_ones_stay() -> None:
    engine = claimed()
    put(engine, r.Run("r1", P, "t", 1.0), r.Run("r2", P, "t", 1.0), r.Run("r3", P, "t", 1.0))
    put(engine, r.RunEnd("r1", P, "done", 1.0), r.RunEnd("r2", P, "done", 59 * DAY))
    sweep(engine, now=60 * DAY)
    assert [row[0] for row in engine._db.execute("SELECT run FROM runs ORDER BY run")] == ["r2", "r3"]


def test_given_a_pruned_iteration_when_shown_then_the_error_says_it_is_history() -> None:
    engine = claimed()
    put(engine, *committed(1, "a.csv"))
    sweep(engine, now=60 * DAY)
    assert listed(engine) == []
    with pytest.raises(NotFoundError, match="it is history, and pruned"):
        engine.answer("iteration.show", {"pipeline": P, "iteration": 1})


ends = st.sampled_from(["committed", "cancelled", "dead", "open"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(ends, st.integers(0, 60)), max_size=30), st.integers(1, 40), st.integers(0, 5))
def test_any_history_keeps_ledger_snapshot_and_all_that_is_young(
    lives: list[tuple[str, int]], chunk: int, keep: int
) -> None:
    engine = claimed()
    for number, (end, day) in enumerate(lives, 1):
        put(engine, plan(number, f"{number}.csv"), ack(number))
        if end == "committed":
            put(engine, prepare(number), commit(number, day * DAY))
        elif end == "cancelled":
            put(engine, r.Cancel(P, [number], day * DAY))
        elif end == "dead":
            put(engine, r.DeadLetter(P, number, "clean", failure(), day * DAY))
    before = loaded(engine), ledger(engine)
    with mock.patch.object(retention, "CHUNK", chunk):
        sweep(engine, now=60 * DAY, keep_last=keep)
    assert (loaded(engine), ledger(engine)) == before
    stays = {n for n, (end, day) in enumerate(lives, 1) if end in ("dead", "open") or day >= 30}
    left = set(listed(engine)) if lives else set()
    assert left >= stays | set(range(max(1, len(lives) - keep + 1), len(lives) + 1))
    assert left <= set(range(1, len(lives) + 1))
