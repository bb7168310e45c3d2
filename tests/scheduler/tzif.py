"""Reading compiled zone files, without ``zoneinfo``: what changes when, as the file lists it (RFC 9636)."""

from __future__ import annotations

import importlib.resources
import struct
import zoneinfo
from itertools import pairwise
from pathlib import Path


def zone_file(name: str) -> bytes:
    """The file that ``ZoneInfo(name)`` reads: the system's, or that of the package tzdata."""
    for folder in zoneinfo.TZPATH:
        if (path := Path(folder, name)).is_file():
            return path.read_bytes()
    return importlib.resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).read_bytes()


def listed(data: bytes) -> list[tuple[int, int]]:
    """(instant, seconds to add to UTC from then on), ascending, beginning with what holds before all transitions. Those
    after the last one follow from a rule at the file's end; "fat" files list them until 2037."""
    first = _counts(data, 0)
    start = 44 + first[3] * 5 + first[4] * 6 + first[5] + first[2] * 8 + first[1] + first[0]
    _, _, _, times, types, _ = _counts(data, start)
    start += 44
    instants = struct.unpack_from(f">{times}q", data, start)
    indices = data[start + 8 * times : start + 9 * times]
    offsets = [struct.unpack_from(">i", data, start + 9 * times + 6 * index)[0] for index in range(types)]
    return [(-(2**63), offsets[0]), *((at, offsets[index]) for at, index in zip(instants, indices, strict=True))]


def _counts(data: bytes, start: int) -> tuple[int, ...]:
    """isut, isstd, leap seconds, times, types, characters."""
    assert data[start : start + 4] == b"TZif"
    return struct.unpack_from(">6I", data, start + 20)


def changes_listed(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """Those after ``start`` and before ``end`` at which the offset is another than before."""
    return [(at, offset) for (_, here), (at, offset) in pairwise(listed(data)) if offset != here and start < at < end]


def fake(transitions: list[tuple[int, int]], before: int) -> bytes:
    """A zone file of these transitions: UTC plus ``before`` seconds until the first."""
    offsets = sorted({before, *(offset for _, offset in transitions)}, key=lambda offset: offset != before)
    header = b"TZif2" + bytes(15)
    empty = header + struct.pack(">6I", 0, 0, 0, 0, 1, 4) + struct.pack(">iBB", 0, 0, 0) + b"FAK\0"
    counts = struct.pack(">6I", 0, 0, 0, len(transitions), len(offsets), 4)
    body = struct.pack(f">{len(transitions)}q", *(at for at, _ in transitions))
    body += bytes(offsets.index(offset) for _, offset in transitions)
    body += b"".join(struct.pack(">iBB", offset, 0, 0) for offset in offsets) + b"FAK\0"
    return empty + header + counts + body + b"\n\n"
