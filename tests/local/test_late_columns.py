"""A column that comes up later: what the messages say to do is all there is to do."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from odibi_actors import read_committed
from odibi_actors.cli.__main__ import odibictl

PROJECT = """\
project: late
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
  mart: {type: sqlite, path: mart.db}
pipelines:
  - pipeline: p
    on_error: dead_letter
    retry: {max_attempts: 1}
    batch: {max_files: 1}
    nodes:
      - name: s
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*"}
      - {name: t, inputs: [s], transform: {sql: "select * from s"}}
      - {name: out, inputs: [t], write: {connection: lake, path: out, format: parquet}}
      - {name: mart, inputs: [t], write: {connection: mart, table: t, mode: upsert, keys: [k]}}
"""


def call(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(odibictl, ["--project", str(folder), *args])


def replace(folder: Path, old: str, new: str) -> None:
    text = (folder / "odibi.yaml").read_text()
    assert old in text
    (folder / "odibi.yaml").write_text(text.replace(old, new))


def letters(folder: Path) -> int:
    return len(json.loads(call(folder, "deadletter", "list", "p", "-o", "json").stdout)["items"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "landing").mkdir()
    (tmp_path / "odibi.yaml").write_text(PROJECT)
    return tmp_path


def test_given_a_late_optional_column_when_the_messages_are_followed_then_nothing_is_set_aside(folder: Path) -> None:
    """In lakes of each format rows of before have no value in it."""
    sink = "      - {{name: {0}, inputs: [t], write: {{connection: lake, path: {0}, format: {0}}}}}\n"
    mart = "      - {name: mart,"
    replace(folder, mart, sink.format("json") + sink.format("csv") + mart)
    (folder / "landing/a-1.csv").write_text("k,x\n1,10\n")
    first = call(folder, "run", "p")
    assert (first.exit_code, first.stderr.count("add `version: COLUMN` to the write of mart")) == (0, 1)
    (folder / "landing/a-2.csv").write_text("k,x,ch\n2,20,web\n")
    told = call(folder, "run", "p").stderr
    assert "To take 'ch', let it into what is pinned without it as well: `odibictl sink repin p.out`, `odibictl" in told
    replace(folder, '"*"', '"*", schema: {ch: string}, optional: [ch]')
    (folder / "landing/a-3.csv").write_text("k,x\n3,30\n")
    failed = call(folder, "run", "p")
    assert failed.exit_code == 5
    assert "p.out is pinned without 'ch', which s declares: to let it in, `odibictl sink repin p.out`" in failed.stderr
    assert "and add it to table 't': `odibictl try p` says by which statement" in failed.stderr
    tried = call(folder, "try", "p")
    assert 'add it: alter table "t" add column "ch" TEXT' in " ".join((tried.stdout + tried.stderr).split())
    assert letters(folder) == 1
    for sink in ("p.out", "p.json", "p.csv", "p.mart"):
        assert call(folder, "sink", "repin", sink).exit_code == 0
    with sqlite3.connect(folder / "mart.db") as mart:
        mart.execute('ALTER TABLE "t" ADD COLUMN "ch" TEXT')
    result = call(folder, "run", "p", "--replay", "all")
    assert result.exit_code == 0, result.stderr
    for name in ("out", "json", "csv"):
        there = read_committed(folder / "lake" / name).to_pylist()
        assert sorted((row["k"], row["ch"]) for row in there) == [(1, None), (2, "web"), (3, None)], name
    with sqlite3.connect(folder / "mart.db") as mart:
        assert mart.execute("select k, ch from t order by k").fetchall() == [(1, None), (2, "web"), (3, None)]


def test_given_a_new_key_of_json_when_it_is_declared_then_the_sinks_pinned_without_it_halt(folder: Path) -> None:
    replace(folder, "format: csv", "format: json")
    replace(folder, "inputs: [t], write: {connection: lake", "inputs: [s], write: {connection: lake")
    replace(folder, '      - {name: t, inputs: [s], transform: {sql: "select * from s"}}\n', "")
    text = (folder / "odibi.yaml").read_text()
    (folder / "odibi.yaml").write_text(text[: text.index("      - {name: mart,")].replace("dead_letter", "halt"))
    (folder / "landing/a-1.json").write_text('{"k": 1, "d": {"a": 1}}')
    assert call(folder, "run", "p").exit_code == 0
    (folder / "landing/a-2.json").write_text('{"k": 2, "d": {"a": 1, "b": true}}')
    told = call(folder, "run", "p").stderr
    entry = 'd: "struct<a: int64, b: bool>"'
    assert f"read.schema: {{{entry}}} takes it" in told
    replace(folder, '"*"', f'"*", schema: {{{entry}}}')
    replace(folder, "on_error: halt", "on_error: dead_letter")
    failed = call(folder, "run", "p")
    assert failed.exit_code == 5
    assert "p.out is pinned with d: struct<a: int64>, and s declares struct<a: int64, b: bool>" in failed.stderr
    assert "`odibictl reset p --targets`" in failed.stderr
    assert letters(folder) == 0
    (folder / "landing/a-3.json").write_text('{"k": "no"}')
    assert "its columns are those that iteration 1 told" not in call(folder, "run", "p").stderr


def test_given_sinks_that_never_get_the_column_then_no_repin_of_them_is_advised(folder: Path) -> None:
    (folder / "nodes").mkdir()
    (folder / "nodes/same.py").write_text("def same(s):\n    return s\n")
    with (folder / "odibi.yaml").open("a") as file:
        file.write(
            '      - {name: sums, inputs: [s], transform: {sql: "select k, count(*) as n from s group by k"}}\n'
            "      - {name: totals, inputs: [sums], write: {connection: lake, path: totals, format: parquet}}\n"
            '      - {name: f, inputs: [s], transform: {function: "nodes.same:same"}}\n'
            "      - {name: made, inputs: [f], write: {connection: lake, path: made, format: parquet}}\n"
        )
    (folder / "landing/a-1.csv").write_text("k,x\n1,10\n")
    assert call(folder, "run", "p").exit_code == 0
    (folder / "landing/a-2.csv").write_text("k,x,ch\n2,20,web\n")
    told = call(folder, "run", "p").stderr
    assert (
        "`odibictl sink repin p.mart` (once its table has it), `odibictl sink repin p.made` (if f hands it on)" in told
    )
    replace(folder, '"*"', '"*", schema: {ch: string}, optional: [ch]')
    (folder / "landing/a-3.csv").write_text("k,x\n3,30\n")
    told += call(folder, "run", "p").stderr
    assert "to let it in, `odibictl sink repin p.made` (if f hands it on)" in told
    assert "p.totals" not in told
