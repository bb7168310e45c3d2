"""Verbs on projects whose sinks are tables of DuckDB and PostgreSQL; a secret is in nothing that they leave or say."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result

from odibi_actors.cli.__main__ import odibictl
from tests.postgres import GROUP, Schema

CANARY = "canary-5b1f0c"
PROJECT = """
project: shop
connections:
  landing: {type: local, path: landing}
  mart: MART
pipelines:
  - pipeline: p
    batch: {max_files: 1}
    nodes:
      - {name: s, read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv"}}
      - {name: added, inputs: [s], write: {connection: mart, table: added}}
      - {name: keyed, inputs: [s], write: {connection: mart, table: keyed, mode: upsert, keys: [k]}}
"""


class Shop:
    """A project, and what is said about it. ``mart``: what its connection says; ``rows``: of a table."""

    def __init__(self, root: Path, mart: str, rows: Callable[[str], list[tuple[Any, ...]]]) -> None:
        self.root, self.rows, self.said = root, rows, ""
        (root / "landing").mkdir()
        (root / "odibi.yaml").write_text(PROJECT.replace("MART", mart))

    def put(self, name: str, *rows: str) -> None:
        (self.root / "landing" / name).write_text("\n".join(["k,n", *rows]) + "\n")

    def call(self, *args: str, code: int = 0) -> Result:
        result = CliRunner().invoke(odibictl, ["--project", str(self.root), *args])
        self.said += result.stdout + result.stderr
        assert result.exit_code == code, result.output
        return result

    def told(self, *args: str) -> Any:
        return json.loads(self.call(*args, "-o", "json").stdout)


def duck(root: Path) -> Shop:
    def rows(table: str) -> list[tuple[Any, ...]]:
        with closing(duckdb.connect(str(root / "mart.duckdb"), read_only=True)) as db:
            return db.execute(f"select k, n from {table} order by k, n").fetchall()

    return Shop(root, "{type: duckdb, path: mart.duckdb}", rows)


def postgres(root: Path) -> Shop:
    schema = Schema(root)
    (root / ".env").write_text(f"PG_PASSWORD={CANARY}\n")
    given = ", ".join(f"{key}: {value}" for key, value in (schema.section | {"timeout": "30s"}).items())
    mart = f'{{type: postgres, {given}, password: "${{PG_PASSWORD}}"}}'
    return Shop(root, mart, lambda table: schema.rows(f"select k, n from {table} order by k, n"))


def sqlite(root: Path) -> Shop:
    def rows(table: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(root / "mart.db")) as db:
            return db.execute(f"select k, n from {table} order by k, n").fetchall()

    return Shop(root, "{type: sqlite, path: mart.db}", rows)


def made(root: Path, *statements: str) -> None:
    """Statements that somebody says to the database."""
    if (root / ".env").exists():
        schema = Schema(root)
        with schema.connected() as db:
            for statement in statements:
                db.execute(statement)
        return
    file = root / "mart.duckdb"
    with closing(duckdb.connect(str(file)) if file.exists() else sqlite3.connect(root / "mart.db")) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


@pytest.fixture(params=["duckdb", pytest.param("postgres", marks=GROUP)])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return {"duckdb": duck, "postgres": postgres}[request.param](tmp_path)


def test_given_a_table_of_a_database_then_all_verbs_know_it_and_no_secret_is_left_or_said(shop: Shop) -> None:
    shop.put("a.csv", "1,10", "2,20")
    shop.put("b.csv", "2,21")
    assert "accepted; would go to" in shop.call("try", "p").stdout
    shop.call("run", "p")
    assert shop.rows("added") == [(1, 10), (2, 20), (2, 21)]
    assert shop.rows("keyed") == [(1, 10), (2, 21)]
    shown = shop.told("sink", "show", "p.added")
    assert (shown["parts"], shown["rows"]) == (2, 3)
    assert "node 'added' of pipeline 'p'" in shown["owner"]
    shop.call("sink", "show", "p.keyed")
    shop.call("checkpoint", "verify")
    for verb in (("status",), ("iteration", "list", "p"), ("iteration", "show", "p", "1"), ("pipeline", "show", "p")):
        shop.told(*verb)
    if (shop.root / ".env").exists():  # rotated: nothing is read, or published, again
        (shop.root / ".env").write_text(f"PG_PASSWORD={CANARY}-rotated\n")
        shop.call("run", "p")
        assert len(shop.rows("added")) == 3
    shop.call("sink", "repin", "p.keyed")
    assert "cannot be taken back" in shop.call("pipeline", "rewind", "p", "--to", "1", "--yes", code=4).output
    shop.call("reset", "p", "--yes", code=4)  # they would be there twice
    shop.call("reset", "p", "--targets", "--yes")
    shop.call("run", "p")
    assert shop.rows("added") == [(1, 10), (2, 20), (2, 21)]
    left = [one for one in shop.root.rglob("*") if one.is_file() and one.name != ".env"]
    assert [one for one in left if CANARY.encode() in one.read_bytes()] == []
    assert CANARY not in shop.said


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", pytest.param("postgres", marks=GROUP)])
def test_given_tables_that_refer_to_each_other_when_reset_then_children_go_first_or_nothing_goes(
    tmp_path: Path, kind: str
) -> None:
    shop = {"sqlite": sqlite, "duckdb": duck, "postgres": postgres}[kind](tmp_path)
    spec = tmp_path / "odibi.yaml"
    lake = "      - {name: lake, inputs: [s], write: {connection: landing, path: lake, format: csv}}\n"
    child = "      - {name: child, inputs: [s], write: {connection: mart, table: child, mode: upsert, keys: [k]}}\n"
    spec.write_text(spec.read_text().replace("keyed", "parent").replace("*.csv", "a*.csv") + lake + child)
    if kind == "duckdb":
        duckdb.connect(str(tmp_path / "mart.duckdb")).close()

    def full(*_: object) -> None:
        raise OSError("no space left")

    refers = "(k bigint primary key references parent, n bigint)"
    made(tmp_path, "create table parent (k bigint primary key, n bigint)", f"create table child {refers}")
    made(tmp_path, f"create table Stranger {refers}")
    shop.put("a.csv", "1,10")
    shop.call("run", "p")
    for more in ("--dry-run", "--yes"):
        refused = shop.call("reset", "p", "--targets", more, code=4).stderr.lower()
        assert "'parent' of " in refused
        assert "is not dropped: 'stranger' refers to it" in refused
    assert len(list((tmp_path / "landing/lake").glob("part-*"))) == len(shop.rows("child")) == 1
    assert "interrupted" not in shop.call("status").stdout
    made(tmp_path, "drop table stranger")
    with pytest.MonkeyPatch.context() as patch:  # the files come last, and cannot be deleted
        patch.setattr("odibi_actors.nodes.sinks.local_sink.LocalSink.delete", full)
        shop.call("reset", "p", "--targets", "--yes", code=1)
    status = " ".join(shop.call("status").stdout.split())
    assert "p: a reset of p was interrupted, and nothing of p runs until it has ended" in status
    rows = shop.told("reset", "p", "--dry-run")["published"]
    assert [row["node"] for row in rows] == ["lake"]
    shop.call("reset", "p", "--yes")
    made(tmp_path, "create table parent (k bigint)", "create table child (k bigint)")  # nobody's: they are gone


def test_given_a_table_that_lost_its_rows_to_an_older_copy_then_verify_and_run_say_so(shop: Shop) -> None:
    shop.put("a.csv", "1,10")
    shop.call("run", "p")
    missing = "delete from _odibi_commits"
    if shop.root.joinpath("mart.duckdb").exists():
        with closing(duckdb.connect(str(shop.root / "mart.duckdb"))) as db:
            db.execute(missing)
    else:
        Schema(shop.root).rows(missing)
    assert "is missing" in shop.call("checkpoint", "verify", code=1).output
    shop.put("b.csv", "2,20")
    assert "has nothing of iteration 1, which was published there" in shop.call("run", "p", code=5).output


@GROUP
def test_given_a_secret_that_is_not_there_when_run_then_it_is_named_before_anything_is_read(tmp_path: Path) -> None:
    shop = postgres(tmp_path)
    (tmp_path / ".env").unlink()
    shop.put("a.csv", "1,10")
    assert "PG_PASSWORD" in shop.call("run", "p", code=2).output
