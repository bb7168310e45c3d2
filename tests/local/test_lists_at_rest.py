"""Lists at rest tell what is known without a system: backfills that have ended, when schedules are due; and validate
says what may surprise."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from odibi_actors.cli.__main__ import odibictl
from odibi_actors.config import load_project
from odibi_actors.local import LocalSystem, run_pipeline

PROJECT = """\
project: lists
connections:
  landing: {type: local, path: landing}
  mart: {type: sqlite, path: mart.db}
pipelines:
  - pipeline: p
    trigger: schedule
    on_error: dead_letter
    schedules:
      - {name: hourly, every: 1h}
      - {name: never, cron: "0 0 1 1 *", end: 2020-01-01}
      - {name: files, file_watch: {connection: landing, pattern: "ready"}}
    nodes:
      - name: src
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv", schema: {id: int64, n: int64}}
      - name: up
        inputs: [src]
        write: {connection: mart, table: up, mode: upsert, keys: [id]}
      - name: versioned
        inputs: [src]
        write: {connection: mart, table: v, mode: upsert, keys: [id], version: n}
      - name: added
        inputs: [src]
        write: {connection: mart, table: a}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing/a.csv").write_text("id,n\n1,1\n")
    (tmp_path / "odibi.yaml").write_text(PROJECT)
    return tmp_path


def call(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(odibictl, [*args, "--project", str(folder)])


def backfilled(folder: Path) -> str:
    project = load_project(folder)
    run_pipeline(project, "p")
    with LocalSystem(project) as system:
        asked = {"pipeline": "p", "files": {"src": "*.csv"}, "run": "backfill-x"}
        begun = system.request("pipeline.backfill", asked)
        system.request("run.wait", {"run": begun["run"]})
        lane: str = begun["lane"]
        return lane


def test_given_a_backfill_that_is_done_then_it_is_listed_and_its_lane_alone_names_it(folder: Path) -> None:
    assert call(folder, "backfill", "list").exit_code in (3, 69)  # there is no store yet
    run_pipeline(load_project(folder), "p")
    assert "no backfills" in call(folder, "backfill", "list").stdout
    lane = backfilled(folder)
    (row,) = json.loads(call(folder, "backfill", "list", "-o", "json").stdout)["items"]
    assert (row["pipeline"], row["lane"], row["state"], row["committed"], row["planned"]) == ("p", lane, "done", 1, 1)
    assert lane in call(folder, "backfill", "list", "p").stdout
    assert "no backfills" in call(folder, "backfill", "list", "--limit", "0").stdout
    for which in ([lane], ["p", lane], [lane.removeprefix("backfill-")], ["p", lane.removeprefix("backfill-")]):
        shown = json.loads(call(folder, "backfill", "show", *which, "-o", "json").stdout)
        assert (shown["pipeline"], shown["lane"], shown["state"]) == ("p", lane, "done")
        waited = call(folder, "backfill", "wait", *which)
        assert (waited.exit_code, waited.stdout) == (0, f"p {lane}: done, 1 of 1 iteration committed\n")
        assert call(folder, "backfill", "cancel", *which, "--yes").exit_code == 4
    unknown = call(folder, "backfill", "show", "backfill-999")
    assert unknown.exit_code == 3
    assert f"there are: {lane}" in unknown.stderr
    assert call(folder, "backfill", "show", "p", lane, "x").exit_code == 2


def test_given_nothing_runs_then_schedules_have_their_next_time_from_the_calendar(folder: Path) -> None:
    run_pipeline(load_project(folder), "p")
    now = time.time()
    rows = {row["schedule"]: row for row in json.loads(call(folder, "schedule", "list", "-o", "json").stdout)["items"]}
    assert now < rows["hourly"]["next"] <= now + 3601
    assert (rows["never"]["next"], rows["files"]["next"]) == (None, None)
    line = next(line for line in call(folder, "schedule", "list").stdout.splitlines() if "hourly" in line)
    assert ", in " in line
    coming = json.loads(call(folder, "schedule", "next", "hourly", "-n", "1", "-o", "json").stdout)["items"]
    assert coming[0]["due"] == rows["hourly"]["next"]


def test_given_an_upsert_that_dead_letters_may_turn_back_then_validate_warns_with_line_and_remedy(folder: Path) -> None:
    result = call(folder, "validate", "-o", "json")
    assert result.exit_code == 0
    (warning,) = json.loads(result.stdout)["warnings"]
    line = next(n for n, text in enumerate(PROJECT.splitlines(), 1) if "table: up," in text)
    assert warning.startswith(f"odibi.yaml:{line}: pipelines[0].nodes[1].write: ")
    assert "add `version: COLUMN` to the write of up" in warning
    assert f"warning: {warning}\n" in result.stderr
    for other in (
        PROJECT.replace("table: up, mode: upsert, keys: [id]", "table: up, mode: upsert, keys: [id], version: n"),
        PROJECT.replace("on_error: dead_letter", "on_error: halt"),
    ):
        (folder / "odibi.yaml").write_text(other)
        assert "warning" not in call(folder, "validate").stderr


def test_given_verbs_that_are_elsewhere_then_the_error_names_them(folder: Path) -> None:
    for verb, named in (("list", "iteration list"), ("show", "node list"), ("prune", "checkpoint stats")):
        result = call(folder, "checkpoint", verb)
        assert result.exit_code == 2
        assert named in result.stderr
