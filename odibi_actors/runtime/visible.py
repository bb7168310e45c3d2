"""Text from strangers (file names, values of a CSV, errors that quote them) made safe to show on a terminal."""

from __future__ import annotations

import unicodedata

HARMLESS = "\u200c\u200d"
"""Joiners: words of several languages and many emoji need them."""


def visible(text: str, keep: str = "\n\t") -> str:
    """``text`` with what a terminal would obey, or a reader would not see, written out (``\\x1b``): control characters
    but those in ``keep``, marks that turn the direction of writing, halves of surrogate pairs (names not in UTF-8)."""
    return text if text.isprintable() else "".join(_shown(c, keep) for c in text)


def _shown(c: str, keep: str) -> str:
    if c.isprintable() or c in keep or c in HARMLESS or unicodedata.category(c) == "Zs":
        return c
    return c.encode("unicode_escape", "surrogatepass").decode("ascii")
