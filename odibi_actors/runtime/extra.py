"""``python -m odibi_actors.runtime.extra NAME COMMAND``: a line of the user's own under the same supervisor as the
actors: whatever it ends with, it is started again, and it ends with ``odibictl up``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from odibi_actors.runtime import paths
from odibi_actors.runtime.supervisor import Supervisor

BACKOFF_MAX = 60.0  # seconds; such a line may be a program that ends by itself each time


def main() -> int:
    """The process; returns its exit code."""
    name, command = sys.argv[1:]
    data_dir = paths.basics(Path(os.environ.get("ODIBI_PROJECT") or ".")).data_dir
    argv = ["/bin/sh", "-c", command]
    return Supervisor(argv, argv, name, data_dir, final=(), longest=BACKOFF_MAX).run()


if __name__ == "__main__":
    sys.exit(main())
