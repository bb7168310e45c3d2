"""What a failed iteration shows: every bad file of a batch, and each error once."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from odibi_actors.cli.__main__ import odibictl
from odibi_actors.config import load_project
from odibi_actors.local import LocalSystem
from tests.local.age import age

PROJECT = """\
project: once
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: p
    retry: {max_attempts: 1}
    nodes:
      - name: s
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv", schema: {id: int64}}
      - {name: t, inputs: [s], transform: {sql: "select TRANSFORM from s"}}
      - {name: out, inputs: [t], write: {connection: lake, path: out, format: parquet}}
"""
WORD = "error('a word of its own')"


def call(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(odibictl, ["--project", str(folder), *args])


def given(folder: Path, transform: str = "*", **files: str) -> Path:
    (folder / "landing").mkdir()
    (folder / "odibi.yaml").write_text(PROJECT.replace("TRANSFORM", transform))
    for name, rows in files.items():
        (folder / f"landing/{name}.csv").write_text("id\n" + rows)
    age(folder / "landing")
    return folder


def test_given_three_bad_files_of_five_when_run_then_one_message_names_them_all(tmp_path: Path) -> None:
    folder = given(tmp_path, a="1\n", b="x\n", c="2\n", d="1\ny\n", e="z\n")
    result = call(folder, "run", "p")
    assert result.exit_code == 5
    (line,) = [line for line in result.stderr.splitlines() if "failed at s" in line]
    assert "b.csv line 2, column id: 'x' is not int64" in line
    assert (
        "2 more files of this batch cannot be read: d.csv line 3, column id ('y'); e.csv line 2, column id ('z'). Fix"
        in line
    )
    for name in "bde":
        (folder / f"landing/{name}.csv").write_text("id\n3\n")
    assert call(folder, "run", "p").exit_code == 0


def test_given_sql_of_a_file_that_fails_on_a_row_then_file_line_and_text_are_told(tmp_path: Path) -> None:
    folder = given(tmp_path, "SQL", a="1\n")
    (folder / "nodes").mkdir()
    (folder / "nodes/t.sql").write_text("\ufeff-- n\n/*\n*/\n\nselect id,\n  cast('x' || id as int) as n\nfrom s\n")
    project = folder / "odibi.yaml"
    project.write_text(project.read_text().replace('sql: "select SQL from s"', "sql_file: nodes/t.sql"))
    result = call(folder, "run", "p")
    assert result.exit_code == 5
    says = "p 1: failed at t: nodes/t.sql line 6: Conversion Error: Could not convert string 'x1' to INT32"
    assert says in result.stderr
    assert "LINE 6:   cast('x' || id as int) as n" in call(folder, "iteration", "show", "p", "1").stdout
    project.write_text(project.read_text().replace("nodes/t.sql", "t.sql"))
    (folder / "nodes/t.sql").rename(folder / "t.sql")
    result = call(folder, "run", "p")
    assert "failed at t: t.sql line 6: Conversion Error" in result.stderr


def test_given_a_line_end_in_a_name_then_it_forges_no_line_and_no_name_looks_like_another(tmp_path: Path) -> None:
    folder = given(tmp_path, **{"z\nerror: p 7: all is lost": "x\n", "ok\n2": "1\n", r"ok\n2": "2\n"})
    text = (folder / "odibi.yaml").read_text()
    (folder / "odibi.yaml").write_text(text.replace("    retry:", "    on_error: dead_letter\n    retry:"))
    told = call(folder, "run", "p").output
    (line,) = [line for line in told.splitlines() if "all is lost" in line]
    assert line.count("all is lost") == 1
    assert r"dead letter at s: z\nerror: p 7: all is lost.csv line 2, column id: 'x' is not int64" in line
    assert r"z\nerror: p 7: all is lost.csv" in call(folder, "deadletter", "list").stdout
    files = call(folder, "iteration", "show", "p", "1").stdout
    for name in (r"ok\n2.csv ", r"ok\\n2.csv ", r"z\nerror: p 7: all is lost.csv "):
        assert f"s     {name}" in files
    (folder / "landing/link\n2.csv").symlink_to("nowhere")
    assert r"link\n2.csv" in call(folder, "source", "why", str(folder / "landing/link\n2.csv")).stdout


@pytest.mark.parametrize("what", ["file", "node"])
def test_given_a_failed_iteration_when_shown_then_its_error_stands_there_once(tmp_path: Path, what: str) -> None:
    folder = given(tmp_path, WORD if what == "node" else "*", a="1\n" if what == "node" else "it is no number\n")
    assert call(folder, "run", "p").exit_code == 5
    shown = call(folder, "iteration", "show", "p", "1").stdout
    assert shown.count("a word of its own" if what == "node" else "it is no number") == 1, shown
    failed_at = "t" if what == "node" else "s"
    assert f"error      at {failed_at}, see below" in shown
    assert "see below\n" in next(line + "\n" for line in shown.splitlines() if line.startswith(f"{failed_at} "))


@pytest.mark.parametrize("by", ["retry", "operator"])
def test_given_a_cancelled_iteration_when_shown_then_it_says_why_and_gives_no_advice_any_more(
    tmp_path: Path, by: str
) -> None:
    folder = given(tmp_path, a="it is no number\n")
    call(folder, "run", "p")
    assert "Fix the file" in call(folder, "iteration", "show", "p", "1").stdout
    if by == "retry":
        (folder / "landing/a.csv").write_text("id\n1\n")
        assert call(folder, "run", "p").exit_code == 0
    else:
        with LocalSystem(load_project(folder)) as system:
            system.request("iteration.cancel", {"pipeline": "p", "iteration": 1})
    shown = call(folder, "iteration", "show", "p", "1").stdout
    words = " ".join(shown.split())
    assert "state cancelled" in words
    assert ("error planned again" if by == "retry" else "error at s, see below") in words
    assert shown.count("it is no number") == 1
    listed = call(folder, "iteration", "list", "p").stdout
    for told in (shown, listed):
        assert "Fix the file" not in told
        assert "`odibictl run p`" not in told
