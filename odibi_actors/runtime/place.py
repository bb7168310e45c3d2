"""Whether a project still is where a process that works for it has found it."""

from __future__ import annotations

import contextlib
import os
import weakref
from pathlib import Path

_DELETED = " (deleted)"


class Place:
    """Folders of a project, as they were when a process began. They are held open, so that it can be told where one of
    them was moved to; one that was not there then is not missed."""

    def __init__(self, *folders: Path) -> None:
        self._folders: list[tuple[Path, int]] = []
        for folder in folders:
            with contextlib.suppress(OSError):
                descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                weakref.finalize(self, os.close, descriptor)
                self._folders.append((folder, descriptor))

    def left(self) -> str:
        """What is to be said when a folder is not, or another one is, at its path: what becomes of it there would be
        in no project. "" when all are where they were."""
        for folder, descriptor in self._folders:
            if not _there(folder, descriptor):
                now = os.readlink(f"/proc/self/fd/{descriptor}")
                removed = now.endswith(_DELETED)
                return f"{folder} was {'removed' if removed else f'moved to {now}'} while it was worked on"
        return ""


def _there(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(folder), os.fstat(descriptor))
    except FileNotFoundError:
        return False
    except OSError:  # no rights at this moment, a file system that does not answer: nobody knows
        return True
