"""What the operations manual says about moving a project is typed into an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from odibi_actors.config import init_project
from tests.docs.test_docs import ROOT, blocks, section

PAGE = ROOT / "docs" / "operations.md"
HEADING = "Moving, copying, restoring a project"


def test_given_a_project_when_moved_as_the_manual_says_then_it_goes_on(tmp_path: Path) -> None:
    init_project(tmp_path / "orders")
    for file in (tmp_path / "orders/data/landing").glob("*.csv"):
        os.utime(file, (1_700_000_000, 1_700_000_000))
    (tmp_path / "srv").mkdir()
    (script,) = [block for block in blocks(PAGE, "sh") if block in section(PAGE, HEADING)]
    typed = script.replace("/srv/", f"{tmp_path}/srv/")
    assert typed.count(str(tmp_path)) == 3
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ODIBI_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", typed], cwd=tmp_path, env=kept | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no problem was found" in done.stdout
    assert f"the project was in {tmp_path}/orders, and is in {tmp_path}/srv/orders now" in done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("state ")] == ["done", "no_data"]
