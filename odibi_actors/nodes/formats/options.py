"""Checks of options that several formats have. Loads nothing: a project file is checked with it."""

from __future__ import annotations

from typing import Any

from odibi_actors.kinds.format import Option
from odibi_actors.nodes.formats.strptime import problem

COMPRESSIONS = ("auto", "none", "gzip", "bz2", "xz", "zstd", "lz4")


def _compression(value: Any) -> str:
    return "" if value in COMPRESSIONS else f"must be one of {', '.join(COMPRESSIONS)}, not {value!r}"


def _character(value: Any) -> str:
    if value is True:
        return "must be one character, or false for none"
    if isinstance(value, str) and (len(value) != 1 or not value.isascii() or value in "\r\n"):
        return f"must be one ASCII character, not {value!r}"
    return ""


def _encoding(value: Any) -> str:
    try:
        "a".encode(str(value))  # hex and base64 are codecs, but of no text
    except (LookupError, ValueError):
        return f"names an unknown encoding {value!r}"
    return ""


def _parsers(value: Any) -> str:
    return next((found for found in map(problem, value) if found), "")


FLAG = Option((bool,))
COUNT = Option((int,))
TEXTS = Option((list,))
CHARACTER = Option((str,), _character)
CHARACTER_OR_NONE = Option((str, bool), _character)
ENCODING = Option((str,), _encoding)
COMPRESSION = Option((str,), _compression)
MOMENTS = Option((list,), _parsers)
