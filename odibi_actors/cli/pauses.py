"""Who waits for a pipeline that is paused, or drains, waits for whoever resumes it: that is said, also of a pause that
begins while somebody waits."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from odibi_actors.cli import errors
from odibi_actors.cli.output import Row
from odibi_actors.errors import OdibiError

if TYPE_CHECKING:
    from odibi_actors.client import Client

LOOK_FOR = 2.0
"""Seconds that a look may take, in the midst of a wait."""


class Pauses:
    """Tells of the pauses of one pipeline on stderr, each once."""

    def __init__(self, client: Client, pipeline: str) -> None:
        self._client = client
        self._pipeline = pipeline
        self._said = ""

    def take(self, row: Row) -> None:
        """What ``pipeline show`` says now."""
        state = str(row.get("state"))
        word = state if state in ("draining", "drained") else "paused" if row.get("paused") else ""
        if word and word != self._said:
            name = self._pipeline
            errors.message(f"warning: {name} is {word}: `odibictl pipeline resume {name}`", style="yellow")
        self._said = word

    def look(self) -> Row:
        """See how it is now; empty where nobody answers, which the wait itself says in time."""
        with suppress(OdibiError):
            row: Row = self._client.request("pipeline.show", {"pipeline": self._pipeline}, timeout=LOOK_FOR)
            self.take(row)
            return row
        return {}

    def watch(self) -> None:
        """Look now, and again while the client waits."""
        self.look()
        self._client.on_wait = self.look
