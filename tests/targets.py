"""Targets and staged parts, for tests that need some."""

from __future__ import annotations

from msgspec.structs import replace

from odibi_actors.model import StagedRef, Target


def folder(path: str) -> Target:
    """A folder to which files are published."""
    return Target("local", "", path)


def table(database: str, name: str) -> Target:
    """A table of a database."""
    return Target("sqlite", database, name)


def file_part(staged: str, published: str, rows: int, size: int, digest: str, replaces: bool = False) -> StagedRef:
    """A part of a folder; one that replaces others is in a folder of its own."""
    place = published.rpartition("/")[0]
    at = folder(place.rpartition("/")[0] if replaces else place)
    return StagedRef(at, staged, published, rows, size, digest, exclusive=at.locator, retracts=True, replaces=replaces)


def rows_part(part: StagedRef, database: str, name: str) -> StagedRef:
    """The same part, of a table."""
    return replace(part, at=table(database, name), published="", exclusive=database, retracts=False)
