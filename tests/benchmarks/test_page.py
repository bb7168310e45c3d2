"""The benchmark of the page's claims runs to its end on tiny sizes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.soak
@pytest.mark.process
def test_given_tiny_sizes_then_each_claim_is_measured() -> None:
    command = [sys.executable, "-m", "benchmarks.page", "--rows", "1000", "--files", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("claimed <") == 6
