"""What is old and finished is forgotten in small steps; the ledger, unfinished work and dead letters never are."""

from __future__ import annotations

from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint import retention
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.errors import NotFoundError
from odibi_actors.model import Place
from tests.checkpoint.counting import counted, recounted
from tests.checkpoint.make import (
    P,
    ack,
    claimed,
    commit,
    committed,
    error,
    failure,
    file,
    ledger,
    loaded,
    plan,
    prepare,
    put,
    schedule,
    started,
    version,
)
from tests.targets import folder

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
    assert rows(engine) == {"acks": 4, "errors": 2, "plans": 4}  # of the 4th its summary is kept, with its letter
    assert ledger(engine) == consumed == ["a.csv", "c.csv", "d.csv", "e.csv", "f.csv", "g.csv", "h.csv"]
    assert loaded(engine) == before
    put(engine, *committed(8, "i.csv"))
    assert loaded(engine)[0] == r.LoadedCounter(P, 8, 8, 4, ["flights"], [3], 2, {"lake": folder("/lake")}, 4, 8, 8)


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


def test_given_a_long_history_when_pruned_then_it_goes_in_chunks_and_sweeps_begin_again() -> None:
    engine = claimed()
    with mock.patch.object(retention, "CHUNK", 5):
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


def test_given_a_run_whose_iteration_may_be_retried_when_pruned_then_it_stays_and_can_go_on() -> None:
    engine = claimed()
    put(engine, r.Run("r1", P, "t", 1.0), plan(1, "a.csv", run="r1"), ack(1), r.Fail(P, 1, "clean", 1.0))
    put(engine, r.RunEnd("r1", P, "failed", 1.0))
    sweep(engine, now=60 * DAY)
    put(engine, r.Retry(P, 1, 60 * DAY), prepare(1), commit(1, 60 * DAY), r.RunEnd("r1", P, "done", 60 * DAY))
    sweep(engine, now=120 * DAY)
    assert count(engine, "runs") == 0


def count(engine: Engine, table: str) -> int:
    found = engine.answer("checkpoint.stats", {})["counts"][table]
    assert isinstance(found, int)
    return found


def test_given_old_occurrences_when_pruned_then_those_stay_that_wait_or_whose_run_is_there() -> None:
    engine = claimed()
    put(engine, schedule())
    for number, name in enumerate(("waits", "runs", "ran", "ran late", "skipped", "young")):
        at = 59 * DAY if name == "young" else 1.0
        put(engine, r.Occurrence(P, "hourly", name, 1.0, at, Place(number), positions=[file(name)]))
    put(
        engine,
        *(started(name) for name in ("runs", "ran", "ran late", "young")),
        r.Skip(P, "hourly", "skipped", "", 1.0, 1, "paused", 1.0),
    )
    put(engine, r.Skip(P, "hourly", "x", "y", 1.0, 9, "paused", 59 * DAY, Place(9)))
    ends = {"ran": 1.0, "ran late": 59 * DAY, "young": 59 * DAY}
    put(engine, *(r.RunEnd(f"{P}.hourly@{name}", P, "done", at) for name, at in ends.items()))
    before, consumed = loaded(engine), ledger(engine, lane="trigger", source="hourly")
    sweep(engine, now=60 * DAY)
    items = engine.answer("occurrence.list", {"pipeline": P})["items"]
    assert [row["occurrence"] for row in items] == ["y", "young", "ran late", "runs", "waits"]
    assert ledger(engine, lane="trigger", source="hourly") == consumed  # never read twice
    after = loaded(engine)
    assert [i for i in before if i not in after] == [i for i in before if getattr(i, "state", "") == "done"][:1]
    sweep(engine, now=200 * DAY)
    items = engine.answer("occurrence.list", {"pipeline": P})["items"]
    assert [row["occurrence"] for row in items] == ["runs", "waits"]
    assert count(engine, "schedules") == 1


def test_given_alerts_and_backfills_when_pruned_then_those_that_are_told_and_ended_go() -> None:
    engine = claimed()
    put(engine, schedule(gone=True), *(r.Alert(n, "failure", P, "x", 1.0) for n in (2, 3, 4)))
    put(engine, r.Alerted(2, 1.0), r.Alerted(3, 59 * DAY))
    put(engine, *(r.Backfill(P, f"backfill-{n}", "r", 1.0) for n in (1, 2, 3)))
    put(engine, r.BackfillEnd(P, "backfill-1", "done", 1.0), r.BackfillEnd(P, "backfill-2", "done", 59 * DAY))
    before = loaded(engine)
    sweep(engine, now=60 * DAY)
    assert loaded(engine) == before
    assert [row["id"] for row in engine.answer("alert.list", {})["items"]] == [4, 3]
    assert (count(engine, "backfills"), count(engine, "schedules")) == (2, 1)


