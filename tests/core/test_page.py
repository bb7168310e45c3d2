"""The pages about what Python programs import: their examples run, each in a folder of its own, as they are printed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGES = ("python-dags.md", "python-checkpoints.md", "python-streams.md", "python-pipelines.md")
RUN = """
import json, os, sys
for name, code in json.load(sys.stdin):
    os.mkdir(name)
    os.chdir(name)
    exec(compile(code, name, "exec"), {"__name__": "__main__"})
    os.chdir("..")
"""
"""All in one process: each would load pandas anew."""


def examples(page: str) -> list[tuple[str, str]]:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert found
    return [(f"{page} example {number}", code) for number, code in enumerate(found, 1)]


def test_given_the_examples_of_the_pages_then_they_run_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN],
        input=json.dumps([one for page in PAGES for one in examples(page)]),
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "run read\nrun clean\nrun load\n3\n" in done.stdout  # of a loop that goes on
