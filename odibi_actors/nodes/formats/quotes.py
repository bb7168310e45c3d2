"""Where the quoted values of a CSV file end.

pyarrow takes what follows a closing quote for more of the value (``"x"y`` is ``xy``, ``"1"2`` is 12), and a value that
is never closed for one that ends with the file. So the bytes are held against the grammar of CSV: in one pass of RE2,
and by the ``re`` module where the place is wanted.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.config.remedies import option
from odibi_actors.nodes.failures import MAX_VALUE, shorten
from odibi_actors.nodes.formats import Malformed

ESCAPED = f"{option('escape_char', chr(92))} reads it, where a backslash stands before each quote within a value"
"""The remedy for values such as ``"he said \\"hi\\""``."""


class _Grammar(NamedTuple):
    """Patterns that both engines know. ``opened``: a quoted value up to its closing quote, without it; ``bare``: an
    unquoted one, which may hold quotes, but not begin with one."""

    opened: str
    closed: str
    bare: str
    delimiter: str


def in_order(data: bytes, options: Mapping[str, Any]) -> bool:
    """Whether each quoted value ends with its closing quote; a file of 50 MB takes a tenth of a second."""
    quote = _quote(options)
    if not quote or quote.encode() not in data:
        return True
    start = _start(data, options)
    g = _grammar(quote, *_others(options), "*")
    cell = f"(?:{g.closed}|{g.bare})?"
    offsets = pa.py_buffer(array("q", [start, len(data)]))
    whole = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(data)])
    found = pc.match_substring_regex(whole, rf"\A(?:{cell}(?:{g.delimiter}|[\r\n]))*{cell}\z")
    return bool(found[0].as_py())


def misplaced(data: bytes, names: list[str], options: Mapping[str, Any]) -> Malformed | None:
    """The first quoted value that goes on after its closing quote, or has none; None when there is nothing of both."""
    quote = _quote(options)
    if not quote:
        return None
    g = _grammar(quote, *_others(options), "*+")
    cell = f"(?:{g.closed}|{g.bare})?+"
    row = _end(f"(?:(?:{cell}{g.delimiter})*+{cell}[\r\n])*+", data, _start(data, options))
    before = re.compile(f"{cell}{g.delimiter}".encode())
    place, column = row, 0
    while match := before.match(data, place):
        place, column = match.end(), column + 1
    line = len(re.findall(rb"\r\n|\r|\n", data[:row])) + 1
    if not data.startswith(quote.encode(), place) or _end(cell, data, place) == len(data):
        return None
    closing = _end(g.opened, data, place)
    if closing == len(data):
        return Malformed("a quoted value is never closed: the file is cut off", line=line)
    end = _end(rf"(?:(?!{g.delimiter})[^\r\n])*+", data, closing)
    follows = data[closing + 1 : end].decode("utf-8", "backslashreplace")
    message = f"a quoted value goes on after its closing quote, with {shorten(repr(follows), MAX_VALUE)}; "
    if not options.get("escape_char") and _reads(data, place, quote, options):
        message += ESCAPED
    elif not options.get("double_quote", True):
        message += "options: {double_quote: true} reads quotes within quotes that are written twice"
    else:
        message += (
            f"a quote within quotes is written twice ({quote * 2}); options: {{quote_char: false}} takes all quotes "
            "of the source as characters"
        )
    name = names[column] if column < len(names) else ""
    shown = data[place:end].decode("utf-8", "backslashreplace")
    return Malformed(message, line=line, column=name, value=shorten(shown, MAX_VALUE))


def _reads(data: bytes, place: int, quote: str, options: Mapping[str, Any]) -> bool:
    """Whether the value that begins there is in order when a backslash makes a quote one of its characters."""
    delimiter, doubled, _ = _others(options)
    g = _grammar(quote, delimiter, doubled, "\\", "*+")
    found = re.compile(rf"{g.closed}(?={g.delimiter}|[\r\n]|\Z)".encode()).match(data, place)
    return found is not None and f"\\{quote}".encode() in found[0]


def _quote(options: Mapping[str, Any]) -> str:
    return str(options.get("quote_char", '"') or "")


def _others(options: Mapping[str, Any]) -> tuple[str, bool, str]:
    return (
        str(options.get("delimiter", ",")),
        bool(options.get("double_quote", True)),
        str(options.get("escape_char") or ""),
    )


def _start(data: bytes, options: Mapping[str, Any]) -> int:
    """Where the lines end that are passed over; a quote there is nothing."""
    return _end(rf"(?:[^\r\n]*+(?:\r\n|\r|\n)){{0,{options.get('skip_rows', 0)}}}+", data, 0)


def _end(pattern: str, data: bytes, place: int) -> int:
    """Where that ends which a pattern finds there; one that may be empty always finds something."""
    found = re.compile(pattern.encode()).match(data, place)
    assert found is not None, pattern
    return found.end()


@lru_cache(maxsize=64)
def _grammar(quote: str, delimiter: str, doubled: bool, escape: str, star: str) -> _Grammar:
    """``star``: how "any number" is spelt: ``*``, or ``*+`` for an engine that would try again otherwise."""
    q, d, e = (f"\\x{ord(one):02x}" if one else "" for one in (quote, delimiter, escape))
    escaped = rf"|{e}[\x00-\xff]" if e else ""
    twice = f"|{q}{q}" if doubled else ""
    opened = f"{q}(?:[^{q}{e}]{escaped}{twice}){star}"
    bare = rf"(?:[^{q}{d}{e}\r\n]{escaped})(?:[^{d}{e}\r\n]{escaped}){star}"
    return _Grammar(opened, f"{opened}{q}", bare, d)
