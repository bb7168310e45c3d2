"""Real processes under test: waiting for what they say and for their end, and finding what they left behind."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
import uuid
from pathlib import Path

WAIT = 30.0  # seconds until a test gives up
MARK = "ODIBI_TEST_MARK"


class Family:
    """Processes started with a mark in their environment, which everything they start inherits."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self.started: list[subprocess.Popen[str]] = []

    def start(self, argv: list[str], cwd: Path | None = None, **env: str) -> subprocess.Popen[str]:
        root = Path(__file__).resolve().parents[2]
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1", **env, MARK: self.mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        self.started.append(process)
        return process

    def living(self) -> dict[int, str]:
        """pid -> command line of every living process of the family."""
        found = {}
        wanted = f"{MARK}={self.mark}".encode()
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found

    def extinct(self) -> bool:
        """Wait for the end of all of them; False when some live on."""
        end = time.monotonic() + WAIT
        while living := self.living():
            for pid in living:
                if not gone(pid, end - time.monotonic()):
                    return False
        return True

    def close(self) -> None:
        for process in self.started:
            process.kill()
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        for process in self.started:
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def gone(pid: int, timeout: float = WAIT) -> bool:
    """Wait for the end of any process."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    try:
        return bool(poll.poll(max(0.0, timeout) * 1000))
    finally:
        os.close(fd)


def said(process: subprocess.Popen[str], words: str) -> str:
    """Read on until a line has these words; returns the line. pytest's own timeout ends a wait in vain."""
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return line
    raise AssertionError(f"it ended without saying {words!r}")
