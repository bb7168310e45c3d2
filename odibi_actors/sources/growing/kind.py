"""``mode: incremental`` over files: a csv or JSON-lines file that grows is read from where it was read up to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from odibi_actors.config.model import ReadSpec
from odibi_actors.errors import ConfigError
from odibi_actors.kinds.connection import Access
from odibi_actors.kinds.format import Lines, lines_of, rescue_problems
from odibi_actors.kinds.registry import format_of

if TYPE_CHECKING:
    from odibi_actors.kinds.source import ReadResult
    from odibi_actors.messages import Message
    from odibi_actors.model import Position
    from odibi_actors.sources.growing.probe import Probe
    from odibi_actors.streaming.effects import Ask


class GrowingFiles:
    """What of ``kinds.source.Source`` is of files. Of each what is new is read, in whole lines."""

    keys: tuple[str, ...] = ("on_change", "on_schema_change")

    def __init__(self) -> None:
        self._probes: dict[str, Probe] = {}  # by the path of the connection, whose thread has it alone

    def check(self, read: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        """The format has to have lines, as its options have them."""
        if isinstance(read.get("format"), str):
            found = lines_of(format_of(read["format"]), read.get("options", {}))
            if isinstance(found, str):
                yield "format", f"mode incremental: {found}", "csv or json with one row a line; or mode: file_watch"
            yield from rescue_problems(read, format_of(read["format"]))

    def probe(self, ask: Ask) -> Iterator[Message | None]:
        """Look at files."""
        from odibi_actors.sources.growing.probe import Probe
        from odibi_actors.streaming.effects import Again, Ahead

        probe = self._probes.setdefault(ask.read.connection.path, Probe())
        match ask:
            case Again():
                return probe.again(ask)
            case Ahead():
                return probe.ahead(ask, _lines(ask.read))
        raise TypeError(f"growing files are not asked for {type(ask).__name__}")

    @staticmethod
    def amending() -> str:
        """Before the letter is discarded: a file that was changed is another one, of which no more is read."""
        return "write them corrected to a new file"

    def load(self, spec: ReadSpec, positions: list[Position], pinned: bytes, access: Access) -> ReadResult:
        """The rows as one table."""
        from odibi_actors.nodes.read import read
        from odibi_actors.sources.growing.reader import Rows

        return read(spec, positions, pinned, Rows(spec.connection.path))


def _lines(read: ReadSpec) -> Lines:
    found = lines_of(format_of(read.format), read.options)
    if isinstance(found, str):
        raise ConfigError(found)
    return found
