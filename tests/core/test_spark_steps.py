"""Steps of Spark: DataFrames in and out, exact, beside steps of pandas, resumed, through the end of Spark."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from odibi_actors.checkpoint import CheckpointManager
from odibi_actors.core import DAGBuilder, DAGExecutor, EventEmitter, Step, Tracker, create_engine_context
from odibi_actors.errors import NodeError
from odibi_actors.nodes.spark import finding
from tests.nodes.test_spark import SPARK

pytestmark = SPARK
CODE = """
def clean(orders, least):
    return orders.filter(orders.price >= least)

def doubled(days):
    days["double"] = days["price"] * 2
    return days

def joined(one, other):
    return one.select("day", "code").join(other.select("day", "double"), "day").orderBy("day")

def divided(orders):
    return orders.selectExpr("1 / 0 as x")
"""
GOOD, TWICE = {"o": "good"}, {"o": "doubles"}
ROWS = [{"day": "mon", "code": "007", "double": 3.0}, {"day": "tue", "code": "1", "double": 8.0}]


@pytest.fixture(scope="module")
def context() -> Any:
    return create_engine_context("spark", **{"spark.sql.shuffle.partitions": 2}).connect()


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Step]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"spark_steps_{os.path.basename(tmp_path)}"
    Path(f"{name}.py").write_text(CODE)
    Path("orders.csv").write_text("day,price,code\nmon,1.5,007\nmon,0.0,12\ntue,4.0,1\n")
    sql = "select day, sum(price) as price, min(code) as code from good group by day order by day"

    def made() -> list[Step]:
        return [
            Step("ingest", "read", "config_op", "spark", "orders.csv", outputs={"data": "raw"}),
            Step("transform", "clean", "function", "spark", f"{name}.clean", {"least": 1}, {"orders": "raw"}, GOOD),
            Step("transform", "by_day", "sql", "spark", sql, inputs={"good": "good"}, outputs={"data": "days"}),
            Step("transform", "pandas", "function", "pandas", f"{name}.doubled", {}, {"days": "days"}, TWICE),
            Step(
                "transform", "join", "function", "spark", f"{name}.joined", {}, {"one": "days", "other": "doubles"},
                {"o": "joined"},
            ),
            Step("store", "write", "config_op", "spark", "out.parquet", inputs={"data": "joined"}),
            Step("transform", "divide", "function", "spark", f"{name}.divided", {}, {"orders": "raw"}, {"o": "none"}),
        ]  # fmt: skip

    return made


def _executor(steps: list[Step], context: Any, **given: Any) -> DAGExecutor:
    return DAGExecutor(DAGBuilder(steps).build(), context, Tracker(), EventEmitter(), retry_delay=0.1, **given)


def test_given_steps_of_both_engines_then_each_gets_its_frames_and_what_is_done_is_resumed(
    steps: Callable[..., list[Step]], context: Any, tmp_path: Path
) -> None:
    manager = CheckpointManager(tmp_path / "kept")
    one = _executor(steps(), context, checkpoint_manager=manager, dag_name="d")
    with pytest.raises(RuntimeError, match=r"divide: Spark: \[DIVIDE_BY_ZERO\] Division by zero") as caught:
        one.execute()
    assert "JVM" not in str(caught.value)
    assert pq.read_table("out.parquet").to_pylist() == ROWS
    assert isinstance(one.data_map["doubles"], pd.DataFrame)
    assert [row.asDict() for row in one.data_map["joined"].collect()] == ROWS
    sizes = {each.step_name: each.after_snapshot.row_count for each in one.tracker.executions if each.after_snapshot}
    assert (sizes["read"], sizes["clean"], sizes["join"]) == (3, 2, 2)

    again = _executor(steps()[:-1], context, checkpoint_manager=manager, dag_name="d", mode="resume")
    assert [row.asDict() for row in again.execute()["joined"].collect()] == ROWS
    assert again.get_results() == []  # all was done, and its outputs are DataFrames again
    assert set(again.data_map) == {"raw", "good", "days", "doubles", "joined"}


def test_given_a_spark_that_is_killed_then_its_steps_are_tried_again_and_nothing_else_is_lost(
    steps: Callable[..., list[Step]], context: Any
) -> None:
    first = _executor(steps()[:-1], context)
    first.execute()

    def kill(**_: Any) -> None:
        events.clear()
        for process in finding.processes():
            os.kill(process, signal.SIGKILL)

    events = EventEmitter()
    events.on("step_complete", lambda step, **_: kill() if step.name == "clean" else None)
    one = DAGExecutor(DAGBuilder(steps()[:-1]).build(), context, Tracker(), events, retry_delay=0.1)
    one.execute()
    assert [row.asDict() for row in one.data_map["joined"].collect()] == ROWS
    assert one.data_map["raw"].count() == 3  # it was made before: again, of what had come here
    assert {result.node_name: result.attempts for result in one.get_results()}["clean"] == 1


def test_given_values_then_they_come_and_go_exactly_or_are_refused(context: Any, tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([1, None, (1 << 53) + 1], pa.int64()),
            "money": pa.array([Decimal("1.10"), None, Decimal("-2.00")], pa.decimal128(10, 2)),
            "at": pa.array([datetime(2026, 1, 2, 3, 4, 5, 6), None, None], pa.timestamp("us")),
            "tags": pa.array([["a"], None, []], pa.list_(pa.string())),
        }
    )
    context.register_temp("t", table)
    found = context.plain(context.execute_sql("select * from t order by id nulls first"))
    assert found.to_pylist() == [table.to_pylist()[1], table.to_pylist()[0], table.to_pylist()[2]]
    context.write(found, str(tmp_path / "t.parquet"))
    assert pq.read_table(tmp_path / "t.parquet").schema.types == table.schema.types
    context.write(found.drop_columns(["tags"]), str(tmp_path / "t.csv"))
    assert (tmp_path / "t.csv").read_text().splitlines()[-1] == "9007199254740993,-2.00,"
    assert context.collect_sample(found, 1).shape == (1, 4)
    with pytest.raises(NodeError, match="several columns named 'a'"):
        context.settled(context.execute_sql("select 1 as a").selectExpr("a", "a"))
    with pytest.raises(TypeError, match="u: int is no frame"):
        context.register_temp("u", 1)


def test_given_files_then_numbers_keep_their_zeros_and_a_row_that_does_not_fit_is_an_error(
    context: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.csv").write_text("code,n,`odd name\n007,1,0.5\n12,,0\n")
    with caplog.at_level(logging.INFO):
        assert context.plain(context.read(str(tmp_path / "a.csv"))).to_pylist() == [
            {"code": "007", "n": 1, "`odd name": 0.5},
            {"code": "12", "n": None, "`odd name": 0.0},
        ]
    assert "code stay text: some of their numbers begin with a zero" in caplog.text
    assert context.read(str(tmp_path / "a.csv"), schema="code int, n int, ```odd name` double").first().code == 7
    with pytest.raises(NodeError, match="CSV header does not conform to the schema"):
        context.settled(context.read(str(tmp_path / "a.csv"), schema="n int, code int, x double"))
    (tmp_path / "b.csv").write_text("a,b\n1,2\n3,4,5\n")
    with pytest.raises(NodeError, match=r"FAILED_READ_FILE.*Malformed CSV record: 3,4,5"):
        context.settled(context.read(str(tmp_path / "b.csv"), schema="a int, b int"))
    (tmp_path / "a.json").write_text('[{"a": 1}, {"a": 2}]')
    (tmp_path / "lines.json").write_text('{"a": 1}\n{"a": 2}\n')
    for name in ("a.json", "lines.json"):
        assert context.plain(context.read(str(tmp_path / name)))["a"].to_pylist() == [1, 2]
    context.of("pandas").write(pd.DataFrame({"a": [1]}), str(tmp_path / "a.db"), table="t")
    assert context.read(str(tmp_path / "a.db"), table="t").first().a == 1
    with pytest.raises(FileNotFoundError, match="no such file"):
        context.read(str(tmp_path / "none.csv"))
