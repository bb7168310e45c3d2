"""What the demos share: a folder of their own, and processes that are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def folder(about: str) -> Iterator[None]:
    """Work in a new folder, which is gone afterwards."""
    print(f"\n=== {about}")
    former = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="odibi-demo-") as path:
        os.chdir(path)
        try:
            yield
        finally:
            os.chdir(former)


def original(what: str) -> None:
    """What odibi_core did here."""
    print(f"--- odibi_core {what}")


def in_a_process_that_is_killed(script: str, *words: str) -> None:
    """Run a demo's script with these words in another process, which has to end by ``kill -9``."""
    done = subprocess.run([sys.executable, script, *words], check=False)
    assert done.returncode == -signal.SIGKILL, "the process was to be killed"


def die() -> None:
    """As ``kill -9`` from outside, the machine's power, or its memory would do it."""
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
