"""Two files of the same bytes: both are read, and it is told once which other one the second is a copy of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from odibi_actors.cli.__main__ import odibictl
from tests.local.age import age

PROJECT = """\
project: twins
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: p
    batch: {max_files: MAX}
    nodes:
      - name: s
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv"}
      - {name: out, inputs: [s], write: {connection: lake, path: out, format: parquet}}
"""
ROWS = "".join(f"{number},somebody\n" for number in range(20))
SAID = "the same bytes as one that was read under another name"


def call(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(odibictl, ["--project", str(folder), *args])


def given(folder: Path, max_files: int = 16, **files: str) -> Path:
    (folder / "landing").mkdir()
    (folder / "odibi.yaml").write_text(PROJECT.replace("MAX", str(max_files)))
    put(folder, **files)
    return folder


def put(folder: Path, **files: str) -> None:
    for name, rows in files.items():
        (folder / f"landing/{name}.csv").write_text("id,name\n" + rows)
    age(folder / "landing")


def run(folder: Path) -> str:
    result = call(folder, "run", "p")
    assert result.exit_code == 0, result.stderr
    return result.stderr


@pytest.mark.parametrize("max_files", [1, 16])
def test_given_a_copy_under_another_name_when_read_then_it_is_told_once_and_shown(
    tmp_path: Path, max_files: int
) -> None:
    folder = given(tmp_path, max_files, a=ROWS, other=ROWS[:-1] + "!\n")
    assert SAID not in run(folder)
    shutil.copy(folder / "landing/a.csv", folder / "landing/b.csv")
    age(folder / "landing")
    said = run(folder)
    number = 3 if max_files == 1 else 2
    assert said.count("same bytes") == 1
    assert f"p {number} s: 1 file has {SAID}: b.csv those of a.csv (iteration 1); read all the same" in said
    assert f"`odibictl iteration show p {number}`" in said
    assert SAID not in run(folder)  # nothing new
    shown = call(folder, "iteration", "show", "p", str(number))
    assert "SAME BYTES AS" in shown.stdout
    twins = json.loads(call(folder, "iteration", "show", "p", str(number), "-o", "json").stdout)["twins"]
    assert twins == [{"node": "s", "identity": "b.csv", "same_as": "a.csv", "iteration": 1, "aside": False}]
    assert json.loads(call(folder, "iteration", "show", "p", "1", "-o", "json").stdout)["twins"] == []
    assert "SAME BYTES" not in call(folder, "iteration", "show", "p", "1").stdout


def test_given_copies_in_one_batch_when_read_then_all_but_the_first_are_told_in_one_line(tmp_path: Path) -> None:
    folder = given(tmp_path, **dict.fromkeys("abcdef", ROWS))
    said = run(folder)
    assert f"p 1 s: 5 files have {SAID}: b.csv those of a.csv (iteration 1); c.csv those of a.csv" in said
    assert "; and 2 more; read all the same" in said
    assert said.count("same bytes") == 1


def test_given_files_that_say_nothing_when_they_are_equal_then_nobody_is_scolded(tmp_path: Path) -> None:
    folder = given(tmp_path, a="1,x\n", b="1,x\n")
    for name in ("h1", "h2"):  # headers alone, as an export writes them when there is nothing
        (folder / f"landing/{name}.csv").write_text("id,name\n" + "\n" * 80)
    age(folder / "landing")
    said = run(folder)
    assert "same bytes" not in said, said


def test_given_a_file_that_is_read_again_after_a_rewind_when_it_is_read_then_it_is_no_copy_of_itself(
    tmp_path: Path,
) -> None:
    folder = given(tmp_path, a=ROWS)
    run(folder)
    assert call(folder, "reset", "p", "--targets", "--yes").exit_code == 0
    assert "same bytes" not in run(folder)
