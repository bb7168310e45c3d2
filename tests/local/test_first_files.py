"""The first file of a source is wrong: what it told of columns and types goes with it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from odibi_actors.cli.__main__ import odibictl

PROJECT = """\
project: first
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: p
    on_error: ON_ERROR
    retry: {max_attempts: 1}
    batch: {max_files: 1}
    nodes:
      - name: s
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv"}
      - {name: t, inputs: [s], transform: {sql: "select k, x from s"}}
      - {name: out, inputs: [t], write: {connection: lake, path: out, format: parquet}}
"""


def call(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(odibictl, ["--project", str(folder), *args])


def given(folder: Path, on_error: str = "halt") -> Path:
    (folder / "landing").mkdir()
    (folder / "odibi.yaml").write_text(PROJECT.replace("ON_ERROR", on_error))
    (folder / "landing/a-1.csv").write_text("foo,bar\n1,10\n")
    return folder


def good(folder: Path) -> None:
    (folder / "landing/a-2.csv").write_text("k,x\n1,10\n")


def rows(folder: Path) -> list[dict[str, object]]:
    return [row for file in sorted((folder / "lake/out").glob("part-*")) for row in pq.read_table(file).to_pylist()]


def columns(folder: Path) -> str:
    return call(folder, "source", "show", "p.s", "-o", "json").stdout


@pytest.mark.parametrize("end", ["cancel", "dead letter"])
def test_given_a_wrong_first_file_when_its_iteration_is_void_then_good_files_are_read(tmp_path: Path, end: str) -> None:
    folder = given(tmp_path, "dead_letter" if end == "dead letter" else "halt")
    first = call(folder, "run", "p")
    assert first.exit_code == 5, first.stderr
    if end == "cancel":
        (folder / "landing/a-1.csv").unlink()
        assert call(folder, "iteration", "cancel", "p", "1", "--yes").exit_code == 0
    good(folder)
    result = call(folder, "run", "p")
    assert result.exit_code == 0, result.stderr
    assert rows(folder) == [{"k": 1, "x": 10}]
    assert '"column": "k"' in columns(folder)
    assert '"iteration": 2' in columns(folder)


def test_given_a_file_that_was_read_the_wrong_way_when_read_is_put_right_then_it_is_read_again(tmp_path: Path) -> None:
    folder = given(tmp_path)
    (folder / "landing/a-1.csv").write_text("foo,bar\nk,x\n1,10\n")
    assert call(folder, "run", "p").exit_code == 5
    assert '"column": "foo"' in columns(folder)
    text = (folder / "odibi.yaml").read_text()
    (folder / "odibi.yaml").write_text(text.replace('"*.csv"', '"*.csv", options: {skip_rows: 1}'))
    result = call(folder, "run", "p")
    assert result.exit_code == 0, result.stderr
    assert (
        "p.s: the types that iteration 1 told are void with it: what is read next tells undeclared ones"
        in result.stderr
    )
    assert rows(folder) == [{"k": 1, "x": 10}]
    assert '"column": "k"' in columns(folder)


def test_given_types_of_what_is_committed_when_unpinned_then_the_next_file_tells_others(tmp_path: Path) -> None:
    folder = given(tmp_path)
    (folder / "landing/a-1.csv").write_text("k,x\n1,10\n")
    assert call(folder, "run", "p").exit_code == 0
    (folder / "landing/a-2.csv").write_text("k,x,new\n2,20,a\n")
    failed = call(folder, "run", "p")
    assert failed.exit_code == 5
    assert "its columns are those that iteration 1 told (`odibictl source show p.s`)" in failed.stderr
    unpinned = call(folder, "source", "unpin", "p.s")
    assert unpinned.exit_code == 0, unpinned.stderr
    assert unpinned.stdout == "p.s: what is read next tells its columns, instead of these 2, which iteration 1 told\n"
    assert call(folder, "source", "show", "p.s").exit_code == 3
    result = call(folder, "run", "p")
    assert result.exit_code == 0, result.stderr
    assert rows(folder) == [{"k": 1, "x": 10}, {"k": 2, "x": 20}]
    assert '"column": "new"' in columns(folder)


TRANSFORMS = (
    ('sql: "select k, sum(x) as x from s group by k"', "VARCHAR"),
    ('function: "nodes.empty:mean"', "string"),
)


@pytest.mark.parametrize(("transform", "said"), TRANSFORMS)
@pytest.mark.parametrize("rows", ["", "1,\n2,\n"])
def test_given_columns_without_values_when_a_transform_fails_for_it_then_it_is_told_what_is_missing(
    tmp_path: Path, transform: str, said: str, rows: str
) -> None:
    folder = given(tmp_path)
    (folder / "nodes").mkdir()
    code = "import pandas as pd\n\n\ndef mean(s: pd.DataFrame) -> pd.DataFrame:\n    return s.assign(x=s.x.mean())\n"
    (folder / "nodes/empty.py").write_text(code)
    text = (folder / "odibi.yaml").read_text().replace('sql: "select k, x from s"', transform)
    (folder / "odibi.yaml").write_text(text)
    (folder / "landing/a-1.csv").write_text(f"k,x\n{rows}")
    failed = call(folder, "run", "p")
    assert failed.exit_code == 5
    assert said in failed.stderr
    what = "holds no value yet" if rows else "has no row yet"
    hint = f"Column x of s {what}, and counts as text until a type is said: read.schema: {{x: TYPE}} of s, or a cast"
    assert hint in failed.stderr
    text = (folder / "odibi.yaml").read_text()
    (folder / "odibi.yaml").write_text(text.replace('"*.csv"', '"*.csv", schema: {k: int64, x: int64}'))
    result = call(folder, "run", "p")
    assert result.exit_code == 0, result.stderr


def test_given_a_first_file_that_tells_no_column_when_sql_is_run_over_it_then_it_is_told_where_to_declare_them(
    tmp_path: Path,
) -> None:
    folder = given(tmp_path)
    (folder / "odibi.yaml").write_text((folder / "odibi.yaml").read_text().replace("csv", "json"))
    (folder / "landing/a-1.json").write_text("[]")
    failed = call(folder, "run", "p")
    assert "sql: input 's' is a table without columns. s has no column yet, for nothing was read that" in failed.stderr
    assert "declare them, read.schema: {COLUMN: TYPE} of s" in failed.stderr


UNRELATED = (
    ('sql: "select k, nosuch from s"', ""),
    ('sql: "select k, sum(name) as x from s group by k"', "sum(VARCHAR)"),
    ('sql: "select k, name::int as x from s"', "convert string"),
    ('sql: "select k, upper(x) as x, sum(name) as s from s group by all"', "sum(VARCHAR)"),
    ('function: "nodes.other:raises"', "string"),
    ('function: "nodes.other:converts"', "string"),
    ('function: "nodes.other:adds"', "string"),
)


@pytest.mark.parametrize(("transform", "said"), UNRELATED)
def test_given_another_failure_then_columns_without_values_are_not_told(
    tmp_path: Path, transform: str, said: str
) -> None:
    folder = given(tmp_path)
    (folder / "nodes").mkdir()
    code = (
        "def raises(s):\n    raise ValueError('no string at all')\n\n\n"
        "def converts(s):\n    return s.assign(x=s.x, y=s.name.astype(float))\n\n\n"
        "def adds(s):\n    return s.assign(y=s['name'] * 1.5)\n"
    )
    (folder / "nodes/other.py").write_text(code)
    text = (folder / "odibi.yaml").read_text().replace('sql: "select k, x from s"', transform)
    (folder / "odibi.yaml").write_text(text)
    (folder / "landing/a-1.csv").write_text("k,x,name\n1,,abc\n2,,def\n")
    failed = call(folder, "run", "p")
    assert failed.exit_code == 5
    assert said in failed.stderr
    assert "no value yet" not in failed.stderr


def test_given_a_sinks_first_part_without_values_in_a_column_then_its_type_is_told(tmp_path: Path) -> None:
    folder = given(tmp_path)
    (folder / "landing/a-1.csv").write_text("k,x\n1,\n")
    result = call(folder, "run", "p")
    assert result.exit_code == 0
    assert (
        "p.out: no row has a value yet in x: pinned as text, and the target is made so; if that is not meant, say "
        "write.schema: {x: TYPE}, then `odibictl reset p --targets`" in result.stderr
    )
    (folder / "landing/a-2.csv").write_text("k,x\n2,\n")
    assert "no row has a value" not in call(folder, "run", "p").stderr


def test_given_a_declared_type_of_a_column_without_values_then_nothing_is_told(tmp_path: Path) -> None:
    folder = given(tmp_path)
    text = (folder / "odibi.yaml").read_text()
    (folder / "odibi.yaml").write_text(text.replace("format: parquet}", "format: parquet, schema: {x: int64}}"))
    (folder / "landing/a-1.csv").write_text("k,x\n1,\n")
    result = call(folder, "run", "p")
    assert result.exit_code == 0
    assert "no row has a value" not in result.stderr


DECLARED = """\
project: declared
connections:
  landing: {type: local, path: landing}
  shop: {type: sqlite, path: shop.db}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: p
    nodes:
      - {name: s, read: {connection: landing, path: s, format: csv, mode: file_watch, pattern: "*.csv"}}
      - name: w
        read:
          {connection: landing, path: w, format: csv, mode: file_watch, columns: [k, n], schema: {n: double, k: string}}
      - name: g
        read: {connection: landing, path: g, format: json, mode: incremental, columns: [k], schema: {k: string}}
      - name: q
        read:
          connection: shop
          table: orders
          mode: incremental
          watermark_column: id
          columns: [id]
          schema: {id: int64}
      - {name: e, read: {connection: landing, path: e, mode: event, schema: {k: string}}}
      - name: t
        inputs: [s, w, g, q, e]
        transform:
          sql: >
            select x, (select count(*) from w) as w, (select count(*) from g) as g, (select count(*) from q) as q,
            (select count(*) from e) as e, (select max(n) from w) as n from s
      - {name: out, inputs: [t], write: {connection: lake, path: out, format: parquet}}
