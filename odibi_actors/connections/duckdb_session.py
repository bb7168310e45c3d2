"""Opening a DuckDB file, which is one process's at a time unless all of them only read it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from odibi_actors.kinds.connection import AGAIN
from odibi_actors.runtime.linux import lock_holders

BUSY_TIMEOUT = 3.0
"""Seconds to wait for another process that has the file. Then something else is done, it is told, and tried again: as
long as it takes."""
LOOK_AGAIN = 0.02
"""Seconds between two tries: nothing tells when DuckDB lets go of a file."""
LOCKED = "Could not set lock"
OTHERWISE = "different configuration"
"""What DuckDB says where this process has the file open to write, or to read."""
_ALONE: dict[str, Any] = {
    "threads": 1,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
}
"""Nothing is fetched to read or write rows; workers are as many as there are cores."""


def connect(path: str, *, read_only: bool = False) -> Any:
    """The database, once nobody else has it. Raises duckdb.Error."""
    import duckdb

    until = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            return duckdb.connect(path, read_only=read_only, config=_ALONE)
        except (duckdb.IOException, duckdb.ConnectionException) as error:
            if not any(one in str(error) for one in (LOCKED, OTHERWISE)) or time.monotonic() >= until:
                raise
        time.sleep(LOOK_AGAIN)


def in_use(path: str) -> str:
    """What is told of a file that another process has."""
    who = lock_holders(Path(path)) or "another process"
    return f"{path} is in use by {who}, and is one process's at a time{AGAIN}it is free"
