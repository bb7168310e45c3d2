"""What ``odibictl`` shows of runs, occurrences of schedules, and alerts; and how bad rows among them are found."""

from __future__ import annotations

from typing import Any

import pytest

from odibi_actors.checkpoint import asking
from odibi_actors.checkpoint import records as r
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.errors import ConfigError, NotFoundError
from odibi_actors.model import Place, Trigger
from tests.checkpoint.make import P, claimed, error, file, plan, put, schedule, started, version

RUN = {
    "run", "pipeline", "state", "cause", "at", "ended", "planned", "took", "lane", "schedule", "occurrence",
    "error",
}  # fmt: skip


@pytest.fixture
def engine() -> Engine:
    """Schedule ``hourly``: o1 failed, o2 runs, o3 was skipped, o4 to o6 were skipped at once, o7 waits; a backfill of
    another pipeline."""
    engine = claimed()
    put(engine, version(), version(pipeline="other"), schedule(), schedule("files"), schedule(pipeline="other"))
    for n in (1, 2, 3):
        put(engine, r.Occurrence(P, "hourly", f"o{n}", 10.0 * n, 10.0 * n + 1, Place(n)))
    put(engine, started("o1"), plan(1, "a.csv", run=f"{P}.hourly@o1"), error(1), r.Fail(P, 1, "clean", 5.0))
    put(engine, r.RunEnd(f"{P}.hourly@o1", P, "failed", 6.0, "clean: it broke"), started("o2"))
    put(engine, r.Skip(P, "hourly", "o3", "o3", 30.0, 1, "overlap: run R in progress", 32.0))
    put(engine, r.Skip(P, "hourly", "o4", "o6", 60.0, 3, "superseded by a later one", 61.0, Place(6)))
    put(engine, r.Occurrence(P, "files", "o7", 70.0, 71.0, positions=[file("a.csv")]))
    trigger = Trigger("backfill", "hourly", "", 0.0, {"day": 1}, ["a.csv"])
    put(engine, r.Run("b", "other", "backfill", 7.0, trigger, "backfill-9"), r.RunEnd("b", "other", "done", 8.0))
    number = engine.last_seq + 1
    put(engine, r.Alert(number, "failure", P, "it broke", 6.5, "hourly", f"{P}.hourly@o1", "o1", 2))
    put(engine, r.Alert(number + 1, "recovery", "other", "it works", 9.0), r.Alerted(number, 7.0, "webhook: timeout"))
    return engine


def items(engine: Engine, verb: str, **params: Any) -> list[dict[str, Any]]:
    found = engine.answer(verb, params)["items"]
    assert isinstance(found, list)
    return found


def test_occurrences_are_listed_newest_first_with_what_became_of_them(engine: Engine) -> None:
    rows = items(engine, "occurrence.list", pipeline=P)
    assert [(row["schedule"], row["occurrence"], row["state"]) for row in rows] == [
        ("files", "o7", "waiting"),
        ("hourly", "o6", "skipped"),
        ("hourly", "o3", "skipped"),
        ("hourly", "o2", "started"),
        ("hourly", "o1", "started"),
    ]
    assert rows[1] == {
        "schedule": "hourly", "occurrence": "o6", "due": 60.0, "at": 61.0, "state": "skipped", "run": "",
        "run_state": "", "reason": "superseded by a later one", "count": 3, "first": "o4",
    }  # fmt: skip
    assert rows[2]["reason"] == "overlap: run R in progress"
    assert [(row["run"], row["run_state"]) for row in rows[3:]] == [
        (f"{P}.hourly@o2", "active"),
        (f"{P}.hourly@o1", "failed"),
    ]


def test_occurrences_are_selected_by_schedule_and_state_and_limited(engine: Engine) -> None:
    def names(**params: Any) -> list[str]:
        return [row["occurrence"] for row in items(engine, "occurrence.list", pipeline=P, **params)]

    assert names(schedule="hourly") == ["o6", "o3", "o2", "o1"]
    assert names(schedule="hourly", state="started") == ["o2", "o1"]
    assert names(state="waiting") == ["o7"]
    assert names(schedule="hourly", state="waiting") == []
    assert names(limit=2) == ["o7", "o6"]
    assert names(limit=-1) == []
    assert items(engine, "occurrence.list", pipeline="other") == []


