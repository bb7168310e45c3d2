"""Connections that are a path: a folder, or a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from odibi_actors.config.kinds import Flag, Key, Text


class PathConnection:
    """See ``kinds.connection.Connection``. ``misplaced``: as it is there."""

    def __init__(
        self,
        name: str,
        about: str,
        misplaced: Callable[[str], tuple[str, str]],
        *,
        folder: bool = False,
    ) -> None:
        self.name = name
        self.about = about
        self.misplaced = misplaced
        self.folder = folder
        self.keys: Mapping[str, Key] = {
            "path": Key(Text(), f"What it leads to: {about}, relative to the project.", required=True),
            "shared": Key(Flag(), "It is reachable under this path on every host."),
        }

    def leads_to(self, section: Mapping[str, Any]) -> str:
        return str(section["path"])

    def access(self, section: Mapping[str, Any]) -> dict[str, str]:
        return {}


def _misplaced(path: str) -> tuple[str, str]:
    return ("is a file; a local connection is a folder", "") if os.path.isfile(path) else ("", "")


LOCAL = PathConnection("local", "a folder", _misplaced, folder=True)
