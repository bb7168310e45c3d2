"""``CheckpointManager``: what is saved is found again, exactly, whatever is killed or damaged."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from odibi_actors.checkpoint import Checkpoint, CheckpointManager, CheckpointMode, NodeCheckpoint
from odibi_actors.errors import StoreError
from odibi_actors.local.checkpoints import document

ROOT = Path(__file__).parent.parent.parent
AT = datetime(2025, 1, 15, 10, 30, 45, 123456, UTC)


def node(name: str, state: str = "success", **more: Any) -> NodeCheckpoint:
    return NodeCheckpoint(name, state, AT, 12.5, **more)


def saved(manager: CheckpointManager, dag: str, count: int = 1, **more: Any) -> list[str]:
    """Save so many checkpoints of a DAG; their ids."""
    made = [manager.create_checkpoint(dag, [node("a")], {"b"}, iteration=number, **more) for number in range(count)]
    for checkpoint in made:
        assert manager.save(checkpoint).is_file()
    return [checkpoint.checkpoint_id for checkpoint in made]


texts = st.text(st.characters(codec="utf-8"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
nodes = st.builds(
    NodeCheckpoint,
    texts,
    st.sampled_from(["success", "SUCCESS", "failed"]),
    st.datetimes(timezones=st.sampled_from([None, UTC])),
    st.floats(0, 1e9),
    st.integers(1, 9),
    st.booleans(),
    st.none() | texts,
    st.none() | texts,
)
checkpoints = st.builds(
    Checkpoint,
    texts,
    texts,
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from(["batch", "stream"]),
    st.lists(nodes, max_size=3),
    st.sets(texts, max_size=3),
    st.sets(texts, max_size=3),
    st.integers(0, 2**70),
    st.dictionaries(texts, values, max_size=3),
)


@settings(max_examples=100)
@given(checkpoints)
def test_any_checkpoint_comes_back_as_it_was(checkpoint: Checkpoint) -> None:
    data = document.encode(checkpoint)
    assert document.decode(data, "x") == checkpoint
    assert Checkpoint.from_dict(json.loads(data)) == checkpoint
    assert Checkpoint.from_dict(checkpoint.to_dict()) == checkpoint


@settings(max_examples=60)
@given(checkpoints, st.data())
def test_any_flipped_bit_or_cut_is_named_or_changes_nothing(checkpoint: Checkpoint, data: st.DataObject) -> None:
    good = document.encode(checkpoint)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = data.draw(st.sampled_from([good[:at], good[:at] + bytes([good[at] ^ 0x04]) + good[at + 1 :]]))
    try:
        found = document.decode(bad, "/x.json")
    except StoreError as error:
        found, told = checkpoint, str(error)
    else:
        told = "/x.json is damaged"
    assert found == checkpoint
    assert "/x.json is damaged" in told


def test_given_checkpoints_then_they_are_found_listed_counted_and_deleted(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path / "new" / "checkpoints")
    assert (manager.load_latest("etl"), manager.list_checkpoints("etl")) == (None, [])
    assert manager.get_stats("etl") == {"checkpoint_count": 0}
    first, second = saved(manager, "etl", 2, metadata={"by": ["me", 1.5, None]})
    found = manager.load(first)
    assert found is not None
    assert (found.completed_nodes, found.pending_nodes, found.metadata) == (
        [node("a")],
        {"b"},
        {"by": ["me", 1.5, None]},
    )
    assert found.created_at.tzinfo is not None
    assert abs(found.created_at - datetime.now(UTC)) < timedelta(minutes=5)
    assert re.fullmatch(r"etl_\d{8}_\d{6}_\d{6}", first)
    assert manager.list_checkpoints("etl") == [first, second]
    stats = manager.get_stats("etl")
    assert stats.pop("latest_created_at") > found.created_at
    assert stats == {
        "checkpoint_count": 2,
        "latest_checkpoint": second,
        "latest_completed_nodes": 1,
        "latest_pending_nodes": 1,
        "latest_iteration": 1,
    }
    assert manager.delete(second)
    assert not manager.delete(second)
    assert manager.load(second) is None
    latest = CheckpointManager(tmp_path / "new" / "checkpoints").load_latest("etl")
    assert latest == found


def test_given_more_than_are_kept_then_the_newest_of_that_very_dag_stay(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, keep_last_n=2, save_outputs=True)
    others = saved(manager, "etl_daily", 2) + saved(manager, "etl_20250101_000000_000000", 2)
    first, *_ = saved(manager, "etl")
    output = manager.save_node_output(first, "a", [1])
    newest = saved(manager, "etl", 5)[-2:]
    assert manager.list_checkpoints("etl") == newest
    assert output is not None
    assert not output.parent.exists()
    assert all(manager.load(name) is not None for name in others)


def test_given_a_damaged_newest_file_then_it_is_named_and_the_older_one_is_found_and_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = CheckpointManager(tmp_path, keep_last_n=2)
    first, second = saved(manager, "etl", 2)
    path = tmp_path / f"{second}.json"
    path.write_bytes(path.read_bytes().replace(b'"iteration": 1', b'"iteration": 7'))
    with pytest.raises(StoreError, match=f"{re.escape(str(path))} is damaged"):
        manager.load(second)
    latest = manager.load_latest("etl")
    assert latest is not None
    assert latest.checkpoint_id == first
    assert str(path) in caplog.text
    (third,) = saved(manager, "etl")
    assert manager.list_checkpoints("etl") == [first, second, third]  # the damaged one does not count


def test_given_files_of_odibi_core_then_they_are_read_and_what_follows_is_newer(tmp_path: Path) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=5)
    name = f"my_dag_{ahead.strftime('%Y%m%d_%H%M%S_%f')}"  # it wrote local time
    body = {
        "checkpoint_id": name,
        "dag_name": "my_dag",
        "created_at": "2025-01-15T10:30:45.123456",
        "mode": "batch",
        "completed_nodes": [
            {"node_name": "a", "state": "SUCCESS", "completed_at": "2025-01-15T10:30:44", "duration_ms": 1.0}
        ],
        "pending_nodes": ["b"],
        "failed_nodes": [],
        "iteration": 3,
        "metadata": {},
        "version": "1.0",
    }
    (tmp_path / f"{name}.json").write_text(json.dumps(body))
    manager = CheckpointManager(tmp_path)
    found = manager.load_latest("my_dag")
    assert found is not None
    assert (found.iteration, manager.get_resume_point(found)) == (3, {"a"})
    (newer,) = saved(manager, "my_dag")
    latest = manager.load_latest("my_dag")
    assert latest is not None
    assert latest.checkpoint_id == newer


def test_given_an_id_of_ones_own_then_the_file_tells_its_dag(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path)
    manager.save(Checkpoint("before-release", "etl", AT, "batch"))
    saved(manager, "etl")
    assert manager.list_checkpoints("etl")[0] == "before-release"
    assert manager.list_checkpoints("before-release") == []
    with pytest.raises(ValueError, match="is one of DAG 'etl', not of 'other'"):
        manager.save(Checkpoint("etl_20250115_103045_123456", "other", AT, "batch"))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"at": AT}, r"metadata\['at'\]: JSON has no datetime"),
        ({"x": [{"y": float("nan")}]}, r"metadata\['x'\]\[0\]\['y'\]: JSON has no float \(nan\)"),
        ({"x": {1: 2}}, r"metadata\['x'\]: key 1 is not a text"),
        ({"x": {1}}, "JSON has no set"),
    ],
)
def test_given_metadata_that_json_lacks_then_it_is_named_and_nothing_is_written(
    metadata: Any, message: str, tmp_path: Path
) -> None:
    manager = CheckpointManager(tmp_path)
    with pytest.raises(TypeError, match=message):
        saved(manager, "etl", metadata=metadata)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../etl", "a/b", ".hidden", "a\0b", "a\nb", "x" * 201])
def test_given_a_name_that_no_file_can_have_then_it_is_refused(name: str, tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path / "checkpoints")
    with pytest.raises(ValueError, match="dag_name"):
        manager.create_checkpoint(name, [], [])
    for call in (manager.load, manager.delete, lambda own: manager.load_node_output(own, "a")):
        with pytest.raises(ValueError, match="checkpoint_id"):
            call(name * 2)
    with pytest.raises(ValueError, match="keep_last_n: 0 is not a number from 1 on"):
        CheckpointManager(tmp_path, keep_last_n=0)


def test_given_modes_then_a_checkpoint_is_due_as_they_say() -> None:
    due = {mode: [CheckpointManager(mode=mode).should_checkpoint(n) for n in (0, 4, 5)] for mode in CheckpointMode}
    assert due == {
        "manual": [False, False, False],
        "auto": [True, True, True],
        "interval": [False, False, True],
        "layer": [True, True, True],
    }


KILLED = """
import sys
from odibi_actors.checkpoint import CheckpointManager
manager = CheckpointManager(sys.argv[1], keep_last_n=1, save_outputs=True)
new = manager.create_checkpoint("etl", [], [], iteration=2)
manager.save_node_output(new.checkpoint_id, "a", list(range(1000)))
manager.save(new)
"""


@pytest.mark.parametrize("place", ["file.create", "file.written", "file.fsynced", "dir.fsync", "dir.fsynced"])
@pytest.mark.parametrize("time", [1, 2])
def test_given_a_process_killed_while_it_saves_then_the_former_or_the_new_one_is_whole(
    place: str, time: int, tmp_path: Path
) -> None:
    manager = CheckpointManager(tmp_path, save_outputs=True)
    saved(manager, "etl")
    environment = {**os.environ, "ODIBI_FAILPOINTS": f"{place}:kill@{time}"}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, env=environment, check=False)
    assert done.returncode in (-9, 0)
    latest = manager.load_latest("etl")
    assert latest is not None
    assert latest.iteration in (0, 2)
    assert latest.iteration == 0 or manager.load_node_output(latest.checkpoint_id, "a") == list(range(1000))
    saved(manager, "etl")  # goes on


FRAME = pd.DataFrame(
    {
        "i": pd.array([1, 2, 3], "int32"),
        "f": [1.5, float("nan"), -0.0],
        "t": ["a", None, "ü"],
        "b": [True, False, True],
        "at": pd.to_datetime(["2025-03-30T01:00", None, "2025-01-01T00:00"], utc=True),
        "c": pd.Categorical(["x", "y", "x"], categories=["y", "x", "z"]),
        "n": pd.array([1, None, 3], "Int64"),
        "d": [date(2025, 1, 1), None, date(1, 1, 1)],
    },
    index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2), ("c", 3)], names=["k", None]),
)


@pytest.mark.parametrize(
    "data",
    [
        FRAME,
        pd.DataFrame({"x": [1, 2]}).iloc[[1]],
        pd.DataFrame({"x": pd.array([1, None], pd.ArrowDtype(pa.int64()))}),
        pd.DataFrame(),
        pa.table({"x": pa.array([1, None], pa.int8())}).replace_schema_metadata({"a": "b"}),
        pl.DataFrame({"x": [1, None], "y": ["a", "b"]}),
        {"rows": 3, "by": ["x", None, 1.5]},
        "text",
        None,
    ],
)
def test_given_an_output_then_it_comes_back_as_it_was(data: Any, tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, save_outputs=True)
    (name,) = saved(manager, "etl")
    assert manager.load_node_output(name, "a/b c") is None
    manager.save_node_output(name, "a/b c", [0])
    path = manager.save_node_output(name, "a/b c", data)
    found = manager.load_node_output(name, "a/b c")
    assert type(found) is type(data)
    if isinstance(data, pd.DataFrame):
        pd.testing.assert_frame_equal(found, data)
    elif isinstance(data, (pa.Table, pl.DataFrame)):
        assert found.equals(data)
        assert not isinstance(data, pa.Table) or found.schema.equals(data.schema, check_metadata=True)
    else:
        assert found == data
    assert path is not None
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(StoreError, match=re.escape(f"output {path} is damaged")):
        manager.load_node_output(name, "a/b c")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pd.DataFrame({"ok": [1], "x": pd.Series([[1, None]], dtype=object)}), "column 'x' .object. would come back"),
        (pd.DataFrame({"x": pd.Series([1, None], dtype=object)}), "column 'x' .object. would come back changed"),
        (pd.DataFrame({"ok": [1, 2], "x": [1, "a"]}), "output of 'a': column 'x' has no Arrow form"),
        (pd.DataFrame({"x": pd.Series(["\ud800"], dtype=object)}), "output of 'a': column 'x' has no Arrow form"),
        (pd.DataFrame({"x": pd.Series([np.array([1, 2]), [3]], dtype=object)}), "column 'x' .object. would come back"),
        (pa.table({"x": [1, 2]}).select([]), "output of 'a': an Arrow file has no rows without columns"),
        ((1, 2), "tuple: JSON does not give it back"),
        ({1: 2}, "dict: JSON does not give it back"),
        (object(), "object is no frame, no table"),
    ],
)
def test_given_an_output_that_would_change_then_it_is_refused(data: Any, message: str, tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, save_outputs=True)
    with pytest.raises(TypeError, match=message):
        manager.save_node_output("x", "a", data)
    assert CheckpointManager(tmp_path).save_node_output("x", "a", data) is None


def test_given_frames_without_columns_or_with_arrays_then_they_come_back(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path, save_outputs=True)
    cells = [np.array([1.5, float("nan")]), np.array(["a", None], dtype=object), None]
    for frame in (pd.DataFrame(index=range(3)), pd.DataFrame({"x": pd.Series(cells[:1] + cells[2:], dtype=object)}),
                  pd.DataFrame({"x": pd.Series(cells[1:], dtype=object)})):  # fmt: skip
        manager.save_node_output("x", "a", frame)
        pd.testing.assert_frame_equal(manager.load_node_output("x", "a"), frame)


@pytest.mark.parametrize(
    ("nodes", "metadata", "message"),
    [
        ([NodeCheckpoint("load", "success", AT, float("nan"))], {}, "node 'load': duration_ms: "),
        ([node("load", error="\ud800")], {}, "node 'load': error: "),
        ([node("load")], {"why": ["\ud800"]}, "metadata.'why'.: "),
    ],
)
def test_given_what_no_file_of_a_checkpoint_has_then_node_or_key_is_named(
    nodes: list[NodeCheckpoint], metadata: dict[str, Any], message: str, tmp_path: Path
) -> None:
    manager = CheckpointManager(tmp_path)
    with pytest.raises(TypeError, match=f"^{message}"):
        manager.save(manager.create_checkpoint("etl", nodes, (), metadata=metadata))
    assert manager.list_checkpoints("etl") == []


def test_given_the_store_alone_then_no_pandas_is_loaded_with_it() -> None:
    code = "import sys, odibi_actors.checkpoint.actor; print([m for m in sys.modules if m in ('pandas', 'pyarrow')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(ImportError):
        from odibi_actors.checkpoint import Nothing  # type: ignore[attr-defined] # noqa: F401
