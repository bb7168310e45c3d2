"""Disks that are full or fail, under a real system: it says so, loses nothing, and goes on once they are fixed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.harness import PLAIN, System, pipeline, published, put, small, until

Make = Callable[[Path], System]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system and tracing a process need root"),
]
RETRY = "{max_attempts: 2, backoff: fixed, initial: 100ms}"
SIZE = 32 << 20
"""Bytes of the small file system."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MB in memory."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"this machine mounts nothing: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def fill(disk: Path) -> Path:
    """Take all the space that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def test_given_a_full_disk_under_the_store_when_it_has_space_again_then_everything_is_there_once(
    disk: Path, make: Make, tmp_path: Path
) -> None:
    project = small(tmp_path / "p", pipeline("plain", PLAIN))
    text = (project / "odibi.yaml").read_text()
    (project / "odibi.yaml").write_text(f"data_dir: {disk}/odibi\n{text}")
    system = make(project)
    system.start()
    put(system, "plain", "a", "1,1.5")
    system.wait("plain", 1, "committed")
    store = system.pids("checkpoint")
    filler = fill(disk)
    for number in range(2, 12):
        put(system, "plain", f"f{number}", *(f"{number * 1000 + row},{row}" for row in range(500)))
    until("the store has given up on its disk", lambda: system.pids("checkpoint") not in ([], store))
    said = (system.log.read_text(errors="replace")).lower()
    assert "full" in said or "no space" in said, system.tail()
    filler.unlink()
    wanted = sorted([1, *(n * 1000 + row for n in range(2, 12) for row in range(500))])
    until("all is published", lambda: published(system, "plain") == wanted)
    assert system.settled("plain") == "committed"
    assert system.bugs() == []


def test_given_a_full_disk_under_a_sink_when_it_has_space_again_then_a_retry_publishes_it_once(
    disk: Path, make: Make, tmp_path: Path
) -> None:
    project = small(tmp_path / "p", pipeline("plain", PLAIN, retry=RETRY))
    (project / "odibi.yaml").write_text((project / "odibi.yaml").read_text().replace("data/lake", str(disk / "lake")))
    (project / "data/lake").symlink_to(disk / "lake")
    system = make(project)
    system.start()
    put(system, "plain", "a", "1,1.5")
    system.wait("plain", 1, "committed")
    filler = fill(disk)
    put(system, "plain", "b", *(f"{row},{row}" for row in range(2, 5000)))
    system.wait("plain", 2, "failed", "blocked")
    errors = system.client.iteration("plain", 2)["errors"]
    assert {error["kind"] for error in errors} == {"io"}
    assert "No space left on device" in errors[-1]["message"]
    assert any("No space left" in problem for problem in system.client.pipeline("plain")["problems"])
    filler.unlink()
    system.client.retry("plain", 2)
    system.wait("plain", 2, "committed")
    assert published(system, "plain") == list(range(1, 5000))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace makes a sync fail; it is not installed")
def test_given_a_sync_that_fails_when_the_store_writes_then_it_starts_again_and_nothing_is_lost(
    make: Make, tmp_path: Path
) -> None:
    system = make(small(tmp_path / "p", pipeline("plain", PLAIN)))
    system.start()
    put(system, "plain", "a", "1,1.5")
    system.wait("plain", 1, "committed")
    (store,) = system.pids("checkpoint")
    trace = tmp_path / "trace"
    inject = "inject=fsync,fdatasync:error=EIO:when=1"
    with subprocess.Popen(
        ["strace", "-f", "-q", "-o", str(trace), "-e", "trace=fsync,fdatasync", "-e", inject, "-p", str(store)],
        stderr=subprocess.PIPE,
        text=True,
    ) as strace:
        try:
            until("it is traced", lambda: "TracerPid:\t0" not in Path(f"/proc/{store}/status").read_text())
        except (AssertionError, FileNotFoundError):
            strace.kill()
            pytest.skip(f"processes cannot be traced on this machine: {strace.communicate()[1]}")
        ids = [1]

        def replaced() -> bool:
            # Each thread is traced a little later than the process: there must be something to sync by then.
            ids.append(ids[-1] + 1)
            put(system, "plain", f"f{ids[-1]}", f"{ids[-1]},1.5")
            return system.pids("checkpoint") not in ([], [store])

        until("another store has taken its place", replaced)
        strace.send_signal(signal.SIGTERM)
    assert "EIO" in trace.read_text()
    until("all is published", lambda: published(system, "plain") == ids)
    assert system.settled("plain") == "committed"
    assert system.bugs() == []
