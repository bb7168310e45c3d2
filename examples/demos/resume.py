"""A pipeline that is killed, and resumed: what had finished does not run again."""

from __future__ import annotations

import sys

import pandas as pd
from common import die, folder, in_a_process_that_is_killed, original

from odibi_actors.checkpoint import CheckpointManager
from odibi_actors.core import DAGBuilder, DAGExecutor, EventEmitter, ExecutionMode, Step, Tracker, create_engine_context


def load() -> pd.DataFrame:
    print("  load runs", flush=True)
    return pd.DataFrame({"carrier": ["AA", "UA", "AA"], "delay": [10, 20, 30]})


def clean(flights: pd.DataFrame) -> pd.DataFrame:
    print("  clean runs", flush=True)
    return flights[flights["delay"] > 10]


def report(flights: pd.DataFrame) -> pd.DataFrame:
    print("  report runs", flush=True)
    if "crash" in sys.argv:
        die()
    return flights.groupby("carrier", as_index=False).mean()


def run() -> pd.DataFrame:
    steps = [
        Step("ingest", "load", "function", value=f"{__name__}.load", outputs={"data": "raw"}),
        Step("transform", "clean", "function", value=f"{__name__}.clean", inputs={"flights": "raw"},
             outputs={"data": "good"}),
        Step("transform", "report", "function", value=f"{__name__}.report", inputs={"flights": "good"},
             outputs={"data": "delays"}),
    ]  # fmt: skip
    checkpoint_mgr = CheckpointManager()
    checkpoint = checkpoint_mgr.load_latest("flights")
    executor = DAGExecutor(
        DAGBuilder(steps).build(), create_engine_context("pandas"), Tracker(), EventEmitter(),
        mode=ExecutionMode.RESUME if checkpoint else ExecutionMode.BATCH,
        skip_nodes=checkpoint_mgr.get_resume_point(checkpoint) if checkpoint else None,
        checkpoint_manager=checkpoint_mgr,
        dag_name="flights",
    )  # fmt: skip
    executor.execute()
    print("in this process:", [result.node_name for result in executor.get_results()])
    assert not checkpoint or [result.node_name for result in executor.get_results()] == ["report"]
    return executor.data_map["delays"]


def main() -> None:
    with folder("3. A pipeline that is killed"):
        print("the first process:", flush=True)
        in_a_process_that_is_killed(resume_script, "crash")
        print("the second one:")
        original("ran everything again: it compared SUCCESS with success, and kept no output")
        print(run())


resume_script = __file__

if __name__ == "__main__":
    import resume  # steps name their functions by module

    resume.run() if sys.argv[1:] == ["crash"] else resume.main()