"""


def test_given_sources_that_say_all_of_their_columns_then_nothing_waits_for_their_first_data(tmp_path: Path) -> None:
    for name in "swge":
        (tmp_path / "landing" / name).mkdir(parents=True)
    (tmp_path / "odibi.yaml").write_text(DECLARED)
    with sqlite3.connect(tmp_path / "shop.db") as db:
        db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    (tmp_path / "landing/s/1.csv").write_text("x\n1\n")
    first = call(tmp_path, "run", "p")
    assert first.exit_code == 0, first.stderr
    none = {"w": 0, "g": 0, "q": 0, "e": 0, "n": None}
    assert rows(tmp_path) == [{"x": 1, **none}]
    shown = json.loads(call(tmp_path, "source", "show", "p.w", "-o", "json").stdout)["columns"]
    assert [(one["column"], one["type"], one["origin"]) for one in shown] == [
        ("k", "string", "declared"),
        ("n", "double", "declared"),
    ]
    (tmp_path / "landing/w/1.csv").write_text("more,n,k\n9,1,07\n")
    assert call(tmp_path, "run", "p").exit_code == 0  # no file of s, which said its columns before
    (tmp_path / "landing/w/2.csv").write_text("k,n\n07,2\n")
    (tmp_path / "landing/s/2.csv").write_text("x\n2\n")
    last = call(tmp_path, "run", "p")
    assert last.exit_code == 0, last.stderr
    assert rows(tmp_path) == [{"x": 1, **none}, {"x": 2, **none, "w": 1, "n": 2.0}]


def test_given_a_source_that_says_some_of_its_columns_then_it_is_waited_for(tmp_path: Path) -> None:
    for name in "swge":
        (tmp_path / "landing" / name).mkdir(parents=True)
    (tmp_path / "odibi.yaml").write_text(DECLARED.replace("schema: {n: double, k: string}", "schema: {n: double}"))
    with sqlite3.connect(tmp_path / "shop.db") as db:
        db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    (tmp_path / "landing/s/1.csv").write_text("x\n1\n")
    assert "source w: no file yet to learn its schema from" in call(tmp_path, "run", "p").stderr
