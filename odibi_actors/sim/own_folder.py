"""A folder of a life's own, in memory where there is room for it: syncing is tried elsewhere."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref

MEMORY = "/dev/shm"


class OwnFolder:
    """Of one life. It goes with ``close``, or with the life, if that was never lived to its end."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="odibi-life-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
        self.close = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
