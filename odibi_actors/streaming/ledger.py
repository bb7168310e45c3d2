"""The source's copy of its ledger: which files are planned, each by a stamp."""

from __future__ import annotations

import struct

from odibi_actors.messages import LedgerPage, LedgerQuery, Planned
from odibi_actors.model import Position
from odibi_actors.sources.file_position import FileTimes
from odibi_actors.streaming.copied import Copied
from odibi_actors.streaming.effects import Found

Stamp = bytes
"""The size and the detail of a file's position (mtime, inode, ctime), 8 bytes each: by these a planned file is known.
There may be millions: a tuple of four numbers takes three times as much."""

_SIZE = struct.Struct("<Q")
_CTIME = 24
_64 = (1 << 64) - 1


class Ledger(Copied[Stamp]):
    """The planned files of one source, by identity."""

    def none(self, start_seq: int) -> None:
        """A source that consumes nothing has no ledger; only the order of records matters."""
        self.loaded, self.seq, self.next_query = True, max(self.seq, start_seq), None

    def query(self, now: float) -> LedgerQuery | None:
        """The query to send now, if one is due."""
        cursor = self.due(now)
        if cursor is None:
            return None
        return LedgerQuery(
            pipeline=self.pipeline, source=self.source, lane=self.lane, cursor=cursor, through=self.through
        )

    def page(self, page: LedgerPage, now: float) -> list[str] | None:
        """Take a page. After the last one: the identities that are planned no longer, else None."""
        return self.read(page, {position.identity: stamp(position) for position in page.positions}, now)

    def take(self, message: Planned) -> None:
        """``index`` has what this plan has taken as well."""
        for position in message.positions:
            self.index[position.identity] = stamp(position)


def stamp(file: Position | Found) -> Stamp:
    """The stamp of a file, planned or found."""
    detail = file.detail if isinstance(file, Position) else FileTimes(file.mtime_ns, file.inode, file.ctime_ns).packed()
    return _SIZE.pack(file.size & _64) + detail


def size_of(stamp: Stamp) -> int:
    """Bytes of the file."""
    return int.from_bytes(stamp[:8], "little")


def same_but_ctime(one: Stamp, other: Stamp) -> bool:
    """Whether nothing else tells them apart."""
    return one[:_CTIME] == other[:_CTIME]


def same_stamp(one: Stamp, other: Stamp) -> bool:
    """Whether the file is as it was, as far as the ctime of both is known."""
    return one == other or (same_but_ctime(one, other) and (not any(one[_CTIME:]) or not any(other[_CTIME:])))
