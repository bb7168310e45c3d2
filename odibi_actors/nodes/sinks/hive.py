"""Folders of partitions as Hive names them, ``country=DE/day=2026-01-02``: what other readers take for values, exactly.

A value is written so that readers (DuckDB, pyarrow, polars) find the text that it is: of ASCII only letters, digits,
``_`` and ``-`` stand for themselves, since each of the others ends a name, a pattern or a file name somewhere. Other
letters stand as they are. What type a text has, no folder says: the manifest does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from odibi_actors.nodes.sinks.owner import OWNER_FILE

NULL = "__HIVE_DEFAULT_PARTITION__"
"""The folder of rows that have null."""
MAX_NAME = 255
"""Bytes of the name of a folder, on most file systems."""
COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Names of columns that all readers of such folders take as they are."""
_SPECIAL = re.compile(r"[^A-Za-z0-9_\-\u0080-\U0010ffff]")


def folder(names: Sequence[str], values: Sequence[str | None]) -> str:
    """The relative folder of these values, which are texts, or null."""
    return "/".join(f"{name}={escaped(value)}" for name, value in zip(names, values, strict=True))


def escaped(value: str | None) -> str:
    """A value as a folder's name has it."""
    return NULL if value is None else _SPECIAL.sub(lambda found: f"%{ord(found[0]):02X}", value)


def unescaped(text: str) -> str | None:
    """The value that is written so."""
    return None if text == NULL else unquote(text, errors="strict")


def files(root: Path) -> Iterator[Path]:
    """All files in the folders of partitions below ``root``, in no order. Raises OSError."""
    for parent, folders, names in os.walk(root, onerror=_raise):
        folders[:] = [name for name in folders if "=" in name]
        if Path(parent) != root and OWNER_FILE in names:  # the folder of another sink
            folders.clear()
        elif Path(parent) != root:
            yield from (Path(parent, name) for name in names)


def root_of(path: Path) -> Path:
    """The folder below which the folders of partitions are that ``path`` is in."""
    above = path.parent
    while "=" in above.name:
        above = above.parent
    return above


def tidy(root: Path, path: Path) -> None:
    """Delete the folders of partitions above a file that is gone, as far as they are empty."""
    above = path.parent
    while above != root:
        try:
            above.rmdir()
        except OSError:  # not empty
            return
        above = above.parent


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # gone since it was listed
        raise error
