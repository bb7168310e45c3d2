"""Files that are old enough to be taken at once."""

from __future__ import annotations

import os
from pathlib import Path

OLD = 1_700_000_000


def age(folder: Path) -> None:
    """Let all files of a folder have been written long ago; those that have are not touched."""
    for file in folder.iterdir():
        if file.is_file() and file.stat().st_mtime != OLD:
            os.utime(file, (OLD, OLD))
