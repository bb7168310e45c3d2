"""Tables of PostgreSQL: what one that is there makes of rows, and what becomes of answers that do not come."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from odibi_actors.config.keys import CONNECTION
from odibi_actors.config.problems import Problems
from odibi_actors.config.tree import parse
from odibi_actors.connections import postgres
from odibi_actors.kinds.connection import Access
from odibi_actors.kinds.sink import Site
from odibi_actors.model import Attempt, Failure, StagedRef
from odibi_actors.nodes.executor import naming, to_failure
from odibi_actors.nodes.sinks.conform import Pin
from odibi_actors.nodes.sinks.owner import Owner
from odibi_actors.nodes.sinks.postgres_sink import SINK
from odibi_actors.nodes.sinks.table import TableSink
from odibi_actors.nodes.sinks.table_columns import BRING_PARENT
from tests.postgres import GROUP, Proxy, Schema, host

pytestmark = GROUP


class Bench:
    """A sink of one table in a schema of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.schema = Schema(root)
        self.counter = 0

    def sink(self, *keys: str, version: str | None = None, replaces: bool = False, access: Access | None = None) -> Any:
        at, owner = self.schema.target("t"), Owner("store", "p", "out")
        site = Site(at, owner, staging=self.root / "staged", replaces=replaces, access=access or self.schema.access)
        return TableSink(SINK, site, keys, version)

    def stage(self, sink: Any, **columns: Any) -> StagedRef:
        self.counter += 1
        staged: StagedRef = sink.stage(pa.table(columns), self.counter, Attempt(1, self.counter))[0]
        return staged

    def kept(self, sink: Any, **columns: Any) -> None:
        sink.publish(self.stage(sink, **columns), self.counter, 0)

    def refused(self, sink: Any, **columns: Any) -> Failure:
        return self.failed(lambda: self.stage(sink, **columns))

    def failed(self, do: Callable[[], object]) -> Failure:
        """Why it fails, as a worker would say."""
        with pytest.raises(Exception) as caught, naming(self.schema.target("t")):  # noqa: PT011 - whatever it is
            do()
        return to_failure(caught.value)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        return self.schema.rows(query)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("declared", "values", "said"),
    [
        ("integer", [2**40], "out of range"),
        ("real", [0.1], "would keep 0.1 as 0.1. Declare it double precision"),
        ("numeric(5,1)", [decimal.Decimal("1.25")], "declared numeric(5,1): it would keep 1.25 as 1.3"),
        ("integer", [1.0, -0.0], "it would keep -0 as 0. Declare it double precision"),
        ("double precision", [2**53 + 1], "it would keep 9007199254740993 as 9.007199254740992e+15"),
        ("double precision", pa.array([2**64 - 1], pa.uint64()), "it would keep 18446744073709551615 as"),
        ("double precision", [decimal.Decimal("12345678901234567.00")], "it would keep 12345678901234567.00 as"),
        ("varchar(3)", ["abcd"], "it would keep abcd as abc. Declare it text"),
        ("text", [1], "is declared text, and the rows have int64. Declare it bigint"),
        ("bigint", ["1"], "Declare it text"),
        ("date", [dt.datetime(2020, 1, 1, 5)], "Declare it timestamp without time zone"),
        ("timestamp(0)", [dt.datetime(2020, 1, 1, 0, 0, 0, 5)], "Declare it timestamp without time zone"),
        ("bigint not null", [None, 1], "violates not-null constraint"),
        ("bigint check (x > 0)", [-1], "violates check constraint"),
        ("bigint unique", [1, 1], "Key (x)=(1) already exists"),
    ],
)
def test_given_a_table_when_staged_then_what_it_would_change_or_refuse_is_named(
    bench: Bench, declared: str, values: Any, said: str
) -> None:
    bench.sql(f"create table t (x {declared})")
    failure = bench.refused(bench.sink(), x=values)
    assert (failure.kind, said in failure.message) == ("invalid", True), failure.message
    assert bench.sql("select * from t") == []


