"""What processes have in memory (resident bytes, what they share with others included), as Linux tells it."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_PAGE = resource.getpagesize()
_ROOT = Path("/")
_FORGET_PEAK = b"5"
"""What /proc/PID/clear_refs takes for "the peak begins again from here" (proc(5))."""


def resident(pid: int | None = None) -> int:
    """Bytes that a process, by default this one, has in memory; 0 when it is gone, or the kernel does not tell."""
    try:
        with open(f"/proc/{pid or 'self'}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


class Peak:
    """The most that this process has in memory while something runs. ``before``: bytes when it began."""

    def __init__(self) -> None:
        self.before = 0
        try:
            with open("/proc/self/clear_refs", "wb", buffering=0) as file:
                file.write(_FORGET_PEAK)
        except OSError:
            return  # the peak would be that of all the process ever did
        self.before = resident()

    def so_far(self) -> int:
        """Bytes; 0 when the kernel does not tell."""
        return max(self.before, _peak()) if self.before else 0


def _peak() -> int:
    try:
        with open("/proc/self/status", "rb") as file:
            for line in file:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return 0
    return 0


def available(root: Path = _ROOT) -> int:
    """Bytes of memory that this process and its like may take: the host's, or less where a control group bounds it."""
    bounds = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for folder, name in _groups(root):
        try:
            bounds.append(int((folder / name).read_text()))
        except (OSError, ValueError):  # "max", or no such bound
            continue
    return min(bounds)


def _groups(root: Path) -> list[tuple[Path, str]]:
    """Where bounds of this process's control group, and of those it is in, would stand: version 2, then 1."""
    base = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    found = [(base, "memory.max"), (base / "memory", "memory.limit_in_bytes")]  # what a container sees
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        top, name = (base, "memory.max") if not controllers else (base / "memory", "memory.limit_in_bytes")
        if controllers and "memory" not in controllers.split(","):
            continue
        inner = top / path.lstrip("/")
        found += [(folder, name) for folder in (inner, *inner.parents) if folder.is_relative_to(top)]
    return found
