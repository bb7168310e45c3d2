"""``run`` and ``try`` with parameters, as a trigger has them."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from odibi_actors.cli.__main__ import odibictl
from odibi_actors.config.load import load_project
from odibi_actors.errors import ConfigError
from odibi_actors.local.trying import Trial

PROJECT = """\
project: told
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: p
    nodes:
      - name: src
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv"}
      - name: t
        inputs: [src]
        transform: {sql: "select id, getvariable('who') as who from src"}
      - {name: out, inputs: [t], write: {connection: lake, path: out, format: parquet}}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "landing").mkdir()
    (tmp_path / "odibi.yaml").write_text(PROJECT)
    (tmp_path / "landing/a.csv").write_text("id\n1\n")
    return tmp_path


def test_given_a_parameter_when_a_pipeline_is_tried_then_its_nodes_have_it(root: Path) -> None:
    result = CliRunner().invoke(odibictl, ["try", "p", "--param", "who=ann", "-o", "json", "--project", str(root)])
    assert result.exit_code == 0, result.output
    assert '"who": "ann"' in result.stdout


def test_given_a_parameter_when_a_pipeline_is_run_then_its_nodes_have_it(root: Path) -> None:
    result = CliRunner().invoke(odibictl, ["run", "p", "--param", "who=ann", "--project", str(root)])
    assert result.exit_code == 0, result.output
    assert duckdb.sql(f"select who from '{root}/lake/out/*.parquet'").fetchall() == [("ann",)]


def test_given_a_parameter_that_no_file_could_say_when_tried_then_it_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="params hold what no file could say"):
        Trial(load_project(root), "p", params={"who": object()})