@pytest.mark.parametrize("verb", ["iteration.list", "run.list", "alert.list"])
def test_given_a_list_that_is_empty_since_its_history_is_pruned_then_it_says_so(verb: str) -> None:
    engine = claimed()
    put(engine, version(pipeline="other"))
    params = {"pipeline": "other"}
    assert "pruned_before" not in engine.answer(verb, params)
    put(engine, *committed(1, "a.csv", at=1 * DAY))
    put(engine, *committed(2, "b.csv", at=50 * DAY))
    sweep(engine, now=60 * DAY)
    assert engine.answer(verb, params) | {"held": []} == {"items": [], "held": [], "pruned_before": 1 * DAY}
    assert "pruned_before" not in engine.answer("iteration.list", {"pipeline": P})


@pytest.mark.parametrize(
    ("verb", "begun", "ended"),
    [
        ("run.list", r.Run("a", "other", "manual", 1.0), r.RunEnd("a", "other", "no_data", 2 * DAY)),
        ("alert.list", r.Alert(3, "failure", "other", "x", 1.0), r.Alerted(3, 2 * DAY)),
    ],
)
def test_given_runs_or_alerts_that_were_pruned_alone_then_the_empty_list_says_so(
    verb: str, begun: r.AnyRecord, ended: r.AnyRecord
) -> None:
    engine = claimed()
    put(engine, version(), version(pipeline="other"), begun, ended)
    params = {"pipeline": "other"}
    assert len(engine.answer(verb, params)["items"]) == 1
    sweep(engine, now=60 * DAY)
    assert engine.answer(verb, params) | {"held": []} == {"items": [], "held": [], "pruned_before": 2 * DAY}
    taken = retention.told(engine._db)["pruned_by_history"]
    assert (taken["iterations"], taken["rows"], taken["through"]) == (0, 1, 2 * DAY)


def test_given_a_long_history_of_a_schedule_when_pruned_then_it_goes_in_chunks() -> None:
    engine = claimed()
    put(engine, schedule())
    for n in range(50):
        put(engine, r.Occurrence(P, "hourly", f"o{n}", 1.0, float(n), Place(n)), started(f"o{n}"))
        put(engine, r.RunEnd(f"{P}.hourly@o{n}", P, "done", float(n)))
        number = engine.last_seq + 1
        put(engine, r.Alert(number, "failure", P, "x", 1.0), r.Alerted(number, float(n)))
    with mock.patch.object(retention, "CHUNK", 7):
        for _ in range(3):
            engine.prune(60 * DAY, 30 * DAY, 0)
            assert 150 - sum(count(engine, name) for name in ("runs", "occurrences", "alerts")) <= 21
        assert sweep(engine, now=60 * DAY) > 15
    assert [count(engine, name) for name in ("runs", "occurrences", "alerts")] == [0, 0, 0]
    put(engine, r.Skip(P, "hourly", "o99", "o99", 1.0, 1, "x", 1.0, Place(99)))
    sweep(engine, now=60 * DAY)
    assert count(engine, "occurrences") == 0


@pytest.mark.parametrize("reset", [False, True])
def test_given_an_iteration_that_is_pruned_or_reset_when_asked_for_then_the_error_says_it_is_forgotten(
    reset: bool,
) -> None:
    engine = claimed()
    put(engine, *committed(1, "a.csv"))
    if reset:
        engine.forget(P, 60 * DAY, "{}")
    else:
        sweep(engine, now=60 * DAY)
    assert listed(engine) == []
    said = f"pipeline {P} has no iteration 1: it is forgotten, by a reset or because it was pruned"
    with pytest.raises(NotFoundError, match=rf"{said} \(see history and history_size in odibi.yaml\); none is kept$"):
        engine.answer("iteration.show", {"pipeline": P, "iteration": 1})
    with pytest.raises(NotFoundError, match=f"{said}$"):
        engine.answer("iteration.ended", {"pipeline": P, "one": 1})


def sized(engine: Engine, size: int) -> None:
    put(engine, r.Setting(r.PROJECT, r.HISTORY_SIZE, str(size)))


def history(engine: Engine) -> dict[str, Any]:
    found: dict[str, Any] = engine.answer("checkpoint.stats", {})["history"]
    return found


