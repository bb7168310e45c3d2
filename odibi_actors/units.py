"""Durations (``250ms 10s 5m 1h 7d``) and sizes (``64KB 256MB 1MiB``) as people write them, and back; instants; names.

Parsing is exact and total: what is not in the grammar is a ValueError that says what to write instead. A parsed value,
formatted and parsed again, is the same value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from odibi_actors.runtime.visible import named

DURATION_PATTERN = r"^\d{1,12}(\.\d{1,6})?(ms|s|m|h|d)$"
SIZE_PATTERN = r"^\d{1,16}(\.\d{1,6})?(B|[kKMGT]B|[KMGT]iB)$"
MAX_DURATION = 3660 * 86400.0
"""Ten years: beyond it a duration is a mistake, and sums with a clock stay far from any overflow."""
MAX_SIZE = 2**50
"""One pebibyte: fits every integer the size travels in."""

_SECONDS = {"d": Decimal(86400), "h": Decimal(3600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001")}
_BYTES = {
    "TB": 10**12,
    "TiB": 2**40,
    "GB": 10**9,
    "GiB": 2**30,
    "MB": 10**6,
    "MiB": 2**20,
    "KB": 10**3,
    "kB": 10**3,
    "KiB": 2**10,
    "B": 1,
}
_NUMBER = re.compile(r"^[\d.]+")


def parse_duration(text: str) -> float:
    """Seconds meant by ``text``; raises ValueError."""
    if not re.fullmatch(DURATION_PATTERN, text, re.ASCII):
        raise ValueError("write a number and a unit, such as 250ms, 10s, 5m, 1h or 7d")
    number, unit = _split(text)
    seconds = float(number * _SECONDS[unit])
    if seconds > MAX_DURATION:
        raise ValueError(f"at most {format_duration(MAX_DURATION)}")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest exact form of ``seconds`` (>= 0, rounded to the nanosecond): 90.0 -> ``90s``, 0.25 -> ``250ms``."""
    exact = round(Decimal(repr(float(seconds))), 9)
    if not exact:
        return "0s"
    for unit in ("d", "h", "m", "s"):
        if exact % _SECONDS[unit] == 0:
            return f"{int(exact / _SECONDS[unit])}{unit}"
    digits = f"{exact * 1000:f}".rstrip("0").rstrip(".")
    return f"{digits}ms"


def parse_size(text: str) -> int:
    """Bytes meant by ``text``; KB is 1000 bytes, KiB 1024. Raises ValueError."""
    if not re.fullmatch(SIZE_PATTERN, text, re.ASCII):
        raise ValueError("write a number and a unit, such as 512B, 64KB, 256MB or 1GiB")
    number, unit = _split(text)
    size = number * _BYTES[unit]
    if size != int(size):
        raise ValueError("a size is a whole number of bytes")
    if size > MAX_SIZE:
        raise ValueError(f"at most {format_size(MAX_SIZE)}")
    return int(size)


def format_size(size: int) -> str:
    """The shortest exact form of ``size`` bytes (>= 0): 256000000 -> ``256MB``, 1048576 -> ``1MiB``."""
    for unit, factor in _BYTES.items():
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return "0B"


def size(count: int) -> str:
    """``count`` bytes in the unit that fits, rounded: 1500 -> ``1.5 KB``."""
    value = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _split(text: str) -> tuple[Decimal, str]:
    number = _NUMBER.match(text)
    assert number is not None  # both patterns begin with digits
    return Decimal(number[0]), text[number.end() :]


def plural(number: int, noun: str, many: str = "") -> str:
    """A count as people write it: ``1 row``, ``2,000 rows``, ``0 rows``. ``many``: where it is not ``noun`` and s."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def format_instant(at: float) -> str:
    """Seconds since 1970 as a text: ``2026-11-29 03:20:42 UTC``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


NAMED = 3
"""Names in one line; the rest is counted."""


def naming(names: Iterable[str]) -> str:
    """The first of these names, and how many more there are."""
    listed = list(names)
    more = len(listed) - NAMED
    return ", ".join(map(named, listed[:NAMED])) + (f" and {more} more" if more > 0 else "")