def test_runs_are_listed_newest_first(engine: Engine) -> None:
    rows = items(engine, "run.list")
    assert [row["run"] for row in rows] == ["b", f"{P}.hourly@o2", f"{P}.hourly@o1"]
    assert all(set(row) == RUN | {"taken_up", "kept"} for row in rows)
    assert rows[2] == {
        "run": f"{P}.hourly@o1", "pipeline": P, "state": "failed", "cause": "schedule", "at": 2.0, "ended": 6.0,
        "planned": 1, "took": 4.0, "lane": "live", "schedule": "hourly", "occurrence": "o1", "error": "clean: it broke",
        "taken_up": 0, "kept": 1,
    }  # fmt: skip
    assert (rows[1]["state"], rows[1]["ended"], rows[1]["took"]) == ("active", None, None)
    assert [row["run"] for row in items(engine, "run.list", pipeline=P)] == [f"{P}.hourly@o2", f"{P}.hourly@o1"]
    assert [row["run"] for row in items(engine, "run.list", state="failed")] == [f"{P}.hourly@o1"]
    assert [row["run"] for row in items(engine, "run.list", pipeline=P, state="active")] == [f"{P}.hourly@o2"]
    assert [row["run"] for row in items(engine, "run.list", limit=1)] == ["b"]


def test_a_run_is_shown_with_what_set_it_off(engine: Engine) -> None:
    found = engine.answer("run.show", {"run": "b"})
    assert set(found) == RUN | {"taken_up", "kept", "due", "params", "files"}
    assert (found["lane"], found["params"], found["files"]) == ("backfill-9", {"day": 1}, ["a.csv"])
    put(engine, r.Cancel(P, [1], 9.0))
    assert (engine.answer("run.show", {"run": f"{P}.hourly@o1"})["kept"]) == 0


def test_alerts_are_listed_newest_first(engine: Engine) -> None:
    rows = items(engine, "alert.list")
    assert [(row["kind"], row["told_at"], row["error"]) for row in rows] == [
        ("recovery", None, ""),
        ("failure", 7.0, "webhook: timeout"),
    ]
    assert items(engine, "alert.list", pipeline=P) == [
        {"id": rows[1]["id"], "kind": "failure", "pipeline": P, "schedule": "hourly", "run": f"{P}.hourly@o1",
         "occurrence": "o1", "text": "it broke", "at": 6.5, "told_at": 7.0, "error": "webhook: timeout",
         "held_back": 2, "targets": []},
    ]  # fmt: skip
    assert len(items(engine, "alert.list", limit=1)) == 1


