"""``DAGExecutor`` and its checkpoints: what has finished is not run again, and what has changed is."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from odibi_actors.checkpoint import CheckpointManager
from odibi_actors.core import DAGBuilder, DAGExecutor, EventEmitter, ExecutionMode, Step, Tracker, create_engine_context
from tests.local import dag_steps
from tests.local.dag_steps import chain, diamond, step

CONTEXT = create_engine_context("pandas")
RAW = pd.DataFrame({"n": [1, 2, 3]})


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    dag_steps.reset()
    yield
    dag_steps.reset()


@pytest.fixture
def manager(tmp_path: Path) -> CheckpointManager:
    return CheckpointManager(tmp_path / "checkpoints")


def executor(dag: Any, manager: CheckpointManager | None, mode: str = "batch", **more: Any) -> DAGExecutor:
    given: dict[str, Any] = {"max_retries": 0, "dag_name": "etl", **more}
    return DAGExecutor(dag, CONTEXT, Tracker(), EventEmitter(), checkpoint_manager=manager, mode=mode, **given)


def fails(dag: Any, manager: CheckpointManager, node: str, raw: pd.DataFrame | None = None, **more: Any) -> None:
    """A run that ends at that node."""
    dag_steps.trouble[node] = 1
    one = executor(dag, manager, **more)
    if raw is not None:
        one.data_map["raw"] = raw
    with pytest.raises(RuntimeError, match=node):
        one.execute()
    dag_steps.calls.clear()


def test_given_a_failed_run_when_resumed_then_only_the_rest_runs_on_the_outputs_of_then(
    manager: CheckpointManager,
) -> None:
    """Each level of it has a single node, which the original never skipped; nor did it restore outputs."""
    fails(chain(), manager, "c")
    one = executor(chain(), manager, "resume")
    assert one.execute()["c"]["n"].tolist() == [2, 3, 4]
    assert dag_steps.calls == ["c"]
    assert list(one.data_map) == ["a", "b", "c"]
    assert [result.node_name for result in one.get_results()] == ["c"]
    assert one.get_stats()["completed"] == 3
    latest = manager.load_latest("etl")
    assert latest is not None
    assert (latest.pending_nodes, latest.failed_nodes) == (set(), set())
    assert {node.node_name for node in latest.completed_nodes} == {"a", "b", "c"}
    assert len(manager.list_checkpoints("etl")) == 1


def test_given_one_branch_that_failed_when_resumed_then_the_other_is_not_run_again(manager: CheckpointManager) -> None:
    fails(diamond(), manager, "b")
    data = executor(diamond(), manager, "resume").execute()
    assert dag_steps.calls == ["b", "d"]
    assert data["d"]["n"].tolist() == [1, 2, 3, 10, 11, 12]


def test_given_a_node_that_finished_then_it_is_on_disk_before_the_next_begins(manager: CheckpointManager) -> None:
    """The original saved a checkpoint per iteration."""
    seen: list[set[str]] = []

    def look(step: Step) -> None:
        latest = manager.load_latest("etl")
        seen.append(manager.get_resume_point(latest) if latest is not None else set())

    events = EventEmitter()
    events.on("step_start", look)
    DAGExecutor(chain(), CONTEXT, Tracker(), events, checkpoint_manager=manager, dag_name="etl").execute()
    assert seen == [set(), {"a"}, {"a", "b"}]


def test_given_other_data_when_resumed_then_what_was_made_of_the_former_is_not_taken(
    manager: CheckpointManager,
) -> None:
    fails(chain(given=True), manager, "c", RAW)
    one = executor(chain(given=True), manager, "resume")
    one.data_map["raw"] = RAW + 10
    assert one.execute()["c"]["n"].tolist() == [14, 15, 16]
    assert dag_steps.calls == ["a", "b", "c"]
    fails(chain(given=True), manager, "c", RAW)
    one = executor(chain(given=True), manager, "resume")
    one.data_map["raw"] = RAW.copy()
    one.execute()
    assert dag_steps.calls == ["c"]


def test_given_a_complete_checkpoint_then_the_second_day_is_processed(manager: CheckpointManager) -> None:
    """Pattern 1 of the original's page."""
    for day in (1, 2):
        checkpoint = manager.load_latest("etl")
        skip = manager.get_resume_point(checkpoint) if checkpoint else set()
        mode = ExecutionMode.RESUME if checkpoint else ExecutionMode.BATCH
        one = executor(chain(given=True), manager, mode, skip_nodes=skip)
        one.data_map["raw"] = RAW * day
        assert one.execute()["c"]["n"].tolist() == [day + 3, 2 * day + 3, 3 * day + 3]
    assert dag_steps.calls == ["a", "b", "c"] * 2


