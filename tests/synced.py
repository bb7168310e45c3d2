"""Watches what a piece of code makes durable, and in which order, so that a sync that is left out is seen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


class Disk:
    """``done``: (call, path) of each fsync, link and rename, in order; a link or rename by the name it makes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[tuple[str, Path]] = []
        fsync, link, rename = os.fsync, os.link, os.rename

        def watched_fsync(descriptor: int) -> None:
            fsync(descriptor)
            self.done.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))

        def watched_link(source: Any, target: Any, **more: Any) -> None:
            link(source, target, **more)
            self.done.append(("link", Path(target)))

        def watched_rename(source: Any, target: Any, **more: Any) -> None:
            rename(source, target, **more)
            self.done.append(("rename", Path(target)))

        monkeypatch.setattr(os, "fsync", watched_fsync)
        monkeypatch.setattr(os, "link", watched_link)
        monkeypatch.setattr(os, "rename", watched_rename)

    def check(self, name: Path) -> None:
        """The file of that name was made under another one, synced, linked or renamed, and its folder synced then."""
        made = next(place for place, (call, path) in enumerate(self.done) if call != "fsync" and path == name)
        before = [path for call, path in self.done[:made] if call == "fsync" and path.parent == name.parent]
        assert before, f"{name.name} got its name before its bytes were synced: {self.done}"
        assert ("fsync", name.parent) in self.done[made:], f"the name {name.name} was not synced: {self.done}"
