"""What Linux tells of memory: of a process, of its peak while something runs, of what there is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from odibi_actors.runtime import memory
from odibi_actors.runtime.memory import Peak, available, resident

MB = 1_000_000


def test_what_a_process_has_in_memory_grows_with_it() -> None:
    before = resident()
    kept = bytearray(os.urandom(1)) * (100 * MB)
    assert 90 * MB < resident() - before < 200 * MB
    assert resident(os.getpid()) == pytest.approx(resident(), abs=20 * MB)
    del kept


def test_a_process_that_is_gone_has_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert resident(ended.pid) == 0


def test_a_peak_is_seen_even_if_it_is_over_and_the_next_begins_anew() -> None:
    first = Peak()
    kept = b"x" * (200 * MB)
    del kept
    most = first.so_far()
    assert most - first.before > 150 * MB
    assert Peak().so_far() < most - 100 * MB


def test_where_the_kernel_cannot_forget_a_peak_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_FORGET_PEAK", b"no such thing")
    assert (Peak().before, Peak().so_far()) == (0, 0)


@pytest.mark.parametrize(
    ("groups", "files", "bound"),
    [
        ("0::/a/b\n", {"a/memory.max": "3000", "a/b/memory.max": "max"}, 3000),
        ("0::/\n", {"memory.max": "2000"}, 2000),  # within a container
        ("4:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": "1000"}, 1000),
        ("4:cpu:/a\n", {"memory/a/memory.limit_in_bytes": "1000"}, None),
        ("", {}, None),
    ],
)
def test_what_there_is_for_workers_is_bounded_by_control_groups(
    groups: str, files: dict[str, str], bound: int | None, tmp_path: Path
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert available(tmp_path) == (bound or host)
