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
        self._seen: dict[tuple[str, str], float] = {}
        self._told: dict[tuple[str, str], None] = {}

    def lines(self, sources: Iterable[Finder], now: float) -> list[str]:
        """What is to be said now."""
        there: dict[tuple[str, str], str] = {}
        count = 0
        for source in sources:
            if source.spec.pipeline == self._pipeline:
                there |= {(source.key, identity): reason for identity, reason in source.waiting().items()}
                count += source.row()["waiting"]
        self._seen = {key: self._seen.get(key, now) for key in there}
        self.files, said = count, []
        for key, since in self._seen.items():
            if now - since >= PATIENCE and key not in self._told and len(self._told) < NAMED:
                self._told[key] = None
                said.append(f"waiting for {key[1]} of {key[0]}: {there[key]}")
        return said