def test_given_too_much_history_when_pruned_then_the_oldest_of_all_pipelines_go_and_stats_say_so() -> None:
    engine = claimed()
    for number in range(1, 41):
        put(engine, *committed(number, f"{number}.csv", at=number * 100.0))
        other = [msgspec.structs.replace(x, pipeline="other") for x in committed(number, "x", at=number * 100.0 + 1)]
        put(engine, msgspec.structs.replace(other[0], positions={}), *other[1:])  # type: ignore[arg-type]
    consumed = ledger(engine)
    held = history(engine)
    assert held["history_size"] == retention.SIZE
    assert (held["oldest"], held["pruned_by_history_size"]) == (100.0, None)
    sized(engine, held["history_bytes"] // 2)
    assert sweep(engine, now=5000.0) == 1
    told = history(engine)
    assert 0.8 * told["history_size"] < told["history_bytes"] <= told["history_size"]
    assert listed(engine) == list(range(min(listed(engine)), 41))
    assert abs(min(listed(engine)) - min(listed(engine, "other"))) <= 1
    assert told["oldest"] == min(min(listed(engine)) * 100.0, min(listed(engine, "other")) * 100.0 + 1)
    pruned = told["pruned_by_history_size"]
    assert pruned["at"] == 5000.0
    assert pruned["iterations"] == 80 - len(listed(engine)) - len(listed(engine, "other"))
    assert 0 <= told["oldest"] - pruned["through"] <= 100.0
    assert told["pruned_by_history"] is None
    assert (ledger(engine), counted(engine)) == (consumed, recounted(engine))
    with pytest.raises(NotFoundError, match=f"history_size in odibi.yaml.; kept are {min(listed(engine))} and later"):
        engine.answer("iteration.show", {"pipeline": P, "iteration": 3})
    sized(engine, 1)
    sweep(engine, now=5000.0, keep_last=4)
    assert listed(engine) == [37, 38, 39, 40]
    assert history(engine)["pruned_by_history_size"]["iterations"] == 72


def test_given_too_much_history_when_pruned_then_open_ones_and_letters_stay_and_the_ledger_does_not_count() -> None:
    engine = claimed()
    put(engine, plan(1, "a.csv"), ack(1, data=bytes(5000)), r.DeadLetter(P, 1, "clean", failure(), 1.0))
    put(engine, plan(2, *(f"{n}.csv" for n in range(1000))), r.Fail(P, 2, "clean", 1.0))
    for number in range(3, 9):
        put(engine, *committed(number, f"x{number}.csv", at=float(number)))
    before = lasting(engine)
    sized(engine, 1)
    sweep(engine, now=10.0)
    assert listed(engine) == [1, 2]
    assert [item for item in lasting(engine) if not isinstance(item, r.LoadedSetting)] == before


def lasting(engine: Engine) -> list[r.AnyLoaded]:
    """What is loaded, but for what is told of the newest iterations, which may be pruned."""
    return [
        msgspec.structs.replace(item, stands={}, accounted=0) if isinstance(item, r.LoadedCounter) else item
        for item in loaded(engine)
    ]


def test_given_a_history_in_a_large_ledger_when_pruned_then_the_ledger_does_not_count() -> None:
    engine = claimed()
    for number in range(1, 31):
        put(engine, *committed(number, *(f"{number}-{n}.csv" for n in range(50)), at=float(number)))
    size = history(engine)["history_bytes"]
    assert size < counted(engine)["ledger"][1]
    sized(engine, size)
    sweep(engine, now=100.0)
    assert len(listed(engine)) == 30


def test_given_a_history_of_schedules_only_when_it_is_too_much_then_their_oldest_go() -> None:
    engine = claimed()
    put(engine, schedule())
    for n in range(50):
        put(engine, r.Occurrence(P, "hourly", f"o{n}", 1.0, float(n), Place(n)), started(f"o{n}"))
        put(engine, r.RunEnd(f"{P}.hourly@o{n}", P, "done", float(n)))
    sized(engine, history(engine)["history_bytes"] // 2)
    with mock.patch.object(retention, "CHUNK", 5):
        sweep(engine, now=100.0)
    assert 0 < history(engine)["history_bytes"] <= history(engine)["history_size"]
    assert 10 < count(engine, "runs") < 30
    assert engine.answer("run.list", {"pipeline": P, "limit": 1})["items"][0]["run"].endswith("o49")


def test_given_a_short_history_when_pruned_then_it_is_looked_at_again_soon() -> None:
    engine = claimed()
    assert [engine.prune_every(seconds) for seconds in (10.0, 300.0, 3600.0, 30 * DAY)] == [10.0, 30.0, 360.0, 3600.0]
    put(engine, *committed(1, "a.csv"))
    sized(engine, history(engine)["history_bytes"])
    assert engine.prune_every(30 * DAY) == 60.0


def test_given_a_letter_that_is_gone_when_pruned_then_its_iteration_goes_too() -> None:
    engine = claimed()
    put(engine, plan(1, "a.csv"), r.DeadLetter(P, 1, "clean", failure(), 1.0), *committed(2, "b.csv"))
    sweep(engine, now=60 * DAY)
    assert listed(engine) == [1]
    put(engine, r.Discard(P, 1, 2.0))
    sweep(engine, now=60 * DAY)
    assert listed(engine) == []


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
    before = lasting(engine), ledger(engine)
    with mock.patch.object(retention, "CHUNK", chunk):
        sweep(engine, now=60 * DAY, keep_last=keep)
    assert (lasting(engine), ledger(engine)) == before
    assert counted(engine) == recounted(engine)
    stays = {n for n, (end, day) in enumerate(lives, 1) if end in ("dead", "open") or day >= 30}
    left = set(listed(engine)) if lives else set()
    assert left >= stays | set(range(max(1, len(lives) - keep + 1), len(lives) + 1))
    assert left <= set(range(1, len(lives) + 1))
