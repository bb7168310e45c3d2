"""How to get to what a store has recorded of targets: as the project file says it now."""

from __future__ import annotations

from pathlib import Path

from odibi_actors.errors import ConfigError
from odibi_actors.kinds.connection import OPEN, Access, access_to
from odibi_actors.model import Accesses, Target


class Doors:
    """The ways in of the project in ``root``. Its file is read once somebody asks for what is not of this machine; if
    it cannot be, there are none."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: Accesses | None = None

    def to(self, at: Target) -> Access:
        """How to get to a target."""
        if not at.connection or at.connection.startswith("/"):
            return OPEN
        if self._known is None:
            from odibi_actors.config.load import load_accesses

            try:
                self._known = load_accesses(self._root)
            except ConfigError:
                self._known = {}
        return access_to(at, self._known, str(self._root))
