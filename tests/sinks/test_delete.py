"""``mode: delete``: rows of a table go by keys. What holds under faults is in the contract (``contract.py``)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from click.testing import CliRunner

from odibi_actors.cli.__main__ import odibictl
from odibi_actors.errors import ConflictError
from odibi_actors.kinds.connection import OPEN, Access
from odibi_actors.kinds.registry import sink_of
from odibi_actors.kinds.sink import Site
from odibi_actors.model import Attempt, Failure, StagedRef, Target
from odibi_actors.nodes.executor import naming, to_failure
from odibi_actors.nodes.sinks.conform import Pin
from odibi_actors.nodes.sinks.owner import Owner
from odibi_actors.nodes.sinks.table import TableSink
from tests.postgres import GROUP, Schema

OWNER = Owner("store", "p", "gone")
Rows = list[tuple[Any, ...]]


class Bench:
    """Table ``t`` of a database, and a sink that deletes from it."""

    def __init__(self, root: Path, at: Target, connect: Callable[[], Any], access: Access = OPEN) -> None:
        self.root, self.at, self.connect, self.access = root, at, connect, access
        self.kind: Any = sink_of(at.sink)
        self.counter = 0

    def sql(self, *statements: str) -> Rows:
        found: Rows = []
        with closing(self.connect()) as db:
            for one in statements:
                cursor = db.execute(one)
                found = cursor.fetchall() if cursor.description else []
            db.commit()
        return found

    def sink(self, *keys: str, version: str | None = None, deletes: bool = True) -> TableSink:
        site = Site(self.at, OWNER, staging=self.root / "staged", access=self.access)
        return TableSink(self.kind, site, keys or ("k",), version, deletes=deletes)

    def stage(self, sink: TableSink, **columns: Any) -> StagedRef:
        self.counter += 1
        return sink.stage(pa.table(columns), self.counter, Attempt(1, self.counter))[0]

    def delete(self, sink: TableSink, **columns: Any) -> str:
        return sink.publish(self.stage(sink, **columns), self.counter, 0)

    def refused(self, sink: TableSink, **columns: Any) -> Failure:
        with pytest.raises(Exception) as caught, naming(self.at):  # noqa: PT011 - whatever it is
            self.stage(sink, **columns)
        return to_failure(caught.value)


@pytest.fixture(params=["sqlite", "duckdb", pytest.param("postgres", marks=GROUP)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    path = str(tmp_path / "mart.db")
    if request.param == "sqlite":
        return Bench(tmp_path, Target("sqlite", path, "t"), lambda: sqlite3.connect(path))
    if request.param == "duckdb":
        return Bench(tmp_path, Target("duckdb", path, "t"), lambda: duckdb.connect(path))
    schema = Schema(tmp_path)
    return Bench(tmp_path, schema.target("t"), schema.connected, schema.access)


def test_given_keys_when_deleted_then_all_rows_of_them_go_and_what_is_missing_is_told_again_and_again(
    bench: Bench,
) -> None:
    bench.sql(
        "create table t (k bigint, j text, n bigint)", "insert into t values (1,'a',1), (1,'a',2), (1,'b',3), (2,'a',4)"
    )
    sink = bench.sink("k", "j")
    part = bench.stage(sink, k=[1, 7, 1, 2], j=["a", "a", "a", "b"], of_no_matter=[{"x": 1}] * 4)
    assert part.rows == 3  # a key that comes twice is one
    for _ in range(2):  # the answer was lost
        assert sink.publish(part, 1, 0) == "table 't': 2 keys to delete are not there; 2 rows deleted"
    assert sorted(bench.sql("select * from t")) == [(1, "b", 3), (2, "a", 4)]
    assert bench.delete(sink, k=[1], j=["b"]) == ""
    assert bench.delete(sink, k=pa.array([], pa.int64()), j=pa.array([], pa.string())) == ""
    with pytest.raises(ConflictError, match=r"2 rows were deleted by iteration 1 from table 't' .* are not kept"):
        sink.discard(part, 1)


def test_given_no_row_and_types_that_nobody_told_then_no_table_contradicts_them(bench: Bench) -> None:
    """A file of nothing but a header: texts, for want of a better guess."""
    bench.sql("create table t (k bigint, n double precision)")
    header = pa.table({"k": pa.array([], pa.string()), "n": pa.array([], pa.string())})
    for number, mode in enumerate(("append", "upsert", "delete", "overwrite")):
        site = Site(bench.at, OWNER, staging=bench.root / "staged", replaces=mode == "overwrite", access=bench.access)
        sink = TableSink(bench.kind, site, ["k"] if mode in ("upsert", "delete") else (), deletes=mode == "delete")
        for row, table in enumerate((header, pa.table({"k": [number], "n": [0.5]}))):
            iteration = 2 * number + row + 1
            part, _ = sink.stage(table, iteration, Attempt(1, iteration), Pin(guessed=True))
            sink.publish(part, iteration, 0)
        assert bench.sql("select * from t") == ([(number, 0.5)] if mode != "delete" else [])
        bench.sql("delete from t")


def test_given_a_version_when_deleted_then_newer_rows_stay_and_are_counted(bench: Bench) -> None:
    bench.sql("create table t (k bigint, v bigint)", "insert into t values (1,5), (2,5), (3,null), (4,5)")
    told = bench.delete(bench.sink(version="v"), k=[1, 2, 2, 3, 9], v=[4, 1, 5, 1, 1])
    assert told == "table 't': 1 key to delete is not there, and 1 row with a newer version stays; 2 rows deleted"
    assert sorted(bench.sql("select * from t")) == [(1, 5), (4, 5)]


@pytest.mark.parametrize(
    ("keys", "columns", "kind", "said"),
    [
        (("k",), {"k": [1, None]}, "invalid", "key to delete by 'k' is null in 1 row"),
        (("k",), {"n": [1]}, "invalid", "key to delete by 'k' is not a column; columns: n"),
        (("k",), {"k": ["x"]}, "invalid", "k"),
        (("q",), {"q": [1]}, "conflict", "has no column 'q', by which rows are to be deleted; it has: k, d"),
        (("d",), {"d": [0.1]}, "invalid", "would keep 0.1"),
    ],
)
def test_given_keys_that_the_table_does_not_hold_when_staged_then_they_are_named_and_nothing_goes(
    bench: Bench, keys: tuple[str, ...], columns: dict[str, Any], kind: str, said: str
) -> None:
    bench.sql("create table t (k integer, d real)", "insert into t values (1, 0.5)")
    if bench.at.sink == "sqlite" and (columns.get("k") == ["x"] or "d" in columns):
        columns, kind, said = {keys[0]: ["07"]}, "invalid", "would keep '07' (row 1, string) as 7"
    failure = bench.refused(bench.sink(*keys), **columns)
    assert (failure.kind, said in failure.message) == (kind, True), failure.message
    assert bench.sql("select k from t") == [(1,)]


COLLATED = {
    "sqlite": ("k text collate nocase primary key", "k text collate rtrim", "k text"),
    "duckdb": ("k varchar collate nocase primary key", "k varchar collate noaccent", "k varchar"),
    "postgres": ("k text collate blind primary key", 'k text collate "blind"', 'k text collate "C"'),
}


@pytest.mark.parametrize("deletes", [False, True])
def test_given_keys_that_a_collation_takes_for_one_then_the_table_is_refused(bench: Bench, deletes: bool) -> None:
    if bench.at.sink == "postgres":
        bench.sql('create collation blind from "C"')  # called nondeterministic: not every build has ICU's
        bench.sql("update pg_collation set collisdeterministic = false where collname = 'blind'")
    sink, binary = bench.sink(deletes=deletes), COLLATED[bench.at.sink][-1]
    for columns in COLLATED[bench.at.sink][:-1]:
        bench.sql("drop table if exists t", f"create table t ({columns}, v bigint)", "insert into t values ('A', 1)")
        failure = bench.refused(sink, k=["a"], v=[2])
        assert failure.kind == "conflict"
        assert f"column 'k' of table 't' in {bench.at.connection} takes different keys for one" in failure.message
        bench.stage(bench.sink("v", deletes=deletes), k=["b"], v=[9])  # another column's collation
    bench.sql("drop table t", f"create table t ({binary}, v bigint)", "insert into t values ('A', 1)")
    part = bench.stage(sink, k=["a"], v=[2])
    bench.sql("drop table t", f"create table t ({columns}, v bigint)", "insert into t values ('A', 1)")
    with pytest.raises(ConflictError, match="takes different keys for one"):  # changed since it was staged
        sink.publish(part, bench.counter, 0)
    assert bench.sql("select * from t") == [("A", 1)]
    if bench.at.sink != "duckdb":  # whose indexes have no collation of their own
        ignores = "nocase" if bench.at.sink == "sqlite" else "blind"
        bench.sql("drop table t", f"create table t ({binary}, v bigint)", "insert into t values ('A', 1)")
        bench.sql(f"create unique index u on t (k collate {ignores})")
        if deletes:
            assert "1 key to delete is not there" in bench.delete(sink, k=["a"])
        else:
            assert "takes different keys for one" in bench.refused(sink, k=["a"], v=[2]).message


def test_given_no_table_or_a_view_or_somebody_who_objects_when_staged_then_that_is_said(bench: Bench) -> None:
    assert "is not there; `mode: delete` deletes rows of a table" in bench.refused(bench.sink(), k=[1]).message
    bench.sql("create view t as select 1 as k")
    assert "is a view; `mode: delete`" in bench.refused(bench.sink(), k=[1]).message
    bench.sql("drop view t", "create table t (k bigint primary key)", "insert into t values (1), (2)")
    if bench.at.sink == "sqlite":
        bench.sql("create trigger no before delete on t when old.k = 1 begin select raise(abort, 'is kept'); end")
        assert "is kept" in bench.refused(bench.sink(), k=[1]).message
        bench.sql("drop trigger no")
    bench.sql("create table of_t (k bigint references t (k))", "insert into of_t values (1)")
    failure = bench.refused(bench.sink(), k=[2, 1])
    assert failure.kind == "invalid"
    value, by = {"sqlite": ("1", "k"), "duckdb": ("'1'", "k"), "postgres": ("'1'", "by of_t_k_fkey")}[bench.at.sink]
    told = f"keeps its row with k = {value}: table 'of_t' refers to it ({by}): delete it there first"
    assert told in failure.message
    assert bench.delete(bench.sink(), k=[2]) == ""
    assert bench.sql("select k from t") == [(1,)]


def test_given_a_trigger_that_keeps_a_row_in_silence_then_nothing_is_deleted(tmp_path: Path) -> None:
    path = str(tmp_path / "mart.db")
    bench = Bench(tmp_path, Target("sqlite", path, "t"), lambda: sqlite3.connect(path))
    bench.sql("create table t (k)", "insert into t values (1), (2)")
    bench.sql("create trigger no before delete on t when old.k = 1 begin select raise(ignore); end")
    assert "keeps 1 row that is to be deleted" in bench.refused(bench.sink(), k=[1, 2]).message
    assert bench.sql("select k from t") == [(1,), (2,)]


def test_given_a_table_that_a_sink_only_deletes_from_when_reset_then_the_table_stays(bench: Bench) -> None:
    bench.sql("create table t (k bigint)", "insert into t values (1), (2)")
    part = bench.stage(bench.sink(), k=[1])  # nothing is published yet
    for _ in range(2):
        kept = bench.kind.kept(bench.at, [OWNER], [()], bench.access)
        assert (kept.parts, kept.replaced) == (0, True)
        bench.sink().publish(part, 1, 0) if _ == 0 else None
    bench.kind.delete(bench.at, [OWNER], [()], bench.access)
    assert bench.sql("select k from t") == [(2,)]
    assert bench.kind.mark(bench.at, bench.access) is None
    assert bench.sql("select * from _odibi_deleted") == bench.sql("select * from _odibi_commits") == []


PROJECT = """
project: shop
connections:
  landing: {type: local, path: landing}
  mart: {type: sqlite, path: mart.db}
