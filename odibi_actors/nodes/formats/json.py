"""JSON: lines of objects, or one array of them; objects and lists within become structs and lists of Arrow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from odibi_actors.config.remedies import schema
from odibi_actors.nodes.formats import Malformed, Parsed
from odibi_actors.nodes.formats.cells import Cells
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.formats.json_columns import column
from odibi_actors.nodes.formats.json_rows import Rows, rows
from odibi_actors.nodes.formats.json_types import Unfit, keys, kind_of


def parse(
    data: bytes,
    declared: Mapping[str, pa.DataType],
    wanted: Wanted,
    options: Mapping[str, Any],
    inferred: Mapping[str, pa.DataType],
) -> Parsed:
    """One file as a table of the columns that are wanted: ``declared`` and ``inferred`` ones of these types, others of
    the type that holds all of their values, null where none has one. A key that an object lacks is null.

    A file without a row has the columns that are known. Raises Malformed with the first row that does not fit.
    """
    found = rows(data)
    if not found.objects:
        names = [name for name in wanted.expected or declared if not wanted.ignored(name)]
        fields = [(name, declared.get(name) or inferred.get(name) or pa.null()) for name in names]
        return Parsed(pa.schema(fields).empty_table(), [])
    present = _names(found, wanted)
    names = wanted.chosen(present)
    cells = Cells(options)
    columns = [_column(found, name, declared, inferred, cells) for name in names]
    return Parsed(pa.table(columns, names), [name for name in present if name not in names])


def _names(found: Rows, wanted: Wanted) -> list[str]:
    """The keys of all rows, in the order in which they come."""
    try:
        return keys({name: None for name in row if not wanted.ignored(name)} for row in found.objects)
    except Unfit as unfit:
        raise Malformed(unfit.message) from None


def _column(
    found: Rows,
    name: str,
    declared: Mapping[str, pa.DataType],
    inferred: Mapping[str, pa.DataType],
    cells: Cells,
) -> pa.Array:
    values = [row.get(name) for row in found.objects]
    try:
        kind = declared.get(name) or inferred.get(name) or kind_of(values)
        return column(values, kind, declared=name in declared, cells=cells)
    except Unfit as unfit:
        says = f"{name}{unfit.path}: {unfit.message}" if unfit.path else unfit.message
        if unfit.remedy:
            takes = "takes the whole column, as JSON text" if unfit.path else "takes it"
            says += f"; {schema('read', name, unfit.remedy)} {takes}"
        raise Malformed(says, line=found.line(unfit.row), column=name, value=unfit.value) from None
