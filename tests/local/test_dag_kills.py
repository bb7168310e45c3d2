"""``kill -9`` in the middle of ``execute`` and ``run_continuous``: nothing that has finished runs again, and the result
is that of an undisturbed run. See ``dag_process``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.local.dag_process import KINDS

ROOT = Path(__file__).parent.parent.parent


def kill(kind: str, folder: Path, kills: int, seed: int) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.local.dag_process", kind, str(folder / kind), str(kills), str(seed)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.process
@pytest.mark.parametrize("kind", list(KINDS))
def test_given_processes_killed_at_random_then_what_has_finished_is_not_run_again(kind: str, tmp_path: Path) -> None:
    assert f"{kind}: 5 killed" in kill(kind, tmp_path, 5, 1)


@pytest.mark.soak
@pytest.mark.process
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", list(KINDS))
def test_given_two_hundred_killed_processes_then_what_has_finished_is_not_run_again(kind: str, tmp_path: Path) -> None:
    assert f"{kind}: 200 killed" in kill(kind, tmp_path, 200, 2)
