"""JSON values as Arrow columns, without loss: what a column is inferred as, and whether later values are that.

Inferred are only the kinds that JSON has: truth values, whole numbers of 64 bits, numbers whose digits a double gives
back, texts, lists, objects. A text that looks like a date is a text. What no type holds is refused, with the type to
declare. Declared types take more: numbers of any digits, dates and times in texts, any value as text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from odibi_actors.config.arrow_nested import MAX_DEPTH
from odibi_actors.config.arrow_types import type_name
from odibi_actors.nodes.formats import first_bad
from odibi_actors.nodes.formats.cells import Cells
from odibi_actors.nodes.formats.json_rows import Digits, dump, shown

MAX_KEYS = 2000
"""Different keys of the objects of one column that become fields."""
_KINDS = {bool: "a truth value", int: "a number", float: "a number", Digits: "a number", str: "a text", list: "a list",
          dict: "an object"}  # fmt: skip
_INT64 = range(-(1 << 63), 1 << 63)
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", re.ASCII)
_MAX_EXPONENT = 400
"""Of a number that may become a decimal: none has more digits than 76."""


class Unfit(Exception):
    """A value that does not fit: ``row`` in its column (from 0), its ``path`` below the column (``.a[].b``), what is
    wrong with it, and the type that would take the column, "" where none does."""

    def __init__(self, message: str, *, row: int = 0, path: str = "", value: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.row = row
        self.path = path
        self.value = value
        self.remedy = remedy

    def within(self, step: str, row: int) -> Unfit:
        """The same, seen from what it is in."""
        remedy = "string" if self.remedy else ""  # the whole column, as JSON text
        return Unfit(self.message, row=row, path=step + self.path, value=self.value, remedy=remedy)


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
        raise Unfit(f"it nests deeper than {MAX_DEPTH} levels", remedy="string")
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
        remedy="string",
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


def keys(objects: Iterable[dict[str, Any]]) -> list[str]:
    """All keys, as they first come. Raises Unfit: too many to be fields, or one that is no name."""
    found: dict[str, None] = {}
    for one in objects:
        found.update(dict.fromkeys(one))
        if len(found) > MAX_KEYS:
            raise Unfit(f"its objects have more than {MAX_KEYS} different keys", remedy="map<string, string>")
    bad = next((name for name in found if not name.strip()), None)
    if bad is not None:
        raise Unfit(f"an object has the key {bad!r}, which is no name", remedy="map<string, string>")
    return list(found)


def _two(values: list[Any]) -> tuple[Any, Any]:
    """The first value, and the first of another kind."""
    present = [value for value in values if value is not None]
    kind = _KINDS[type(present[0])]
    return present[0], next(value for value in present if _KINDS[type(value)] != kind)


def _number(values: list[Any], kinds: set[type]) -> pa.DataType:
    if Digits in kinds:
        value = next(value for value in values if type(value) is Digits)
        raise Unfit(f"{shown(value)} has more digits than a double", value=shown(value), remedy=_decimal(value))
    if float not in kinds:
        beyond = next((value for value in values if value is not None and value not in _INT64), None)
        if beyond is None:
            return pa.int64()
        remedy = "uint64" if 0 <= beyond < 1 << 64 else _decimal(beyond)
        raise Unfit(f"{shown(beyond)} has more than 64 bits", value=shown(beyond), remedy=remedy)
    for value in values:
        if type(value) is int and not _is_double(value):
            raise Unfit(f"{shown(value)} is no double, and others are", value=shown(value), remedy=_decimal(value))
    return pa.float64()


def _is_double(value: int) -> bool:
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def _decimal(value: Any) -> str:
    """A decimal that takes the number, and some more; text where there is none."""
    try:
        _, digits, exponent = _as_decimal(value).as_tuple()
    except ValueError:
        return "string"
    assert isinstance(exponent, int)
    scale = max(0, -exponent)
    whole = max(0, len(digits) + exponent)
    return f"decimal128(38, {scale})" if whole + scale <= 38 else "string"


def _as_decimal(value: Any) -> Decimal:
    """A number, or the text of one, exactly. Raises ValueError."""
    if type(value) is int:
        return Decimal(value)
    text = repr(value) if type(value) is float else str(value)
    if type(value) is bool or not _NUMBER.fullmatch(text) or len(text) > _MAX_EXPONENT:
        raise ValueError
    number = Decimal(text)
    if abs(number.adjusted()) > _MAX_EXPONENT:
        raise ValueError
    return number


# --- values of a type -------------------------------------------------------------------------------------------------


def column(values: list[Any], kind: pa.DataType, *, declared: bool, cells: Cells) -> pa.Array:
    """The values as ``kind``, exactly; ``declared``: by the user, who may mean more by it. Raises Unfit."""
    types = pa.types
    if all(value is None for value in values):
        return pa.nulls(len(values), kind)
    if types.is_list(kind) or types.is_large_list(kind):
        return _lists(values, kind, declared, cells)
    if types.is_struct(kind):
        return _structs(values, kind, declared, cells)
    if types.is_map(kind):
        return _maps(values, kind, declared, cells)
    if declared and (types.is_temporal(kind) or types.is_duration(kind)):
        return _moments(values, kind, cells)
    take = _taker(kind, declared)
    taken = []
    for row, value in enumerate(values):
        try:
            taken.append(None if value is None else take(value))
        except (ValueError, OverflowError, UnicodeEncodeError):
            raise _misfit(row, value, kind) from None
    try:
        return pa.array(taken, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        row = first_bad(len(taken), lambda start, stop: _fits(taken[start:stop], kind))
        raise _misfit(row, values[row], kind) from None


def _misfit(row: int, value: Any, kind: pa.DataType) -> Unfit:
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return Unfit(f"{ascii(value)[:80]} is half of a character (a lone surrogate)", row=row, value=ascii(value))
    remedy = ""
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        remedy = _wider(value, kind)
    elif not pa.types.is_string(kind) or type(value) is not str:
        remedy = "string"
    return Unfit(f"{shown(value)} is not {type_name(kind)}", row=row, value=shown(value), remedy=remedy)


def _wider(value: Any, kind: pa.DataType) -> str:
    """The type that takes a number which ``kind``, one of numbers, does not take."""
    if type(value) is float and pa.types.is_integer(kind):
        return "double"
    if type(value) is int and pa.types.is_integer(kind) and value in _INT64:
        return "int64"
    return _decimal(value) if type(value) in (int, float, Digits) else "string"


def _fits(taken: list[Any], kind: pa.DataType) -> bool:
    try:
        pa.array(taken, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        return False
    return True


def _taker(kind: pa.DataType, declared: bool) -> Callable[[Any], Any]:
    """What makes of a value what ``pa.array`` takes for this type; it raises ValueError for what is not of it."""
    types = pa.types
    if types.is_boolean(kind):
        return _boolean
    if types.is_integer(kind):
        return _integer
    if types.is_float64(kind):
        return _rounded if declared else _double
    if types.is_floating(kind):
        return _single if types.is_float32(kind) else _half
    if types.is_decimal(kind):
        return _as_decimal
    if types.is_string(kind) or types.is_large_string(kind):
        return _any_text if declared else _text
    if types.is_binary(kind) or types.is_large_binary(kind):
        return _bytes
    return _none


def _none(_value: Any) -> Any:
    raise ValueError


def _boolean(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise ValueError


def _integer(value: Any) -> int:
    """JSON has one kind of number: 1.0 is 1."""
    if type(value) is int or (type(value) is float and value.is_integer() and abs(value) < 1 << 64):
        return int(value)
    raise ValueError


def _double(value: Any) -> float:
    if type(value) is float or (type(value) is int and _is_double(value)):
        return float(value)
    raise ValueError


def _rounded(value: Any) -> float:
    """A declared double rounds as IEEE 754 does: whoever writes more digits than it has knows it."""
    if type(value) not in (int, float, Digits):
        raise ValueError
    number = float(value)
    if number in (float("inf"), float("-inf")):
        raise ValueError
    return number


def _single(value: Any) -> float:
    return _narrow(value, np.float32)


def _half(value: Any) -> Any:
    return np.float16(_narrow(value, np.float16))


def _narrow(value: Any, kind: type[np.floating[Any]]) -> float:
    number = _rounded(value)
    with np.errstate(over="ignore"):
        short = kind(number)
    if not np.isfinite(short) or Decimal(np.format_float_positional(short, unique=True)) != _as_decimal(value):
        raise ValueError
    return float(short)


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    raise ValueError


def _any_text(value: Any) -> str:
    return value if type(value) is str else dump(value)


def _bytes(value: Any) -> bytes:
    return _text(value).encode()


def _moments(values: list[Any], kind: pa.DataType, cells: Cells) -> pa.Array:
    """Texts, as a declared type reads those of csv."""
    odd = next((row for row, value in enumerate(values) if value is not None and type(value) is not str), None)
    if odd is not None:
        raise _misfit(odd, values[odd], kind)
    texts = pa.chunked_array([column(values, pa.string(), declared=False, cells=cells)])
    present = texts.drop_null()
    if not cells.lenient_holds(present, kind):
        place = first_bad(
            len(present), lambda start, stop: cells.lenient_holds(present.slice(start, stop - start), kind)
        )
        row = [row for row, value in enumerate(values) if value is not None][place]
        raise _misfit(row, values[row], kind)
    read = cells.lenient(present, kind).combine_chunks()
    places, found = [], 0
    for value in values:
        places.append(None if value is None else found)
        found += value is not None
    return read.take(pa.array(places, pa.int64()))


def _nested(values: list[Any], of: type, kind: pa.DataType) -> pa.Array:
    """Which values are null, as a mask."""
    for row, value in enumerate(values):
        if value is not None and type(value) is not of:
            raise _misfit(row, value, kind)
    return pa.array([value is None for value in values], pa.bool_())


def _offsets(values: list[Any]) -> tuple[pa.Array, list[int]]:
    """Where the parts of each value begin, and the row that each part is in."""
    offsets, rows = [0], []
    for row, value in enumerate(values):
        count = len(value or ())
        offsets.append(offsets[-1] + count)
        rows += [row] * count
    return pa.array(offsets, pa.int32()), rows


def _part(step: str, values: list[Any], rows: list[int], kind: pa.DataType, declared: bool, cells: Cells) -> pa.Array:
    try:
        return column(values, kind, declared=declared, cells=cells)
    except Unfit as unfit:
        raise unfit.within(step, rows[unfit.row]) from None


def _lists(values: list[Any], kind: pa.DataType, declared: bool, cells: Cells) -> pa.Array:
    mask = _nested(values, list, kind)
    offsets, rows = _offsets(values)
    parts = list(chain.from_iterable(value for value in values if value))
    inner = _part("[]", parts, rows, kind.value_type, declared, cells)
    array = pa.ListArray.from_arrays(offsets, inner, mask=mask)
    return array.cast(kind) if array.type != kind else array


def _structs(values: list[Any], kind: pa.DataType, declared: bool, cells: Cells) -> pa.Array:
    mask = _nested(values, dict, kind)
    names = {field.name for field in kind}
    for row, value in enumerate(values):
        if value and not names.issuperset(value):
            new = next(name for name in value if name not in names)
            raise Unfit(f"the key {new!r} is new; its type is {type_name(kind)}", row=row, path=f".{new}")
    rows = list(range(len(values)))
    parts = []
    for field in kind:
        inner = [None if value is None else value.get(field.name) for value in values]
        parts.append(_part(f".{field.name}", inner, rows, field.type, declared, cells))
    return pa.StructArray.from_arrays(parts, fields=list(kind), mask=mask)


def _maps(values: list[Any], kind: pa.DataType, declared: bool, cells: Cells) -> pa.Array:
    mask = _nested(values, dict, kind)
    offsets, rows = _offsets(values)
    names = list(chain.from_iterable(value for value in values if value))
    parts = list(chain.from_iterable(value.values() for value in values if value))
    key = _part(" key", names, rows, kind.key_type, declared, cells)
    item = _part("{}", parts, rows, kind.item_type, declared, cells)
    array = pa.MapArray.from_arrays(offsets, key, item, mask=mask)
    return array.cast(kind) if array.type != kind else array
