"""Files of a batch that cannot be read: all of them are looked for, so that they are told, and corrected, at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from odibi_actors.model import Failure
from odibi_actors.nodes.failures import Failed

OF_FILES = ("malformed", "changed", "missing")
"""Failures that are one file's, so that the next may be looked at all the same."""

NAMED = 8
"""Files that are told of beside the first; the rest is counted."""


class Faults:
    """Collects them. ``found``: whether there is any, so that nothing but others need be looked for."""

    def __init__(self) -> None:
        self._failures: list[Failure] = []
        self._cause: BaseException | None = None

    @property
    def found(self) -> bool:
        return bool(self._failures)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """While one file is read. What is no file's fault ends it, with what was found before. Raises Failed and
        whatever is raised within."""
        try:
            yield
        except Failed as error:
            if error.failure.kind not in OF_FILES:
                self.tell()
                raise
            if not self._failures:
                self._cause = error.__cause__
            self._failures.append(error.failure)
        except Exception:
            self.tell()
            raise

    def tell(self) -> None:
        """Raises Failed with the first, which names the others, if there is any; its cause is that of the first."""
        if not self._failures:
            return
        first, *others = self._failures
        error = Failed(first.kind, first.message)
        more = max(0, len(others) - NAMED)
        error.failure = msgspec.structs.replace(first, others=others[:NAMED], more=more)
        raise error from self._cause
