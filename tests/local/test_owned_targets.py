"""Targets of somebody else are told before anything is planned."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from odibi_actors.config import load_project
from odibi_actors.errors import ConflictError
from odibi_actors.local import run_pipeline
from odibi_actors.model import NOWHERE
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
    assert refused(project.pipelines, "whoever", NOWHERE) == []
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
        check_targets(project.pipelines, "whoever", NOWHERE)  # what cannot be looked at is told by whoever publishes


MODES = {
    "folder, append": "{connection: lake, path: out, format: parquet}",
    "folder, overwrite": "{connection: lake, path: out, format: parquet, mode: overwrite}",
    "table, append": "{connection: mart, table: t}",
    "table, upsert": "{connection: mart, table: t, mode: upsert, keys: [x]}",
    "table, overwrite": "{connection: mart, table: t, mode: overwrite}",
}


@pytest.mark.parametrize("write", MODES.values(), ids=MODES)
def test_given_a_store_that_is_gone_when_the_remedy_is_followed_then_no_row_is_there_twice(
    tmp_path: Path, write: str
) -> None:
    (tmp_path / "landing").mkdir()
    nodes, _, _ = PROJECT.partition("      - name: out")
    (tmp_path / "odibi.yaml").write_text(f"{nodes}      - name: out\n        inputs: [src]\n        write: {write}\n")
    (tmp_path / "landing" / "a.csv").write_text("x\n1\n")
    run_pipeline(load_project(tmp_path), "p")
    (tmp_path / "landing" / "b.csv").write_text("x\n2\n")
    run_pipeline(load_project(tmp_path), "p")
    shutil.rmtree(tmp_path / ".odibi")
    with pytest.raises(ConflictError) as refusal:
        run_pipeline(load_project(tmp_path), "p")
    told = str(refusal.value)
    assert "its checkpoints are not these: bring its .odibi back, or publish elsewhere; if it may be deleted, " in told
    assert "all that it reads again is there twice, unless it upserts" in told
    if "lake" in write:
        assert f"move what else is in it away and delete {tmp_path}/lake/out/_odibi_owner.json" in told
        (tmp_path / "lake/out").rename(tmp_path / "away")
        (tmp_path / "lake/out").mkdir()
    else:
        with closing(sqlite3.connect(tmp_path / "mart.db")) as db, db:
            statements = re.findall("`(.*?)`", told)
            assert statements == ['drop table "t"', "delete from _odibi_owners where table_name = 't'"]
            for statement in statements:
                db.execute(statement)
    summary = run_pipeline(load_project(tmp_path), "p")
    assert (summary.state, summary.rows_read) == ("done", 2), summary.error
    if "lake" in write:
        found = pq.read_table(sorted((tmp_path / "lake/out").rglob("part-*.parquet"))).column("x").to_pylist()
    else:
        with closing(sqlite3.connect(tmp_path / "mart.db")) as db:
            found = [x for (x,) in db.execute("select x from t")]
    assert sorted(found) == [1, 2]
