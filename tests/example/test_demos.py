"""``scripts/demos``: the five end by themselves, and show what they say (each asserts it)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.process
def test_given_the_demos_then_each_ends_by_itself_and_shows_what_the_original_lost(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples/demos"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    parts = done.stdout.split("\n=== ")
    assert [part.partition(".")[0] for part in parts[1:]] == ["1", "2", "3", "4", "5"]
    assert all("--- odibi_core " in part for part in parts[1:])
    assert done.stdout.endswith("Each row once, whatever happened.\n")
    assert not list(tmp_path.iterdir())


def test_given_the_script_then_it_runs_that_folder() -> None:
    assert 'exec "$venv/bin/python" "$root/examples/demos"' in (ROOT / "scripts/demos").read_text()
