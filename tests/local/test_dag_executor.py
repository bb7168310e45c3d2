"""``DAGExecutor``: what runs, in which order, how often, and what is told of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from odibi_actors.core import (
    DAGBuilder,
    DAGExecutor,
    EventEmitter,
    ExecutionMode,
    NodeState,
    Orchestrator,
    Step,
    Tracker,
    create_engine_context,
)
from tests.local import dag_steps
from tests.local.dag_steps import chain, diamond, step

CONTEXT = create_engine_context("pandas")
RAW = pd.DataFrame({"n": [1, 2, 3]})


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    dag_steps.reset()
    yield
    dag_steps.reset()


def executor(dag: Any, **more: Any) -> DAGExecutor:
    return DAGExecutor(dag, CONTEXT, Tracker(), EventEmitter(), **{"retry_delay": 0.0, **more})


def test_given_a_diamond_when_executed_then_each_node_runs_once_behind_those_it_needs() -> None:
    one = executor(diamond())
    data = one.execute()
    assert data is one.data_map
    assert data["d"]["n"].tolist() == [1, 2, 3, 10, 11, 12]
    assert data["a"]["n"].tolist() == [0, 1, 2]  # what b and c have changed is theirs
    assert sorted(dag_steps.calls) == ["a", "b", "c", "d"]
    assert (dag_steps.calls[0], dag_steps.calls[-1]) == ("a", "d")
    first = one.get_results()[0]
    assert (first.node_name, first.state, first.attempts, first.cached) == ("a", NodeState.SUCCESS, 1, False)
    stats = one.get_stats()
    assert {key: stats[key] for key in ("total_nodes", "completed", "failed", "cache_hits", "mode", "iteration")} == {
        "total_nodes": 4, "completed": 4, "failed": 0, "cache_hits": 0, "mode": "batch", "iteration": 0,
    }  # fmt: skip
    assert (stats["total_attempts"], stats["avg_attempts"]) == (4, 1.0)


def test_given_workers_then_nodes_of_a_level_run_at_once_and_never_more() -> None:
    dag_steps.barriers.update({name: together for together in [threading.Barrier(2)] for name in ("b", "c")})
    one = executor(diamond(), max_workers=2)
    one.execute()
    threads = {result.node_name: result.thread_id for result in one.get_results()}
    assert threads["b"] != threads["c"]
    dag_steps.barriers.clear()
    alone = executor(chain(), max_workers=1)
    alone.execute()
    assert len({result.thread_id for result in alone.get_results()}) == 1


def test_given_steps_of_every_kind_then_files_sql_columns_and_functions_work(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("day;price;note\nmon;1.5;x\nmon;2;y\ntue;4;z\n")
    steps = [
        Step(layer="ingestion", step_name="read", engine="pandas", value=str(tmp_path / "orders.csv"),
             params={"sep": ";"}, outputs={"data": "raw"}),
        Step("transformation", "narrow", "sql", "pandas", "select", {"columns": ["day", "price"]}, {"in": "raw"},
             {"out": "narrow"}),
        Step("transform", "by_day", "sql", "pandas", "select day, sum(price) as n from orders group by day order by 1",
             inputs={"orders": "narrow"}, outputs={"out": "days"}),
        Step("transform", "more", "function", "pandas", "tests.local.dag_steps.add", {"name": "more", "by": 0.5},
             {"data": "days"}, {"out": "more"}),
        Step("store", "keep", "config_op", "pandas", str(tmp_path / "out/days.parquet"), inputs={"data": "more"}),
        Step("publish", "publish", "config_op", "pandas", str(tmp_path / "days.db"), {"table": "days"},
             {"data": "more"}),
    ]  # fmt: skip
    result = Orchestrator(steps, CONTEXT, Tracker(), EventEmitter()).run()
    assert pd.read_parquet(tmp_path / "out/days.parquet").to_dict("list") == {"day": ["mon", "tue"], "n": [4.0, 4.5]}
    assert CONTEXT.read(str(tmp_path / "days.db"), table="days")["n"].tolist() == [4.0, 4.5]
    assert list(result.data_map) == ["raw", "narrow", "days", "more"]
    assert result.get_execution_stats()["success_count"] == 6
    assert result.get_execution_stats()["parallel_execution"] is True


def test_given_a_node_that_fails_twice_then_it_is_tried_again_and_told(caplog: pytest.LogCaptureFixture) -> None:
    dag_steps.trouble["b"] = 2
    one = executor(chain(), max_retries=2)
    with caplog.at_level(logging.WARNING, "odibi_actors.core"):
        one.execute()
    assert dag_steps.calls == ["a", "b", "b", "b", "c"]
    assert [result.attempts for result in one.get_results()] == [1, 3, 1]
    assert "b: try 1: ValueError: b is in trouble; the next in 0.0 s" in caplog.text
    assert [execution.state for execution in one.tracker.executions] == [
        "success",
        "retry",
        "retry",
        "success",
        "success",
    ]


def test_given_no_retries_then_one_try_is_made_and_its_failure_is_told() -> None:
    """The original ran nothing with ``max_retries=0``, and reported success."""
    dag_steps.trouble["b"] = 1
    one = executor(chain(), max_retries=0)
    with pytest.raises(RuntimeError, match="1 of 3 steps failed: b: ValueError: b is in trouble; not run: c") as caught:
        one.execute()
    assert isinstance(caught.value.__cause__, ValueError)
    assert dag_steps.calls == ["a", "b"]
    assert [(result.node_name, result.state) for result in one.get_results()] == [("a", "success"), ("b", "failed")]
    assert one.get_stats()["failed"] == 1


def test_given_pauses_between_tries_then_each_is_twice_the_one_before(caplog: pytest.LogCaptureFixture) -> None:
    dag_steps.trouble["a"] = 3
    with caplog.at_level(logging.WARNING, "odibi_actors.core"):
        began = time.monotonic()
        executor(chain(), max_retries=3, retry_delay=0.05).execute()
    assert [record.getMessage().rpartition(" in ")[2] for record in caplog.records] == ["0.1 s", "0.1 s", "0.2 s"]
    assert time.monotonic() - began >= 0.35


def test_given_a_node_that_fails_then_those_that_do_not_need_it_run_all_the_same() -> None:
    dag_steps.trouble.update(b=9, c=9)
    steps = [node.step for node in diamond().values()] + [step("e", "add", {"data": "a"})]
    one = executor(DAGBuilder(steps), max_retries=0)
    with pytest.raises(RuntimeError, match=r"2 of 5 steps failed: [bc]: .*; [bc]: .*; not run: d"):
        one.execute()
    assert "e" in one.data_map
    assert "d" not in dag_steps.calls


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (step("x", "no_such"), "has no function 'no_such'"),
        (Step("transform", "x", "function", "pandas", "no_such_module.f", outputs={"o": "x"}), "there is no module"),
        (step("x", "nothing"), "returned None for output 'out'; is a return missing"),
        (
            Step("transform", "x", "sql", "pandas", "select", {"columns": ["no"]}, {"d": "a"}, {"o": "x"}),
            "no column 'no'",
        ),
    ],
)
def test_given_a_step_that_can_never_run_then_it_fails_at_once_and_says_why(bad: Step, said: str) -> None:
    """The original's function steps did nothing, and reported success."""
    one = executor(DAGBuilder([step("a", "load"), bad]), max_retries=5)
    with pytest.raises(RuntimeError, match=said):
        one.execute()
    assert [result.attempts for result in one.get_results() if result.error] == [1]


