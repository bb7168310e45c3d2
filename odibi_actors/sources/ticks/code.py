"""The code of functions that are polled, as it was applied: a poll runs that, however ``nodes/`` is edited meanwhile,
as workers do with the code that they have loaded."""

from __future__ import annotations

from pathlib import Path

from odibi_actors.config.digest import Code, digest_of
from odibi_actors.errors import ConfigError

CHANGED = "nodes/ was changed since the last apply: `odibictl apply`; nothing is polled until then"


class ChangedError(ConfigError):
    """What was applied is not there, and nobody has kept it."""


class Applied:
    """What this process has kept, of each source the newest; it is gone with the process."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, dict[str, bytes]]] = {}

    def of(self, source: str, root: str, function: str, digest: str) -> dict[str, bytes]:
        """The files (``nodes/rates.py``) that a function reaches, of that digest: those that are kept, or those below
        ``root``, which are kept from now on. Raises ChangedError when these are others, ConfigError, OSError."""
        known, files = self._kept.get(source, ("", {}))
        if known != digest:
            files = Code(Path(root)).reached(function)
            if digest_of(files) != digest:
                raise ChangedError(CHANGED)
            self._kept[source] = digest, files
        return files
