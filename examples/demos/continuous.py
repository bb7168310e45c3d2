"""A pipeline round after round over a stream: each batch once, errors told, nothing done where nothing is new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from common import folder, original

from odibi_actors.checkpoint import CheckpointManager
from odibi_actors.core import DAGBuilder, DAGExecutor, EventEmitter, ExecutionMode, Step, Tracker, create_engine_context
from odibi_actors.streaming import StreamManager

rounds: list[int] = []
trouble: list[str] = []


def total(raw_data: pd.DataFrame) -> pd.DataFrame:
    if trouble:
        raise ValueError(trouble.pop())
    rounds.append(int(raw_data["n"].sum()))
    return pd.DataFrame({"total": [rounds[-1]]})


def main() -> None:
    with folder("5. A pipeline over a stream"):
        Path("incoming").mkdir()
        Path("incoming/a.csv").write_text("n\n1\n2\n3\n4\n")
        stream_manager = StreamManager.from_source("csv", path="incoming", batch_size=2)
        step = Step("transform", "total", "function", value="continuous.total", inputs={"raw_data": "raw_data"},
                    outputs={"data": "totals"})  # fmt: skip
        executor = DAGExecutor(
            DAGBuilder([step]).build(), create_engine_context("pandas"), Tracker(), EventEmitter(),
            mode=ExecutionMode.STREAM, checkpoint_manager=CheckpointManager(), dag_name="totals", max_retries=0,
        )  # fmt: skip

        def update_data(data_map: dict[str, Any]) -> None:
            new_batch = stream_manager.read_batch("source")
            if new_batch is not None:
                data_map["raw_data"] = new_batch

        def run(count: int) -> None:
            executor.run_continuous(data_callback=update_data, max_iterations=count, sleep_seconds=0)

        run(2)
        print("totals of two batches:", rounds)
        original("processed the last batch again and again when nothing was new")
        run(3)
        print("after three idle rounds:", rounds)
        assert rounds == [3, 7]
        original("ended without a word at an error, and had lost the batch")
        Path("incoming/b.csv").write_text("n\n5\n6\n")
        trouble.append("the database is away")
        try:
            run(1)
        except RuntimeError as error:
            print("raised:", error)
        run(1)
        print("the same batch again:", rounds)
        assert rounds == [3, 7, 11]


if __name__ == "__main__":
    import continuous  # steps name their functions by module

    continuous.main()