def test_given_a_key_that_nobody_makes_then_it_is_named_before_anything_runs() -> None:
    one = executor(DAGBuilder([step("a", "load"), step("b", "add", {"data": "aa"})]))
    with pytest.raises(RuntimeError, match=r"b: nothing makes 'aa'; did you mean 'a'\?"):
        one.execute()
    assert not dag_steps.calls


def test_given_several_outputs_then_each_has_its_own() -> None:
    two = Step("transform", "s", "function", "pandas", "tests.local.dag_steps.split", {"name": "s"}, {"data": "raw"},
               {"head": "first", "tail": "rest"})  # fmt: skip
    one = executor(DAGBuilder([two]))
    one.data_map["raw"] = RAW
    one.execute()
    assert (one.data_map["first"]["n"].tolist(), one.data_map["rest"]["n"].tolist()) == ([1], [2, 3])


def test_given_data_under_the_key_of_a_step_then_that_stands_instead_of_the_step() -> None:
    one = executor(chain())
    one.data_map["a"] = RAW
    assert one.execute()["c"]["n"].tolist() == [3, 4, 5]
    assert dag_steps.calls == ["b", "c"]


def test_given_no_data_then_only_steps_that_need_none_run() -> None:
    steps = [step("x", "add", {"data": "raw"}), step("y", "add", {"data": "x"}), step("z", "load")]
    one = executor(DAGBuilder(steps))
    one.data_map["raw"] = None
    one.execute()
    assert dag_steps.calls == ["z"]


def test_given_listeners_then_they_hear_all_in_order() -> None:
    """The original's executor told nothing of its steps."""
    heard: list[str] = []
    events = EventEmitter()
    events.on("pipeline_start", lambda steps: heard.append(f"pipeline {[one.name for one in steps]}"))
    events.on("step_start", lambda step: heard.append(f"start {step.name}"))
    events.on("step_complete", lambda step, duration_ms: heard.append(f"done {step.name} {duration_ms >= 0}"))
    events.on("step_error", lambda step, error: heard.append(f"error {step.name} {error}"))
    events.on("pipeline_complete", lambda data_map: heard.append(f"complete {sorted(data_map)}"))
    events.on("pipeline_error", lambda error: heard.append(f"failed {type(error).__name__}"))
    dag_steps.trouble["b"] = 2
    one = DAGExecutor(chain(), CONTEXT, Tracker(), events, max_retries=0)
    with pytest.raises(RuntimeError):
        one.execute()
    assert heard[1:] == ["start a", "done a True", "start b", "error b b is in trouble", "failed RuntimeError"]
    dag_steps.trouble.clear()
    heard.clear()
    one.execute()
    ran = [f"{what} {name}{end}" for name in "abc" for what, end in (("start", ""), ("done", " True"))]
    assert heard == ["pipeline ['a', 'b', 'c']", *ran, "complete ['a', 'b', 'c']"]


