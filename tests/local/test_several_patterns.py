"""``pattern`` as a list, and ``exclude``: what is taken, what is not, and why, as people see it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
from click.testing import CliRunner, Result

from odibi_actors.cli.__main__ import odibictl
from tests.local.age import age

PROJECT = """\
project: several
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: p
    nodes:
      - name: s
        read:
          connection: landing
          format: csv
          mode: file_watch
          pattern: ["*.csv", "more/**/*.txt"]
          exclude: "*-test.*"
      - {name: out, inputs: [s], write: {connection: lake, path: out, format: parquet}}
"""
FILES = ("a.csv", "a-test.csv", "more/b.txt", "more/x/c.txt", "more/x/c-test.txt", "d.txt")


def call(folder: Path, *args: str) -> Result:
    result = CliRunner().invoke(odibictl, ["--project", str(folder), *args])
    assert result.exit_code == 0, result.stderr
    return result


def given(folder: Path) -> Path:
    (folder / "odibi.yaml").write_text(PROJECT)
    for number, name in enumerate(FILES):
        path = folder / "landing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"x\n{number}\n")
        age(path.parent)
    return folder


def rows(folder: Path) -> list[int]:
    return sorted(
        x for part in (folder / "lake/out").glob("part-*.parquet") for x in pq.read_table(part)["x"].to_pylist()
    )


def test_given_several_patterns_when_run_then_just_their_files_are_read_and_why_is_told(tmp_path: Path) -> None:
    folder = given(tmp_path)
    call(folder, "run", "p")
    assert rows(folder) == [0, 2, 3]
    shown = "*.csv, more/**/*.txt, not **/*-test.*"
    (row,) = json.loads(call(folder, "source", "list", "-o", "json").stdout)["items"]
    assert row["pattern"] == shown
    assert f"read landing: {shown} (csv, file_watch)" in call(folder, "graph", "p").stdout


def test_given_a_file_that_is_excluded_later_when_backfilled_then_it_is_left_out(tmp_path: Path) -> None:
    folder = given(tmp_path)
    call(folder, "run", "p")
    (folder / "odibi.yaml").write_text(PROJECT.replace('exclude: "*-test.*"', 'exclude: ["*-test.*", "more/x/**"]'))
    (folder / "landing/more/x/e.txt").write_text("x\n9\n")
    (folder / "landing/f.csv").write_text("x\n10\n")
    age(folder / "landing")
    age(folder / "landing/more/x")
    call(folder, "run", "p")
    assert rows(folder) == [0, 2, 3, 10]


def test_given_patterns_that_match_nothing_of_what_is_there_then_each_is_told_once_with_the_nearest(
    tmp_path: Path,
) -> None:
    (tmp_path / "odibi.yaml").write_text(PROJECT)
    landing = tmp_path / "landing"
    landing.mkdir()
    assert f"p/s: no file to read in {landing} yet" in call(tmp_path, "run", "p").stderr
    for name in ("a.CSV", "b.xml", "b-test.csv", ".hidden.txt"):
        (landing / name).write_text("x\n1\n")
    age(landing)
    near = f"'more/**/*.txt' matches none of the 3 files in {landing} (such as "
    said = call(tmp_path, "run", "p").stderr
    assert said.count("matches none") == said.count(near) == 1  # `*.csv` has a file, which is excluded
    assert "no file to read" not in said
    (landing / "b-test.csv").unlink()
    said = call(tmp_path, "run", "p").stderr
    assert said.count(f"warning: p/s: pattern '*.csv' matches none of the 2 files in {landing} (such as a.CSV)") == 1
    (landing / "a.CSV").rename(landing / "a.csv")
    assert "'*.csv'" not in call(tmp_path, "run", "p").stderr
    (landing / "a.csv").rename(landing / "a.csv.done")  # it was read: it is not misspelt
    assert "'*.csv'" not in call(tmp_path, "run", "p").stderr
    assert rows(tmp_path) == [1]


def test_given_files_that_grow_of_another_case_then_that_is_told(tmp_path: Path) -> None:
    grow = PROJECT.replace("mode: file_watch", "mode: incremental").replace('["*.csv", "more/**/*.txt"]', '"*.csv"')
    (tmp_path / "odibi.yaml").write_text(grow.replace('          exclude: "*-test.*"\n', ""))
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing/a.CSV").write_text("x\n1\n")
    said = call(tmp_path, "run", "p").stderr
    assert f"pattern '*.csv' matches none of the files in {tmp_path}/landing (such as a.CSV)" in said
