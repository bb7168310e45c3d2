"""``on_schema_change``: files whose columns are others than those before, and sinks that follow, or do not."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from odibi_actors import committed_sql, read_committed
from odibi_actors.cli.__main__ import odibictl
from tests.postgres import GROUP, Schema

PROJECT = """
project: shop
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
  mart: MART
pipelines:
  - pipeline: p
    on_error: ON_ERROR
    batch: {max_files: 1}
    max_in_flight: 1  # two that are read side by side take in the columns of both, with the first of them
    alerts: [{log: true, on: [schema_change]}]
    nodes:
      - name: s
        read: {connection: landing, format: FORMAT, mode: file_watch, pattern: "*.FORMAT", on_schema_change: POLICY}
"""
ALL = "      - {name: NAME, inputs: [s], write: {connection: CONN, on_schema_change: evolve, MORE}}\n"
SINKS = {
    "parquet": ("lake", "path: parquet, format: parquet"),
    "csv": ("lake", "path: csv, format: csv"),
    "arrow": ("lake", "path: arrow, format: arrow, partition_by: [k]"),
    "added": ("mart", "table: added"),
    "keyed": ("mart", "table: keyed, mode: upsert, keys: [k]"),
    "whole": ("mart", "table: whole, mode: overwrite"),
}


class Shop:
    """A project, its files, and what is said about it."""

    def __init__(
        self, root: Path, *, mart: str = "", policy: str = "evolve", on_error: str = "halt", **more: Any
    ) -> None:
        self.root, self.format = root, more.get("format", "csv")
        (root / "landing").mkdir()
        text = PROJECT.replace("MART", mart or "{type: sqlite, path: mart.db}").replace("POLICY", policy)
        text = text.replace("ON_ERROR", on_error).replace("FORMAT", self.format)
        for name in more.get("sinks", SINKS):
            connection, rest = SINKS[name]
            text += ALL.replace("NAME", name).replace("CONN", connection).replace("MORE", rest)
        (root / "odibi.yaml").write_text(more.get("edit", lambda text: text)(text))

    def put(self, name: str, rows: list[dict[str, Any]]) -> None:
        path = self.root / "landing" / f"{name}.{self.format}"
        if self.format == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        else:
            lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
            path.write_text("\n".join(lines) + "\n")

    def call(self, *args: str, code: int = 0) -> str:
        result = CliRunner().invoke(odibictl, ["--project", str(self.root), *args])
        assert result.exit_code == code, result.output
        return result.output

    def told(self, *args: str) -> Any:
        return json.loads(CliRunner().invoke(odibictl, ["--project", str(self.root), *args, "-o", "json"]).stdout)

    def history(self, what: str, name: str) -> list[tuple[int, str, str, str]]:
        rows = self.told(what, "show", f"p.{name}")["history"]
        return [(row["iteration"], row["column"], row["change"], row["type"]) for row in rows]


def sqlite(root: Path) -> tuple[str, Callable[[str], list[tuple[Any, ...]]]]:
    def rows(table: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(root / "mart.db")) as db:
            return sorted(db.execute(f"select k, n, x from {table}").fetchall())

    return "{type: sqlite, path: mart.db}", rows


def duck(root: Path) -> tuple[str, Callable[[str], list[tuple[Any, ...]]]]:
    def rows(table: str) -> list[tuple[Any, ...]]:
        with closing(duckdb.connect(str(root / "mart.duckdb"), read_only=True)) as db:
            return sorted(db.execute(f"select k, n, x from {table}").fetchall())

    return "{type: duckdb, path: mart.duckdb}", rows


def postgres(root: Path) -> tuple[str, Callable[[str], list[tuple[Any, ...]]]]:
    schema = Schema(root)
    given = ", ".join(f"{key}: {value}" for key, value in (schema.section | {"timeout": "30s"}).items())
    return f"{{type: postgres, {given}}}", lambda table: sorted(schema.rows(f"select k, n, x from {table}"))


FIRST, SECOND, THIRD = {"k": 1, "n": 10}, {"k": 2, "n": 20, "x": 0.5}, {"k": 3, "x": 1.5}
ROWS = [(1, 10, None), (2, 20, 0.5), (3, None, 1.5)]


@pytest.mark.parametrize(("mart", "format"), [(sqlite, "csv"), (duck, "parquet")])
def test_given_new_and_missing_columns_when_evolved_then_every_sink_has_each_row_and_the_history_says_since_when(
    mart: Callable[[Path], Any], format: str, tmp_path: Path
) -> None:
    given, rows = mart(tmp_path)
    shop = Shop(tmp_path, mart=given, format=format)
    for name, row in (("a", FIRST), ("b", SECOND), ("c", THIRD)):
        shop.put(name, [row])
    said = shop.call("run", "p")
    assert "p 2 s: column 'x' (double) is new, and taken in: null in all rows before" in said
    assert "p 3 s: column 'n' is missing, and null from here on" in said
    expected = [(2, "x", "new", "double"), (3, "n", "missing", "")]
    assert shop.history("source", "s") == expected
    assert shop.history("sink", "added") == [(2, "x", "new", "double")]  # its source has filled in what is missing
    assert "alert (schema_change): p/2: s: column 'x' (double) is new" in said
    for _ in range(2):
        assert rows("added") == rows("keyed") == ROWS
        assert rows("whole") == ROWS[2:]
        for folder in ("parquet", "csv", "arrow"):
            table = read_committed(tmp_path / "lake" / folder).select(["k", "n", "x"]).to_pylist()
            assert sorted(tuple(row.values()) for row in table) == ROWS, folder
        assert (
            sorted(duckdb.sql(f"select k, n, x from ({committed_sql(tmp_path / 'lake/parquet')})").fetchall()) == ROWS
        )
        shop.call("checkpoint", "verify")
        shop.call("run", "p")  # after a restart nothing is told, or changed, again
        assert shop.history("source", "s") == expected


def test_given_a_rewind_then_columns_are_those_of_then_and_what_is_read_again_brings_them_again(tmp_path: Path) -> None:
    shop = Shop(tmp_path, sinks=["parquet"])
    for name, row in (("a", FIRST), ("b", SECOND), ("c", THIRD | {"y": "z"})):
        shop.put(name, [row])
    shop.call("run", "p")
    shop.call("pipeline", "rewind", "p", "--to", "2", "--yes")
    shown = shop.told("source", "show", "p.s")
    assert [row["column"] for row in shown["columns"]] == ["k", "n", "x"]
    assert shop.history("source", "s") == shop.history("sink", "parquet") == [(2, "x", "new", "double")]
    shop.call("pipeline", "rewind", "p", "--to", "1", "--yes")
    shown = shop.told("source", "show", "p.s")
    assert ([row["column"] for row in shown["columns"]], shown["history"]) == (["k", "n"], [])
    shop.call("run", "p")
    rows = read_committed(tmp_path / "lake/parquet").to_pylist()
    assert rows == [FIRST | {"x": None, "y": None}, SECOND | {"y": None}, {"k": 3, "n": None, "x": 1.5, "y": "z"}]
    assert sorted(row[1:3] for row in shop.history("source", "s")) == [("n", "missing"), ("x", "new"), ("y", "new")]


def test_given_files_of_one_batch_then_all_have_all_columns(tmp_path: Path) -> None:
    shop = Shop(tmp_path, sinks=["keyed"], edit=lambda text: text.replace("max_files: 1", "max_files: 5"))
    shop.put("a", [FIRST])
    shop.put("b", [SECOND])
    shop.call("run", "p")  # a first batch tells its columns together
    assert shop.history("source", "s") == []
    shop.put("c", [{"k": 4, "x": 0.25, "y": 1}])
    shop.put("d", [{"k": 5, "n": 1, "x": 0.5, "y": 2.5, "z": "a"}])
    shop.call("run", "p")
    assert shop.history("source", "s") == [
        (2, "n", "missing", ""),
        (2, "y", "new", "double"),
        (2, "z", "new", "string"),
    ]
    (tmp_path / "landing/e.csv").write_text("k,n,only_a_header\n")
    shop.call("run", "p")
    assert len(shop.history("source", "s")) == 3
    shop.call("pipeline", "rewind", "p", "--to", "1", "--yes")
    shop.call("run", "p")
    with closing(sqlite3.connect(tmp_path / "mart.db")) as db:
        rows = sorted(db.execute("select k, n, x, y, z from keyed").fetchall())
    assert rows == [
        (1, 10, None, None, None),
        (2, 20, 0.5, None, None),
        (4, None, 0.25, 1, None),
        (5, 1, 0.5, 2.5, "a"),
    ]


@pytest.mark.parametrize(("policy", "on_error", "code"), [("halt", "dead_letter", 5), ("dead_letter", "halt", 5)])
def test_given_a_policy_then_columns_follow_it_and_other_faults_follow_on_error(
    policy: str, on_error: str, code: int, tmp_path: Path
) -> None:
    shop = Shop(tmp_path, policy=policy, on_error=on_error, sinks=["parquet"])
    shop.put("a", [FIRST])
    shop.call("run", "p")
    shop.put("b", [SECOND])
    said = shop.call("run", "p", code=code)
    letters = shop.told("deadletter", "list")["items"]
    assert "column 'x' is new" in said
    assert len(letters) == (policy == "dead_letter")
    if policy == "dead_letter":
        (tmp_path / "landing/c.csv").write_bytes(b'k,n\n1,"2\n')
        shop.call("run", "p", code=5)
        assert len(shop.told("deadletter", "list")["items"]) == 1  # what is no change of columns halts


def test_given_what_cannot_evolve_then_it_is_named_before_a_row_is_published(tmp_path: Path) -> None:
    shop = Shop(tmp_path, sinks=["added"])
    shop.put("a", [FIRST])
    shop.call("run", "p")
    with closing(sqlite3.connect(tmp_path / "mart.db")) as db:
        db.execute("alter table added add column x text")
    shop.put("b", [SECOND])
    assert "column 'x' of table 'added'" in shop.call("run", "p", code=5)
    shop.put("b", [{"k": "a", "n": 1}])
    assert "'a' is not int64" in shop.call("run", "p", code=5)
    with closing(sqlite3.connect(tmp_path / "mart.db")) as db:
        assert db.execute("select * from added").fetchall() == [(1, 10, None)]


def test_given_a_sink_that_does_not_evolve_then_it_says_what_would(tmp_path: Path) -> None:
    shop = Shop(tmp_path, sinks=["parquet"], edit=lambda text: text.replace("on_schema_change: evolve, path", "path"))
    shop.put("a", [FIRST])
    shop.put("b", [SECOND])
    said = shop.call("run", "p", code=5)
    assert "column 'x' (double) is new to the sink" in said
    assert "or `on_schema_change: evolve` in its write" in said


def test_given_an_iteration_that_is_set_aside_then_the_columns_that_it_told_go_with_it(tmp_path: Path) -> None:
    sql = "select *, case when k = 2 then error('no') end as q from s"
    node = f'      - {{name: q, inputs: [s], transform: {{sql: "{sql}"}}}}\n'
    sink = "      - {name: parquet, inputs: [q], write: {connection: lake, path: parquet, format: parquet}}\n"
    shop = Shop(tmp_path, on_error="dead_letter", sinks=[], edit=lambda text: text + node + sink)
    shop.put("a", [FIRST])
    shop.put("b", [SECOND])
    assert "is void with what told it" in shop.call("run", "p", code=5)
    assert shop.told("source", "show", "p.s")["history"] == []
    shop.put("c", [{"k": 3, "n": 1}])
    shop.call("run", "p")
    rows = read_committed(tmp_path / "lake/parquet").to_pylist()
    assert [sorted(row) for row in rows] == [["k", "n", "q"]] * 2


@GROUP
def test_given_what_does_not_fit_when_rescued_then_every_sink_has_it_beside_its_row_however_often_it_is_read(
    tmp_path: Path,
) -> None:
    others = {"duck": duck(tmp_path)[0], "pg": postgres(tmp_path)[0]}
    tables = {"mart": sqlite(tmp_path)[1], "duck": duck(tmp_path)[1], "pg": postgres(tmp_path)[1]}
    text = "".join(
        ALL.replace("NAME", f"{name}_t").replace("CONN", name).replace("MORE", "table: t, mode: upsert, keys: [k]")
        for name in tables
    )
    for form in ("csv", "json", "parquet", "arrow"):
        line = ALL.replace("NAME", form).replace("CONN", "lake")
        text += line.replace("MORE", f"path: {form}, format: {form}")
    text = text.replace("on_schema_change: evolve, ", "")

    def edit(project: str) -> str:
        more = "".join(f"  {name}: {one}\n" for name, one in others.items())
        return project.replace("\npipelines:", f"\n{more}pipelines:") + text

    shop = Shop(tmp_path, policy="rescue", on_error="dead_letter", sinks=[], edit=edit)
    for name, row in (("a", FIRST), ("b", SECOND), ("c", {"k": 3, "n": "many"})):
        shop.put(name, [row])
    said = shop.call("run", "p")
    assert "p 2 s: column 'x' is new, and goes into '_rescued'" in said
    assert "alert (schema_change): p/2: s: column 'x' is new, and goes into '_rescued'" in said
    assert "no row has a value yet" not in said  # it is text, whatever comes
    history = [(2, "x", "rescued", ""), (3, "n", "misfit", "int64")]
    expected = [(1, 10, None), (2, 20, '{"x":"0.5"}'), (3, None, '{"n":"many"}')]
    assert shop.history("source", "s") == history
    assert [row["column"] for row in shop.told("source", "show", "p.s")["columns"]] == ["k", "n", "_rescued"]

    def check() -> None:
        for name, rows in tables.items():
            assert rows("(select k, n, _rescued as x from t) as t") == expected, name
        for form in ("csv", "json", "parquet", "arrow"):
            found = read_committed(tmp_path / "lake" / form).select(["k", "n", "_rescued"]).to_pylist()
            assert sorted(tuple(row.values()) for row in found) == expected, form

    check()
    shop.put("d", [{"k": 4, "x": 1, "_rescued": "own"}])  # which is no value that does not fit: on_error
    assert "the file has a column '_rescued'" in shop.call("run", "p", code=5)
    shop.put("d", [{"k": 4, "x": 1}])
    shop.call("run", "p", "--replay", "1")
    expected.append((4, None, '{"x":"1"}'))
    history.append((5, "n", "missing", ""))
    assert shop.history("source", "s") == history
    check()
    shop.call("pipeline", "rewind", "p", "--to", "1", "--yes")
    assert shop.history("source", "s") == []
    shop.call("run", "p")
    assert sorted(row[1:] for row in shop.history("source", "s")) == sorted(row[1:] for row in history)
    check()
