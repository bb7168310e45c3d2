"""What to tell about a value that does not fit its column: what is wrong, and the line of ``odibi.yaml`` for it."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

import pyarrow as pa

from odibi_actors.config.arrow_types import type_name
from odibi_actors.config.remedies import listed, option, schema, typed
from odibi_actors.nodes.failures import MAX_VALUE, shorten
from odibi_actors.nodes.formats import moments
from odibi_actors.nodes.formats.cells import Cells

_UNITS = ("s", "ms", "us", "ns")
NO_VALUE = re.compile(r"\s*(n/?a|n\.a\.|#n/a|null|none|nil|nan|-nan|missing|unknown|\?|-+|\.|\\n)\s*", re.IGNORECASE)
"""What people write for nothing."""


def message(name: str, value: str, kind: pa.DataType, cells: Cells, *, inferred: bool) -> str:
    """Why ``value`` is refused in a column of type ``kind``, and what would take it."""
    shown = shorten(repr(value), MAX_VALUE)
    remedies = "; ".join(_remedies(name, value, kind, cells, inferred))
    return f"{shown} is not {type_name(kind)} ({origin(inferred)}); {remedies}"


def origin(inferred: bool) -> str:
    """Who has told a type: the first values of a column, which with ``on_schema_change: evolve`` may have come later
    than the first batch; or ``read.schema``."""
    return "inferred from its first values" if inferred else "declared"


def _remedies(name: str, value: str, kind: pa.DataType, cells: Cells, inferred: bool) -> list[str]:
    if value == "":
        return ["options: {quoted_strings_can_be_null: true} makes quoted empty cells null"]
    if NO_VALUE.fullmatch(value):
        return [f"options: {{{listed('null_values', value)}}} makes it null"]
    read = cells.lenient_value(value, kind) if inferred else None
    kinds = [pa.string()] if read is not None and pa.types.is_temporal(kind) else _wider(kind, value, cells)
    wider = next(str(other) for other in kinds if _takes(other, value, cells))
    remedies = [f"{schema('read', name, wider)} {'keeps' if wider == 'string' else 'takes'} it"]
    if wider == "string" and (other := _otherwise(name, value, kind, cells)):
        remedies.insert(0, other)
    if not inferred and (zoned := next((one for one in in_utc(kind) if _takes(one, value, cells)), None)):
        says = "takes it, as a moment in UTC, where all values of the column have an offset"
        remedies.insert(0, f"{schema('read', name, zoned)} {says}")
    remedies[:0] = [*years(value, kind, cells)]
    if read is not None:
        remedies.append(f"{typed(name, kind)} reads it as {read}")
    return remedies


def years(value: str, kind: pa.DataType, cells: Cells) -> list[str]:
    """The remedy for a timestamp whose year has two digits where four are read, or four for two; none for all else."""
    if not pa.types.is_timestamp(kind):
        return []
    for parsers in moments.other_years(cells.spelling.parsers):
        if (read := cells.with_parsers(parsers).lenient_value(value, kind)) is not None:
            says = f"options: {{{listed('timestamp_parsers', *parsers)}}}"
            return [f"{says} reads it as {read} (%y: a year of two digits)"]
    return []


def _otherwise(name: str, value: str, kind: pa.DataType, cells: Cells) -> str:
    """The remedy for a number with the other decimal point; "" for all else."""
    types, other = pa.types, cells.otherwise()
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)):
        return ""
    found = next((one for one in (kind, *_wider(kind, value, other)) if _takes(one, value, other)), pa.string())
    if found == pa.string():
        return ""
    too = "" if found == kind else f" with {schema('read', name, found)}"
    read = other.lenient_value(value, found)
    point = option("decimal_point", other.spelling.decimal_point)
    return f"{point}{too} reads it as {read}, where all numbers of the source are written so"


def _takes(kind: pa.DataType, value: str, cells: Cells) -> bool:
    if pa.types.is_floating(kind):
        return cells.exact([value], kind)
    return cells.lenient_value(value, kind) is not None


def _wider(kind: pa.DataType, value: str, cells: Cells) -> list[pa.DataType]:
    """Types that hold whatever ``kind`` does, and more; text at the end."""
    types = pa.types
    text = pa.string()
    if types.is_integer(kind):
        whole = [] if kind in (pa.int64(), pa.uint64()) else [pa.int64()]
        whole += [pa.uint64()] if types.is_unsigned_integer(kind) and kind != pa.uint64() else []
        whole += [] if kind == pa.int64() else [pa.decimal128(20, 0)]  # whose digits hold all of int64, and of uint64
        return [*whole, pa.float64(), text]
    if types.is_floating(kind):
        return [*([] if kind == pa.float64() else [pa.float64()]), text]
    if types.is_decimal(kind):
        return [*_decimals(kind, value.replace(cells.spelling.decimal_point, ".")), text]
    return [*moments_for(kind), text]


def moments_for(kind: pa.DataType) -> list[pa.DataType]:
    """Types of dates and times that hold whatever ``kind`` does, and more; none for all else."""
    types = pa.types
    if types.is_date(kind):
        return [pa.timestamp("us"), pa.timestamp("ns")]
    if types.is_timestamp(kind):
        return [pa.timestamp(unit, kind.tz) for unit in _finer(kind.unit)]
    return [pa.time64(unit) for unit in _finer(kind.unit)] if types.is_time(kind) else []


def in_utc(kind: pa.DataType) -> list[pa.DataType]:
    """What holds texts with an offset in the place of a timestamp without a zone; none for all else."""
    if not pa.types.is_timestamp(kind) or kind.tz is not None:
        return []
    return [pa.timestamp(unit, "UTC") for unit in (kind.unit, *_finer(kind.unit))]


def _finer(unit: str) -> list[str]:
    return [one for one in ("us", "ns") if _UNITS.index(one) > _UNITS.index(unit)]


def _decimals(kind: pa.DataType, value: str) -> list[pa.DataType]:
    try:
        number = Decimal(value.strip())
        exponent = int(number.as_tuple().exponent)
    except (InvalidOperation, ValueError):
        return []
    scale = max(kind.scale, -exponent)
    whole = max(kind.precision - kind.scale, number.adjusted() + 1)
    return [pa.decimal128(whole + scale, scale)] if whole + scale <= 38 else []