def test_given_a_file_that_was_written_again_when_resumed_then_it_is_read_again(
    manager: CheckpointManager, tmp_path: Path
) -> None:
    path = tmp_path / "in.csv"
    read = Step("ingest", "read", "config_op", "pandas", str(path), outputs={"o": "raw"})
    dag = DAGBuilder([read, step("b", "add", {"data": "raw"}), step("c", "add", {"data": "b"})])
    for rows, ran in (("1\n2\n", ["c"]), ("5\n6\n", ["b", "c"])):
        path.write_text("n\n1\n2\n")
        fails(dag, manager, "c")
        path.write_text(f"n\n{rows}")
        executor(dag, manager, "resume").execute()
        assert dag_steps.calls == ran


def test_given_an_input_that_is_made_again_the_same_then_what_was_made_of_it_stands(
    manager: CheckpointManager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for extra, ran in ((0, ["a", "c"]), (1, ["a", "b", "c"])):
        fails(chain(), manager, "c")
        (latest,) = [one for one in (manager.load_latest("etl"),) if one is not None]
        folder = manager.checkpoint_dir / f"{latest.checkpoint_id}.outputs"
        for path in folder.glob("a.*"):
            path.unlink()
        dag = chain()
        dag["a"].step.params["rows"] = 3 + extra
        with caplog.at_level(logging.INFO, "odibi_actors.core"):
            data = executor(dag, manager, "resume").execute()
        assert dag_steps.calls == ran
        assert len(data["c"]) == 3 + extra
    assert "a: its output a is lost, so it runs again" in caplog.text


def test_given_an_input_that_is_made_again_otherwise_then_nothing_is_built_upon_the_former(
    manager: CheckpointManager,
) -> None:
    steps = [node.step for node in chain().values()] + [step("d", "add", {"data": "c"})]
    fails(DAGBuilder(steps), manager, "d")
    steps[0].params["rows"] = 1
    data = executor(DAGBuilder(steps), manager, "resume", max_workers=2).execute()
    assert dag_steps.calls == ["a", "b", "c", "d"]
    assert data["d"]["n"].tolist() == [3]


def test_given_a_damaged_output_when_resumed_then_it_is_told_and_made_again(
    manager: CheckpointManager, caplog: pytest.LogCaptureFixture
) -> None:
    fails(chain(), manager, "c")
    (path,) = manager.checkpoint_dir.glob("*.outputs/b.*")
    path.write_bytes(path.read_bytes()[:-20])
    with caplog.at_level(logging.WARNING, "odibi_actors.core"):
        assert executor(chain(), manager, "resume").execute()["c"]["n"].tolist() == [2, 3, 4]
    assert dag_steps.calls == ["b", "c"]
    assert "is damaged" in caplog.text


def test_given_nodes_to_skip_when_resumed_then_only_those_are(manager: CheckpointManager) -> None:
    fails(chain(), manager, "c")
    executor(chain(), manager, "resume", skip_nodes={"a"}).execute()
    assert dag_steps.calls == ["b", "c"]


def test_given_nodes_to_skip_and_no_checkpoint_then_what_is_needed_runs_and_that_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "odibi_actors.core"):
        executor(chain(), None, skip_nodes={"a", "c"}).execute()
    assert dag_steps.calls == ["a", "b"]
    assert "a is in skip_nodes, but what it makes is needed and kept nowhere: it runs" in caplog.text


