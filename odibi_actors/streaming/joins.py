"""What a sink tells of the files in its folder, as a source meets them: which are committed by manifests, and which it
has joined (``odibictl sink compact``)."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from odibi_actors.errors import ConflictError
from odibi_actors.nodes.sinks import hive, manifest
from odibi_actors.nodes.sinks.joined import NAME, Lists
from odibi_actors.nodes.sinks.manifest import MANIFESTS, SUFFIX, coming
from odibi_actors.nodes.sinks.owner import folder_mark

JOINED = "joined of files that were read one by one, or may have been; `mode: batch` reads it"
GONE = "joined with others by `odibictl sink compact`, whose file has its rows"
COMING = "being joined by `odibictl sink compact`: the files that it is made of are read"


class Committed(NamedTuple):
    """A file as the manifest, or list, that names it tells it. ``path``: where it is, or should be; ``size`` in bytes;
    ``digest``: xxh3-128."""

    path: Path
    size: int
    digest: str


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

    def sink(self, folder: str) -> bool:
        """Whether it is below the folder of a sink that commits by manifests, which is remembered."""
        return isinstance(self._of(folder), Lists)

    def named(self, path: str) -> Committed | None:
        """What commits a file that was found to be not there; None: nothing does. What is taken back, or joined, is
        gone after what has named it."""
        at, lists = Path(path), self._of(os.path.dirname(path))
        try:
            if not isinstance(lists, Lists) or lists.changed():
                return None
            if lists.speak_for(at):
                return next((one for one in self._joined(lists) if one.path == at), None)
            place = manifest.of(at)
            return None if place is None else next((one for one in _published(lists, place) if one.path == at), None)
        except (ConflictError, OSError):
            return None  # whoever lists the folder says so

    def unlisted(self, listed: Container[str]) -> Iterator[str]:
        """Paths of files that are committed, and not among those that were ``listed``: they were published meanwhile,
        or taken back, or are gone. Raises ConflictError, OSError."""
        for lists in [one for one in self._lists.values() if isinstance(one, Lists)]:
            manifests = lists.folder / MANIFESTS
            places = [manifests / name for name in sorted(os.listdir(manifests)) if name.endswith(SUFFIX)]
            parts = (one for place in places if not lists.speak_for(place) for one in _published(lists, place))
            for one in (*self._joined(lists), *parts):
                if str(one.path) not in listed:
                    yield str(one.path)

    def _joined(self, lists: Lists) -> list[Committed]:
        """What lists name, but for what nobody reads who reads file by file."""
        return [
            Committed(lists.folder / file.path, file.bytes, file.digest)
            for one in lists.lists
            for file in one.files
            if self._whole or not NAME.fullmatch(Path(file.path).name)
        ]

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


def _published(lists: Lists, place: Path) -> Iterator[Committed]:
    """What a manifest names; nothing, once that was taken back. Raises ConflictError, OSError."""
    try:
        for file in _files(place, place.stat().st_mtime_ns):
            yield Committed(lists.folder / file.path, file.bytes, file.digest)
    except FileNotFoundError:
        return


@lru_cache(maxsize=1024)
def _files(place: Path, _mtime_ns: int) -> list[manifest.File]:
    """Of a manifest, which is never written again."""
    return manifest.load(place).files
