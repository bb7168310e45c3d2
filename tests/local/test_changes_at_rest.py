"""For those who never run ``up``: dead letters taken up by ``run``, and what an operator changes while nothing runs."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from odibi_actors.cli.__main__ import odibictl
from odibi_actors.client import Client
from odibi_actors.config import load_project
from odibi_actors.errors import ConflictError
from odibi_actors.local import LocalSystem, replaying, run_pipeline
from odibi_actors.local.changes import CHANGES
from odibi_actors.messages import STORE

PROJECT = """\
project: rest
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: p
    on_error: dead_letter
    retry: {max_attempts: 1}
    nodes:
      - name: src
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv", schema: {id: int64}}
      - name: ref
        read: {connection: landing, format: csv, mode: batch, pattern: "ref/*.csv", schema: {id: int64, name: string}}
      - {name: t, inputs: [src, ref], transform: {sql: "select s.id, r.name from src s join ref r using (id)"}}
      - {name: out, inputs: [t], write: {connection: lake, path: out, format: parquet}}
  - pipeline: q
    trigger: schedule
    schedules: [{name: nightly, cron: "0 2 * * *"}]
    nodes:
      - name: src
        read: {connection: landing, format: csv, mode: file_watch, pattern: "q/*.csv", schema: {id: int64}}
      - {name: out, inputs: [src], write: {connection: lake, path: q, format: parquet}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "landing/ref").mkdir(parents=True)
    (tmp_path / "landing/q").mkdir()
    (tmp_path / "landing/ref/names.csv").write_text("id,name\n1,one\n2,two\n3,three\n")
    (tmp_path / "odibi.yaml").write_text(PROJECT)
    return tmp_path


def put(folder: Path, **files: str) -> None:
    for name, rows in files.items():
        (folder / f"landing/{name}.csv").write_text(f"id\n{rows}\n")