def test_given_a_function_that_was_changed_when_resumed_then_it_runs_again(
    manager: CheckpointManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(chain(), manager, "c")

    def load(name: str, rows: int = 3) -> pd.DataFrame:
        dag_steps.called(name)
        return pd.DataFrame({"n": range(7, 7 + rows)})

    monkeypatch.setattr(dag_steps, "load", load)
    assert executor(chain(), manager, "resume").execute()["c"]["n"].tolist() == [9, 10, 11]
    assert dag_steps.calls == ["a", "b", "c"]


def test_given_an_output_that_no_file_can_keep_then_it_is_told_and_made_again(
    manager: CheckpointManager, caplog: pytest.LogCaptureFixture
) -> None:
    dag = DAGBuilder([step("a", "odd"), step("b", "count", {"thing": "a"})])
    with caplog.at_level(logging.WARNING, "odibi_actors.core"):
        fails(dag, manager, "b")
    assert "a: its output a cannot be kept, so it runs again in a new process" in caplog.text
    executor(dag, manager, "resume").execute()
    assert dag_steps.calls == ["a", "b"]


def test_given_frames_of_every_kind_when_resumed_then_they_are_the_same(manager: CheckpointManager) -> None:
    frame = pd.DataFrame(
        {"n": [1.5, None], "t": pd.to_datetime(["2025-01-15", None], utc=True), "s": ["x", None]},
        index=pd.Index(["one", "two"], name="key"),
    )
    select = Step("transform", "s", "sql", value="select", params={"columns": ["n", "t", "s"]},
                  inputs={"d": "raw"}, outputs={"o": "s"})  # fmt: skip
    dag = DAGBuilder([select, step("z", "count", {"thing": "s"})])
    dag_steps.trouble["z"] = 1
    one = executor(dag, manager)
    one.data_map["raw"] = frame
    with pytest.raises(RuntimeError):
        one.execute()
    two = executor(dag, manager, "resume")
    two.data_map["raw"] = frame.copy()
    two.execute()
    pd.testing.assert_frame_equal(two.data_map["s"], frame, check_exact=True)


def test_given_outputs_to_be_kept_then_they_can_be_loaded_by_the_name_of_their_node(tmp_path: Path) -> None:
    for save, found in ((True, [2, 3, 4]), (False, None)):
        manager = CheckpointManager(tmp_path / str(save), save_outputs=save)
        executor(chain(), manager).execute()
        latest = manager.load_latest("etl")
        assert latest is not None
        kept = manager.load_node_output(latest.checkpoint_id, "c")
        assert (kept["n"].tolist() if kept is not None else None) == found
        paths = {node.output_path for node in latest.completed_nodes}
        assert all(Path(str(path)).is_dir() for path in paths) if save else paths == {None}


# --- without a name ---------------------------------------------------------------------------------------------------


def example_3(checkpoint_mgr: CheckpointManager) -> DAGExecutor:
    """As the original's page prints it."""
    dag, context, tracker, events = chain(), CONTEXT, Tracker(), EventEmitter()
    checkpoint = checkpoint_mgr.load_latest("my_dag")
    if checkpoint:
        skip_nodes = checkpoint_mgr.get_resume_point(checkpoint)
        executor = DAGExecutor(dag, context, tracker, events, mode=ExecutionMode.RESUME, skip_nodes=skip_nodes)
    else:
        executor = DAGExecutor(dag, context, tracker, events)
    return executor


def test_given_example_3_as_printed_when_run_again_then_it_resumes(
    manager: CheckpointManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("odibi_actors.local.dags.run.HOPELESS", (ValueError,))  # its pauses are seconds
    dag_steps.trouble["c"] = 1
    with pytest.raises(RuntimeError):
        example_3(manager).execute()
    assert dag_steps.calls == ["a", "b", "c"]
    dag_steps.calls.clear()
    again = CheckpointManager(manager.checkpoint_dir)
    assert example_3(again).execute()["c"]["n"].tolist() == [2, 3, 4]
    assert dag_steps.calls == ["c"]
    assert again.list_checkpoints("my_dag")
    assert again.load_latest("dag_0") is not None


def test_given_an_executor_without_a_name_then_its_checkpoint_is_found_by_number_and_by_any_name(
    manager: CheckpointManager,
) -> None:
    fails(chain(), manager, "c", dag_name=None)
    found = manager.load_latest("dag_0")
    assert found is not None
    assert found.dag_name == "dag_0"
    assert manager.load_latest("dag_1") is None
    other = manager.load_latest("my_dag")
    assert other == found
    executor(chain(), manager, "resume", dag_name=None, skip_nodes=manager.get_resume_point(found)).execute()
    assert dag_steps.calls == ["c"]


def test_given_a_name_that_was_saved_then_no_other_dag_answers_to_it(manager: CheckpointManager) -> None:
    manager.save(manager.create_checkpoint("etl_daily", [], {"x"}))
    assert manager.load_latest("etl") is None


def test_given_a_question_that_another_executor_has_answered_then_the_next_keeps_nothing(
    manager: CheckpointManager,
) -> None:
    manager.load_latest("my_dag")
    first, second = (DAGExecutor(chain(), CONTEXT, Tracker(), EventEmitter()) for _ in range(2))
    assert first.checkpoint_manager is manager
    assert second.checkpoint_manager is None


def test_given_code_that_asks_for_a_checkpoint_then_there_is_one(
    manager: CheckpointManager, caplog: pytest.LogCaptureFixture
) -> None:
    one = executor(chain(), manager, dag_name=None)
    one.execute()
    made = one._create_checkpoint()
    assert made is not None
    assert manager.load_latest("dag_0") == made
    assert json.loads((manager.checkpoint_dir / f"{made.checkpoint_id}.json").read_text())["pending_nodes"] == []
    with caplog.at_level(logging.WARNING, "odibi_actors.core"):
        assert executor(chain(), None)._create_checkpoint() is None
    assert "no checkpoint is saved" in caplog.text


def test_given_a_folder_that_was_emptied_when_resumed_then_everything_runs(manager: CheckpointManager) -> None:
    fails(chain(), manager, "c")
    one = executor(chain(), manager, "resume")
    shutil.rmtree(manager.checkpoint_dir)
    assert one.execute()["c"]["n"].tolist() == [2, 3, 4]
    assert dag_steps.calls == ["a", "b", "c"]
