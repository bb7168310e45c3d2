"""A node that takes more memory than there is: the kernel kills its worker, and that is all it costs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.harness import PLAIN, System, last, pipeline, published, put, small, until

Make = Callable[[Path], System]

LIMIT = 400 << 20
"""Bytes for both workers, what they share with their warm parent included."""
NODES = """
def grows(rows):
    taken = []
    for _ in range(2000):  # 2 GB: rather that than the whole machine, should nobody kill it
        taken.append(bytes(b"x" * (1 << 20)))
    raise RuntimeError("nobody killed it")
"""
ROOT = Path("/sys/fs/cgroup")


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group that bounds memory, of version 1 or 2."""
    first = (ROOT / "memory").is_dir()
    path = (ROOT / "memory" if first else ROOT) / f"odibi-test-{os.getpid()}"
    try:
        path.mkdir()
        (path / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(LIMIT))
    except OSError as error:
        pytest.skip(f"this machine lets nobody make a control group: {error}")
    yield path
    until("its processes are gone", lambda: not (path / "cgroup.procs").read_text().split())
    path.rmdir()


def test_given_a_node_that_takes_all_memory_when_the_kernel_kills_its_worker_then_others_go_on(
    group: Path, make: Make, tmp_path: Path
) -> None:
    retry = "{max_attempts: 1}"
    yaml = pipeline("grows", last("grows"), retry=retry, on_error="dead_letter") + pipeline("plain", PLAIN)
    system = make(small(tmp_path / "p", yaml, NODES))
    system.start()
    until("there are two workers", lambda: len(system.pids("worker")) == 2)
    workers = system.pids("worker")
    for pid in workers:
        (group / "cgroup.procs").write_text(str(pid))
    put(system, "grows", "a", "1,1.5")
    put(system, "plain", "a", "1,1.5")
    system.wait("grows", 1, "dead_lettered")
    (error,) = system.client.iteration("grows", 1)["errors"]
    assert (error["node"], error["kind"]) == ("last", "died")
    assert "SIGKILL" in error["message"]
    assert "memory" in error["message"]
    system.wait("plain", 1, "committed")
    assert published(system, "plain") == [1]
    until("the dead one is replaced", lambda: len(system.pids("worker")) == 2)
    assert system.pids("worker") != workers
