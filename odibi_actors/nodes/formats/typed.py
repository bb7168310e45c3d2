"""Tables of files that bring their types: values are brought to the schema only where nothing of them changes."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.batches.normalise import BadValueError, kept
from odibi_actors.config.arrow_types import arrow_type, type_name
from odibi_actors.config.remedies import listed, schema
from odibi_actors.errors import BatchError
from odibi_actors.nodes.formats import Malformed, first_bad
from odibi_actors.nodes.schemas import hollow, settle

_MAX_DIGITS = 38
"""Of decimal128."""


def fitted(table: pa.Table, types: Mapping[str, pa.DataType]) -> pa.Table:
    """The table with normal types, or ``types`` where given; a column of type null stays one. Raises Malformed."""
    names, columns = table.column_names, []  # of thousands each look-up and each new table counts
    for name, found in zip(names, table.columns, strict=True):
        column = _kept(found, name)
        if name in types and column.type != types[name]:
            column = fit(column, name, types[name])
        elif pa.types.is_null(found.type) and name not in types:
            column = found
        columns.append(column)
    return pa.Table.from_arrays(columns, names)


def _kept(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    try:
        return kept(column)
    except BatchError as error:
        says, place = str(error), ""
        if isinstance(error, BadValueError):
            place = f"row {first_bad(len(column), lambda start, stop: _is_kept(column, start, stop)) + 1}: "
            says += "; correct it"
        leaves = f"or leave the column out: {listed('read.ignore', name)}"
        raise Malformed(f"{place}{type_name(column.type)} cannot be kept: {says}, {leaves}", column=name) from error


def _is_kept(column: pa.ChunkedArray, start: int, stop: int) -> bool:
    try:
        kept(column.take(pa.array(range(start, stop), pa.int64())))  # of a slice all that is within a list is looked at
    except BatchError:
        return False
    return True


def _family(kind: pa.DataType) -> str:
    types = pa.types
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "instant" if types.is_timestamp(kind) and kind.tz else "date"
    return "time" if types.is_time(kind) else "duration" if types.is_duration(kind) else str(kind)


def fit(column: pa.ChunkedArray, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    """The column as ``kind``, unchanged in value. Raises Malformed: another sort of type, or the first value lost."""
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), kind)])
    if pa.types.is_nested(kind):
        column = pa.chunked_array([hollow(column.combine_chunks(), kind)])
        if column.type == kind:
            return column
    other = f"the column is {type_name(column.type)} here, not {type_name(kind)}"
    if not related(column.type, kind):
        raise Malformed(f"{other}; {instead(name, column.type)}", column=name)
    try:
        if (values := exactly(column, kind)) is not None:
            return values
    except pa.ArrowNotImplementedError as error:
        raise Malformed(f"{other}; {instead(name, column.type)}", column=name) from error
    row = first_bad(len(column), lambda start, stop: exactly(column.slice(start, stop - start), kind) is not None)
    value = _shown(column, row)
    way = instead(name, _both(column.type, kind))
    raise Malformed(f"row {row + 1}: {value} is not {type_name(kind)}; {way}", column=name, value=value)


def _both(kind: pa.DataType, other: pa.DataType) -> pa.DataType:
    """A type that holds all values of ``kind`` and, where these are numbers without rounding and there is one, of
    ``other`` as well."""
    exact = all(pa.types.is_decimal(one) or pa.types.is_integer(one) for one in (kind, other))
    if not exact or not (pa.types.is_decimal(kind) or pa.types.is_decimal(other)):
        return kind
    (whole, scale), (whole_too, scale_too) = _digits(kind), _digits(other)
    whole, scale = max(whole, whole_too), max(scale, scale_too)
    return pa.decimal128(whole + scale, scale) if whole + scale <= _MAX_DIGITS else kind


def _digits(kind: pa.DataType) -> tuple[int, int]:
    """Before and behind the point, of a decimal or an integer."""
    if pa.types.is_decimal(kind):
        return kind.precision - kind.scale, kind.scale
    return len(str(2 ** (kind.bit_width - pa.types.is_signed_integer(kind)))), 0


def related(kind: pa.DataType, other: pa.DataType) -> bool:
    """Whether values of the one type may be values of the other."""
    return _family(kind) == _family(other)


def held(kind: pa.DataType, other: pa.DataType) -> bool:
    """Whether values of type ``kind`` may be values of ``other``, where what an object lacks is null."""
    types = pa.types
    if types.is_null(kind):
        return True
    if types.is_list(kind) and types.is_list(other):
        return held(kind.value_type, other.value_type)
    if types.is_struct(kind) and types.is_struct(other):
        fields = {field.name: field.type for field in other}
        return all(field.name in fields and held(field.type, fields[field.name]) for field in kind)
    return related(kind, other)


def instead(name: str, kind: pa.DataType) -> str:
    """What reads a column of this type."""
    if (told := _name(kind)) or (told := _name(settle(kind))):  # an inferred one may have nulls for a type within
        return f"{schema('read', name, told)} takes such values instead"
    return f"deliver one type, or leave it out: {listed('read.ignore', name)}"


def _name(kind: pa.DataType) -> str:
    """What ``schema`` calls it; "" for what it cannot say."""
    try:
        return arrow_type(type_name(kind))
    except ValueError:
        return ""


def exactly(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """The column as ``kind``; None unless it comes back as it was: a safe cast of Arrow still rounds floats and floors
    timestamps to dates."""
    try:
        digits = pa.types.is_integer(column.type) and pa.types.is_decimal(kind)
        # Else Arrow looks at the type alone, which may have more digits than any value.
        values = (column.cast(pa.decimal128(20, 0)) if digits else column).cast(kind)
        back = values.cast(column.type)
    except pa.ArrowInvalid:
        return None
    same = pc.equal(back, column)
    if pa.types.is_floating(column.type):
        same = pc.or_(same, pc.and_(pc.is_nan(back), pc.is_nan(column)))
    return values if pc.all(same).as_py() is not False else None


def _shown(column: pa.ChunkedArray, row: int) -> str:
    """A value as text: Arrow has moments that Python has not."""
    value, types = column[row], pa.types
    if types.is_duration(column.type):
        return f"{value.cast(pa.int64())} {column.type.unit}"
    return str(value.cast(pa.string()) if types.is_temporal(column.type) else value.as_py())
