"""Columns of a database brought to the types that a source is held to, where no value changes by it."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from odibi_actors.config.arrow_types import type_name
from odibi_actors.config.remedies import schema
from odibi_actors.nodes.formats import Malformed, first_bad
from odibi_actors.nodes.formats.exact import Inexact, Spelling, exact
from odibi_actors.nodes.formats.typed import exactly, related


def brought(table: pa.Table, types: Mapping[str, pa.DataType]) -> pa.Table:
    """The table with these types; a column of type null has no value, and becomes any. Raises Malformed."""
    names, columns = table.column_names, table.columns
    for place, name in enumerate(names):
        if name in types and columns[place].type != types[name]:
            columns[place] = _fit(columns[place], name, types[name])
    return pa.Table.from_arrays(columns, names)


def _fit(column: pa.ChunkedArray, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    found, types = column.type, pa.types
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), kind)])
    if types.is_string(found):
        try:
            return exact(column, kind, Spelling())
        except Inexact as error:
            raise _misfit(name, found, kind, error.value) from None
    if types.is_integer(found) and types.is_boolean(kind):
        bits = pc.min_max(column).as_py()
        if bits["min"] >= 0 and bits["max"] <= 1:
            return column.cast(kind)
    elif related(found, kind):
        try:
            if (values := exactly(column, kind)) is not None:
                return values
        except pa.ArrowNotImplementedError:
            raise _misfit(name, found, kind) from None
        row = first_bad(len(column), lambda start, stop: exactly(column.slice(start, stop - start), kind) is not None)
        raise _misfit(name, found, kind, str(column[row].as_py()))
    raise _misfit(name, found, kind)


def _misfit(name: str, found: pa.DataType, kind: pa.DataType, value: str = "") -> Malformed:
    there = f"{value} is" if value else f"the column is {type_name(found)} in the database,"
    remedy = f"{schema('read', name, found)} reads it as it is"
    return Malformed(f"{there} not {type_name(kind)}; {remedy}", column=name, value=value)
