"""JSON: lines of objects, or one array of them; objects and lists within become structs and lists of Arrow."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import pyarrow as pa

from odibi_actors.config.remedies import listed, schema
from odibi_actors.nodes.formats import Malformed, Parsed
from odibi_actors.nodes.formats.cells import Cells
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.formats.json_columns import column
from odibi_actors.nodes.formats.json_remedy import remedy
from odibi_actors.nodes.formats.json_rows import Rows, rows
from odibi_actors.nodes.formats.json_types import MAX_KEYS, Unfit, check_keys, kind_of
from odibi_actors.nodes.formats.misfit import origin, years


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
    with uncollected():
        return _parsed(rows(data), declared, wanted, options, inferred)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector, which would look at millions of values again and again, none of them garbage."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _parsed(
    found: Rows,
    declared: Mapping[str, pa.DataType],
    wanted: Wanted,
    options: Mapping[str, Any],
    inferred: Mapping[str, pa.DataType],
) -> Parsed:
    if not found.objects:
        names = [name for name in wanted.expected or declared if not wanted.ignored(name)]
        fields = [(name, declared.get(name) or inferred.get(name) or pa.null()) for name in names]
        return Parsed(pa.schema(fields).empty_table(), [])
    present = list(dict.fromkeys(chain.from_iterable(found.objects)))
    if not present:
        raise Malformed("no row has a key: its objects are all empty")
    named = [name for name in present if not wanted.ignored(name)]
    check(found, named)
    names = wanted.chosen(present)
    cells = Cells(options)
    columns = [_column(found, name, declared, inferred, cells) for name in names]
    left_out = [name for name in present if name not in names][:MAX_KEYS]
    return Parsed(pa.table(columns, names), left_out, sparse=True)


def check(found: Rows, names: list[str]) -> None:
    try:
        check_keys(found.objects, names)
    except Unfit as unfit:
        if len(names) > MAX_KEYS:
            says = f"{listed('read.columns', names[0])} takes only those that it names"
        elif unfit.remedy:
            says = f"{listed('read.ignore', unfit.value)} leaves it out"
        else:
            says = ""
        raise Malformed("; ".join(filter(None, (unfit.message, says))), line=found.line(unfit.row)) from None


def _column(
    found: Rows,
    name: str,
    declared: Mapping[str, pa.DataType],
    inferred: Mapping[str, pa.DataType],
    cells: Cells,
) -> pa.Array:
    values = [row.get(name) for row in found.objects]
    known = declared.get(name) or inferred.get(name)
    try:
        return column(values, known or kind_of(values), declared=name in declared, cells=cells)
    except Unfit as unfit:
        says = f"{name}{unfit.path}: {unfit.message}" if unfit.path else unfit.message
        if known is not None and " is not " in unfit.message:
            says += f" ({origin(name not in declared)})"
        if known is not None and isinstance(value := values[unfit.row], str):
            says = "; ".join([says, *years(value, known, cells)])
        if kind := remedy(values, known, name in declared, unfit, cells):
            takes = "takes the whole column, as JSON text" if unfit.path and kind == "string" else "takes it"
            says += f"; {schema('read', name, kind)} {takes}"
        else:
            says += f"; {listed('read.ignore', name)} leaves the column out"
        raise Malformed(says, line=found.line(unfit.row), column=name, value=unfit.value, takes=kind) from None
