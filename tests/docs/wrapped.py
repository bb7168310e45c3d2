"""Generated text in lines of the length that all pages have."""

from __future__ import annotations

import textwrap


def item(text: str) -> str:
    """One of a list."""
    return textwrap.fill(f"- {text}", 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
