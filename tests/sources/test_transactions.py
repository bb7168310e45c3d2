"""Tables that others write while they are read: transactions that overlap, locks, servers that do not answer."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from msgspec.structs import replace

from odibi_actors.config.model import ReadSpec
from odibi_actors.kinds.connection import Access
from odibi_actors.messages import Message
from odibi_actors.nodes.failures import Failed
from odibi_actors.streaming.effects import Ahead, Begin, Seen
from odibi_actors.streaming.probes import Probes
from tests import postgres
from tests.sources.tables import Duckdb, Postgres, Source, Sqlite

pytestmark = pytest.mark.xdist_group("postgres")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Postgres]:
    made = Postgres(tmp_path)
    made.execute("create table t (id bigserial primary key, w timestamptz default now(), note text)")
    yield made
    made.close()


@pytest.fixture
def writer(shop: Postgres) -> Iterator[Any]:
    """A connection of somebody else's, in a transaction."""
    with closing(shop.connected()) as db:
        db.execute("set application_name = 'the till'")
        db.autocommit = False
        yield db


def test_given_two_writers_that_commit_in_the_other_order_then_nothing_is_lost(shop: Postgres, writer: Any) -> None:
    source = Source(shop, watermark_column="id")
    writer.execute("insert into t (note) values ('first')")
    shop.execute("insert into t (note) values ('second')")
    assert source.look() == []
    assert source.last.more, "a run that began here waits for it"
    assert "waits for the end of a transaction of process" in source.last.waits
    assert "the till" in source.last.waits
    shop.execute("insert into t (note) values ('third')")
    assert source.look() == []
    writer.commit()
    assert [row["note"] for row in source.rows()] == ["first", "second", "third"]
    assert source.remarks == []


def test_given_a_transaction_that_has_only_begun_then_its_beginning_is_waited_for(shop: Postgres, writer: Any) -> None:
    source = Source(shop, keys=["id"])
    writer.execute("select count(*) from t")  # now() is of this moment, and nothing is written yet
    shop.execute("insert into t (note) values ('later')")
    assert source.look() == []
    writer.execute("insert into t (note) values ('earlier')")
    writer.commit()
    assert [row["note"] for row in source.rows()] == ["earlier", "later"]


def test_given_transactions_without_a_gap_then_each_bound_waits_for_those_of_its_moment_alone(shop: Postgres) -> None:
    source, read = Source(shop, watermark_column="id"), list[str]()
    former = shop.connected()
    former.autocommit = False
    former.execute("insert into t (note) values ('0')")
    for number in range(1, 6):
        shop.execute(f"insert into t (note) values ('s{number}')")
        read += [row["note"] for piece in source.look() for row in source.take([piece]).table.to_pylist()]
        following = shop.connected()
        following.autocommit = False
        following.execute(f"insert into t (note) values ('{number}')")
        former.commit()
        former.close()
        former = following
        read += [row["note"] for piece in source.look() for row in source.take([piece]).table.to_pylist()]
        assert f"s{number}" in read, "though another transaction runs by now"
    former.commit()
    former.close()
    read += [row["note"] for row in source.rows()]
    assert sorted(read) == sorted([*(str(n) for n in range(6)), *(f"s{n}" for n in range(1, 6))])


def test_given_readers_of_ours_then_they_hold_up_nobody(shop: Postgres) -> None:
    shop.execute("insert into t (note) values ('x')")
    source = Source(shop, watermark_column="id")
    from odibi_actors.sources.query.postgres import DIALECT

    with DIALECT.open(source.read, shop.access) as other:
        other.snapshot()
        list(other.rows("select 1"))
        assert len(source.rows()) == 1


def test_given_a_server_that_does_not_answer_then_it_is_told_and_holds_up_no_other_source(
    shop: Postgres, tmp_path: Path
) -> None:
    proxy = postgres.Proxy(b"select count", silent=True)
    try:
        away = postgres.Schema(tmp_path, "127.0.0.1", proxy.port)
        access = Access({**away.access.keys, "timeout": "1.0"})
        shop.execute("insert into t (note) values ('x')")
        sqlite = Sqlite(tmp_path)
        sqlite.execute("create table t (id integer, w integer)")
        here, there = Source(sqlite).read, Source(shop, watermark_column="id").read
        there = replace(there, connection=replace(there.connection, path=away.place))
        heard: list[Message] = []
        probes = Probes(heard.append)
        probes.ask(_ahead("slow", there, access))
        assert proxy.seen.wait(20)
        probes.ask(_ahead("quick", here, Access()))
        _until(lambda: heard)
        _until(lambda: len(heard) == 2)
        probes.close(5)
        first, second = heard
        assert isinstance(first, Seen)
        assert isinstance(second, Seen)
        assert (first.source, second.source) == ("quick", "slow")
        assert second.parts[0].problem
        assert second.parts[0].pieces == []
    finally:
        proxy.close()


