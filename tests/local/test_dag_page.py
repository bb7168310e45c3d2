"""Code that odibi_core's users know, as its page prints it (the import renamed): it does what is said there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from odibi_actors.checkpoint import CheckpointManager
from odibi_actors.core import DAGBuilder, DAGExecutor, EventEmitter, Orchestrator, Tracker, create_engine_context
from odibi_actors.local.streams import opened
from odibi_actors.scheduler import ScheduleManager
from odibi_actors.streaming import StreamManager
from tests.local import dag_steps
from tests.local.dag_steps import step

IMPORTS = """
from odibi_actors.checkpoint import CheckpointManager
from odibi_actors.core import DAGExecutor, ExecutionMode
from odibi_actors.scheduler import ScheduleManager
from odibi_actors.streaming import StreamManager
"""
EXAMPLE_1 = """
# Monitor directory for new CSV files
stream = StreamManager.from_source(
    "csv",
    path="data/incoming/",
    mode="file_watch",
    pattern="*.csv"
)

# Process files as they arrive
for batch in stream.read(max_iterations=ROUNDS):
    print(f"Processing {len(batch)} rows")
    process(batch)
"""
EXAMPLE_2 = """
# Read only new data using watermark
stream = StreamManager.from_source(
    "csv",
    path="data/sensor_log.csv",
    mode="incremental",
    watermark_column="timestamp"
)

batch = stream.read_batch("sensor_stream")
# Only returns rows with timestamp > last watermark
"""
OLD = """
orchestrator = Orchestrator(steps, context, tracker, events)
result = orchestrator.run()
"""
EXAMPLE_5 = """
executor = DAGExecutor(
    dag, context, tracker, events,
    mode=ExecutionMode.STREAM,
    checkpoint_manager=checkpoint_mgr
)

def update_data(data_map):
    new_batch = stream_manager.read_batch("source")
    if new_batch is not None:
        data_map['raw_data'] = new_batch

# Run continuously with checkpointing
executor.run_continuous(
    data_callback=update_data,
    max_iterations=MAX_ITERATIONS,
    sleep_seconds=0,
    checkpoint_interval=10
)
"""
PATTERN_1 = """
checkpoint_mgr = CheckpointManager()
stream_mgr = StreamManager.from_source(
    "csv",
    path="data/transactions.csv",
    mode="incremental",
    watermark_column="created_at"
)

checkpoint = checkpoint_mgr.load_latest("etl_pipeline")
skip_nodes = checkpoint_mgr.get_resume_point(checkpoint) if checkpoint else set()

executor = DAGExecutor(
    dag, context, tracker, events,
    mode=ExecutionMode.RESUME if checkpoint else ExecutionMode.BATCH,
    skip_nodes=skip_nodes,
    checkpoint_manager=checkpoint_mgr
)

executor.data_map['raw_data'] = stream_mgr.read_batch("transactions")
executor.execute()
"""
PATTERN_2 = """
def run_streaming_job():
    executor.run_continuous(
        data_callback=load_new_data,
        max_iterations=10,
        checkpoint_interval=5
    )

scheduler = ScheduleManager()
scheduler.schedule("0 */6 * * *", run_streaming_job)  # Every 6 hours
scheduler.start()
"""
PATTERN_3 = """
def process_new_file(file_path):
    # Load file
    df = pd.read_csv(file_path)
    executor.data_map['raw_data'] = df

    # Run DAG
    executor.execute()

    # Checkpoint
    executor._create_checkpoint()

scheduler.schedule_file_watch(
    "data/incoming/",
    process_new_file,
    pattern="*.csv"
)
"""


class Batches:
    """Stands for a ``StreamManager``: it gives these, then None: that a round has nothing new is not left to chance."""

    def __init__(self, *batches: pd.DataFrame | None) -> None:
        self.left = list(batches)

    def read_batch(self, source_name: str) -> pd.DataFrame | None:
        return self.left.pop(0) if self.left else None


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the page takes for granted; the folder is a new one."""
    monkeypatch.chdir(tmp_path)
    dag_steps.reset()
    steps = [step("clean", "add", {"data": "raw_data"}), step("load", "add", {"data": "clean"})]
    Path("data/incoming").mkdir(parents=True)
    yield {
        "steps": steps, "dag": DAGBuilder(steps).build(), "context": create_engine_context("pandas"), "pd": pd,
        "tracker": Tracker(), "events": EventEmitter(), "checkpoint_mgr": CheckpointManager(),
    }  # fmt: skip
    opened.end()
    dag_steps.reset()


def run(block: str, names: dict[str, Any]) -> dict[str, Any]:
    exec(compile(IMPORTS + block, "the page", "exec"), names)  # noqa: S102
    return names


