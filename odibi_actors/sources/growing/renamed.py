"""Whether a new file begins with all that was read of another one: it was renamed (rotated), or copied.

It is read all the same, since a name is what a file is known by; that is told, for its rows are read a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from odibi_actors.runtime.visible import named
from odibi_actors.sources.growing.places import BEGINNING, BLOCK, NOTHING, Mark, digest, link, mark
from odibi_actors.streaming.effects import Begin

LEAST = 64
"""Bytes that were read of a file from which on a copy of it is told; fewer may well be equal by chance. A file with the
same inode is told of whatever was read of it."""

Bytes = Callable[[int, int], bytes]
"""The bytes of a file from an offset up to before another."""


class Known:
    """How far files of a source were read."""

    def __init__(self, places: Sequence[Begin]) -> None:
        self._places = places

    @cached_property
    def _by_beginning(self) -> dict[int, dict[bytes, list[tuple[str, Mark]]]]:
        """Bytes of a beginning -> its digest -> files that begin so. Only made where there is a new file."""
        found: dict[int, dict[bytes, list[tuple[str, Mark]]]] = {}
        for one in self._places:
            at = mark(one.place) if one.place else Mark()
            if at.offset:
                alike = found.setdefault(min(BEGINNING, at.offset), {}).setdefault(at.beginning, [])
                alike.append((one.partition, at))
        return found

    def renamed(self, name: str, size: int, inode: int, get: Bytes) -> Iterator[str]:
        """What is told of the new file of this name; "" where nothing is. The last one counts, each is a step."""
        head = get(0, BEGINNING) if self._by_beginning else b""
        alike = [
            (partition, at)
            for length, some in self._by_beginning.items()
            if length <= size
            for partition, at in some.get(digest(head[:length]), ())
            if at.offset <= size and partition != name and (at.inode == inode or at.offset >= LEAST)
        ]
        # The renamed file itself before a copy of it, the longest before one that it was made of.
        for partition, at in sorted(alike, key=lambda one: (one[1].inode != inode, -one[1].offset)):
            if digest(get(at.whole * BLOCK, at.offset)) != at.rest:
                continue
            chain = NOTHING
            for number in range(at.whole):
                chain = link(chain, get(number * BLOCK, (number + 1) * BLOCK))
                yield ""
            if chain == at.chain:
                yield (
                    f"{named(name)} begins with all that was read of {named(partition)}, up to byte {at.offset:,}, and "
                    "is read from its beginning: these rows a second time. If it was renamed, have `pattern` or "
                    "`exclude` leave such names out"
                )
                return