pipelines:
  - pipeline: p
    batch: {max_files: 1}
    nodes:
      - {name: s, read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv"}}
      - {name: gone, inputs: [s], write: {connection: mart, table: t, mode: delete, keys: [k]}}
"""


def test_given_a_pipeline_that_deletes_then_run_rewind_and_reset_say_what_they_do(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "odibi.yaml").write_text(PROJECT)
    for name, key in (("a", 1), ("b", 9)):
        (tmp_path / "landing" / f"{name}.csv").write_text(f"k,n\n{key},1\n")
    with closing(sqlite3.connect(tmp_path / "mart.db")) as db:
        db.execute("create table t (k integer, n text)")
        db.execute("insert into t values (1, 'a'), (2, 'b')")
        db.commit()

    def call(*args: str) -> str:
        result = CliRunner().invoke(odibictl, ["--project", str(tmp_path), *args])
        assert result.exit_code == 0, result.output
        return result.output

    assert "p 2 gone: table 't': 1 key to delete is not there; 0 rows deleted" in call("run", "p")
    assert "what was deleted stays so" in call("pipeline", "rewind", "p", "--to", "0", "--dry-run")
    call("pipeline", "rewind", "p", "--to", "0", "--yes")
    said = call("run", "p")
    assert said.count("1 key to delete is not there") == 2
    call("reset", "p", "--targets", "--yes")
    with closing(sqlite3.connect(tmp_path / "mart.db")) as db:
        assert db.execute("select * from t").fetchall() == [(2, "b")]
