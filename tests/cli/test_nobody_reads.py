"""A reader that has left, a full disk behind stdout: what is done, and its exit code, are the same."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from odibi_actors.config import init_project
from odibi_actors.messages import Reply
from tests.cli.fake import FakeBroker
from tests.local.test_run import age

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]
NODE = """
import os, subprocess
def clean(orders):
    for number in range(2000):
        print("line", number, flush=True)
    os.write(2, b"directly\\n")
    subprocess.run(["sh", "-c", "echo from a child >&2"], check=True)
    {end}
"""


@pytest.fixture(params=["works", "fails"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, int]:
    """A project whose function prints much, and the exit code of its run."""
    init_project(tmp_path)
    age(tmp_path)
    end = "return orders" if request.param == "works" else "raise ValueError('no')"
    (tmp_path / "nodes/talk.py").write_text(NODE.format(end=end))
    (tmp_path / "odibi.yaml").write_text("""\
project: talk
connections:
  landing: {type: local, path: data/landing}
  lake: {type: local, path: data/lake}
pipelines:
  - pipeline: sales
    nodes:
      - name: orders
        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv"}
      - name: clean
        inputs: [orders]
        transform: {function: "nodes.talk:clean"}
        retry: {max_attempts: 1}
      - name: lake_orders
        inputs: [clean]
        write: {connection: lake, format: parquet, path: orders}
""")
    return tmp_path, 0 if request.param == "works" else 5


@contextmanager
def nobody() -> Iterator[int]:
    """The end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


def odibictl(root: Path, *args: str, stdout: int, stderr: int = subprocess.PIPE) -> tuple[int, str]:
    """Its exit code, and what it said on stderr."""
    argv = [sys.executable, "-m", "odibi_actors.cli", "--project", str(root), *args]
    done = subprocess.run(argv, stdout=stdout, stderr=stderr, cwd=ROOT, text=True, check=False, timeout=60)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize("both", [False, True])
def test_given_a_reader_that_has_left_when_run_then_it_runs_to_its_end_and_its_code_is_that_of_the_run(
    project: tuple[Path, int], both: bool
) -> None:
    root, code = project
    with nobody() as pipe:
        assert odibictl(root, "run", "sales", stdout=pipe, stderr=pipe if both else subprocess.PIPE)[0] == code
    assert len(list((root / "data/lake").glob("orders/part-*.parquet"))) == (code == 0)


def test_given_a_full_disk_behind_stdout_when_run_then_it_is_told_and_the_run_is_whole(
    project: tuple[Path, int],
) -> None:
    root, code = project
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        ended, said = odibictl(root, "run", "sales", stdout=full)
        silent = odibictl(root, "graph", stdout=full, stderr=full)[0]
    finally:
        os.close(full)
    assert ended == (code or 1)
    assert f"error: stdout: {os.strerror(errno.ENOSPC)}" in said
    assert silent == 1
    assert len(list((root / "data/lake").glob("orders/part-*.parquet"))) == (code == 0)


@pytest.mark.parametrize(
    ("verb", "answer", "code"),
    [
        (("status",), {}, 0),
        (("iteration", "wait", "p", "3"), {"iteration": 3, "state": "failed"}, 5),
        (("iteration", "retry", "p", "3"), Reply("", 4, None, "it is committed"), 4),
    ],
)
def test_given_nobody_reads_then_the_exit_code_is_that_of_the_verb(
    tmp_path: Path,
    broker: Callable[..., FakeBroker],
    verb: tuple[str, ...],
    answer: object,
    code: int,
) -> None:
    fake = broker({".".join(verb[:2]): answer, "status": answer})
    with nobody() as pipe:
        assert odibictl(tmp_path, *verb, "--endpoint", fake.endpoint, stdout=pipe, stderr=pipe)[0] == code


@pytest.mark.parametrize("verb", [("status", "--watch"), ("logs", "-f")])
def test_given_a_reader_that_leaves_then_what_shows_for_ever_ends(
    tmp_path: Path, broker: Callable[..., FakeBroker], verb: tuple[str, ...]
) -> None:
    fake = broker({"status": {}})
    with nobody() as pipe:
        assert odibictl(tmp_path, *verb, "--endpoint", fake.endpoint, stdout=pipe, stderr=subprocess.DEVNULL)[0] == 0


def test_given_an_encoding_without_a_letter_then_it_is_shown_as_its_escape(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "odibi_actors.cli", "--project", str(tmp_path / "łódź"), "validate"]
    env = {**os.environ, "PYTHONIOENCODING": "latin-1:strict", "PYTHONUTF8": "0"}
    done = subprocess.run(argv, capture_output=True, cwd=ROOT, env=env, check=False, timeout=60)
    assert rb"\u0142\xf3d\u017a".replace(rb"\xf3", b"\xf3") in done.stderr
    assert done.returncode == 2
