"""``run_continuous``: each batch once, nothing without news, errors told, an end when asked."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from odibi_actors.checkpoint import CheckpointManager
from odibi_actors.core import DAGBuilder, DAGExecutor, EventEmitter, Step, Tracker, create_engine_context
from tests.local import dag_steps
from tests.local.dag_steps import chain, step

CONTEXT = create_engine_context("pandas")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    dag_steps.reset()
    yield
    dag_steps.reset()


@pytest.fixture
def manager(tmp_path: Path) -> CheckpointManager:
    return CheckpointManager(tmp_path / "checkpoints", keep_last_n=3)


def executor(dag: Any, manager: CheckpointManager | None = None, mode: str = "stream", **more: Any) -> DAGExecutor:
    given: dict[str, Any] = {"max_retries": 0, **more}
    return DAGExecutor(dag, CONTEXT, Tracker(), EventEmitter(), checkpoint_manager=manager, mode=mode, **given)


def batch(number: int) -> pd.DataFrame:
    return pd.DataFrame({"n": [number]})


def feeds(*batches: pd.DataFrame | None) -> Callable[[dict[str, Any]], None]:
    """A callback as in Example 5: it puts what has come, and nothing when nothing has."""
    left = list(batches)

    def update(data_map: dict[str, Any]) -> None:
        new = left.pop(0) if left else None
        if new is not None:
            data_map["raw"] = new

    return update


def test_given_rounds_without_news_then_the_stale_batch_is_not_processed_again() -> None:
    one = executor(chain(given=True), use_cache=False)
    got: list[int] = []
    one.events.on("pipeline_complete", lambda data_map: got.append(int(data_map["c"]["n"][0])))
    one.run_continuous(feeds(batch(1), None, batch(1), None, batch(2)), max_iterations=6, sleep_seconds=0)
    assert got == [4, 4, 5]  # an equal batch is another batch
    assert one._iteration == one.get_stats()["iteration"] == 3


def test_given_a_callback_that_puts_none_then_the_round_runs_nothing() -> None:
    batches = iter([None, batch(1), None])
    one = executor(chain(given=True))
    one.run_continuous(lambda data_map: data_map.update({"raw": next(batches)}), max_iterations=3, sleep_seconds=0)
    assert dag_steps.calls == ["a", "b", "c"]


def test_given_no_callback_then_each_round_runs_and_a_second_call_too() -> None:
    """The original's second call did nothing."""
    one = executor(chain(), mode="batch", use_cache=False)
    for total in (2, 4):
        one.run_continuous(max_iterations=2, sleep_seconds=0)
        assert dag_steps.calls == ["a", "b", "c"] * total
        assert one._iteration == total


def test_given_a_file_that_is_read_then_a_round_runs_when_its_bytes_are_others(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    texts = iter(["n\n1\n", "n\n1\n", "n\n2\n"])
    read = Step("ingest", "read", "config_op", "pandas", str(path), outputs={"o": "raw"})
    one = executor(DAGBuilder([read, step("b", "add", {"data": "raw"})]), use_cache=False)
    one.run_continuous(lambda _: path.write_text(next(texts)), max_iterations=3, sleep_seconds=0)
    assert dag_steps.calls == ["b", "b"]


def test_given_a_round_that_fails_then_it_is_told_and_the_next_call_goes_on_with_it(manager: CheckpointManager) -> None:
    """The original ended in silence, and lost the batch."""
    dag_steps.trouble["b"] = 1
    one = executor(chain(given=True), manager)
    update = feeds(batch(1), None, batch(2))
    with pytest.raises(RuntimeError, match="b: ValueError"):
        one.run_continuous(update, max_iterations=5, sleep_seconds=0)
    assert dag_steps.calls == ["a", "b"]
    assert one._iteration == 0
    one.run_continuous(update, max_iterations=2, sleep_seconds=0)
    assert dag_steps.calls == ["a", "b", "b", "c", "a", "b", "c"]
    assert one._iteration == 2


def test_given_a_callback_that_fails_then_it_is_told() -> None:
    def update(data_map: dict[str, Any]) -> None:
        raise OSError("the sensor is gone")

    with pytest.raises(OSError, match="the sensor is gone"):
        executor(chain(given=True)).run_continuous(update, sleep_seconds=0)


def test_given_a_stop_while_it_waits_then_it_ends_at_once_and_can_begin_again() -> None:
    one = executor(chain(), use_cache=False)
    ran = threading.Event()
    one.events.on("pipeline_complete", lambda data_map: ran.set())
    assert one.stop_continuous() is False
    thread = threading.Thread(target=lambda: one.run_continuous(sleep_seconds=3600))
    thread.start()
    assert ran.wait(30)
    with pytest.raises(RuntimeError, match="runs already"):
        one.run_continuous()
    assert one.stop_continuous() is True
    thread.join(30)
    assert not thread.is_alive()
    one.run_continuous(max_iterations=1)
    assert dag_steps.calls == ["a", "b", "c"] * 2


def test_given_a_stop_within_a_round_then_that_round_is_finished() -> None:
    one = executor(chain())
    one.events.on("step_start", lambda step: one.stop_continuous())
    one.run_continuous(sleep_seconds=0)
    assert dag_steps.calls == ["a", "b", "c"]
    assert one._iteration == 1


def test_given_many_rounds_then_memory_and_files_stay_bounded(manager: CheckpointManager) -> None:
    for name in (None, "etl"):
        one = executor(chain(given=True), manager, dag_name=name)
        batches: list[Any] = []

        def update(data_map: dict[str, Any], batches: list[Any] = batches) -> None:
            data_map["raw"] = batch(len(batches))
            batches.append(weakref.ref(data_map["raw"]))

        one.run_continuous(update, max_iterations=10, sleep_seconds=0)
        gc.collect()
        assert len(one.get_results()) == 3
        assert sum(reference() is not None for reference in batches) <= 4
    found = sorted(path.name.rsplit("_", 3)[0] for path in manager.checkpoint_dir.glob("*.json"))
    assert found == ["dag_7", "dag_8", "dag_9", "etl", "etl", "etl"]
    assert not list(manager.checkpoint_dir.glob("*.outputs"))


def test_given_an_interval_then_each_so_many_checkpoint_stays_and_the_newest(manager: CheckpointManager) -> None:
    manager.keep_last_n = 5
    one = executor(chain(), manager, dag_name="etl")
    one.run_continuous(max_iterations=8, sleep_seconds=0, checkpoint_interval=3)
    kept = [manager.load(name) for name in manager.list_checkpoints("etl")]
    assert [checkpoint.iteration for checkpoint in kept if checkpoint is not None] == [2, 5, 7]
    with pytest.raises(ValueError, match="checkpoint_interval: 0"):
        one.run_continuous(checkpoint_interval=0)


@pytest.mark.parametrize("name", [None, "etl"])
def test_given_a_new_process_then_the_stream_goes_on_where_the_former_ended(
    manager: CheckpointManager, name: str | None
) -> None:
    one = executor(chain(given=True), manager, dag_name=name)
    one.run_continuous(feeds(batch(1), batch(2)), max_iterations=2, sleep_seconds=0)
    dag_steps.trouble["c"] = 1
    with pytest.raises(RuntimeError):
        one.run_continuous(feeds(batch(3)), max_iterations=1)
    dag_steps.calls.clear()
    two = executor(chain(given=True), manager, dag_name=name)
    assert two._iteration == 2
    two.run_continuous(feeds(batch(3), batch(4)), max_iterations=2, sleep_seconds=0)
    assert dag_steps.calls == ["c", "a", "b", "c"]
    assert two._iteration == 4
