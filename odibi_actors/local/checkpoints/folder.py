"""The files of checkpoints in one folder: each is there whole or not at all, and stays after a power cut."""

from __future__ import annotations

import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from odibi_actors.batches.files import fsync_dir, make_dirs, new_file
from odibi_actors.errors import StoreError
from odibi_actors.local.checkpoints import document
from odibi_actors.local.checkpoints.document import Checkpoint

SUFFIX: Final = ".json"
OUTPUTS: Final = ".outputs"
MAX_NAME: Final = 200
"""Bytes of a DAG's name: file names have 255, and a time follows it."""
MAX_ID: Final = MAX_NAME + 23
_STAMP: Final = "%Y%m%d_%H%M%S_%f"
_ID = re.compile(r"(?P<dag>.+)_(?P<at>\d{8}_\d{6}_\d{6})", re.DOTALL)


class Folder:
    """A folder of checkpoints; it is made when the first is saved."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, checkpoint_id: str) -> Path:
        """The file of a checkpoint."""
        return self.root / f"{checkpoint_id}{SUFFIX}"

    def outputs(self, checkpoint_id: str) -> Path:
        """The folder of a checkpoint's outputs."""
        return self.root / f"{checkpoint_id}{OUTPUTS}"

    def new_id(self, dag: str) -> str:
        """``DAG_DATE_TIME_MICROSECONDS`` of now, in UTC, behind all that the DAG has."""
        now = datetime.now(UTC)
        if newest := max((at for name in self.names() if (at := _moment(name, dag)) is not None), default=None):
            now = max(now, newest + timedelta(microseconds=1))
        return f"{dag}_{now.strftime(_STAMP)}"

    def names(self) -> list[str]:
        """The ids of all files, damaged ones too, in the order of their names."""
        try:
            found = os.listdir(self.root)
        except FileNotFoundError:
            return []
        return sorted(name.removesuffix(SUFFIX) for name in found if name.endswith(SUFFIX) and name[0] != ".")

    def of(self, dag: str) -> list[str]:
        """The ids of a DAG's checkpoints, the oldest first; files that are damaged are in their place by name."""
        found: list[tuple[datetime, str]] = []
        for name in self.names():
            at = _moment(name, dag)
            if at is None and not dag_of(name):  # a name of the user's own: the file tells
                at = self._told(name, dag)
            if at is not None:
                found.append((at, name))
        return [name for _, name in sorted(found)]

    def _told(self, name: str, dag: str) -> datetime | None:
        try:
            checkpoint = self.read(name)
        except StoreError:
            return None
        if checkpoint is None or checkpoint.dag_name != dag:
            return None
        return checkpoint.created_at.astimezone(UTC)

    def read(self, checkpoint_id: str) -> Checkpoint | None:
        """None: there is none. Raises StoreError naming a file that is damaged, OSError."""
        path = self.path(checkpoint_id)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        return document.decode(data, str(path))

    def write(self, checkpoint: Checkpoint) -> Path:
        """Keep it, instead of one of that id. Raises OSError, TypeError."""
        data = document.encode(checkpoint)
        make_dirs(self.root, sync=True)
        path = self.path(checkpoint.checkpoint_id)
        fresh = self.root / f".{checkpoint.checkpoint_id}.{os.getpid()}.tmp"
        fresh.unlink(missing_ok=True)
        with new_file(fresh, sync=True) as file:
            file.write(data)
        os.replace(fresh, path)
        fsync_dir(self.root)
        return path

    def remove(self, checkpoint_id: str) -> bool:
        """Remove a checkpoint, then its outputs. Whether there was one. Raises OSError."""
        try:
            self.path(checkpoint_id).unlink()
            there = True
        except FileNotFoundError:
            there = False
        self.remove_outputs(checkpoint_id)
        return there

    def remove_outputs(self, checkpoint_id: str) -> None:
        """Remove a checkpoint's outputs, if there are any. Raises OSError."""
        if self.outputs(checkpoint_id).exists():
            shutil.rmtree(self.outputs(checkpoint_id))


def checked(name: str, what: str, limit: int = MAX_NAME) -> str:
    """A name that a file can have. Raises ValueError."""
    if not isinstance(name, str) or not name or name[0] == "." or not name.isprintable() or "/" in name:
        raise ValueError(f"{what}: {name!r} is no name of a file; give letters, digits, '_', '-'")
    if len(name.encode()) > limit:
        raise ValueError(f"{what}: {name[:40]!r}... is longer than {limit} bytes")
    return name


def dag_of(checkpoint_id: str) -> str:
    """The DAG that an id of ours names; "" for one of the user's own."""
    found = _ID.fullmatch(checkpoint_id)
    return found["dag"] if found is not None else ""


def _moment(checkpoint_id: str, dag: str) -> datetime | None:
    """When a checkpoint of that DAG was made, by its id."""
    found = _ID.fullmatch(checkpoint_id)
    if found is None or found["dag"] != dag:
        return None
    try:
        return datetime.strptime(found["at"], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
