"""What the scheduler's records do to the tables: places only grow, and every occurrence is noted and started once."""

from __future__ import annotations

from typing import TypeVar

import pytest
from msgspec.structs import replace

from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint import snapshot
from odibi_actors.checkpoint.engine import Engine, Refused
from odibi_actors.model import Place, Trigger
from tests.checkpoint.make import (
    P,
    ack,
    claimed,
    commit,
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

T = TypeVar("T", bound=r.AnyLoaded)
BACKFILL = r.Backfill(P, "backfill-7", "b", 1.0, {"flights": "*.csv"})


@pytest.fixture
def engine() -> Engine:
    """A pipeline with the schedule ``hourly`` at place 10."""
    engine = claimed()
    put(engine, version(), schedule(place=Place(10)))
    return engine


def noted(name: str = "o1", due: int | None = 20, schedule: str = "hourly", **more: object) -> r.Occurrence:
    record = r.Occurrence(P, schedule, name, 20.0, 21.0, None if due is None else Place(due))
    return replace(record, **more)


def skip(first: str, last: str = "", due: int | None = None, count: int = 1, reason: str = "paused") -> r.Skip:
    return r.Skip(P, "hourly", first, last or first, 20.0, count, reason, 21.0, None if due is None else Place(due))


def of(engine: Engine, kind: type[T]) -> list[T]:
    return [item for item in loaded(engine) if isinstance(item, kind)]


def one(engine: Engine) -> r.LoadedSchedule:
    (found,) = of(engine, r.LoadedSchedule)
    return found


def waits(engine: Engine) -> list[tuple[str, str]]:
    return [(item.record.id, item.run) for item in of(engine, r.LoadedOccurrence)]


def refused(engine: Engine, *records: r.AnyRecord) -> str:
    """The last of the records is refused, and leaves nothing behind."""
    put(engine, *records[:-1])
    before = engine.last_seq, loaded(engine), dict(enumerate(engine._db.iterdump()))
    with pytest.raises(Refused) as refusal:
        put(engine, records[-1])
    assert (engine.last_seq, loaded(engine), dict(enumerate(engine._db.iterdump()))) == before
    return str(refusal.value)


# --- schedules and places -----------------------------------------------------------------------------------------


def test_given_a_schedule_when_it_changes_then_its_place_cannot_go_back_and_its_counters_stay(engine: Engine) -> None:
    put(engine, noted(due=20), started("o1"), skip("o2", "o4", due=30, count=3))
    assert "cannot go back" in refused(engine, schedule(place=Place(29)))
    assert "cannot go back" in refused(engine, schedule(place=Place(30, "2026")))
    changed = schedule(place=Place(30), paused=True, floor=5.0)
    put(engine, changed)
    assert one(engine) == r.LoadedSchedule(changed, 1, {"paused": 3}, "o1", f"{P}.hourly@o1")
    put(engine, schedule(place=Place(40)))
    assert one(engine).record.place == Place(40)


def test_given_a_removed_schedule_then_it_is_remembered_and_nothing_of_it_is_noted(engine: Engine) -> None:
    put(engine, noted("o0", 15), noted("o1", 20), schedule(place=Place(20), gone=True))
    assert one(engine).record.gone
    assert "schedule hourly is gone" in refused(engine, noted("o2", 30))
    assert "schedule hourly is gone" in refused(engine, noted("o2", None))
    assert "schedule hourly is gone" in refused(engine, skip("o2", due=30))
    put(engine, skip("o1", reason="removed"), started("o0"))  # what waits has an end
    assert waits(engine) == [("o0", f"{P}.hourly@o0")]
    assert "cannot go back" in refused(engine, schedule(place=Place(10)))
    put(engine, schedule(place=Place(20)), noted("o2", 30))


def test_given_no_schedule_then_nothing_of_it_is_noted(engine: Engine) -> None:
    for record in (
        noted(schedule="daily"),
        noted(due=None, schedule="daily"),
        replace(skip("o", due=20), schedule="d"),
    ):
        assert "is not there" in refused(engine, record)


def test_given_an_occurrence_with_a_place_when_noted_then_the_place_moves_there_and_only_onwards(
    engine: Engine,
) -> None:
    for due in (9, 10):
        assert "is not after its place" in refused(engine, noted(due=due))
    put(engine, noted(due=11), noted("o2", 12, place=Place(12, "2026-11-26T10:00")))
    assert one(engine).record.place == Place(12, "2026-11-26T10:00")
    assert "is not after" in refused(engine, noted("o3", place=Place(12, "2026-11-26T09:00")))
    put(engine, noted("o3", None))
    assert one(engine).record.place == Place(12, "2026-11-26T10:00")
    assert waits(engine) == [("o1", ""), ("o2", ""), ("o3", "")]


def test_given_an_occurrence_when_it_is_noted_again_then_it_is_refused_unless_it_was_skipped(engine: Engine) -> None:
    assert "o1 is noted already" in refused(engine, noted(), noted(due=30))
    assert "o1 is noted already" in refused(engine, started("o1"), noted(due=30))
    put(engine, noted("o2", 40), skip("o2"), noted("o2", 50))
    assert "o2" in dict(waits(engine))


def test_given_an_after_schedule_when_occurrences_are_noted_then_what_was_seen_is_merged(engine: Engine) -> None:
    put(engine, schedule(place=Place(10), seen={"a": 1}), noted(due=None, seen={"b": 2}))
    put(engine, noted("o2", None, seen={"a": 5}), noted("o3", 30, seen={"c": 1}))
    assert one(engine).record.seen == {"a": 5, "b": 2, "c": 1}
    assert one(engine).record.place == Place(30)
    put(engine, schedule(place=Place(30), seen={"a": 6}))
    assert one(engine).record.seen == {"a": 6}


# --- files that arrive --------------------------------------------------------------------------------------------


def test_given_files_that_arrived_then_they_are_in_the_ledger_of_triggers_and_start_one_run_only(
    engine: Engine,
) -> None:
    put(engine, noted("o1", None, positions=[file("a.csv"), file("b.csv")]))
    assert ledger(engine, lane="trigger", source="hourly") == ["a.csv", "b.csv"]
    again = noted("o2", None, positions=[file("c.csv"), file("b.csv")])
    assert "has started a run already" in refused(engine, again)
    assert "has started a run already" in refused(engine, noted("o2", None, positions=[file("c.csv")] * 2))
    put(engine, noted("o2", None, positions=[file("b.csv", generation=2)]))
    assert engine.answer("checkpoint.stats", {})["counts"]["ledger"] == 3
    assert of(engine, r.LoadedCounter)[0].ledger == []  # no read node is bound by it
    put(engine, plan(1, "a.csv"), plan(2, "a.csv", lane="backfill-7"))
    assert of(engine, r.LoadedCounter)[0].ledger == ["flights"]
    assert "lane trigger" in refused(engine, plan(3, "z.csv", lane="trigger"))


def test_given_a_rewind_then_files_that_started_a_run_are_not_given_back(engine: Engine) -> None:
    put(engine, noted("o1", None, positions=[file("a.csv")]), plan(1, "a.csv"), ack(1), prepare(1), commit(1))
    put(engine, r.Rewind(P, 0, 1, [], 5.0, r.Left(0, 0, 0)), r.Rewound(P, 0, 1, 6.0))
    assert ledger(engine, lane="trigger", source="hourly") == ["a.csv"]
    assert ledger(engine) == []
    assert engine.answer("checkpoint.stats", {})["counts"]["ledger"] == 1


# --- skips --------------------------------------------------------------------------------------------------------


def test_given_an_occurrence_that_waits_when_skipped_then_it_waits_no_more(engine: Engine) -> None:
    put(engine, noted(), skip("o1", reason="overlap: run r1 in progress"))
    assert waits(engine) == []
    assert one(engine).skipped == {"overlap": 1}
    assert one(engine).record.place == Place(20)
    assert "o1 is not waiting" in refused(engine, skip("o1"))
    assert "o2 is not waiting" in refused(engine, skip("o2"))
    assert "o3 is not waiting" in refused(engine, noted("o3", 30), started("o3"), skip("o3"))


def test_given_occurrences_that_were_not_noted_when_skipped_then_the_place_moves_on(engine: Engine) -> None:
    assert "is not after" in refused(engine, skip("o1", due=10))
    assert "0 occurrences" in refused(engine, skip("o1", due=20, count=0))
    put(engine, skip("o1", "o5", due=20, count=5, reason="over catch_up.max"))
    assert one(engine).record.place == Place(20)
    assert one(engine).skipped == {"over catch_up.max": 5}


def test_given_many_reasons_when_counted_then_kinds_are_bounded(engine: Engine) -> None:
    put(engine, *(skip(f"o{n}", due=20 + n, reason=f"reason {n}: {n * n}") for n in range(25)))
    put(engine, skip("o30", due=60, count=2, reason="reason 3: again"))
    skipped = one(engine).skipped
    assert len(skipped) == 21
    assert (skipped["other"], skipped["reason 3"], sum(skipped.values())) == (5, 3, 27)


# --- runs ---------------------------------------------------------------------------------------------------------


def test_given_a_run_of_a_schedule_then_its_occurrence_waited_and_is_started(engine: Engine) -> None:
    assert "o1 of delays.hourly is not waiting" in refused(engine, started("o1"))
    put(engine, noted(), noted("o2", 30), started("o1"))
    assert waits(engine) == [("o1", f"{P}.hourly@o1"), ("o2", "")]
    assert one(engine) == replace(one(engine), started=1, last="o1", last_run=f"{P}.hourly@o1")
    again = replace(started("o1"), run="another")
    assert "o1 of delays.hourly is not waiting" in refused(engine, again)
    put(engine, started("o2", at=3.0), r.RunEnd(f"{P}.hourly@o1", P, "done", 4.0))
    assert waits(engine) == [("o2", f"{P}.hourly@o2")]
    assert (one(engine).started, one(engine).last) == (2, "o2")


def test_given_a_run_of_a_backfill_or_an_operator_then_nothing_has_to_wait(engine: Engine) -> None:
    manual = r.Run("m", P, "trigger", 1.0, Trigger("manual", params={"day": 1}))
    backfill = r.Run("b", P, "backfill", 1.0, Trigger("backfill", "hourly", "o1", 20.0), "backfill-7")
    put(engine, manual, backfill)
    assert [item.record for item in of(engine, r.LoadedRun)] == [manual, backfill]
    assert one(engine).started == 0


def test_given_a_run_when_it_ends_then_state_and_error_are_kept(engine: Engine) -> None:
    put(engine, *(r.Run(name, P, "t", 1.0) for name in ("a", "b", "c", "d")))
    assert "cannot end as active" in refused(engine, r.RunEnd("a", P, "active", 2.0))
    put(engine, r.RunEnd("a", P, "failed", 2.0, "it broke"), r.RunEnd("b", P, "cancelled", 2.0))
    put(engine, r.RunEnd("c", P, "no_data", 2.0))
    found = {item.record.run: (item.state, item.error) for item in of(engine, r.LoadedRun)}
    wanted = {"a": ("failed", "it broke"), "b": ("cancelled", ""), "c": ("no_data", ""), "d": ("active", "")}
    assert found == wanted
    assert "no active run a" in refused(engine, r.RunEnd("a", P, "done", 3.0))


def test_given_a_failed_run_when_an_iteration_of_it_is_retried_then_it_is_active_again(engine: Engine) -> None:
    put(engine, r.Run("a", P, "t", 1.0), r.Run("b", P, "t", 1.0), noted(), started("o1"))
    put(engine, plan(1, "a.csv", run="a"), ack(1), r.Fail(P, 1, "clean", 2.0), plan(2, "b.csv", run=f"{P}.hourly@o1"))
    ended = [r.RunEnd(name, P, "failed", 3.0, "clean broke") for name in ("a", "b", f"{P}.hourly@o1")]
    put(engine, ack(2), r.Fail(P, 2, "clean", 2.0), *ended)
    put(engine, r.Retry(P, 1, 4.0))
    found = {item.record.run: (item.state, item.error) for item in of(engine, r.LoadedRun)}
    assert (found["a"], found["b"]) == (("active", ""), ("failed", "clean broke"))
    assert engine.answer("run.show", {"run": "a"})["ended"] is None
    assert waits(engine) == []
    put(engine, r.Retry(P, 2, 4.0))
    assert waits(engine) == [("o1", f"{P}.hourly@o1")]
    put(engine, r.RunEnd("a", P, "done", 5.0))


def test_given_a_run_that_was_cancelled_when_an_iteration_is_retried_then_it_stays_cancelled(engine: Engine) -> None:
    put(engine, r.Run("a", P, "t", 1.0), plan(1, "a.csv", run="a"), ack(1), r.Fail(P, 1, "clean", 2.0))
    put(engine, r.RunEnd("a", P, "cancelled", 3.0), r.Retry(P, 1, 4.0))
    assert of(engine, r.LoadedRun)[0].state == "cancelled"


def test_given_cancelled_iterations_then_a_run_knows_how_many_it_keeps(engine: Engine) -> None:
    put(engine, r.Run("a", P, "t", 1.0), *(plan(n, f"{n}.csv", run="a") for n in (1, 2, 3)), r.Cancel(P, [3, 2], 2.0))
    (run,) = of(engine, r.LoadedRun)
    assert (run.planned, run.kept) == (3, 1)


def test_given_many_ended_runs_when_loaded_then_the_newest_of_each_pipeline_are_there_and_all_active_ones(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(r, "RUNS_LOADED", 3)
    for pipeline in (P, "other"):
        put(engine, *(r.Run(f"{pipeline}{n}", pipeline, "t", float(n)) for n in range(10)))
        put(engine, *(r.RunEnd(f"{pipeline}{n}", pipeline, "done", 100.0 - n) for n in range(1, 9)))
    found = [item.record.run for item in of(engine, r.LoadedRun)]
    assert found == [f"{pipeline}{n}" for pipeline in (P, "other") for n in (0, 1, 2, 3, 9)]


@pytest.mark.parametrize("page", [1, 2, 3])
def test_given_small_pages_when_loaded_then_nothing_is_lost_between_them(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    put(engine, *(schedule(f"s{n}") for n in range(3)), *(noted(f"o{n}", 20 + n) for n in range(6)))
    put(engine, *(started(f"o{n}") for n in range(3)), *(r.Run(f"r{n}", "other", "t", 1.0) for n in range(3)))
    put(engine, *(replace(BACKFILL, lane=f"backfill-{n}") for n in range(3)))
    first = engine.last_seq + 1
    put(engine, *(r.Alert(number, "failure", P, "x", 1.0) for number in range(first, first + 3)))
    whole = loaded(engine)
    assert len(whole) == 1 + 4 + 6 + 3 + 6 + 1 + 3
    monkeypatch.setattr(snapshot, "PAGE_ITEMS", page)
    assert loaded(engine) == whole


# --- backfills ----------------------------------------------------------------------------------------------------


def test_given_a_backfill_then_its_lane_is_its_own_and_counts_its_iterations(engine: Engine) -> None:
    put(engine, BACKFILL)
    for lane in ("backfill-7", "live", "trigger"):
        assert f"lane {lane} is taken" in refused(engine, replace(BACKFILL, lane=lane))
    put(engine, plan(1, "a.csv"), plan(2, "a.csv", "b.csv", lane="backfill-7"), plan(3, "c.csv", lane="backfill-7"))
    assert of(engine, r.LoadedBackfill) == [r.LoadedBackfill(BACKFILL, 2, 0, 3)]
    put(engine, *(ack(n) for n in (1, 2)), prepare(1), commit(1), prepare(2), commit(2), r.Cancel(P, [3], 2.0))
    assert of(engine, r.LoadedBackfill) == [r.LoadedBackfill(BACKFILL, 2, 1, 2)]
    assert ledger(engine, lane="backfill-7") == ["a.csv", "b.csv"]


def test_given_a_backfill_when_it_ends_then_all_of_it_is_terminal(engine: Engine) -> None:
    put(engine, BACKFILL, plan(1, "a.csv"), plan(2, "a.csv", lane="backfill-7"), plan(3, "b.csv", lane="backfill-7"))
    end = r.BackfillEnd(P, "backfill-7", "done", 9.0)
    assert "iteration 2 of backfill backfill-7 is unfinished" in refused(engine, end)
    put(engine, r.Cancel(P, [2], 3.0), ack(3), prepare(3))
    assert "iteration 3 of backfill backfill-7 is unfinished" in refused(engine, end)
    put(engine, commit(3), end)  # iteration 1 is of another lane
    assert of(engine, r.LoadedBackfill) == []
    assert "no active backfill" in refused(engine, end)
    assert "no active backfill" in refused(engine, replace(end, lane="backfill-8"))
    assert "is taken" in refused(engine, BACKFILL)


def test_given_a_backfill_when_it_is_active_then_nothing_is_rewound_and_the_other_way_round(engine: Engine) -> None:
    rewind = r.Rewind(P, 0, 0, [], 5.0, r.Left(0, 0, 0))
    assert "while its backfill backfill-7 is active" in refused(engine, BACKFILL, rewind)
    put(engine, r.BackfillEnd(P, "backfill-7", "cancelled", 3.0), rewind)
    assert "is being rewound" in refused(engine, replace(BACKFILL, lane="backfill-8"))
    put(engine, r.Rewound(P, 0, 0, 6.0), replace(BACKFILL, lane="backfill-8"))


def test_given_a_rewind_then_what_backfills_did_after_it_is_released_too(engine: Engine) -> None:
    put(engine, BACKFILL, plan(1, "a.csv", lane="backfill-7"), r.DeadLetter(P, 1, "clean", failure(), 2.0))
    put(engine, r.BackfillEnd(P, "backfill-7", "done", 3.0))
    put(engine, r.Rewind(P, 0, 1, [], 5.0, r.Left(0, 0, 0)), r.Rewound(P, 0, 1, 6.0))
    assert ledger(engine, lane="backfill-7") == []


# --- alerts -------------------------------------------------------------------------------------------------------


def test_given_an_alert_then_it_has_the_number_of_its_record_and_is_told_once(engine: Engine) -> None:
    assert "must have the number of its record, 3" in refused(engine, r.Alert(4, "failure", P, "it broke", 1.0))
    alert = r.Alert(3, "failure", P, "it broke", 1.0, "hourly", "r", "o1", 2)
    put(engine, alert, r.Alert(4, "recovery", P, "it works", 1.0))
    assert [item.record.id for item in of(engine, r.LoadedAlert)] == [3, 4]
    put(engine, r.Alerted(3, 5.0))
    assert [item.record.id for item in of(engine, r.LoadedAlert)] == [4]
    assert "no alert 3 that was not told" in refused(engine, r.Alerted(3, 5.0))
    assert "no alert 9 that was not told" in refused(engine, r.Alerted(9, 5.0))


@pytest.mark.parametrize("due", [2**63, float("nan")])
def test_given_values_that_cannot_be_stored_then_the_record_is_refused_and_the_store_goes_on(
    engine: Engine, due: float
) -> None:
    for record in (
        schedule(place=Place(2**63)),
        noted(due=None, at=float("nan")),
        noted(due=2**63),
        r.Alert(engine.last_seq + 1, "failure", P, "x", float("nan")),
        replace(skip("o1", due=20), due=due, count=2**63),
    ):
        refused(engine, record)
    assert not engine.broken
