"""JSON of which what does not fit is kept: values that are not of their column's type, and those of new keys, with
all of their digits, though not as they were written (``1.10`` is ``1.1``)."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pyarrow as pa

from odibi_actors.kinds.format import Request
from odibi_actors.nodes.formats import Malformed, Parsed
from odibi_actors.nodes.formats.cells import Cells
from odibi_actors.nodes.formats.json import check, uncollected
from odibi_actors.nodes.formats.json_columns import column
from odibi_actors.nodes.formats.json_rows import Rows, dump, rows
from odibi_actors.nodes.formats.json_types import MAX_KEYS, Unfit
from odibi_actors.nodes.formats.rescued import Texts, encodable


def rescue(request: Request) -> Parsed:
    """See ``rescued.Rescuing``. A value fits as a whole, with all that is within it, or not at all."""
    with uncollected():
        return _rescued(rows(request.data), request)


def _rescued(found: Rows, request: Request) -> Parsed:
    present = list(dict.fromkeys(chain.from_iterable(found.objects)))
    check(found, [name for name in present if not request.wanted.ignored(name)])
    names = request.wanted.chosen(present)
    cells = Cells(request.options)
    columns: dict[str, pa.Array] = {}
    rescued: dict[str, Texts] = {}
    for name in names:
        values = [row.get(name) for row in found.objects]
        known = request.declared.get(name) or request.inferred.get(name)
        if known is None:
            rescued[name] = [_told(found, name, row, value) for row, value in enumerate(values)]
            continue
        fits = _fitting(values, known, name in request.declared, cells)
        kept = [value if fit else None for value, fit in zip(values, fits, strict=True)]
        columns[name] = column(kept, known, declared=name in request.declared, cells=cells)
        rescued[name] = [
            None if fit else _told(found, name, row, value)
            for row, (value, fit) in enumerate(zip(values, fits, strict=True))
        ]
    left_out = [name for name in present if name not in names][:MAX_KEYS]
    table = pa.table(columns) if columns else pa.table({"": pa.nulls(len(found.objects))}).select([])
    return Parsed(table, left_out, sparse=True, rescued=rescued)


def _fitting(values: list[Any], kind: pa.DataType, declared: bool, cells: Cells) -> list[bool]:
    """Which of the values the type holds: looked for in halves."""
    fits = [True] * len(values)
    left = [(0, len(values))]
    while left:
        start, stop = left.pop()
        try:
            column(values[start:stop], kind, declared=declared, cells=cells)
        except Unfit:
            if stop - start == 1:
                fits[start] = False
            else:
                middle = (start + stop) // 2
                left += [(middle, stop), (start, middle)]
    return fits


def _told(found: Rows, name: str, row: int, value: Any) -> str | None:
    if value is None:
        return None
    try:
        return encodable(dump(value))
    except RecursionError:
        raise Malformed("it nests too deep for a text", line=found.line(row), column=name) from None
