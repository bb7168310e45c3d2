"""JSON text as rows: one object a line (JSON lines), or one array of objects; the grammar is that of RFC 8259.

Decoded by ``json`` of the standard library, whose hooks keep what others lose in silence: a key that is there twice,
and the digits of a number that a double does not give back; faster where ``json_quick`` can.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from odibi_actors.doubles import gives_back
from odibi_actors.nodes.failures import shorten
from odibi_actors.nodes.formats import Malformed
from odibi_actors.nodes.formats.json_quick import quick
from odibi_actors.nodes.formats.packed import converted, marked_encoding, what_it_is

MAX_SHOWN = 60
"""Characters of a value in a message."""
_BLANK = re.compile(r"[ \t\n\r]*")
_CUT_OFF = re.compile(r"""(tr?u?|fa?l?s?|nu?l?|-|\.|[eE][-+]?|\\?u[^"]{0,4}|\\)?[ \t\n\r]*\Z""")
"""The beginning of a value, and then nothing."""
_SHORT = 15
"""Characters of a number whose digits every double gives back."""


class Digits(str):
    """A number as it is written, whose digits a double, or an integer that Python reads at once, does not give back."""


class Rows(NamedTuple):
    """The objects of a file, and in which line each begins; where ``lines`` is empty, ``data`` tells."""

    objects: list[dict[str, Any]]
    lines: list[int]
    data: bytes

    def line(self, row: int) -> int:
        """The line in which a row begins, from 1."""
        return (self.lines or _scanned(self.data).lines)[row]


class _Found(NamedTuple):
    objects: list[dict[str, Any]]
    text: str
    starts: list[int]


class _Refused(Exception):
    """Said by a hook, which does not know where it is."""


def rows(data: bytes) -> Rows:
    """All of a file. Raises Malformed with the line."""
    read = quick(data, _one)
    return Rows(*read, data) if read is not None else _scanned(data)


def _scanned(data: bytes) -> Rows:
    found = _Found([], _text(data), [])
    at = _BLANK.match(found.text, 0).end()  # type: ignore[union-attr]
    if found.text.startswith("[", at):
        _array(found, at + 1)
    else:
        _lines(found, at)
    lines, line, before = [], 1, 0
    for start in found.starts:
        line += found.text.count("\n", before, start)
        before = start
        lines.append(line)
    return Rows(found.objects, lines, data)


def _one(line: str) -> dict[str, Any] | None:
    """An object that is a line of its own; None for all else, also for what is to be refused."""
    found = _Found([], line, [])
    try:
        end = _object(found, _BLANK.match(line, 0).end())  # type: ignore[union-attr]
    except Malformed:
        return None
    return found.objects[0] if _BLANK.match(line, end).end() == len(line) else None  # type: ignore[union-attr]


def shown(value: Any) -> str:
    """A value in a message: as JSON, cut where it is long."""
    try:
        return shorten(dump(value), MAX_SHOWN)
    except RecursionError:
        return "{...}" if isinstance(value, dict) else "[...]"


def dump(value: Any) -> str:
    """A value as JSON, without blanks; no digit of a number is lost. Raises RecursionError."""
    match value:
        case Digits():
            return str.__str__(value)
        case dict():
            return "{" + ",".join(f"{dump(key)}:{dump(part)}" for key, part in value.items()) + "}"
        case list():
            return "[" + ",".join(map(dump, value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def _text(data: bytes) -> str:
    if marked := marked_encoding(data):
        raise Malformed(
            f"the file is {marked.upper()} text, and JSON is UTF-8; convert it: {converted(marked)}", line=1
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = what_it_is(data)
        says = (
            f"the file is {found[0]}, not JSON"
            if found and found[0] != "JSON"
            else "bytes that are not UTF-8, which JSON is"
        )
        raise Malformed(says, line=data.count(b"\n", 0, error.start) + 1) from None


def _lines(found: _Found, at: int) -> None:
    while at < len(found.text):
        at = _object(found, at)
        at = _BLANK.match(found.text, at).end()  # type: ignore[union-attr]
        if found.text.startswith(",", at):
            message = "a comma between two objects: write each in a line of its own without one, or one array of all"
            raise Malformed(message, line=_line(found.text, at))


def _array(found: _Found, at: int) -> None:
    """The objects from behind the bracket that opens it."""
    text = found.text
    at = _BLANK.match(text, at).end()  # type: ignore[union-attr]
    while not text.startswith("]", at) or found.objects:
        at = _object(found, at)
        at = _BLANK.match(text, at).end()  # type: ignore[union-attr]
        if text.startswith("]", at):
            break
        if not text.startswith(",", at):
            says = (
                "the array is cut off: deliver it again" if at == len(text) else f"a comma is missing {_near(text, at)}"
            )
            raise Malformed(says, line=_line(text, at))
        at = _BLANK.match(text, at + 1).end()  # type: ignore[union-attr]
    rest = _BLANK.match(text, at + 1).end()  # type: ignore[union-attr]
    if rest < len(text):
        raise Malformed(f"something follows the array: {_near(text, rest)}", line=_line(text, rest))


def _object(found: _Found, at: int) -> int:
    """Take the row that begins there; where it ends."""
    text = found.text
    try:
        row, end = _SCANNER(text, at)
    except StopIteration as error:
        raise _no_json(text, at, error.value, "") from None
    except json.JSONDecodeError as error:
        raise _no_json(text, at, error.pos, f"{error.msg[:1].lower()}{error.msg[1:]}: ") from None
    except RecursionError:
        raise Malformed("it nests too deep", line=_line(text, at)) from None
    except _Refused as refused:
        raise Malformed(str(refused), line=_line(text, at)) from None
    if not isinstance(row, dict):
        raise Malformed(f"a row is an object, {{...}}, not {shown(row)}", line=_line(text, at), value=shown(row))
    found.objects.append(row)
    found.starts.append(at)
    return end


def _no_json(text: str, at: int, place: int, says: str) -> Malformed:
    """What is wrong at ``place``, in the row that begins at ``at``."""
    if says.startswith("unterminated string") or _CUT_OFF.match(text, place):
        return Malformed(_CUT, line=_line(text, at))
    return Malformed(f"no JSON: {says}{_near(text, place)}", line=_line(text, place))


_CUT = "it is cut off within a value: deliver it again"


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _near(text: str, at: int) -> str:
    return repr(text[at : at + 20]) if at < len(text) else "the end of the file"


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Refused(f"an object has the key {twice!r} twice")
    return row


def _whole(text: str) -> int | float | Digits:
    if text == "-0":
        return -0.0
    return int(text) if len(text) <= 100 else Digits(text)


def _real(text: str) -> float | Digits:
    value = float(text)
    if repr(value) == text:
        return value
    long = len(text) > _SHORT or "e" in text.lower()
    return Digits(text) if long and not gives_back(value, text) else value


def _constant(text: str) -> Any:
    raise _Refused(f"{text} is no JSON: write null, or a text")


_DECODER: Any = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_whole, parse_float=_real, parse_constant=_constant
)
_SCANNER: Callable[[str, int], tuple[Any, int]] = _DECODER.scan_once  # as raw_decode, without blanks before