def _ahead(source: str, read: ReadSpec, access: Access) -> Ahead:
    from odibi_actors.config.model import BatchSpec

    return Ahead(source, 1, read, [Begin("t", b"")], BatchSpec(), 4, access=access)


def _until(so: Any) -> None:
    import threading
    import time

    end = time.monotonic() + 30
    while not so() and time.monotonic() < end:
        threading.Event().wait(0.01)
    assert so()


def test_given_a_locked_sqlite_then_it_is_told_and_read_once_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("odibi_actors.sources.query.sqlite.PATIENCE", 0.0)
    shop = Sqlite(tmp_path)
    shop.execute("create table t (id integer, w integer)")
    shop.execute("insert into t values (1, 1)")
    source = Source(shop)
    pieces = source.look()
    with closing(sqlite3.connect(shop.path, isolation_level=None)) as other:
        other.execute("begin exclusive")
        assert source.look() == []
        assert "is locked by" in source.last.problem
        with pytest.raises(Failed, match="is locked by") as failed:
            source.take(pieces)
        assert failed.value.failure.kind == "busy"
        other.execute("rollback")
    assert len(source.load(pieces).table) == 1


HOLD = "import duckdb, sys; db = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"


def test_given_another_process_that_has_a_duckdb_file_then_it_is_named_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("odibi_actors.connections.duckdb_session.BUSY_TIMEOUT", 0.0)
    shop = Duckdb(tmp_path)
    shop.execute("create table t (id integer, w integer)")
    shop.execute("insert into t values (1, 1)")
    source = Source(shop)
    command = [sys.executable, "-c", HOLD, shop.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert source.look() == []
        assert str(other.pid) in source.last.problem
        other.communicate()
    assert [row["id"] for row in source.rows()] == [1]


def test_given_a_duckdb_file_that_has_not_changed_then_it_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("odibi_actors.sources.query.duckdb.SURE", 0.0)
    shop = Duckdb(tmp_path)
    shop.execute("create table t (id integer, w integer)")
    shop.execute("insert into t values (1, 1)")
    source = Source(shop)
    source.rows()
    with closing(duckdb.connect(shop.path)) as other:  # so that opening it to read would fail
        assert source.look() == []
        assert source.last.problem == ""
        other.execute("insert into t values (2, 2)")
        other.execute("checkpoint")
    assert [row["id"] for row in source.rows()] == [2]


REFUSED = [
    ("numeric", "1.5", "decimal128(38, 9)"),
    ("numeric(50, 2)", "1.5", "decimal128(38, 9)"),
    ("interval", "'1 day'", "for which there is no type here"),
    ("integer[]", "'{1}'", "for which there is no type here"),
    ("date", "'infinity'", "infinity is not date32"),
    ("timestamptz", "'4713-01-01 BC'", "BC"),
    ("numeric(5, 2)", "'NaN'", "NaN is not decimal128"),
]


@pytest.mark.parametrize(("kind", "literal", "says"), REFUSED)
def test_given_values_of_postgresql_that_no_type_holds_then_they_are_refused_by_column(
    shop: Postgres, kind: str, literal: str, says: str
) -> None:
    shop.execute(f"create table v (w integer, c {kind})")
    shop.execute(f"insert into v values (1, {literal})")
    with pytest.raises(Failed) as failed:
        Source(shop, table="v").table()
    assert (failed.value.failure.column, failed.value.failure.kind) == ("c", "malformed")
    assert says in failed.value.failure.message
    assert Source(shop, table="v", schema={"c": "string"}).table().num_rows == 1


@pytest.mark.parametrize(("kind", "literal"), [("timestamp", "'infinity'"), ("double precision", "'NaN'")])
def test_given_a_watermark_beyond_all_then_it_is_told(shop: Postgres, kind: str, literal: str) -> None:
    shop.execute(f"create table v (w {kind})")
    shop.execute(f"insert into v values ({literal})")
    source = Source(shop, table="v")
    source.look()
    assert "a watermark" in source.last.problem
