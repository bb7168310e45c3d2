"""The Arrow type names that ``read.schema`` may use. Written here because pyarrow itself costs 600 ms to import."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from odibi_actors.config.problems import did_you_mean

ARROW_TYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float", "float16", "float32", "double", "float64"),
    *("string", "utf8", "large_string", "binary", "large_binary"),
    *("date", "date32", "date64", "time32[s]", "time32[ms]", "time64[us]", "time64[ns]"),
    *("timestamp[s]", "timestamp[ms]", "timestamp[us]", "timestamp[ns]"),
    *("duration[s]", "duration[ms]", "duration[us]", "duration[ns]"),
)
"""Names without parameters; besides them ``timestamp[us, tz=ZONE]`` and ``decimal128(precision, scale)``."""
_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns), ?(?:tz=)?([A-Za-z0-9_+\-/:]{1,64})\]", re.ASCII)
_DECIMAL = re.compile(r"decimal128\((\d{1,2}), ?(\d{1,2})\)", re.ASCII)
_OFFSET = re.compile(r"[+-]\d\d:\d\d", re.ASCII)


class UnknownTypeError(ValueError):
    """Not an Arrow type; ``suggestion`` says what to write."""

    def __init__(self, message: str, suggestion: str) -> None:
        super().__init__(message)
        self.suggestion = suggestion


def arrow_type(name: str) -> str:
    """``name`` as Arrow itself writes it (``date`` -> ``date32``). Raises UnknownTypeError."""
    if name in ARROW_TYPES:
        return "date32" if name == "date" else name
    if match := _DECIMAL.fullmatch(name):
        precision, scale = int(match[1]), int(match[2])
        if not (1 <= precision <= 38 and scale <= precision):
            raise UnknownTypeError("not a decimal Arrow has", "the precision is from 1 to 38, the scale at most that")
        return f"decimal128({precision}, {scale})"
    if match := _TIMESTAMP.fullmatch(name):
        unit, zone = match[1], match[2]
        if not _OFFSET.fullmatch(zone):
            _check_zone(zone)
        return f"timestamp[{unit}, tz={zone}]"
    raise UnknownTypeError("not an Arrow type", did_you_mean(name, [*ARROW_TYPES, "decimal128(10, 2)"], "types"))


def _check_zone(zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a zone that is a folder of zones
        raise UnknownTypeError(f"there is no time zone {zone}", "write one such as UTC or America/New_York") from error
