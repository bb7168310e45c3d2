"""The quickstart as a user runs it, on fewer days: honcho, real processes, two kills, the comparison."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import EXAMPLE

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("systems"), pytest.mark.timeout(240)]

DAYS = 60


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    copy = Path(
        shutil.copytree(EXAMPLE, tmp_path / "f", ignore=shutil.ignore_patterns("data", ".odibi", "__pycache__"))
    )
    yield copy
    assert not running(copy), "the quickstart left processes behind"


def running(project: Path) -> list[int]:
    """Processes whose working directory is the project."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cwd").readlink().is_relative_to(project):
                found.append(int(process.name))
        except OSError:
            continue  # it ended, or is another user's
    return found


def quickstart(project: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(project / "quickstart.py"), "--days", str(DAYS), "--per-second", "10"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_given_a_clean_folder_when_the_quickstart_runs_then_both_kills_happen_and_the_comparison_holds(
    project: Path,
) -> None:
    process = quickstart(project)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert "worker" in output
    assert ": the broker\n" in output
    assert "back by itself: epoch 2" in output
    assert "the comparison holds" in output


@pytest.mark.soak
def test_given_a_running_quickstart_when_it_is_terminated_then_every_process_ends_and_the_next_one_works(
    project: Path,
) -> None:
    process = quickstart(project)
    assert process.stdout is not None
    for line in process.stdout:
        if "files begin to arrive" in line:
            break
    assert running(project)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert not running(project)
    again = quickstart(project)
    output, _ = again.communicate()
    assert again.returncode == 0, output
