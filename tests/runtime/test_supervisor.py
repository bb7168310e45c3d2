"""The supervisor and its child as real processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from odibi_actors.runtime.logfile import LogFile
from tests.runtime.processes import WAIT, Family, gone, said

pytestmark = pytest.mark.process

RUN = """
import sys; from pathlib import Path
from odibi_actors.runtime.supervisor import supervise
child = [sys.executable, "-c", sys.argv[2]]
again = [sys.executable, "-c", sys.argv[3]] if len(sys.argv) > 3 else None
sys.exit(supervise(child, "actor", Path(sys.argv[1]), restart=again))
"""
STAY = "import os, time; print('child', os.getpid(), flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + STAY
DRAIN = """
import os, signal, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
print('child', os.getpid(), flush=True)
while not told:
    time.sleep(0.01)
time.sleep(0.3)  # a second signal would come meanwhile
print('drained after', len(told), flush=True)
"""


@pytest.fixture
def family() -> Iterator[Family]:
    made = Family()
    yield made
    made.close()


def supervised(family: Family, folder: Path, *scripts: str, **env: str):  # type: ignore[no-untyped-def]
    return family.start([sys.executable, "-c", RUN, str(folder), *scripts], **env)


def child_of(process) -> int:  # type: ignore[no-untyped-def]
    return int(said(process, "child ").split()[-1])


def test_a_killed_child_is_started_again_and_the_log_says_why(family: Family, tmp_path: Path) -> None:
    process = supervised(family, tmp_path, STAY)
    first = child_of(process)
    os.kill(first, signal.SIGKILL)
    second = child_of(process)
    assert second != first
    log = (tmp_path / "log" / "actor.log").read_text()
    assert "reason=SIGKILL" in log
    assert f"child {first}\n" in log


def test_a_first_death_is_followed_by_a_start_at_once_and_only_a_second_one_soon_after_waits(
    family: Family, tmp_path: Path
) -> None:
    process = supervised(family, tmp_path, STAY)
    for _ in range(3):
        os.kill(child_of(process), signal.SIGKILL)
    child_of(process)
    log = (tmp_path / "log" / "actor.log").read_text()
    assert [word for word in log.split() if word.startswith("delay=")] == ["delay=0s", "delay=0.1s", "delay=0.2s"]
    assert [word for word in log.split() if word.startswith("in_a_row=")] == ["in_a_row=2", "in_a_row=3"]


def test_a_restart_may_have_other_arguments(family: Family, tmp_path: Path) -> None:
    process = supervised(family, tmp_path, "raise SystemExit(70)", "print('recovering', flush=True)")
    said(process, "recovering")
    assert process.wait(WAIT) == 0


@pytest.mark.parametrize("code", [0, 2, 4])
def test_ends_that_a_restart_would_not_fix_are_passed_on(family: Family, tmp_path: Path, code: int) -> None:
    assert supervised(family, tmp_path, f"raise SystemExit({code})").wait(WAIT) == code


def test_sigterm_to_the_whole_group_drains_once(family: Family, tmp_path: Path) -> None:
    process = supervised(family, tmp_path, DRAIN)
    child = child_of(process)
    os.killpg(process.pid, signal.SIGTERM)
    assert said(process, "drained").split()[-1] == "1"
    assert process.wait(WAIT) == 0
    assert gone(child)


def test_a_second_sigterm_kills(family: Family, tmp_path: Path) -> None:
    process = supervised(family, tmp_path, STUBBORN)
    child = child_of(process)
    process.terminate()
    assert not gone(child, 0.3)
    process.terminate()
    assert process.wait(WAIT) == 0
    assert gone(child)


def test_a_child_dies_with_its_supervisor(family: Family, tmp_path: Path) -> None:
    process = supervised(family, tmp_path, STUBBORN)
    child_of(process)
    process.kill()
    assert family.extinct()


def test_sigterm_between_two_starts_ends_it(family: Family, tmp_path: Path) -> None:
    process = supervised(family, tmp_path, "raise SystemExit(70)")
    for _ in range(5):
        said(process, "delay=")
    process.terminate()
    assert process.wait(WAIT) == 0


def test_everything_ends_when_honcho_is_killed(family: Family, tmp_path: Path) -> None:
    python = sys.executable
    (tmp_path / "run.py").write_text(RUN)
    (tmp_path / "child.py").write_text(STUBBORN)
    (tmp_path / "Procfile").write_text(
        f"one: {python} run.py {tmp_path} \"import runpy; runpy.run_path('child.py')\"\n"
        f"two: {python} run.py {tmp_path} \"import runpy; runpy.run_path('child.py')\"\n"
    )
    process = family.start([python, "-m", "honcho", "start"], cwd=tmp_path)
    for _ in range(2):
        said(process, "child ")
    process.kill()
    assert family.extinct()


def test_what_honcho_starts_while_it_is_killed_ends(family: Family, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(RUN)
    (tmp_path / "child.py").write_text(STUBBORN)
    (tmp_path / "Procfile").write_text(
        "one: echo starting; until [ -e dead ]; do sleep 0.01; done; exec "
        f"{sys.executable} run.py {tmp_path} \"import runpy; runpy.run_path('child.py')\"\n"
    )
    process = family.start([sys.executable, "-m", "honcho", "start"], cwd=tmp_path)
    said(process, "starting")
    process.kill()
    process.wait(WAIT)
    (tmp_path / "dead").touch()
    assert family.extinct()


def test_given_a_launcher_that_does_not_read_then_the_actor_goes_on_and_its_log_has_all(
    family: Family, tmp_path: Path
) -> None:
    script = f"import os\nfor _ in range(30000): os.write(1, b'x' * 99 + b'\\n')\nopen({str(tmp_path / 'done')!r}, 'x')"
    process = supervised(family, tmp_path, script)
    assert process.wait(WAIT) == 0  # nobody has read a word
    assert (tmp_path / "done").exists()
    assert (tmp_path / "log" / "actor.log").read_text().count("x" * 99) == 30_000


def test_logs_are_bounded(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "a.log", limit=100)
    for number in range(20):
        file.write(b"%030d\n" % number)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.log", "a.log.1"]
    assert all(p.stat().st_size <= 100 for p in tmp_path.iterdir())
    assert (tmp_path / "a.log").read_text().endswith("19\n")
