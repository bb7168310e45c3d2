"""The Arrow type names that ``read.schema`` may use. Written here because pyarrow itself costs 600 ms to import."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from odibi_actors.config.problems import did_you_mean

ARROW_TYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float", "float32", "double", "float64", "string", "large_string", "binary", "large_binary"),
    *("date", "date32", "date64", "time32[s]", "time32[ms]", "time64[us]", "time64[ns]"),
    *("timestamp[s]", "timestamp[ms]", "timestamp[us]", "timestamp[ns]"),
    *("duration[s]", "duration[ms]", "duration[us]", "duration[ns]"),
)
"""Names without parameters; besides them ``timestamp[us, tz=ZONE]`` and ``decimal128(precision, scale)``."""
_TIMESTAMP = re.compile(r"timestamp\[(?:s|ms|us|ns), ?(?:tz=)?([A-Za-z0-9_+\-/:]{1,64})\]", re.ASCII)
_DECIMAL = re.compile(r"decimal128\((\d{1,2}), ?(\d{1,2})\)", re.ASCII)


def arrow_type_problem(name: str) -> tuple[str, str] | None:
    """None when ``name`` is an Arrow type, else (what is wrong, suggestion)."""
    if name in ARROW_TYPES:
        return None
    if match := _DECIMAL.fullmatch(name):
        precision, scale = int(match[1]), int(match[2])
        if 1 <= precision <= 38 and scale <= precision:
            return None
        return "decimal128(precision, scale) has a precision from 1 to 38 and a scale up to it", ""
    if match := _TIMESTAMP.fullmatch(name):
        try:
            ZoneInfo(match[1])
        except (ZoneInfoNotFoundError, ValueError, OSError):
            if not re.fullmatch(r"[+-]\d\d:\d\d", match[1]):
                return f"unknown time zone {match[1]}", "write one such as UTC or America/New_York"
        return None
    return "not an Arrow type", did_you_mean(name, [*ARROW_TYPES, "decimal128(10, 2)"], "types")
