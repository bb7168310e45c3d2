"""The ``options`` a reader takes, as a table that can be checked without loading pyarrow."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

CSV_OPTIONS: dict[str, tuple[type, ...]] = {
    "delimiter": (str,),
    "quote_char": (str, bool),
    "double_quote": (bool,),
    "escape_char": (str, bool),
    "newlines_in_values": (bool,),
    "ignore_empty_lines": (bool,),
    "skip_rows": (int,),
    "skip_rows_after_names": (int,),
    "column_names": (list,),
    "encoding": (str,),
    "even_if_utf8": (bool,),
    "compression": (str,),
    "null_values": (list,),
    "true_values": (list,),
    "false_values": (list,),
    "strings_can_be_null": (bool,),
    "quoted_strings_can_be_null": (bool,),
    "quoted_is_text": (bool,),
    "decimal_point": (str,),
    "timestamp_parsers": (list,),
}
"""Names as in ``pyarrow.csv``, but for ``compression``, ``even_if_utf8`` and ``quoted_is_text``, which are ours.
Other defaults: ``newlines_in_values`` and ``strings_can_be_null`` are true, ``quoted_strings_can_be_null`` is false,
and ``null_values`` come on top of the empty cell, which is null unless it is quoted."""
COMPRESSIONS = ("auto", "none", "gzip", "bz2", "xz", "zstd", "lz4")
OPTIONS: dict[str, dict[str, tuple[type, ...]]] = {"csv": CSV_OPTIONS, "parquet": {}}
_ONE_CHARACTER = ("delimiter", "quote_char", "escape_char", "decimal_point")


def check_options(format_name: str, options: Mapping[str, Any]) -> list[str]:
    """What is wrong with the options of a reader of this format; empty when all is well."""
    known = OPTIONS[format_name]
    problems = []
    for name, value in options.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known) or 'none'}"
            problems.append(f"unknown option {name!r} of format {format_name}; {hint}")
        elif problem := _check_value(name, value, known[name]):
            problems.append(f"option {name!r} {problem}")
    return problems


def _check_value(name: str, value: Any, types: tuple[type, ...]) -> str:
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        return f"must be {' or '.join(kind.__name__ for kind in types)}, not {value!r}"
    if isinstance(value, bool) and str in types and value:
        return "must be one character, or false for none"
    if (
        name in _ONE_CHARACTER
        and isinstance(value, str)
        and (len(value) != 1 or not value.isascii() or value in "\r\n")
    ):
        return f"must be one ASCII character, not {value!r}"
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        return "must be a list of texts"
    if isinstance(value, int) and value < 0:
        return "must not be negative"
    if name == "compression" and value not in COMPRESSIONS:
        return f"must be one of {', '.join(COMPRESSIONS)}, not {value!r}"
    if name == "encoding":
        try:
            "a".encode(str(value))  # hex and base64 are codecs, but of no text
        except (LookupError, ValueError):
            return f"names an unknown encoding {value!r}"
    return ""
