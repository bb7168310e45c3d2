"""JSON values as Arrow columns of a given type: each exactly, or refused with its row and path."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from odibi_actors.config.arrow_types import type_name
from odibi_actors.nodes.failures import shorten
from odibi_actors.nodes.formats import first_bad
from odibi_actors.nodes.formats.cells import Cells
from odibi_actors.nodes.formats.json_rows import MAX_SHOWN, Digits, dump, shown
from odibi_actors.nodes.formats.json_types import HALF, Unfit, as_decimal, is_double

_PLAIN = {pa.string(): {str, type(None)}, pa.int64(): {int, type(None)}, pa.float64(): {float, type(None)},
          pa.bool_(): {bool, type(None)}}  # fmt: skip
"""What ``pa.array`` takes as it is."""


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
    taken = values if set(map(type, values)) <= _PLAIN.get(kind, set()) else _taken(values, kind, declared)
    try:
        return pa.array(taken, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        row = first_bad(len(taken), lambda start, stop: _fits(taken[start:stop], kind))
        raise _misfit(row, values[row], kind) from None


def _taken(values: list[Any], kind: pa.DataType, declared: bool) -> list[Any]:
    take = _taker(kind, declared)
    taken = []
    for row, value in enumerate(values):
        try:
            taken.append(None if value is None else take(value))
        except (ValueError, OverflowError, UnicodeEncodeError, RecursionError):
            raise _misfit(row, value, kind) from None
    return taken


def _misfit(row: int, value: Any, kind: pa.DataType) -> Unfit:
    try:
        text = value if isinstance(value, str) else dump(value)
    except RecursionError:
        return Unfit("it nests too deep for a text", row=row)
    if not text.isascii() and shorten(text, len(text)) != text:
        return Unfit(f"{shown(value)} has {HALF}", row=row, value=shown(value))
    return Unfit(f"{shown(value)} is not {type_name(kind)}", row=row, value=shown(value))


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
        return as_decimal
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
    if type(value) is float or (type(value) is int and is_double(value)):
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
    if not np.isfinite(short) or Decimal(np.format_float_positional(short, unique=True)) != as_decimal(value):
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
            told = shorten(new, MAX_SHOWN)
            raise Unfit(f"the key {told!r} is new; its type is {type_name(kind)}", row=row, path=f".{told}")
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