@pytest.mark.parametrize(
    ("declared", "values"),
    [
        ("numeric", [2**40, None]),
        ("double precision", [2, 3]),
        ("numeric(10,4)", [decimal.Decimal("1.2500")]),
        ("varchar(3)", ["abc", "", None]),
        ("bigint primary key", [1, 2]),
        ("bigint, y serial", [1, 2]),
    ],
)
def test_given_a_table_of_other_types_when_they_hold_the_values_then_it_is_published(
    bench: Bench, declared: str, values: list[Any]
) -> None:
    bench.sql(f"create table t (x {declared})")
    bench.kept(bench.sink(), x=pa.array(values))
    assert [row[0] for row in bench.sql("select x from t")] == values


def test_given_a_table_that_lacks_a_column_or_computes_one_then_that_is_said(bench: Bench) -> None:
    bench.sql("create table t (x bigint, z bigint generated always as (x + 1) stored)")
    failure = bench.refused(bench.sink(), x=[1], y=["a"])
    assert failure.kind == "conflict"
    assert 'alter table "t" add column "y" text' in failure.message
    assert "'z' of table 't'" in bench.refused(bench.sink(), x=[1], z=[2]).message


def test_given_what_is_no_table_then_it_is_refused(bench: Bench) -> None:
    bench.sql("create view t as select 1 as x")
    assert "is a view" in bench.refused(bench.sink(), x=[1]).message


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array(["a\0"]), "holds a NUL"),
        (pa.array([1], pa.timestamp("ns")), "nanoseconds, which PostgreSQL rounds"),
        (pa.array([1], pa.time64("ns")), "nanoseconds"),
        (pa.array([[1]]), "has no type here"),
    ],
)
def test_given_a_value_that_postgresql_would_change_then_it_is_refused_by_column(
    bench: Bench, column: pa.Array, said: str
) -> None:
    failure = bench.refused(bench.sink(), x=column)
    assert (failure.kind, failure.column, said in failure.message) == ("invalid", "x", True), failure.message


def test_given_names_of_hostile_letters_and_long_ones_then_they_are_kept_or_refused(bench: Bench) -> None:
    names = ['q"q', "%s", "?", "a b", "select", "É"]
    bench.kept(bench.sink(), **{name: [number] for number, name in enumerate(names)})
    assert bench.schema.read("t") == [{name: number for number, name in enumerate(names)}]
    assert "more than 63 bytes" in bench.refused(bench.sink(), **{"é" * 32: [1]}).message


def test_given_a_version_when_older_rows_come_later_then_the_newer_stay(bench: Bench) -> None:
    sink = bench.sink("k", version="v")
    bench.kept(sink, k=[1, 2], v=[5, 5], n=["a", "b"])
    bench.kept(sink, k=[1, 2, 3], v=[4, 5, 1], n=["x", "c", "d"])
    assert bench.sql("select * from t order by k") == [(1, 5, "a"), (2, 5, "c"), (3, 1, "d")]


def test_given_rows_of_the_same_keys_in_a_table_when_upserted_then_it_is_refused(bench: Bench) -> None:
    bench.sql("create table t as select * from (values (1::bigint, 2::bigint), (1, 3)) v(k, n)")
    assert "has several rows of the same k" in bench.refused(bench.sink("k"), k=[1], n=[2]).message
    bench.sql("drop table t; create table t (k bigint primary key, n bigint unique); insert into t values (1, 1)")
    assert "two rows of one batch have that value" in bench.refused(bench.sink("k"), k=[2, 3], n=[2, 2]).message
    staged = bench.stage(bench.sink("k"), k=[2], n=[1])
    said = bench.failed(lambda: bench.sink("k").publish(staged, bench.counter, 0)).message
    assert "Key (n)=(1) already exists; nothing is kept: another row has that value" in said
    assert "unless that constraint is DEFERRABLE INITIALLY DEFERRED" in said


