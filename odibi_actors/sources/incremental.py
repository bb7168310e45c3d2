"""``mode: incremental``: what is new in files that grow, or in a table or query of a database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from odibi_actors.config.model import Consumption, ReadSpec
from odibi_actors.kinds.connection import Access
from odibi_actors.sources.growing.kind import GrowingFiles
from odibi_actors.sources.query.kind import Tables

if TYPE_CHECKING:
    from odibi_actors.kinds.source import Finder, ReadResult
    from odibi_actors.messages import Message, SourceSpec
    from odibi_actors.model import Position
    from odibi_actors.streaming.effects import Ask


class Incremental:
    """See ``kinds.source.Source``: both have one mode, and what is read says which of them it is."""

    name = "incremental"
    about = "what is new in files that grow, or in tables"
    format = ""
    consumption: Consumption = "cursor"
    declared = False

    def __init__(self) -> None:
        self._files, self._tables = GrowingFiles(), Tables()
        self.keys = (*self._files.keys, *self._tables.keys)

    def check(self, read: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        """By what is read."""
        if self._tables.of(read):
            yield from self._tables.check(read)
            return
        for key in self._tables.keys:
            if key in read:
                yield key, "is for tables, and files are read, by their bytes", "delete it"
        yield from self._files.check(read)

    def finder(self, spec: SourceSpec, read: ReadSpec, incarnation: str, first: int) -> Finder:
        """The one of all sources that are read in order."""
        from odibi_actors.streaming.ordered import Ordered

        return Ordered(spec, read, incarnation, first)

    def probe(self, ask: Ask) -> Iterator[Message | None]:
        """Look at what is read."""
        return (self._files if ask.read.of_table is None else self._tables).probe(ask)

    def amending(self, read: ReadSpec) -> str:
        """Of files; rows of tables are read as they are by then."""
        return self._files.amending() if read.of_table is None else ""

    def load(self, spec: ReadSpec, positions: list[Position], pinned: bytes, access: Access) -> ReadResult:
        """The rows as one table."""
        kind = self._files if spec.of_table is None else self._tables
        return kind.load(spec, positions, pinned, access)


INCREMENTAL = Incremental()
