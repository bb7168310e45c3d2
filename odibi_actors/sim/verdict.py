"""How a broken invariant is told."""

from __future__ import annotations


class Violation(AssertionError):
    """An invariant does not hold."""


def check(holds: bool, invariant: str, what: str) -> None:
    """Raise Violation unless ``holds``."""
    if not holds:
        raise Violation(f"{invariant}: {what}")