def test_given_a_foreign_key_when_its_row_is_missing_or_would_go_then_that_is_said_by_name(bench: Bench) -> None:
    bench.sql("create table parent (id bigint primary key); insert into parent values (1)")
    bench.sql("create table t (pid bigint primary key references parent (id))")
    sink, over = bench.sink(), bench.sink(replaces=True)
    assert sink.rehearse(pa.table({"pid": [7]}), Pin()) == "its foreign keys"
    staged = bench.stage(sink, pid=[1, 7])
    said = bench.failed(lambda: sink.publish(staged, 1, 0)).message
    assert 'Key (pid)=(7) is not present in table "parent"; nothing is kept: bring that row there' in said
    assert bench.sql("select * from t") == []
    bench.kept(over, pid=[1])
    bench.sql("create table child (pid bigint references t on delete cascade); insert into child values (1)")
    failure = bench.refused(over, pid=[1])
    assert (failure.kind, "table 'child' refers to them ON DELETE CASCADE" in failure.message) == ("conflict", True)
    bench.sql("drop table child; create table child (pid bigint references t); insert into child values (null)")
    bench.kept(over, pid=[1])
    bench.sql("insert into child values (1)")
    assert "table 'child' refers to them ON DELETE NO ACTION" in bench.refused(over, pid=[1]).message
    bench.sql("alter table child alter constraint child_pid_fkey deferrable initially deferred")
    bench.kept(over, pid=[1])
    staged = bench.stage(over, pid=pa.array([], pa.int64()))
    said = bench.failed(lambda: over.publish(staged, bench.counter, 0)).message
    assert said.startswith("table 't' of ")
    assert said.endswith(BRING_PARENT)
    assert bench.sql("select * from t") == [(1,)]


def test_given_a_trigger_that_drops_rows_when_published_then_nothing_is_in(bench: Bench) -> None:
    sink = bench.sink()
    staged = bench.stage(sink, x=[1, 2])
    bench.sql("create table t (x bigint)")
    bench.sql(
        f"create function {bench.schema.name}.drop_one() returns trigger language plpgsql as"
        " $$begin if new.x = 1 then return null; end if; return new; end$$"
    )
    bench.sql("create trigger one before insert on t for each row execute function drop_one()")
    failure = bench.failed(lambda: sink.publish(staged, 1, 0))
    assert "takes 1 of 2 rows" in failure.message
    assert bench.sql("select * from t") == []
    bench.sql("alter table t add primary key (x), add v bigint; insert into t values (2, 9), (3, 1)")
    bench.kept(bench.sink("x", version="v"), x=[2, 3, 4], v=[5, 5, 5])  # an older one is not dropped by the trigger
    assert bench.sql("select * from t order by x") == [(2, 9), (3, 5), (4, 5)]
    versioned = bench.sink("x", version="v")
    staged = bench.stage(versioned, x=[1, 2, 5], v=[6, 6, 6])
    failure = bench.failed(lambda: versioned.publish(staged, bench.counter, 0))
    assert "takes 1 of 2 rows" in failure.message