def call(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(odibictl, [*args, "--project", str(folder)])


def items(folder: Path, *args: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(call(folder, *args, "-o", "json").stdout)["items"]
    return found


def names(folder: Path) -> list[str]:
    return sorted(pq.read_table(folder / "lake/out").column("name").to_pylist())


def test_given_a_dead_letter_of_a_run_when_its_file_is_fixed_then_the_way_that_the_run_named_takes_it_up(
    folder: Path,
) -> None:
    put(folder, a="1", b="x")
    first = call(folder, "run", "p")
    assert first.exit_code == 5
    assert "`odibictl run p --replay 1`" in first.stderr
    put(folder, b="2")
    second = call(folder, "run", "p", "--replay", "all", "-o", "json")
    assert second.exit_code == 0, second.stderr
    told = json.loads(second.stdout)
    assert (told["state"], told["iterations"], told["committed"], told["replayed"]) == ("done", 1, 1, 1)
    assert "dead letter 1 is taken up by p 2" in second.stderr
    assert names(folder) == ["one", "two"]
    assert items(folder, "deadletter", "list") == []
    assert [one["state"] for one in items(folder, "iteration", "list", "p")] == ["committed", "committed"]
    third = call(folder, "run", "p", "--replay", "all", "-o", "json")
    assert (third.exit_code, json.loads(third.stdout)["state"]) == (0, "no_data")
    assert "p has no dead letter that could be taken up" in third.stderr
    assert names(folder) == ["one", "two"]


def test_given_older_rows_that_come_by_a_letter_or_a_backfill_then_newer_ones_of_the_same_keys_stay(
    folder: Path,
) -> None:
    (folder / "odibi.yaml").write_text(
        """\
project: versions
connections: {landing: {type: local, path: landing}, mart: {type: sqlite, path: mart.db}}
pipelines:
  - pipeline: p
    on_error: dead_letter
    retry: {max_attempts: 1}
    nodes:
      - name: src
        read: {connection: landing, format: csv, mode: file_watch, pattern: "o-*.csv", schema: {id: int64, at: int64}}
      - {name: out, inputs: [src], write: {connection: mart, table: o, mode: upsert, keys: [id], version: at}}
"""
    )
    (folder / "landing/o-1.csv").write_text("id,at\n1,10\n2,ten\n")
    call(folder, "run", "p")
    (folder / "landing/o-2.csv").write_text("id,at\n1,20\n")
    assert call(folder, "run", "p").exit_code == 0
    (folder / "landing/o-1.csv").write_text("id,at\n1,10\n2,10\n")
    assert call(folder, "run", "p", "--replay", "1").exit_code == 0
    with sqlite3.connect(folder / "mart.db") as mart:
        assert mart.execute("select id, at from o order by id").fetchall() == [(1, 20), (2, 10)]
        mart.execute("delete from o where id = 2")
    with LocalSystem(load_project(folder)) as system:
        asked = {"pipeline": "p", "files": {"src": "o-1.csv"}, "run": "backfill-x"}
        system.request("run.wait", {"run": system.request("pipeline.backfill", asked)["run"]})
    with sqlite3.connect(folder / "mart.db") as mart:
        assert mart.execute("select id, at from o order by id").fetchall() == [(1, 20), (2, 10)]


def test_given_a_letter_that_fails_again_then_the_run_says_so_and_there_is_a_new_letter(folder: Path) -> None:
    put(folder, a="x")
    call(folder, "run", "p")
    put(folder, b="1")
    again = call(folder, "run", "p", "--replay", "1", "-o", "json")
    assert again.exit_code == 5
    told = json.loads(again.stdout)
    assert (told["state"], told["committed"], told["dead_lettered"], told["replayed"]) == ("failed", 1, 1, 1)
    assert [one["id"] for one in items(folder, "deadletter", "list")] == [2]
    assert names(folder) == ["one"]


def test_given_letters_that_cannot_be_taken_up_then_nothing_is_run(folder: Path) -> None:
    put(folder, a="1", b="x", c="y")
    call(folder, "run", "p")
    (folder / "landing/c.csv").unlink()
    put(folder, d="3", b="2")
    before = items(folder, "iteration", "list", "p")
    for letters, code, said in (
        ("1,9", 3, "there is no dead letter 9"),
        ("1,2", 4, "c.csv of source src is not there any more"),
        ("all", 4, "c.csv of source src is not there any more"),
        ("x", 2, "write ids of dead letters, such as 3,4, or `all` alone"),
    ):
        refused = call(folder, "run", "p", "--replay", letters)
        assert (refused.exit_code, refused.stdout) == (code, ""), letters
        assert said in refused.stderr
    other = call(folder, "run", "q", "--replay", "1")
    assert other.exit_code == 2
    assert "`odibictl run p --replay 1`" in other.stderr
    assert call(folder, "run", "p", "--fresh", "--replay", "1").exit_code == 2
    assert items(folder, "iteration", "list", "p") == before
    assert call(folder, "deadletter", "discard", "2", "--yes").exit_code == 0
    assert call(folder, "run", "p", "--replay", "all").exit_code == 0
    assert names(folder) == ["one", "three", "two"]


def test_given_a_run_that_is_killed_while_it_takes_letters_up_then_the_next_run_ends_that(folder: Path) -> None:
    put(folder, a="1", b="x")
    call(folder, "run", "p")
    put(folder, b="2")
    with LocalSystem(load_project(folder)) as system:
        assert replaying.chosen(system, "p", [1], lambda: None) == [1]
        assert system.request("deadletter.replay", {"letter": 1})["iteration"] == 2  # and the process ends
    assert next(one["state"] for one in items(folder, "iteration", "list", "p")) in ("planned", "running", "committed")
    summary = run_pipeline(load_project(folder), "p")
    assert [one["state"] for one in items(folder, "iteration", "list", "p")] == ["committed", "committed"]
    assert summary.state in ("done", "no_data")
    assert names(folder) == ["one", "two"]


def test_given_dead_letters_at_rest_when_replay_is_asked_then_the_command_that_it_names_works(folder: Path) -> None:
    put(folder, a="x")
    call(folder, "run", "p")
    refused = call(folder, "deadletter", "replay", "1")
    assert (refused.exit_code, refused.stdout) == (69, "")
    (line,) = refused.stderr.splitlines()
    assert "`odibictl run p --replay 1` takes it up again" in line
    put(folder, a="1")
    assert call(folder, "run", "p", "--replay", "1").exit_code == 0
    assert call(folder, "deadletter", "replay", "7").exit_code == 3


def test_given_nothing_runs_when_a_verb_only_writes_then_it_is_done_and_the_next_run_goes_by_it(folder: Path) -> None:
    put(folder, a="1", b="x")
    call(folder, "run", "p")
    for args, code in (
        (("pipeline", "pause", "p"), 0),
        (("run", "p"), 4),
        (("pipeline", "resume", "p"), 0),
        (("run", "p"), 0),
        (("deadletter", "discard", "1", "--dry-run"), 0),
        (("deadletter", "discard", "1", "--yes"), 0),
        (("deadletter", "discard", "1", "--yes"), 3),
        (("iteration", "cancel", "p", "1", "--yes"), 4),
        (("iteration", "abandon", "p", "1", "--sink", "out", "--yes"), 4),
        (("backfill", "cancel", "p", "1", "--yes"), 3),
        (("sink", "repin", "p.out"), 0),
        (("source", "unpin", "p.src", "--dry-run"), 0),
        (("source", "unpin", "p.src"), 0),
        (("source", "unpin", "p.src"), 3),
        (("schedule", "pause", "nightly"), 0),
        (("schedule", "resume", "nightly"), 0),
        (("schedule", "add", "q", "often", "--every", "1h"), 0),
        (("schedule", "remove", "often", "--yes"), 0),
    ):
        result = call(folder, *args)
        assert result.exit_code == code, (args, result.stderr)
        if code == 0 and args[0] != "run" and "--dry-run" not in args:
            assert result.stderr.count("changed in") == 1, (args, result.stderr)
        else:
            assert "changed in" not in result.stderr, (args, result.stderr)
        assert result.stderr.count("nothing runs on") <= 1
    assert items(folder, "deadletter", "list") == []
    assert [one["schedule"] for one in items(folder, "schedule", "list")] == ["nightly"]
    assert names(folder) == ["one"]


def test_given_a_source_that_is_paused_at_rest_then_runs_leave_it_and_say_so_until_it_is_resumed(folder: Path) -> None:
    put(folder, a="1")
    call(folder, "run", "p")
    said = "p.src: paused; go on with `odibictl source resume p.src`"  # what waits nobody has looked at
    assert said in call(folder, "source", "pause", "p.src").output
    put(folder, b="2")
    run = call(folder, "run", "p", "-o", "json")
    assert (run.exit_code, json.loads(run.stdout)["state"]) == (0, "no_data")
    assert "source src is paused" in run.stderr
    assert "`odibictl source resume p.src`" in " ".join(call(folder, "status").output.split())
    assert call(folder, "source", "pause", "p.ref").exit_code == 4
    call(folder, "source", "resume", "p.src")
    assert json.loads(call(folder, "run", "p", "-o", "json").stdout)["committed"] == 1
    assert names(folder) == ["one", "two"]


def test_given_nothing_runs_when_a_failed_iteration_is_cancelled_then_the_next_run_reads_it_again(folder: Path) -> None:
    (folder / "odibi.yaml").write_text(PROJECT.replace("on_error: dead_letter", "on_error: halt"))
    put(folder, a="x")
    assert call(folder, "run", "p").exit_code == 5
    cancelled = call(folder, "iteration", "cancel", "p", "1", "--yes")
    assert cancelled.exit_code == 0
    assert "p 1: cancelled" in cancelled.stdout
    put(folder, a="1")
    assert call(folder, "run", "p").exit_code == 0
    assert [one["state"] for one in items(folder, "iteration", "list", "p")] == ["committed", "cancelled"]


def test_given_something_runs_then_no_store_is_changed_behind_its_back(folder: Path) -> None:
    put(folder, a="1")
    call(folder, "run", "p")
    with (
        LocalSystem(load_project(folder)) as system,
        Client(project=folder, timeout=0.1) as client,
        pytest.raises((ConflictError, Exception)) as refused,
    ):
        client.pause("p")
    assert refused.value
    with LocalSystem(load_project(folder)) as system:
        assert system.request("pipeline.show", {"pipeline": "p"})["state"] == "active"
        assert system.request("iteration.list", {"pipeline": "p"}, to=STORE)["items"]
    assert CHANGES


def test_given_a_letter_that_waits_for_its_second_try_then_the_run_does_not_end_before_that(folder: Path) -> None:
    again = PROJECT.replace("retry: {max_attempts: 1}", "retry: {max_attempts: 2, initial: 1s, jitter: 0}")
    sql = "select if(s.id = 13, error('thirteen'), r.name) as name from src s left join ref r using (id)"
    (folder / "odibi.yaml").write_text(again.replace("select s.id, r.name from src s join ref r using (id)", sql))
    put(folder, a="13")
    assert call(folder, "run", "p").exit_code == 5
    told = call(folder, "run", "p", "--replay", "all", "-o", "json")
    summary = json.loads(told.stdout)
    assert (told.exit_code, summary["state"], summary["dead_lettered"], summary["replayed"]) == (5, "failed", 1, 1)
    assert [one["state"] for one in items(folder, "iteration", "list", "p")] == ["dead_lettered", "dead_lettered"]


def test_given_nothing_runs_when_rewound_then_it_is_taken_back_and_the_next_run_reads_it_again(folder: Path) -> None:
    put(folder, a="1")
    call(folder, "run", "p")
    put(folder, b="2")
    call(folder, "run", "p")
    before = items(folder, "iteration", "list", "p")
    shown = json.loads(call(folder, "pipeline", "rewind", "p", "--to", "1", "--dry-run", "-o", "json").stdout)
    assert (shown["files"], [one["parts"] for one in shown["retractions"]], "refused" in shown) == (1, [1], False)
    assert items(folder, "iteration", "list", "p") == before
    done = call(folder, "pipeline", "rewind", "p", "--to", "1", "--yes")
    assert (done.exit_code, names(folder)) == (0, ["one"]), done.stderr
    assert "p: taken back to 1; `odibictl run p`, or `up`, goes on" in done.stdout
    assert json.loads(call(folder, "pipeline", "show", "p", "-o", "json").stdout)["paused"] is False
    assert call(folder, "run", "p").exit_code == 0
    assert names(folder) == ["one", "two"]


def test_given_something_in_flight_when_rewound_at_rest_then_the_commands_that_it_names_lead_on(folder: Path) -> None:
    put(folder, a="1")
    call(folder, "run", "p")
    (folder / "landing/ref/r.csv").write_text("id,name\nx,y\n")
    put(folder, b="2")
    assert call(folder, "run", "p").exit_code == 5
    refused = call(folder, "pipeline", "rewind", "p", "--to", "0", "--yes")
    assert (refused.exit_code, "`odibictl iteration cancel p 2` voids them" in refused.stderr) == (4, True)
    assert call(folder, "iteration", "cancel", "p", "2", "--yes").exit_code == 0
    done = json.loads(call(folder, "pipeline", "rewind", "p", "--to", "0", "--yes", "-o", "json").stdout)
    assert (done["state"], done["resumed"], done["unpinned"]) == ("active", True, ["out", "ref", "src"])
    assert sorted((folder / "lake/out").glob("part-*")) == []


def test_given_all_letters_when_replayed_at_rest_then_the_one_command_for_it_is_told(folder: Path) -> None:
    put(folder, a="1", b="x")
    call(folder, "run", "p")
    refused = call(folder, "deadletter", "replay", "all", "--yes")
    assert (refused.exit_code, "`odibictl run p --replay all`" in refused.stderr) == (69, True)


def test_given_letters_that_were_taken_up_when_reset_then_they_are_no_loss(folder: Path) -> None:
    put(folder, a="1", b="x")
    call(folder, "run", "p")

    def counted() -> int:
        asked = call(folder, "reset", "p", "--targets", "--dry-run", "-o", "json")
        return int(json.loads(asked.stdout)["letters"])

    assert counted() == 1
    put(folder, b="2")
    assert call(folder, "run", "p", "--replay", "all").exit_code == 0
    assert counted() == 0


def test_given_a_source_without_any_file_then_a_run_of_which_nothing_came_says_what_waits_for_it(folder: Path) -> None:
    text = (folder / "odibi.yaml").read_text()
    (folder / "odibi.yaml").write_text(
        text.replace(
            "      - {name: t, inputs: [src, ref]",
            "      - {name: two, read: {connection: landing, path: two, "
            'format: csv, mode: file_watch, pattern: "*.csv"}}\n      - {name: t, inputs: [src, ref, two]',
        )
    )
    put(folder, a="1")
    (folder / "landing/two").mkdir()
    done = call(folder, "run", "p")
    assert (done.exit_code, "state          no_data" in done.stdout) == (0, True)
    assert "source two: no file yet to learn its schema from; 1 file waits for it" in done.stderr
