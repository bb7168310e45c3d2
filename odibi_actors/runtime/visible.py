"""Text from strangers (file names, values of a CSV, errors that quote them) made safe to show on a terminal."""

from __future__ import annotations

import unicodedata

HARMLESS = "\u200c\u200d"
"""Joiners: words of several languages and many emoji need them."""


def named(name: str) -> str:
    """The name of a file, or of a position, as it enters any text: in one line, so that it cannot forge another one. A
    backslash is doubled, so that no two names look alike."""
    return in_line(name.replace("\\", "\\\\"))


def in_line(text: str) -> str:
    """``text``, such as the name of a column, without line ends, which are written out as well (``\\n``)."""
    return visible(text, keep="")


def visible(text: str, keep: str = "\n\t") -> str:
    """``text`` with what a terminal would obey, or a reader would not see, written out (``\\x1b``): control characters
    but those in ``keep``, marks that turn the direction of writing, halves of surrogate pairs (names not in UTF-8)."""
    return text if text.isprintable() else "".join(_shown(c, keep) for c in text)


def _shown(c: str, keep: str) -> str:
    if c.isprintable() or c in keep or c in HARMLESS or unicodedata.category(c) == "Zs":
        return c
    return c.encode("unicode_escape", "surrogatepass").decode("ascii")


def in_markdown(text: str) -> str:
    """The text in a line of Markdown, or in a cell of its tables: nothing of it is markup."""
    lines = text.strip().splitlines()
    return "<br>".join("".join(f"&#{ord(one)};" if one in "|<>&*_`\\[]$~#" else one for one in line) for line in lines)