def test_given_a_marker_that_cannot_be_written_when_published_then_no_row_is_there_either(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = bench.sink()
    bench.kept(sink, x=[0])
    staged = bench.stage(sink, x=[1])

    def mark(*_: object) -> None:
        raise OSError("the worker is gone")

    with monkeypatch.context() as patched:
        patched.setattr(TableSink, "_mark", mark)
        bench.failed(lambda: sink.publish(staged, 2, 0))
    assert bench.sql("select x from t") == [(0,)]
    sink.publish(staged, 2, 0)
    assert bench.sql("select x from t order by x") == [(0,), (1,)]


# --- a server that does not answer ------------------------------------------------------------------------------------


@pytest.fixture
def proxied(bench: Bench) -> Iterator[Callable[..., Access]]:
    """How to get in by a proxy instead."""
    proxies = []

    def through(proxy: Proxy, **more: str) -> Access:
        proxies.append(proxy)
        return Access(dict(bench.schema.access.keys) | {"host": "127.0.0.1", "port": str(proxy.port)} | more)

    yield through
    for proxy in proxies:
        proxy.close()


@pytest.mark.parametrize("silent", [False, True], ids=["cut", "silent"])
def test_given_an_answer_that_is_lost_after_the_commit_when_published_again_then_each_row_is_there_once(
    bench: Bench, proxied: Callable[..., Access], silent: bool
) -> None:
    host()
    proxy = Proxy(cut=b"commit\0", silent=silent)
    sink = bench.sink()
    bench.kept(sink, x=[0])
    staged = bench.stage(sink, x=[1, 2])
    lossy = bench.sink(access=proxied(proxy, timeout="1"))
    failure = bench.failed(lambda: lossy.publish(staged, 2, 0))
    assert (failure.kind, "tried again until it answers" in failure.message) == ("busy", True), failure
    assert proxy.seen.is_set()
    for _ in range(2):
        sink.publish(staged, 2, 0)
    assert bench.sql("select x from t order by x") == [(0,), (1,), (2,)]


def test_given_rows_that_take_longer_than_the_timeout_then_it_is_no_matter_of_waiting_and_the_key_is_named(
    bench: Bench,
) -> None:
    sink = bench.sink("k")
    bench.kept(sink, k=[1], x=[0])
    bench.sql(
        "create function slow() returns trigger as 'begin perform pg_sleep(60); return new; end' language plpgsql"
    )
    bench.sql("create trigger slow before insert on t for each row when (new.k = 2) execute function slow()")
    staged = bench.stage(sink, k=[2], x=[5])
    hasty = bench.sink("k", access=Access(dict(bench.schema.access.keys) | {"timeout": "1"}))
    failure = bench.failed(lambda: hasty.publish(staged, 2, 0))
    assert failure.kind == "io"  # which is tried as often as `retry` says; a server that is busy is waited for
    assert "worked for 1 s, which is `timeout` of its connection" in failure.message
    assert f"{bench.schema.place}, table 't': " in failure.message
    assert bench.sql("select k, x from t") == [(1, 0)]
    bench.sql("drop trigger slow on t")
    with bench.schema.connected() as other:
        other.execute("begin")
        other.execute("lock table t")
        waiting = bench.failed(lambda: hasty.publish(staged, 2, 0))
        other.execute("rollback")
    assert (waiting.kind, "lock timeout" in waiting.message) == ("busy", True), waiting
    hasty.publish(staged, 2, 0)
    assert bench.sql("select k, x from t order by k") == [(1, 0), (2, 5)]


def test_given_nobody_who_listens_then_it_is_busy_and_named(bench: Bench) -> None:
    away = Access(dict(bench.schema.access.keys) | {"host": "127.0.0.1", "port": "1"})
    failure = bench.refused(bench.sink(access=away), x=[1])
    assert (failure.kind, bench.schema.place in failure.message) == ("busy", True), failure


def test_given_a_schema_that_is_not_there_then_the_statement_that_makes_it_is_said(bench: Bench) -> None:
    elsewhere = Access(dict(bench.schema.access.keys) | {"schema": "nowhere"})
    failure = bench.refused(bench.sink(access=elsewhere), x=[1])
    assert (failure.kind, 'create schema "nowhere"' in failure.message) == ("conflict", True), failure


def test_given_a_part_whose_connection_is_gone_from_the_project_then_that_is_said(bench: Bench) -> None:
    failure = bench.refused(bench.sink(access=Access({})), x=[1])
    assert failure.kind == "conflict"
    assert f"no connection of odibi.yaml leads to {bench.schema.place} any more: put it back" in failure.message


def test_given_psycopg_that_is_not_installed_then_the_pip_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "find_spec", lambda _: None)
    assert postgres.CONNECTION.missing() == "PostgreSQL needs psycopg: pip install 'odibi-actors[postgres]'"


def test_given_a_password_in_the_project_file_then_it_is_refused_and_not_shown() -> None:
    problems = Problems("odibi.yaml")
    tree = parse("{type: postgres, database: shop, password: canary-7f3}", problems, lambda text: (text, []))
    assert tree is not None
    CONNECTION.check(tree, "connections.mart", problems)
    said = " ".join(map(str, problems.found))
    assert ("a secret stands elsewhere" in said, "canary" in said) == (True, False)
