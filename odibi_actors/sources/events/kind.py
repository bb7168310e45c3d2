"""``mode: event``: rows that are pushed, acknowledged when they are durable, and read in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from odibi_actors.config.model import Consumption, ReadSpec

if TYPE_CHECKING:
    from odibi_actors.kinds.connection import Access
    from odibi_actors.kinds.source import Finder, ReadResult
    from odibi_actors.messages import Message, SourceSpec
    from odibi_actors.model import Position
    from odibi_actors.sources.events.probe import Probe
    from odibi_actors.streaming.effects import Ask


class Events:
    """See ``kinds.source.Source``. Positions are ranges of a log that the source itself keeps."""

    name = "event"
    about = "rows that are pushed to it"
    format = "arrow"
    consumption: Consumption = "cursor"
    keys: tuple[str, ...] = ("window", "backlog", "retain")
    declared = True

    def __init__(self) -> None:
        self._probes: dict[str, Probe] = {}  # by the path of the connection, whose thread has it alone

    def check(self, read: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        """What is pushed is checked before it is acknowledged, so its columns have to be said."""
        if not read.get("schema"):
            why = "mode event: what is pushed is checked before it is acknowledged: say its columns"
            yield "schema", why, 'schema: {id: int64, at: "timestamp[us]"}'
        if not read.get("path"):
            yield "path", "mode event: the folder of its log of events has to be said", "path: clicks"
        for key in ("pattern", "exclude", "options"):
            if key in read and read[key] not in ("*", {}):
                yield key, f"mode event takes no {key}: it reads no files of others", "delete it"

    def finder(self, spec: SourceSpec, read: ReadSpec, incarnation: str, first: int) -> Finder:
        """One that is pushed to."""
        from odibi_actors.sources.events.finder import Pushed

        return Pushed(spec, read, incarnation, first)

    def probe(self, ask: Ask) -> Iterator[Message | None]:
        """Look into the log, or append to it."""
        from odibi_actors.sources.events.effects import Append, Prune, Survey
        from odibi_actors.sources.events.probe import Probe
        from odibi_actors.streaming.effects import Again, Ahead

        probe = self._probes.setdefault(ask.read.connection.path, Probe())
        match ask:
            case Append():
                return probe.append(ask)
            case Survey():
                return probe.survey(ask)
            case Prune():
                return probe.prune(ask)
            case Again():
                return probe.again(ask)
            case Ahead():
                return probe.ahead(ask)
        raise TypeError(f"mode {self.name} is not asked for {type(ask).__name__}")

    def filling(self, source: str) -> str:
        """While nothing was pushed."""
        return f"nothing was pushed to it yet; `odibictl event push {source} FILE` does, while a system runs"

    def amending(self, _read: ReadSpec) -> str:
        """Before the letter is discarded: nothing changes in a log."""
        return "push them corrected (`odibictl event push`)"

    def load(self, spec: ReadSpec, positions: list[Position], pinned: bytes, access: Access) -> ReadResult:
        """The events as one table."""
        from odibi_actors.sources.events import reader
        from odibi_actors.sources.events.probe import folder_of

        return reader.load(spec, folder_of(spec), positions, pinned)


EVENT = Events()
