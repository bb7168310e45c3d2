"""Places where a test may kill this process: ``ODIBI_FAILPOINT=<name>`` makes the named one a ``kill -9``."""

from __future__ import annotations

import os
import signal


def failpoint(name: str) -> None:
    """Die here, as by ``kill -9``, when the environment asks for it."""
    if os.environ.get("ODIBI_FAILPOINT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
