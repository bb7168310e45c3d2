"""Names in SQL."""

from __future__ import annotations


def quote(name: str) -> str:
    """A SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text in SQL, for statements that people are told."""
    return "'" + value.replace("'", "''") + "'"
