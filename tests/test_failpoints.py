"""Every declared failpoint is in the code, once or more, and nothing in the code is undeclared; what they do."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from odibi_actors.failpoints import DECLARED, parse

ROOT = Path(__file__).resolve().parents[1]
REACH = """
import sys
from odibi_actors.failpoints import failpoint
for name in sys.argv[1:]:
    failpoint(name)
"""


def in_the_code() -> set[str]:
    """Names given to ``failpoint``; ``receive`` makes two of who reads."""
    found = {f"{who}.{what}" for who in ("peer", "hub", "pool") for what in ("receive", "received")}
    for package in ("odibi_actors", "broker", "workers"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "failpoint":
                    found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    return found


def reach(*names: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-c", REACH, *names]
    return subprocess.run(argv, env={**os.environ, **env}, capture_output=True, check=False, timeout=60)


def test_given_the_code_when_its_failpoints_are_listed_then_they_are_the_declared_ones() -> None:
    assert in_the_code() == set(DECLARED)


def test_given_nothing_asked_when_a_failpoint_is_reached_then_nothing_happens() -> None:
    assert reach("store.commit").returncode == 0


def test_given_the_third_time_asked_when_reached_then_the_process_dies_there_and_not_before() -> None:
    env = {"ODIBI_FAILPOINTS": "dir.fsync:stop@9,store.commit:kill@3"}
    assert reach("store.commit", "dir.fsync", "store.commit", **env).returncode == 0
    assert reach(*["store.commit"] * 3, **env).returncode == -signal.SIGKILL


def test_given_a_file_when_one_process_has_died_of_it_then_the_next_one_lives(tmp_path: Path) -> None:
    (tmp_path / "arm").write_text("store.commit:kill")
    env = {"ODIBI_FAILPOINTS": f"@{tmp_path / 'arm'}", "ODIBI_FAILPOINTS_SEEN": str(tmp_path / "seen")}
    assert reach("dir.fsync", "store.commit", **env).returncode == -signal.SIGKILL
    assert reach("store.commit", "store.commit", **env).returncode == 0
    assert (tmp_path / "seen").read_text().split() == ["dir.fsync", "store.commit", "store.commit"]
    (fired,) = tmp_path.glob("arm.*")
    assert fired.name.removeprefix("arm.").isdecimal()


@pytest.mark.parametrize("text", ["store.commit", "store.commit:die", "store.comit:kill", "store.commit:kill@0"])
def test_given_what_is_no_failpoint_when_parsed_then_the_word_and_the_names_are_told(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}'.*store.commit"):
        parse(text)
