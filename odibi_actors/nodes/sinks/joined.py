"""Files of old iterations that ``sink compact`` has joined: which they are, and which parts they stand for.

A list of them, ``_odibi_manifests/joined-NODE.list``, is replaced by one rename. It speaks for all parts of its node up
to an iteration: of these only the files that it names are committed. Standard library and msgspec only: sources ask.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import msgspec

from odibi_actors.errors import ConflictError
from odibi_actors.nodes.sinks import hive
from odibi_actors.nodes.sinks.manifest import MANIFESTS, MAX_BYTES, PART

NAME = re.compile(r"part-(?P<iteration>\d{10,})-(?P<node>[^.]+)\.j(?P<run>[0-9a-f]{8})-(?P<place>\d+)(?P<suffix>\..+)")
"""The name of a file that was joined, of parts up to an iteration."""


class File(msgspec.Struct, frozen=True):
    """``path``: below the sink's folder; ``values``: of its partition, as texts; ``columns``: the place of its schema
    in ``Joined.schemas``; ``digest``: xxh3-128."""

    path: str
    values: list[str | None]
    columns: int
    rows: int
    bytes: int
    digest: str


class Joined(msgspec.Struct, frozen=True):
    """The files that stand for all parts of ``node`` up to iteration ``upto``. ``schemas``: Arrow schemas as
    ``manifest.columns_text`` has them; ``gone``: what was joined last, which is deleted once this list is there;
    ``schema``: of this form itself."""

    schema: int
    node: str
    upto: int
    partition_by: list[str]
    schemas: list[str]
    files: list[File]
    gone: list[str]

    def covers(self, path: Path) -> bool:
        """Whether it speaks for a part, or for a file of one."""
        match = PART.fullmatch(path.name)
        return match is not None and match["node"] == self.node and int(match["iteration"]) <= self.upto


def list_of(folder: Path, node: str) -> Path:
    """Where the list of a node is."""
    return folder / MANIFESTS / f"joined-{node}.list"


def lists(folder: Path) -> list[Joined]:
    """All lists of a folder. Raises ConflictError, OSError."""
    manifests = folder / MANIFESTS
    names = sorted(os.listdir(manifests)) if manifests.is_dir() else []
    nodes = [name.removeprefix("joined-").removesuffix(".list") for name in names if name.endswith(".list")]
    return [found for node in nodes if (found := load(folder, node)) is not None]


def load(folder: Path, node: str) -> Joined | None:
    """The list of a node; None when nothing of it was joined. Raises ConflictError, OSError."""
    path = list_of(folder, node)
    try:
        seen = path.stat()
        return _load(path, node, (seen.st_ino, seen.st_mtime_ns, seen.st_size))
    except FileNotFoundError:
        return None


@lru_cache(maxsize=16)
def _load(path: Path, node: str, _seen: tuple[int, int, int]) -> Joined:
    """A list as it was seen: it is asked for with each part that is published."""
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        found = msgspec.json.decode(data, type=Joined)
        if found.schema != 1 or found.node != node:
            raise ValueError(f"it is of form {found.schema} and node {found.node!r}")
        for one in found.files:
            _check(found, one)
        for gone in found.gone:
            _named(found, gone.rpartition("/")[2], gone)
            if ".." in gone.split("/") or gone.startswith("/"):
                raise ValueError(f"{gone!r} leads out of its folder")
    except (msgspec.DecodeError, ValueError) as error:
        raise ConflictError(f"{path} is not a list of joined files: {error}") from error
    return found


def _check(found: Joined, file: File) -> None:
    below, _, name = file.path.rpartition("/")
    _named(found, name, file.path)
    if below != hive.folder(found.partition_by, file.values) or not 0 <= file.columns < len(found.schemas):
        raise ValueError(f"what it says of {file.path!r} cannot be")


def _named(found: Joined, name: str, path: str) -> None:
    match = NAME.fullmatch(name) or PART.fullmatch(name)
    if match is None or match["node"] != found.node or int(match["iteration"]) > found.upto:
        raise ValueError(f"it names the file {path!r}, which is none of its parts")


def suffix_of(path: str) -> str:
    """In what the name of a file ends, that was joined or may be."""
    name = path.rpartition("/")[2]
    match = NAME.fullmatch(name) or PART.fullmatch(name)
    return match["suffix"] if match is not None else ""


class Lists:
    """The lists of a folder, as they were when it was asked first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lists = lists(folder)
        self._named = {file.path: (one, file) for one in self.lists for file in one.files}

    def speak_for(self, path: Path) -> bool:
        """Whether a part, or a file of one, is committed by a list, or not at all."""
        return bool(NAME.fullmatch(path.name)) or any(one.covers(path) for one in self.lists)

    def name(self, path: Path) -> bool:
        """Whether a list names this file."""
        return self.entry(path) is not None

    def entry(self, path: Path) -> tuple[Joined, File] | None:
        """What the list that names a file says of it."""
        return self._named.get(str(path.relative_to(self.folder))) if self._named else None

    def changed(self) -> bool:
        """Whether something was joined since."""
        return lists(self.folder) != self.lists


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else joins files of this folder, or deletes them, meanwhile. Raises ConflictError, OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(f"files of {folder} are just being joined by `odibictl sink compact`") from None
        yield
    finally:
        os.close(descriptor)
