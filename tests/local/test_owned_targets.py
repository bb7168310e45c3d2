"""Targets of somebody else are told before anything is planned."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from odibi_actors.config import load_project
from odibi_actors.errors import ConflictError
from odibi_actors.local import run_pipeline
from odibi_actors.nodes.sinks.targets import check_targets, refused

PROJECT = """\
project: owned
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
  mart: {type: sqlite, path: mart.db}
pipelines:
  - pipeline: p
    nodes:
      - name: src
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv"}
      - name: out
        inputs: [src]
        write: {connection: lake, path: out, format: parquet}
      - name: tab
        inputs: [src]
        write: {connection: mart, table: t}
"""


def test_given_targets_of_other_checkpoints_when_run_then_each_is_told_in_one_line_and_nothing_is_planned(
    tmp_path: Path,
) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "odibi.yaml").write_text(PROJECT)
    (tmp_path / "landing" / "a.csv").write_text("x\n1\n")
    project = load_project(tmp_path)
    assert refused(project.pipelines, "whoever") == []
    assert run_pipeline(project, "p").committed == 1
    shutil.rmtree(tmp_path / ".odibi")
    with pytest.raises(ConflictError) as refusal:
        run_pipeline(load_project(tmp_path), "p")
    first, second = str(refusal.value).splitlines()
    assert first.startswith(f"p.out: {tmp_path}/lake/out belongs to node 'out' of pipeline 'p'")
    assert "delete from _odibi_owners where table_name = 't'" in second
    assert sorted(path.name for path in (tmp_path / "lake" / "out").iterdir()) == [
        "_odibi_owner.json",
        "part-0000000001-out.parquet",
    ]
    (tmp_path / "mart.db").write_bytes(b"not a database, but long enough to be looked at" * 30)
    with pytest.raises(ConflictError, match=r"^p\.out: [^\n]*$"):
        check_targets(project.pipelines, "whoever")  # what cannot be looked at is told by whoever publishes
