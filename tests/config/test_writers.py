"""Whose sink writes what a source reads, and warnings of one pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from odibi_actors.config.load import load_project, load_warnings
from odibi_actors.config.writers import writer_of

YAML = """\
project: demo
connections:
  landing: {{type: local, path: in}}
  lake: {{type: local, path: out}}
  mart: {{type: sqlite, path: mart.db}}
pipelines:
  - pipeline: up
    on_error: dead_letter
    nodes:
      - {{name: a, read: {{connection: landing, format: csv, mode: file_watch}}}}
      - {{name: lake, inputs: [a], write: {{connection: lake, path: days/flights, format: parquet}}}}
      - {{name: mart, inputs: [a], write: {{connection: mart, table: t, mode: upsert, keys: [id]}}}}
  - pipeline: down
    trigger: manual
    nodes:
      - {{name: ref, read: {{connection: lake, format: parquet, mode: batch, {read}}}}}
      - {{name: copy, inputs: [ref], write: {{connection: lake, path: copy, format: csv}}}}
"""


@pytest.mark.parametrize(
    ("read", "writer"),
    [
        ("path: days/flights", "up.lake"),
        ('path: days/flights/current, pattern: "*.parquet"', "up.lake"),
        ('path: days, pattern: "flights/*.parquet"', "up.lake"),
        ('pattern: ["x/*.parquet", "days/flights/**/*.parquet"]', "up.lake"),
        ('path: days, pattern: "*/*.parquet"', ""),
        ("path: days/flights2", ""),
        ("path: other", ""),
    ],
)
def test_given_a_folder_that_is_read_then_the_sink_that_writes_it(tmp_path: Path, read: str, writer: str) -> None:
    (tmp_path / "odibi.yaml").write_text(YAML.format(read=read))
    pipelines = load_project(tmp_path).pipelines
    node = pipelines[1].nodes[0].read
    assert node is not None
    assert writer_of(pipelines, node) == writer


def test_given_one_pipeline_then_what_is_warned_of_others_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "odibi.yaml").write_text(YAML.format(read="path: days/flights"))
    assert len(load_warnings(tmp_path)) == 1
    assert load_warnings(tmp_path, pipeline="up") == load_warnings(tmp_path)
    assert load_warnings(tmp_path, pipeline="down") == []


SEVERAL = """\
project: several
connections: {l: {type: local, path: l}, mart: {type: sqlite, path: mart.db}}
pipelines:
  - pipeline: p
    on_error: dead_letter
    nodes:
      - {name: a, read: {connection: l, format: csv, mode: file_watch}}
      - {name: one, inputs: [a],
         write: {connection: mart, table: one, mode: upsert, keys: [id]}}
      - {name: two, inputs: [a], write: {connection: mart, table: two, mode: upsert, keys: [id]}}
      - {name: gone, inputs: [a], write: {connection: mart, table: gone, mode: delete, keys: [id]}}
      - {name: newest, inputs: [a], write: {connection: mart, table: newest, mode: upsert, keys: [id], version: v}}
"""
KEPT = """
      - {name: sums, inputs: [a], transform: {function: "nodes.f:kept"}, state: true}
      - {name: totals, inputs: [sums], write: {connection: mart, table: totals, mode: upsert, keys: [id]}}
"""


def test_given_a_sink_behind_a_node_with_state_then_nothing_warns_that_older_rows_replace_newer(tmp_path: Path) -> None:
    """What is taken up later is a new iteration on the newest state, and a backfill is refused."""
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes/f.py").write_text("def kept(a, state):\n    return a, a\n")
    text = YAML.format(read="path: days/flights")
    head, _, tail = text.partition("  - pipeline: down")
    (tmp_path / "odibi.yaml").write_text(head.rstrip() + KEPT + "  - pipeline: down" + tail)
    (told,) = load_warnings(tmp_path)
    assert "a dead letter that is taken up later replaces newer rows" in told, "there is no backfill with state"
    assert "add `version: COLUMN` to the write of mart" in told
    assert load_project(tmp_path).pipelines[0].older_over_newer == ["mart"]


def test_given_several_sinks_that_older_rows_reach_then_one_warning_names_them(tmp_path: Path) -> None:
    (tmp_path / "odibi.yaml").write_text(SEVERAL)
    (told,) = load_warnings(tmp_path)
    assert "odibi.yaml:9: pipelines[0].nodes[1].write: a dead letter that is taken up later (or a backfill)" in told
    assert (
        "replaces or deletes newer rows of the same keys; add `version: COLUMN` to the write of one, two, gone" in told
    )
