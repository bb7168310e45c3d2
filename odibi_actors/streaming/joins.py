"""Files that a sink has joined (``odibictl sink compact``), as a source meets them in its folder."""

from __future__ import annotations

import os
from pathlib import Path

from odibi_actors.errors import ConflictError
from odibi_actors.nodes.sinks import hive
from odibi_actors.nodes.sinks.joined import Lists
from odibi_actors.nodes.sinks.manifest import MANIFESTS, coming
from odibi_actors.nodes.sinks.owner import folder_mark

JOINED = "joined of files that were read one by one, or may have been; `mode: batch` reads it"
GONE = "joined with others by `odibictl sink compact`, whose file has its rows"
COMING = "being joined by `odibictl sink compact`: the files that it is made of are read"


class Joins:
    """The lists of joined files, as they were when this looked first. ``whole``: all files are read each time."""

    def __init__(self, whole: bool) -> None:
        self._whole = whole
        self._roots: dict[str, Path] = {}
        self._lists: dict[Path, Lists | str | None] = {}

    def instead(self, path: str) -> str:
        """Why a file is not read, since others are; "" when it is."""
        found = self._of(os.path.dirname(path))
        if found is None or isinstance(found, str):
            return found or ""
        at = Path(path)
        if not found.speak_for(at):
            return ""
        if not found.name(at):
            return GONE if any(one.covers(at) for one in found.lists) else COMING
        return "" if self._whole else JOINED

    def coming(self, path: str) -> bool:
        """A file of a sink that is about to publish it: no manifest names it yet."""
        if "=" not in path or not coming(path):
            return False
        found = self._of(os.path.dirname(path))
        return not isinstance(found, Lists) or not found.speak_for(Path(path))

    def changed(self) -> bool:
        """Whether something was joined since."""
        try:
            return any(isinstance(found, Lists) and found.changed() for found in self._lists.values())
        except (ConflictError, OSError):
            return True

    def partitioned(self, folder: str) -> bool:
        """Whether a sink has put its files into folders of partitions there."""
        try:
            mark = folder_mark(Path(folder))
        except (ConflictError, OSError):
            return False
        return mark is not None and bool(mark.partition_by)

    def _of(self, folder: str) -> Lists | str | None:
        """What tells of the files in a folder; a text: why that cannot be read; None: it is no sink's."""
        root = self._roots.get(folder)
        if root is None:
            root = self._roots[folder] = hive.root_of(Path(folder, "file"))
        if root not in self._lists:
            try:
                self._lists[root] = Lists(root) if (root / MANIFESTS).is_dir() else None
            except (ConflictError, OSError) as error:
                self._lists[root] = str(error)
        return self._lists[root]
