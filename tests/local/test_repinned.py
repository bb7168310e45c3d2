"""``checkpoint verify`` of sinks that were pinned again: what is gone by it is no problem, and all else is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from odibi_actors.cli.__main__ import odibictl

PROJECT = """\
project: begun-anew
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
  mart: {type: sqlite, path: mart.db}
pipelines:
  - pipeline: p
    nodes:
      - name: s
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*"}
      - {name: out, inputs: [s], write: {connection: lake, path: out, format: parquet}}
      - {name: now, inputs: [s], write: {connection: lake, path: now, format: parquet, mode: overwrite}}
      - {name: tab, inputs: [s], write: {connection: mart, table: t, mode: upsert, keys: [k]}}
"""
SINKS = ("out", "now", "tab")


def call(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(odibictl, ["--project", str(folder), *args])


def run(folder: Path, number: int) -> None:
    (folder / f"landing/{number}.csv").write_text(f"k\n{number}\n")
    done = call(folder, "run", "p")
    assert done.exit_code == 0, done.stderr


def wrong(folder: Path) -> list[str]:
    """The sinks of which something is missing."""
    problems = json.loads(call(folder, "checkpoint", "verify", "-o", "json").stdout)["items"]
    return sorted(problem["what"].split()[3] for problem in problems)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "landing").mkdir()
    (tmp_path / "odibi.yaml").write_text(PROJECT)
    run(tmp_path, 1)
    run(tmp_path, 2)
    return tmp_path


def test_given_targets_that_are_gone_when_pinned_again_then_verify_counts_on_them_no_more(folder: Path) -> None:
    shutil.rmtree(folder / "lake")
    (folder / "mart.db").unlink()
    assert set(wrong(folder)) == set(SINKS)
    for sink in SINKS:
        assert call(folder, "sink", "repin", f"p.{sink}").exit_code == 0
    assert wrong(folder) == []
    run(folder, 3)
    assert wrong(folder) == []
    for part in (folder / "lake/out").glob("part-*"):
        part.unlink()
    (folder / "mart.db").unlink()
    assert wrong(folder) == ["out", "tab"]


def test_given_a_sink_that_is_pinned_again_for_its_columns_then_a_lost_part_is_told_all_the_same(folder: Path) -> None:
    assert call(folder, "sink", "repin", "p.out").exit_code == 0
    wide = folder / "landing/wide.csv"
    wide.write_text("k,v\n9,x\n")
    assert call(folder, "source", "unpin", "p.s").exit_code == 0
    tried = json.loads(call(folder, "try", "p", "--files", "wide.csv", "-o", "json").stdout)["items"]
    assert [(one["node"], one["state"]) for one in tried] == [
        ("s", "ok"), ("out", "ok"), ("now", "failed"), ("tab", "failed"),
    ]  # fmt: skip
    wide.write_text("k\nx\n")  # types stay
    tried = json.loads(call(folder, "try", "p", "--files", "wide.csv", "-o", "json").stdout)["items"]
    assert [one["state"] for one in tried[:2]] == ["ok", "failed"]
    wide.unlink()
    (folder / "lake/out/part-0000000001-out.parquet").unlink()
    assert wrong(folder) == ["out"]
    run(folder, 3)
    assert wrong(folder) == ["out"]


def test_given_a_sink_that_is_pinned_again_then_what_becomes_of_former_rows_is_said_and_so(folder: Path) -> None:
    for words in (("--dry-run",), ()):
        said = call(folder, "sink", "repin", "p.out", *words).stderr
        assert "rows with the former ones, of files that come later, dead letters or a retry, are refused" in said
        assert "`odibictl pipeline rewind p --to 0`" in said
    spec = folder / "odibi.yaml"
    more = "      - {name: more, inputs: [s], transform: {sql: 'select *, 1 as v from s'}}\n      - {name: out,"
    wide = spec.read_text().replace("      - {name: out,", more).replace("out, inputs: [s]", "out, inputs: [more]")
    narrow = spec.read_text()
    spec.write_text(wide)
    run(folder, 3)
    spec.write_text(narrow)
    (folder / "landing/4.csv").write_text("k\n4\n")
    refused = call(folder, "run", "p")
    assert (refused.exit_code, "'v'" in refused.stderr) == (5, True)
    shutil.rmtree(folder / "lake/out")
    assert call(folder, "sink", "repin", "p.out").exit_code == 0
    assert call(folder, "run", "p").exit_code == 0
    assert [one.name for one in (folder / "lake/out").glob("part-*")] == ["part-0000000004-out.parquet"]
