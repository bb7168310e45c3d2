"""SQLite's write-ahead log, read by ourselves: what of it is valid, and which pages it holds.

SQLite ends its log silently at the first frame that does not verify. That is right for a torn tail, but the same
happens when a byte in the middle rots, and what was reported durable is gone without a word. Each transaction is
synced before the next begins, so at most the last one can be torn: a bad frame before that means damage.
Format: https://sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from odibi_actors.checkpoint.schema import FIX
from odibi_actors.errors import StoreError

_MAGIC = 0x377F0682  # lowest bit: checksums are big-endian
_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")


class Log(NamedTuple):
    """The committed part of a log: ``pages`` is page number -> offset in ``data`` of its newest content, ``size`` the
    pages of the database after its last transaction (0: it holds none)."""

    data: bytes = b""
    salts: tuple[int, int] = (0, 0)
    frames: int = 0
    page_size: int = 0
    pages: dict[int, int] = {}  # never changed
    size: int = 0

    def content(self, page: int) -> bytes:
        """The newest content of a page that it holds."""
        offset = self.pages[page]
        return self.data[offset : offset + self.page_size]

    def versions(self) -> dict[int, list[bytes]]:
        """Every content of every page in it."""
        found: dict[int, list[bytes]] = {}
        stride = self.page_size + _FRAME.size
        for frame in range(self.frames):
            at = _HEADER.size + frame * stride
            content = self.data[at + _FRAME.size : at + stride]
            found.setdefault(_FRAME.unpack_from(self.data, at)[0], []).append(content)
        return found


def read(path: Path, *, verify: bool) -> Log:
    """The log at ``path``, empty when it is not there. ``verify`` checks the checksums (15 ms per MB); without,
    what this process has just written is believed. Raises StoreError (damaged before its last transaction), OSError.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Log()
    if len(data) < _HEADER.size + _FRAME.size:
        return Log()
    magic, _, page_size, _, *salts, _, _ = _HEADER.unpack_from(data)
    order = ">" if magic & 1 else "<"
    if magic & ~1 != _MAGIC or _checksum(order, data[:24], (0, 0)) != _HEADER.unpack_from(data)[6:]:
        raise StoreError(f"{path} is damaged in its header, so what it holds cannot be read; {FIX}")
    stride = page_size + _FRAME.size
    offsets = range(_HEADER.size, len(data) - stride + 1, stride)
    marked = [at for at in offsets if _ends_transaction(data, at, (salts[0], salts[1]))]
    end = _valid_end(data, offsets, order, stride) if verify else len(data)
    committed = [at for at in marked if at < end]
    if len(marked) > len(committed) + 1:
        raise StoreError(f"{path} is damaged at byte {end}, before its end; {FIX}")
    if not committed:
        return Log(data, (salts[0], salts[1]), 0, page_size)
    last = committed[-1]
    pages = {_FRAME.unpack_from(data, at)[0]: at + _FRAME.size for at in range(_HEADER.size, last + stride, stride)}
    frames = (last - _HEADER.size) // stride + 1
    return Log(data, (salts[0], salts[1]), frames, page_size, pages, _FRAME.unpack_from(data, last)[1])


def _valid_end(data: bytes, offsets: range, order: str, stride: int) -> int:
    """Offset of the first frame that does not verify."""
    sums = struct.unpack_from(">2I", data, 24)
    for at in offsets:
        sums = _checksum(order, data[at : at + 8], (sums[0], sums[1]))
        sums = _checksum(order, data[at + 24 : at + stride], sums)
        if data[at + 8 : at + 16] != data[16:24] or sums != struct.unpack_from(">2I", data, at + 16):
            return at
    return len(data)


def _ends_transaction(data: bytes, offset: int, salts: tuple[int, int]) -> bool:
    """Whether the frame is the last of a transaction of this log; frames with other salts are older than the log."""
    _, pages, salt1, salt2, _, _ = _FRAME.unpack_from(data, offset)
    return pages != 0 and (salt1, salt2) == salts


def _checksum(order: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    s1, s2 = sums
    for x1, x2 in struct.iter_unpack(f"{order}II", data):
        s1 = (s1 + x1 + s2) & 0xFFFF_FFFF
        s2 = (s2 + x2 + s1) & 0xFFFF_FFFF
    return s1, s2
