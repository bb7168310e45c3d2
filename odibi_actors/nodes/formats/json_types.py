"""What a column of JSON values is inferred as, without loss; ``json_columns`` makes the values that.

Inferred are only the kinds that JSON has: truth values, whole numbers of 64 bits, numbers whose digits a double gives
back, texts, lists, objects. A text that looks like a date is a text. What no type holds is refused, with the type to
declare. Declared types take more: numbers of any digits, dates and times in texts, any value as text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Any

import pyarrow as pa

from odibi_actors.config.arrow_nested import MAX_DEPTH
from odibi_actors.nodes.failures import shorten
from odibi_actors.nodes.formats.json_rows import Digits, shown

MAX_KEYS = 2000
"""Different keys of the objects of one column that become fields."""
_KINDS = {bool: "a truth value", int: "a number", float: "a number", Digits: "a number", str: "a text", list: "a list",
          dict: "an object"}  # fmt: skip
HALF = "half of a character in it (a lone surrogate): correct the file"
INT64 = range(-(1 << 63), 1 << 63)
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", re.ASCII)
_MAX_EXPONENT = 400
"""Of a number that may become a decimal: none has more digits than 76."""


class Unfit(Exception):
    """A value that does not fit: ``row`` in its column (from 0), its ``path`` below the column (``.a[].b``), what is
    wrong with it, and a type that is made for such values, "" where there is none."""

    def __init__(self, message: str, *, row: int = 0, path: str = "", value: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.row = row
        self.path = path
        self.value = value
        self.remedy = remedy

    def within(self, step: str, row: int) -> Unfit:
        """The same, seen from what it is in."""
        return Unfit(self.message, row=row, path=step + self.path, value=self.value)


def kind_of(values: list[Any]) -> pa.DataType:
    """The type that holds all of the values exactly; null where there is none. Raises Unfit: the first in the way."""
    try:
        return _kind(values, 0)
    except Unfit:
        # Of all beginnings of the column the shortest that fails ends with the value that spoils it.
        row = bisect_left(range(len(values)), True, key=lambda last: not _holds(values[: last + 1]))
        try:
            _kind(values[: row + 1], 0)
        except Unfit as spoiled:
            spoiled.row = row
            raise
        raise


def _holds(values: list[Any]) -> bool:
    try:
        _kind(values, 0)
    except Unfit:
        return False
    return True


def _kind(values: list[Any], depth: int) -> pa.DataType:
    kinds = set(map(type, values)) - {type(None)}
    if depth > MAX_DEPTH:
        raise Unfit(f"it nests deeper than {MAX_DEPTH} levels")
    if not kinds:
        return pa.null()
    if kinds == {str}:
        return pa.string()
    if kinds == {bool}:
        return pa.bool_()
    if kinds <= {int, float, Digits}:
        return _number(values, kinds)
    if kinds == {list}:
        return pa.list_(_below("[]", list(chain.from_iterable(value for value in values if value)), depth))
    if kinds == {dict}:
        return _struct([value for value in values if value is not None], depth)
    first, other = _two(values)
    raise Unfit(
        f"{shown(other)} is {_KINDS[type(other)]}, and {shown(first)} before it {_KINDS[type(first)]}",
        value=shown(other),
    )


def _below(step: str, values: list[Any], depth: int) -> pa.DataType:
    try:
        return _kind(values, depth + 1)
    except Unfit as unfit:
        raise unfit.within(step, 0) from None


def _struct(objects: list[dict[str, Any]], depth: int) -> pa.DataType:
    names = keys(objects)
    if not names:
        raise Unfit("its objects are empty", value="{}", remedy="map<string, string>")
    fields = []
    for name in names:
        kind = _below(f".{name}", [one.get(name) for one in objects], depth)
        fields.append(pa.field(name, kind))
    return pa.struct(fields)


def keys(objects: list[dict[str, Any]]) -> list[str]:
    """All keys, as they first come. Raises Unfit: too many to be fields, or one that is no name."""
    found = list(dict.fromkeys(chain.from_iterable(objects)))
    check_keys(objects, found)
    return found


def check_keys(objects: list[dict[str, Any]], found: list[str]) -> None:
    """Raise Unfit for the first of these keys that cannot be a field."""
    if len(found) > MAX_KEYS:
        row = _first(objects, found[MAX_KEYS])
        raise Unfit(f"its objects have more than {MAX_KEYS} different keys", row=row, remedy="map<string, string>")
    for name in found:
        if not name.strip():
            says = f"an object has the key {name!r}, which is no name"
            raise Unfit(says, row=_first(objects, name), value=name, remedy="map<string, string>")
        if not name.isascii() and shorten(name, len(name)) != name:
            raise Unfit(f"the key {name!a} has {HALF}", row=_first(objects, name), value=ascii(name))


def _first(objects: list[dict[str, Any]], name: str) -> int:
    return next(row for row, one in enumerate(objects) if name in one)


def _two(values: list[Any]) -> tuple[Any, Any]:
    """The first value, and the first of another kind."""
    present = [value for value in values if value is not None]
    kind = _KINDS[type(present[0])]
    return present[0], next(value for value in present if _KINDS[type(value)] != kind)


def _number(values: list[Any], kinds: set[type]) -> pa.DataType:
    if Digits in kinds:
        value = next(value for value in values if type(value) is Digits)
        lost = float(value) in (0.0, float("inf"), float("-inf"))
        says = "is beyond a double" if lost else "has more digits than a double"
        raise Unfit(f"{shown(value)} {says}", value=shown(value))
    if float not in kinds:
        beyond = next((value for value in values if value is not None and value not in INT64), None)
        if beyond is None:
            return pa.int64()
        raise Unfit(f"{shown(beyond)} has more than 64 bits", value=shown(beyond))
    for value in values:
        if type(value) is int and not is_double(value):
            raise Unfit(f"{shown(value)} is no double, and others are", value=shown(value))
    return pa.float64()


def is_double(value: int) -> bool:
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def as_decimal(value: Any) -> Decimal:
    """A number, or the text of one, exactly. Raises ValueError."""
    if type(value) is int:
        return Decimal(value)
    text = repr(value) if type(value) is float else str(value)
    if type(value) is bool or not _NUMBER.fullmatch(text) or len(text) > _MAX_EXPONENT:
        raise ValueError
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        raise ValueError from None
    if abs(number.adjusted()) > _MAX_EXPONENT:
        raise ValueError
    return number
