"""What differs between two versions of a pipeline, and which nodes run again for it."""

from __future__ import annotations

from pathlib import Path

from odibi_actors.config import load_project
from odibi_actors.config.model import PipelineSpec
from odibi_actors.config.parts import difference, parts

PROJECT = """
project: shop
connections: {landing: {type: local, path: in}, lake: {type: local, path: out}}
pipelines:
  - pipeline: p
    nodes:
      - {name: sink, inputs: [last], write: {connection: lake, path: p, format: parquet}}
      - {name: last, inputs: [first], transform: {sql: select * from first}}
      - {name: src, read: {connection: landing, format: csv, pattern: "*.csv", mode: file_watch, settle: 1s}}
      - {name: first, inputs: [src], transform: {sql: "select *, 1 as one from src"}}
"""


def _spec(folder: Path, text: str) -> PipelineSpec:
    (folder / "odibi.yaml").write_text(text)
    (spec,) = load_project(folder).pipelines
    return spec


def test_what_stands_behind_a_changed_node_runs_again_in_whatever_order_they_are_written(tmp_path: Path) -> None:
    former = parts(_spec(tmp_path, PROJECT))
    found = difference(former, _spec(tmp_path, PROJECT.replace("1 as one", "2 as one")), code=False)
    assert found.keys == {"first": ["transform.sql"]}
    assert {*found.again} == {"first", "last", "sink"}
    assert found.kept == ["src"]


def test_a_key_without_meaning_for_what_comes_out_makes_nothing_run_again(tmp_path: Path) -> None:
    former = parts(_spec(tmp_path, PROJECT))
    new = PROJECT.replace("settle: 1s", "settle: 1s}, retry: {max_attempts: 2")
    found = difference(former, _spec(tmp_path, new), code=False)
    assert found.again == []
