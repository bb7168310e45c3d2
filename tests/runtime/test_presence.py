"""What is said of a broker that does not answer is true."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from odibi_actors.client import Client
from odibi_actors.errors import UnreachableError
from odibi_actors.runtime import paths
from odibi_actors.runtime.presence import absence, moved

pytestmark = pytest.mark.process
HOLD = (
    "import sys; from pathlib import Path; from odibi_actors.runtime import paths; "
    "lock = paths.hold_lock(Path(sys.argv[1])); print(1, flush=True); sys.stdin.read()"
)


@contextmanager
def holding(path: Path, *words: str) -> Iterator[int]:
    argv = [sys.executable, "-c", HOLD, str(path), *words]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.send_signal(signal.SIGCONT)
        process.communicate()


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        pass


@pytest.mark.parametrize(
    ("lock", "words", "do", "said"),
    [
        ("broker.lock", (), lambda _: None, "the broker (pid {pid}) runs, but has not answered for 2 s"),
        ("broker.lock", (), stop, "the broker (pid {pid}) is stopped by a signal: `kill -CONT {pid}`"),
        ("broker.lock", ("run",), lambda _: None, "`odibictl run` (pid {pid}) is at work here"),
        ("up.pid", (), lambda _: None, "a system runs, but not its broker"),
    ],
)
def test_given_somebody_who_holds_a_lock_then_that_is_said_and_not_to_start_another(
    tmp_path: Path, lock: str, words: tuple[str, ...], do: Callable[[int], None], said: str
) -> None:
    (tmp_path / "odibi.yaml").write_text("project: x\n")
    places = paths.prepare(tmp_path / ".odibi")
    paths.write_connection(places, places.endpoint)
    with holding(places.run / lock, *words) as pid:
        do(pid)
        with pytest.raises(UnreachableError) as told, Client(project=tmp_path) as client:
            client.status()
    assert said.format(pid=pid) in str(told.value)
    assert "odibictl up" not in str(told.value)


def test_given_nobody_then_nothing_is_said(tmp_path: Path) -> None:
    assert absence(tmp_path, 2.0) == ""


def test_given_a_folder_that_was_moved_while_somebody_works_on_it_then_it_is_said_and_what_stops_it(
    tmp_path: Path,
) -> None:
    places = paths.prepare(tmp_path / "p/.odibi")
    paths.write_connection(places, places.endpoint)
    with holding(places.run / "broker.lock"):
        assert moved(places.run) == ""
        (tmp_path / "p").rename(tmp_path / "q")
        said = moved(tmp_path / "q/.odibi/run")
    assert said.startswith(f"{tmp_path}/q/.odibi was moved from {tmp_path}/p/.odibi while its system runs")
    assert "`odibictl down` stops it" in said
