"""Files written once: digested while written, synced where asked, seen whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import xxhash

from odibi_actors.failpoints import failpoint

CHUNK = 1 << 20
"""Bytes read at once where a file is only digested; also the write buffer, so that small writes are joined."""


class HashingWriter:
    """A binary file that digests what passes through (xxh3-128) and counts it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = xxhash.xxh3_128()
        self.size = 0
        self.closed = False

    def write(self, data: bytes | memoryview) -> int:
        """Append ``data``; returns its length in bytes. Raises OSError."""
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self._file.write(view)
        self.size += view.nbytes
        return view.nbytes

    @property
    def digest(self) -> str:
        """The digest of everything written so far, 32 hex digits."""
        return str(self._hash.hexdigest())

    def tell(self) -> int:
        """Bytes written."""
        return self.size

    def flush(self) -> None:
        """Nothing: the owner of the file flushes once, at the end."""

    def close(self) -> None:
        """Nothing: Arrow's writers close what they are given, and the owner still has to sync it."""

    def writable(self) -> bool:
        """Asked by pyarrow."""
        return True

    def readable(self) -> bool:
        """Asked by pyarrow."""
        return False

    def seekable(self) -> bool:
        """Asked by pyarrow."""
        return False


@contextmanager
def named(path: Path | str) -> Iterator[None]:
    """Errors of the environment name the path: a full disk says only that it is full."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        elif error.errno is None and str(path) not in str(error):  # pyarrow's
            raise OSError(f"{path}: {error}") from error
        raise


@contextmanager
def new_file(path: Path, *, sync: bool) -> Iterator[HashingWriter]:
    """Create ``path`` (it must not exist) and yield its writer; on any error nothing is left behind.

    With ``sync`` the bytes are on disk when the block ends; the directory entry is the caller's. Raises OSError.
    """
    failpoint("file.create")
    with named(path), open(path, "xb", buffering=CHUNK) as file:
        try:
            yield HashingWriter(file)
            file.flush()
            failpoint("file.written")
            if sync:
                failpoint("file.fsync")
                os.fsync(file.fileno())
                failpoint("file.fsynced")
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def fsync_dir(path: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        failpoint("dir.fsync")
        with named(path):
            os.fsync(descriptor)
        failpoint("dir.fsynced")
    finally:
        os.close(descriptor)


_NAMES_MAX = 4096
_named: dict[str, tuple[int, int]] = {}
"""Folders whose names this process has made durable, with those of their parents: path -> (device, inode), as a folder
that was made again has a name that was not."""


def make_dirs(path: Path, *, sync: bool) -> None:
    """Create a directory and its parents; with ``sync`` the names of all of them are durable, also of those that were
    there: who made them may not have synced them. Raises OSError."""
    for folder in (path, *path.parents):
        if folder.is_dir():
            break
        _named.pop(str(folder), None)
    path.mkdir(parents=True, exist_ok=True)
    if sync and _named.get(str(path)) != _inode(path):
        _sync_names(Path(os.path.realpath(path)))
        _remember(path)


def _sync_names(folder: Path) -> None:
    """Sync the parents of a folder up to one that is known, or to the root of the file system."""
    fresh = []
    while folder != folder.parent and _named.get(str(folder)) != _inode(folder):
        if _inode(folder)[0] != _inode(folder.parent)[0]:  # mounted here
            break
        try:
            fsync_dir(folder.parent)
        except PermissionError:  # whoever may not read a folder did not make what is in it
            break
        fresh.append(folder)
        folder = folder.parent
    for name in reversed(fresh):
        _remember(name)


def _inode(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def _remember(folder: Path) -> None:
    _named[str(folder)] = _inode(folder)
    if len(_named) > _NAMES_MAX:
        del _named[next(iter(_named))]


def digest_bytes(data: bytes | memoryview) -> str:
    """xxh3-128 of ``data``, 32 hex digits."""
    return str(xxhash.xxh3_128_hexdigest(data))


def digest_file(path: Path) -> tuple[str, int]:
    """(xxh3-128 as 32 hex digits, size in bytes) of a regular file. Raises OSError; a symlink is refused."""
    digest = xxhash.xxh3_128()
    size = 0
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while chunk := os.read(descriptor, CHUNK):
            digest.update(chunk)
            size += len(chunk)
    finally:
        os.close(descriptor)
    return str(digest.hexdigest()), size


def delete_outputs(root: Path, pipeline: str, iteration: int) -> None:
    """Delete the spool's folder of one iteration below ``root``; gone already is gone. Raises OSError and ValueError.

    Readers that have a file mapped keep it. Needs no pyarrow: pools, which never load it, release the spool.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", pipeline) or iteration < 1:
        raise ValueError(f"{pipeline!r}/{iteration} is not a folder of the spool")
    shutil.rmtree(root / pipeline / str(iteration), ignore_errors=True)
