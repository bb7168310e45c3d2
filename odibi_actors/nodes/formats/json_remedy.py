"""Which type to declare for a column of JSON values that does not fit: it is tried before it is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from odibi_actors.config.arrow_types import arrow_type, type_name
from odibi_actors.nodes.formats.cells import Cells
from odibi_actors.nodes.formats.json_columns import column
from odibi_actors.nodes.formats.json_rows import Digits
from odibi_actors.nodes.formats.json_types import INT64, Unfit, as_decimal, is_double, kind_of
from odibi_actors.nodes.formats.misfit import in_utc, moments_for
from odibi_actors.nodes.schemas import parse_type, settle, widen

_MAX_TYPE = 1000
"""Characters of a type in a message: a longer one would be cut."""
_DIGITS = 38
"""Of decimal128."""
_ROOM = 10
"""Decimals that a column of numbers with a fraction gets, where there is room: others may have more."""


def remedy(values: list[Any], kind: pa.DataType | None, declared: bool, unfit: Unfit, cells: Cells) -> str:
    """A type that takes all of these values, and, as far as can be, those that ``kind`` (None: none was known) took
    before; "" where there is none."""
    for text, free in _candidates(values, kind, declared, unfit):
        if len(text) > _MAX_TYPE:
            continue
        try:
            column(values, parse_type(arrow_type(text)), declared=free, cells=cells)
        except (Unfit, ValueError):
            continue
        return text
    return ""


def _candidates(
    values: list[Any], kind: pa.DataType | None, declared: bool, unfit: Unfit
) -> Iterator[tuple[str, bool]]:
    """Types, the best first, and whether each is tried as a declared one, which would round what a double does not
    hold."""
    if unfit.remedy and kind is None:
        yield unfit.remedy, True
    if number := number_for(values, kind):
        yield number, True
    if kind is not None and not pa.types.is_nested(kind):
        for moment in (*moments_for(kind), *in_utc(kind)):
            yield type_name(moment), True
    if kind is not None and pa.types.is_map(kind):
        items = [one for value in values if isinstance(value, dict) for one in value.values()]
        for item, free in _candidates(items, kind.item_type, declared, unfit):
            yield f"map<{type_name(kind.key_type)}, {item}>", free
    elif kind is not None and pa.types.is_nested(kind):
        try:
            found = settle(kind_of(values))
        except Unfit:
            found = kind
        if found != kind:
            yield type_name(_grown(kind, found)), declared
            yield type_name(widen(kind, found)), False
        if not declared and not _rounds(kind):
            yield type_name(kind), True
    yield "string", True


def _grown(kind: pa.DataType, found: pa.DataType) -> pa.DataType:
    """The type with those fields more that were found."""
    types = pa.types
    if types.is_list(kind) and types.is_list(found):
        return pa.list_(_grown(kind.value_type, found.value_type))
    if types.is_struct(kind) and types.is_struct(found):
        fields = {field.name: field.type for field in found}
        mine = {field.name: _grown(field.type, fields.get(field.name, field.type)) for field in kind}
        return pa.struct(list((mine | {name: one for name, one in fields.items() if name not in mine}).items()))
    return kind


def _rounds(kind: pa.DataType) -> bool:
    """Whether there are numbers within that would be rounded once the type is declared."""
    if pa.types.is_nested(kind):
        return any(_rounds(kind.field(place).type) for place in range(kind.num_fields))
    return bool(pa.types.is_floating(kind))


def number_for(values: list[Any], kind: pa.DataType | None) -> str:
    """The type of numbers that takes all of the values, and those of ``kind``; "" where there is none."""
    numbers = [value for value in values if value is not None]
    number = kind is None or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not number or not all(type(one) in (int, float, Digits) for one in numbers):
        return ""
    try:
        exact = [as_decimal(one) for one in numbers]
    except ValueError:
        return ""
    if (kind is None or pa.types.is_integer(kind)) and all(one == one.to_integral_value() for one in exact):
        if all(one in INT64 for one in map(int, exact)) and kind != pa.uint64():
            return "int64"
        if kind is None and all(0 <= one < 1 << 64 for one in exact):
            return "uint64"
        return _decimal(exact, 0)
    if (kind is None or not pa.types.is_decimal(kind)) and all(map(_is_double, numbers)):
        return "double"
    return _decimal(exact, kind.scale if kind is not None and pa.types.is_decimal(kind) else _ROOM)


def _is_double(value: Any) -> bool:
    return type(value) is float or (type(value) is int and is_double(value))


def _decimal(exact: list[Any], scale: int) -> str:
    needed = max((-int(one.as_tuple().exponent) for one in exact), default=0)
    whole = max((one.adjusted() + 1 for one in exact if one), default=0)
    for decimals in (max(scale, needed), *([] if scale != _ROOM else [max(needed, 0)])):
        if whole + decimals <= _DIGITS:
            return f"decimal128({_DIGITS}, {decimals})"
    return ""
