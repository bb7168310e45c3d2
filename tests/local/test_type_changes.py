"""A column changes its type: the way out that the message names works, for each sink and mode."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from odibi_actors.config import load_project
from odibi_actors.local import run_pipeline
from odibi_actors.local.reset import opened

PROJECT = """\
project: typed
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
  mart: {type: sqlite, path: mart.db}
pipelines:
  - pipeline: p
    nodes:
      - name: src
        read: {connection: landing, format: parquet, mode: file_watch, pattern: "*.parquet", schema: {f: KIND}}
      - name: out
        inputs: [src]
        write: {SINK}
"""
FOLDER, TABLE = "connection: lake, path: out, format: parquet", "connection: mart, table: t"
WRITES = (
    FOLDER,
    f"{FOLDER}, mode: overwrite",
    TABLE,
    f"{TABLE}, mode: overwrite",
    f"{TABLE}, mode: upsert, keys: [k]",
)


def project(root: Path, write: str, kind: str) -> None:
    (root / "odibi.yaml").write_text(PROJECT.replace("SINK", write).replace("KIND", kind))


@pytest.mark.parametrize("write", WRITES)
def test_given_a_type_that_changes_when_the_remedy_is_followed_then_all_rows_are_there(
    tmp_path: Path, write: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "landing").mkdir()
    project(tmp_path, write, "string")
    pq.write_table(pa.table({"k": [1], "f": pa.nulls(1)}), tmp_path / "landing/1.parquet")
    assert run_pipeline(load_project(tmp_path), "p").committed == 1
    pq.write_table(pa.table({"k": [2], "f": [True]}), tmp_path / "landing/2.parquet")
    project(tmp_path, write, "bool")
    assert run_pipeline(load_project(tmp_path), "p").failed == 1
    told = capfd.readouterr().err
    assert "or all of it again (`odibictl reset p --targets`), with `write.schema: {f: bool}`" in told
    project(tmp_path, f"{write}, schema: {{f: bool}}", "bool")
    with opened(load_project(tmp_path), "p") as work:
        work.carry_out(work.plan(targets=True))
    run_pipeline(load_project(tmp_path), "p")
    if "lake" in write:
        parts = sorted((tmp_path / "lake/out").glob("current/*.parquet" if "overwrite" in write else "part-*.parquet"))
        found = {row["k"]: row["f"] for part in parts for row in pq.read_table(part).to_pylist()}
    else:
        with closing(sqlite3.connect(tmp_path / "mart.db")) as db:
            found = dict(db.execute("select k, f from t").fetchall())
    assert found == {1: None, 2: True}
