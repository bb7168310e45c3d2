"""Tables and queries of databases by ``mode: incremental``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from odibi_actors.config.model import ReadSpec
from odibi_actors.kinds.connection import Access

if TYPE_CHECKING:
    from odibi_actors.kinds.source import ReadResult
    from odibi_actors.messages import Message
    from odibi_actors.model import Position
    from odibi_actors.sources.query.probe import Probe
    from odibi_actors.streaming.effects import Ask

_SELECT = re.compile(r"\s*(select|with|values|from)\b", re.IGNORECASE)
_OF_FILES = ("format", "path", "pattern", "exclude", "options", "settle", "on_change")


class Tables:
    """What of ``kinds.source.Source`` is of tables."""

    keys: tuple[str, ...] = ("table", "query", "watermark_column", "keys", "lag", "initial")

    def __init__(self) -> None:
        self._probes: dict[str, Probe] = {}  # by the path of the connection, whose thread has it alone

    @staticmethod
    def of(read: Mapping[str, Any]) -> bool:
        """Whether a ``read`` section is of a table."""
        return "table" in read or "query" in read

    def check(self, read: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        """A table or a query, and by what it grows."""
        if "table" in read and "query" in read:
            yield "query", "table and query are both there", "keep one"
        if "watermark_column" not in read:
            yield "mode", "incremental needs to know by what a table grows", "watermark_column: updated_at"
        for key in _OF_FILES:
            if key in read:
                yield key, "does not apply: a table is read, and no files", "delete it"
        query = read.get("query")
        if isinstance(query, str) and (not _SELECT.match(query) or query.rstrip().endswith(";")):
            yield "query", "must be one SELECT, without a semicolon behind it", "query: select ... from ..."

    def probe(self, ask: Ask) -> Iterator[Message | None]:
        """Look at tables."""
        from odibi_actors.sources.query.probe import Probe
        from odibi_actors.streaming.effects import Again, Ahead

        probe = self._probes.setdefault(ask.read.connection.path, Probe())
        match ask:
            case Again():
                return probe.again(ask)
            case Ahead():
                return probe.ahead(ask)
        raise TypeError(f"tables are not asked for {type(ask).__name__}")

    def load(self, spec: ReadSpec, positions: list[Position], pinned: bytes, access: Access) -> ReadResult:
        """The rows as one table."""
        from odibi_actors.sources.query.reader import load

        return load(spec, positions, pinned, access)
