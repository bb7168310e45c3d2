"""The digest of the user's code: part of every node's key, so that changed code runs again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import xxhash

from odibi_actors.config.model import ReadSpec
from odibi_actors.errors import ConfigError

MAX_CODE_FILES = 10_000
MAX_CODE_BYTES = 64 * 1024 * 1024
"""A ``nodes/`` beyond these holds something else than code (a virtual environment, data)."""


def code_files(root: Path) -> list[str]:
    """The project's node modules: paths of ``nodes/**/*.py`` relative to ``root`` with ``/``, sorted. Linked folders
    are not followed. Raises ConfigError when there are too many."""
    found: list[str] = []
    for path in _walk(root / "nodes"):
        found.append(path.relative_to(root).as_posix())
        if len(found) > MAX_CODE_FILES:
            raise ConfigError(f"nodes/ holds more than {MAX_CODE_FILES} Python files; keep only node functions there")
    return sorted(found)


def code_digest(root: Path) -> str:
    """xxh3-128 (32 hex digits) over names and bytes of ``nodes/**/*.py``; raises ConfigError past the limits, OSError
    when a file cannot be read."""
    digest = xxhash.xxh3_128()
    total = 0
    for name in code_files(root):
        data = (root / name).read_bytes()
        total += len(data)
        if total > MAX_CODE_BYTES:
            raise ConfigError(
                f"nodes/ holds more than {MAX_CODE_BYTES} bytes of Python; keep only node functions there"
            )
        # Lengths go first: else bytes could move from one file to the next without a trace.
        digest.update(f"{len(name.encode())}:{name}:{len(data)}:".encode())
        digest.update(data)
    return str(digest.hexdigest())


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        yield from (Path(parent, name) for name in names if name.endswith(".py"))


def read_digest(read: ReadSpec) -> str:
    """xxh3-64 (16 hex digits) of what a source reads, and how: tells what it says now from what it said before."""
    return xxhash.xxh3_64_hexdigest(msgspec.msgpack.encode(read, order="deterministic"))
