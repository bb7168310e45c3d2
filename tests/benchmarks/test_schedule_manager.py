"""The benchmark of ``ScheduleManager`` runs to its end on a tiny size and writes what it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.soak


@pytest.mark.process
@pytest.mark.xdist_group("systems")
def test_idle_share_and_lag_are_measured_on_all_sides(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    command = [sys.executable, str(ROOT / "benchmarks/schedule_manager.py"), "--repeats", "1", "--json", str(result)]
    command += ["--schedules", "5", "--seconds", "2.2", "--dir", str(tmp_path / "d")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "d").iterdir()) == [], "it left something behind"
    rows = json.loads(result.read_text())["rows"]
    assert [row["side"] for row in rows] == ["system", "durable", "floor", "system/floor", "durable/floor"]
    for row in rows[:3]:
        assert row["calls"] >= 5
        assert row["idle"]["min"] >= 0
        assert row["p50"]["median"] <= row["p99"]["median"] <= row["max"]