def batch(*numbers: int) -> pd.DataFrame:
    return pd.DataFrame({"n": numbers})


def test_given_the_old_way_then_it_still_works(names: dict[str, Any]) -> None:
    steps = [step("raw_data", "load"), *names["steps"]]
    result = run(OLD, {**names, "steps": steps, "Orchestrator": Orchestrator})["result"]
    assert result.data_map["load"]["n"].tolist() == [2, 3, 4]
    assert result.get_execution_stats()["total_steps"] == 3


def test_given_example_5_then_each_batch_is_processed_once(names: dict[str, Any]) -> None:
    Path("data/incoming/a.csv").write_text("n\n1\n2\n")
    stream = StreamManager.from_source("csv", path="data/incoming", batch_size=1)
    executor = run(EXAMPLE_5, {**names, "stream_manager": stream, "MAX_ITERATIONS": 5})["executor"]
    assert dag_steps.calls == ["clean", "load"] * 2
    assert executor.data_map["load"]["n"].tolist() == [4]


def test_given_examples_1_and_2_then_what_is_new_is_processed_and_nothing_twice(names: dict[str, Any]) -> None:
    log = Path("data/sensor_log.csv")
    log.write_text("timestamp,n\n2025-01-01 10:00:00,1\n")
    Path("data/incoming/a.csv").write_text("n\n1\n2\n")
    rows: list[int] = []
    given = {"ROUNDS": 1, "process": lambda batch: rows.extend(batch["n"])}
    for expected in ([1], [2, 3], None):
        run(EXAMPLE_1, {**names, **given})
        found = run(EXAMPLE_2, dict(names))["batch"]
        assert (found if found is None else found["n"].tolist()) == expected
        if expected == [1]:
            log.write_text(log.read_text() + "2025-01-01 10:00:00,2\n2025-01-01 09:00:00,3\n")
    assert rows == [1, 2]


def test_given_pattern_1_day_by_day_then_each_day_is_processed_and_a_failed_one_resumed(names: dict[str, Any]) -> None:
    for day in (1, 2):
        new_day(day)
        found = run(PATTERN_1, dict(names))["executor"]
        assert found.data_map["load"]["n"].tolist() == [day + 2]
    dag_steps.calls.clear()
    dag_steps.trouble["load"] = 1
    new_day(3)
    block = PATTERN_1.replace("checkpoint_manager=checkpoint_mgr", "checkpoint_manager=checkpoint_mgr, max_retries=0")
    with pytest.raises(RuntimeError, match="load: ValueError"):
        run(block, dict(names))
    run(PATTERN_1, dict(names))
    assert dag_steps.calls == ["clean", "load", "load"]
    assert len(CheckpointManager().list_checkpoints("etl_pipeline")) == 3


def new_day(number: int) -> None:
    with open("data/transactions.csv", "a") as file:
        file.write(f"created_at,n\n2025-01-01,{number}\n" if number == 1 else f"2025-01-0{number},{number}\n")


def test_given_pattern_2_then_the_job_can_be_called_again_and_again(
    names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = DAGExecutor(names["dag"], names["context"], names["tracker"], names["events"])
    stream = Batches(batch(1), batch(2), *[None] * 8, batch(3))
    monkeypatch.setattr(executor, "run_continuous", without_pauses(executor))
    found = run(
        PATTERN_2,
        {
            **names,
            "executor": executor,
            "load_new_data": lambda data_map: data_map.update(raw_data=stream.read_batch("")),
        },
    )
    for _ in range(2):
        found["run_streaming_job"]()
    found["scheduler"].stop()
    assert dag_steps.calls == ["clean", "load"] * 3


def without_pauses(executor: DAGExecutor) -> Any:
    """The page's job waits five seconds between rounds."""
    run_continuous = executor.run_continuous
    return lambda **given: run_continuous(**given, sleep_seconds=0)


def test_given_pattern_3_then_each_file_is_processed_once(names: dict[str, Any]) -> None:
    one = DAGExecutor(names["dag"], names["context"], names["tracker"], names["events"],
                      checkpoint_manager=names["checkpoint_mgr"])  # fmt: skip
    with ScheduleManager() as scheduler:
        run(PATTERN_3, {**names, "executor": one, "scheduler": scheduler})
        for number in (1, 2):
            Path(f"data/incoming/{number}.csv").write_text(f"n\n{number}\n")
        assert scheduler.wait_for(
            lambda status: status["process_new_file"]["run_count"] == 2 and not status["process_new_file"]["running"],
            60,
        )
        assert scheduler.get_status("process_new_file")["last_error"] is None
    assert dag_steps.calls == ["clean", "load"] * 2
    found = names["checkpoint_mgr"].load_latest("dag_0")
    assert found is not None
    assert not found.pending_nodes
