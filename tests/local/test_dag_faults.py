"""A disk that is full, and Ctrl-C, in the midst of ``execute``: what has finished stands, and the rest runs later."""

from __future__ import annotations

import _thread
import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from odibi_actors.batches import files as batch_files
from odibi_actors.checkpoint import CheckpointManager
from odibi_actors.core import DAGBuilder
from odibi_actors.local.checkpoints import outputs
from tests.local import dag_steps
from tests.local.dag_steps import chain, diamond, step
from tests.local.test_dag_resume import executor


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    dag_steps.reset()
    yield
    dag_steps.reset()


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Disk:
    """Fails from the sync of this number on, until it is ``mended``; counts them."""

    def __init__(self, error: Callable[[], BaseException], at: int) -> None:
        self.error, self.at, self.count, self.mended = error, at, 0, False
        self._lock, self._fsync = threading.Lock(), os.fsync

    def fsync(self, descriptor: int) -> None:
        with self._lock:
            self.count += 1
            if not self.mended and self.count >= self.at:
                raise self.error()
        self._fsync(descriptor)


def test_given_a_disk_that_is_full_from_any_sync_on_then_what_has_finished_does_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = -1
    while True:
        at += 2
        disk = Disk(full, at)
        monkeypatch.setattr(batch_files.os, "fsync", disk.fsync)
        folder = tmp_path / str(at)
        dag_steps.reset()
        one = executor(diamond(), CheckpointManager(folder), "resume")
        told = ""
        try:
            one.execute()
        except (OSError, RuntimeError) as error:
            told = str(error)
        if not told:
            break  # there was no such sync
        assert "No space left on device" in told
        assert str(tmp_path) in told
        disk.mended = True
        latest = CheckpointManager(folder).load_latest("etl")
        finished = set[str]()
        if latest is not None and latest.pending_nodes | latest.failed_nodes:  # else it begins anew, as after a kill
            finished = {node.node_name for node in latest.completed_nodes if node.succeeded}
        called = list(dag_steps.calls)
        again = one if at % 4 == 1 else executor(diamond(), CheckpointManager(folder), "resume")
        assert again.execute()["d"]["n"].tolist() == [1, 2, 3, 10, 11, 12]
        assert not finished & set(dag_steps.calls[len(called) :])
        assert not list(folder.glob("**/*.tmp"))
    assert at > 10  # outputs and checkpoints of four nodes


def interrupted(data: object, name: str) -> object:
    """A step in whose midst Ctrl-C is pressed; it ends when it is let go."""
    dag_steps.called(name)
    _thread.interrupt_main(signal.SIGINT)
    assert let_go.wait(60)
    return data


let_go = threading.Event()


def test_given_ctrl_c_in_the_midst_of_a_step_then_it_is_raised_at_once_and_the_step_runs_again_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    let_go.clear()
    slow = step("b", "add", {"data": "a"})
    slow.value = f"{__name__}.interrupted"
    steps = [step("a", "load"), slow, step("c", "add", {"data": "b"})]
    one = executor(DAGBuilder(steps), CheckpointManager(tmp_path))
    errors: list[BaseException] = []
    one.events.on("pipeline_error", lambda error: errors.append(error))  # noqa: PLW0108 - called by name
    with pytest.raises(KeyboardInterrupt):
        one.execute()
    assert [type(error) for error in errors] == [KeyboardInterrupt]
    assert "b goes on until it returns, and what it makes is not kept" in caplog.text
    let_go.set()
    data = executor(chain(), CheckpointManager(tmp_path), "resume").execute()
    assert data["c"]["n"].tolist() == [2, 3, 4]
    assert dag_steps.calls == ["a", "b", "b", "c"]


@pytest.mark.parametrize("after", [False, True])
def test_given_ctrl_c_while_a_checkpoint_is_put_in_its_place_then_it_is_the_old_or_the_new_one(
    after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, times = os.replace, [0]

    def interrupted_replace(one: Path, other: Path) -> None:
        times[0] += other.suffix == ".json"
        now = other.suffix == ".json" and times[0] == 2
        if not now or after:
            replace(one, other)
        if now:
            raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted_replace)
    with pytest.raises(KeyboardInterrupt):
        executor(chain(), CheckpointManager(tmp_path / "checkpoints")).execute()
    dag_steps.calls.clear()
    data = executor(chain(), CheckpointManager(tmp_path / "checkpoints"), "resume").execute()
    assert data["c"]["n"].tolist() == [2, 3, 4]
    assert "a" not in dag_steps.calls
    assert ("b" in dag_steps.calls) is not after


def test_given_nodes_that_end_together_then_they_are_saved_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has ended while one checkpoint is saved goes into the next one."""
    steps = [step(f"n{number}", "load") for number in range(40)]
    manager, saves = CheckpointManager(tmp_path), list[int]()
    save, begun = manager.save, threading.Event()

    def slow(checkpoint: object) -> Path:
        if not saves:
            while len(dag_steps.calls) < 40 and not begun.wait(0.001):
                pass
        saves.append(len(checkpoint.completed_nodes))  # type: ignore[attr-defined]
        return save(checkpoint)  # type: ignore[arg-type]

    monkeypatch.setattr(manager, "save", slow)
    one = executor(DAGBuilder(steps), manager, max_workers=40)
    one.execute()
    assert len(saves) < 20
    assert saves[-1] == 40


def test_given_a_step_that_an_interrupted_run_has_left_at_work_then_its_successor_keeps_its_own_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, both = os.replace, threading.Barrier(2)

    def together(one: Path, other: Path) -> None:
        both.wait(60)
        replace(one, other)

    monkeypatch.setattr("os.replace", together)
    with ThreadPoolExecutor(2) as threads:
        paths = list(threads.map(lambda number: outputs.save(tmp_path, "b", [number]), (1, 2)))
    assert len(set(paths)) == 2
