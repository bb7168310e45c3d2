"""``logs``: tails, interleaving, following, rotation."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from odibi_actors.cli import locks, logs
from odibi_actors.runtime.trouble import last_error

Invoke = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The log folder of a project at ``tmp_path``."""
    folder = tmp_path / ".odibi" / "log"
    folder.mkdir(parents=True)
    (folder / "broker.log").write_text(
        "2026-01-01T00:00:01.000Z info broker one\n2026-01-01T00:00:03.000Z error broker boom\nTraceback\n  File x\n"
    )
    (folder / "up.log").write_text("all of it once more\n")
    (folder / "store.log").write_text(
        "2026-01-01T00:00:02.000Z info store two\n2026-01-01T00:00:04.000Z info store four\n"
    )
    return folder


def test_given_all_logs_then_lines_stand_in_order_of_time_and_tracebacks_stay_whole(
    invoke: Invoke, folder: Path, tmp_path: Path
) -> None:
    lines = invoke("logs", "--project", tmp_path).stdout.splitlines()
    assert [line.split(" | ")[0].strip() for line in lines] == [
        "broker",
        "store",
        "broker",
        "broker",
        "broker",
        "store",
    ]
    assert [line.split()[-1] for line in lines] == ["one", "two", "boom", "Traceback", "x", "four"]


def test_given_one_actor_then_its_last_lines_come_as_they_are(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    assert invoke("logs", "up", "--project", tmp_path).stdout == "all of it once more\n"
    assert (
        invoke("logs", "store", "-n", 1, "--project", tmp_path).stdout == "2026-01-01T00:00:04.000Z info store four\n"
    )


def test_given_an_unknown_actor_then_3_names_those_there_are(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    result = invoke("logs", "nobody", "--project", tmp_path)
    assert result.exit_code == 3
    assert "broker, store, up" in result.stderr


def test_given_follow_then_new_lines_and_new_actors_come_until_interrupted(
    invoke: Invoke, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(path: Path, text: str) -> None:
        with path.open("a") as file:
            file.write(text)

    def interrupt() -> None:
        raise KeyboardInterrupt

    steps: list[Callable[[], object]] = [
        lambda: add(folder / "broker.log", "half a "),
        lambda: add(folder / "broker.log", "line\n"),
        lambda: add(folder / "pool-0.log", "hello\n"),
        interrupt,
    ]
    moves = iter(steps)
    monkeypatch.setattr(logs.time, "sleep", lambda _: next(moves)())
    result = invoke("logs", "-f", "-n", 0, "--project", tmp_path)
    assert result.exit_code == 130
    assert result.stdout == "broker     | half a line\npool-0     | hello\n"


def test_given_rotation_when_following_then_no_line_of_either_file_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("1\n2\n")
    tail = logs.Tail(path)
    assert tail.last(1) == ["2"]
    with path.open("a") as file:
        file.write("3\n")
    path.rename(tmp_path / "a.log.1")
    path.write_text("4 is a longer line\n")
    assert list(tail.new()) == ["3", "4 is a longer line"]
    assert list(tail.new()) == []


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=30), max_size=50),
    st.integers(0, 60),
)
def test_given_any_lines_then_the_tail_is_their_end(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], wanted: int
) -> None:
    path = tmp_path_factory.mktemp("tail") / "a.log"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    assert logs.Tail(path).last(wanted) == (lines[-wanted:] if wanted else [])


def test_given_a_log_longer_than_a_block_then_the_tail_is_still_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "TAIL_BLOCK", 7)
    path = tmp_path / "a.log"
    path.write_text("".join(f"line {number}\n" for number in range(100)))
    assert logs.Tail(path).last(3) == ["line 97", "line 98", "line 99"]


def test_what_keeps_a_system_from_coming_up_is_told_with_the_wait_that_ended(tmp_path: Path) -> None:
    log = tmp_path / "up.log"
    assert last_error(log) == ""
    log.write_text(
        "09:11:31 checkpoint.1 | 2026-11-24T09:11:31.306Z error checkpoint the seals are missing: `reseal`\n"
        '09:11:31 checkpoint.1 | 2026-11-24T09:11:31.384Z error checkpoint died; starting again reason="exit code 1"\n'
        "09:11:32 broker.1     | 2026-11-24T09:11:32.000Z info broker waiting for the checkpoint store\n"
    )
    assert last_error(log) == "checkpoint the seals are missing: `reseal`"


@pytest.mark.parametrize(
    ("left", "said"),
    [("", "nothing has run here yet"), ("checkpoints.db", "they were removed"), ("run", "system runs")],
)
def test_given_no_logs_then_it_says_why(invoke: Invoke, folder: Path, tmp_path: Path, left: str, said: str) -> None:
    shutil.rmtree(folder)
    held = -1
    if left == "checkpoints.db":
        (tmp_path / ".odibi" / left).touch()
    elif left:
        (tmp_path / ".odibi" / left).mkdir()
        held = locks.hold(tmp_path / ".odibi" / left / "broker.lock")
    result = invoke("logs", "--project", tmp_path)
    if held >= 0:
        os.close(held)
    assert result.exit_code == 3
    assert said in result.stderr
