"""The blocks of an Avro object container file, unpacked within limits.

The format is that of the Apache Avro 1.12 specification, "Object Container Files". Libraries unpack a block whole,
however large it claims to be; here it ends at the limit of a batch.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any, Final, NamedTuple

import pyarrow as pa

from odibi_actors.batches.ipc import MAX_BYTES
from odibi_actors.nodes.formats import Malformed
from odibi_actors.nodes.formats.packed import unpack, what_it_is

MAGIC: Final = b"Obj\x01"
_SYNC: Final = 16
_META: Final[dict[str, Any]] = {"type": "map", "values": "bytes"}


class Container(NamedTuple):
    """``schema``: JSON; ``codec``: how blocks are packed; ``sync``: what ends each; ``start``: where they begin;
    ``meta``: what else the head says."""

    data: bytes
    schema: bytes
    codec: str
    sync: bytes
    start: int
    meta: dict[bytes, bytes]


def opened(data: bytes) -> Container:
    """The head of a file. Raises Malformed."""
    from fastavro import schemaless_reader

    if not data.startswith(MAGIC):
        found = what_it_is(data)
        raise Malformed(f"the file is {found[0] if found else 'something else'}, not Avro" if data else "it is empty")
    source = BytesIO(data)
    source.seek(len(MAGIC))
    try:
        meta = schemaless_reader(source, _META, None)
    except (EOFError, ValueError, IndexError, OverflowError, MemoryError) as error:
        raise Malformed(f"the head of the Avro file is cut off or damaged: {error or type(error).__name__}") from error
    sync = source.read(_SYNC)
    if len(sync) < _SYNC or not isinstance(meta, dict) or "avro.schema" not in meta:
        raise Malformed("the head of the Avro file is cut off or damaged")
    codec = meta.get("avro.codec", b"null").decode("ascii", "replace")
    said = {name.encode(): value for name, value in meta.items()}
    return Container(data, meta["avro.schema"], codec, sync, source.tell(), said)


def blocks(file: Container) -> Iterator[tuple[int, bytes]]:
    """(records, their bytes) of each block. Raises Malformed."""
    place, number, size = file.start, 0, 0
    while place < len(file.data):
        number += 1
        count, place = _long(file.data, place)
        length, place = _long(file.data, place)
        end = place + length
        if count < 0 or length < 0 or end + _SYNC > len(file.data):
            raise Malformed(f"block {number} is cut off or damaged: deliver the file again")
        if file.data[end : end + _SYNC] != file.sync:
            raise Malformed(f"block {number} does not end where it says: the file is damaged, deliver it again")
        unpacked = _unpacked(file.data[place:end], file.codec, number, MAX_BYTES - size)
        size += len(unpacked)
        yield count, unpacked
        place = end + _SYNC


def _long(data: bytes, place: int) -> tuple[int, int]:
    """A variable-length zig-zag integer, and where it ends."""
    value = shift = 0
    while place < len(data) and shift < 64:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), place
    raise Malformed("the Avro file is cut off or damaged: deliver it again")


def _unpacked(block: bytes, codec: str, number: int, limit: int) -> bytes:
    if codec == "null":
        return block
    try:
        if codec == "deflate":
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            data = unpacker.decompress(block, limit + 1)
            if len(data) <= limit and not unpacker.eof:
                raise Malformed(f"block {number} is cut off: deliver the file again")
        elif codec == "snappy":
            data = _snappy(block, number, limit)
        elif packing := {"bzip2": "bz2", "xz": "xz", "zstandard": "zstd"}.get(codec):
            return unpack(block, f"block {number}", packing, limit)
        else:
            raise Malformed(f"its blocks are packed as {codec!r}; null, deflate, snappy, bzip2, xz, zstandard are read")
    except (zlib.error, pa.ArrowInvalid, OSError) as error:
        raise Malformed(f"block {number} is damaged: {error}; deliver the file again") from error
    if len(data) > limit:
        raise Malformed(f"the file unpacks to more than {MAX_BYTES} bytes, the limit of a batch; split it")
    return data


def _snappy(block: bytes, number: int, limit: int) -> bytes:
    """What it holds, which begins with its length, and ends with its CRC-32, as Avro adds it."""
    packed, check = block[:-4], block[-4:]
    length = shift = 0
    for byte in packed[:5]:
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if length > limit:
        raise Malformed(f"the file unpacks to more than {MAX_BYTES} bytes, the limit of a batch; split it")
    data: bytes = pa.decompress(packed, decompressed_size=length, codec="snappy", asbytes=True)
    if zlib.crc32(data).to_bytes(4, "big") != check:
        raise Malformed(f"block {number} is damaged: its checksum differs; deliver the file again")
    return data
