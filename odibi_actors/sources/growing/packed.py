"""Files that cannot grow, by their names."""

from __future__ import annotations

SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".lz4")
"""Of files that a reader would unpack."""

PACKED = "packed, as its suffix says: such a file cannot be read on; unpack it, or `exclude` it"


def packed(name: str) -> str:
    """Why a file of this name is not read on; "" when it may be."""
    return PACKED if name.lower().endswith(SUFFIXES) else ""
