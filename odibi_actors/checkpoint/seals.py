"""``checkpoints.db-seals``: the digest of every page of the database file, and how far the store has reported.

SQLite's pages have no checksums: a flipped bit in a state, a counter or a row of the ledger would be believed. A page
only changes when the log is copied into the file, so its xxh3-64 is written here, and synced, before that. At the
start each page is either in the verified log or must match. The mark is (epoch, record) of the newest transaction,
written after its sync and not synced itself: a store that comes back with less has lost it (decision 0007).

Layout: header, at 512 the mark, from 4096 on 8 bytes per page. No field crosses a sector, as sectors are written whole.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

import xxhash

from odibi_actors.checkpoint.schema import FIX
from odibi_actors.checkpoint.wal import Log
from odibi_actors.errors import StoreError
from odibi_actors.failpoints import failpoint

SUFFIX = "-seals"
RESEAL = "if it was opened with another program meanwhile and you trust its content, `odibictl checkpoint reseal`"

_MAGIC = b"odibi-s1"
_HEADER = struct.Struct(">8sIIIIQ")  # magic, page size, pages, salts and frames of the log copied last
_MARK = struct.Struct(">QQ")
_MARK_AT, _ENTRIES, _BLOCK, _DIGEST = 512, 4096, 4096, 8
LOCK_BYTE = 1 << 30
"""SQLite never writes the page that has this byte, which some systems lock: nothing ever gives it a digest."""
_CHUNK = 256
"""Pages read at once."""


class Mark(NamedTuple):
    """What was durable at least."""

    epoch: int = 0
    record: int = 0


class Seals:
    """The seals beside the database ``path``. Both files stay open: closing any descriptor of a database drops the
    locks that SQLite holds on it in this process. Raises StoreError (damaged), OSError."""

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        self.path = path
        self.file = path.with_name(path.name + SUFFIX)
        self._fd = os.open(self.file, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        self._db = -1
        try:
            fields = _HEADER.unpack(_open(os.pread(self._fd, _HEADER.size + _DIGEST, 0), self.file, 0))
            if fields[0] != _MAGIC:
                raise StoreError(f"{self.file} is of another release; upgrade")
            self.page_size, self.pages = fields[1:3]
            self._copied: tuple[int, ...] = fields[3:]
            mark = _open(os.pread(self._fd, _MARK.size + _DIGEST, _MARK_AT), self.file, _MARK_AT)
            self.mark = Mark(*_MARK.unpack(mark))
            self._digests = bytearray(os.pread(self._fd, self.pages * _DIGEST, _ENTRIES))
            self._former: tuple[int, dict[int, bytes]] = (self.pages, {})  # pages and digests before the last seal
            if len(self._digests) < self.pages * _DIGEST:
                raise StoreError(f"{self.file} is cut short; {FIX}, or, {RESEAL}")
            if path.exists():
                self._db = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except BaseException:
            self.close()
            raise

    def check(self, log: Log) -> None:
        """Raise StoreError for the first page that is neither in the log nor as it was written, or if the log has
        lost what was copied from it."""
        if log.salts == self._copied[:2] and log.frames < self._copied[2]:
            raise StoreError(f"{self.path}-wal is damaged: it has {log.frames} of {self._copied[2]} frames; {FIX}")
        for page in self.damaged(1, self.pages, log.pages):
            raise StoreError(f"{self.path} is damaged: page {page} is not as it was written; {FIX}; {RESEAL}")

    def damaged(self, first: int, last: int, skip: Container[int] = ()) -> Iterator[int]:
        """Numbers of the pages from ``first`` through ``last`` that do not match their digest."""
        size, digest = self.page_size, xxhash.xxh3_64_digest
        unused = LOCK_BYTE // size + 1
        for start in range(first, min(last, self.pages) + 1, _CHUNK):
            data = memoryview(os.pread(self._db, _CHUNK * size, (start - 1) * size))
            for page in range(start, min(start + _CHUNK - 1, last, self.pages) + 1):
                at = (page - start) * size
                expected = self._digests[(page - 1) * _DIGEST : page * _DIGEST]
                if digest(data[at : at + size]) != expected and page not in skip and page != unused:
                    yield page

    def advance(self, mark: Mark) -> None:
        """Note what is durable from now on."""
        os.pwrite(self._fd, _close(_MARK.pack(*mark)), _MARK_AT)
        self.mark = mark

    def seal(self, log: Log) -> None:
        """Make durable the digests of the pages that will be copied from the log."""
        if log.frames:
            self._write({page: xxhash.xxh3_64_digest(log.content(page)) for page in log.pages}, log)

    def settle(self, log: Log) -> None:
        """After a failed sync SQLite and we may disagree on which transaction was the log's last: take over what it
        has copied, as far as it comes from the log, and what it has left as it was sealed before."""
        found = {}
        pages, former = self._former
        fewer, more = sorted((pages, self.pages))
        self.pages = max(fewer, min(more, os.fstat(self._db).st_size // self.page_size))
        for page, versions in log.versions().items():
            content = os.pread(self._db, self.page_size, (page - 1) * self.page_size)
            digest = xxhash.xxh3_64_digest(content)
            if page <= self.pages and (content in versions or digest == former.get(page)):
                found[page] = digest
        self._write(found, log._replace(size=self.pages))

    def _write(self, digests: dict[int, bytes], log: Log) -> None:
        failpoint("store.seal")
        # A page that was given back later in the same log is not there any more.
        digests = {page: digest for page, digest in digests.items() if page <= log.size}
        self._former = (self.pages, {page: self._digest(page) for page in digests})
        self.pages = log.size  # digests beyond are left alone: a log that does not count after all has not cut them off
        self._digests.extend(bytes(max(0, self.pages * _DIGEST - len(self._digests))))
        blocks: dict[int, None] = {}
        for page, digest in digests.items():
            at = (page - 1) * _DIGEST
            self._digests[at : at + _DIGEST] = digest
            blocks[at // _BLOCK * _BLOCK] = None
        for at in blocks:
            os.pwrite(self._fd, self._digests[at : at + _BLOCK], _ENTRIES + at)
        self._copied = (*log.salts, log.frames)
        os.pwrite(self._fd, _close(_header(self.page_size, self.pages, self._copied)), 0)
        os.fsync(self._fd)
        failpoint("store.sealed")

    def _digest(self, page: int) -> bytes:
        return bytes(self._digests[(page - 1) * _DIGEST : page * _DIGEST])

    @property
    def closed(self) -> bool:
        """Whether they cannot be used any more."""
        return self._fd < 0

    def close(self) -> None:
        """Close both files. Idempotent."""
        for fd in (self._fd, self._db):
            if fd >= 0:
                os.close(fd)
        self._fd = self._db = -1


def create(content: Path, path: Path, mark: Mark) -> None:
    """Make the seals of the database ``path``, whose bytes are those of the file ``content`` without any log."""
    with content.open("rb") as file:
        (page_size,) = struct.unpack(">H", file.read(18)[16:18])
        page_size = page_size if page_size > 1 else 65536
        file.seek(0)
        digests = bytearray()
        while page := file.read(page_size):
            digests += xxhash.xxh3_64_digest(page)
    seals = path.with_name(path.name + SUFFIX)
    new = seals.with_name(seals.name + ".new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, digests, _ENTRIES)
        os.pwrite(fd, _close(_MARK.pack(*mark)), _MARK_AT)
        os.pwrite(fd, _close(_header(page_size, len(digests) // _DIGEST, (0, 0, 0))), 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(new, seals)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _header(page_size: int, pages: int, copied: tuple[int, ...]) -> bytes:
    return _HEADER.pack(_MAGIC, page_size, pages, *copied)


def _close(data: bytes) -> bytes:
    return data + xxhash.xxh3_64_digest(data)


def _open(data: bytes, file: Path, at: int) -> bytes:
    if len(data) < _DIGEST or xxhash.xxh3_64_digest(data[:-_DIGEST]) != data[-_DIGEST:]:
        raise StoreError(
            f"{file} is damaged at byte {at}; the database beside it may be whole: run `odibictl checkpoint verify`, "
            "and if nothing else is found, `odibictl checkpoint reseal`"
        )
    return data[:-_DIGEST]
