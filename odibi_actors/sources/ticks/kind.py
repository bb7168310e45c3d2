"""``mode: interval``: a file, a table, a query or a function, read every so often; each poll is kept, and read once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from odibi_actors.config.model import Consumption, ReadSpec
from odibi_actors.sources.events.kind import Events

if TYPE_CHECKING:
    from odibi_actors.kinds.source import Finder
    from odibi_actors.messages import Message, SourceSpec
    from odibi_actors.sources.ticks.code import Applied
    from odibi_actors.streaming.effects import Ask

_OF_FILES = ("format", "path", "options")


class Interval(Events):
    """See ``kinds.source.Source``. Positions are ranges of a log, as those of events are, of which each tick is one."""

    name = "interval"
    about = "a file, a table, a query or a function, polled"
    format = ""
    consumption: Consumption = "cursor"
    declared = False
    polls = True
    keys: tuple[str, ...] = ("every", "function", "params", "table", "query", "retain", "backlog")

    def __init__(self) -> None:
        super().__init__()
        self._applied: Applied | None = None

    def check(self, read: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        """One thing to poll, and how often."""
        if "every" not in read:
            yield "mode", "interval needs to know how often", "every: 10m"
        found = [key for key in ("function", "table", "query", "path") if key in read]
        if not found:
            yield "mode", "interval needs something to read", "path: rates.csv, a table, a query or a function"
        for key in found[1:]:
            yield key, f"{found[0]} is there as well", "keep one"
        if found and found[0] != "path":
            for key in _OF_FILES:
                if key in read and key not in found:
                    yield key, "is for files", "delete it"
        if "params" in read and "function" not in read:
            yield "params", "are for a function", "delete them"
        for key in ("pattern", "exclude"):
            if key in read and read[key] != "*":
                yield key, "interval reads one file, by its path", "delete it"

    def finder(self, spec: SourceSpec, read: ReadSpec, incarnation: str, first: int) -> Finder:
        """One with a clock."""
        from odibi_actors.sources.ticks.finder import Ticking

        return Ticking(spec, read, incarnation, first)

    def probe(self, ask: Ask) -> Iterator[Message | None]:
        """Poll; what is kept is a log of events."""
        from odibi_actors.sources.ticks.code import Applied
        from odibi_actors.sources.ticks.effects import Keep, Poll
        from odibi_actors.sources.ticks.poll import keep, poll

        if isinstance(ask, Keep | Poll):
            self._applied = self._applied or Applied()
            return poll(ask, self._applied) if isinstance(ask, Poll) else keep(ask, self._applied)
        return super().probe(ask)

    def filling(self, source: str) -> str:
        """While no tick was read."""
        return f"no tick was read yet; `odibictl run {source.partition('.')[0]}` reads one"

    def amending(self, _read: ReadSpec) -> str:
        """Before the letter is discarded: what was read at a tick stays as it is."""
        return "correct them where they come from, for the next tick to read"


INTERVAL = Interval()
