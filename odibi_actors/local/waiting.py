"""What ``odibictl run`` says of the files it waits for: each once, with the reason."""

from __future__ import annotations

from collections.abc import Iterable

from odibi_actors.kinds.source import Finder

PATIENCE = 1.5
"""Seconds after which a file is named; most are ready before."""

NAMED = 10
"""Files named in one run; the progress counts all of them."""


class Waiting:
    """Which files of a pipeline were seen waiting, and since when."""

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self.files = 0  # that wait now
        self.ready = 0  # that could be planned
        self._seen: dict[tuple[str, str], float] = {}
        self._told: dict[tuple[str, str], None] = {}

    def lines(self, sources: Iterable[Finder], now: float) -> list[str]:
        """What is to be said now."""
        there: dict[tuple[str, str], str] = {}
        count = ready = 0
        for source in sources:
            if source.spec.pipeline == self._pipeline:
                there |= {(source.key, identity): reason for identity, reason in source.waiting().items()}
                row = source.row()
                count += row["waiting"]
                ready += row["pending"] or 0
        self._seen = {key: self._seen.get(key, now) for key in there}
        self.files, self.ready, said = count, ready, []
        for key, since in self._seen.items():
            if now - since >= PATIENCE and key not in self._told and len(self._told) < NAMED:
                self._told[key] = None
                said.append(f"waiting for {key[1]} of {key[0]}: {there[key]}")
        return said
