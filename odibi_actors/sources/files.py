"""Folders of files: ``file_watch``, each file once as it arrives, and ``batch``, all of them for every iteration.

Their finder is ``streaming.source``. Their probe is the source driver's own thread for files, since watches and the
scans between them go together; of ``Ask`` they ask nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from odibi_actors.config.model import Consumption, ReadSpec
from odibi_actors.kinds.format import rescue_problems
from odibi_actors.kinds.registry import format_of

if TYPE_CHECKING:
    from odibi_actors.kinds.connection import Access
    from odibi_actors.kinds.source import Finder, ReadResult
    from odibi_actors.messages import Message, SourceSpec
    from odibi_actors.model import Position
    from odibi_actors.streaming.effects import Ask


class FolderOfFiles:
    """One of both: see ``kinds.source.Source``."""

    format = ""
    declared = False

    def __init__(self, name: str, about: str, consumption: Consumption) -> None:
        self.name, self.about, self.consumption = name, about, consumption
        of_each = ("order",) if consumption == "set" else ()  # a reference is read as a whole
        self.keys: tuple[str, ...] = ("settle", "on_schema_change", "follow_links", *of_each)

    def check(self, read: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        """All formats are read so, with all of their options; nothing is set aside of what every iteration needs."""
        if self.consumption == "pinned" and read.get("on_schema_change") == "dead_letter":
            yield "on_schema_change", f"mode {self.name}: every iteration reads all of it", "halt, evolve or rescue"
        if isinstance(read.get("format"), str):
            yield from rescue_problems(read, format_of(read["format"]))

    def finder(self, spec: SourceSpec, read: ReadSpec, incarnation: str, first: int) -> Finder:
        """Of one source in one lane."""
        from odibi_actors.streaming.source import Source

        return Source(spec, read, incarnation, first)

    def probe(self, ask: Ask) -> Iterator[Message | None]:
        """Never asked."""
        raise TypeError(f"mode {self.name} has no probe")

    def load(self, spec: ReadSpec, positions: list[Position], pinned: bytes, access: Access) -> ReadResult:
        """The files as one table."""
        from odibi_actors.nodes.read import read

        return read(spec, positions, pinned)


FILE_WATCH = FolderOfFiles("file_watch", "each file once, as it arrives", "set")
BATCH = FolderOfFiles("batch", "all files, once a run", "pinned")
