"""Where the batches of an Arrow file end: two files in one would be read as one of them, in silence."""

from __future__ import annotations

import struct

MAGIC = b"ARROW1"
_EOS = b"\xff\xff\xff\xff"
_BLOCK = 24
"""Bytes of a block in the footer: its offset (8), the length of its metadata (4, and 4 of nothing), of its body (8)."""
_DICTIONARIES, _BATCHES = 2, 3
"""Fields of the footer that list blocks."""


def is_one(data: bytes) -> bool:
    """Whether a file of Arrow, which could be opened, is one: its batches reach up to its footer."""
    tail = len(data) - len(MAGIC) - 4
    start = tail - int.from_bytes(data[tail : tail + 4], "little")
    footer = data[start:tail]
    try:
        ends = [end for field in (_DICTIONARIES, _BATCHES) for end in _ends(footer, field)]
    except struct.error:  # another layout, which pyarrow knows
        return True
    if not ends:
        return MAGIC * 2 not in data
    return data[max(ends) : start].strip(b"\0") in (b"", _EOS)


def _ends(footer: bytes, field: int) -> list[int]:
    """Where the blocks of one list end, by the layout of flatbuffers."""
    (table,) = struct.unpack_from("<I", footer)
    (back,) = struct.unpack_from("<i", footer, table)
    (size,) = struct.unpack_from("<H", footer, table - back)
    slot = 4 + 2 * field
    (place,) = struct.unpack_from("<H", footer, table - back + slot) if slot < size else (0,)
    if not place:
        return []
    (step,) = struct.unpack_from("<I", footer, table + place)
    vector = table + place + step
    (count,) = struct.unpack_from("<I", footer, vector)
    blocks = [struct.unpack_from("<qi4xq", footer, vector + 4 + _BLOCK * one) for one in range(count)]
    return [offset + metadata + body for offset, metadata, body in blocks]