def test_given_equal_inputs_then_transforms_are_cached_by_content() -> None:
    one = executor(chain(given=True))
    one.data_map["raw"] = RAW
    one.execute()
    one.data_map["c"]["n"] = 0  # what users do to what they got changes no cache
    one.data_map["raw"] = RAW.copy()
    assert one.execute()["c"]["n"].tolist() == [4, 5, 6]
    assert one.get_stats()["cache_hits"] == 3
    assert one.get_stats()["cache_hit_rate"] == 1.0
    one.data_map["raw"] = RAW + 1
    assert one.execute()["c"]["n"].tolist() == [5, 6, 7]
    assert dag_steps.calls == ["a", "b", "c"] * 2
    without = executor(chain(given=True), use_cache=False)
    for _ in range(2):
        without.data_map["raw"] = RAW
        without.execute()
    assert dag_steps.calls == ["a", "b", "c"] * 4


def test_given_frames_that_differ_in_types_or_index_only_then_they_are_not_the_same() -> None:
    one = executor(chain(given=True))
    for raw in (RAW, RAW.astype("float64"), RAW.set_index(pd.Index([7, 8, 9]))):
        one.data_map["raw"] = raw
        one.execute()
        assert one.get_stats()["cache_hits"] == 0


def test_given_a_cache_of_ones_own_then_another_executor_finds_there_what_was_made() -> None:
    class Kept(dict[str, Any]):
        def put(self, key: str, value: dict[str, Any]) -> None:
            self[key] = value

    kept = Kept()
    for _ in range(2):
        one = executor(chain(given=True), cache_manager=kept)
        one.data_map["raw"] = RAW
        one.execute()
    assert dag_steps.calls == ["a", "b", "c"]
    assert all(result.cached for result in one.get_results())


def test_given_what_has_no_content_then_it_is_never_cached() -> None:
    steps = [step("a", "odd"), step("b", "count", {"thing": "a"})]
    one = executor(DAGBuilder(steps))
    for _ in range(2):
        one.execute()
    assert dag_steps.calls == ["a", "b"] * 2


def test_given_many_parallel_sql_nodes_then_none_waits_for_another_for_ever() -> None:
    steps = [
        Step(
            "transform",
            f"s{i}",
            "sql",
            "pandas",
            f"select n + {i} as n from data",
            None,
            {"data": "raw"},
            {"o": f"s{i}"},
        )
        for i in range(12)
    ]
    one = executor(DAGBuilder(steps), max_workers=6)
    one.data_map["raw"] = RAW
    data = one.execute()
    assert [data[f"s{i}"]["n"].tolist()[0] for i in range(12)] == list(range(1, 13))
    assert len([one for one in one.tracker.executions if one.after_snapshot and one.row_delta == 0]) == 12


def test_given_a_step_of_another_engine_than_the_context_then_it_says_so_and_is_not_tried_again() -> None:
    one = executor(DAGBuilder([Step("ingest", "a", "config_op", "spark", "x.csv", outputs={"o": "a"})]))
    with pytest.raises(RuntimeError, match=r"give create_engine_context\('spark'\)"):
        one.execute()
    assert [result.attempts for result in one.get_results()] == [1]


def test_given_a_step_that_returns_a_table_then_it_is_seen_as_a_frame_is() -> None:
    one = executor(DAGBuilder([step("a", "table"), step("b", "count", {"thing": "a"})]))
    assert one.execute()["b"] == {"seen": 1}
    taken = one.tracker.executions[0].after_snapshot
    assert taken is not None
    assert (taken.row_count, taken.schema, len(taken.sample_data)) == (9, [("n", "int64")], 5)


def test_given_sql_that_can_never_run_then_it_is_not_tried_again() -> None:
    one = executor(DAGBuilder([step("a", "load"), Step("transform", "b", value="select x from a", inputs={"a": "a"})]))
    with pytest.raises(RuntimeError, match="b: sql line 1: "):
        one.execute()
    assert [result.attempts for result in one.get_results()] == [1, 1]


@pytest.mark.parametrize("mode", list(ExecutionMode))
def test_given_a_mode_and_nodes_to_skip_then_they_can_be_read(mode: ExecutionMode) -> None:
    one = DAGExecutor(
        dag=chain(), context=CONTEXT, tracker=Tracker(), events=EventEmitter(), mode=mode, skip_nodes={"a"}
    )
    assert (one.mode, one.skip_nodes, one._iteration) == (mode, {"a"}, 0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_workers": 0}, "max_workers: 0"),
        ({"max_retries": -1}, "max_retries: -1"),
        ({"retry_delay": -1}, "less than 0"),
    ],
)
def test_given_numbers_that_mean_nothing_then_they_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        executor(chain(), **given)
