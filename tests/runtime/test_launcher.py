"""What `odibictl up` does with its lines, as real processes: a stand-in for the actors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from odibi_actors.runtime.console import Console
from tests.runtime.processes import WAIT, Family, gone, said

pytestmark = pytest.mark.process

RUN = """
import os, sys
from pathlib import Path
from odibi_actors.runtime import launcher, outlet, procfile
from odibi_actors.runtime.console import Console
root = Path(sys.argv[1])
for name in sys.argv[2:]:
    setattr(launcher, name.split("=")[0], float(name.split("=")[1]))
outlet.LIMIT = 100_000
lines, _ = procfile.read(root / "Procfile")
env = launcher.environment(root, None, os.environ)
sys.exit(launcher.Launcher(lines, root, env, Console([line.name for line in lines], root / 'up.log')).run())
"""
ACTOR = """
import os, signal, sys, time
name, how = sys.argv[1], sys.argv[2:]
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
with open(f"{name}.pids", "a") as file:
    print(os.getpid(), file=file)
print("up", name, os.getpid(), os.environ.get("ODIBI_RECOVER", "first"), flush=True)
while not told:
    time.sleep(0.01)
if "slow" in how:
    time.sleep(1.5)
if "deaf" in how:
    time.sleep(600)
print("drained", name, flush=True)
"""


@pytest.fixture
def family() -> Iterator[Family]:
    made = Family()
    yield made
    made.close()


def start(family: Family, root: Path, *settings: str, **lines: str) -> subprocess.Popen[str]:
    """``up`` on these lines; ``actor ...`` stands for an actor."""
    (root / "odibi.yaml").write_text("project: x\n")
    (root / ".odibi/log").mkdir(parents=True, exist_ok=True)  # as ``up`` makes it
    (root / "actor.py").write_text(ACTOR)
    python = f"exec {sys.executable} actor.py"
    text = "".join(f"{name}: {command.replace('actor', f'{python} {name}', 1)}\n" for name, command in lines.items())
    (root / "Procfile").write_text(text)
    return family.start([sys.executable, "-c", RUN, str(root), *settings], cwd=root)


def up(process: subprocess.Popen[str], name: str) -> tuple[int, str]:
    """pid of that line, and whether it is its first start."""
    words = said(process, f" up {name} ").split()
    return int(words[-2]), words[-1]


def all_up(process: subprocess.Popen[str], *names: str) -> dict[str, int]:
    """Their pids, in whatever order they come."""
    found: dict[str, int] = {}
    while set(found) != set(names):
        words = said(process, " up ").split()
        found[words[-3]] = int(words[-2])
    return found


def pids(root: Path, name: str, count: int) -> list[int]:
    """Wait until that line has been started ``count`` times, without reading what is said."""
    end = time.monotonic() + WAIT
    path = root / f"{name}.pids"
    while time.monotonic() < end:
        found = path.read_text().split() if path.exists() else []
        if len(found) >= count:
            return [int(pid) for pid in found]
        time.sleep(0.02)
    raise AssertionError(f"{name} was not started {count} times")


def rest(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.read()


def test_given_a_line_of_ours_that_is_killed_then_it_alone_is_started_again_and_told_to_go_on(
    family: Family, tmp_path: Path
) -> None:
    process = start(family, tmp_path, broker="actor")
    first, how = up(process, "broker")
    assert how == "first"
    os.kill(first, signal.SIGKILL)
    assert "SIGKILL" in said(process, "broker is gone")
    second, how = up(process, "broker")
    assert (second != first, how) == (True, "1")
    process.terminate()
    assert process.wait(WAIT) == 0
    assert family.extinct()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)])
def test_given_a_signal_then_workers_finish_before_the_others_are_told(
    family: Family, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = start(family, tmp_path, broker="actor", worker="actor slow", checkpoint="actor")
    all_up(process, "broker", "worker", "checkpoint")
    process.send_signal(number)
    told = [line.split()[-1] for line in rest(process).splitlines() if "drained" in line]
    assert told[0] == "worker"
    assert sorted(told) == ["broker", "checkpoint", "worker"]
    assert process.wait(WAIT) == code
    assert family.extinct()


def test_given_a_second_signal_then_all_are_killed(family: Family, tmp_path: Path) -> None:
    process = start(family, tmp_path, broker="actor", worker="actor deaf")
    pids = all_up(process, "broker", "worker")
    process.terminate()
    said(process, "stopping")
    assert not gone(pids["worker"], 0.5)
    process.terminate()
    assert process.wait(WAIT) == 0
    assert family.extinct()


def test_given_workers_that_do_not_end_then_after_the_grace_it_is_told_and_they_are_ended(
    family: Family, tmp_path: Path
) -> None:
    settings = ("GRACE=0.5", "REST_GRACE=0.5", "LAST_GRACE=0.5")
    process = start(family, tmp_path, *settings, broker="actor", worker="actor deaf")
    all_up(process, "broker", "worker")
    process.terminate()
    text = rest(process)
    assert "nodes still run" in text
    assert "drained broker" in text
    assert process.wait(WAIT) == 0
    assert family.extinct()


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (2, 2), (4, 4), (3, 1)])
def test_given_a_line_of_ours_that_ends_for_good_then_all_end_with_it(
    family: Family, tmp_path: Path, code: int, ends: int
) -> None:
    process = start(family, tmp_path, broker="actor", worker=f"echo the last words; sleep 0.3; exit {code}")
    text = rest(process)
    assert "worker     | the last words" in text
    assert process.wait(WAIT) == ends
    assert family.extinct()


def test_given_a_line_of_ours_that_worked_and_fails_then_it_is_started_again(family: Family, tmp_path: Path) -> None:
    command = (
        f"[ -e there ] || {{ touch there; exec {sys.executable} -c 'import time; time.sleep(2.2); exit(3)'; }}; actor"
    )
    process = start(family, tmp_path, broker=command)
    assert "exit code 3" in said(process, "broker is gone")
    up(process, "broker")
    process.terminate()
    assert process.wait(WAIT) == 0


@pytest.mark.parametrize("code", [0, 2, 3])
def test_given_a_line_of_the_users_own_that_ends_then_it_is_told_and_started_again_and_all_others_go_on(
    family: Family, tmp_path: Path, code: int
) -> None:
    process = start(family, tmp_path, broker="actor", mine=f"echo mine-$((6*7)); exit {code}")
    for _ in range(3):
        said(process, "mine-42")
        assert f"exit code {code}" in said(process, "starting again")
    process.terminate()
    assert process.wait(WAIT) == 0
    assert "mine-42" in (tmp_path / ".odibi/log/mine.log").read_text()
    assert family.extinct()


def test_given_a_line_of_the_users_own_when_stopped_then_all_that_its_shell_runs_is_stopped(
    family: Family, tmp_path: Path
) -> None:
    process = start(family, tmp_path, mine="echo sleeping; sleep 600 | sleep 601")
    said(process, "sleeping")
    process.terminate()
    assert process.wait(WAIT) == 0
    assert family.extinct()


def test_given_up_is_killed_then_its_lines_of_both_kinds_end(family: Family, tmp_path: Path) -> None:
    supervised = (
        "from odibi_actors.runtime.supervisor import supervise; import pathlib, sys; "
        "supervise([sys.executable, 'actor.py', 'broker', 'deaf'], 'broker', pathlib.Path('.odibi'))"
    )
    (tmp_path / "own.py").write_text(supervised)
    process = start(family, tmp_path, broker=f"exec {sys.executable} own.py", mine="actor deaf")
    all_up(process, "broker", "mine")
    process.kill()
    process.wait()
    began = time.monotonic()
    assert family.extinct()
    assert time.monotonic() - began < 15


def test_given_output_that_is_a_line_in_pieces_or_not_ended_then_each_is_shown_whole(
    family: Family, tmp_path: Path
) -> None:
    process = start(family, tmp_path, mine="printf one; sleep 0.2; printf 'two\\nthree'")
    assert said(process, "one").endswith("onetwo\n")
    assert said(process, "three").startswith("mine       | three")
    process.terminate()
    assert process.wait(WAIT) == 0


def test_given_ignored_signals_as_under_nohup_then_they_stay_ignored(family: Family, tmp_path: Path) -> None:
    process = start(family, tmp_path, broker="actor")
    up(process, "broker")
    process.terminate()
    process.wait(WAIT)
    ignoring = "import os, signal, sys; signal.signal(1, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
    argv = [sys.executable, "-c", ignoring, sys.executable, "-c", RUN, str(tmp_path)]
    process = family.start(argv, cwd=tmp_path)
    pid, _ = up(process, "broker")
    process.send_signal(signal.SIGHUP)
    assert not gone(pid, 0.5)
    process.terminate()
    assert process.wait(WAIT) == 0


def test_given_much_output_when_written_to_a_log_then_it_is_bounded_and_its_newest_lines_are_there(
    tmp_path: Path,
) -> None:
    console = Console(["broker"], tmp_path / "up.log", detached=True, limit=1000)
    for number in range(200):
        console.write("broker", b"line %d" % number)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2000
    assert (tmp_path / "up.log").read_text().endswith("broker     | line 199\n")


FLOOD = f"{sys.executable} -c 'for i in range(20000): print(i, \"x\" * 90)'"


def test_given_a_reader_that_does_not_read_then_lines_go_on_and_are_started_again_and_it_is_told_what_it_missed(
    family: Family, tmp_path: Path
) -> None:
    process = start(family, tmp_path, broker=f"{FLOOD}; actor")
    (first,) = pids(tmp_path, "broker", 1)  # so all of the flood was taken from it
    os.kill(first, signal.SIGKILL)
    pids(tmp_path, "broker", 2)
    process.terminate()
    text = rest(process)
    assert process.wait(WAIT) == 0
    (note,) = [line for line in text.splitlines() if "were not shown here" in line]
    assert f"they are in {tmp_path / 'up.log'}" in note
    missed = (tmp_path / "up.log").read_text().splitlines()
    assert int(note.split(" lines were")[0].split()[-1]) == len(missed)
    shown = [line for line in text.splitlines() if line != note]
    flood = [line for line in [*shown, *missed] if line.endswith("x" * 90)]
    assert len(flood) == 40_000
    assert family.extinct()


def test_given_a_reader_that_has_gone_then_lines_are_started_again_and_the_log_says_so(
    family: Family, tmp_path: Path
) -> None:
    process = start(family, tmp_path, broker="actor")
    first, _ = up(process, "broker")
    assert process.stdout is not None
    process.stdout.close()
    os.kill(first, signal.SIGKILL)
    pids(tmp_path, "broker", 2)
    process.terminate()
    assert process.wait(WAIT) == 0
    text = (tmp_path / "up.log").read_text()
    assert "nothing reads this output any more; the system goes on" in text
    assert "broker is gone with its supervisor" in text
    assert family.extinct()
