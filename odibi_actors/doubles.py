"""Numbers as people write them, and the doubles that they become."""

from __future__ import annotations

import math
from decimal import Decimal


def gives_back(value: float, text: str) -> bool:
    """Is ``value``, the double of the decimal number ``text``, as it is shown the number that was written? Not so of
    more digits than a double has, and of what is too large or too small for one."""
    if not math.isfinite(value):
        return False
    if value == 0:
        return not text.lower().partition("e")[0].strip("+-0.")
    return Decimal(repr(value)) == Decimal(text)