def test_lists_are_bounded_whatever_is_asked_for(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_ROWS", 1)
    for verb in ("occurrence.list", "run.list", "alert.list"):
        assert len(items(engine, verb, pipeline=P, limit=2**63 - 1)) == 1


@pytest.mark.parametrize("verb", ["occurrence.list", "run.list", "alert.list"])
def test_a_list_that_ends_early_goes_on_where_it_says(engine: Engine, verb: str) -> None:
    whole, found, before = items(engine, verb, pipeline=P), [], None
    while True:
        page = engine.answer(verb, {"pipeline": P, "limit": 1, "before": before})
        found += page["items"]
        if "next" not in page:
            break
        assert page["total"] == len(whole)
        before = page["next"]
    assert found == whole


def test_what_is_not_there_is_told_with_a_suggestion(engine: Engine) -> None:
    for verb in ("occurrence.list", "run.list", "alert.list"):
        with pytest.raises(NotFoundError, match="no pipeline delay; did you mean delays"):
            engine.answer(verb, {"pipeline": "delay"})
    with pytest.raises(NotFoundError, match="delays has no schedule hourli; did you mean hourly"):
        engine.answer("occurrence.list", {"pipeline": P, "schedule": "hourli"})
    with pytest.raises(NotFoundError, match="known: files, hourly"):
        engine.answer("occurrence.list", {"pipeline": P, "schedule": "zzz"})
    with pytest.raises(NotFoundError, match=r"no run r9: see `odibictl pipeline runs PIPELINE`"):
        engine.answer("run.show", {"run": "r9"})
    with pytest.raises(ConfigError, match="state"):
        engine.answer("run.list", {"state": "sleepy"})
    with pytest.raises(ConfigError, match="pipeline"):
        engine.answer("occurrence.list", {})


def test_stats_count_the_tables_of_the_scheduler(engine: Engine) -> None:
    counts = engine.answer("checkpoint.stats", {})["counts"]
    found = {name: counts[name] for name in ("runs", "schedules", "occurrences", "backfills", "alerts", "ledger")}
    assert found == {"runs": 3, "schedules": 3, "occurrences": 5, "backfills": 0, "alerts": 2, "ledger": 2}


# --- verify -------------------------------------------------------------------------------------------------------


def verified(engine: Engine) -> list[str]:
    problems: list[str] = []
    cursor = ""
    while True:
        found = engine.answer("checkpoint.verify", {"cursor": cursor})
        assert all(problem["fix"] for problem in found["problems"])
        problems += [problem["what"] for problem in found["problems"]]
        cursor = found["cursor"]
        if not cursor:
            return problems


def test_given_what_records_leave_when_verified_then_there_is_no_problem(engine: Engine) -> None:
    put(engine, r.Backfill(P, "backfill-9", "b", 1.0))
    assert verified(engine) == []


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("UPDATE schedules SET due = -5 WHERE name = 'files'", "schedule delays.files is at .* before its record's"),
        ("UPDATE schedules SET due = 2 WHERE name = 'hourly'", "occurrence o3 of delays.hourly is at .*only at"),
        (
            "UPDATE schedules SET gone = 1 WHERE name = 'files'",
            "o7 of delays.files waits, but its schedule was",
        ),
        ("UPDATE schedules SET gone = 1 WHERE name = 'files'", "schedule delays.files is not what its record says"),
        ("UPDATE schedules SET skipped = 9", "delays.hourly has skipped 9 occurrences, but by reason"),
        ("DELETE FROM schedules WHERE name = 'files'", "o7 of delays.files: there is no such schedule"),
        ("UPDATE occurrences SET id = 'o9' WHERE id = 'o7'", "occurrence o9 of delays.files is not what its record"),
        ("UPDATE occurrences SET payload = NULL WHERE id = 'o7'", "o7 of delays.files is waiting, but was not noted"),
        ("UPDATE occurrences SET run = 'b' WHERE id = 'o2'", "o2 of delays.hourly has run b, which is of other"),
        (
            "DELETE FROM occurrences WHERE id = 'o2'",
            "but occurrence o2 of delays.hourly does not name it",
        ),
        ("UPDATE runs SET ended = 5.0 WHERE ended IS NULL", "o2 is active, but its end says otherwise"),
        ("UPDATE runs SET occurrence = 'o9' WHERE occurrence = 'o1'", "o1 is not what its trigger says"),
        ("UPDATE alerts SET id = id + 100", "alert 1.. is not what its record says"),
        ("UPDATE backfills SET lane = 'backfill-8'", "backfill backfill-8 of delays is not what its record says"),
    ],
)
def test_given_rows_that_do_not_fit_together_when_verified_then_it_is_told(
    engine: Engine, damage: str, what: str
) -> None:
    put(engine, r.Backfill(P, "backfill-9", "b", 1.0))
    assert engine._db.execute(damage).rowcount > 0
    with pytest.raises(AssertionError, match=what):
        assert "\n".join(verified(engine)) == ""


@pytest.mark.parametrize("table", ["schedules", "occurrences", "runs", "backfills", "alerts"])
def test_given_a_payload_that_is_damaged_when_verified_then_it_is_told(engine: Engine, table: str) -> None:
    put(engine, r.Backfill(P, "backfill-9", "b", 1.0))
    engine._db.execute(f"UPDATE {table} SET payload = CAST(x'00' || payload AS BLOB)")
    assert any(f"payload of {table} " in problem for problem in verified(engine))


def test_given_an_alert_that_is_tried_again_then_its_targets_and_its_last_error_are_listed(engine: Engine) -> None:
    number = engine.last_seq + 1
    targets = ["https://hooks.example.org/...", "log"]
    put(engine, r.Alert(number, "failure", P, "again", 9.5, targets=targets))
    for why in ("refused", "no answer within 10 s"):
        put(engine, r.Alerted(number, 10.0, why, again=True))
    row = items(engine, "alert.list", pipeline=P)[0]
    assert (row["targets"], row["told_at"], row["error"]) == (targets, None, "no answer within 10 s")
    put(engine, r.Alerted(number, 11.0))
    row = items(engine, "alert.list", pipeline=P)[0]
    assert (row["told_at"], row["error"]) == (11.0, "")
