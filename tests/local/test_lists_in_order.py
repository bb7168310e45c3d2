"""Lists: pipelines stand as the project file has them, and references are not counted with what an iteration reads."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from odibi_actors.cli.__main__ import odibictl
from odibi_actors.config import load_project
from odibi_actors.local import LocalSystem
from tests.local.age import OLD, age

PROJECT = """\
project: lists
connections:
  landing: {type: local, path: landing}
  ref: {type: local, path: ref}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: zeta
    on_error: dead_letter
    retry: {max_attempts: 1}
    nodes:
      - name: s
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv", schema: {id: int64}}
      - {name: r, read: {connection: ref, format: csv, mode: batch, pattern: "*.csv"}}
      - {name: j, inputs: [s, r], transform: {sql: "select s.id, r.v from s left join r using (id)"}}
      - {name: out, inputs: [j], write: {connection: lake, path: out, format: parquet}}
  - pipeline: alpha
    nodes:
      - {name: s, read: {connection: landing, format: csv, mode: file_watch, pattern: "*.alpha"}}
      - {name: out, inputs: [s], write: {connection: lake, path: alpha, format: parquet}}
"""


def call(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(odibictl, ["--project", str(folder), *args])


def items(folder: Path, *args: str, key: str = "items") -> list[dict[str, object]]:
    result = call(folder, *args, "-o", "json")
    assert result.exit_code == 0, result.stderr
    found: list[dict[str, object]] = json.loads(result.stdout)[key]
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("landing", "ref"):
        (tmp_path / name).mkdir()
    (tmp_path / "odibi.yaml").write_text(PROJECT)
    (tmp_path / "landing/a.csv").write_text("id\n1\n2\n")
    for name in ("r1", "r2"):
        (tmp_path / f"ref/{name}.csv").write_text("id,v\n1,2\n")
    age(tmp_path / "landing")
    age(tmp_path / "ref")
    return tmp_path


def test_given_a_store_that_is_loaded_again_when_listed_then_pipelines_stand_as_in_the_project_file(
    folder: Path,
) -> None:
    call(folder, "run", "zeta")
    for _ in range(2):
        assert [row["pipeline"] for row in items(folder, "status", key="pipelines")] == ["zeta", "alpha"]
        assert [row["pipeline"] for row in items(folder, "pipeline", "list")] == ["zeta", "alpha"]
        assert call(folder, "run", "alpha").exit_code == 0
    one, two = PROJECT.index("  - pipeline: zeta"), PROJECT.index("  - pipeline: alpha")
    (folder / "odibi.yaml").write_text(PROJECT[:one] + PROJECT[two:] + PROJECT[one:two])
    assert call(folder, "run", "alpha").exit_code == 0
    assert [row["pipeline"] for row in items(folder, "status", key="pipelines")] == ["alpha", "zeta"]


def test_given_a_reference_of_two_files_when_listed_then_the_iteration_has_the_file_it_has_read(folder: Path) -> None:
    call(folder, "run", "zeta")
    assert [row["positions"] for row in items(folder, "iteration", "list", "zeta")] == [1]
    shown = call(folder, "iteration", "show", "zeta", "1").stdout
    assert "positions  1\n" in shown
    assert shown.count("r1.csv") == 1  # what it was planned with is listed all the same


def test_given_a_reference_when_a_replay_is_tried_then_it_has_the_files_of_the_letter(folder: Path) -> None:
    (folder / "landing/a.csv").write_text("id\nx\n")
    os.utime(folder / "landing/a.csv", (OLD, OLD))
    assert call(folder, "run", "zeta").exit_code == 5
    with LocalSystem(load_project(folder)) as system:
        found = system.request("deadletter.replay", {"letter": 1, "dry_run": True})
    assert found["files"] == 1


def test_given_no_project_when_asked_then_it_is_a_mistake_of_use(tmp_path: Path) -> None:
    for args in (["status"], ["pipeline", "list"], ["iteration", "list", "p"]):
        result = call(tmp_path, *args)
        assert (result.exit_code, "is no project" in result.stderr) == (2, True)
